//! The policy against a service that the test answers for.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use super::*;
use crate::mesh::ManualClock;

/// Answers by turns; each answer waits for its leave.
struct Service {
    answer: Mutex<Box<dyn Fn() -> Result<Ruling, Undecided> + Send>>,
    asked: AtomicUsize,
    leave: Semaphore,
}

impl Authorizer for Service {
    fn verify(&self, _question: Arc<Question>) -> BoxFuture<'_, Result<Ruling, Undecided>> {
        async move {
            self.asked.fetch_add(1, Ordering::SeqCst);
            self.leave.acquire().await.unwrap().forget();
            (self.answer.lock().unwrap())()
        }
        .boxed()
    }
}

struct Setup {
    service: Arc<Service>,
    clock: Arc<ManualClock>,
    policy: Arc<Policy>,
}

const SETTINGS: PolicySettings = PolicySettings {
    timeout: Duration::from_secs(60),
    remember_for: Duration::from_secs(5),
};

fn setup_with(settings: PolicySettings) -> Setup {
    let service = Arc::new(Service {
        answer: Mutex::new(Box::new(|| Ok(allowed(None)))),
        asked: AtomicUsize::new(0),
        leave: Semaphore::new(Semaphore::MAX_PERMITS / 2),
    });
    let clock = Arc::new(ManualClock::at(crate::mesh::Timestamp::from_seconds(1)));
    let policy = Policy::asking(service.clone(), settings, clock.clone());
    Setup {
        service,
        clock,
        policy: Arc::new(policy),
    }
}

fn setup() -> Setup {
    setup_with(SETTINGS)
}

fn allowed(ttl: Option<u64>) -> Ruling {
    Ruling {
        allow: true,
        reason: None,
        ttl: ttl.map(Duration::from_millis),
    }
}

fn outage() -> Result<Ruling, Undecided> {
    Err(Undecided::Outage("down".into()))
}

fn question(user: &str, arguments: &str) -> Question {
    Question {
        tenant_id: "acme".parse().unwrap(),
        user_id: user.parse().unwrap(),
        role: "user",
        tool: "kv_set",
        permission: "kv.write",
        arguments_sha256: ArgumentsHash::of(arguments),
        subject: Subject::none(),
        request_id: Ulid::generate(),
        trace_id: None,
    }
}

impl Setup {
    fn says(&self, answer: impl Fn() -> Result<Ruling, Undecided> + Send + 'static) {
        *self.service.answer.lock().unwrap() = Box::new(answer);
    }

    async fn ask(&self, user: &str, arguments: &str) -> Result<Permit, Error> {
        let question = question(user, arguments);
        let cancelled = CancellationToken::new();
        self.policy.permit(&cancelled, || question).await
    }

    fn asked(&self) -> usize {
        self.service.asked.load(Ordering::SeqCst)
    }

    /// Has every further answer wait.
    fn hold(&self) {
        self.service.leave.forget_permits(usize::MAX);
    }

