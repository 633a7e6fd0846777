//! How events are recorded and kept.

use super::check;
use super::setting::{EVENT_READS, EVENT_RETENTION_DAYS, OUTBOX_BYTES_MAX};
use super::source::{Bytes, Reader, Shown};

/// How events are recorded and kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventSettings {
    /// How reads are recorded.
    pub reads: EventReads,
    /// The most bytes that unpublished events may take on the disk.
    pub outbox_bytes_max: u64,
    /// How many days the history is kept.
    pub retention_days: u32,
}

/// How reads are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventReads {
    /// One event for each.
    Each,
    /// One event for each tenant, tool and 10 s.
    Rollup,
}

impl EventSettings {
    /// The smallest outbox, in bytes: room for some events of the largest size.
    pub const OUTBOX_BYTES_LEAST: u64 = 1 << 20;
    /// The largest outbox, in bytes.
    pub const OUTBOX_BYTES_MOST: u64 = 1 << 40;
    /// The longest retention, in days.
    pub const RETENTION_DAYS_MOST: u32 = 3650;

    pub(crate) fn read(reader: &mut Reader) -> Self {
        let words = [("each", EventReads::Each), ("rollup", EventReads::Rollup)];
        let reads = reader.read(&EVENT_READS, EventReads::Each, |text| {
            check::word(text, &words)
        });
        let outbox = reader.read(&OUTBOX_BYTES_MAX, Bytes(1 << 30), |text| {
            check::bytes(text, Self::OUTBOX_BYTES_LEAST..=Self::OUTBOX_BYTES_MOST).map(Bytes)
        });
        let retention_days = reader.read(&EVENT_RETENTION_DAYS, 30, |text| {
            check::number(text, 1..=Self::RETENTION_DAYS_MOST)
        });
        Self {
            reads,
            outbox_bytes_max: outbox.0,
            retention_days,
        }
    }
}

impl Shown for EventReads {
    fn shown(&self) -> Option<String> {
        let name = match self {
            Self::Each => "each",
            Self::Rollup => "rollup",
        };
        Some(name.to_owned())
    }
}
