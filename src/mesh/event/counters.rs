//! Hourly counters of a writer's events, kept so that an event is counted once however often it is read.
//!
//! A row has absolute values and the number of the last event in them. An event counts if its number is
//! higher, so a replay changes nothing, and whoever adopts a writer's log goes on exactly where it stopped.

pub mod histogram;
pub mod tally;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use ulid::Ulid;

use self::tally::Tally;
use super::outbox::log::Position;
use super::record::Event;
use crate::mesh::store::Table;
use crate::mesh::store::key::{Keyspace, RowKey};
use crate::mesh::store::table::{EXPIRY_ATTRIBUTE, Row};
use crate::mesh::tenant::TenantId;
use crate::mesh::{Clock, Error, Timestamp};

/// The attribute of a counter row with the number of the last event in it.
pub(super) const SEQ_ATTRIBUTE: &str = "seq";

/// The attribute of a counter row with the counts, as JSON.
pub(super) const TALLY_ATTRIBUTE: &str = "tally";

/// How long counts may be only in memory (and in the outbox).
const LINGER: Duration = Duration::from_secs(5);

/// The most memory that counters take, in bytes; beyond it those are dropped that have been written and
/// used least recently, to be read again when they are needed.
const BYTES_MAX: usize = 16 << 20;

/// The most rows that are written at once.
const FLUSH_ROWS_MAX: usize = 100;

/// Of how many hours it is remembered one by one whether rows of them have been dropped.
const HOURS_MAX: usize = 256;

/// After how many events that found too much in memory and nothing to drop it is tried again.
const EVICT_EVERY: u64 = 1000;

const HOUR_MS: i64 = 3_600_000;

/// A row of counters: its tenant, and its hour since 1970.
pub(super) type CounterKey = (TenantId, i64);

/// A row to be written.
pub(super) struct Flush {
    pub(super) keys: Vec<CounterKey>,
    pub(super) rows: Vec<(RowKey, Row)>,
}

/// The counters of one writer.
pub(super) struct Counters {
    table: Arc<dyn Table>,
    clock: Arc<dyn Clock>,
    writer: String,
    retention: Duration,
    rows: HashMap<CounterKey, Held>,
    /// Rows that have something to write, by when they began to.
    dirty: BTreeMap<(Instant, u64), CounterKey>,
    /// Rows that are being written.
    writing: Vec<CounterKey>,
    bytes: usize,
    bytes_max: usize,
    tick: u64,
    evict_at: u64,
    /// Hours of which rows have been dropped, so that they must be read before they are added to.
    dropped_hours: BTreeSet<i64>,
    /// The same of this hour and all before it.
    dropped_until: i64,
}

struct Held {
    tally: Tally,
    /// The number of the last event that was counted.
    seq: u64,
    /// The events that are not in the table yet.
    unwritten: Option<Unwritten>,
    /// Where the first of those lies that are being written.
    in_flight: Option<Position>,
    bytes: usize,
    used: u64,
}

/// Events of a row that are not in the table yet.
#[derive(Clone, Copy)]
struct Unwritten {
    /// Where the first one lies.
    position: Position,
    /// Its number.
    seq: u64,
    /// The row's place in `dirty`.
    place: (Instant, u64),
}

impl Counters {
    /// The counters of `writer`; `is_ours` where nobody else can have written rows for it.
    pub(super) fn new(
        table: Arc<dyn Table>,
        clock: Arc<dyn Clock>,
        writer: Ulid,
        is_ours: bool,
        retention: Duration,
    ) -> Self {
        Self {
            table,
            clock,
            writer: writer.to_string(),
            retention,
            rows: HashMap::new(),
            dirty: BTreeMap::new(),
            writing: Vec::new(),
            bytes: 0,
            bytes_max: BYTES_MAX,
            tick: 0,
            evict_at: 0,
            dropped_hours: BTreeSet::new(),
            // Nobody else writes rows for this process, so there is nothing to read at first.
            dropped_until: if is_ours { i64::MIN } else { i64::MAX },
        }
    }

