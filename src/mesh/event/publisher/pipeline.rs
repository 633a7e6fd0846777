//! A pipeline: reads one log on one way, sends what it reads in batches and acknowledges what has left.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::time::Instant;

use super::Pace;
use super::backoff::Backoff;
use super::deferral::{Deferrals, Lag, RECORDS_MAX, TENANTS_MAX};
use super::lane::{Lane, Unsettled};
use crate::mesh::event::counters::CounterKey;
use crate::mesh::event::outbox::Outbox;
use crate::mesh::event::outbox::frame::{Kind, parse_payload, parse_tenant};
use crate::mesh::event::outbox::log::{Log, Position};
use crate::mesh::event::outbox::reader::{Found, LogReader};
use crate::mesh::event::record::Event;
use crate::mesh::tenant::TenantId;
use crate::mesh::{Clock, Error, ErrorKind};

/// The most records that have been read and wait to be sent.
const READY_MAX: usize = 512;

/// The most bytes of frames that have been read and wait to be sent.
const READY_BYTES_MAX: u64 = 4 << 20;

/// The most frames that are read at once for a tenant that was held back.
const LAG_FRAMES_MAX: usize = 4096;

/// How often what has left is acknowledged.
const ACKNOWLEDGE_EVERY: Duration = Duration::from_millis(250);

/// So few records at once make the next ones linger less.
const FEW: usize = 2;

/// So many full batches at once need no longer linger.
const BATCHES_ENOUGH: usize = 4;

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

/// A batch that was sent; of one tenant that is held back, or of any that are not.
struct Attempt {
    deferred: Option<TenantId>,
    sent: Sent,
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

