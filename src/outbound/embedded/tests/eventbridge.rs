//! The bus: what it takes, what it refuses entry by entry, who hears of it.

use std::sync::Mutex;

use aws_sdk_eventbridge::error::ProvideErrorMetadata;
use aws_sdk_eventbridge::primitives::DateTime;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use aws_sdk_eventbridge::types::builders::PutEventsRequestEntryBuilder;

use super::*;
use crate::outbound::embedded::{EventSink, TakenEvent};

#[derive(Default)]
struct Heard(Mutex<Vec<TakenEvent>>);

impl EventSink for Heard {
    fn take(&self, event: TakenEvent) {
        self.0.lock().unwrap().push(event);
    }
}

fn entry(detail: &str) -> PutEventsRequestEntryBuilder {
    PutEventsRequestEntry::builder()
        .event_bus_name(BUS)
        .source("agent-mesh.acme")
        .detail_type("KV.Set")
        .detail(detail)
}

#[tokio::test]
async fn good_entries_are_taken_and_bad_ones_named() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let heard = Arc::new(Heard::default());
    assert!(cloud.set_event_sink(Arc::clone(&heard) as Arc<dyn EventSink>));
    assert!(!cloud.set_event_sink(Arc::clone(&heard) as Arc<dyn EventSink>));
    let arn = format!("arn:aws:events:us-west-2:000000000000:event-bus/{BUS}");
    let answer = bus(&cloud)
        .put_events()
        .entries(
            entry("{\"a\": 1}")
                .time(DateTime::from_secs(1_800_000_000))
                .build(),
        )
        .entries(entry("[1]").build())
        .entries(entry("{\"a\": ").build())
        .entries(entry("{}").source("").build())
        .entries(entry("{}").set_detail_type(None).build())
        .entries(entry("{}").source("aws.s3").build())
        .entries(entry("{}").event_bus_name("another").build())
        .entries(entry("{}").event_bus_name(arn).build())
        .send()
        .await
        .unwrap();
    let codes: Vec<_> = answer
        .entries()
        .iter()
        .map(|entry| entry.error_code())
        .collect();
    assert_eq!(
        codes,
        [
            None,
            Some("MalformedDetail"),
            Some("MalformedDetail"),
            Some("InvalidArgument"),
            Some("InvalidArgument"),
            Some("NotAuthorizedForSourceException"),
            Some("InvalidArgument"),
            None,
        ]
    );
    assert_eq!(answer.failed_entry_count(), 6);
    assert_eq!(cloud.events_taken(), 2);
    let heard = heard.0.lock().unwrap();
    assert_eq!(heard.len(), 2);
    assert_eq!(heard[0].detail, "{\"a\": 1}");
    assert_eq!(heard[0].time.as_seconds(), 1_800_000_000);
    assert_eq!(answer.entries()[0].event_id(), Some(heard[0].id.as_str()));
}

#[tokio::test]
async fn ten_entries_and_a_mebibyte_are_taken_and_one_more_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let client = bus(&cloud);
    let put = |count: usize, detail: String| {
        let entries = (0..count).map(|_| entry(&detail).build()).collect();
        client.put_events().set_entries(Some(entries)).send()
    };
    put(10, "{}".to_owned()).await.unwrap();
    let refused = put(11, "{}".to_owned()).await.unwrap_err();
    assert_eq!(refused.code(), Some("ValidationException"));
    let envelope = "agent-mesh.acme".len() + "KV.Set".len() + "{\"a\":\"\"}".len();
    let detail = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - envelope));
    put(1, detail(1 << 20)).await.unwrap();
    let refused = put(1, detail((1 << 20) + 1)).await.unwrap_err();
    assert_eq!(refused.code(), Some("ValidationException"));
}

#[tokio::test]
async fn the_bus_describes_itself() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = cloud(folder.path());
    let client = bus(&cloud);
    let described = client.describe_event_bus().name(BUS).send().await.unwrap();
    assert_eq!(described.name(), Some(BUS));
    let unknown = client
        .describe_event_bus()
        .name("another")
        .send()
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), Some("ResourceNotFoundException"));
    assert!(
        unknown
            .into_service_error()
            .is_resource_not_found_exception()
    );
}