    /// Counts the `seq`-th event, which lies at `position`, unless it has been counted. Answers the row
    /// where that made one more that is not in the table as it is here.
    pub(super) async fn count(
        &mut self,
        event: &Event,
        seq: u64,
        position: Position,
    ) -> Result<Option<CounterKey>, Error> {
        let hour = event.time.as_millis().div_euclid(HOUR_MS);
        let key = (event.tenant_id.clone(), hour);
        if !self.rows.contains_key(&key) {
            let (tally, held_seq) = self.read(&key).await?;
            self.insert(key.clone(), tally, held_seq);
        }
        self.tick += 1;
        let Some(held) = self.rows.get_mut(&key) else {
            return Ok(None);
        };
        held.used = self.tick;
        if seq <= held.seq {
            return Ok(None);
        }
        held.seq = seq;
        held.tally.add(event);
        let bytes = held.tally.bytes();
        self.bytes = self.bytes + bytes - held.bytes;
        held.bytes = bytes;
        let is_new = held.unwritten.is_none() && held.in_flight.is_none();
        if held.unwritten.is_none() {
            let place = (Instant::now(), self.tick);
            held.unwritten = Some(Unwritten {
                position,
                seq,
                place,
            });
            self.dirty.insert(place, key.clone());
        }
        self.evict();
        Ok(is_new.then_some(key))
    }

    /// What is to be written now, unless something is being written: rows that have waited long enough,
    /// and those that are `wanted` where anything is.
    pub(super) fn due(&mut self, wanted: Option<&dyn Fn(&TenantId) -> bool>) -> Option<Flush> {
        if !self.writing.is_empty() {
            return None;
        }
        let now = Instant::now();
        let is_old = |since: Instant| now >= since + LINGER;
        let is_due = |since: Instant, key: &CounterKey| {
            is_old(since) || wanted.is_some_and(|wanted| wanted(&key.0))
        };
        let due: Vec<(Instant, u64)> = self
            .dirty
            .iter()
            .take_while(|((since, _), _)| wanted.is_some() || is_old(*since))
            .filter(|((since, _), key)| is_due(*since, key))
            .map(|(&place, _)| place)
            .take(FLUSH_ROWS_MAX)
            .collect();
        let mut flush = Flush {
            keys: Vec::new(),
            rows: Vec::new(),
        };
        for place in due {
            if let Some(key) = self.dirty.remove(&place)
                && let Some(row) = self.begin_write(&key)
            {
                flush.keys.push(key);
                flush.rows.push(row);
            }
        }
        self.writing.clone_from(&flush.keys);
        (!flush.rows.is_empty()).then_some(flush)
    }