    /// How much a record adds to a batch.
    fn weigh(record: &Record) -> usize;

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
    backoff: Backoff,
    flush_backoff: Backoff,
    linger: Duration,
    linger_until: Option<Instant>,
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
        pace: Pace,
    ) -> Self {
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
            flush_backoff: backoff.clone(),
            backoff,
            linger: pace.linger_shortest,
            linger_until: None,
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

    fn has_room(&self) -> bool {
        self.ready.len() < READY_MAX
            && self.ready_bytes < READY_BYTES_MAX
            && self.deferrals.len() < TENANTS_MAX
    }

    /// Reads what has been appended, as far as there is room for it.
    async fn take_in(&mut self) {
        let mut taken = 0;
        self.is_at_end = false;
        while self.has_room() && self.backoff.until().is_none() {
            match self.reader.next() {
                Ok(Some(found)) if found.header.kind == Kind::Intent => {}
                Ok(Some(found)) => taken += self.take(found).await,
                Ok(None) => {
                    self.is_at_end = true;
                    break;
                }
                Err(error) => {
                    self.fail(Error::internal("the outbox cannot be read").caused_by(error));
                    break;
                }
            }
        }
        if taken > 0 {
            self.has_news = true;
            self.linger = match taken {
                ..=FEW => self.linger / 2,
                _ if taken < BATCHES_ENOUGH * S::BATCH_MAX => self.linger * 2,
                _ => self.linger,
            }
            .clamp(self.pace.linger_shortest, self.pace.linger_longest);
        }
    }

    /// Takes the frame that was just read; answers how many records it had.
    async fn take(&mut self, found: Found) -> usize {
        let until = found.header.seq + u64::from(found.header.count);
        let name = parse_tenant(self.reader.payload()).map(|(name, _)| name);
        let Some(tenant) = name.and_then(|name| name.parse::<TenantId>().ok()) else {
            tracing::error!(seq = found.header.seq, "a record of no tenant is set aside");
            self.lane.set_aside(found.header.seq);
            self.lane.read(until, []);
            return 0;
        };
        if let Some(held) = self.deferrals.get_mut(&tenant) {
            if held.lag.is_none() && held.records.len() >= RECORDS_MAX {
                let lag = Lag {
                    position: found.position,
                    seq: found.header.seq,
                };
                held.lag = Some(lag);
                self.lane.lag(&tenant, Some(lag.seq));
            }
            if held.lag.is_some() {
                self.lane.read(until, []);
                return 0;
            }
        }
        let records = self.parse(found, self.reader.payload());
        let count = records.len();
        if self.admit(&tenant, records).await.is_err() {
            let lag = Lag {
                position: found.position,
                seq: found.header.seq,
            };
            let held = self.deferrals.entry(&tenant);
            held.lag = Some(lag);
            held.failed(false);
            self.lane.lag(&tenant, Some(lag.seq));
        }
        self.lane.read(until, []);
        count
    }

    /// Takes note of a tenant's records and puts them where they wait to be sent.
    async fn admit(&mut self, tenant: &TenantId, records: Vec<Record>) -> Result<(), ()> {
        for record in &records {
            if let Err(error) = self.sink.admit(record, &self.lane).await {
                tracing::debug!(%tenant, ?error, "a tenant's records wait");
                return Err(());
            }
        }
        let unsettled = records.iter().map(|record| {
            let held = Unsettled {
                position: record.position,
                tenant: tenant.clone(),
                bytes: record.bytes,
                time: record.event.time,
            };
            (record.seq, held)
        });
        self.lane.read(0, unsettled);
        match self.deferrals.get_mut(tenant) {
            Some(held) => records.into_iter().for_each(|record| held.put(record)),
            None => {
                self.ready_bytes += records.iter().map(|record| record.bytes).sum::<u64>();
                self.ready.extend(records);
            }
        }
        Ok(())
    }

    /// The records of a frame; what cannot be read is set aside.
    fn parse(&self, found: Found, payload: &[u8]) -> Vec<Record> {
        let count = u64::from(found.header.count.max(1));
        let each = found.header.frame_bytes() / count;
        let rest = found.header.frame_bytes() % count;
        let (tenant, events) = parse_payload(payload).unzip();
        let mut records = Vec::new();
        for (seq, json) in (found.header.seq..).zip(events.unwrap_or_default()) {
            let bytes = each + if seq == found.header.seq { rest } else { 0 };
            match serde_json::from_slice::<Event>(json) {
                Ok(event) if Some(&event.tenant_id) == tenant.as_ref() => records.push(Record {
                    seq,
                    position: found.position,
                    bytes,
                    event,
                }),
                other => {
                    let writer = self.log.writer();
                    tracing::error!(%writer, seq, error = ?other.err(), "a record that cannot be read is set aside");
                    self.lane.set_aside(seq);
                    if let Some(tenant) = &tenant {
                        self.outbox.settle(self.lane.way, [(tenant, bytes)]);
                    }
                }
            }
        }
        records
    }

    /// Reads on for tenants that were held back and may be tried again.
    async fn catch_up(&mut self) {
        if self.deferrals.is_empty() || self.backoff.until().is_some() {
            return;
        }
        for tenant in self.deferrals.due() {
            let held = self.deferrals.entry(&tenant);
            if let Some(lag) = held.lag
                && held.records.len() < RECORDS_MAX / 2
            {
                held.lag = None;
                let lag = self.read_on(&tenant, lag).await;
                self.deferrals.entry(&tenant).lag = lag;
                self.lane.lag(&tenant, lag.map(|lag| lag.seq));
                self.has_news = true;
            }
            self.deferrals.forget_idle(&tenant);
        }
    }

    /// Reads records of `tenant` from `lag` on; answers where it stopped, if not where all are read.
    async fn read_on(&mut self, tenant: &TenantId, lag: Lag) -> Option<Lag> {
        let mut reader = LogReader::new(self.log.clone(), lag.position);
        let mut seq = lag.seq;
        for _ in 0..LAG_FRAMES_MAX {
            let found = match reader.next() {
                Ok(Some(found)) if found.position < self.reader.position() => found,
                Ok(_) => return None,
                Err(error) => {
                    self.fail(Error::internal("the outbox cannot be read").caused_by(error));
                    let position = reader.position();
                    return Some(Lag { position, seq });
                }
            };
            if found.header.kind == Kind::Intent {
                continue;
            }
            let stop = Some(Lag {
                position: found.position,
                seq: found.header.seq,
            });
            seq = found.header.seq + u64::from(found.header.count);
            let name = parse_tenant(reader.payload()).map(|(name, _)| name);
            if name != Some(tenant.as_str()) {
                continue;
            }
            if self.deferrals.entry(tenant).records.len() >= RECORDS_MAX {
                return stop;
            }
            let records = self.parse(found, reader.payload());
            if self.admit(tenant, records).await.is_err() {
                self.deferrals.entry(tenant).failed(false);
                return stop;
            }
        }
        let position = reader.position();
        Some(Lag { position, seq })
    }

    /// Sends what may be sent.
    fn dispatch(&mut self) {
        if self.backoff.until().is_some() {
            return;
        }
        // After a failure one batch goes ahead to see whether it is over.
        let batches_max = if self.backoff.has_failed() {
            1
        } else {
            S::BATCHES_MAX
        };
        if !self.deferrals.is_empty() {
            for tenant in self.deferrals.due() {
                if self.in_flight.len() >= batches_max {
                    return;
                }
                let held = self.deferrals.entry(&tenant);
                let batch = Self::batch(&mut held.records);
                if !batch.is_empty() {
                    held.is_in_flight = true;
                    self.send(batch, Some(tenant));
                }
            }
        }
        while self.in_flight.len() < batches_max && !self.ready.is_empty() {
            self.hold_back_deferred();
            let batch = Self::batch(&mut self.ready);
            if batch.is_empty() {
                break;
            }
            self.ready_bytes -= batch.iter().map(|record| record.bytes).sum::<u64>();
            self.send(batch, None);
        }
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
                    held.put(record);
                }
                None => self.ready.push_back(record),
            }
        }
    }

    fn batch(from: &mut VecDeque<Record>) -> Vec<Record> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(record) = from.front() {
            bytes += S::weigh(record);
            if batch.len() == S::BATCH_MAX || (bytes > S::BATCH_BYTES_MAX && !batch.is_empty()) {
                break;
            }
            batch.extend(from.pop_front());
        }
        batch
    }

    /// Sorts what became of a batch.
    fn finish(&mut self, attempt: Attempt) {
        let Attempt { deferred, sent } = attempt;
        let mut left = Vec::new();
        let mut failed = Vec::new();
        match sent.result {
            Ok(verdicts) => {
                for (record, verdict) in sent.records.into_iter().zip(verdicts) {
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
        self.log.keep_acks();
        self.acknowledge_at = Instant::now() + ACKNOWLEDGE_EVERY;
        self.has_news = !self.sink.is_clean();
    }

    /// Waits until there is something to do.
    async fn wait(&mut self) {
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
        let can_send = self.in_flight.len() < S::BATCHES_MAX
            && (self.in_flight.is_empty() || !self.backoff.has_failed());
        let deferred = self.deferrals.next_due().filter(|_| can_send);
        let flush = self.sink.next_flush().filter(|_| self.flushing.is_none());
        let after =
            |at: Instant, earliest: Option<Instant>| earliest.map_or(at, |other| other.max(at));
        [
            self.linger_until,
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

/// Whether a kind of failure lies in what was sent, so that sending it again cannot help.
pub(super) fn is_refusal(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::InvalidParameter | ErrorKind::TooLarge)
}
