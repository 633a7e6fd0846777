//! Adoption: takes what other processes have handed over of a tenant, and publishes it.
//!
//! Whoever takes an object on writes its own id into it, under the condition that nobody has changed it
//! meanwhile, so one of several processes does the work. If it dies, another one goes on after
//! [`CLAIM_TIME`]. An object goes when everything in it has left, never before.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use ulid::Ulid;

use super::super::Shared;
use super::super::bus::BusSink;
use super::super::history::HistorySink;
use super::super::lane::Lane;
use super::super::pipeline::Pipeline;
use super::super::rules::RulesSink;
use super::super::sink::{Record, Sink, Verdict};
use super::attributes;
use super::object::{HandOver, OBJECT_BYTES_MAX, Unreadable};
use crate::mesh::event::outbox::log::Position;
use crate::mesh::event::outbox::share::Way;
use crate::mesh::event::record::Event;
use crate::mesh::store::bucket::{GetOutcome, ObjectCondition, PutOutcome};
use crate::mesh::store::key::{Keyspace, ObjectKey};
use crate::mesh::tenant::TenantId;
use crate::mesh::{Clock, Error, ErrorKind, Timestamp};

/// How long after a look for what was handed over of a tenant the next one may begin.
pub(in crate::mesh::event::publisher) const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// Of how many tenants it is remembered when they were looked at.
pub(in crate::mesh::event::publisher) const TENANTS_MAX: usize = 8192;

/// The most tenants that wait to be looked at.
const WAITING_MAX: usize = 1024;

/// The most tenants whose objects are read at once, of up to [`OBJECT_BYTES_MAX`] bytes each.
const LOOKING_MAX: usize = 4;

/// How long the one who has taken an object on is left in peace.
pub(in crate::mesh::event::publisher) const CLAIM_TIME: Duration = Duration::from_secs(600);

/// How long one object is published at a time, well within [`CLAIM_TIME`].
const PUBLISH_TIME: Duration = Duration::from_secs(120);

/// Keys on one page of a listing, and the most pages of one look.
const PAGE_KEYS: u32 = 100;
const PAGES_MAX: usize = 100;

/// How many objects are remembered that are left alone, so that each is told of once.
const LEFT_ALONE_MAX: usize = 1024;

/// Notices tenants that something is recorded or read of, and has them looked at now and then.
pub(in crate::mesh::event::publisher) struct Lookout {
    clock: Arc<dyn Clock>,
    looked: Mutex<Looked>,
    waiting: mpsc::Sender<TenantId>,
    left_alone: Mutex<HashSet<String>>,
    is_fault_told: AtomicBool,
}

/// When tenants were looked at: of those looked at least recently, the older half goes at once.
#[derive(Default)]
struct Looked {
    recent: HashMap<TenantId, Duration>,
    before: HashMap<TenantId, Duration>,
}

/// What became of an object.
enum Taken {
    /// Everything has left, here or elsewhere, and it is gone.
    Done,
    /// It is left alone for good; the writer's other ones are not affected.
    LeftAlone,
    /// It is another process's to publish, or something has not left yet.
    Unfinished,
}

impl Lookout {
    /// A lookout, and the tenants that it will want to have looked at.
    pub(in crate::mesh::event::publisher) fn new(
        clock: Arc<dyn Clock>,
    ) -> (Arc<Self>, mpsc::Receiver<TenantId>) {
        let (waiting, noticed) = mpsc::channel(WAITING_MAX);
        let lookout = Self {
            clock,
            looked: Mutex::default(),
            waiting,
            left_alone: Mutex::default(),
            is_fault_told: AtomicBool::new(false),
        };
        (Arc::new(lookout), noticed)
    }

    /// Something is recorded or read of `tenant`.
    pub(in crate::mesh::event::publisher) fn notice(&self, tenant: &TenantId) {
        let now = self.clock.monotonic();
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let last = looked.recent.get(tenant);
        let last = last.or_else(|| looked.before.get(tenant)).copied();
        let is_fresh = last.is_some_and(|last| now.saturating_sub(last) < LOOK_AGAIN);
        if is_fresh || self.waiting.try_send(tenant.clone()).is_err() {
            return;
        }
        if looked.recent.len() >= TENANTS_MAX / 2 {
            looked.before = std::mem::take(&mut looked.recent);
        }
        looked.recent.insert(tenant.clone(), now);
    }

