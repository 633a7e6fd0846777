//! What others can see of a pipeline: how far it is, who waits for it, what is wrong with it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Notify;

use crate::mesh::event::counters::CounterKey;
use crate::mesh::event::outbox::Committed;
use crate::mesh::event::outbox::log::Position;
use crate::mesh::event::outbox::note::Note;
use crate::mesh::event::outbox::share::Way;
use crate::mesh::tenant::TenantId;
use crate::mesh::{Error, Timestamp};

/// How many records that were set aside are remembered, for those who wait for them.
const SET_ASIDE_MAX: usize = 256;

/// A record that the pipeline has read and that has not left yet.
#[derive(Clone, Debug)]
pub(super) struct Unsettled {
    pub(super) position: Position,
    pub(super) tenant: TenantId,
    pub(super) bytes: u64,
    pub(super) time: Timestamp,
}

/// Why nothing goes out on a way.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PublishFault {
    /// The code of the last error.
    pub code: &'static str,
    /// What it said, in terms that a caller may read.
    pub message: String,
    /// Since when every try has failed.
    pub since: Timestamp,
}

/// What is wrong with a way, over all logs.
#[derive(Debug, Default)]
pub(super) struct WayStatus {
    fault: Mutex<Option<PublishFault>>,
    set_aside: AtomicU64,
    batches: AtomicU64,
    failed_batches: AtomicU64,
    deferred_tenants: AtomicUsize,
}

impl WayStatus {
    pub(super) fn fail(&self, error: &Error, now: Timestamp) {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        let since = fault.as_ref().map_or(now, |fault| fault.since);
        *fault = Some(PublishFault {
            code: error.kind().code(),
            message: match error.kind() {
                crate::mesh::ErrorKind::Internal => "an internal fault; the log has it".to_owned(),
                _ => error.message().to_owned(),
            },
            since,
        });
    }

    pub(super) fn succeed(&self) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn fault(&self) -> Option<PublishFault> {
        let fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        fault.clone()
    }

    pub(super) fn count_set_aside(&self) {
        self.set_aside.fetch_add(1, Ordering::Relaxed);
    }

    /// A batch was sent, or could not be.
    pub(super) fn count_batch(&self, has_failed: bool) {
        let count = match has_failed {
            false => &self.batches,
            true => &self.failed_batches,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    pub(super) fn failed_batches(&self) -> u64 {
        self.failed_batches.load(Ordering::Relaxed)
    }

    pub(super) fn set_aside(&self) -> u64 {
        self.set_aside.load(Ordering::Relaxed)
    }

    pub(super) fn change_deferred(&self, from: usize, to: usize) {
        self.deferred_tenants.fetch_add(to, Ordering::Relaxed);
        self.deferred_tenants.fetch_sub(from, Ordering::Relaxed);
    }

    pub(super) fn deferred_tenants(&self) -> usize {
        self.deferred_tenants.load(Ordering::Relaxed)
    }
}

/// The number of a log's first record: below it there is nothing to be read.
const FIRST_SEQ: u64 = 1;

/// One way out of one log.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) way: Way,
    pub(super) status: Arc<WayStatus>,
    state: Mutex<State>,
    progress: Notify,
    hurried: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// By number.
    unsettled: BTreeMap<u64, Unsettled>,
    /// Every record below this number has been read, or belongs to a tenant in `lagging`.
    read_until: u64,
    /// Tenants whose records from that number on have not been read.
    lagging: HashMap<TenantId, u64>,
    /// Rows of counters that are not in the table as they should be, and the first number missing.
    uncounted: BTreeMap<CounterKey, u64>,
    awaited: HashMap<TenantId, u32>,
    set_aside: VecDeque<u64>,
    is_draining: bool,
}

/// Someone waits for a tenant's records, which therefore go out at once.
pub(super) struct Awaiting<'a> {
    lane: &'a Lane,
    tenant: TenantId,
}

