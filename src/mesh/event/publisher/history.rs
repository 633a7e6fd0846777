//! The way into the history: rows, large bodies, and the counters.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use tokio::time::Instant;
use ulid::Ulid;

use super::handover::adoption::Lookout;
use super::lane::Lane;
use super::sink::{Flushed, Record, Sent, Sink, Verdict, is_refusal};
use crate::mesh::event::counters::Counters;
use crate::mesh::event::detail::Detail;
use crate::mesh::event::history::{
    BODY_BYTES_ATTRIBUTE, DETAIL_ATTRIBUTE, TYPE_ATTRIBUTE, shard_of,
};
use crate::mesh::event::outbox::log::Position;
use crate::mesh::event::record::Event;
use crate::mesh::store::bucket::{ObjectAttributes, ObjectCondition};
use crate::mesh::store::key::{Keyspace, RowKey};
use crate::mesh::store::table::{EXPIRY_ATTRIBUTE, Row};
use crate::mesh::store::{Bucket, Table};
use crate::mesh::tenant::TenantId;
use crate::mesh::tenant::record::TenantDirectory;
use crate::mesh::{Clock, Error, ErrorKind, Timestamp};

/// A body of more bytes lies in the bucket and not in its row.
pub const INLINE_BODY_BYTES_MAX: usize = 16 << 10;

/// How many marks of sharded days are remembered as written.
const MARKS_MAX: usize = 4096;

const DAY_MS: i64 = 86_400_000;

/// A day of a tenant, and over how many shards its events are spread.
type Mark = (TenantId, i64, u16);

/// What history rows are written with and to.
#[derive(Clone)]
pub(super) struct HistoryStore {
    pub(super) table: Arc<dyn Table>,
    pub(super) bucket: Arc<dyn Bucket>,
    pub(super) tenants: Arc<dyn TenantDirectory>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) retention: Duration,
    /// Who wants to know of tenants that something is recorded of.
    pub(super) lookout: Option<Arc<Lookout>>,
}

/// Writes records into the history and counts them.
pub(super) struct HistorySink {
    writer: Arc<Writer>,
    counters: Counters,
}

struct Writer {
    store: HistoryStore,
    id: Ulid,
    id_text: String,
    marks: Mutex<BTreeSet<Mark>>,
}

impl HistorySink {
    /// The way of `writer`'s records; `is_ours` where the writer is this process.
    pub(super) fn new(store: HistoryStore, writer: Ulid, is_ours: bool) -> Self {
        let (table, clock) = (store.table.clone(), store.clock.clone());
        let counters = Counters::new(table, clock, writer, is_ours, store.retention);
        let writer = Arc::new(Writer {
            store,
            id: writer,
            id_text: writer.to_string(),
            marks: Mutex::default(),
        });
        Self { writer, counters }
    }
}

impl Sink for HistorySink {
    const BATCH_MAX: usize = 25;
    const BATCH_BYTES_MAX: usize = 4 << 20;
    const BATCHES_MAX: usize = 4;

    fn weigh(record: &Record) -> usize {
        record.bytes as usize
    }

    async fn admit(&mut self, record: &Record, lane: &Lane) -> Result<(), Error> {
        let event = &record.event;
        if let Some(lookout) = &self.writer.store.lookout {
            lookout.notice(&event.tenant_id);
        }
        let counted = self.counters.count(event, record.seq, record.position);
        if let Some(key) = counted.await? {
            lane.count(key, Some(record.seq));
        }
        Ok(())
    }

