//! Admits calls: looks at every limit of a tenant first, then takes from all of them or from none.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::admission::Admission;
use super::bucket::{Buckets, Wait};
use super::cost::{Cost, Direction};
use super::in_flight::Places;
use super::refusal::{Limit, Refusal};
use crate::mesh::tenant::{Limits, TenantId};

/// Calls in flight over all tenants, by default.
pub const CALLS_IN_FLIGHT_MAX: u32 = 1024;

/// How often a shard is looked through for idle tenants, at most, by the calls that come by.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// Maps of tenants: so many that threads seldom meet in one, and that sweeping one takes some 10 µs with
/// 10,000 tenants.
const SHARDS: usize = 64;

/// The limits of all tenants. It knows a tenant only while it has a call in flight or something missing
/// from a bucket, and for at most [`SWEEP_INTERVAL`] of calls longer.
pub struct Limiter {
    inner: Arc<Inner>,
}

/// What the limiter and its admissions share.
pub(super) struct Inner {
    pub(super) places: Places,
    shards: Box<[Mutex<Shard>]>,
}

/// Some of the tenants.
#[derive(Default)]
struct Shard {
    slots: HashMap<TenantId, Arc<Slot>>,
    /// Not before this moment of the monotonic clock is it swept again, in milliseconds.
    sweep_at_ms: u64,
    /// The latest moment that a call or a sweep came with, in milliseconds.
    latest_ms: u64,
}

/// One tenant.
pub(super) struct Slot {
    /// Raised only under the lock of the buckets, so that two calls cannot both take the last place.
    pub(super) in_flight: AtomicU32,
    buckets: Mutex<Buckets>,
}

impl Limiter {
    /// A limiter with [`CALLS_IN_FLIGHT_MAX`].
    pub fn new() -> Self {
        Self::with_places(CALLS_IN_FLIGHT_MAX)
    }

    /// A limiter of `calls_in_flight` calls at once over all tenants, at least one.
    pub fn with_places(calls_in_flight: u32) -> Self {
        Self {
            inner: Arc::new(Inner {
                places: Places::new(calls_in_flight.max(1)),
                shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            }),
        }
    }

    /// Admits a call of `tenant` that is expected to cost `cost`, and takes its place, its request and
    /// its cost. `limits` are the tenant's at this moment, and may be others than those of its last
    /// call; `now` is of the monotonic clock.
    ///
    /// # Errors
    /// A [`Refusal`] when any limit is reached. Nothing has been taken from any limit then.
    pub fn admit(
        &self,
        tenant: &TenantId,
        limits: &Arc<Limits>,
        cost: &Cost,
        now: Duration,
    ) -> Result<Admission, Refusal> {
        let now_ms = millis(now);
        let slot = self.inner.slot(tenant, limits, now_ms);
        let mut buckets = slot.buckets();
        buckets.refill(now_ms);
        buckets.adopt(limits);
        if let Some(refusal) = rate_refusal(&buckets, limits, cost, now_ms) {
            return Err(refusal);
        }
        // From here on nothing can fail but the last place of the server, which is taken last.
        let held = slot.in_flight.load(Ordering::Acquire);
        if held >= limits.calls_in_flight {
            return Err(busy(Limit::CallsInFlight, limits.calls_in_flight));
        }
        if !self.inner.places.take(held) {
            let total = self.inner.places.total();
            return Err(busy(Limit::ServerCallsInFlight, total));
        }
        slot.in_flight.fetch_add(1, Ordering::AcqRel);
        buckets.take(cost);
        drop(buckets);
        Ok(Admission::of(&self.inner, slot, *cost))
    }

    /// Forgets the tenants that have nothing in flight and nothing missing at `now`, which changes
    /// nothing for them; answers how many they were. Calls do this by themselves, shard by shard.
    pub fn sweep(&self, now: Duration) -> usize {
        let now_ms = millis(now);
        self.inner
            .shards
            .iter()
            .map(|shard| lock(shard).sweep(now_ms))
            .sum()
    }

    /// Tenants that it knows at this moment.
    pub fn tenants(&self) -> usize {
        let shards = self.inner.shards.iter();
        shards.map(|shard| lock(shard).slots.len()).sum()
    }

    /// Calls in flight, of all tenants.
    pub fn in_flight(&self) -> u32 {
        self.inner.places.taken()
    }
}

impl Default for Limiter {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Limiter")
            .field("tenants", &self.tenants())
            .field("in_flight", &self.in_flight())
            .finish()
    }
}