impl Lane {
    pub(super) fn new(way: Way, status: Arc<WayStatus>) -> Self {
        Self {
            way,
            status,
            state: Mutex::new(State {
                read_until: FIRST_SEQ,
                ..State::default()
            }),
            progress: Notify::new(),
            hurried: Notify::new(),
        }
    }

    /// These records have been read, and with them everything up to `until`.
    pub(super) fn read(&self, until: u64, records: impl IntoIterator<Item = (u64, Unsettled)>) {
        let mut state = self.state();
        state.unsettled.extend(records);
        state.read_until = state.read_until.max(until);
    }

    /// These records have left; answers what they were.
    pub(super) fn settle(&self, seqs: impl IntoIterator<Item = u64>) -> Vec<Unsettled> {
        let mut state = self.state();
        let left = seqs
            .into_iter()
            .filter_map(|seq| state.unsettled.remove(&seq));
        let left = left.collect();
        drop(state);
        self.progress.notify_waiters();
        left
    }

    /// This record will never leave.
    pub(super) fn set_aside(&self, seq: u64) {
        self.status.count_set_aside();
        let mut state = self.state();
        if state.set_aside.len() == SET_ASIDE_MAX {
            state.set_aside.pop_front();
        }
        state.set_aside.push_back(seq);
    }

    /// Nothing of `tenant` from `seq` on has been read, or everything has.
    pub(super) fn lag(&self, tenant: &TenantId, seq: Option<u64>) {
        let mut state = self.state();
        match seq {
            Some(seq) => state.lagging.insert(tenant.clone(), seq),
            None => state.lagging.remove(tenant),
        };
        drop(state);
        self.progress.notify_waiters();
    }

    /// From `seq` on a row of counters is not in the table as it should be, or it is.
    pub(super) fn count(&self, key: CounterKey, seq: Option<u64>) {
        let mut state = self.state();
        match seq {
            Some(seq) => state.uncounted.insert(key, seq),
            None => state.uncounted.remove(&key),
        };
    }

    /// Something has changed for those who wait.
    pub(super) fn tell(&self) {
        self.progress.notify_waiters();
    }

    /// The place of the first record that has been read and has not left.
    pub(super) fn first_unsettled(&self) -> Option<Position> {
        let state = self.state();
        // Numbers and places rise together, except where a tenant's records are read late.
        state.unsettled.values().map(|held| held.position).min()
    }

    /// What it holds of the log, which it has read up to `read`, but for the records of `lagging` tenants.
    pub(super) fn note(
        &self,
        read: Position,
        lagging: impl Iterator<Item = (TenantId, Position)>,
    ) -> Note {
        let state = self.state();
        let bytes = state.unsettled.values().map(|held| held.bytes).sum();
        Note::new(read, (state.unsettled.len() as u64, bytes), lagging)
    }

