//! One event for many calls: those that a limit refused, and reads where the operator wants them so.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::value::RawValue;
use ulid::Ulid;

use super::outbox::{Outbox, Weight};
use super::record::{Event, Outcome, Priority};
use crate::mesh::audit::Audit;
use crate::mesh::tenant::{TenantId, UserId};
use crate::mesh::{Clock, Timestamp};

/// Over how long refused calls become one event.
pub const REFUSALS_PERIOD: Duration = Duration::from_secs(1);

/// Over how long reads become one event.
pub const READS_PERIOD: Duration = Duration::from_secs(10);

/// The most events that are being rolled up; with more, all of them are written at once.
pub const ROLLED_UP_MAX: usize = 4096;

/// A call that becomes part of an event.
#[derive(Clone, Debug)]
pub struct Note {
    /// Whose call it was.
    pub tenant_id: TenantId,
    /// Who called; the event names the first one.
    pub user_id: UserId,
    /// The organization the caller acts for.
    pub org_id: Option<String>,
    /// The tool or method.
    pub tool: Cow<'static, str>,
    /// The type of the event.
    pub detail_type: Cow<'static, str>,
    /// How it ended.
    pub outcome: Outcome,
    /// The code of the error, where it ended with one.
    pub error_code: Option<Cow<'static, str>>,
    /// The call; the event names the first one.
    pub request_id: Ulid,
    /// How long it took, in milliseconds; the event has the mean.
    pub duration_ms: f64,
    /// How many bytes of the caller's data went in or out; the event has the sum.
    pub bytes: Option<u64>,
}

impl From<Event> for Note {
    fn from(event: Event) -> Self {
        Self {
            tenant_id: event.tenant_id,
            user_id: event.user_id,
            org_id: event.org_id,
            tool: event.tool,
            detail_type: event.detail_type,
            outcome: event.outcome,
            error_code: event.error_code,
            request_id: event.request_id,
            duration_ms: event.duration_ms,
            bytes: event.bytes,
        }
    }
}

/// Whether each read is an event of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EventReads {
    /// It is.
    #[default]
    Each,
    /// One event for each tenant, tool and ten seconds.
    Rollup,
}

/// Calls that become events. Clones are the same one.
#[derive(Clone)]
pub struct Rollup(Arc<Inner>);

struct Inner {
    outbox: Outbox,
    clock: Arc<dyn Clock>,
    audit: Audit,
    pending: Mutex<HashMap<Key, Pending>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    tenant_id: TenantId,
    tool: Cow<'static, str>,
    outcome: Outcome,
    error_code: Option<Cow<'static, str>>,
    period: Duration,
}

struct Pending {
    first: Note,
    time: Timestamp,
    due: Duration,
    count: u32,
    duration_ms: f64,
    bytes: Option<u64>,
}

impl Rollup {
    /// A rollup into `outbox`; refused calls go to `audit` as well.
    pub fn new(outbox: Outbox, audit: Audit, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            outbox,
            clock,
            audit,
            pending: Mutex::default(),
        }))
    }

    /// A limit refused a call: one event for each tenant, tool, code and second.
    pub fn note_refused(&self, note: Note) {
        self.note(note, REFUSALS_PERIOD);
    }

    /// A call has read: one event for each tenant, tool and ten seconds, apart by how they ended.
    pub fn note_read(&self, note: Note) {
        self.note(note, READS_PERIOD);
    }

    /// Writes the events whose time is over.
    pub fn flush_due(&self) {
        let now = self.0.clock.monotonic();
        self.flush(|pending| pending.due <= now);
        self.0.audit.flush_due(self.0.clock.now());
    }

    /// Writes all events.
    pub fn flush_all(&self) {
        self.flush(|_| true);
        self.0.audit.flush_all();
    }

    fn note(&self, note: Note, period: Duration) {
        let key = Key {
            tenant_id: note.tenant_id.clone(),
            tool: note.tool.clone(),
            outcome: note.outcome,
            error_code: note.error_code.clone(),
            period,
        };
        let (count, now) = {
            let mut all = self.pending();
            let pending = all.entry(key).or_insert_with(|| Pending {
                time: self.0.clock.now(),
                due: self.0.clock.monotonic() + period,
                count: 0,
                duration_ms: 0.0,
                bytes: None,
                first: note.clone(),
            });
            pending.count = pending.count.saturating_add(1);
            pending.duration_ms += note.duration_ms;
            if let Some(bytes) = note.bytes {
                pending.bytes = Some(pending.bytes.unwrap_or_default() + bytes);
            }
            (all.len(), self.0.clock.monotonic())
        };
        if count > ROLLED_UP_MAX {
            self.flush_all();
            self.drop_beyond_limit(now);
        }
    }

    /// What the outbox did not take stays, and its count goes on, until it does.
    fn flush(&self, is_due: impl Fn(&Pending) -> bool) {
        let due: Vec<(Key, Pending)> = self.pending().extract_if(|_, held| is_due(held)).collect();
        for (key, pending) in due {
            let Ok(slot) = self.0.outbox.reserve(&key.tenant_id, Weight::Read) else {
                self.keep(key, pending);
                continue;
            };
            let event = pending.to_event();
            match slot.commit(std::slice::from_ref(&event)) {
                // Reads that are rolled up have had their own lines there.
                Ok(_) if event.outcome == Outcome::Limited => self.0.audit.refused_calls(&event),
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(?error, "calls that were rolled up cannot be recorded yet");
                    self.keep(key, pending);
                }
            }
        }
    }

    fn keep(&self, key: Key, mut older: Pending) {
        let mut all = self.pending();
        if let Some(newer) = all.remove(&key) {
            older.count = older.count.saturating_add(newer.count);
            older.duration_ms += newer.duration_ms;
            if let Some(bytes) = newer.bytes {
                older.bytes = Some(older.bytes.unwrap_or_default() + bytes);
            }
        }
        older.due = self.0.clock.monotonic() + key.period;
        all.insert(key, older);
    }

    /// The outbox is full, and so is this: the log says what is given up.
    fn drop_beyond_limit(&self, now: Duration) {
        let mut all = self.pending();
        let excess = all.len().saturating_sub(ROLLED_UP_MAX);
        let keys: Vec<Key> = all.keys().take(excess).cloned().collect();
        for key in keys {
            if let Some(pending) = all.remove(&key) {
                tracing::error!(
                    tenant = %key.tenant_id,
                    tool = %key.tool,
                    count = pending.count,
                    monotonic = ?now,
                    "the outbox is full and calls that a limit refused go unrecorded",
                );
            }
        }
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<Key, Pending>> {
        self.0
            .pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    fn to_event(&self) -> Event {
        let millis = self.time.as_millis().max(0).unsigned_abs();
        let mean = self.duration_ms / f64::from(self.count.max(1));
        Event {
            event_id: Ulid::from_parts(millis, Ulid::generate().random()),
            time: self.time,
            detail_type: self.first.detail_type.clone(),
            tenant_id: self.first.tenant_id.clone(),
            user_id: self.first.user_id.clone(),
            org_id: self.first.org_id.clone(),
            tool: self.first.tool.clone(),
            outcome: self.first.outcome,
            error_code: self.first.error_code.clone(),
            count: Some(self.count),
            request_id: self.first.request_id,
            trace_id: None,
            duration_ms: (mean * 1000.0).round() / 1000.0,
            bytes: self.bytes,
            source: None,
            priority: Priority::Medium,
            tags: None,
            cause: None,
            depth: 0,
            data: RawValue::from_string("{}".to_owned()).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests;
