//! What is known of a change that failed: whether it may have been done all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agent_mesh::mesh::error::READ_FIRST;
use agent_mesh::mesh::store::bucket::{ObjectAttributes, ObjectCondition};
use agent_mesh::mesh::store::table::{Addition, Condition, Row};
use agent_mesh::mesh::store::{Bucket, Table};
use agent_mesh::mesh::{Error, SystemClock};
use agent_mesh::outbound::aws::bucket::PART_BYTES;
use agent_mesh::outbound::aws::settings::CredentialSource;
use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use bytes::Bytes;

use super::tables::{hasty, nobody};
use super::{Answer, BROKEN, Cloud, Wire, json_error, object_key, row_key, settings, xml_error};

super::scripted![
    changes_whose_answers_were_lost_may_have_been_done,
    changes_that_were_refused_were_not_done,
    one_lost_answer_is_enough,
    a_change_that_is_not_answered_in_time_may_have_been_done,
    a_change_that_found_nobody_was_not_done,
    a_change_without_credentials_was_not_done,
    parts_of_an_upload_are_no_change,
    the_end_of_an_upload_is_one,
    a_read_says_nothing_of_it,
];

/// Each change that a tool may make, and how it failed.
async fn changes(cloud: &Cloud) -> Vec<(&'static str, Error)> {
    let row = || Row::new().with_text("version", "v1");
    let addition = [Addition {
        name: "bytes",
        delta: 1,
        ceiling: 10,
    }];
    let key = row_key("K#a");
    let (table, bucket) = (&cloud.table, &cloud.bucket);
    let object = object_key("a");
    let (attributes, body) = (ObjectAttributes::default(), Bytes::from_static(b"1"));
    let (always, etag) = (
        ObjectCondition::Always,
        ObjectCondition::Etag("e".to_owned()),
    );
    let put = |condition| bucket.put(&object, body.clone(), &attributes, condition);
    vec![
        (
            "put",
            table.put(&key, row(), Condition::Always).await.unwrap_err(),
        ),
        (
            "delete",
            table.delete(&key, Condition::Always).await.unwrap_err(),
        ),
        ("add", table.add(&key, &addition).await.unwrap_err()),
        ("store", put(always.clone()).await.unwrap_err()),
        ("store if", put(etag.clone()).await.unwrap_err()),
        ("remove", bucket.delete(&object, always).await.unwrap_err()),
        ("remove if", bucket.delete(&object, etag).await.unwrap_err()),
    ]
}

async fn hold(cloud: &Cloud, expected: bool, why: &str) {
    for (change, error) in changes(cloud).await {
        assert_eq!(error.may_be_done(), expected, "{change}, {why}: {error:?}");
        assert_eq!(
            error.fix_text() == Some(READ_FIRST),
            expected,
            "{change}, {why}"
        );
        assert_eq!(
            error.details().contains_key("outcome"),
            expected,
            "{change}, {why}"
        );
    }
}

/// An error as the service writes it whose request this is.
fn error(of_s3: bool, status: u16, code: &str) -> Answer {
    match of_s3 {
        true => xml_error(status, code),
        false => json_error(status, code),
    }
}

fn always(status: u16, code: &'static str) -> Cloud {
    let answer = move |request: &aws_smithy_runtime_api::client::orchestrator::HttpRequest| {
        error(
            request.headers().get("x-amz-target").is_none(),
            status,
            code,
        )
    };
    Cloud::answering(answer).0
}

async fn changes_whose_answers_were_lost_may_have_been_done() {
    for (status, code) in [
        (BROKEN, "broken"),
        (500, "InternalServerError"),
        (500, "InternalError"),
        (503, "ServiceUnavailable"),
        (502, ""),
    ] {
        hold(&always(status, code), true, &format!("{status} {code}")).await;
    }
}

async fn changes_that_were_refused_were_not_done() {
    for (status, code) in [
        (400, "ThrottlingException"),
        (503, "SlowDown"),
        (400, "ValidationException"),
        (403, "AccessDeniedException"),
        (400, "ResourceNotFoundException"),
        (409, "OperationAborted"),
        (507, "EmbeddedStorageFull"),
        (507, "EmbeddedStorageReadOnly"),
    ] {
        hold(&always(status, code), false, &format!("{status} {code}")).await;
    }
}

