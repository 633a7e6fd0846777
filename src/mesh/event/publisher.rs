//! The publisher: takes events from the outbox into history and counters, onto the bus and past the rules.
//!
//! Each log, this process's own and each adopted one, has three pipelines that know nothing of each other:
//! a bus that is down delays no history, and neither does a slow workflow. All read the log back from where
//! they are, so what waits costs disk and not memory.

mod backoff;
mod bus;
mod compaction;
mod deferral;
mod handover;
mod history;
mod lane;
mod pipeline;
mod rules;
mod sink;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::Instant;
use ulid::Ulid;

use self::bus::BusSink;
use self::handover::HandOverCounts;
use self::handover::adoption::Lookout;
use self::history::{HistorySink, HistoryStore};
use self::lane::{Lane, WayStatus, within};
use self::pipeline::Pipeline;
use self::rules::RulesSink;
use self::sink::Sink;
use super::outbox::log::Log;
use super::outbox::share::Way;
use super::outbox::{Committed, Outbox, OutboxStats};
use super::rollup::Rollup;
use super::rules::{Actions, RuleNotes, RuleParts};
use crate::mesh::store::{Bucket, Bus, Table};
use crate::mesh::tenant::TenantId;
use crate::mesh::tenant::record::TenantDirectory;
use crate::mesh::{Clock, Timestamp};

pub use self::handover::HandOverStats;
pub use self::history::INLINE_BODY_BYTES_MAX;
pub use self::lane::PublishFault;

/// The most adopted logs that are published at once.
const ADOPTED_MAX: usize = 4;

/// How often what is rolled up is looked at, and what a full disk has left behind.
const MEND_EVERY: Duration = Duration::from_millis(250);

/// How fast a publisher goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How long a lone event waits for others to go with it.
    pub linger_shortest: Duration,
    /// How long events wait at most, for full batches under load.
    pub linger_longest: Duration,
    /// How long to wait after the first failure; doubled with each further one.
    pub backoff_first: Duration,
    /// How long to wait at most.
    pub backoff_longest: Duration,
    /// How often to look for outboxes whose owner is gone.
    pub adopt_every: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            linger_shortest: Duration::from_millis(3),
            // A request to AWS takes ten times the processor time of a call's own work, so that what one caller
            // leaves in a tenth of a second should go in one of each kind. Whoever waits is not kept waiting.
            linger_longest: Duration::from_millis(100),
            backoff_first: Duration::from_millis(100),
            backoff_longest: Duration::from_secs(5),
            adopt_every: Duration::from_secs(30),
        }
    }
}

/// What a publisher is started with.
#[derive(Clone)]
pub struct PublisherSettings {
    /// Where events come from.
    pub outbox: Outbox,
    /// Where history and counters go.
    pub table: Arc<dyn Table>,
    /// Where large bodies go.
    pub bucket: Arc<dyn Bucket>,
    /// Where events go.
    pub bus: Arc<dyn Bus>,
    /// Who knows over how many shards a tenant's events are spread.
    pub tenants: Arc<dyn TenantDirectory>,
    /// What matches events against their tenants' rules; without it they pass as if there were none.
    pub rules: Option<RuleParts>,
    /// What is rolled up, to be written in time.
    pub rollup: Rollup,
    /// How long history is kept.
    pub retention_days: u32,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// How fast to go about it.
    pub pace: Pace,
    /// Whether what a drain cannot publish goes into the bucket, and what others have put there is
    /// published: for disks that go with their process.
    pub hand_over: bool,
}

/// The publisher of this process. Dropped without [`Publisher::drain`] it stops at once, and what was not
/// published stays in the outbox.
pub struct Publisher {
    shared: Arc<Shared>,
    lanes: Lanes,
    tasks: Mutex<JoinSet<()>>,
}

/// The ways out of one log.
type Lanes = [Arc<Lane>; Way::COUNT];

/// A log with its ways.
type LaidLog = (Arc<Log>, Lanes);

struct Shared {
    settings: PublisherSettings,
    history: HistoryStore,
    actions: Option<Arc<Actions>>,
    statuses: [Arc<WayStatus>; Way::COUNT],
    /// The logs of processes that are gone, while they are published.
    adopted: Mutex<Vec<LaidLog>>,
    hand_over_counts: HandOverCounts,
}

/// How publishing goes on one way.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WayStats {
    /// Records that have yet to leave, those of adopted outboxes included.
    pub records: u64,
    /// What keeps them, since the last success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<PublishFault>,
    /// Records that were refused as wrong in themselves, since the start.
    pub set_aside: u64,
    /// Batches that were sent, since the start.
    pub batches: u64,
    /// Batches that could not be sent, since the start; they are tried again.
    pub failed_batches: u64,
    /// Tenants whose records wait while others' go on.
    pub deferred_tenants: usize,
}

