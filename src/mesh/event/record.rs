//! What is recorded of a call, or what a caller sends as an event.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use ulid::Ulid;

use crate::mesh::Timestamp;
use crate::mesh::tenant::{TenantId, UserId};

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Ok,
    /// It failed.
    Error,
    /// The role lacked the permission.
    Denied,
    /// A limit refused it.
    Limited,
    /// It was begun, and what became of it is not known.
    Unknown,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 5] = [
        Self::Ok,
        Self::Error,
        Self::Denied,
        Self::Limited,
        Self::Unknown,
    ];

    /// The word in events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Denied => "denied",
            Self::Limited => "limited",
            Self::Unknown => "unknown",
        }
    }
}

/// How urgent an event is to whoever sent it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Of no hurry.
    Low,
    /// The ordinary one.
    #[default]
    Medium,
    /// Sooner than others.
    High,
    /// At once.
    Critical,
}

/// One event: of an operation, or sent by a caller. `writer` and `seq` are the outbox's to give, so they
/// are no part of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Its own id; the time in it is `time`.
    pub event_id: Ulid,
    /// When it was recorded.
    pub time: Timestamp,
    /// What happened, such as `KV.Set`.
    pub detail_type: Cow<'static, str>,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// Who did it.
    pub user_id: UserId,
    /// The organization the caller acts for, a label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org_id: Option<String>,
    /// The tool or method that was called.
    pub tool: Cow<'static, str>,
    /// How it ended.
    pub outcome: Outcome,
    /// The code of the error, where it ended with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<Cow<'static, str>>,
    /// How many calls this one event stands for, where it is not one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// The call it records.
    pub request_id: Ulid,
    /// The caller's trace, 32 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// How long the call took, in milliseconds with three digits.
    pub duration_ms: f64,
    /// How many bytes of the caller's data went in or out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// What a sender calls its source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// How urgent it is.
    pub priority: Priority,
    /// A sender's labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, String>>,
    /// The event that led to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Ulid>,
    /// How many events led here; 0 for what a client did.
    pub depth: u8,
    /// Names and keys of what an operation was about, or a sender's own detail: one JSON object.
    pub data: Box<RawValue>,
}
