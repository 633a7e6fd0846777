//! A pipeline: reads one log on one way, sends what it reads in batches and acknowledges what has left.

mod intake;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::time::Instant;

use super::Pace;
use super::backoff::Backoff;
use super::deferral::Deferrals;
use super::lane::Lane;
use super::sink::{Flushed, Record, Sent, Sink, Verdict};
use crate::mesh::event::outbox::Outbox;
use crate::mesh::event::outbox::log::Log;
use crate::mesh::event::outbox::reader::LogReader;
use crate::mesh::tenant::TenantId;
use crate::mesh::{Clock, Error};

/// How often what has left is acknowledged.
const ACKNOWLEDGE_EVERY: Duration = Duration::from_millis(250);

/// For how many lingers what fills no batch waits for more.
const PARTIAL_LINGERS: u32 = 2;

/// A batch that was sent; of one tenant that is held back, or of any that are not.
struct Attempt {
    deferred: Option<TenantId>,
    sent: Sent,
}

/// One way out of one log.
pub(super) struct Pipeline<S> {
    sink: S,
    outbox: Outbox,
    log: Arc<Log>,
    lane: Arc<Lane>,
    clock: Arc<dyn Clock>,
    pace: Pace,
    reader: LogReader,
    is_at_end: bool,
    ready: VecDeque<Record>,
    ready_bytes: u64,
    in_flight: FuturesUnordered<BoxFuture<'static, Attempt>>,
    flushing: Option<BoxFuture<'static, Flushed>>,
    deferrals: Deferrals,
    deferred_in_flight: usize,
    /// Records of each tenant that are ready or under way among those of others, where that is bounded.
    crowd: HashMap<TenantId, usize>,
    backoff: Backoff,
    flush_backoff: Backoff,
    linger: Duration,
    /// Whether records that were read of late were not wanted.
    has_passed: bool,
    linger_until: Option<Instant>,
    /// Until when what does not fill a batch waits for more of it.
    partial_until: Option<Instant>,
    /// When something was last read.
    taken_at: Instant,
    acknowledge_at: Instant,
    has_news: bool,
    /// Whether nothing will be appended to the log any more.
    is_last: bool,
    deferred_told: usize,
}

impl<S: Sink> Pipeline<S> {
    pub(super) fn new(
        sink: S,
        outbox: Outbox,
        log: Arc<Log>,
        lane: Arc<Lane>,
        clock: Arc<dyn Clock>,
        mut pace: Pace,
    ) -> Self {
        pace.linger_longest = pace.linger_longest.min(S::LINGER_LONGEST);
        pace.linger_shortest = pace.linger_shortest.min(pace.linger_longest);
        let seed = log.writer().random() as u64 ^ lane.way as u64;
        let backoff = Backoff::new(pace.backoff_first, pace.backoff_longest, seed);
        let deferrals = Deferrals::new(pace.backoff_first, pace.backoff_longest, seed);
        Self {
            reader: LogReader::new(log.clone(), log.low(lane.way)),
            sink,
            outbox,
            log,
            lane,
            clock,
            is_at_end: false,
            ready: VecDeque::new(),
            ready_bytes: 0,
            in_flight: FuturesUnordered::new(),
            flushing: None,
            deferrals,
            deferred_in_flight: 0,
            crowd: HashMap::new(),
            flush_backoff: backoff.clone(),
            backoff,
            linger: pace.linger_shortest,
            has_passed: false,
            linger_until: None,
            partial_until: None,
            taken_at: Instant::now(),
            acknowledge_at: Instant::now(),
            has_news: false,
            is_last: false,
            deferred_told: 0,
            pace,
        }
    }

    /// Runs for as long as it is polled.
    pub(super) async fn run(mut self) {
        loop {
            self.turn().await;
            self.wait().await;
        }
    }

    /// Runs until everything that is in the log has left.
    pub(super) async fn run_to_end(mut self) {
        self.is_last = true;
        loop {
            self.turn().await;
            if self.is_done() {
                self.acknowledge();
                return;
            }
            self.wait().await;
        }
    }

