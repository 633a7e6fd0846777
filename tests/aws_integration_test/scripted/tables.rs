//! Table and bus: throttles, timeouts, faults, and what succeeds in part.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agent_mesh::mesh::store::bus::BusEntry;
use agent_mesh::mesh::store::table::{Condition, Row};
use agent_mesh::mesh::store::{Bus, Table, key};
use agent_mesh::mesh::{ErrorKind, SystemClock, Timestamp};
use agent_mesh::outbound::aws::AwsSettings;
use aws_sdk_dynamodb::operation::batch_write_item::BatchWriteItemOutput;
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use aws_sdk_eventbridge::operation::put_events::PutEventsOutput;
use aws_sdk_eventbridge::types::PutEventsResultEntry;
use aws_smithy_mocks::mock;
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use super::{Cloud, Wire, json_error, row_key, settings, tenant};

super::scripted![
    a_throttle_is_waited_for,
    throttles_without_end_are_told,
    faults_without_end_are_told,
    an_answer_that_never_comes_is_a_timeout,
    nobody_at_the_address_is_told,
    a_missing_table_is_told_with_its_remedy,
    a_denial_is_told_without_names,
    what_is_left_of_a_batch_is_sent_again,
    what_stays_left_of_a_batch_is_told,
    a_batch_that_fails_as_a_whole_is_an_error,
    entries_that_failed_are_told_one_by_one,
    answers_for_too_few_entries_are_not_believed,
    throttles_of_one_tenant_leave_anothers_retries_alone,
];

const THROTTLED: &str = r#"{"__type":"com.amazon#ThrottlingException","message":"by script"}"#;

async fn a_throttle_is_waited_for() {
    let rule = mock!(aws_sdk_dynamodb::Client::get_item)
        .sequence()
        .http_status(400, Some(THROTTLED.to_owned()))
        .times(2)
        .output(|| {
            GetItemOutput::builder()
                .item("value", AttributeValue::S("1".to_owned()))
                .build()
        })
        .build();
    let cloud = Cloud::by(&[&rule]);
    let row = cloud.table.get(&row_key("K#a"), true).await.unwrap().value;
    assert_eq!(row, Some(Row::new().with_text("value", "1")));
    assert_eq!(rule.num_calls(), 3);
}

async fn throttles_without_end_are_told() {
    let rule = mock!(aws_sdk_dynamodb::Client::get_item)
        .sequence()
        .http_status(400, Some(THROTTLED.to_owned()))
        .repeatedly()
        .build();
    let cloud = Cloud::by(&[&rule]);
    let error = cloud.table.get(&row_key("K#a"), true).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AwsThrottled);
    assert!(error.wait().is_some());
    assert_eq!(rule.num_calls(), 3);
}

async fn faults_without_end_are_told() {
    let (cloud, wire) = Cloud::answering(|_| json_error(500, "InternalServerError"));
    let error = cloud.table.check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AwsUnavailable);
    assert_eq!(wire.count(), 3);
    let error = cloud.bus.check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AwsUnavailable);
}

pub(super) fn hasty(http_client: SharedHttpClient) -> AwsSettings {
    let mut settings = settings(http_client);
    settings.timeouts.attempt = Duration::from_millis(20);
    settings.timeouts.operation = Duration::from_millis(45);
    settings
}

async fn an_answer_that_never_comes_is_a_timeout() {
    let wire = Wire::new(|_| None);
    let settings = hasty(SharedHttpClient::new(wire.clone()));
    let cloud = Cloud::on(settings, Arc::new(SystemClock::new()));
    let start = std::time::Instant::now();
    let error = cloud.table.get(&row_key("K#a"), true).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(wire.count() >= 2);
}

/// A cloud at an address at which nobody listens.
pub(super) fn nobody() -> Cloud {
    let mut settings = AwsSettings::embedded(
        aws_smithy_http_client::Builder::new()
            .tls_provider(aws_smithy_http_client::tls::Provider::Rustls(
                aws_smithy_http_client::tls::rustls_provider::CryptoMode::AwsLc,
            ))
            .build_https(),
        "table",
        "bucket",
        "bus",
    );
    // Nothing listens on the port of a listener that has gone.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    settings.endpoint_url = Some(format!("http://{}", port.local_addr().unwrap()));
    drop(port);
    settings.backoff_max = Duration::from_millis(1);
    Cloud::on(settings, Arc::new(SystemClock::new()))
}