/// How publishing goes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PublisherStats {
    /// The outbox.
    pub outbox: OutboxStats,
    /// The way into history and counters.
    pub history: WayStats,
    /// The way onto the bus.
    pub bus: WayStats,
    /// The way past the rules.
    pub rules: WayStats,
    /// How old the oldest record is that this process has yet to publish, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_age_ms: Option<u64>,
    /// What went through the bucket.
    pub hand_over: HandOverStats,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Records that are still in the outbox, for the next process.
    pub left: u64,
}

impl Publisher {
    /// Starts publishing in tasks of the current runtime.
    pub fn start(settings: PublisherSettings) -> Self {
        let (lookout, noticed) = Lookout::new(settings.clock.clone());
        let history = HistoryStore {
            table: settings.table.clone(),
            bucket: settings.bucket.clone(),
            tenants: settings.tenants.clone(),
            clock: settings.clock.clone(),
            retention: Duration::from_secs(u64::from(settings.retention_days) * 86_400),
            lookout: settings.hand_over.then(|| lookout.clone()),
        };
        let actions = settings.rules.clone().map(|parts| {
            let (outbox, table) = (settings.outbox.clone(), settings.table.clone());
            let (tenants, clock) = (settings.tenants.clone(), settings.clock.clone());
            Arc::new(Actions::new(parts, outbox, table, tenants, clock))
        });
        let shared = Arc::new(Shared {
            settings,
            history,
            actions,
            statuses: Default::default(),
            adopted: Mutex::default(),
            hand_over_counts: HandOverCounts::default(),
        });
        let log = shared.settings.outbox.log().clone();
        let lanes = shared.lanes();
        let mut tasks = JoinSet::new();
        let (history, bus, rules) = shared.pipelines(&log, &lanes, true);
        tasks.spawn(history.run());
        tasks.spawn(bus.run());
        tasks.spawn(rules.run());
        tasks.spawn(shared.clone().adopt());
        tasks.spawn(shared.clone().mend());
        tasks.spawn(shared.clone().compact(lanes.clone()));
        if shared.settings.hand_over {
            tasks.spawn(shared.clone().adopt_hand_overs(lookout, noticed));
        }
        Self {
            shared,
            lanes,
            tasks: Mutex::new(tasks),
        }
    }

    /// Waits at most `timeout` until the bus has taken the events; `false` where it has not, or refused
    /// one of them.
    pub async fn published(&self, committed: &Committed, timeout: Duration) -> bool {
        let lane = &self.lanes[Way::Bus as usize];
        within(timeout, lane.published(committed)).await == Some(true)
    }

    /// Waits at most `timeout` until the events that this process has recorded of `tenant` so far are in
    /// history and counters; whether they are.
    pub async fn stored(&self, tenant: &TenantId, timeout: Duration) -> bool {
        if let Some(lookout) = &self.shared.history.lookout {
            lookout.notice(tenant);
        }
        let lane = &self.lanes[Way::History as usize];
        let (_, seq) = self.shared.settings.outbox.log().tail();
        within(timeout, lane.stored(tenant, seq)).await.is_some()
    }

    /// How it goes.
    pub fn stats(&self) -> PublisherStats {
        let shared = &self.shared;
        let outbox = &shared.settings.outbox;
        let way = |way: Way| {
            let status = &shared.statuses[way as usize];
            WayStats {
                records: outbox.records(way),
                fault: status.fault(),
                set_aside: status.set_aside(),
                batches: status.batches(),
                failed_batches: status.failed_batches(),
                deferred_tenants: status.deferred_tenants(),
            }
        };
        let oldest = self.lanes.iter().filter_map(|lane| lane.oldest()).min();
        let age = |oldest: Timestamp| shared.settings.clock.now().since(oldest);
        PublisherStats {
            outbox: outbox.stats(),
            history: way(Way::History),
            bus: way(Way::Bus),
            rules: way(Way::Rules),
            oldest_age_ms: oldest.map(|oldest| age(oldest).as_millis() as u64),
            hand_over: shared.hand_over_counts.stats(),
        }
    }

    /// What the rules of `tenant` have been through, and how many bytes of its records wait for them.
    pub fn rules(&self, tenant: &TenantId) -> (RuleNotes, u64) {
        let actions = self.shared.actions.as_ref();
        let notes = actions.map(|actions| actions.notes(tenant));
        let outbox = &self.shared.settings.outbox;
        let waiting = outbox.backlog(Way::Rules, tenant);
        (notes.unwrap_or_default(), waiting)
    }

