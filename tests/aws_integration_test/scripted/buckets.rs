//! The bucket: strangers, conflicts, uploads in parts that fail.

use std::sync::atomic::{AtomicUsize, Ordering};

use agent_mesh::mesh::ErrorKind;
use agent_mesh::mesh::store::Bucket;
use agent_mesh::mesh::store::bucket::{ObjectAttributes, ObjectCondition, PutOutcome};
use agent_mesh::outbound::aws::bucket::PART_BYTES;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use bytes::Bytes;

use super::{Answer, Cloud, goes_on, object_key, settle, xml_error};

super::scripted![
    a_bucket_of_a_stranger_is_told_without_names,
    a_missing_bucket_is_told_with_its_remedy,
    a_bucket_in_another_region_is_told,
    a_conflict_is_tried_again,
    conflicts_without_end_are_told,
    a_part_that_fails_ends_the_upload,
    a_caller_that_goes_away_leaves_no_parts,
    an_upload_that_conflicts_starts_anew,
    an_upload_that_was_completed_unheard_is_ours,
    an_upload_that_is_gone_is_not_ours,
    a_throttled_upload_is_told,
];

async fn put(cloud: &Cloud, bytes: usize) -> Result<PutOutcome, agent_mesh::mesh::Error> {
    let attributes = ObjectAttributes::default();
    let body = Bytes::from(vec![1; bytes]);
    let key = object_key("a");
    cloud
        .bucket
        .put(&key, body, &attributes, ObjectCondition::Absent)
        .await
}

fn is_written() -> Answer {
    Some((200, String::new()))
}

async fn a_bucket_of_a_stranger_is_told_without_names() {
    let (cloud, wire) = Cloud::answering(|request| {
        assert_eq!(
            request.headers().get("x-amz-expected-bucket-owner"),
            Some("000000000000")
        );
        xml_error(403, "AccessDenied")
    });
    let error = put(&cloud, 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AwsCredentials);
    assert_eq!(error.details()["reason"], "refused");
    assert!(!error.message().contains("000000000000"));
    let error = cloud
        .bucket
        .get(&object_key("a"), None, 10)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AwsCredentials);
    let error = cloud.bucket.check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AwsCredentials);
    assert_eq!(wire.count(), 3);
}

async fn a_missing_bucket_is_told_with_its_remedy() {
    let (cloud, _) = Cloud::answering(|_| xml_error(404, "NoSuchBucket"));
    let errors = [
        put(&cloud, 1).await.unwrap_err(),
        cloud
            .bucket
            .get(&object_key("a"), None, 10)
            .await
            .unwrap_err(),
        cloud.bucket.check().await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::AwsUnavailable, "{error:?}");
        assert!(error.fix_text().unwrap().contains("use_aws_mcp init aws"));
    }
}

async fn a_bucket_in_another_region_is_told() {
    let (cloud, _) = Cloud::answering(|_| xml_error(301, "PermanentRedirect"));
    let error = put(&cloud, 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AwsUnavailable, "{error:?}");
    assert!(error.fix_text().unwrap().contains("AWS_REGION"));
}

async fn a_conflict_is_tried_again() {
    let count = AtomicUsize::new(0);
    let (cloud, wire) = Cloud::answering(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => xml_error(409, "ConditionalRequestConflict"),
        _ => is_written(),
    });
    assert!(matches!(put(&cloud, 1).await.unwrap(), PutOutcome::Done(_)));
    assert_eq!(wire.count(), 3);
}

async fn conflicts_without_end_are_told() {
    let (cloud, wire) = Cloud::answering(|_| xml_error(409, "ConditionalRequestConflict"));
    let error = put(&cloud, 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AwsUnavailable);
    assert_eq!(wire.count(), 5);
}