    /// Waits until `count` questions have been asked.
    async fn until_asked(&self, count: usize) {
        while self.asked() < count {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn without_a_service_every_call_has_its_permit_and_nothing_is_made_for_it() {
    let cancelled = CancellationToken::new();
    let policy = Policy::off();
    let permit = policy.permit(&cancelled, || panic!("nobody asks"));
    assert!(permit.await.is_ok());
}

#[tokio::test]
async fn a_denied_call_is_told_the_reason_and_the_denial_is_remembered() {
    let setup = setup();
    setup.says(|| {
        Ok(Ruling {
            reason: Some("not\non\u{202e} Fridays ".to_owned()),
            ..Ruling::default()
        })
    });
    for _ in 0..2 {
        let error = setup.ask("ada", "{}").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(error.message().ends_with(": not on  Fridays"), "{error}");
        assert_eq!(error.details()["permission"], "kv.write");
        assert_eq!(error.details()["decided_by"], "policy");
    }
    assert_eq!(setup.asked(), 1);
}

#[test]
fn a_reason_is_bounded() {
    let edge = "ü".repeat(REASON_CHARS_MAX);
    assert_eq!(told(&edge).as_deref(), Some(&*edge));
    assert_eq!(
        told(&format!("{edge}x")).unwrap().chars().count(),
        REASON_CHARS_MAX + 3
    );
    assert_eq!(told(" \n "), None);
}

#[tokio::test]
async fn an_answer_is_remembered_as_long_as_settings_and_service_allow() {
    for (ttl, holds_ms) in [
        (None, 5000),
        (Some(200), 200),
        (Some(60_000), 5000),
        (Some(0), 0),
    ] {
        let setup = setup();
        setup.says(move || Ok(allowed(ttl)));
        setup.ask("ada", "{}").await.unwrap();
        if holds_ms > 0 {
            setup.clock.advance(Duration::from_millis(holds_ms - 1));
            setup.ask("ada", "{}").await.unwrap();
            assert_eq!(setup.asked(), 1, "{ttl:?}");
            setup.clock.advance(Duration::from_millis(1));
        }
        setup.ask("ada", "{}").await.unwrap();
        assert_eq!(setup.asked(), 2, "{ttl:?}");
    }
}

#[tokio::test]
async fn no_answer_is_remembered_for_more_than_the_longest_time() {
    let setup = setup_with(PolicySettings {
        remember_for: REMEMBERED_FOR_MAX * 2,
        ..SETTINGS
    });
    setup.says(|| Ok(allowed(Some(600_000))));
    setup.ask("ada", "{}").await.unwrap();
    setup.clock.advance(REMEMBERED_FOR_MAX);
    setup.ask("ada", "{}").await.unwrap();
    assert_eq!(setup.asked(), 2);
}

#[tokio::test]
async fn what_differs_in_anything_is_asked_by_itself() {
    let setup = setup();
    let base = || question("ada", "{}");
    let others: [fn(&mut Question); 7] = [
        |_| {},
        |question| question.tenant_id = "other".parse().unwrap(),
        |question| question.user_id = "bob".parse().unwrap(),
        |question| question.role = "admin",
        |question| question.tool = "kv_delete",
        |question| question.arguments_sha256 = ArgumentsHash::of("{\"a\":1}"),
        |question| question.subject = Subject::none().with("key", "a"),
    ];
    for change in others {
        let mut question = base();
        change(&mut question);
        let cancelled = CancellationToken::new();
        let permit = setup.policy.permit(&cancelled, || question);
        permit.await.unwrap();
    }
    assert_eq!(setup.asked(), 7);
    setup.ask("ada", "{}").await.unwrap();
    assert_eq!(setup.asked(), 7);
}

#[tokio::test]
async fn calls_that_are_alike_share_one_question_also_when_the_first_gives_up() {
    let setup = setup();
    setup.hold();
    let cancelled = CancellationToken::new();
    let policy = Arc::clone(&setup.policy);
    let token = cancelled.clone();
    let first = tokio::spawn(async move { policy.permit(&token, || question("ada", "{}")).await });
    setup.until_asked(1).await;
    let policy = Arc::clone(&setup.policy);
    let second = tokio::spawn(async move {
        policy
            .permit(&CancellationToken::new(), || question("ada", "{}"))
            .await
    });
    cancelled.cancel();
    let error = first.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(!error.may_be_done());
    tokio::task::yield_now().await;
    setup.service.leave.add_permits(1);
    second.await.unwrap().unwrap();
    assert_eq!(setup.asked(), 1);
}

#[tokio::test]
async fn with_nothing_remembered_each_call_is_asked_by_itself() {
    let setup = setup_with(PolicySettings {
        remember_for: Duration::ZERO,
        ..SETTINGS
    });
    setup.hold();
    let both = futures::future::join(setup.ask("ada", "{}"), setup.ask("ada", "{}"));
    let leave = async {
        setup.until_asked(2).await;
        setup.service.leave.add_permits(2);
    };
    let ((one, other), ()) = tokio::join!(both, leave);
    assert!(one.is_ok() && other.is_ok());
}

#[tokio::test]
async fn a_service_that_is_too_slow_has_not_decided() {
    let setup = setup_with(PolicySettings {
        timeout: Duration::from_millis(1),
        ..SETTINGS
    });
    setup.hold();
    let error = setup.ask("ada", "{}").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
    assert!(error.kind().is_retryable() && error.is_known_not_done());
    assert!(error.wait().is_some());
}

#[tokio::test]
async fn after_failures_in_a_row_nothing_is_asked_but_a_probe_and_what_is_remembered_holds() {
    let setup = setup();
    setup.ask("ada", "{}").await.unwrap();
    setup.says(outage);
    for number in 0..breaker::FAILURES_MAX {
        let arguments = format!("{{\"a\":{number}}}");
        let error = setup.ask("ada", &arguments).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
    }
    let asked = setup.asked();
    let error = setup.ask("bob", "{}").await.unwrap_err();
    assert_eq!(error.wait(), Some(breaker::PAUSE_MIN));
    setup.ask("ada", "{}").await.unwrap();
    assert_eq!(setup.asked(), asked);
    setup.clock.advance(breaker::PAUSE_MIN);
    setup.says(|| Ok(allowed(None)));
    setup.ask("bob", "{}").await.unwrap();
    setup.ask("eve", "{}").await.unwrap();
    assert_eq!(setup.asked(), asked + 2);
}

#[tokio::test]
async fn answers_that_decide_nothing_refuse_their_calls_and_no_others() {
    let setup = setup();
    setup.says(|| Err(Undecided::Answer("?".into())));
    for _ in 0..breaker::FAILURES_MAX * 2 {
        let error = setup.ask("ada", "{}").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
    }
    setup.says(|| Ok(allowed(None)));
    setup.ask("ada", "{}").await.unwrap();
}

#[tokio::test]
async fn a_question_that_panics_refuses_and_gives_its_place_back() {
    let setup = setup();
    setup.says(|| panic!("a fault of the test's own"));
    let error = setup.ask("ada", "{}").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
    let Some(asking) = &setup.policy.0 else {
        panic!()
    };
    assert!(asking.state().flights.is_empty());
    setup.service.answer.clear_poison();
    setup.says(|| Ok(allowed(None)));
    setup.ask("ada", "{}").await.unwrap();
}

#[tokio::test]
async fn a_tenant_that_asks_too_much_at_once_is_refused_and_others_are_not() {
    let setup = setup_with(PolicySettings {
        remember_for: Duration::ZERO,
        ..SETTINGS
    });
    setup.hold();
    let mut waiting = Vec::new();
    let overloaded = loop {
        let policy = Arc::clone(&setup.policy);
        let asked = tokio::spawn(async move {
            policy
                .permit(&CancellationToken::new(), || question("ada", "{}"))
                .await
        });
        waiting.push(asked);
        tokio::task::yield_now().await;
        assert!(waiting.len() <= ASKED_AT_ONCE_MAX);
        if let Some(ended) = waiting
            .iter()
            .position(tokio::task::JoinHandle::is_finished)
        {
            break waiting.swap_remove(ended).await.unwrap().unwrap_err();
        }
    };
    assert_eq!(overloaded.kind(), ErrorKind::Overloaded);
    let mut other = question("ada", "{}");
    other.tenant_id = "other".parse().unwrap();
    let asked = setup.asked();
    let policy = Arc::clone(&setup.policy);
    let other =
        tokio::spawn(async move { policy.permit(&CancellationToken::new(), || other).await });
    setup.until_asked(asked + 1).await;
    setup.service.leave.add_permits(ASKED_AT_ONCE_MAX);
    other.await.unwrap().unwrap();
    for asked in waiting {
        asked.await.unwrap().unwrap();
    }
}