    /// Publishes what is left within `deadline`, then stops; nobody gets a slot of the outbox any more.
    /// What could not be published is handed over through the bucket, where the settings say so, and
    /// otherwise stays in the outbox for the next process.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        let until = Instant::now() + deadline;
        let settings = &self.shared.settings;
        let outbox = &settings.outbox;
        settings.rollup.flush_all();
        outbox.close();
        outbox.mend();
        for lane in &self.lanes {
            lane.drain();
        }
        let log = outbox.log();
        let kept = match settings.hand_over {
            true => handover::time_of(deadline),
            false => Duration::ZERO,
        };
        within(deadline - kept, self.through_all()).await;
        let mut tasks = {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *tasks)
        };
        tasks.shutdown().await;
        let (end, seq) = log.tail();
        for lane in &self.lanes {
            if lane.is_through(seq) {
                log.acknowledge(lane.way, end);
            }
        }
        if settings.hand_over {
            self.shared.hand_over(&self.lanes, until).await;
        }
        log.keep_acks();
        if log.is_done()
            && let Err(error) = outbox.remove(log)
        {
            tracing::warn!(%error, "the empty outbox folder cannot be removed");
        }
        Drained {
            left: outbox.stats().records,
        }
    }

    /// Waits until everything that is in the log has left on every way, what the rules have added to it
    /// meanwhile included.
    async fn through_all(&self) {
        let log = self.shared.settings.outbox.log();
        loop {
            let (_, seq) = log.tail();
            let through = self.lanes.iter().map(|lane| lane.through(seq));
            futures::future::join_all(through).await;
            if log.tail().1 == seq {
                return;
            }
        }
    }
}

impl Shared {
    fn lanes(&self) -> Lanes {
        Way::ALL.map(|way| {
            let status = self.statuses[way as usize].clone();
            Arc::new(Lane::new(way, status))
        })
    }

    fn pipelines(
        &self,
        log: &Arc<Log>,
        lanes: &Lanes,
        is_ours: bool,
    ) -> (
        Pipeline<HistorySink>,
        Pipeline<BusSink>,
        Pipeline<RulesSink>,
    ) {
        let settings = &self.settings;
        let history = HistorySink::new(self.history.clone(), log.writer(), is_ours);
        let bus = BusSink::new(settings.bus.clone(), log.writer());
        let rules = RulesSink::new(self.actions.clone());
        let [history_lane, bus_lane, rules_lane] = lanes.clone();
        (
            self.pipeline(history, log, history_lane),
            self.pipeline(bus, log, bus_lane),
            self.pipeline(rules, log, rules_lane),
        )
    }

    fn pipeline<S: Sink>(&self, sink: S, log: &Arc<Log>, lane: Arc<Lane>) -> Pipeline<S> {
        let settings = &self.settings;
        let (outbox, clock) = (settings.outbox.clone(), settings.clock.clone());
        Pipeline::new(sink, outbox, log.clone(), lane, clock, settings.pace)
    }

    /// Publishes the logs of processes that are gone, now and every so often.
    async fn adopt(self: Arc<Self>) {
        let mut adopted = JoinSet::new();
        loop {
            let found = self.settings.outbox.other_writers().unwrap_or_else(|error| {
                tracing::warn!(%error, "outboxes of processes that are gone cannot be looked for");
                Vec::new()
            });
            for writer in found {
                if adopted.len() >= ADOPTED_MAX {
                    break;
                }
                if let Some(log) = self.take_over(writer).await {
                    adopted.spawn(self.clone().publish_adopted(log));
                }
            }
            let is_full = adopted.len() >= ADOPTED_MAX;
            tokio::select! {
                Some(_) = adopted.join_next(), if is_full => {}
                () = tokio::time::sleep(self.settings.pace.adopt_every), if !is_full => {}
            }
            while adopted.try_join_next().is_some() {}
        }
    }

    async fn take_over(&self, writer: Ulid) -> Option<Arc<Log>> {
        let outbox = self.settings.outbox.clone();
        let adopting = tokio::task::spawn_blocking(move || outbox.adopt(writer));
        match adopting.await {
            Ok(Ok(log)) => log,
            Ok(Err(error)) => {
                tracing::warn!(%writer, %error, "an outbox cannot be adopted now");
                None
            }
            // The runtime is going down.
            Err(_) => None,
        }
    }

    async fn publish_adopted(self: Arc<Self>, log: Arc<Log>) {
        let lanes = self.lanes();
        let (history, bus, rules) = self.pipelines(&log, &lanes, false);
        self.adopted().push((log.clone(), lanes));
        tokio::join!(history.run_to_end(), bus.run_to_end(), rules.run_to_end());
        self.adopted().retain(|(held, _)| !Arc::ptr_eq(held, &log));
        let writer = log.writer();
        match self.settings.outbox.remove(&log) {
            Ok(()) => tracing::info!(%writer, "published an adopted outbox"),
            Err(error) => tracing::warn!(%writer, %error, "an adopted outbox cannot be removed"),
        }
    }

    fn adopted(&self) -> MutexGuard<'_, Vec<LaidLog>> {
        self.adopted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn mend(self: Arc<Self>) {
        loop {
            tokio::time::sleep(MEND_EVERY).await;
            self.settings.rollup.flush_due();
            self.settings.outbox.mend();
        }
    }
}

#[cfg(test)]
mod tests;
