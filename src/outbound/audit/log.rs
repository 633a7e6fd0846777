//! The log of this process: what is recorded is with the kernel before the answer leaves, and on the disk soon.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use ulid::Ulid;

use super::line::Seal;
use super::writer::Writer;
use crate::mesh::audit::{AuditEntry, AuditLog};
use crate::mesh::call::arguments::ArgumentsHash;
use crate::mesh::event::Event;
use crate::mesh::tenant::IdentityError;
use crate::mesh::{Clock, Error, ErrorKind, Timestamp};

/// How often what was written is brought to the disk. A loss of power may cost what was recorded since.
pub const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// How long after a failure the file is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// The most lines that are kept while the file cannot be written: of calls that had begun before, which are
/// no more than may be in flight.
pub const KEPT_MAX: usize = 4096;

/// The largest `data` of an event that a line holds, in bytes.
const DATA_BYTES_MAX: usize = 256 * 1024;

/// What an audit log is made of.
#[derive(Debug)]
pub struct AuditFileSettings {
    /// The file of the first writer.
    pub path: PathBuf,
    /// How large a file becomes before the next one is begun, in bytes.
    pub bytes_max: u64,
    /// Whether calls are refused that could not be recorded.
    pub is_required: bool,
    /// What lines are sealed with.
    pub seal: Seal,
}

/// An audit log that this process writes.
pub struct AuditFile {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    is_required: bool,
    clock: Arc<dyn Clock>,
    /// Whether the last try to write failed; looked at before each call.
    is_failing: AtomicBool,
    state: Mutex<State>,
}

struct State {
    writer: Writer,
    /// Lines that the file has not taken.
    kept: VecDeque<String>,
    /// How many lines were given up.
    lost: u64,
    retry_at: Duration,
}

impl AuditFile {
    /// Opens the log and goes on with its chain. Within a runtime, which brings to the disk what is written.
    ///
    /// # Errors
    /// `INTERNAL`, for the operator: what keeps the file from being written.
    pub fn open(settings: AuditFileSettings, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let AuditFileSettings {
            path,
            bytes_max,
            is_required,
            seal,
        } = settings;
        let writer = Writer::open(&path, seal, bytes_max, clock.now()).map_err(|error| {
            let message = format!("the audit log {} cannot be written", path.display());
            Error::internal(message).caused_by(error)
        })?;
        let inner = Arc::new(Inner {
            path,
            is_required,
            clock,
            is_failing: AtomicBool::new(false),
            state: Mutex::new(State {
                writer,
                kept: VecDeque::new(),
                lost: 0,
                retry_at: Duration::ZERO,
            }),
        });
        tokio::spawn(keep_synced(Arc::downgrade(&inner)));
        Ok(Self { inner })
    }

    /// Lets a test have the disk fail.
    #[cfg(test)]
    pub(super) fn inner_for_test(&self, change: impl FnOnce(&mut Writer)) {
        change(&mut self.inner.state().writer);
    }
}

impl AuditLog for AuditFile {
    fn ready(&self) -> Result<(), Error> {
        let inner = &*self.inner;
        if !inner.is_required || !inner.is_failing.load(Ordering::Acquire) {
            return Ok(());
        }
        inner.write_kept(&mut inner.state());
        match inner.is_failing.load(Ordering::Acquire) {
            false => Ok(()),
            true => Err(unwritable()),
        }
    }

    fn record(&self, entry: &AuditEntry<'_>) {
        let members = match text_of(entry) {
            Ok(members) => members,
            Err(error) => {
                tracing::error!(?error, "what happened could not be put into the audit log");
                return;
            }
        };
        let mut state = self.inner.state();
        state.kept.push_back(members);
        self.inner.write_kept(&mut state);
    }
}

fn unwritable() -> Error {
    let message = "the audit log cannot be written, and no call is made that it could not record";
    Error::new(ErrorKind::Overloaded, message)
        .fix("Try again in a moment; if it stays, tell whoever runs this server.")
        .retry_after(RETRY_INTERVAL)
        .not_done()
}

impl Inner {
    /// Writes what is kept, as far as that goes, unless that has just failed.
    fn write_kept(&self, state: &mut State) {
        let now = self.clock.monotonic();
        if self.is_failing.load(Ordering::Acquire) && now < state.retry_at {
            return self.give_up(state);
        }
        match state.write() {
            Ok(()) => {
                if self.is_failing.swap(false, Ordering::AcqRel) {
                    tracing::info!(path = %self.path.display(), "the audit log can be written again");
                }
            }
            Err(error) => {
                state.retry_at = now.saturating_add(RETRY_INTERVAL);
                if !self.is_failing.swap(true, Ordering::AcqRel) {
                    let path = self.path.display();
                    let is_required = self.is_required;
                    tracing::error!(%path, %error, is_required, "the audit log cannot be written");
                }
                self.give_up(state);
            }
        }
    }