async fn nobody_at_the_address_is_told() {
    let cloud = nobody();
    let error = cloud.table.get(&row_key("K#a"), true).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AwsUnavailable);
    assert!(!error.message().contains("127.0.0.1"));
}

async fn a_missing_table_is_told_with_its_remedy() {
    let (cloud, wire) = Cloud::answering(|_| json_error(400, "ResourceNotFoundException"));
    let error = cloud.table.get(&row_key("K#a"), true).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AwsUnavailable);
    assert!(error.fix_text().unwrap().contains("use_aws_mcp init aws"));
    assert_eq!(wire.count(), 1);
}

async fn a_denial_is_told_without_names() {
    let body = r#"{"__type":"x#AccessDeniedException","Message":"User: arn:aws:iam::123456789012:user/x is not authorized"}"#;
    let (cloud, _) = Cloud::answering(move |_| Some((400, body.to_owned())));
    let error = cloud.table.get(&row_key("K#a"), true).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AwsCredentials);
    let told = format!(
        "{} {:?} {:?}",
        error.message(),
        error.fix_text(),
        error.details()
    );
    assert!(!told.contains("123456789012"), "{told}");
    assert!(
        format!("{error:?}").contains("123456789012"),
        "the log keeps the cause: {error:?}"
    );
}

fn rows(count: usize) -> Vec<(key::RowKey, Row)> {
    (0..count)
        .map(|number| {
            (
                row_key(&format!("K#{number:02}")),
                Row::new().with_text("value", "1"),
            )
        })
        .collect()
}

/// An answer that leaves the rows `numbers` over.
fn leaving(numbers: &[usize]) -> BatchWriteItemOutput {
    let requests: Vec<WriteRequest> = numbers
        .iter()
        .map(|number| {
            let key = row_key(&format!("K#{number:02}"));
            let text = |text: &str| AttributeValue::S(text.to_owned());
            let put = PutRequest::builder()
                .item("PK", text(key.partition()))
                .item("SK", text(key.sort()))
                .item("value", text("1"));
            WriteRequest::builder()
                .put_request(put.build().unwrap())
                .build()
        })
        .collect();
    let left = if requests.is_empty() {
        HashMap::new()
    } else {
        HashMap::from([("table".to_owned(), requests)])
    };
    BatchWriteItemOutput::builder()
        .set_unprocessed_items(Some(left))
        .build()
}

async fn what_is_left_of_a_batch_is_sent_again() {
    let first = mock!(aws_sdk_dynamodb::Client::batch_write_item)
        .match_requests(|request| request.request_items().unwrap()["table"].len() == 3)
        .then_output(|| leaving(&[0, 2]));
    let second = mock!(aws_sdk_dynamodb::Client::batch_write_item)
        .match_requests(|request| request.request_items().unwrap()["table"].len() == 2)
        .then_output(|| leaving(&[2]));
    let third = mock!(aws_sdk_dynamodb::Client::batch_write_item)
        .match_requests(|request| {
            let requests = &request.request_items().unwrap()["table"];
            let sort = &requests[0].put_request().unwrap().item()["SK"];
            requests.len() == 1 && *sort == AttributeValue::S("K#02".to_owned())
        })
        .then_output(|| leaving(&[]));
    let cloud = Cloud::by(&[&first, &second, &third]);
    let left = cloud.table.put_all(&rows(3)).await.unwrap();
    assert!(left.value.is_empty(), "{left:?}");
    assert_eq!(
        [first.num_calls(), second.num_calls(), third.num_calls()],
        [1, 1, 1]
    );
}

async fn what_stays_left_of_a_batch_is_told() {
    let rule = mock!(aws_sdk_dynamodb::Client::batch_write_item).then_output(|| leaving(&[1, 27]));
    let cloud = Cloud::by(&[&rule]);
    let left = cloud.table.put_all(&rows(30)).await.unwrap();
    assert_eq!(left.value, [1, 27]);
    assert_eq!(rule.num_calls(), 12);
}

