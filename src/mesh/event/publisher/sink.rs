//! Where a pipeline ends: what it sends, and what becomes of it.

use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::Instant;

use super::lane::Lane;
use crate::mesh::event::counters::CounterKey;
use crate::mesh::event::outbox::log::Position;
use crate::mesh::event::record::Event;
use crate::mesh::tenant::TenantId;
use crate::mesh::{Error, ErrorKind};

/// An event that was read from a log.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) seq: u64,
    pub(super) position: Position,
    /// Its share of its frame.
    pub(super) bytes: u64,
    pub(super) event: Event,
}

/// What became of a record that was sent.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It has left.
    Done,
    /// It has not, and may later.
    Retry(Error),
    /// It never will: it is wrong in itself.
    Refused(Error),
}

/// A batch that was sent, and what became of each record; an error where it is the same for all, and not
/// a matter of the records.
pub(super) struct Sent {
    pub(super) records: Vec<Record>,
    pub(super) result: Result<Vec<Verdict>, Error>,
}

/// Rows of counters that were written: which, and the positions of those that were not.
pub(super) struct Flushed {
    pub(super) keys: Vec<CounterKey>,
    pub(super) result: Result<Vec<usize>, Error>,
}

/// Where a pipeline ends.
pub(super) trait Sink: Send + 'static {
    /// The most records of a batch.
    const BATCH_MAX: usize;
    /// The most bytes of a batch, as [`Sink::weigh`] counts them.
    const BATCH_BYTES_MAX: usize;
    /// The most batches under way.
    const BATCHES_MAX: usize;
    /// The most records of a batch of one tenant alone.
    const TENANT_BATCH_MAX: usize = Self::BATCH_MAX;
    /// The most records of one tenant that are under way among those of others; with more, that tenant
    /// waits for itself.
    const TENANT_RECORDS_MAX: usize = usize::MAX;
    /// The longest that records linger for others, where that is shorter than the pace.
    const LINGER_LONGEST: Duration = Duration::MAX;
    /// The same while nothing that is read is wanted, so that looking costs little.
    const LINGER_UNWANTED: Duration = Duration::ZERO;

    /// How much a record adds to a batch.
    fn weigh(record: &Record) -> usize;

    /// Whether something may come of `tenant`'s records; asked before one is parsed. Records that are not
    /// wanted have left.
    fn wants(&mut self, _tenant: &TenantId) -> bool {
        true
    }

    /// Takes note of a record that was read; each tenant's come in order.
    fn admit(
        &mut self,
        record: &Record,
        lane: &Lane,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Sends a batch.
    fn send(&self, records: Vec<Record>) -> BoxFuture<'static, Sent>;

    /// What else is to be written now, `is_pressed` where the outbox needs the room.
    fn flush(&mut self, _lane: &Lane, _is_pressed: bool) -> Option<BoxFuture<'static, Flushed>> {
        None
    }

    /// What else was written has been, or not.
    fn flushed(&mut self, _flushed: Flushed, _lane: &Lane) {}

    /// When something else will be due.
    fn next_flush(&self) -> Option<Instant> {
        None
    }

    /// The first place of the log that is still needed for something else.
    fn low(&self) -> Option<Position> {
        None
    }

    /// Whether nothing else is to be written.
    fn is_clean(&self) -> bool {
        true
    }
}

/// Whether a kind of failure lies in what was sent, so that sending it again cannot help.
pub(super) fn is_refusal(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::InvalidParameter | ErrorKind::TooLarge)
}
