//! The seam to the one bus: events that are put on it.

use super::Reply;
use crate::mesh::{ErrorKind, Timestamp};

/// The most entries that one call may put.
pub const ENTRIES_MAX: usize = 10;

/// The most bytes that the entries of one call may have together (AWS: 1 MiB since 2025).
pub const ENTRIES_BYTES_MAX: usize = 1 << 20;

/// One event for the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusEntry {
    /// When it happened; AWS keeps whole seconds.
    pub time: Timestamp,
    /// `agent-mesh.<tenant>`.
    pub source: String,
    /// What happened, such as `KV.Set`.
    pub detail_type: String,
    /// The detail: one JSON object.
    pub detail: String,
}

impl BusEntry {
    /// Its size as EventBridge counts it: 14 bytes for the time, and the UTF-8 of the rest.
    pub fn size(&self) -> usize {
        14 + self.source.len() + self.detail_type.len() + self.detail.len()
    }
}

/// Why the bus did not take one entry while it took others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryFault {
    /// The kind of fault: throttled, unavailable, or wrong with the entry itself.
    pub kind: ErrorKind,
    /// What the bus said, for the log.
    pub message: String,
}

/// The one bus.
pub trait Bus: Send + Sync + 'static {
    /// Puts up to [`ENTRIES_MAX`] entries of at most [`ENTRIES_BYTES_MAX`]; an answer for each, in order.
    fn put<'a>(&'a self, entries: &'a [BusEntry]) -> Reply<'a, Vec<Result<(), EntryFault>>>;

    /// Whether the bus is there, without putting anything on it.
    fn check(&self) -> Reply<'_, ()>;
}
