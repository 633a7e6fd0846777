//! `events_query`: what a client sees of it, and its arguments.

use serde_json::json;
use serde_json::value::RawValue;

use crate::inbound::tool::argument::{Argument, Arguments};
use crate::inbound::tool::description::{
    Description, cursor, flag, number, one_of, optional, result, text, texts_by_name,
};
use crate::inbound::tool::{CallFault, opened};
use crate::mesh::Error;
use crate::mesh::call::tool::Tool;
use crate::mesh::event::Outcome;
use crate::mesh::event::history::{Filter, Order};
use crate::mesh::service::events::EventsQuery;
use crate::mesh::service::events::query::LIMIT_MAX;
use crate::mesh::tenant::UserId;

/// How many events a page has where the caller does not say.
const LIMIT: u32 = 50;

/// The longest filter by a name: bytes.
const NAME_BYTES_MAX: usize = 512;

/// What is seen of the tool.
pub fn describe() -> Description {
    let word = |words: &[&str]| json!({"type": "string", "enum": words});
    Description {
        tool: Tool::EventsQuery,
        title: "Find events",
        text: "Find what happened in the tenant: every call of a tool leaves an event, and events_send adds \
               your own. Use it to see what was done, by whom, what failed and why. Filters hold together; \
               without a time it looks back 24 hours. Everyone's events need the permission \
               events.read_all, otherwise you see your own. For counts use events_analytics. Returns a \
               page, newest first; it may be short or empty and still have a `next_cursor`. `pending` says \
               that the latest events are still on their way.",
        arguments: vec![
            optional(
                "detail_type",
                text(),
                "Exactly this type, such as `KV.Set` or one of your own.",
            ),
            optional("source", text(), "Exactly this source of your own events."),
            optional(
                "outcome",
                word(&["ok", "error", "denied", "limited", "unknown"]),
                "How it ended.",
            ),
            optional(
                "priority",
                word(&["low", "medium", "high", "critical"]),
                "How urgent it is.",
            ),
            optional("user_id", text(), "Of this user."),
            optional("tags", texts_by_name(), "With all of these tags."),
            optional("tool", text(), "Of this tool."),
            optional("start_time", text(), "From this time on, in RFC 3339."),
            optional("end_time", text(), "Until this time; now if left out."),
            optional("limit", number(1, LIMIT_MAX, LIMIT), "How many at most."),
            optional(
                "order",
                one_of(&["desc", "asc"]),
                "The newest or the oldest first.",
            ),
            cursor(),
        ],
        one_of: Vec::new(),
        results: vec![
            result(
                "events",
                json!({"type": "array", "items": {"type": "object"}}),
            ),
            result("next_cursor", text()),
            result("searched_until", text()),
            result("pending", flag()),
        ],
        destructive: false,
        idempotent: true,
    }
}

/// The arguments.
///
/// # Errors
///
/// A cursor that does not fit is a fault of the protocol, anything else the tool's.
pub fn parse(text: Option<&str>) -> Result<Result<EventsQuery, Error>, CallFault> {
    opened(query(text), |call: &mut EventsQuery| {
        let filters = call.filters();
        (&mut call.position, filters)
    })
}

fn query(text: Option<&str>) -> Result<EventsQuery, Error> {
    let mut arguments = Arguments::of(text)?;
    let filter = filter(&mut arguments)?;
    let call = EventsQuery {
        filter,
        start: arguments.optional("start_time")?,
        end: arguments.optional("end_time")?,
        order: arguments.or("order", Order::Desc)?,
        limit: arguments.number("limit", LIMIT, 1, LIMIT_MAX)?,
        position: arguments.optional("cursor")?,
    };
    arguments.finish()?;
    Ok(call)
}

/// The filter of events that a client gives by itself, as one JSON object.
///
/// # Errors
///
/// A member is unknown or of the wrong type.
pub fn filter_of(text: &str) -> Result<Filter, Error> {
    let mut arguments = Arguments::within(text, "filter.".to_owned())?;
    let filter = filter(&mut arguments)?;
    arguments.finish()?;
    Ok(filter)
}

fn filter(arguments: &mut Arguments<'_>) -> Result<Filter, Error> {
    let user: Option<String> = arguments.optional("user_id")?;
    let user_id = user.map(|user| user.parse::<UserId>()).transpose();
    Ok(Filter {
        detail_type: name(arguments, "detail_type")?,
        source: name(arguments, "source")?,
        outcome: arguments.optional("outcome")?,
        priority: arguments.optional("priority")?,
        user_id: user_id
            .map_err(|error| arguments.wrong("user_id", format!("is no user: {error}")))?,
        tags: arguments.optional("tags")?.unwrap_or_default(),
        tool: name(arguments, "tool")?,
    })
}

fn name(arguments: &mut Arguments<'_>, name: &'static str) -> Result<Option<String>, Error> {
    let value: Option<String> = arguments.optional(name)?;
    match value {
        Some(value) if value.is_empty() || value.len() > NAME_BYTES_MAX => {
            Err(arguments.wrong(name, format!("must have 1 to {NAME_BYTES_MAX} bytes")))
        }
        value => Ok(value),
    }
}

impl Argument for Outcome {
    const EXPECTED: &'static str = "\"ok\", \"error\", \"denied\", \"limited\" or \"unknown\"";

    fn read(text: &RawValue) -> Option<Self> {
        serde_json::from_str(text.get()).ok()
    }
}

impl Argument for Order {
    const EXPECTED: &'static str = "\"desc\" or \"asc\"";

    fn read(text: &RawValue) -> Option<Self> {
        serde_json::from_str(text.get()).ok()
    }
}
