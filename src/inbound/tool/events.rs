//! The event tools: what a client sees of them, and their arguments.

pub mod alerts;
pub mod analytics;
pub mod query;
pub mod rules;

use std::collections::BTreeMap;

use serde_json::json;
use serde_json::value::RawValue;

use super::argument::{Argument, Arguments};
use super::description::{Description, flag, one_of, optional, result, text, texts_by_name};
use crate::mesh::Error;
use crate::mesh::call::tool::Tool;
use crate::mesh::event::Priority;
use crate::mesh::service::events::send::EVENTS_MAX;
use crate::mesh::service::events::{EventsHealthCheck, EventsSend, NewEvent};
use crate::mesh::store::idempotency::KEY_BYTES_MAX;

/// `events_send`.
pub fn describe_send() -> Description {
    let event = json!({
        "type": "object",
        "required": ["detail_type", "detail"],
        "properties": {
            "detail_type": text(), "detail": {"type": "object"}, "source": text(),
            "priority": text(), "tags": {"type": "object"},
        },
    });
    Description {
        tool: Tool::EventsSend,
        title: "Send events",
        text: "Record that something happened and publish it to the tenant's event bus, for other agents, \
               rules and systems. Give `detail_type` and `detail` for one event, or `events` for up to 10, \
               all or none. It is not for storing data: use kv_set or artifacts_put. It returns when the \
               events are safely recorded, or with `wait` when the bus has taken them. With an \
               `idempotency_key` a repeated call has its effect once. Find events with events_query.",
        arguments: vec![
            optional(
                "detail_type",
                text(),
                "What happened, such as `Order.Failed`; 1 to 128 characters.",
            ),
            optional(
                "detail",
                json!({"type": "object"}),
                "What there is to know of it; 200,000 bytes at most.",
            ),
            optional("source", text(), "What you call its source."),
            optional(
                "priority",
                one_of(&["medium", "low", "high", "critical"]),
                "How urgent it is.",
            ),
            optional("tags", texts_by_name(), "Labels to find it by, 20 at most."),
            optional(
                "events",
                json!({"type": "array", "minItems": 1, "maxItems": EVENTS_MAX, "items": event}),
                "Several events, instead of the members above.",
            ),
            optional(
                "idempotency_key",
                text(),
                "Makes a repeated call have its effect once, for 24 hours.",
            ),
            optional("wait", flag(), "Answer when the bus has taken them."),
        ],
        one_of: vec![&["detail_type", "detail"], &["events"]],
        results: vec![
            result("event_id", text()),
            result("accepted_at", text()),
            result(
                "events",
                json!({"type": "array", "items": {"type": "object"}}),
            ),
            result("published", flag()),
        ],
        destructive: false,
        idempotent: false,
    }
}

/// `events_health_check`.
pub fn describe_health_check() -> Description {
    Description {
        tool: Tool::EventsHealthCheck,
        title: "Check health",
        text: "Tell how the parts are that your calls go through: table, bucket, bus, outbox, publisher, rules, \
               workflows and integrations, each healthy, degraded or unhealthy. Use it when calls fail or events \
               are late. It answers even when parts are down.",
        arguments: vec![optional("verbose", flag(), "Figures of healthy parts too.")],
        one_of: Vec::new(),
        results: vec![
            result("status", one_of(&["healthy", "degraded", "unhealthy"])),
            result(
                "parts",
                json!({"type": "array", "items": {"type": "object"}}),
            ),
        ],
        destructive: false,
        idempotent: true,
    }
}

/// The arguments of `events_send`.
pub fn send(text: Option<&str>) -> Result<EventsSend, Error> {
    let mut arguments = Arguments::of(text)?;
    let list: Option<Vec<Box<RawValue>>> = arguments.optional("events")?;
    let idempotency_key: Option<String> = arguments.optional("idempotency_key")?;
    let wait = arguments.or("wait", false)?;
    if idempotency_key
        .as_ref()
        .is_some_and(|key| key.is_empty() || key.len() > KEY_BYTES_MAX)
    {
        let what = format!("must have 1 to {KEY_BYTES_MAX} bytes");
        return Err(arguments.wrong("idempotency_key", what));
    }
    let as_list = list.is_some();
    let events = match list {
        None => vec![new_event(arguments, "")?],
        Some(list) => {
            arguments.finish().map_err(|error| {
                error.fix("With `events`, give detail_type, detail, source, priority and tags inside of it.")
            })?;
            listed(&list)?
        }
    };
    Ok(EventsSend {
        events,
        as_list,
        idempotency_key,
        wait,
    })
}

fn listed(list: &[Box<RawValue>]) -> Result<Vec<NewEvent>, Error> {
    if !(1..=EVENTS_MAX).contains(&list.len()) {
        let message = format!("`events` has {}; it may have 1 to {EVENTS_MAX}", list.len());
        return Err(Error::invalid("events", message).fix("Send them in several calls."));
    }
    let each = |(position, text): (usize, &RawValue)| {
        let at = format!("events[{position}].");
        new_event(Arguments::within(text.get(), at.clone())?, &at)
    };
    let texts = list.iter().map(AsRef::as_ref);
    texts.enumerate().map(each).collect()
}

fn new_event(mut arguments: Arguments<'_>, at: &str) -> Result<NewEvent, Error> {
    let event = NewEvent {
        detail_type: arguments.required("detail_type")?,
        detail: arguments.json("detail")?.to_owned(),
        source: arguments.optional("source")?,
        priority: arguments.or("priority", Priority::Medium)?,
        tags: arguments.optional::<BTreeMap<String, String>>("tags")?,
    };
    arguments.finish()?;
    event.check(at)?;
    Ok(event)
}

/// The arguments of `events_health_check`.
pub fn health_check(text: Option<&str>) -> Result<EventsHealthCheck, Error> {
    let mut arguments = Arguments::of(text)?;
    let call = EventsHealthCheck {
        verbose: arguments.or("verbose", false)?,
    };
    arguments.finish()?;
    Ok(call)
}

impl Argument for Priority {
    const EXPECTED: &'static str = "\"low\", \"medium\", \"high\" or \"critical\"";

    fn read(text: &RawValue) -> Option<Self> {
        serde_json::from_str(text.get()).ok()
    }
}

impl Argument for Vec<Box<RawValue>> {
    const EXPECTED: &'static str = "a list";

    fn read(text: &RawValue) -> Option<Self> {
        serde_json::from_str(text.get()).ok()
    }
}
