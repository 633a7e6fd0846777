//! Idempotency keys: one effect and one answer, however often, from wherever and at whatever time a call
//! is repeated.

use std::sync::Arc;
use std::time::Duration;

use agent_mesh::mesh::call::grant::Granted;
use agent_mesh::mesh::call::operation::{EventsSend, Operation, Subject};
use agent_mesh::mesh::call::request::Request;
use agent_mesh::mesh::call::tool::Tool;
use agent_mesh::mesh::limit::Cost;
use agent_mesh::mesh::store::idempotency::{Begun, LEASE, REMEMBERED_FOR};
use agent_mesh::mesh::store::key::trial;
use agent_mesh::mesh::store::table::Range;
use agent_mesh::mesh::tenant::Presented;
use agent_mesh::mesh::{Clock, Error, ManualClock, Timestamp};
use agent_mesh::outbound::embedded::{Fault, Service};
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::bus::Heard;
use crate::support::client::patiently;
use crate::support::world::stopped_clock;
use crate::support::{Caller, Plan, World};

/// How long a test watches that nothing happens which would happen at once.
const A_WHILE: Duration = Duration::from_millis(400);

fn order(key: &str) -> Value {
    json!({"detail_type": "Order.Placed", "detail": {"n": 1}, "idempotency_key": key})
}

/// How many events of [`order`] the history has, and how many the counters.
async fn recorded(caller: &Caller) -> (usize, u64) {
    let marker = json!({"detail_type": "Marker.Set", "detail": {}, "wait": true});
    caller.ok("events_send", marker).await;
    let found = caller
        .ok(
            "events_query",
            json!({"detail_type": "Order.Placed", "limit": 500}),
        )
        .await;
    let listed = found["events"].as_array().expect("events").len();
    let figures = caller.ok("events_analytics", json!({})).await;
    let types = figures["top_types"].as_array().expect("types").iter();
    let counted = types
        .filter(|entry| entry["name"] == "Order.Placed")
        .map(|entry| entry["calls"].as_u64().expect("a number"))
        .sum();
    (listed, counted)
}

