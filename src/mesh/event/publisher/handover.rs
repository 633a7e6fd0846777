//! The hand-over: what a process could not publish before it ended goes into the bucket, for another one.
//!
//! Each object has records of one tenant and one writer, in order, and is taken on by [`adoption`]. Counters
//! go by the numbers of records: what is counted late behind a higher number is not counted at all. So a
//! later part of a tenant's records must never be all that is left here of what is in the bucket.

pub(super) mod adoption;
mod object;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use self::object::{HandOver, Handed, RECORDS_BYTES_MAX};
use super::{Lanes, Shared};
use crate::mesh::event::outbox::frame::{Kind, parse_payload};
use crate::mesh::event::outbox::log::{Log, Position};
use crate::mesh::event::outbox::reader::LogReader;
use crate::mesh::event::outbox::share::Way;
use crate::mesh::store::bucket::{ObjectAttributes, ObjectCondition, PutOutcome};
use crate::mesh::store::key::Keyspace;
use crate::mesh::tenant::TenantId;
use crate::mesh::{Error, ErrorKind};

/// How much of a drain's time is kept for the hand-over; of a short drain, a third.
const HAND_OVER_TIME: Duration = Duration::from_secs(1);

/// The most bytes of records that are handed over of one log: what a second can carry.
const HAND_OVER_BYTES_MAX: usize = 32 << 20;

/// The most objects that are written at once.
const PUTS_MAX: usize = 32;

/// How many names are tried for a tenant's objects; those that are taken are of earlier hand-overs.
const NAMES_MAX: u32 = 64;

/// What has been handed over, and taken on from others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HandOverStats {
    /// Records that this process has put into the bucket.
    pub handed_over_records: u64,
    /// Records that it has taken from there and published.
    pub adopted_records: u64,
    /// Objects that it has left alone, since they are damaged or of another version.
    pub unreadable_objects: u64,
}

/// Where [`HandOverStats`] are counted.
#[derive(Debug, Default)]
pub(super) struct HandOverCounts {
    handed_over: AtomicU64,
    adopted: AtomicU64,
    unreadable: AtomicU64,
}

impl HandOverCounts {
    pub(super) fn stats(&self) -> HandOverStats {
        HandOverStats {
            handed_over_records: self.handed_over.load(Ordering::Relaxed),
            adopted_records: self.adopted.load(Ordering::Relaxed),
            unreadable_objects: self.unreadable.load(Ordering::Relaxed),
        }
    }
}

/// What has not left a log.
struct Gathered {
    tenants: BTreeMap<TenantId, Parcel>,
    /// Where the log ends, if all of it has been read.
    end: Option<Position>,
}

/// What has not left a log of one tenant.
#[derive(Default)]
struct Parcel {
    objects: Vec<Vec<Handed>>,
    /// Bytes of the last object.
    object_bytes: usize,
    records: u64,
    ways: [Held; Way::COUNT],
}

/// What has not left on one way.
#[derive(Clone, Copy, Default)]
struct Held {
    first: Option<Position>,
    bytes: u64,
    records: u64,
}

/// How much of a drain of `deadline` is kept for the hand-over.
pub(super) fn time_of(deadline: Duration) -> Duration {
    HAND_OVER_TIME.min(deadline / 3)
}

impl Shared {
    /// Puts what has not left into the bucket until `until`; what cannot go there stays in the outbox.
    pub(super) async fn hand_over(&self, lanes: &Lanes, until: Instant) {
        let outbox = &self.settings.outbox;
        outbox.give_up_calls();
        let adopted = std::mem::take(&mut *self.adopted());
        let own = (outbox.log().clone(), lanes.clone());
        if outbox.stats().records == 0 {
            return;
        }
        for (log, lanes) in std::iter::once(own).chain(adopted) {
            self.hand_over_log(&log, lanes, until).await;
            let is_own = Arc::ptr_eq(&log, outbox.log());
            if !is_own
                && log.is_done()
                && let Err(error) = outbox.remove(&log)
            {
                tracing::warn!(%error, "an adopted outbox that was handed over cannot be removed");
            }
        }
    }

    async fn hand_over_log(&self, log: &Arc<Log>, lanes: Lanes, until: Instant) {
        let read = log.clone();
        let gathering = tokio::task::spawn_blocking(move || gather(&read, &lanes, until));
        let mut gathered = match gathering.await {
            Ok(Ok(gathered)) => gathered,
            Ok(Err(error)) => {
                tracing::warn!(%error, "what was not published cannot be read and stays in the outbox");
                return;
            }
            // The runtime is going down.
            Err(_) => return,
        };
        let stored = self.store_all(log, &mut gathered, until).await;
        // Where not all of the log was read, later records of the same tenants are still in it alone.
        let Some(end) = gathered.end else {
            tracing::warn!(
                "more was left unpublished than could be handed over; it stays in the outbox too"
            );
            return;
        };
        let is_stored = |tenant: &TenantId| stored.contains(tenant);
        for way in Way::ALL {
            self.acknowledge(log, way, &gathered.tenants, is_stored, end);
        }
        log.keep_acks();
    }

