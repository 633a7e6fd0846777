//! `events_analytics`: what a client sees of it, and its arguments.

use std::time::Duration;

use serde_json::json;
use serde_json::value::RawValue;

use crate::inbound::tool::argument::{Argument, Arguments};
use crate::inbound::tool::description::{Description, flag, one_of, optional, result, text};
use crate::mesh::Error;
use crate::mesh::call::tool::Tool;
use crate::mesh::event::analytics::{Granularity, Metric};
use crate::mesh::service::events::EventsAnalytics;

/// What is seen of the tool.
pub fn describe() -> Description {
    let metrics = [
        "volume",
        "top_types",
        "top_tools",
        "errors",
        "latency",
        "priority",
    ];
    let object = || json!({"type": "object"});
    let list = || json!({"type": "array", "items": {"type": "object"}});
    Description {
        tool: Tool::EventsAnalytics,
        title: "Summarize events",
        text: "Count what happened in the tenant: volume over time, the most frequent types and tools, error \
               rate and codes, estimated p50, p95 and p99 of each tool. Use it for an overview, then find \
               single events with events_query. Windows are rounded outward to whole hours and returned as \
               used in `window`. Figures come from hourly counters and are a few seconds behind at most.",
        arguments: vec![
            optional(
                "time_range",
                one_of(&["24h", "1h", "6h", "7d", "30d"]),
                "How far back from the end.",
            ),
            optional(
                "start_time",
                text(),
                "From this time on, in RFC 3339, instead of `time_range`.",
            ),
            optional("end_time", text(), "Until this time; now if left out."),
            optional(
                "metrics",
                json!({"type": "array", "items": {"type": "string", "enum": metrics}}),
                "Which figures; all if left out.",
            ),
            optional(
                "granularity",
                json!({"type": "string", "enum": ["hour", "day"]}),
                "How finely volume is told; by day if left out and over more than 48 hours.",
            ),
        ],
        one_of: Vec::new(),
        results: vec![
            result("window", object()),
            result("totals", object()),
            result("volume", list()),
            result("top_types", list()),
            result("top_tools", list()),
            result("errors", object()),
            result("latency", list()),
            result("priority", object()),
            result("truncated", flag()),
        ],
        destructive: false,
        idempotent: true,
    }
}

/// The arguments.
///
/// # Errors
///
/// The first argument that is wrong.
pub fn parse(text: Option<&str>) -> Result<EventsAnalytics, Error> {
    let mut arguments = Arguments::of(text)?;
    let range: Option<TimeRange> = arguments.optional("time_range")?;
    let call = EventsAnalytics {
        time_range: range.unwrap_or(TimeRange(Duration::from_hours(24))).0,
        start: arguments.optional("start_time")?,
        end: arguments.optional("end_time")?,
        metrics: arguments
            .optional("metrics")?
            .unwrap_or_else(|| Metric::ALL.to_vec()),
        granularity: arguments.optional("granularity")?,
    };
    if range.is_some() && call.start.is_some() {
        return Err(arguments
            .wrong(
                "time_range",
                "cannot hold together with `start_time`".to_owned(),
            )
            .fix("Give one of them."));
    }
    arguments.finish()?;
    Ok(call)
}

#[derive(Clone, Copy)]
struct TimeRange(Duration);

impl Argument for TimeRange {
    const EXPECTED: &'static str = "\"1h\", \"6h\", \"24h\", \"7d\" or \"30d\"";

    fn read(text: &RawValue) -> Option<Self> {
        let hours = match text.get() {
            "\"1h\"" => 1,
            "\"6h\"" => 6,
            "\"24h\"" => 24,
            "\"7d\"" => 7 * 24,
            "\"30d\"" => 30 * 24,
            _ => return None,
        };
        Some(Self(Duration::from_hours(hours)))
    }
}

impl Argument for Vec<Metric> {
    const EXPECTED: &'static str = "a list of \"volume\", \"top_types\", \"top_tools\", \"errors\", \"latency\" and \"priority\"";

    fn read(text: &RawValue) -> Option<Self> {
        serde_json::from_str(text.get()).ok()
    }
}

impl Argument for Granularity {
    const EXPECTED: &'static str = "\"hour\" or \"day\"";

    fn read(text: &RawValue) -> Option<Self> {
        serde_json::from_str(text.get()).ok()
    }
}