/// Waits for the events of all the processes to be in history and counters, and holds them to `count`.
async fn holds(callers: &[&Caller], count: usize) {
    patiently(async {
        loop {
            let (listed, counted) = recorded(callers[0]).await;
            for caller in &callers[1..] {
                recorded(caller).await;
            }
            assert!(
                listed <= count && counted <= count as u64,
                "{listed} and {counted} of {count}"
            );
            if (listed, counted) == (count, count as u64) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn duplicates_at_once_in_one_process_record_one_event() {
    let world = World::open().await;
    let caller = world.caller().await;
    let heard = Heard::at(&world);
    let keys = ["a", "b", "c"];
    let calls = (0..48).map(|number| caller.ok("events_send", order(keys[number % keys.len()])));
    let answers = join_all(calls).await;
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(*answer, answers[number % keys.len()]);
    }
    holds(&[&caller], keys.len()).await;
    let published = heard.so_far(|detail| detail["data"] == json!({"n": 1}));
    assert_eq!(published.len(), keys.len(), "the bus has each once");
}

#[tokio::test]
async fn duplicates_at_once_in_two_processes_record_one_event() {
    let world = World::open().await;
    let other = Plan::default().beside(&world).open().await;
    let (here, there) = (world.caller().await, other.caller().await);
    let heard = [Heard::at(&world), Heard::at(&other)];
    // A pause before the first write lets all of them begin before any has ended.
    for world in [&world, &other] {
        let pause = Fault::Delay(Duration::from_millis(30));
        world
            .faults()
            .inject(Service::DynamoDb, "PutItem", pause, 8);
    }
    let calls = (0..32).map(|number| {
        let caller = if number % 2 == 0 { &here } else { &there };
        caller.ok("events_send", order("the only one"))
    });
    let answers = join_all(calls).await;
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
    holds(&[&here, &there], 1).await;
    let published: usize = heard
        .iter()
        .map(|heard| {
            heard
                .so_far(|detail| detail["data"] == json!({"n": 1}))
                .len()
        })
        .sum();
    assert_eq!(published, 1, "the buses have it once");
}

/// A world whose only call under the key `k` took the key and did no more, as one does whose process was
/// killed or whose answers were lost.
async fn broken_off(clock: &Arc<ManualClock>) -> (World, Caller) {
    let world = Plan::default().clock(clock).open().await;
    let caller = world.caller().await;
    world
        .faults()
        .inject(Service::DynamoDb, "PutItem", Fault::LoseAnswer, 20);
    caller.fail("events_send", order("k")).await;
    world.faults().clear();
    (world, caller)
}

#[tokio::test]
async fn what_a_call_that_was_broken_off_promised_is_recorded_when_its_lease_has_ended() {
    let clock = stopped_clock();
    let (world, caller) = broken_off(&clock).await;
    let heard = Heard::at(&world);
    let (_, mut repeated) = caller.begin("events_send", order("k")).await;
    let early = tokio::time::timeout(A_WHILE, &mut repeated).await;
    assert!(
        early.is_err(),
        "it is answered while the lease lasts: {early:?}"
    );
    let failure = caller.fail(
        "events_send",
        json!({
            "detail_type": "Order.Placed", "detail": {"n": 2}, "idempotency_key": "k",
        }),
    );
    assert_eq!(
        failure.await.code(),
        "CONFLICT",
        "who has other arguments need not wait"
    );

    clock.advance(LEASE);
    let answer = patiently(repeated)
        .await
        .expect("an answer")
        .expect("a result");
    let answer = caller.read("events_send", &answer).value();
    assert_eq!(caller.ok("events_send", order("k")).await, answer);
    let id = answer["event_id"].clone();
    heard.wait(1, |detail| detail["event_id"] == id).await;
    holds(&[&caller], 1).await;
    // The promise is older than the call that kept it.
    let accepted: Timestamp = answer["accepted_at"].as_str().unwrap().parse().unwrap();
    assert!(clock.now().since(accepted) >= LEASE);
}

#[tokio::test]
async fn several_that_wait_for_a_broken_off_call_record_it_once() {
    let clock = stopped_clock();
    let (world, caller) = broken_off(&clock).await;
    let other = Plan::default().beside(&world).clock(&clock).open().await;
    let there = other.caller().await;
    let mut waiting = Vec::new();
    for _ in 0..4 {
        for caller in [&caller, &there] {
            waiting.push((caller, caller.begin("events_send", order("k")).await.1));
        }
    }
    tokio::time::sleep(A_WHILE).await;
    clock.advance(LEASE);
    let mut answers = Vec::new();
    for (caller, waiting) in waiting {
        let answer = patiently(waiting)
            .await
            .expect("an answer")
            .expect("a result");
        answers.push(caller.read("events_send", &answer).value());
    }
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
    holds(&[&caller, &there], 1).await;
}

#[tokio::test]
async fn a_wall_clock_that_jumps_neither_ends_a_lease_nor_keeps_it() {
    let clock = stopped_clock();
    let (_world, caller) = broken_off(&clock).await;
    let start = clock.now();
    let (_, mut repeated) = caller.begin("events_send", order("k")).await;
    for jump in [
        start.plus(REMEMBERED_FOR / 2),
        start.minus(REMEMBERED_FOR * 400),
        start,
    ] {
        clock.jump_to(jump);
        let early = tokio::time::timeout(A_WHILE, &mut repeated).await;
        assert!(early.is_err(), "at {jump} the lease lasts: {early:?}");
    }
    clock.advance(LEASE);
    clock.jump_to(start.minus(REMEMBERED_FOR));
    let answer = patiently(repeated)
        .await
        .expect("an answer")
        .expect("a result");
    assert!(!caller.read("events_send", &answer).is_error);
}

#[tokio::test]
async fn an_answer_is_remembered_for_a_day() {
    let clock = stopped_clock();
    let world = Plan::default().clock(&clock).open().await;
    let caller = world.caller().await;
    let first = caller.ok("events_send", order("k")).await;
    clock.advance(REMEMBERED_FOR - Duration::from_secs(1));
    assert_eq!(caller.ok("events_send", order("k")).await, first);
    clock.advance(Duration::from_secs(1));
    let second = caller.ok("events_send", order("k")).await;
    assert_ne!(second["event_id"], first["event_id"]);
    assert_eq!(caller.ok("events_send", order("k")).await, second);
}

/// A call that takes the key `k`, does something that takes a while, and settles the key.
#[derive(Default)]
struct Probe {
    /// What it promises, and then answers.
    name: &'static str,
    /// Told when the key is taken.
    taken: Option<oneshot::Sender<()>>,
    /// How long it works.
    work: Option<oneshot::Receiver<End>>,
    renews: bool,
    takes_over: bool,
    patience: Duration,
}

/// How the work of a [`Probe`] ended.
#[derive(Clone, Copy, Debug)]
enum End {
    Done,
    /// It had no effect.
    Refused,
    /// Whether it had one is not known.
    Unsure,
}

/// What a [`Probe`] found, and what it was promised or answered.
type Found = (String, String);

/// The leases of probes. Time stands still for them until the test moves it.
const PROBE_LEASE: Duration = Duration::from_millis(300);

impl Operation for Probe {
    const TOOL: Tool = Tool::EventsSend;
    type Needs = EventsSend;
    type Answer = Found;

    fn subject(&self) -> Subject {
        Subject::none()
    }

    fn cost(&self) -> Cost {
        Cost::NONE
    }

    async fn serve<'call>(self, call: &Granted<'call, Self>) -> Result<Found, Error> {
        let keys = call.idempotency().leased_for(PROBE_LEASE);
        let found = |what: &str, text: &str| Ok((what.to_owned(), text.to_owned()));
        let mut claim = match keys.begin("k", "hash", self.name, self.patience).await? {
            Begun::First(claim) => claim,
            Begun::Done { result } => return found("done", &result),
            Begun::Running => return found("running", ""),
            Begun::OtherArguments => return found("other", ""),
            Begun::Abandoned(abandoned) if self.takes_over => keys
                .take_over(&abandoned)
                .await?
                .expect("nobody else takes it over"),
            Begun::Abandoned(abandoned) => return found("abandoned", abandoned.promise()),
        };
        if let Some(taken) = self.taken {
            taken.send(()).expect("the test waits");
        }
        let end = match self.work {
            Some(work) if self.renews => keys.renewing(&mut claim, work).await.unwrap(),
            Some(work) => work.await.unwrap(),
            None => End::Done,
        };
        let promise = claim.promise().to_owned();
        match end {
            End::Done => {
                let kept = keys
                    .finish(claim, &format!("answer of {}", self.name))
                    .await?;
                found(if kept { "did" } else { "did late" }, &promise)
            }
            End::Refused => keys
                .release(claim)
                .await
                .and_then(|()| found("refused", "")),
            End::Unsure => keys.abandon(claim).await.and_then(|()| found("unsure", "")),
        }
    }
}

impl Probe {
    fn named(name: &'static str) -> Self {
        Self {
            name,
            patience: Duration::from_hours(1),
            ..Self::default()
        }
    }

    fn spawn(self, world: &World) -> JoinHandle<Found> {
        let backplane = Arc::clone(&world.app.shared().backplane);
        tokio::spawn(async move {
            let answer = backplane
                .call(Request::new(Presented::default()), Ok(self))
                .await;
            answer.expect("a caller").into_result().expect("a result")
        })
    }

    async fn run(self, world: &World) -> Found {
        patiently(self.spawn(world))
            .await
            .expect("it does not panic")
    }

    /// Starts it, and answers when it has taken the key: how to end it, and what it will have found.
    async fn start(mut self, world: &World) -> (oneshot::Sender<End>, JoinHandle<Found>) {
        let (taken, is_taken) = oneshot::channel();
        let (end, work) = oneshot::channel();
        (self.taken, self.work) = (Some(taken), Some(work));
        let task = self.spawn(world);
        patiently(is_taken).await.expect("it takes the key");
        (end, task)
    }
}

fn found(what: &str, text: &str) -> Found {
    (what.to_owned(), text.to_owned())
}

/// The version of the row of the only key.
#[expect(clippy::disallowed_methods, reason = "no tool shows the row of a key")]
async fn version(world: &World) -> String {
    let partition = trial::partition(&"local".parse().unwrap(), "IDEM");
    let range = Range {
        limit: 2,
        ..Range::default()
    };
    let table = &world.app.shared().backplane.table;
    let rows = table.query(&partition, &range).await.unwrap().value.rows;
    assert_eq!(rows.len(), 1);
    rows[0].1.version().expect("a version").to_owned()
}

#[tokio::test]
async fn a_lease_that_is_renewed_lasts_as_long_as_the_call() {
    let clock = stopped_clock();
    let world = Plan::default().clock(&clock).open().await;
    let first = Probe {
        renews: true,
        ..Probe::named("first")
    };
    let (end, first) = first.start(&world).await;
    let second = Probe::named("second").spawn(&world);
    for _ in 0..6 {
        let known = version(&world).await;
        patiently(async {
            while version(&world).await == known {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        clock.advance(PROBE_LEASE * 2 / 3);
    }
    assert!(!second.is_finished(), "four leases later it still waits");
    let impatient = Probe {
        patience: Duration::ZERO,
        ..Probe::named("third")
    };
    assert_eq!(impatient.run(&world).await, found("running", ""));
    end.send(End::Done).unwrap();
    assert_eq!(patiently(first).await.unwrap(), found("did", "first"));
    assert_eq!(
        patiently(second).await.unwrap(),
        found("done", "answer of first")
    );
}

#[tokio::test]
async fn what_becomes_of_a_key_is_the_callers_to_say() {
    let clock = stopped_clock();
    let world = Plan::default().clock(&clock).open().await;
    let (end, first) = Probe::named("first").start(&world).await;
    end.send(End::Refused).unwrap();
    assert_eq!(patiently(first).await.unwrap(), found("refused", ""));
    // It had no effect, so that the next one is the first; of that one nothing is known.
    let (end, second) = Probe::named("second").start(&world).await;
    end.send(End::Unsure).unwrap();
    assert_eq!(patiently(second).await.unwrap(), found("unsure", ""));
    for _ in 0..2 {
        let third = Probe::named("third").run(&world).await;
        assert_eq!(
            third,
            found("abandoned", "second"),
            "and nobody waits for it"
        );
    }
    let fourth = Probe {
        takes_over: true,
        ..Probe::named("fourth")
    };
    assert_eq!(fourth.run(&world).await, found("did", "second"));
    let fifth = Probe::named("fifth").run(&world).await;
    assert_eq!(fifth, found("done", "answer of fourth"));
}

#[tokio::test]
async fn who_comes_back_after_its_lease_settles_nothing() {
    let clock = stopped_clock();
    let world = Plan::default().clock(&clock).open().await;
    let (end, late) = Probe::named("late").start(&world).await;
    let heir = Probe {
        takes_over: true,
        ..Probe::named("heir")
    };
    let heir = heir.spawn(&world);
    tokio::time::sleep(A_WHILE).await;
    clock.advance(PROBE_LEASE);
    assert_eq!(patiently(heir).await.unwrap(), found("did", "late"));
    end.send(End::Done).unwrap();
    assert_eq!(patiently(late).await.unwrap(), found("did late", "late"));
    let after = Probe::named("after").run(&world).await;
    assert_eq!(after, found("done", "answer of heir"));
}
