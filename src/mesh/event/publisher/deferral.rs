//! Tenants whose records wait, so that nobody else's have to.
//!
//! A few records of such a tenant are held in memory; the rest stays in the log and is read again from
//! where it was left, so that a tenant who is held back for long costs a place and not memory.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::backoff::Backoff;
use super::sink::Record;
use crate::mesh::event::outbox::log::Position;
use crate::mesh::tenant::TenantId;

/// The most tenants that are held back at once; with more, nothing further is read.
pub(super) const TENANTS_MAX: usize = 256;

/// The most records of one such tenant that are held in memory, if they have not been tried before.
pub(super) const RECORDS_MAX: usize = 64;

/// Where a tenant's records have not been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lag {
    pub(super) position: Position,
    pub(super) seq: u64,
}

/// A tenant whose records wait.
#[derive(Debug)]
pub(super) struct Deferred {
    pub(super) records: VecDeque<Record>,
    pub(super) lag: Option<Lag>,
    pub(super) is_in_flight: bool,
    /// When it was last tried.
    tried: Instant,
    backoff: Backoff,
}

/// The tenants whose records wait.
#[derive(Debug)]
pub(super) struct Deferrals {
    tenants: HashMap<TenantId, Deferred>,
    first: Duration,
    longest: Duration,
    seed: u64,
}

impl Deferrals {
    pub(super) fn new(first: Duration, longest: Duration, seed: u64) -> Self {
        Self {
            tenants: HashMap::new(),
            first,
            longest,
            seed,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.tenants.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tenants.is_empty()
    }

    pub(super) fn get_mut(&mut self, tenant: &TenantId) -> Option<&mut Deferred> {
        self.tenants.get_mut(tenant)
    }

    pub(super) fn holds(&self, tenant: &TenantId) -> bool {
        self.tenants.contains_key(tenant)
    }

    /// The same tenant's entry, made where there is none.
    pub(super) fn entry(&mut self, tenant: &TenantId) -> &mut Deferred {
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let (first, longest, seed) = (self.first, self.longest, self.seed);
        self.tenants
            .entry(tenant.clone())
            .or_insert_with(|| Deferred {
                records: VecDeque::new(),
                lag: None,
                is_in_flight: false,
                tried: Instant::now(),
                backoff: Backoff::new(first, longest, seed),
            })
    }

    /// The places from which records have not been read.
    pub(super) fn lags(&self) -> impl Iterator<Item = Position> {
        let lags = self.tenants.values().filter_map(|held| held.lag);
        lags.map(|lag| lag.position)
    }

    /// Those tenants, each with that place.
    pub(super) fn lagging(&self) -> impl Iterator<Item = (TenantId, Position)> {
        let tenants = self.tenants.iter();
        tenants.filter_map(|(tenant, held)| Some((tenant.clone(), held.lag?.position)))
    }

    /// Tenants that may be tried now; who was tried longest ago comes first.
    pub(super) fn due(&self) -> Vec<TenantId> {
        let is_due = |held: &Deferred| !held.is_in_flight && held.backoff.until().is_none();
        let due = self.tenants.iter().filter(|(_, held)| is_due(held));
        let mut due: Vec<_> = due
            .map(|(tenant, held)| (held.tried, tenant.clone()))
            .collect();
        due.sort_unstable();
        due.into_iter().map(|(_, tenant)| tenant).collect()
    }

    /// When the next tenant may be tried.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let waiting = self.tenants.values().filter(|held| !held.is_in_flight);
        let now = Instant::now();
        waiting
            .map(|held| held.backoff.until().unwrap_or(now))
            .min()
    }

    /// Forgets a tenant that has nothing left to wait.
    pub(super) fn forget_idle(&mut self, tenant: &TenantId) {
        let is_idle =
            |held: &Deferred| held.records.is_empty() && held.lag.is_none() && !held.is_in_flight;
        if self.tenants.get(tenant).is_some_and(is_idle) {
            self.tenants.remove(tenant);
        }
    }
}

impl Deferred {
    /// Puts a record where its number belongs.
    pub(super) fn put(&mut self, record: Record) {
        let at = self.records.partition_point(|held| held.seq < record.seq);
        self.records.insert(at, record);
    }

    /// Records have failed, while others of the same tenant and batch have left or not.
    pub(super) fn failed(&mut self, has_progress: bool) {
        self.tried = Instant::now();
        if has_progress {
            self.backoff.succeed();
        }
        self.backoff.fail(None);
    }

    /// A batch of its records has left.
    pub(super) fn succeeded(&mut self) {
        self.tried = Instant::now();
        self.backoff.succeed();
    }
}