    /// Gives up what may not be kept any longer.
    fn give_up(&self, state: &mut State) {
        let room = if self.is_required { KEPT_MAX } else { 0 };
        let excess = state.kept.len().saturating_sub(room);
        if excess > 0 {
            state.kept.drain(..excess);
            state.lost = state.lost.saturating_add(excess as u64);
        }
    }

    /// Brings to the disk what is not there yet.
    fn sync(&self) {
        let sync = self.state().writer.sync();
        let failed = match sync {
            Ok(None) => return,
            Ok(Some(sync)) => match sync.run(self.clock.now()) {
                Ok(()) => return,
                Err(error) => {
                    self.state().writer.sync_failed(sync);
                    error
                }
            },
            Err(error) => error,
        };
        let path = self.path.display();
        tracing::error!(%path, error = %failed, "the audit log could not be brought to the disk");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let mut state = self.state();
        let _ = state.write();
        drop(state);
        self.sync();
    }
}

impl State {
    /// Writes what is kept; stops at the first line that cannot be written.
    fn write(&mut self) -> io::Result<()> {
        if self.lost > 0 {
            let lost = format!("{{\"kind\":\"lost\",\"count\":{}}}", self.lost);
            self.writer.append(&lost)?;
            self.lost = 0;
        }
        while let Some(members) = self.kept.front() {
            self.writer.append(members)?;
            self.kept.pop_front();
        }
        Ok(())
    }
}

async fn keep_synced(inner: Weak<Inner>) {
    let mut ticks = tokio::time::interval(SYNC_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        let synced = tokio::task::spawn_blocking(move || inner.sync());
        if synced.await.is_err() {
            tracing::error!("bringing the audit log to the disk panicked");
        }
    }
}

/// A call that ended, as a line tells it.
#[derive(Serialize)]
struct CallLine<'event> {
    kind: &'static str,
    time: Timestamp,
    tenant_id: &'event str,
    user_id: &'event str,
    #[serde(skip_serializing_if = "Option::is_none")]
    org_id: Option<&'event str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    tool: &'event str,
    outcome: crate::mesh::event::Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'event str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u32>,
    request_id: Ulid,
    event_id: Ulid,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'event str>,
    duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments_sha256: Option<ArgumentsHash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<Ulid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'event RawValue>,
    /// How large the data is that is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    data_bytes: Option<usize>,
}

/// A request whose identity was refused, as a line tells it.
#[derive(Serialize)]
struct RefusedLine {
    kind: &'static str,
    time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<&'static str>,
    reason: String,
    request_id: Ulid,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u32>,
}

fn text_of(entry: &AuditEntry<'_>) -> serde_json::Result<String> {
    match entry {
        AuditEntry::Call {
            event,
            role,
            arguments,
        } => serde_json::to_string(&CallLine {
            role: role.map(|role| role.name()),
            arguments_sha256: *arguments,
            ..CallLine::of(event)
        }),
        AuditEntry::Refused {
            time,
            tool,
            error,
            request_id,
            count,
        } => serde_json::to_string(&RefusedLine {
            kind: "identity_refused",
            time: *time,
            tool: tool.map(|tool| tool.name()),
            reason: reason(*error),
            request_id: *request_id,
            count: (*count > 1).then_some(*count),
        }),
    }
}

/// Why an identity was refused; the words hold nothing of it.
fn reason(error: IdentityError) -> String {
    error.to_string()
}

impl<'event> CallLine<'event> {
    fn of(event: &'event Event) -> Self {
        let length = event.data.get().len();
        let fits = length <= DATA_BYTES_MAX;
        Self {
            kind: "call",
            time: event.time,
            tenant_id: event.tenant_id.as_str(),
            user_id: event.user_id.as_str(),
            org_id: event.org_id.as_deref(),
            role: None,
            tool: &event.tool,
            outcome: event.outcome,
            error_code: event.error_code.as_deref(),
            count: event.count,
            request_id: event.request_id,
            event_id: event.event_id,
            trace_id: event.trace_id.as_deref(),
            duration_ms: event.duration_ms,
            bytes: event.bytes,
            arguments_sha256: None,
            cause: event.cause,
            data: (fits && length > 2).then_some(&*event.data),
            data_bytes: (!fits).then_some(length),
        }
    }
}