    fn is_done(&self) -> bool {
        self.is_at_end
            && self.ready.is_empty()
            && self.in_flight.is_empty()
            && self.deferrals.is_empty()
            && self.flushing.is_none()
            && self.sink.is_clean()
    }

    /// Everything that can be done without waiting for an answer.
    async fn turn(&mut self) {
        if self
            .linger_until
            .is_none_or(|until| until <= Instant::now())
            || self.lane.is_hurried()
        {
            self.linger_until = None;
            self.take_in().await;
        }
        self.catch_up().await;
        self.dispatch();
        if self.flushing.is_none() && self.flush_backoff.until().is_none() {
            let is_over = self.is_last && self.is_at_end && self.ready.is_empty();
            let is_pressed = is_over || self.outbox.is_pressed();
            self.flushing = self.sink.flush(&self.lane, is_pressed);
        }
        let is_due = self.acknowledge_at <= Instant::now() || self.lane.is_draining();
        if self.has_news && is_due {
            self.acknowledge();
        }
        let deferred = self.deferrals.len();
        let told = std::mem::replace(&mut self.deferred_told, deferred);
        self.lane.status.change_deferred(told, deferred);
    }

    /// Sends what may be sent.
    fn dispatch(&mut self) {
        if self.backoff.until().is_some() {
            return;
        }
        let batches_max = self.batches_max();
        if self.can_try_deferred() {
            for tenant in self.deferrals.due() {
                if !self.can_try_deferred() {
                    break;
                }
                let held = self.deferrals.entry(&tenant);
                let batch = Self::batch(&mut held.records, S::TENANT_BATCH_MAX);
                if !batch.is_empty() {
                    held.is_in_flight = true;
                    self.deferred_in_flight += 1;
                    self.send(batch, Some(tenant));
                }
            }
        }
        self.hold_back_deferred();
        while self.in_flight.len() < batches_max && !self.ready.is_empty() {
            if self.waits_for_more() {
                return;
            }
            let batch = Self::batch(&mut self.ready, S::BATCH_MAX);
            if batch.is_empty() {
                break;
            }
            self.ready_bytes -= batch.iter().map(|record| record.bytes).sum::<u64>();
            self.send(batch, None);
        }
    }

    /// Whether what is ready fills no batch and may wait for more. A caller that goes on at a steady pace
    /// would else leave a small batch behind each full one, and a request costs more than what is in it.
    fn waits_for_more(&mut self) -> bool {
        let fills_a_batch =
            self.ready.len() >= S::BATCH_MAX || self.ready_bytes >= S::BATCH_BYTES_MAX as u64;
        let is_steady = self.linger > self.pace.linger_shortest;
        let may_wait = !self.ready.is_empty()
            && !fills_a_batch
            && is_steady
            && !self.is_last
            && !self.backoff.has_failed()
            && !self.lane.is_hurried()
            && !self.outbox.is_pressed();
        if !may_wait {
            self.partial_until = None;
            return false;
        }
        let now = Instant::now();
        let until = *self
            .partial_until
            .get_or_insert(now + self.linger * PARTIAL_LINGERS);
        if until <= now {
            self.partial_until = None;
        }
        until > now
    }

    /// After a failure one batch goes ahead to see whether it is over.
    fn batches_max(&self) -> usize {
        if self.backoff.has_failed() {
            1
        } else {
            S::BATCHES_MAX
        }
    }

    /// Whether a tenant that was held back may be tried: the others keep half of the batches.
    fn can_try_deferred(&self) -> bool {
        let batches_max = self.batches_max();
        !self.deferrals.is_empty()
            && self.in_flight.len() < batches_max
            && self.deferred_in_flight < (batches_max / 2).max(1)
            && (batches_max > 1 || self.ready.is_empty())
    }

    fn send(&self, batch: Vec<Record>, deferred: Option<TenantId>) {
        let sending = self.sink.send(batch);
        let attempt = async move {
            let sent = sending.await;
            Attempt { deferred, sent }
        };
        self.in_flight.push(attempt.boxed());
    }