async fn a_batch_that_fails_as_a_whole_is_an_error() {
    let (cloud, _) =
        Cloud::answering(|_| json_error(400, "ProvisionedThroughputExceededException"));
    let error = cloud.table.put_all(&rows(30)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AwsThrottled);
    // Where one of two batches is written, the other's rows are told and may be sent again.
    let count = AtomicUsize::new(0);
    let (cloud, _) = Cloud::answering(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Some((200, r#"{"UnprocessedItems":{}}"#.to_owned())),
        _ => json_error(400, "ProvisionedThroughputExceededException"),
    });
    let left = cloud.table.put_all(&rows(30)).await.unwrap();
    assert!(
        left.value == (0..25).collect::<Vec<_>>() || left.value == (25..30).collect::<Vec<_>>()
    );
}

fn entry() -> BusEntry {
    BusEntry {
        time: Timestamp::from_seconds(1_700_000_000),
        source: "agent-mesh.acme".to_owned(),
        detail_type: "KV.Set".to_owned(),
        detail: "{}".to_owned(),
    }
}

async fn entries_that_failed_are_told_one_by_one() {
    let rule = mock!(aws_sdk_eventbridge::Client::put_events)
        .match_requests(|request| {
            let entry = &request.entries()[0];
            entry.event_bus_name() == Some("bus")
                && entry.source() == Some("agent-mesh.acme")
                && entry.time().unwrap().secs() == 1_700_000_000
        })
        .then_output(|| {
            let failed = |code: &str| {
                PutEventsResultEntry::builder()
                    .error_code(code)
                    .error_message("by script")
                    .build()
            };
            PutEventsOutput::builder()
                .failed_entry_count(4)
                .entries(PutEventsResultEntry::builder().event_id("1").build())
                .entries(failed("ThrottlingException"))
                .entries(failed("InternalFailure"))
                .entries(failed("MalformedDetail"))
                .entries(failed("NotAuthorizedForSourceException"))
                .build()
        });
    let cloud = Cloud::by(&[&rule]);
    let results = cloud.bus.put(&vec![entry(); 5]).await.unwrap();
    let kinds: Vec<_> = results
        .iter()
        .map(|result| result.as_ref().map_err(|fault| fault.kind).err())
        .collect();
    let expected = [
        None,
        Some(ErrorKind::AwsThrottled),
        Some(ErrorKind::AwsUnavailable),
        Some(ErrorKind::InvalidParameter),
        Some(ErrorKind::AwsCredentials),
    ];
    assert_eq!(kinds, expected);
    let message = &results[3].as_ref().unwrap_err().message;
    assert_eq!(message, "MalformedDetail: by script");
}

async fn answers_for_too_few_entries_are_not_believed() {
    let rule = mock!(aws_sdk_eventbridge::Client::put_events).then_output(|| {
        PutEventsOutput::builder()
            .entries(PutEventsResultEntry::builder().event_id("1").build())
            .build()
    });
    let cloud = Cloud::by(&[&rule]);
    let error = cloud.bus.put(&vec![entry(); 2]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AwsUnavailable);
}

async fn throttles_of_one_tenant_leave_anothers_retries_alone() {
    let calm = Arc::new(AtomicUsize::new(0));
    let seen = calm.clone();
    let (cloud, wire) = Cloud::answering(move |request| {
        let body = request.body().bytes().unwrap_or_default();
        let is_calm = String::from_utf8_lossy(body).contains("T#calm#");
        if is_calm && seen.fetch_add(1, Ordering::SeqCst) % 2 == 1 {
            return Some((200, "{}".to_owned()));
        }
        json_error(400, "ThrottlingException")
    });
    let loud = key::trial::row(&tenant("loud"), "KV#T", "K#a");
    let mut requests = 0;
    for _ in 0..200 {
        let before = wire.count();
        cloud.table.get(&loud, true).await.unwrap_err();
        requests = wire.count() - before;
    }
    assert_eq!(requests, 1, "the loud tenant has retries left");
    let quiet = key::trial::row(&tenant("calm"), "KV#T", "K#a");
    let row = Row::new().with_text("version", "v");
    assert_eq!(cloud.table.get(&quiet, true).await.unwrap().value, None);
    cloud
        .table
        .put(&quiet, row, Condition::Always)
        .await
        .unwrap();
    assert_eq!(calm.load(Ordering::SeqCst), 4);
}
