//! All connections of this process: one for each key, opened when it is needed and ended when it is not.
//!
//! Each attempt to connect, with the connection that comes of it, is one task (`life`), which alone opens and
//! ends its link. The slots know the one of each key that calls get, and beside it those that are tried out and
//! those that another has taken the place of; their lock is never held across a wait, so that a server that
//! hangs keeps nobody else.

mod breaker;
mod census;
mod connection;
mod life;
pub mod settings;
mod slot;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{broadcast, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::census::Census;
use self::connection::Connection;
use self::settings::PoolSettings;
use self::slot::{Life, Slot, Slots, Stage};
use super::link::Links;
use super::scrub::copy;
use crate::mesh::channels::Channels;
use crate::mesh::integration::ServiceId;
use crate::mesh::integration::news::ConnectionChanged;
use crate::mesh::store::Reply;
use crate::mesh::tenant::TenantId;
use crate::mesh::upstream::{
    ConnectionKey, ConnectionPlan, ConnectionState, ConnectionTarget, Upstream, Upstreams,
};
use crate::mesh::{Clock, Error, ErrorKind};
use crate::telemetry::metrics::UpstreamMetrics;

/// How many keys are remembered for each connection that may be open, broken ones included.
const KEYS_PER_CONNECTION: usize = 2;

/// How long dropping what did not end in time may take, so that no child is left when the process ends.
const DROP_TIME_MAX: Duration = Duration::from_millis(250);

/// The connections of this process.
pub struct UpstreamPool {
    inner: Arc<Inner>,
}

struct Inner {
    links: Arc<dyn Links>,
    clock: Arc<dyn Clock>,
    settings: PoolSettings,
    metrics: UpstreamMetrics,
    slots: Mutex<Slots>,
    census: Arc<Census>,
    /// What is told of the connections.
    changes: Channels<ConnectionChanged>,
    tasks: TaskTracker,
    /// Cancelled, every connection ends in an orderly way.
    stop: CancellationToken,
    /// Cancelled, every connection is dropped where it stands.
    kill: CancellationToken,
}

/// What a caller who wants a connection gets.
enum Entry {
    Open(Arc<Connection>),
    Wait(Arc<Life>),
    Refused(Error),
}

impl UpstreamPool {
    /// A pool without connections, which opens them over `links`.
    pub fn new(links: Arc<dyn Links>, clock: Arc<dyn Clock>, settings: PoolSettings) -> Self {
        Self::counted(links, clock, settings, UpstreamMetrics::default())
    }

    /// As [`UpstreamPool::new`], with its calls counted.
    pub fn counted(
        links: Arc<dyn Links>,
        clock: Arc<dyn Clock>,
        settings: PoolSettings,
        metrics: UpstreamMetrics,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                links,
                clock,
                settings,
                metrics,
                slots: Mutex::default(),
                census: Arc::default(),
                changes: Channels::default(),
                tasks: TaskTracker::new(),
                stop: CancellationToken::new(),
                kill: CancellationToken::new(),
            }),
        }
    }
}