    /// What is in the bucket has left, as far as nothing before it is still needed here.
    fn acknowledge(
        &self,
        log: &Log,
        way: Way,
        tenants: &BTreeMap<TenantId, Parcel>,
        is_stored: impl Fn(&TenantId) -> bool,
        end: Position,
    ) {
        let held = |parcel: &Parcel| parcel.ways[way as usize];
        let kept = tenants.iter().filter(|(tenant, _)| !is_stored(tenant));
        let low = kept.filter_map(|(_, parcel)| held(parcel).first).min();
        if way == Way::History && low.is_some() {
            // A log is read from one place on, for all tenants: begun in the midst of a tenant's records
            // it would count the later ones first, and the earlier ones in the bucket no more.
            return;
        }
        for (tenant, parcel) in tenants.iter().filter(|(tenant, _)| is_stored(tenant)) {
            let held = held(parcel);
            let outbox = &self.settings.outbox;
            outbox.settle_all(way, tenant, held.bytes, held.records);
        }
        log.acknowledge(way, low.unwrap_or(end));
    }

    /// Puts the objects of each tenant into the bucket; answers the tenants of which all are there.
    async fn store_all(
        &self,
        log: &Log,
        gathered: &mut Gathered,
        until: Instant,
    ) -> BTreeSet<TenantId> {
        let parcels: Vec<_> = gathered
            .tenants
            .iter_mut()
            .map(|(tenant, parcel)| {
                let objects = std::mem::take(&mut parcel.objects);
                (tenant.clone(), objects, parcel.records)
            })
            .collect();
        let storing = stream::iter(parcels).map(async |(tenant, objects, records)| {
            let storing = self.store(log, &tenant, objects);
            match tokio::time::timeout_at(until, storing).await {
                Ok(Ok(())) => {
                    let count = &self.hand_over_counts.handed_over;
                    count.fetch_add(records, Ordering::Relaxed);
                    tracing::info!(%tenant, records, "events that could not be published were handed over through the bucket");
                    Some(tenant)
                }
                Ok(Err(error)) => {
                    tracing::warn!(%tenant, records, ?error, "events could not be handed over");
                    None
                }
                Err(_) => {
                    tracing::warn!(%tenant, records, "there was no time to hand events over");
                    None
                }
            }
        });
        let stored = storing.buffer_unordered(PUTS_MAX);
        stored.filter_map(std::future::ready).collect().await
    }

    /// Puts a tenant's objects into the bucket, in order.
    async fn store(
        &self,
        log: &Log,
        tenant: &TenantId,
        objects: Vec<Vec<Handed>>,
    ) -> Result<(), Error> {
        let settings = &self.settings;
        let (keys, writer) = (Keyspace::of(tenant), log.writer());
        let mut numbers = 1..=NAMES_MAX;
        for records in objects {
            let hand_over = HandOver {
                tenant: tenant.clone(),
                writer,
                claim: None,
                records,
            };
            let body = hand_over.to_bytes(settings.outbox.target_name())?;
            loop {
                let number = numbers.next().ok_or_else(|| {
                    Error::new(ErrorKind::Conflict, "too much has been handed over before")
                })?;
                let key = keys.hand_over(&writer.to_string(), number);
                let attributes = attributes();
                let put =
                    settings
                        .bucket
                        .put(&key, body.clone(), &attributes, ObjectCondition::Absent);
                if let PutOutcome::Done(_) = put.await? {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// What is stored with each object.
fn attributes() -> ObjectAttributes {
    ObjectAttributes {
        content_type: "application/x-ndjson".to_owned(),
        ..ObjectAttributes::default()
    }
}

/// Reads what has not left `log`. Blocks, at most until `until`.
fn gather(log: &Arc<Log>, lanes: &Lanes, until: Instant) -> io::Result<Gathered> {
    let lows = Way::ALL.map(|way| log.low(way));
    let mut reader = LogReader::new(log.clone(), lows.into_iter().min().unwrap_or_default());
    let mut gathered = Gathered {
        tenants: BTreeMap::new(),
        end: None,
    };
    let mut room = HAND_OVER_BYTES_MAX;
    while Instant::now() < until {
        let Some(found) = reader.next()? else {
            gathered.end = Some(reader.position());
            break;
        };
        let frame = found.header;
        let payload = (frame.kind == Kind::Commit).then(|| parse_payload(reader.payload()));
        let Some((tenant, events)) = payload.flatten() else {
            continue;
        };
        let bytes = frame.frame_bytes() / events.len().max(1) as u64;
        for (seq, json) in (frame.seq..).zip(events) {
            let has_yet = |way: &Way| {
                let at = *way as usize;
                found.position >= lows[at] && lanes[at].holds(&tenant, seq)
            };
            let ways: Vec<Way> = Way::ALL.into_iter().filter(has_yet).collect();
            if ways.is_empty() {
                continue;
            }
            let Ok(event) = serde_json::from_slice::<Box<RawValue>>(json) else {
                tracing::error!(writer = %log.writer(), seq, "a record that cannot be read is not handed over");
                continue;
            };
            let handed = Handed { seq, ways, event };
            let Some(left) = room.checked_sub(handed.bytes()) else {
                return Ok(gathered);
            };
            room = left;
            let parcel = gathered.tenants.entry(tenant.clone()).or_default();
            parcel.put(handed, found.position, bytes);
        }
    }
    Ok(gathered)
}

impl Parcel {
    fn put(&mut self, handed: Handed, position: Position, bytes: u64) {
        for &way in &handed.ways {
            let held = &mut self.ways[way as usize];
            held.first.get_or_insert(position);
            held.bytes += bytes;
            held.records += 1;
        }
        self.records += 1;
        let size = handed.bytes();
        match self.objects.last_mut() {
            Some(object) if self.object_bytes + size <= RECORDS_BYTES_MAX => {
                object.push(handed);
                self.object_bytes += size;
            }
            _ => {
                self.objects.push(vec![handed]);
                self.object_bytes = size;
            }
        }
    }
}
