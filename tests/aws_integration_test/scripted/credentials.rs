//! Credentials that are missing, expire, are refused, and come back without a restart.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_mesh::mesh::store::{Bucket, Table};
use agent_mesh::mesh::{ErrorKind, ManualClock, Timestamp};
use agent_mesh::outbound::aws::CredentialSource;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;

use super::{Answer, Cloud, Wire, json_error, object_key, row_key, settings, xml_error};

super::scripted![
    without_credentials_nothing_is_sent,
    credentials_that_appear_are_used,
    refused_credentials_are_renewed_within_the_call,
    refused_credentials_do_not_hammer,
    an_expired_token_is_renewed_for_the_bucket_too,
];

/// A source whose answer can be changed, as a person changes a file.
#[derive(Clone, Debug)]
struct Source {
    key: Arc<Mutex<Option<&'static str>>>,
    asked: Arc<AtomicUsize>,
}

impl Source {
    fn of(key: Option<&'static str>) -> Self {
        Self {
            key: Arc::new(Mutex::new(key)),
            asked: Arc::default(),
        }
    }

    fn is_now(&self, key: &'static str) {
        *self.key.lock().unwrap() = Some(key);
    }
}

impl ProvideCredentials for Source {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        self.asked.fetch_add(1, Ordering::SeqCst);
        future::ProvideCredentials::ready(match *self.key.lock().unwrap() {
            Some(key) => Ok(Credentials::new(key, "secret", None, None, "test")),
            None => Err(CredentialsError::not_loaded("there is no file")),
        })
    }
}

struct Stage {
    cloud: Cloud,
    wire: Wire,
    clock: Arc<ManualClock>,
}

fn stage(source: &Source, wire: Wire) -> Stage {
    let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_700_000_000)));
    let mut settings = settings(SharedHttpClient::new(wire.clone()));
    settings.credentials = CredentialSource::provider(source.clone());
    Stage {
        cloud: Cloud::on(settings, clock.clone()),
        wire,
        clock,
    }
}

fn is_signed_with(request: &HttpRequest, key: &str) -> bool {
    let authorization = request.headers().get("authorization").unwrap_or("");
    authorization.contains(&format!("Credential={key}/"))
}

fn found() -> Answer {
    Some((200, "{}".to_owned()))
}

async fn without_credentials_nothing_is_sent() {
    let source = Source::of(None);
    let stage = stage(&source, Wire::new(|_| panic!("something was sent")));
    for _ in 0..5 {
        let error = stage
            .cloud
            .table
            .get(&row_key("K#a"), true)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AwsCredentials);
        assert_eq!(error.details()["reason"], "missing");
        let fix = error.fix_text().unwrap();
        assert!(
            fix.contains("aws configure") && fix.contains("AWS_PROFILE"),
            "{fix}"
        );
    }
    assert_eq!(source.asked.load(Ordering::SeqCst), 1);
}

async fn credentials_that_appear_are_used() {
    let source = Source::of(None);
    let stage = stage(&source, Wire::new(|_| found()));
    stage
        .cloud
        .table
        .get(&row_key("K#a"), true)
        .await
        .unwrap_err();
    source.is_now("first");
    stage.clock.advance(Duration::from_secs(1));
    stage.cloud.table.get(&row_key("K#a"), true).await.unwrap();
}

async fn refused_credentials_are_renewed_within_the_call() {
    let source = Source::of(Some("old"));
    let stage = stage(
        &source,
        Wire::new(|request| {
            if is_signed_with(request, "old") {
                json_error(400, "ExpiredTokenException")
            } else {
                found()
            }
        }),
    );
    stage
        .cloud
        .table
        .get(&row_key("K#a"), true)
        .await
        .unwrap_err();
    assert_eq!(stage.wire.count(), 1);
    // The old ones are asked for once more, and are still refused.
    stage.clock.advance(Duration::from_secs(1));
    let error = stage
        .cloud
        .table
        .get(&row_key("K#a"), true)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AwsCredentials);
    assert_eq!(error.details()["reason"], "expired");
    // As if the credentials had been good when they were asked for, and somebody renewed them since.
    source.is_now("new");
    stage.clock.advance(Duration::from_secs(1));
    stage.cloud.table.get(&row_key("K#a"), true).await.unwrap();
    assert_eq!(stage.wire.count(), 3);
}

async fn refused_credentials_do_not_hammer() {
    let source = Source::of(Some("bad"));
    let refuse = |_: &HttpRequest| json_error(400, "UnrecognizedClientException");
    let stage = stage(&source, Wire::new(refuse));
    for _ in 0..20 {
        let error = stage
            .cloud
            .table
            .get(&row_key("K#a"), true)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AwsCredentials);
        assert_eq!(error.details()["reason"], "refused");
        assert!(error.fix_text().is_some());
    }
    assert_eq!(stage.wire.count(), 1);
    assert_eq!(source.asked.load(Ordering::SeqCst), 1);
}

async fn an_expired_token_is_renewed_for_the_bucket_too() {
    let source = Source::of(Some("old"));
    let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_700_000_000)));
    let (renew, later) = (source.clone(), clock.clone());
    let wire = Wire::new(move |request| {
        if is_signed_with(request, "old") {
            // Time passes, and somebody signs in.
            later.advance(Duration::from_secs(2));
            renew.is_now("new");
            return xml_error(400, "ExpiredToken");
        }
        xml_error(404, "NoSuchKey")
    });
    let mut settings = settings(SharedHttpClient::new(wire.clone()));
    settings.credentials = CredentialSource::provider(source);
    let cloud = Cloud::on(settings, clock);
    let outcome = cloud.bucket.get(&object_key("a"), None, 10).await.unwrap();
    assert_eq!(outcome, agent_mesh::mesh::store::bucket::GetOutcome::Absent);
    assert_eq!(wire.count(), 2);
}
