//! How much of the outbox is used, by whom, and who may still add to it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::log::Usage;
use crate::mesh::tenant::TenantId;
use crate::mesh::{Error, ErrorKind};

/// The smallest outbox: a few of the largest frames must fit.
pub const OUTBOX_BYTES_MIN: u64 = 1 << 20;

/// After how long a call that the outbox refused is worth repeating.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Of the outbox, the part on top of it that is kept for what frees it.
const RELIEF_PART: u64 = 10;

/// The most of that part that one tenant may have beyond its share, in bytes: more than it takes to remove all
/// of its rules and alerts.
const RELIEF_BYTES_MAX: u64 = 512 << 10;

/// Of the outbox, the part that records which have left may take up before logs are compacted, and the least of
/// it that compacting them is worth.
const DEAD_PART: u64 = 8;
const DEAD_PART_LEAST: u64 = 64;

/// What a call does, as far as the outbox asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// It reads; it is refused when the outbox is full.
    Read,
    /// It changes something; it is refused above 90 %.
    Mutation,
    /// It may be what a tenant gets room by whose records cannot leave, such as removing the rule that keeps
    /// them: it finds some where the outbox, and the tenant's share of it, are full.
    Relief,
    /// It is the health check; it is never refused.
    Health,
}

/// The ways on which a record leaves the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::mesh::event) enum Way {
    /// Into history and counters.
    History = 0,
    /// Onto the bus.
    Bus = 1,
    /// Past the rules of its tenant.
    Rules = 2,
}

impl Way {
    /// How many there are.
    pub(in crate::mesh::event) const COUNT: usize = 3;

    /// All of them, in the order of their indices.
    pub(in crate::mesh::event) const ALL: [Self; Self::COUNT] =
        [Self::History, Self::Bus, Self::Rules];

    /// The word in logs and health.
    pub(in crate::mesh::event) const fn name(self) -> &'static str {
        match self {
            Self::History => "history",
            Self::Bus => "bus",
            Self::Rules => "rules",
        }
    }
}

/// What one tenant holds; forgotten when it is nothing.
#[derive(Debug, Default)]
struct Held {
    reserved: u64,
    backlog: [u64; Way::COUNT],
}

impl Held {
    fn bytes(&self) -> u64 {
        self.reserved + self.backlog.into_iter().max().unwrap_or(0)
    }
}

/// The accounts of one outbox and of the folders that it has adopted.
#[derive(Debug)]
pub(super) struct Share {
    bytes_max: u64,
    /// Of each log: what its files take up, records that have left included.
    logs: Vec<Arc<Usage>>,
    reserved: u64,
    /// What all tenants hold, what is set aside included.
    held: u64,
    records: [u64; Way::COUNT],
    tenants: HashMap<TenantId, Held>,
}

