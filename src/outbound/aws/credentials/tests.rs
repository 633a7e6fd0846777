//! Credentials that fail, expire and come back.

use std::collections::VecDeque;
use std::sync::Mutex as StdMutex;

use aws_smithy_http_client::test_util::infallible_client_fn;
use aws_smithy_types::body::SdkBody;

use super::*;
use crate::mesh::ManualClock;

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

/// A source that answers from a list, and counts.
#[derive(Clone, Debug, Default)]
struct Source(Arc<StdMutex<Script>>);

#[derive(Debug, Default)]
struct Script {
    answers: VecDeque<Result<Credentials, String>>,
    asked: usize,
}

impl Source {
    fn then(self, answer: Result<Credentials, &str>) -> Self {
        let answer = answer.map_err(str::to_owned);
        self.0.lock().unwrap().answers.push_back(answer);
        self
    }

    fn asked(&self) -> usize {
        self.0.lock().unwrap().asked
    }
}

impl ProvideCredentials for Source {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let mut script = self.0.lock().unwrap();
        script.asked += 1;
        let answer = script
            .answers
            .pop_front()
            .expect("the source was asked too often");
        future::ProvideCredentials::ready(answer.map_err(CredentialsError::provider_error))
    }
}

fn key(name: &str, seconds: Option<u64>) -> Credentials {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW.as_seconds().unsigned_abs());
    let expiry = seconds.map(|seconds| now + Duration::from_secs(seconds));
    Credentials::new(
        name,
        "secret",
        Some(format!("token of {name}")),
        expiry,
        "test",
    )
}

fn shared(source: &Source) -> (SharedCredentials, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(NOW));
    let http = infallible_client_fn(|_| http::Response::new(SdkBody::empty()));
    let credentials = SharedCredentials::new(
        CredentialSource::provider(source.clone()),
        Some("work".to_owned()),
        Region::from_static("us-west-2"),
        http,
        clock.clone(),
    );
    (credentials, clock)
}

async fn name(credentials: &SharedCredentials) -> String {
    let credentials = credentials.resolve().await.unwrap();
    credentials.access_key_id().to_owned()
}

fn signed(name: &str) -> SignedWith {
    SignedWith {
        access_key_id: name.to_owned(),
        session_token: Some(format!("token of {name}")),
    }
}

#[tokio::test]
async fn the_source_is_asked_at_the_first_call_and_not_again() {
    let source = Source::default().then(Ok(key("one", None)));
    let (credentials, clock) = shared(&source);
    assert_eq!(source.asked(), 0);
    assert_eq!(name(&credentials).await, "one");
    clock.advance(Duration::from_secs(86_400));
    assert_eq!(name(&credentials).await, "one");
    assert_eq!(source.asked(), 1);
}

#[tokio::test]
async fn many_calls_at_once_ask_the_source_once() {
    let source = Source::default().then(Ok(key("one", None)));
    let (credentials, _) = shared(&source);
    let calls = (0..20).map(|_| name(&credentials));
    let names = futures::future::join_all(calls).await;
    assert!(names.iter().all(|name| name == "one"));
    assert_eq!(source.asked(), 1);
}

#[tokio::test]
async fn a_broken_source_is_asked_once_a_second_and_recovers() {
    let source = Source::default()
        .then(Err("no sso session"))
        .then(Err("the token has Expired"))
        .then(Ok(key("one", None)));
    let (credentials, clock) = shared(&source);
    let fault = credentials.resolve().await.unwrap_err();
    assert_eq!(fault.reason, Reason::SsoExpired);
    assert_eq!(fault.profile.as_deref(), Some("work"));
    clock.advance(RESOLVE_INTERVAL - Duration::from_millis(1));
    credentials.resolve().await.unwrap_err();
    assert_eq!(source.asked(), 1);
    clock.advance(Duration::from_millis(1));
    let fault = credentials.resolve().await.unwrap_err();
    assert_eq!((source.asked(), fault.reason), (2, Reason::Expired));
    clock.advance(RESOLVE_INTERVAL);
    assert_eq!(name(&credentials).await, "one");
}