    fn is_left_alone(&self, key: &ObjectKey) -> bool {
        let left_alone = self.left_alone.lock();
        let left_alone = left_alone.unwrap_or_else(PoisonError::into_inner);
        left_alone.contains(key.key())
    }

    /// Remembers that an object is left alone; whether that is news.
    fn leave_alone(&self, key: &ObjectKey) -> bool {
        let left_alone = self.left_alone.lock();
        let mut left_alone = left_alone.unwrap_or_else(PoisonError::into_inner);
        left_alone.len() < LEFT_ALONE_MAX && left_alone.insert(key.key().to_owned())
    }

    #[cfg(test)]
    pub(in crate::mesh::event::publisher) fn remembered(&self) -> usize {
        let looked = self.looked.lock().unwrap();
        looked.recent.len() + looked.before.len()
    }
}

impl Shared {
    /// Looks at the tenants that are noticed, and again at those where something could not be finished.
    pub(in crate::mesh::event::publisher) async fn adopt_hand_overs(
        self: Arc<Self>,
        lookout: Arc<Lookout>,
        mut noticed: mpsc::Receiver<TenantId>,
    ) {
        let mut looking = JoinSet::<(TenantId, bool)>::new();
        let mut under_way = HashSet::new();
        let mut unfinished = BTreeSet::new();
        let mut again = VecDeque::new();
        let mut tick = tokio::time::interval(self.settings.pace.adopt_every);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let has_room = looking.len() < LOOKING_MAX;
            let next = match again.pop_front() {
                Some(tenant) if has_room => Some(tenant),
                Some(tenant) => {
                    again.push_front(tenant);
                    None
                }
                None => None,
            };
            let tenant = match next {
                Some(tenant) => tenant,
                None => tokio::select! {
                    Some(tenant) = noticed.recv(), if has_room => tenant,
                    Some(looked) = looking.join_next(), if !looking.is_empty() => {
                        if let Ok((tenant, is_finished)) = looked {
                            under_way.remove(&tenant);
                            if !is_finished && unfinished.len() < WAITING_MAX {
                                unfinished.insert(tenant);
                            }
                        }
                        continue;
                    }
                    _ = tick.tick(), if again.is_empty() => {
                        again.extend(std::mem::take(&mut unfinished));
                        continue;
                    }
                },
            };
            if under_way.insert(tenant.clone()) {
                let (shared, lookout) = (self.clone(), lookout.clone());
                looking.spawn(async move {
                    let is_finished = shared.look(&lookout, &tenant).await;
                    (tenant, is_finished)
                });
            }
        }
    }

    /// Takes what there is of `tenant`; whether nothing is left to do.
    async fn look(&self, lookout: &Lookout, tenant: &TenantId) -> bool {
        match self.take_all(lookout, tenant).await {
            Ok(is_finished) => {
                lookout.is_fault_told.store(false, Ordering::Relaxed);
                is_finished
            }
            Err(error) => {
                if !lookout.is_fault_told.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%tenant, ?error, "events that other processes have handed over cannot be looked for");
                }
                // What is not allowed will not be allowed in a moment.
                error.kind() == ErrorKind::PermissionDenied
            }
        }
    }

    async fn take_all(&self, lookout: &Lookout, tenant: &TenantId) -> Result<bool, Error> {
        let keys = Keyspace::of(tenant);
        let (prefix, bucket) = (keys.hand_overs(), &self.settings.bucket);
        // A writer's objects go in order; after one that must wait, so must the rest.
        let mut blocked = HashSet::new();
        let mut token = None;
        for _ in 0..PAGES_MAX {
            let page = bucket
                .list(&prefix, None, PAGE_KEYS, token.as_deref())
                .await?;
            for (name, _) in page.objects {
                let Some((writer, number)) = parse_name(&name) else {
                    continue;
                };
                let key = keys.hand_over(&writer.to_string(), number);
                if blocked.contains(&writer) || lookout.is_left_alone(&key) {
                    continue;
                }
                let is_here = self.settings.outbox.has_folder(writer);
                if is_here || !self.take_one(lookout, &key, writer).await {
                    blocked.insert(writer);
                }
            }
            token = page.next;
            if token.is_none() {
                return Ok(blocked.is_empty());
            }
        }
        Ok(false)
    }

    /// Takes one object; whether the writer's next one may follow.
    async fn take_one(&self, lookout: &Lookout, key: &ObjectKey, writer: Ulid) -> bool {
        match self.take(lookout, key, writer).await {
            Ok(Taken::Done | Taken::LeftAlone) => true,
            Ok(Taken::Unfinished) => false,
            Err(error) => {
                tracing::warn!(tenant = %key.tenant(), %writer, ?error, "events that were handed over cannot be taken on now");
                false
            }
        }
    }

    async fn take(&self, lookout: &Lookout, key: &ObjectKey, writer: Ulid) -> Result<Taken, Error> {
        let (bucket, outbox) = (&self.settings.bucket, &self.settings.outbox);
        let found = match bucket.get(key, None, OBJECT_BYTES_MAX as u64).await? {
            GetOutcome::Found(found) => found,
            GetOutcome::Absent | GetOutcome::OutOfRange(_) => return Ok(Taken::Done),
        };
        let target = outbox.target_name();
        let parsed = HandOver::parse(&found.body, target, key.tenant(), writer);
        let mut hand_over = match parsed {
            Ok(hand_over) => hand_over,
            Err(why) => {
                self.leave_alone(lookout, key, writer, &why);
                return Ok(Taken::LeftAlone);
            }
        };
        let other = hand_over.claim.filter(|&claim| claim != outbox.writer());
        if other.is_some() && is_recent(found.head.last_modified, self.settings.clock.now()) {
            return Ok(Taken::Unfinished);
        }
        hand_over.claim = Some(outbox.writer());
        let Some(etag) = self.replace(key, &hand_over, found.head.etag).await? else {
            return Ok(Taken::Unfinished);
        };
        let count = hand_over.records.len();
        let until = Instant::now() + PUBLISH_TIME;
        let has_progress = self.publish(&mut hand_over, until).await;
        let published = count - hand_over.records.len();
        let adopted = &self.hand_over_counts.adopted;
        adopted.fetch_add(published as u64, Ordering::Relaxed);
        if hand_over.records.is_empty() {
            bucket.delete(key, ObjectCondition::Always).await?;
            tracing::info!(tenant = %key.tenant(), %writer, records = count, "published events that were handed over");
            return Ok(Taken::Done);
        }
        if has_progress {
            self.replace(key, &hand_over, etag).await?;
        }
        Ok(Taken::Unfinished)
    }

    /// Writes an object anew unless somebody else has; answers its new entity tag.
    async fn replace(
        &self,
        key: &ObjectKey,
        hand_over: &HandOver,
        etag: String,
    ) -> Result<Option<String>, Error> {
        let body = hand_over.to_bytes(self.settings.outbox.target_name())?;
        let (attributes, condition) = (attributes(), ObjectCondition::Etag(etag));
        let put = self.settings.bucket.put(key, body, &attributes, condition);
        Ok(match put.await? {
            PutOutcome::Done(etag) => Some(etag),
            PutOutcome::ConditionFailed => None,
        })
    }

    fn leave_alone(&self, lookout: &Lookout, key: &ObjectKey, writer: Ulid, why: &Unreadable) {
        if lookout.leave_alone(key) && *why != Unreadable::Elsewhere {
            let count = &self.hand_over_counts.unreadable;
            count.fetch_add(1, Ordering::Relaxed);
            tracing::error!(tenant = %key.tenant(), %writer, ?why, "events that were handed over cannot be read and are left in the bucket");
        }
    }

    /// Sends the records on their ways until `until`, and keeps in `hand_over` what has not left; whether
    /// anything has.
    async fn publish(&self, hand_over: &mut HandOver, until: Instant) -> bool {
        let lanes = self.lanes();
        let mut queues: [VecDeque<Record>; Way::COUNT] = Default::default();
        for handed in &hand_over.records {
            for &way in &handed.ways {
                match serde_json::from_str::<Event>(handed.event.get()) {
                    Ok(event) if event.tenant_id == hand_over.tenant => {
                        queues[way as usize].push_back(Record {
                            seq: handed.seq,
                            position: Position::default(),
                            bytes: handed.bytes() as u64,
                            event,
                        });
                    }
                    other => {
                        let (writer, seq) = (hand_over.writer, handed.seq);
                        tracing::error!(%writer, seq, error = ?other.err(), "a record that cannot be read is set aside");
                        lanes[way as usize].set_aside(seq);
                    }
                }
            }
        }
        let [to_history, to_bus, to_rules] = queues;
        let history = HistorySink::new(self.history.clone(), hand_over.writer, false);
        let bus = BusSink::new(self.settings.bus.clone(), hand_over.writer);
        let rules = RulesSink::new(self.actions.clone());
        let left: [BTreeSet<u64>; Way::COUNT] = tokio::join!(
            send_all(history, &lanes[Way::History as usize], to_history, until),
            send_all(bus, &lanes[Way::Bus as usize], to_bus, until),
            send_all(rules, &lanes[Way::Rules as usize], to_rules, until),
        )
        .into();
        let mut has_progress = false;
        for handed in &mut hand_over.records {
            let held = handed.ways.len();
            let seq = handed.seq;
            handed.ways.retain(|&way| left[way as usize].contains(&seq));
            has_progress |= handed.ways.len() < held;
        }
        hand_over.records.retain(|handed| !handed.ways.is_empty());
        has_progress
    }
}