impl Share {
    /// An outbox of `bytes_max` without a log.
    pub(super) fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            logs: Vec::new(),
            reserved: 0,
            held: 0,
            records: [0; Way::COUNT],
            tenants: HashMap::new(),
        }
    }

    /// Sets `bytes` aside for a call of `tenant`, or says why not.
    pub(super) fn reserve(
        &mut self,
        tenant: &TenantId,
        weight: Weight,
        bytes: u64,
    ) -> Result<(), Error> {
        let used = self.bytes();
        let ceiling = match weight {
            Weight::Health => u64::MAX,
            Weight::Relief => self.bytes_max + self.bytes_max / RELIEF_PART,
            Weight::Read => self.bytes_max,
            Weight::Mutation => self.bytes_max / 10 * 9,
        };
        // What has left takes up room on the disk until its segment goes, which must not go on without end.
        let on_disk = self.disk_bytes() + self.reserved;
        if used + bytes > ceiling || on_disk + bytes > ceiling.max(self.bytes_max) {
            return Err(full(weight));
        }
        let held = self.tenants.get(tenant);
        let sharers = self.tenants.len() as u64 + u64::from(held.is_none());
        let would_hold = held.map_or(0, Held::bytes) + bytes;
        let is_tight = used + bytes > self.bytes_max / 2;
        let relief = match weight {
            Weight::Relief => RELIEF_BYTES_MAX.min(self.bytes_max / RELIEF_PART),
            _ => 0,
        };
        let most = self.bytes_max / sharers + relief;
        if weight != Weight::Health && is_tight && would_hold > most {
            return Err(over_share());
        }
        self.reserved += bytes;
        self.change(tenant, |held| held.reserved += bytes);
        Ok(())
    }

    /// Gives up what was set aside.
    pub(super) fn release(&mut self, tenant: &TenantId, bytes: u64) {
        self.reserved = self.reserved.saturating_sub(bytes);
        self.change(tenant, |held| {
            held.reserved = held.reserved.saturating_sub(bytes);
        });
    }

    /// A log counts from now on, by its files.
    pub(super) fn include(&mut self, log: Arc<Usage>) {
        self.logs.push(log);
    }

    /// A log no longer counts.
    pub(super) fn exclude(&mut self, log: &Arc<Usage>) {
        self.logs.retain(|held| !Arc::ptr_eq(held, log));
    }

    /// `records` of `tenant` are about to be in a log and have yet to leave on `way`.
    pub(super) fn add(&mut self, way: Way, tenant: &TenantId, bytes: u64, records: u64) {
        self.records[way as usize] += records;
        self.change(tenant, |held| held.backlog[way as usize] += bytes);
    }

    /// `records` of `tenant` have left on `way`, or never came to be in a log.
    pub(super) fn settle(&mut self, way: Way, tenant: &TenantId, bytes: u64, records: u64) {
        self.records[way as usize] = self.records[way as usize].saturating_sub(records);
        self.change(tenant, |held| {
            let backlog = &mut held.backlog[way as usize];
            *backlog = backlog.saturating_sub(bytes);
        });
    }

    /// Bytes in use: of records that have yet to leave on some way, and what is set aside.
    pub(super) fn bytes(&self) -> u64 {
        self.held
    }

    /// Bytes of all files, records that have left included.
    pub(super) fn disk_bytes(&self) -> u64 {
        let of = |log: &Arc<Usage>| log.bytes.load(Ordering::Relaxed);
        self.logs.iter().map(of).sum()
    }

    /// Bytes of the files that could be compacted.
    fn closed_bytes(&self) -> u64 {
        let of = |log: &Arc<Usage>| log.closed_bytes.load(Ordering::Relaxed);
        self.logs.iter().map(of).sum()
    }

    /// Whether so much of the outbox is used that what could linger must not.
    pub(super) fn is_pressed(&self) -> bool {
        let used = self.held.max(self.closed_bytes() + self.reserved);
        used > self.bytes_max / 8
    }

    /// Whether records that have left take up so much of the disk that logs are to be compacted: the less, the
    /// less there is left for others.
    pub(super) fn wants_compaction(&self) -> bool {
        let records = self.held.saturating_sub(self.reserved);
        let dead = self.closed_bytes().saturating_sub(records);
        let least = self.bytes_max / DEAD_PART_LEAST;
        let room = self.bytes_max.saturating_sub(records) / 4;
        dead > room.clamp(least, self.bytes_max / DEAD_PART)
    }

    /// The limit.
    pub(super) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Records that have yet to leave on `way`.
    pub(super) fn records(&self, way: Way) -> u64 {
        self.records[way as usize]
    }

    /// The most records that have yet to leave on one way.
    pub(super) fn most_records(&self) -> u64 {
        self.records.into_iter().max().unwrap_or(0)
    }

    /// Bytes of `tenant` that have yet to leave on `way`.
    pub(super) fn backlog(&self, way: Way, tenant: &TenantId) -> u64 {
        let held = self.tenants.get(tenant);
        held.map_or(0, |held| held.backlog[way as usize])
    }

    /// What `tenant` holds, in bytes.
    pub(super) fn held(&self, tenant: &TenantId) -> u64 {
        self.tenants.get(tenant).map_or(0, Held::bytes)
    }

    fn change(&mut self, tenant: &TenantId, change: impl FnOnce(&mut Held)) {
        let Some(held) = self.tenants.get_mut(tenant) else {
            let mut held = Held::default();
            change(&mut held);
            if held.bytes() > 0 {
                self.held += held.bytes();
                self.tenants.insert(tenant.clone(), held);
            }
            return;
        };
        let before = held.bytes();
        change(held);
        let after = held.bytes();
        self.held = (self.held + after).saturating_sub(before);
        if after == 0 {
            self.tenants.remove(tenant);
            // A burst of tenants leaves no room behind that is never used again.
            if self.tenants.capacity() > 1024 && self.tenants.len() * 4 < self.tenants.capacity() {
                self.tenants.shrink_to(self.tenants.len() * 2);
            }
        }
    }
}

