//! The detail of an event as bus and history have it: what of an event, its writer and number goes out.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use ulid::Ulid;

use super::record::{Event, Outcome, Priority};
use crate::mesh::Error;

/// The version of the detail that is written here.
pub const DETAIL_VERSION: u8 = 1;

/// The detail of an event, member by member in the order of the contract.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Detail<'a> {
    pub v: u8,
    pub event_id: Ulid,
    pub tenant_id: Cow<'a, str>,
    pub user_id: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org_id: Option<Cow<'a, str>>,
    pub tool: Cow<'a, str>,
    pub outcome: Outcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    pub request_id: Ulid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<Cow<'a, str>>,
    pub writer: Ulid,
    pub seq: u64,
    pub duration_ms: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Cow<'a, str>>,
    pub priority: Priority,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Cow<'a, BTreeMap<String, String>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Ulid>,
    pub depth: u8,
    /// Left out of a history row whose body lies in the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Cow<'a, RawValue>>,
}

impl<'a> Detail<'a> {
    /// The detail of `event`, the `seq`-th of `writer`.
    pub(super) fn of(event: &'a Event, writer: Ulid, seq: u64) -> Self {
        Self {
            v: DETAIL_VERSION,
            event_id: event.event_id,
            tenant_id: event.tenant_id.as_str().into(),
            user_id: event.user_id.as_str().into(),
            org_id: event.org_id.as_deref().map(Cow::Borrowed),
            tool: event.tool.as_ref().into(),
            outcome: event.outcome,
            error_code: event.error_code.as_deref().map(Cow::Borrowed),
            count: event.count,
            request_id: event.request_id,
            trace_id: event.trace_id.as_deref().map(Cow::Borrowed),
            writer,
            seq,
            duration_ms: event.duration_ms,
            bytes: event.bytes,
            source: event.source.as_deref().map(Cow::Borrowed),
            priority: event.priority,
            tags: event.tags.as_ref().map(Cow::Borrowed),
            cause: event.cause,
            depth: event.depth,
            data: Some(Cow::Borrowed(&event.data)),
        }
    }

    /// The detail as one JSON object.
    pub(super) fn to_json(&self) -> Result<String, Error> {
        serde_json::to_string(self)
            .map_err(|cause| Error::internal("an event's detail is no JSON").caused_by(cause))
    }
}

/// The source of a tenant's events on the bus.
pub(super) fn bus_source(tenant: &str) -> String {
    format!("agent-mesh.{tenant}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::event::fakes::event;

    #[test]
    fn the_detail_has_the_members_of_the_contract_in_its_order() {
        let mut full = event("acme", 1_700_000_000_000);
        full.org_id = Some("org".to_owned());
        full.error_code = Some("CONFLICT".into());
        full.count = Some(3);
        full.trace_id = Some("0".repeat(32));
        full.bytes = Some(5);
        full.source = Some("till".to_owned());
        full.tags = Some(BTreeMap::from([("a".to_owned(), "b".to_owned())]));
        full.cause = Some(full.event_id);
        let json = Detail::of(&full, Ulid(7), 9).to_json().unwrap();
        let value: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&json).unwrap();
        let names: Vec<&str> = value.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "v",
                "event_id",
                "tenant_id",
                "user_id",
                "org_id",
                "tool",
                "outcome",
                "error_code",
                "count",
                "request_id",
                "trace_id",
                "writer",
                "seq",
                "duration_ms",
                "bytes",
                "source",
                "priority",
                "tags",
                "cause",
                "depth",
                "data"
            ]
        );
        assert_eq!(value["writer"], Ulid(7).to_string());
        assert_eq!(value["seq"], 9);
        assert_eq!(value["outcome"], "ok");
        assert_eq!(value["priority"], "medium");
    }

    #[test]
    fn members_without_a_value_are_left_out_and_it_reads_back() {
        let event = event("acme", 1_700_000_000_000);
        let json = Detail::of(&event, Ulid(1), 1).to_json().unwrap();
        assert!(!json.contains("null"), "{json}");
        let read: Detail<'_> = serde_json::from_str(&json).unwrap();
        assert_eq!(read.event_id, event.event_id);
        assert_eq!(read.data.unwrap().get(), event.data.get());
    }
}