/// The answers of the attempts of one change, one after the other; the last one stays.
fn in_turn(answers: &'static [(u16, &'static str)]) -> Cloud {
    let count = AtomicUsize::new(0);
    Cloud::answering(move |request| {
        // Each change begins anew; it is known by the SDK's number of the attempt.
        let first = request
            .headers()
            .get("amz-sdk-request")
            .is_none_or(|text| text.starts_with("attempt=1"));
        let number = match first {
            true => 0,
            false => count.load(Ordering::SeqCst) + 1,
        };
        count.store(number, Ordering::SeqCst);
        let (status, code) = answers[number.min(answers.len() - 1)];
        error(
            request.headers().get("x-amz-target").is_none(),
            status,
            code,
        )
    })
    .0
}

async fn one_lost_answer_is_enough() {
    let lost_first = [(BROKEN, "broken"), (400, "ThrottlingException")];
    hold(
        &in_turn(Box::leak(Box::new(lost_first))),
        true,
        "lost, then throttled",
    )
    .await;
    let lost_then = [
        (400, "ThrottlingException"),
        (500, ""),
        (400, "ValidationException"),
    ];
    hold(
        &in_turn(Box::leak(Box::new(lost_then))),
        true,
        "lost in between",
    )
    .await;
    let never_lost = [(400, "ThrottlingException"), (400, "ValidationException")];
    hold(
        &in_turn(Box::leak(Box::new(never_lost))),
        false,
        "never lost",
    )
    .await;
}

async fn a_change_that_is_not_answered_in_time_may_have_been_done() {
    let mut settings = hasty(SharedHttpClient::new(Wire::new(|_| None)));
    settings.timeouts.transfer_attempt = settings.timeouts.attempt;
    settings.timeouts.transfer_operation = settings.timeouts.operation;
    let cloud = Cloud::on(settings.clone(), Arc::new(SystemClock::new()));
    hold(&cloud, true, "each attempt takes too long").await;
    settings.timeouts.attempt = Duration::from_secs(60);
    settings.timeouts.transfer_attempt = Duration::from_secs(60);
    let cloud = Cloud::on(settings, Arc::new(SystemClock::new()));
    hold(&cloud, true, "all of it takes too long").await;
}

async fn a_change_that_found_nobody_was_not_done() {
    hold(&nobody(), false, "nobody listens").await;
}

async fn a_change_without_credentials_was_not_done() {
    #[derive(Debug)]
    struct Nothing;
    impl aws_credential_types::provider::ProvideCredentials for Nothing {
        fn provide_credentials<'a>(
            &'a self,
        ) -> aws_credential_types::provider::future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let error = CredentialsError::not_loaded("there are none");
            aws_credential_types::provider::future::ProvideCredentials::ready(Err(error))
        }
    }
    let wire = Wire::new(|_| Some((200, String::new())));
    let mut settings = settings(SharedHttpClient::new(wire.clone()));
    settings.credentials = CredentialSource::provider(Nothing);
    let cloud = Cloud::on(settings, Arc::new(SystemClock::new()));
    hold(&cloud, false, "no credentials").await;
    assert_eq!(wire.count(), 0);
}

async fn store_in_parts(cloud: &Cloud) -> Error {
    let body = Bytes::from(vec![1; PART_BYTES + 1]);
    let (key, attributes) = (object_key("a"), ObjectAttributes::default());
    let stored = cloud
        .bucket
        .put(&key, body, &attributes, ObjectCondition::Always);
    stored.await.unwrap_err()
}

/// An upload in parts of which the requests of this method are answered by an error.
fn upload(failing: &'static str, status: u16) -> Cloud {
    Cloud::answering(move |request| {
        let is_failing = request.method() == failing && request.uri().contains("uploadId=");
        match request.method() {
            _ if is_failing => xml_error(status, "InternalError"),
            "POST" => Some((
                200,
                "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
                    .to_owned(),
            )),
            "HEAD" => Some((404, String::new())),
            _ => Some((200, String::new())),
        }
    })
    .0
}

async fn parts_of_an_upload_are_no_change() {
    for status in [BROKEN, 500] {
        let error = store_in_parts(&upload("PUT", status)).await;
        assert!(!error.may_be_done(), "{error:?}");
    }
}

async fn the_end_of_an_upload_is_one() {
    for status in [BROKEN, 500] {
        let error = store_in_parts(&upload("POST", status)).await;
        assert!(error.may_be_done(), "{error:?}");
    }
}

async fn a_read_says_nothing_of_it() {
    let cloud = always(500, "InternalServerError");
    let error = cloud.table.get(&row_key("K#a"), true).await.unwrap_err();
    assert!(!error.may_be_done(), "{error:?}");
    let error = cloud.bucket.head(&object_key("a")).await.unwrap_err();
    assert!(!error.may_be_done(), "{error:?}");
}