fn full(weight: Weight) -> Error {
    let message = match weight {
        Weight::Mutation => {
            "events wait to be published and have filled the outbox above 90 %, where changes are no longer accepted"
        }
        Weight::Read | Weight::Relief | Weight::Health => {
            "events wait to be published and have filled the outbox"
        }
    };
    overloaded(message)
}

fn over_share() -> Error {
    overloaded("this tenant's events that wait to be published have filled its share of the outbox")
}

fn overloaded(message: &str) -> Error {
    Error::new(ErrorKind::Overloaded, message)
        .fix("Try again in a few seconds; events_health_check shows what keeps events from being published.")
        .retry_after(RETRY_AFTER)
}

/// The disk under the outbox is full.
pub(super) fn disk_full() -> Error {
    Error::new(
        ErrorKind::Overloaded,
        "the disk that holds the outbox is full, so nothing can be recorded",
    )
    .fix("Ask the operator of the server to free disk space; calls work again as soon as there is some.")
    .retry_after(RETRY_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u64 = 1000;

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    fn share() -> Share {
        Share::new(MAX)
    }

    fn refused(result: Result<(), Error>) -> bool {
        match result {
            Ok(()) => false,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Overloaded);
                assert!(error.fix_text().is_some() && error.wait().is_some());
                true
            }
        }
    }

    #[test]
    fn changes_stop_above_nine_tenths_reads_at_the_limit_relief_above_and_health_never() {
        let acme = tenant("acme");
        for (weight, limit) in [
            (Weight::Mutation, 900),
            (Weight::Read, 1000),
            (Weight::Relief, 1100),
        ] {
            let mut share = share();
            share.add(Way::Bus, &acme, limit - 10, 1);
            assert!(!refused(share.reserve(&acme, weight, 10)), "{weight:?}");
            share.release(&acme, 10);
            assert!(refused(share.reserve(&acme, weight, 11)), "{weight:?}");
            assert!(!refused(share.reserve(&acme, Weight::Health, 5000)));
        }
    }

    #[test]
    fn above_half_no_tenant_holds_more_than_its_share() {
        let (one, two) = (tenant("one"), tenant("two"));
        let mut share = share();
        assert!(!refused(share.reserve(&two, Weight::Read, 1)));
        // Up to half of it, one tenant may take what it wants.
        assert!(!refused(share.reserve(&one, Weight::Read, 499)));
        assert!(
            !refused(share.reserve(&one, Weight::Read, 1)),
            "500 of 1000 for one of two"
        );
        assert!(
            refused(share.reserve(&one, Weight::Read, 1)),
            "one past its share"
        );
        assert!(
            !refused(share.reserve(&two, Weight::Read, 400)),
            "the other has room"
        );
    }

    #[test]
    fn what_frees_room_finds_some_beyond_a_tenants_share_but_not_without_end() {
        let (stuck, other) = (tenant("stuck"), tenant("other"));
        let mut share = share();
        share.add(Way::Rules, &stuck, 500, 10);
        share.add(Way::Rules, &other, 50, 1);
        for weight in [Weight::Read, Weight::Mutation] {
            assert!(refused(share.reserve(&stuck, weight, 1)), "{weight:?}");
        }
        assert!(!refused(share.reserve(&stuck, Weight::Relief, 100)));
        assert!(refused(share.reserve(&stuck, Weight::Relief, 1)));
        assert!(!refused(share.reserve(&other, Weight::Mutation, 1)));
        // Of a large outbox it is no more than one tenant needs.
        let mut share = Share::new(1 << 30);
        share.add(Way::Rules, &stuck, 1 << 30, 10);
        let most = RELIEF_BYTES_MAX;
        assert!(refused(share.reserve(&stuck, Weight::Relief, most + 1)));
        assert!(!refused(share.reserve(&stuck, Weight::Relief, most)));
    }

    #[test]
    fn a_newcomer_counts_as_one_who_shares() {
        let mut share = share();
        share.add(Way::Bus, &tenant("old"), 600, 1);
        assert!(refused(share.reserve(&tenant("new"), Weight::Read, 501)));
        assert!(!refused(share.reserve(&tenant("new"), Weight::Read, 399)));
        assert!(refused(share.reserve(&tenant("old"), Weight::Read, 1)));
        assert_eq!(share.bytes(), 999);
    }

    #[test]
    fn what_has_left_counts_only_where_the_disk_would_take_more_than_the_limit() {
        let acme = tenant("acme");
        let mut share = share();
        let log = Arc::new(Usage::default());
        share.include(log.clone());
        log.bytes.store(MAX - 10, Ordering::Relaxed);
        assert_eq!((share.bytes(), share.disk_bytes()), (0, MAX - 10));
        assert!(!refused(share.reserve(&acme, Weight::Mutation, 10)));
        share.release(&acme, 10);
        for weight in [Weight::Mutation, Weight::Read] {
            assert!(refused(share.reserve(&acme, weight, 11)), "{weight:?}");
        }
        assert!(!refused(share.reserve(&acme, Weight::Relief, 110)));
        assert!(refused(share.reserve(&acme, Weight::Relief, 1)));
        assert!(!refused(share.reserve(&acme, Weight::Health, 5000)));
        share.exclude(&log);
        assert_eq!(share.disk_bytes(), 0);
    }

    #[test]
    fn logs_are_compacted_from_an_eighth_on_and_sooner_where_little_is_left() {
        for (records, dead) in [(0, 125), (500, 125), (900, 25), (980, 15)] {
            let mut share = share();
            let log = Arc::new(Usage::default());
            share.include(log.clone());
            share.add(Way::Rules, &tenant("acme"), records, 1);
            log.closed_bytes.store(records + dead, Ordering::Relaxed);
            assert!(!share.wants_compaction(), "{records}");
            log.closed_bytes
                .store(records + dead + 1, Ordering::Relaxed);
            assert!(share.wants_compaction(), "{records}");
            assert!(share.is_pressed());
        }
    }

    #[test]
    fn a_tenant_without_backlog_is_forgotten() {
        let acme = tenant("acme");
        let mut share = share();
        share.reserve(&acme, Weight::Read, 10).unwrap();
        for way in Way::ALL {
            share.add(way, &acme, 7, 1);
        }
        share.release(&acme, 10);
        assert_eq!(share.held(&acme), 7);
        share.settle(Way::Bus, &acme, 7, 1);
        assert_eq!((share.held(&acme), share.records(Way::Bus)), (7, 0));
        share.settle(Way::History, &acme, 7, 1);
        assert_eq!(share.held(&acme), 7, "its rules have yet to be asked");
        share.settle(Way::Rules, &acme, 7, 1);
        assert!(share.tenants.is_empty());
    }
}
