//! The bus: takes events as EventBridge would, counts them and hands them to whoever asked.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use ulid::Ulid;

use super::wire::{Answer, JSON_1_1};
use super::{ACCOUNT, REGION};
use crate::mesh::{Clock, Timestamp};

/// The most entries of one PutEvents call.
const ENTRIES_MAX: usize = 10;

/// The most bytes of the entries of one PutEvents call together, as EventBridge counts them.
const ENTRIES_BYTES_MAX: usize = 1 << 20;

/// What the time of an entry counts for, in bytes.
const TIME_BYTES: usize = 14;

/// An event that the bus has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenEvent {
    /// The id that the sender was told.
    pub id: String,
    /// When it happened by its sender's word, else when it was taken.
    pub time: Timestamp,
    /// Its source.
    pub source: String,
    /// What happened.
    pub detail_type: String,
    /// What it concerns.
    pub resources: Vec<String>,
    /// One JSON object, as it was sent.
    pub detail: String,
}

/// Who wants every event that the bus takes.
pub trait EventSink: Send + Sync + 'static {
    /// Takes `event`. The sender's call waits for it, so it must neither block nor take long.
    fn take(&self, event: TakenEvent);
}

/// The engine of one bus.
pub(super) struct EventBridge {
    bus: String,
    clock: Arc<dyn Clock>,
    taken: AtomicU64,
    sink: OnceLock<Arc<dyn EventSink>>,
}

impl std::fmt::Debug for EventBridge {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("EventBridge")
            .field("bus", &self.bus)
            .field("taken", &self.taken)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct PutEvents {
    #[serde(rename = "Entries")]
    entries: Vec<Entry>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Entry {
    time: Option<f64>,
    source: Option<String>,
    resources: Vec<String>,
    detail_type: Option<String>,
    detail: Option<String>,
    event_bus_name: Option<String>,
}

impl Entry {
    fn size(&self) -> usize {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let time = if self.time.is_some() { TIME_BYTES } else { 0 };
        let resources: usize = self.resources.iter().map(String::len).sum();
        time + length(&self.source) + length(&self.detail_type) + length(&self.detail) + resources
    }
}

impl EventBridge {
    pub(super) fn new(bus: String, clock: Arc<dyn Clock>) -> Self {
        Self {
            bus,
            clock,
            taken: AtomicU64::new(0),
            sink: OnceLock::new(),
        }
    }

    /// The operation of that name, or none of ours.
    pub(super) fn operation(name: &str) -> &'static str {
        match name {
            "PutEvents" => "PutEvents",
            "DescribeEventBus" => "DescribeEventBus",
            _ => "",
        }
    }

    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    pub(super) fn set_sink(&self, sink: Arc<dyn EventSink>) -> bool {
        self.sink.set(sink).is_ok()
    }

    pub(super) fn answer(&self, operation: &str, body: &[u8]) -> Answer {
        match operation {
            "PutEvents" => self.put_events(body),
            "DescribeEventBus" => self.describe_event_bus(body),
            _ => error(
                "UnknownOperationException",
                "The embedded cloud does not have this operation.",
            ),
        }
    }

    fn put_events(&self, body: &[u8]) -> Answer {
        let Ok(request) = serde_json::from_slice::<PutEvents>(body) else {
            return error("SerializationException", "The request is malformed.");
        };
        if request.entries.is_empty() || request.entries.len() > ENTRIES_MAX {
            return error(
                "ValidationException",
                &format!(
                    "1 validation error detected: Value at 'entries' failed to satisfy constraint: Member must have length between 1 and {ENTRIES_MAX}"
                ),
            );
        }
        let entries = request.entries;
        if entries.iter().map(Entry::size).sum::<usize>() > ENTRIES_BYTES_MAX {
            return error(
                "ValidationException",
                "Total size of the entries in the request is over the limit.",
            );
        }
        let mut failed = 0;
        let answers: Vec<Value> = entries
            .into_iter()
            .map(|entry| match self.take(entry) {
                Ok(id) => json!({"EventId": id}),
                Err((code, message)) => {
                    failed += 1;
                    json!({"ErrorCode": code, "ErrorMessage": message})
                }
            })
            .collect();
        ok(&json!({"FailedEntryCount": failed, "Entries": answers}))
    }

    fn take(&self, entry: Entry) -> Result<String, (&'static str, String)> {
        let source = required(entry.source, "Source")?;
        let detail_type = required(entry.detail_type, "DetailType")?;
        let detail = required(entry.detail, "Detail")?;
        if source.starts_with("aws.") {
            return Err((
                "NotAuthorizedForSourceException",
                "Not authorized for the source.".to_owned(),
            ));
        }
        if !is_json_object(&detail) {
            return Err(("MalformedDetail", "Detail is malformed.".to_owned()));
        }
        let bus = entry.event_bus_name.as_deref().unwrap_or("default");
        if !self.is_ours(bus) {
            // AWS drops such an event without a word; a mistyped name should rather show.
            return Err((
                "InvalidArgument",
                "There is no event bus of this name.".to_owned(),
            ));
        }
        let id = Ulid::generate().to_string();
        self.taken.fetch_add(1, Ordering::Relaxed);
        if let Some(sink) = self.sink.get() {
            let time = entry.time.map_or_else(
                || self.clock.now(),
                |seconds| Timestamp::from_millis((seconds * 1000.0) as i64),
            );
            sink.take(TakenEvent {
                id: id.clone(),
                time,
                source,
                detail_type,
                resources: entry.resources,
                detail,
            });
        }
        Ok(id)
    }

    fn describe_event_bus(&self, body: &[u8]) -> Answer {
        let name = serde_json::from_slice::<Value>(body)
            .ok()
            .and_then(|request| request.get("Name")?.as_str().map(str::to_owned))
            .unwrap_or_else(|| "default".to_owned());
        if !self.is_ours(&name) {
            return error(
                "ResourceNotFoundException",
                "There is no event bus of this name.",
            );
        }
        ok(&json!({"Name": self.bus, "Arn": self.arn()}))
    }

    fn is_ours(&self, name: &str) -> bool {
        name == self.bus || (name.starts_with("arn:") && name == self.arn())
    }

    fn arn(&self) -> String {
        format!("arn:aws:events:{REGION}:{ACCOUNT}:event-bus/{}", self.bus)
    }
}

fn required(value: Option<String>, name: &'static str) -> Result<String, (&'static str, String)> {
    value.filter(|value| !value.is_empty()).ok_or_else(|| {
        (
            "InvalidArgument",
            format!("Parameter {name} is not valid. Reason: {name} is a required argument."),
        )
    })
}

fn is_json_object(text: &str) -> bool {
    text.trim_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

fn ok(body: &Value) -> Answer {
    Answer::ok(JSON_1_1, body.to_string().into_bytes())
}

fn error(code: &str, message: &str) -> Answer {
    Answer::json_error(JSON_1_1, 400, code, message)
}