    /// When something will be due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let ((since, _), _) = self.dirty.first_key_value()?;
        Some(*since + LINGER)
    }

    /// What was being written has been, except the rows at `failed`. Answers for each other row the number
    /// of the first event that is not in the table yet, if there is one.
    pub(super) fn written(
        &mut self,
        keys: Vec<CounterKey>,
        failed: &[usize],
    ) -> Vec<(CounterKey, Option<u64>)> {
        self.writing.clear();
        let mut written = Vec::new();
        let current = self.clock.now().as_millis().div_euclid(HOUR_MS);
        for (at, key) in keys.into_iter().enumerate() {
            let Some(held) = self.rows.get_mut(&key) else {
                continue;
            };
            let Some(position) = held.in_flight.take() else {
                continue;
            };
            if failed.contains(&at) {
                if let Some(later) = held.unwritten {
                    self.dirty.remove(&later.place);
                }
                self.tick += 1;
                let place = (Instant::now(), self.tick);
                held.unwritten = Some(Unwritten {
                    position,
                    seq: 0,
                    place,
                });
                self.dirty.insert(place, key);
                continue;
            }
            let later = held.unwritten.map(|later| later.seq);
            if later.is_none() && key.1 < current {
                self.forget(&key);
            }
            written.push((key, later));
        }
        written
    }

    /// Where the first event lies whose count is not in the table yet.
    pub(super) fn low(&self) -> Option<Position> {
        let of = |key| {
            let held: &Held = self.rows.get(key)?;
            let unwritten = held.unwritten.map(|unwritten| unwritten.position);
            held.in_flight.into_iter().chain(unwritten).min()
        };
        self.dirty
            .values()
            .chain(&self.writing)
            .filter_map(of)
            .min()
    }

    /// Whether everything is in the table.
    pub(super) fn is_clean(&self) -> bool {
        self.dirty.is_empty() && self.writing.is_empty()
    }

    async fn read(&self, key: &CounterKey) -> Result<(Tally, u64), Error> {
        if key.1 > self.dropped_until && !self.dropped_hours.contains(&key.1) {
            return Ok((Tally::default(), 0));
        }
        let found = self.table.get(&self.row_key(key), true).await?.value;
        let Some(row) = found else {
            return Ok((Tally::default(), 0));
        };
        let seq = row.number(SEQ_ATTRIBUTE).unwrap_or_default().max(0);
        let tally = row.text(TALLY_ATTRIBUTE).map(serde_json::from_str::<Tally>);
        let tally = tally.transpose().unwrap_or_else(|error| {
            tracing::error!(%error, "a row of counters cannot be read and begins anew");
            None
        });
        Ok((tally.unwrap_or_default(), seq.unsigned_abs()))
    }

    fn row_key(&self, (tenant, hour): &CounterKey) -> RowKey {
        let time = Timestamp::from_millis(hour.saturating_mul(HOUR_MS));
        Keyspace::of(tenant).counter(time, &self.writer)
    }

    fn insert(&mut self, key: CounterKey, tally: Tally, seq: u64) {
        let bytes = tally.bytes();
        self.bytes += bytes;
        let held = Held {
            tally,
            seq,
            unwritten: None,
            in_flight: None,
            bytes,
            used: self.tick,
        };
        self.rows.insert(key, held);
    }

    fn begin_write(&mut self, key: &CounterKey) -> Option<(RowKey, Row)> {
        let row_key = self.row_key(key);
        let held = self.rows.get_mut(key)?;
        held.in_flight = Some(held.unwritten.take()?.position);
        let tally = serde_json::to_string(&held.tally).unwrap_or_default();
        let end = Timestamp::from_millis((key.1 + 1).saturating_mul(HOUR_MS));
        let expiry = end.max(self.clock.now()).plus(self.retention);
        let row = Row::new()
            .with_number(SEQ_ATTRIBUTE, i64::try_from(held.seq).unwrap_or(i64::MAX))
            .with_text(TALLY_ATTRIBUTE, tally)
            .with_number(EXPIRY_ATTRIBUTE, expiry.as_seconds());
        Some((row_key, row))
    }

    /// Drops the rows used least recently that have nothing to write, a quarter at a time, where there
    /// are too many.
    fn evict(&mut self) {
        if self.bytes <= self.bytes_max || self.tick < self.evict_at {
            return;
        }
        self.evict_at = self.tick + EVICT_EVERY;
        let mut clean: Vec<(u64, CounterKey)> = self
            .rows
            .iter()
            .filter(|(_, held)| held.unwritten.is_none() && held.in_flight.is_none())
            .map(|(key, held)| (held.used, key.clone()))
            .collect();
        clean.sort_unstable_by_key(|&(used, _)| used);
        for (_, key) in clean {
            if self.bytes <= self.bytes_max / 4 * 3 {
                break;
            }
            self.forget(&key);
        }
    }

    fn forget(&mut self, key: &CounterKey) {
        if let Some(held) = self.rows.remove(key) {
            self.bytes -= held.bytes;
            self.dropped_hours.insert(key.1);
            if self.dropped_hours.len() > HOURS_MAX
                && let Some(hour) = self.dropped_hours.pop_first()
            {
                self.dropped_until = self.dropped_until.max(hour);
            }
        }
    }
}

#[cfg(test)]
mod tests;
