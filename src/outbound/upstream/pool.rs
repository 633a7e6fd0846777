//! All connections of this process: one for each key, opened when it is needed and ended when it is not.
//!
//! Each attempt to connect, with the connection that comes of it, is one task (`life`), which alone opens and
//! ends its link. The slots know the newest of each key; their lock is never held across a wait, so that a
//! server that hangs keeps nobody else.

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

    /// Begins an attempt in the place of whatever there is under the key.
    fn begin(self: &Arc<Self>, slots: &mut Slots, plan: &ConnectionPlan) -> Entry {
        let max = self
            .settings
            .connections_max
            .saturating_mul(KEYS_PER_CONNECTION);
        if !slots.by_key.contains_key(&plan.key) && !slots.make_room(max) {
            return Entry::Refused(
                Error::new(
                    ErrorKind::Overloaded,
                    "too many connections to integrated servers are being opened",
                )
                .retry_after(Duration::from_secs(1)),
            );
        }
        slots.next_serial += 1;
        let life = Arc::new(Life {
            serial: slots.next_serial,
            revision: plan.revision.clone(),
            stop: self.stop.child_token(),
            ended: CancellationToken::new(),
            outcome: watch::Sender::new(None),
        });
        let now = self.clock.now();
        let mut before = None;
        match slots.by_key.get_mut(&plan.key) {
            Some(slot) if slot.life.revision == plan.revision => {
                before = Some(std::mem::replace(&mut slot.life, life.clone()));
                slot.has_broken |= slot.stage == Stage::Open;
                slot.stage = Stage::Connecting;
                slot.since = now;
            }
            _ => {
                let slot = Slot::new(plan.target.kind(), life.clone(), now);
                let replaced = slots.by_key.insert(plan.key.clone(), slot);
                before = before.or(replaced.map(|slot| slot.life));
            }
        }
        if let Some(before) = &before {
            before.stop.cancel();
        }
        let living = life::live(self.clone(), plan.clone(), life.clone(), before);
        let killed = self.kill.clone().cancelled_owned();
        self.tasks.spawn(async move {
            tokio::select! {
                () = living => {}
                () = killed => {}
            }
        });
        Entry::Wait(life)
    }

    async fn connect(self: &Arc<Self>, plan: ConnectionPlan) -> Result<Arc<dyn Upstream>, Error> {
        let life = match self.enter(&plan) {
            Entry::Open(connection) => return Ok(connection),
            Entry::Refused(error) => return Err(error),
            Entry::Wait(life) => life,
        };
        let mut outcome = life.outcome.subscribe();
        tokio::select! {
            biased;
            _ = outcome.wait_for(Option::is_some) => {}
            () = life.ended.cancelled() => {}
        }
        let told = outcome.borrow().clone();
        match told {
            Some(Ok(connection)) => Ok(connection),
            Some(Err(error)) => Err(copy(&error)),
            // It was dropped where it stood: the pool has ended.
            None => Err(shutting_down()),
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
        self.lock().by_key.clear();
    }
}

impl Upstreams for UpstreamPool {
    fn connect(&self, plan: ConnectionPlan) -> Reply<'_, Arc<dyn Upstream>> {
        async move { self.inner.connect(plan).await }.boxed()
    }

    fn open(&self, key: &ConnectionKey, revision: &str) -> Option<Arc<dyn Upstream>> {
        let slots = self.inner.lock();
        let slot = slots.by_key.get(key)?;
        let connection = slot.connection.clone()?;
        (slot.life.revision == revision).then_some(connection as Arc<dyn Upstream>)
    }

    fn disconnect<'a>(&'a self, key: &'a ConnectionKey) -> BoxFuture<'a, ()> {
        async move {
            let slot = self.inner.lock().by_key.remove(key);
            if let Some(slot) = slot {
                slot.life.stop.cancel();
                slot.life.ended.cancelled().await;
            }
        }
        .boxed()
    }

    fn forget<'a>(&'a self, tenant: &'a TenantId, service: &'a ServiceId) -> BoxFuture<'a, ()> {
        self.inner.links.forget(tenant, service)
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

fn shutting_down() -> Error {
    Error::new(
        ErrorKind::UpstreamUnavailable,
        "this server is shutting down",
    )
}