    /// Moves records that were read before their tenant had to wait to where they wait.
    fn hold_back_deferred(&mut self) {
        if self.deferrals.is_empty() {
            return;
        }
        for record in std::mem::take(&mut self.ready) {
            match self.deferrals.get_mut(&record.event.tenant_id) {
                Some(held) => {
                    self.ready_bytes -= record.bytes;
                    leave_crowd::<S>(&mut self.crowd, &record.event.tenant_id);
                    held.put(record);
                }
                None => self.ready.push_back(record),
            }
        }
    }

    /// The next batch of what waits, of at most so many records.
    pub(super) fn batch(from: &mut VecDeque<Record>, records_max: usize) -> Vec<Record> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(record) = from.front() {
            bytes += S::weigh(record);
            if batch.len() == records_max || (bytes > S::BATCH_BYTES_MAX && !batch.is_empty()) {
                break;
            }
            batch.extend(from.pop_front());
        }
        batch
    }

    /// Sorts what became of a batch.
    fn finish(&mut self, attempt: Attempt) {
        let Attempt { deferred, sent } = attempt;
        self.lane.status.count_batch(sent.result.is_err());
        let mut left = Vec::new();
        let mut failed = Vec::new();
        match sent.result {
            Ok(verdicts) => {
                for (record, verdict) in sent.records.into_iter().zip(verdicts) {
                    if deferred.is_none() {
                        leave_crowd::<S>(&mut self.crowd, &record.event.tenant_id);
                    }
                    match verdict {
                        Verdict::Done => left.push(record),
                        Verdict::Retry(error) => failed.push((record, error)),
                        Verdict::Refused(error) => {
                            self.refuse(&record, &error);
                            left.push(record);
                        }
                    }
                }
                if !left.is_empty() {
                    self.backoff.succeed();
                    self.lane.status.succeed();
                }
                self.settle(&left);
            }
            Err(error) => {
                self.fail(error);
                self.put_back(sent.records, deferred.is_some());
            }
        }
        let has_failed = !failed.is_empty();
        self.defer(failed, &left);
        if let Some(tenant) = deferred {
            self.deferred_in_flight -= 1;
            let held = self.deferrals.entry(&tenant);
            held.is_in_flight = false;
            if !has_failed && !left.is_empty() {
                held.succeeded();
            }
            self.deferrals.forget_idle(&tenant);
        }
    }

    fn refuse(&self, record: &Record, error: &Error) {
        let way = self.lane.way.name();
        let (event_id, seq) = (record.event.event_id, record.seq);
        tracing::error!(way, %event_id, seq, ?error, "an event was refused as wrong in itself and is set aside");
        self.lane.set_aside(record.seq);
    }

    fn settle(&mut self, left: &[Record]) {
        let settled = self.lane.settle(left.iter().map(|record| record.seq));
        let accounts = settled.iter().map(|held| (&held.tenant, held.bytes));
        self.outbox.settle(self.lane.way, accounts);
        self.has_news = true;
    }

    /// Everything failed, and not for a reason of one tenant's.
    fn fail(&mut self, error: Error) {
        if self.backoff.until().is_none() {
            self.backoff.fail(error.wait());
            if self.lane.status.fault().is_none() {
                let way = self.lane.way.name();
                tracing::warn!(
                    way,
                    ?error,
                    "events cannot be published now; they are kept and tried again"
                );
            }
        }
        self.lane.status.fail(&error, self.clock.now());
    }

    fn put_back(&mut self, records: Vec<Record>, is_deferred_batch: bool) {
        for record in records {
            if is_deferred_batch {
                let tenant = record.event.tenant_id.clone();
                self.deferrals.entry(&tenant).put(record);
            } else {
                self.ready_bytes += record.bytes;
                let at = self.ready.partition_point(|held| held.seq < record.seq);
                self.ready.insert(at, record);
            }
        }
    }

    /// Holds back the tenants of records that failed by themselves.
    fn defer(&mut self, failed: Vec<(Record, Error)>, left: &[Record]) {
        let mut tried: HashMap<TenantId, bool> = HashMap::new();
        for (record, error) in failed {
            let tenant = record.event.tenant_id.clone();
            tracing::debug!(
                way = self.lane.way.name(),
                seq = record.seq,
                ?error,
                "a record waits"
            );
            let has_progress = left.iter().any(|other| other.event.tenant_id == tenant);
            self.deferrals.entry(&tenant).put(record);
            tried.insert(tenant, has_progress);
        }
        for (tenant, has_progress) in tried {
            self.deferrals.entry(&tenant).failed(has_progress);
        }
    }

    /// Tells the log how far everything has left.
    fn acknowledge(&mut self) {
        let mut low = self.reader.position();
        let lags = self.deferrals.lags();
        for held in lags
            .chain(self.lane.first_unsettled())
            .chain(self.sink.low())
        {
            low = low.min(held);
        }
        self.log.acknowledge(self.lane.way, low);
        let read = self.reader.position();
        let note = (low < read).then(|| self.lane.note(read, self.deferrals.lagging()));
        self.log.note(self.lane.way, note);
        self.log.keep_acks();
        self.acknowledge_at = Instant::now() + ACKNOWLEDGE_EVERY;
        self.has_news = !self.sink.is_clean();
    }

    /// Waits until there is something to do.
    async fn wait(&mut self) {
        // A table or bus that answers at once must not keep this task from ever letting others run.
        tokio::task::coop::consume_budget().await;
        let wake_at = self.wake_at();
        let can_linger = self.is_at_end && self.linger_until.is_none();
        let has_flush = self.flushing.is_some();
        tokio::select! {
            biased;
            Some(attempt) = self.in_flight.next(), if !self.in_flight.is_empty() => {
                self.finish(attempt);
            }
            flushed = wait_for(&mut self.flushing), if has_flush => self.finish_flush(flushed),
            () = self.lane.hurried().notified() => {}
            () = self.log.appended(self.lane.way).notified(), if can_linger => {
                self.linger_until = Some(Instant::now() + self.linger);
            }
            () = sleep_until(wake_at), if wake_at.is_some() => {}
        }
        self.lane.tell();
    }

    fn finish_flush(&mut self, flushed: Flushed) {
        self.flushing = None;
        match &flushed.result {
            Ok(failed) if failed.is_empty() => self.flush_backoff.succeed(),
            Ok(_) => self.flush_backoff.fail(None),
            Err(error) => {
                self.flush_backoff.fail(error.wait());
                self.lane.status.fail(error, self.clock.now());
            }
        }
        self.sink.flushed(flushed, &self.lane);
        self.has_news = true;
    }

    fn wake_at(&self) -> Option<Instant> {
        let held_back = self.backoff.until();
        let can_try = self.can_try_deferred();
        let deferred = self.deferrals.next_due().filter(|_| can_try);
        let flush = self.sink.next_flush().filter(|_| self.flushing.is_none());
        let after =
            |at: Instant, earliest: Option<Instant>| earliest.map_or(at, |other| other.max(at));
        [
            self.linger_until,
            self.partial_until,
            held_back,
            deferred.map(|at| after(at, held_back)),
            flush.map(|at| after(at, self.flush_backoff.until())),
            self.has_news.then_some(self.acknowledge_at),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

/// A record of `tenant` is no longer under way among those of others.
fn leave_crowd<S: Sink>(crowd: &mut HashMap<TenantId, usize>, tenant: &TenantId) {
    if S::TENANT_RECORDS_MAX < usize::MAX
        && let Some(count) = crowd.get_mut(tenant)
    {
        *count = count.saturating_sub(1);
        if *count == 0 {
            crowd.remove(tenant);
        }
    }
}

async fn wait_for(flushing: &mut Option<BoxFuture<'static, Flushed>>) -> Flushed {
    match flushing {
        Some(flushing) => flushing.await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