/// Sends the records, as far as that goes until `until`; answers the numbers of those that have not left.
async fn send_all<S: Sink>(
    mut sink: S,
    lane: &Lane,
    mut queue: VecDeque<Record>,
    until: Instant,
) -> BTreeSet<u64> {
    let all: BTreeSet<u64> = queue.iter().map(|record| record.seq).collect();
    for record in &queue {
        if let Err(error) = sink.admit(record, lane).await {
            tracing::debug!(way = lane.way.name(), ?error, "a hand-over waits");
            return all;
        }
    }
    let mut left = BTreeSet::new();
    while Instant::now() < until {
        let batch = Pipeline::<S>::batch(&mut queue, S::TENANT_BATCH_MAX);
        if batch.is_empty() {
            break;
        }
        let sent = sink.send(batch).await;
        let seqs = sent.records.iter().map(|record| record.seq);
        match sent.result {
            Ok(verdicts) => {
                for (record, verdict) in sent.records.iter().zip(verdicts) {
                    match verdict {
                        Verdict::Done => {}
                        Verdict::Retry(_) => {
                            left.insert(record.seq);
                        }
                        Verdict::Refused(error) => {
                            let (way, seq) = (lane.way.name(), record.seq);
                            tracing::error!(
                                way,
                                seq,
                                ?error,
                                "an event was refused as wrong in itself and is set aside"
                            );
                            lane.set_aside(seq);
                        }
                    }
                }
            }
            Err(error) => {
                tracing::debug!(way = lane.way.name(), ?error, "a hand-over waits");
                left.extend(seqs);
                break;
            }
        }
    }
    left.extend(queue.iter().map(|record| record.seq));
    // Counts are of all records, so they are written even where some rows of the history were not.
    while let Some(flushing) = sink.flush(lane, true) {
        let flushed = flushing.await;
        let is_written = matches!(&flushed.result, Ok(failed) if failed.is_empty());
        sink.flushed(flushed, lane);
        if !is_written {
            return all;
        }
    }
    left
}

/// The writer and the number in an object's name.
fn parse_name(name: &str) -> Option<(Ulid, u32)> {
    let (writer, number) = name.split_once('-')?;
    let parsed = (Ulid::from_string(writer).ok()?, number.parse().ok()?);
    (format!("{}-{:06}", parsed.0, parsed.1) == name).then_some(parsed)
}

/// Whether a claim that was written at `modified`, by another clock, still holds.
fn is_recent(modified: Timestamp, now: Timestamp) -> bool {
    now.as_millis().abs_diff(modified.as_millis()) < CLAIM_TIME.as_millis() as u64
}