    /// When the oldest record happened that has been read and has not left.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.state().unsettled.values().map(|held| held.time).min()
    }

    /// Whether someone waits, so that nothing may linger.
    pub(super) fn is_hurried(&self) -> bool {
        let state = self.state();
        state.is_draining || !state.awaited.is_empty()
    }

    /// Whether someone waits for `tenant`.
    pub(super) fn is_awaited(&self, tenant: &TenantId) -> bool {
        let state = self.state();
        state.is_draining || state.awaited.contains_key(tenant)
    }

    pub(super) fn is_draining(&self) -> bool {
        self.state().is_draining
    }

    /// From now on nothing lingers.
    pub(super) fn drain(&self) {
        self.state().is_draining = true;
        self.hurried.notify_one();
    }

    /// Told when someone begins to wait.
    pub(super) fn hurried(&self) -> &Notify {
        &self.hurried
    }

    /// Whether every record below `seq` has left and is counted.
    pub(super) fn is_through(&self, seq: u64) -> bool {
        let state = self.state();
        state.read_until >= seq
            && state.unsettled.range(..seq).next().is_none()
            && state.lagging.is_empty()
            && state.uncounted.values().all(|&first| first >= seq)
    }

    /// Whether the record of `tenant` with the number `seq` has yet to leave or to be counted.
    pub(super) fn holds(&self, tenant: &TenantId, seq: u64) -> bool {
        let state = self.state();
        let rows = (tenant.clone(), i64::MIN)..=(tenant.clone(), i64::MAX);
        seq >= state.read_until
            || state.unsettled.contains_key(&seq)
            || state.lagging.get(tenant).is_some_and(|&first| seq >= first)
            || state.uncounted.range(rows).any(|(_, &first)| seq >= first)
    }

    /// Waits until every record below `seq` has left and is counted.
    pub(super) async fn through(&self, seq: u64) {
        self.until(|| self.is_through(seq).then_some(())).await;
    }

    /// Waits until the records have left; `false` where one of them never will.
    pub(super) async fn published(&self, committed: &Committed) -> bool {
        let _awaiting = self.wait_for(&committed.tenant);
        self.until(|| self.is_published(committed)).await
    }

    /// Waits until every record of `tenant` below `seq` has left and is counted.
    pub(super) async fn stored(&self, tenant: &TenantId, seq: u64) {
        let _awaiting = self.wait_for(tenant);
        self.until(|| self.is_stored(tenant, seq).then_some(()))
            .await;
    }

    async fn until<T>(&self, check: impl Fn() -> Option<T>) -> T {
        loop {
            let mut progress = std::pin::pin!(self.progress.notified());
            progress.as_mut().enable();
            if let Some(found) = check() {
                return found;
            }
            progress.await;
        }
    }

    fn is_published(&self, committed: &Committed) -> Option<bool> {
        let seqs = committed.first_seq..committed.first_seq + u64::from(committed.count);
        let state = self.state();
        let lags = state.lagging.get(&committed.tenant);
        let is_read = state.read_until >= seqs.end && lags.is_none_or(|&seq| seq >= seqs.end);
        let has_left = is_read && state.unsettled.range(seqs.clone()).next().is_none();
        has_left.then(|| !state.set_aside.iter().any(|seq| seqs.contains(seq)))
    }

    fn is_stored(&self, tenant: &TenantId, until: u64) -> bool {
        let state = self.state();
        let mut unsettled = state.unsettled.range(..until);
        let rows = (tenant.clone(), i64::MIN)..=(tenant.clone(), i64::MAX);
        state.read_until >= until
            && state.lagging.get(tenant).is_none_or(|&seq| seq >= until)
            && !unsettled.any(|(_, held)| held.tenant == *tenant)
            && state
                .uncounted
                .range(rows)
                .all(|(_, &first)| first >= until)
    }

    fn wait_for(&self, tenant: &TenantId) -> Awaiting<'_> {
        *self.state().awaited.entry(tenant.clone()).or_default() += 1;
        self.hurried.notify_one();
        Awaiting {
            lane: self,
            tenant: tenant.clone(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Awaiting<'_> {
    fn drop(&mut self) {
        let mut state = self.lane.state();
        if let Some(waiting) = state.awaited.get_mut(&self.tenant) {
            *waiting -= 1;
            if *waiting == 0 {
                state.awaited.remove(&self.tenant);
            }
        }
    }
}

/// Waits for `done` at most so long; whether it came.
pub(super) async fn within<T>(timeout: Duration, done: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(timeout, done).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_without_a_record_is_through_and_one_with_a_record_is_not() {
        let lane = Lane::new(Way::History, Arc::default());
        let tenant = "acme".parse().unwrap();
        assert!(lane.is_through(FIRST_SEQ) && lane.is_stored(&tenant, FIRST_SEQ));
        assert!(!lane.is_through(FIRST_SEQ + 1) && !lane.is_stored(&tenant, FIRST_SEQ + 1));
    }
}