impl Drop for UpstreamPool {
    fn drop(&mut self) {
        self.inner.lock().is_closing = true;
        self.inner.stop.cancel();
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The open connection of `plan`, or the attempt to wait for, which is begun if there is none.
    fn enter(self: &Arc<Self>, plan: &ConnectionPlan) -> Entry {
        let mut slots = self.lock();
        if slots.is_closing {
            return Entry::Refused(shutting_down());
        }
        let now = self.clock.now();
        slots.take_over(&plan.key, &plan.revision, now);
        let same = slots.by_key.get_mut(&plan.key);
        if let Some(slot) = same.filter(|slot| slot.life.revision == plan.revision) {
            slot.used_at = now;
            if let Some(open) = slot.usable() {
                open.touch();
                return Entry::Open(open.clone());
            }
            if slot.stage == Stage::Connecting {
                return Entry::Wait(slot.life.clone());
            }
            // Who comes right after the end is as early as who comes before it has been noted.
            slot.break_off(&self.settings);
            if let Some(wait) = slot.breaker.wait() {
                let fault = slot.fault.as_deref().unwrap_or("it could not be reached");
                return Entry::Refused(
                    Error::new(ErrorKind::UpstreamUnavailable, fault.to_owned())
                        .fix("Wait until it is tried again.")
                        .retry_after(wait),
                );
            }
        }
        self.begin(&mut slots, plan)
    }

    /// Begins an attempt in the place of whatever there is under the key. What is open there is left to end in
    /// peace.
    fn begin(self: &Arc<Self>, slots: &mut Slots, plan: &ConnectionPlan) -> Entry {
        let is_known = slots.by_key.contains_key(&plan.key);
        let life = match self.new_life(slots, plan, is_known) {
            Ok(life) => life,
            Err(refused) => return Entry::Refused(refused),
        };
        let now = self.clock.now();
        let mut before = None;
        let mut is_beside = false;
        match slots.by_key.get_mut(&plan.key) {
            Some(slot) if slot.life.revision == plan.revision => {
                before = Some(std::mem::replace(&mut slot.life, life.clone()));
                slot.stage = Stage::Connecting;
                slot.since = now;
            }
            _ => {
                let slot = Slot::new(plan.target.kind(), life.clone(), now);
                match slots.by_key.insert(plan.key.clone(), slot) {
                    Some(replaced) if replaced.stage == Stage::Connecting => {
                        before = Some(replaced.life);
                    }
                    Some(replaced) => {
                        is_beside = replaced.stage == Stage::Open;
                        slots.set_aside(&plan.key, replaced.life);
                    }
                    None => {}
                }
            }
        }
        self.spawn(plan, &life, before, is_beside);
        Entry::Wait(life)
    }

    /// Begins an attempt beside whatever there is under the key.
    fn begin_beside(self: &Arc<Self>, plan: &ConnectionPlan) -> Result<Arc<Life>, Error> {
        let mut slots = self.lock();
        if slots.is_closing {
            return Err(shutting_down());
        }
        let life = self.new_life(&mut slots, plan, false)?;
        let is_beside = slots
            .by_key
            .get(&plan.key)
            .is_some_and(|slot| slot.stage == Stage::Open);
        slots
            .beside
            .insert(life.serial, (plan.key.clone(), life.clone()));
        self.spawn(plan, &life, None, is_beside);
        Ok(life)
    }

    /// A life, of which there are so many at most; one that takes the place of another needs no room.
    fn new_life(
        &self,
        slots: &mut Slots,
        plan: &ConnectionPlan,
        has_room: bool,
    ) -> Result<Arc<Life>, Error> {
        let max = self
            .settings
            .connections_max
            .saturating_mul(KEYS_PER_CONNECTION);
        if !has_room && !slots.make_room(max) {
            return Err(Error::new(
                ErrorKind::Overloaded,
                "too many connections to integrated servers are being opened",
            )
            .retry_after(Duration::from_secs(1)));
        }
        slots.next_serial += 1;
        Ok(Arc::new(Life {
            serial: slots.next_serial,
            revision: plan.revision.clone(),
            stop: self.stop.child_token(),
            retired: CancellationToken::new(),
            ended: CancellationToken::new(),
            outcome: watch::Sender::new(None),
        }))
    }

    fn spawn(
        self: &Arc<Self>,
        plan: &ConnectionPlan,
        life: &Arc<Life>,
        before: Option<Arc<Life>>,
        is_beside: bool,
    ) {
        if let Some(before) = &before {
            before.stop.cancel();
        }
        let living = life::live(self.clone(), plan.clone(), life.clone(), before, is_beside);
        let killed = self.kill.clone().cancelled_owned();
        self.tasks.spawn(async move {
            tokio::select! {
                () = living => {}
                () = killed => {}
            }
        });
    }

    async fn connect(self: &Arc<Self>, plan: ConnectionPlan) -> Result<Arc<dyn Upstream>, Error> {
        match self.enter(&plan) {
            Entry::Open(connection) => Ok(connection),
            Entry::Refused(error) => Err(error),
            Entry::Wait(life) => life.come_of().await,
        }
    }

    async fn close(&self, time: Duration) {
        self.lock().is_closing = true;
        self.stop.cancel();
        self.tasks.close();
        if timeout(time, self.tasks.wait()).await.is_err() {
            tracing::warn!("connections to servers did not end in time and were dropped");
        }
        self.kill.cancel();
        let _ = timeout(DROP_TIME_MAX, self.tasks.wait()).await;
        let mut slots = self.lock();
        slots.by_key.clear();
        slots.beside.clear();
    }
}

impl Life {
    /// What comes of the attempt.
    async fn come_of(&self) -> Result<Arc<dyn Upstream>, Error> {
        let mut outcome = self.outcome.subscribe();
        tokio::select! {
            biased;
            _ = outcome.wait_for(Option::is_some) => {}
            () = self.ended.cancelled() => {}
        }
        let told = outcome.borrow().clone();
        match told {
            Some(Ok(connection)) => Ok(connection),
            Some(Err(error)) => Err(copy(&error)),
            // It was dropped where it stood: the pool has ended.
            None => Err(shutting_down()),
        }
    }
}

impl Upstreams for UpstreamPool {
    fn connect(&self, plan: ConnectionPlan) -> Reply<'_, Arc<dyn Upstream>> {
        async move { self.inner.connect(plan).await }.boxed()
    }