impl Inner {
    /// The slot of `tenant`, a new one with full buckets where there is none.
    fn slot(&self, tenant: &TenantId, limits: &Arc<Limits>, now_ms: u64) -> Arc<Slot> {
        let mut shard = lock(&self.shards[shard_of(tenant)]);
        if now_ms >= shard.sweep_at_ms {
            shard.sweep(now_ms);
        }
        shard.latest_ms = shard.latest_ms.max(now_ms);
        if let Some(slot) = shard.slots.get(tenant) {
            return Arc::clone(slot);
        }
        // A map that is about to grow may hold idle tenants that make room.
        if shard.slots.len() == shard.slots.capacity() {
            shard.sweep(now_ms);
        }
        let slot = Arc::new(Slot {
            in_flight: AtomicU32::new(0),
            // A thread may come here with an earlier moment than another: nothing is refilled twice.
            buckets: Mutex::new(Buckets::full(limits, shard.latest_ms)),
        });
        shard.slots.insert(tenant.clone(), Arc::clone(&slot));
        slot
    }
}

impl Shard {
    /// The fewest slots that a map is shrunk to, so that a few tenants coming and going cost no memory
    /// management.
    const SLOTS_MIN: usize = 8;

    fn sweep(&mut self, now_ms: u64) -> usize {
        self.latest_ms = self.latest_ms.max(now_ms);
        let before = self.slots.len();
        // A call that has settled may have come with a later moment than any that asked.
        let mut latest_ms = self.latest_ms;
        self.slots
            .retain(|_, slot| match Slot::idle_since(slot, now_ms) {
                Some(moment_ms) => {
                    latest_ms = latest_ms.max(moment_ms);
                    false
                }
                None => true,
            });
        self.latest_ms = latest_ms;
        let left = self.slots.len();
        let enough = left.max(Self::SLOTS_MIN) * 2;
        if self.slots.capacity() > enough * 2 {
            self.slots.shrink_to(enough);
        }
        let interval = u64::try_from(SWEEP_INTERVAL.as_millis()).unwrap_or(u64::MAX);
        self.sweep_at_ms = now_ms.saturating_add(interval);
        before - left
    }
}

impl Slot {
    pub(super) fn buckets(&self) -> MutexGuard<'_, Buckets> {
        lock(&self.buckets)
    }

    /// The moment up to which it is known, where it is the same as none. An admission holds its slot, and so
    /// does a call that is being admitted, which can get at it only under the lock of the shard: where the
    /// map's is the only hold, nothing is in flight.
    fn idle_since(slot: &mut Arc<Self>, now_ms: u64) -> Option<u64> {
        let buckets = Arc::get_mut(slot)?
            .buckets
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        buckets.refill(now_ms);
        buckets.are_full().then(|| buckets.at_ms())
    }
}

/// The limit of rate that refuses the longest, if any does; the first of the contract's order where two
/// do so equally long.
fn rate_refusal(buckets: &Buckets, limits: &Limits, cost: &Cost, now_ms: u64) -> Option<Refusal> {
    let mut longest = Wait::Millis(0);
    let mut limit = Limit::RequestsPerMinute;
    let of_directions = Direction::ALL.into_iter().map(|direction| {
        let wait = buckets.direction_wait(direction, cost, now_ms);
        (Limit::Rate(direction), wait)
    });
    let of_requests = (Limit::RequestsPerMinute, buckets.request_wait(now_ms));
    for (candidate, wait) in std::iter::once(of_requests).chain(of_directions) {
        if wait > longest {
            (longest, limit) = (wait, candidate);
        }
    }
    let retry_after = match longest {
        Wait::Millis(0) => return None,
        // A call that would never get a place must not be told when to come back for one.
        _ if limits.calls_in_flight == 0 => return Some(busy(Limit::CallsInFlight, 0)),
        Wait::Millis(millis) => Some(Duration::from_millis(millis)),
        Wait::Never => None,
    };
    let (allowed, remaining, needed) = match limit {
        Limit::Rate(direction) => (
            direction.rate(limits),
            in_units(buckets.thousandths_left(direction)),
            cost.units(direction),
        ),
        _ => (
            limits.requests_per_minute,
            in_units(buckets.requests_left() * 1000),
            1.0,
        ),
    };
    Some(Refusal {
        limit,
        allowed,
        remaining,
        needed,
        retry_after,
    })
}

/// No place is free under `limit`.
fn busy(limit: Limit, allowed: u32) -> Refusal {
    Refusal {
        limit,
        allowed,
        remaining: 0.0,
        needed: 1.0,
        retry_after: None,
    }
}

/// Thousandths of a unit in units. They stay below 2^53, so nothing is lost.
#[expect(clippy::cast_precision_loss, reason = "at most 2^32 * 1000")]
fn in_units(thousandths: u64) -> f64 {
    thousandths as f64 / 1000.0
}

/// The monotonic clock in whole milliseconds, the time in which buckets count.
pub(super) fn millis(now: Duration) -> u64 {
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// Where a tenant's slot lies: FNV-1a, since tenants are the operator's and not whatever a client sends.
fn shard_of(tenant: &TenantId) -> usize {
    let hash = tenant.as_str().bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    (hash ^ hash >> 16) as usize % SHARDS
}

/// Nothing that is done under these locks can leave half a change behind, so one that a panic elsewhere
/// poisoned is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