    fn send(&self, records: Vec<Record>) -> BoxFuture<'static, Sent> {
        let writer = self.writer.clone();
        async move {
            let result = writer.write(&records).await;
            Sent { records, result }
        }
        .boxed()
    }

    fn flush(&mut self, lane: &Lane, is_pressed: bool) -> Option<BoxFuture<'static, Flushed>> {
        let is_wanted = |tenant: &TenantId| is_pressed || lane.is_awaited(tenant);
        let wanted: Option<&dyn Fn(&TenantId) -> bool> = match is_pressed || lane.is_hurried() {
            true => Some(&is_wanted),
            false => None,
        };
        let flush = self.counters.due(wanted)?;
        let table = self.writer.store.table.clone();
        let flushing = async move {
            let result = table.put_all(&flush.rows).await.map(|done| done.value);
            Flushed {
                keys: flush.keys,
                result,
            }
        };
        Some(flushing.boxed())
    }

    fn flushed(&mut self, flushed: Flushed, lane: &Lane) {
        let failed = flushed
            .result
            .unwrap_or_else(|_| (0..flushed.keys.len()).collect());
        for (key, later) in self.counters.written(flushed.keys, &failed) {
            lane.count(key, later);
        }
    }

    fn next_flush(&self) -> Option<Instant> {
        self.counters.next_due()
    }

    fn low(&self) -> Option<Position> {
        self.counters.low()
    }

    fn is_clean(&self) -> bool {
        self.counters.is_clean()
    }
}

impl Writer {
    async fn write(&self, records: &[Record]) -> Result<Vec<Verdict>, Error> {
        let stored = self.store_bodies(records).await;
        let mut verdicts: Vec<Option<Verdict>> = stored.into_iter().map(Result::err).collect();
        let unmarked = self.mark(records).await?;
        let mut rows = Vec::with_capacity(records.len());
        let mut places = Vec::with_capacity(records.len());
        for (at, record) in records.iter().enumerate() {
            // The same event twice in one batch would have all of it refused; one row is enough.
            let is_same = |other: &Record| other.event.event_id == record.event.event_id;
            if unmarked.contains(&record.event.tenant_id) {
                verdicts[at] = Some(verdict(true));
            } else if verdicts[at].is_none() && !records[..at].iter().any(is_same) {
                rows.push(self.row(record)?);
                places.push(at);
            }
        }
        for (place, verdict) in places.into_iter().zip(self.put(&rows).await?) {
            verdicts[place] = Some(verdict);
        }
        Ok(verdicts
            .into_iter()
            .map(|verdict| verdict.unwrap_or(Verdict::Done))
            .collect())
    }

    /// Puts the bodies that are too large for a row into the bucket.
    async fn store_bodies(&self, records: &[Record]) -> Vec<Result<(), Verdict>> {
        join_all(records.iter().map(async |record| {
            let event = &record.event;
            if !is_large(event) {
                return Ok(());
            }
            let key = Keyspace::of(&event.tenant_id).event_body(&event.event_id.to_string());
            let body = Bytes::copy_from_slice(event.data.get().as_bytes());
            let attributes = ObjectAttributes {
                content_type: "application/json".to_owned(),
                ..ObjectAttributes::default()
            };
            let put = self
                .store
                .bucket
                .put(&key, body, &attributes, ObjectCondition::Always);
            match put.await {
                Ok(_) => Ok(()),
                Err(error) if is_refusal(error.kind()) => Err(Verdict::Refused(error)),
                Err(error) => Err(Verdict::Retry(error)),
            }
        }))
        .await
    }

    fn row(&self, record: &Record) -> Result<(RowKey, Row), Error> {
        let event = &record.event;
        let shards = self.shards(&event.tenant_id);
        let mut detail = Detail::of(event, self.id, record.seq);
        if is_large(event) {
            detail.data = None;
        }
        let shard = shard_of(&self.id_text, shards);
        let id = event.event_id.to_string();
        let key = Keyspace::of(&event.tenant_id).event(event.time, shard, &id);
        let row = Row::new()
            .with_text(TYPE_ATTRIBUTE, event.detail_type.clone())
            .with_text(DETAIL_ATTRIBUTE, detail.to_json()?)
            .with_number(EXPIRY_ATTRIBUTE, self.expiry(event.time));
        let size = event.data.get().len();
        Ok((
            key,
            match is_large(event) {
                true => row.with_number(
                    BODY_BYTES_ATTRIBUTE,
                    i64::try_from(size).unwrap_or(i64::MAX),
                ),
                false => row,
            },
        ))
    }