#[tokio::test]
async fn credentials_are_renewed_a_minute_before_they_expire() {
    let source = Source::default()
        .then(Ok(key("one", Some(3600))))
        .then(Ok(key("two", Some(7200))));
    let (credentials, clock) = shared(&source);
    name(&credentials).await;
    clock.advance(Duration::from_secs(3539));
    assert_eq!(name(&credentials).await, "one");
    clock.advance(Duration::from_secs(1));
    assert_eq!(name(&credentials).await, "two");
}

#[tokio::test]
async fn a_failure_to_renew_is_no_failure_while_the_old_ones_hold() {
    let source = Source::default()
        .then(Ok(key("one", Some(3600))))
        .then(Err("down"))
        .then(Err("down"));
    let (credentials, clock) = shared(&source);
    name(&credentials).await;
    clock.advance(Duration::from_secs(3550));
    assert_eq!(name(&credentials).await, "one");
    assert_eq!(name(&credentials).await, "one");
    assert_eq!(source.asked(), 2);
    clock.advance(Duration::from_secs(50));
    let fault = credentials.resolve().await.unwrap_err();
    assert_eq!(fault.reason, Reason::Failed);
}

#[tokio::test]
async fn credentials_that_come_expired_are_not_used() {
    let source = Source::default().then(Ok(key("one", Some(0))));
    let (credentials, _) = shared(&source);
    let fault = credentials.resolve().await.unwrap_err();
    assert_eq!(fault.reason, Reason::Expired);
}

#[tokio::test]
async fn refused_credentials_are_asked_for_again_after_a_second() {
    let source = Source::default()
        .then(Ok(key("one", None)))
        .then(Ok(key("two", None)));
    let (credentials, clock) = shared(&source);
    name(&credentials).await;
    credentials.refuse(&signed("one"), "ExpiredToken");
    let fault = credentials.resolve().await.unwrap_err();
    assert_eq!(fault.reason, Reason::Expired);
    clock.advance(RESOLVE_INTERVAL);
    assert_eq!(name(&credentials).await, "two");
    // An answer that comes late is about the old ones.
    credentials.refuse(&signed("one"), "InvalidClientTokenId");
    assert_eq!(name(&credentials).await, "two");
    credentials.refuse(&signed("two"), "InvalidClientTokenId");
    let fault = credentials.resolve().await.unwrap_err();
    assert_eq!(fault.reason, Reason::Refused);
}

fn answer(status: u16, header: &str, body: &'static str) -> HttpResponse {
    let mut response = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body));
    if !header.is_empty() {
        response
            .headers_mut()
            .insert("x-amzn-errortype", header.to_owned());
    }
    response
}

#[test]
fn a_refusal_is_known_in_every_way_that_aws_writes_one() {
    let json = r#"{"__type":"com.amazon.coral.service#UnrecognizedClientException","message":""}"#;
    assert_eq!(
        refusal(&answer(400, "", json)),
        Some("UnrecognizedClientException")
    );
    let json = r#"{"__type":"ExpiredTokenException"}"#;
    assert_eq!(
        refusal(&answer(400, "", json)),
        Some("ExpiredTokenException")
    );
    let xml = "<Error><Code>ExpiredToken</Code></Error>";
    assert_eq!(refusal(&answer(400, "", xml)), Some("ExpiredToken"));
    let head = "InvalidSignatureException:http://internal.amazon.com/";
    assert_eq!(
        refusal(&answer(403, head, "")),
        Some("InvalidSignatureException")
    );
}

#[test]
fn other_answers_are_no_refusals() {
    let json = r#"{"__type":"x#AccessDeniedException","message":"not the ExpiredToken"}"#;
    assert_eq!(refusal(&answer(400, "", json)), None);
    assert_eq!(refusal(&answer(200, "", "<Code>ExpiredToken</Code>")), None);
    assert_eq!(refusal(&answer(503, "", "<Code>ExpiredToken</Code>")), None);
}

#[test]
fn an_instance_without_metadata_is_a_machine_without_credentials() {
    let reason = |message: &str| fault_of(&CredentialsError::provider_error(message)).reason;
    assert_eq!(reason("failed to load IMDS session token"), Reason::Missing);
    assert_eq!(
        reason("failed to load the cached SSO token"),
        Reason::SsoExpired
    );
    assert_eq!(
        reason("external process exited with code 1"),
        Reason::Failed
    );
}