/// Answers an upload in parts; `part` and `complete` say what becomes of those requests.
fn upload(line: &str, part: Answer, complete: Answer) -> Answer {
    let is = |method: &str, text: &str| line.starts_with(method) && line.contains(text);
    if is("POST", "?uploads") {
        let body = "<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>";
        return Some((200, body.to_owned()));
    }
    if is("PUT", "partNumber=") {
        part
    } else if is("POST", "uploadId=u1") {
        complete
    } else if is("DELETE", "uploadId=u1") {
        Some((204, String::new()))
    } else {
        panic!("an unexpected request: {line}")
    }
}

fn completed() -> Answer {
    let body = "<CompleteMultipartUploadResult><ETag>&quot;abc-2&quot;</ETag></CompleteMultipartUploadResult>";
    Some((200, body.to_owned()))
}

fn aborts(requests: &[String]) -> usize {
    requests
        .iter()
        .filter(|line| line.starts_with("DELETE"))
        .count()
}

async fn a_part_that_fails_ends_the_upload() {
    let (cloud, wire) = Cloud::answering(|request| {
        let line = format!("{} {}", request.method(), request.uri());
        upload(&line, xml_error(400, "BadDigest"), completed())
    });
    let error = put(&cloud, 2 * PART_BYTES).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal, "{error:?}");
    assert_eq!(aborts(&wire.requests()), 1, "{:?}", wire.requests());
}

async fn a_caller_that_goes_away_leaves_no_parts() {
    let (cloud, wire) = Cloud::answering(|request| {
        let line = format!("{} {}", request.method(), request.uri());
        upload(&line, None, completed())
    });
    {
        let mut putting = Box::pin(put(&cloud, 2 * PART_BYTES));
        goes_on(&mut putting).await;
        assert_eq!(aborts(&wire.requests()), 0);
    }
    settle(|| aborts(&wire.requests()) == 1).await;
}

async fn an_upload_that_conflicts_starts_anew() {
    let count = AtomicUsize::new(0);
    let (cloud, wire) = Cloud::answering(move |request| {
        let line = format!("{} {}", request.method(), request.uri());
        let is_complete = line.starts_with("POST") && line.contains("uploadId=");
        if is_complete && count.fetch_add(1, Ordering::SeqCst) == 0 {
            return xml_error(409, "ConditionalRequestConflict");
        }
        upload(&line, is_written(), completed())
    });
    let outcome = put(&cloud, 2 * PART_BYTES).await.unwrap();
    assert_eq!(outcome, PutOutcome::Done("abc-2".to_owned()));
    let requests = wire.requests();
    assert_eq!(aborts(&requests), 1);
    let started = requests.iter().filter(|line| line.contains("?uploads"));
    assert_eq!(started.count(), 2);
}

/// The last request fails, its repetition finds no upload, and then `head` is there.
fn gone(head: u16) -> impl Fn(&HttpRequest) -> Answer {
    let count = AtomicUsize::new(0);
    move |request| {
        let line = format!("{} {}", request.method(), request.uri());
        if line.starts_with("HEAD") {
            return Some((head, String::new()));
        }
        let complete = match line.starts_with("POST") && line.contains("uploadId=") {
            true if count.fetch_add(1, Ordering::SeqCst) == 0 => xml_error(500, "InternalError"),
            _ => xml_error(404, "NoSuchUpload"),
        };
        upload(&line, is_written(), complete)
    }
}

async fn an_upload_that_was_completed_unheard_is_ours() {
    let (cloud, _) = Cloud::answering(gone(200));
    let outcome = put(&cloud, 2 * PART_BYTES).await.unwrap();
    assert_eq!(outcome, PutOutcome::Done("head".to_owned()));
}

async fn an_upload_that_is_gone_is_not_ours() {
    let (cloud, wire) = Cloud::answering(gone(404));
    put(&cloud, 2 * PART_BYTES).await.unwrap_err();
    assert_eq!(aborts(&wire.requests()), 1);
}

async fn a_throttled_upload_is_told() {
    let (cloud, wire) = Cloud::answering(|_| xml_error(503, "SlowDown"));
    let error = put(&cloud, 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AwsThrottled);
    assert_eq!(wire.count(), 3);
}