    /// An event that was recorded under a clock that was behind is kept as long as any other.
    fn expiry(&self, time: Timestamp) -> i64 {
        let from = time.max(self.store.clock.now());
        from.plus(self.store.retention).as_seconds()
    }

    fn shards(&self, tenant: &TenantId) -> u16 {
        let record = self.store.tenants.find(tenant);
        record.map_or(1, |record| record.event_shards.max(1))
    }

    /// Writes down over how many shards days are spread, before the first event of such a day: readers
    /// then find all of them, whatever the setting is by then. Answers the tenants for which that failed.
    async fn mark(&self, records: &[Record]) -> Result<BTreeSet<TenantId>, Error> {
        let written = || self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut marks = BTreeSet::new();
        for Record { event, .. } in records {
            let shards = self.shards(&event.tenant_id);
            if shards > 1 {
                let day = event.time.as_millis().div_euclid(DAY_MS);
                marks.insert((event.tenant_id.clone(), day, shards));
            }
        }
        if !marks.is_empty() {
            let written = written();
            marks.retain(|mark| !written.contains(mark));
        }
        if marks.is_empty() {
            return Ok(BTreeSet::new());
        }
        let marks: Vec<Mark> = marks.into_iter().collect();
        let rows: Vec<(RowKey, Row)> = marks
            .iter()
            .map(|(tenant, day, shards)| {
                let time = Timestamp::from_millis(day.saturating_mul(DAY_MS));
                let end = Timestamp::from_millis((day + 1).saturating_mul(DAY_MS));
                let row = Row::new().with_number(EXPIRY_ATTRIBUTE, self.expiry(end));
                (Keyspace::of(tenant).event_shards(time, *shards), row)
            })
            .collect();
        let failed = self.store.table.put_all(&rows).await?.value;
        let mut written = written();
        if written.len() + marks.len() > MARKS_MAX {
            written.clear();
        }
        let mut unmarked = BTreeSet::new();
        for (at, mark) in marks.into_iter().enumerate() {
            if failed.contains(&at) {
                unmarked.insert(mark.0);
            } else {
                written.insert(mark);
            }
        }
        Ok(unmarked)
    }

    /// Puts the rows; where the table refuses all of them as wrong, one by one, to find the one that is.
    async fn put(&self, rows: &[(RowKey, Row)]) -> Result<Vec<Verdict>, Error> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        match self.store.table.put_all(rows).await {
            Ok(done) => Ok((0..rows.len())
                .map(|at| verdict(done.value.contains(&at)))
                .collect()),
            Err(error) if is_refusal(error.kind()) && rows.len() > 1 => {
                let mut verdicts = Vec::with_capacity(rows.len());
                for row in rows {
                    let put = self.store.table.put_all(std::slice::from_ref(row)).await;
                    verdicts.push(match put {
                        Ok(done) => verdict(!done.value.is_empty()),
                        Err(error) if is_refusal(error.kind()) => Verdict::Refused(error),
                        Err(error) => Verdict::Retry(error),
                    });
                }
                Ok(verdicts)
            }
            Err(error) if is_refusal(error.kind()) => Ok(vec![Verdict::Refused(error)]),
            Err(error) => Err(error),
        }
    }
}

fn is_large(event: &Event) -> bool {
    event.data.get().len() > INLINE_BODY_BYTES_MAX
}

fn verdict(has_failed: bool) -> Verdict {
    if has_failed {
        Verdict::Retry(Error::new(
            ErrorKind::AwsThrottled,
            "the table did not take a row",
        ))
    } else {
        Verdict::Done
    }
}