    fn try_out(&self, plan: ConnectionPlan) -> Reply<'_, Arc<dyn Upstream>> {
        async move { self.inner.begin_beside(&plan)?.come_of().await }.boxed()
    }

    fn take_over(&self, key: &ConnectionKey, revision: &str) {
        let now = self.inner.clock.now();
        let is_taken = self.inner.lock().take_over(key, revision, now);
        if is_taken {
            let key = Arc::new(key.clone());
            self.inner.changes.announce(ConnectionChanged(key));
        }
    }

    fn retire<'a>(&'a self, key: &'a ConnectionKey, revision: &'a str) -> BoxFuture<'a, ()> {
        async move {
            let retired = self.inner.lock().retire(key, revision);
            let idle = retired.into_iter().filter(|life| life.is_idle());
            for life in idle {
                life.ended.cancelled().await;
            }
        }
        .boxed()
    }

    fn open(&self, key: &ConnectionKey, revision: &str) -> Option<Arc<dyn Upstream>> {
        let slots = self.inner.lock();
        let slot = slots.by_key.get(key)?;
        let connection = slot.connection.clone()?;
        (slot.life.revision == revision).then_some(connection as Arc<dyn Upstream>)
    }

    fn disconnect<'a>(&'a self, key: &'a ConnectionKey) -> BoxFuture<'a, ()> {
        async move {
            let lives = self.inner.lock().remove(|held| held == key);
            end_all(lives).await;
        }
        .boxed()
    }

    fn forget<'a>(&'a self, tenant: &'a TenantId, service: &'a ServiceId) -> BoxFuture<'a, ()> {
        async move {
            let is_one = |key: &ConnectionKey| key.tenant == *tenant && key.service == *service;
            let lives = self.inner.lock().remove(is_one);
            end_all(lives).await;
            self.inner.links.forget(tenant, service).await;
        }
        .boxed()
    }

    fn states(&self, tenant: Option<&TenantId>) -> Vec<ConnectionState> {
        let slots = self.inner.lock();
        let wanted = slots.by_key.iter();
        let wanted = wanted.filter(|(key, _)| tenant.is_none_or(|tenant| key.tenant == *tenant));
        let mut states: Vec<ConnectionState> = wanted
            .map(|(key, slot)| slot.state(key, &self.inner.settings))
            .collect();
        drop(slots);
        states.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        states
    }

    fn watch(&self, tenant: &TenantId) -> broadcast::Receiver<ConnectionChanged> {
        self.inner.changes.watch(tenant)
    }

    fn check(&self, target: &ConnectionTarget) -> Result<(), Error> {
        self.inner.links.check(target)
    }

    fn close(&self, time: Duration) -> BoxFuture<'_, ()> {
        self.inner.close(time).boxed()
    }
}

async fn end_all(lives: Vec<Arc<Life>>) {
    for life in &lives {
        life.stop.cancel();
    }
    for life in lives {
        life.ended.cancelled().await;
    }
}

fn shutting_down() -> Error {
    Error::new(
        ErrorKind::UpstreamUnavailable,
        "this server is shutting down",
    )
}
