//! Places for calls in flight over all tenants, and the share of each when they are scarce.
//!
//! The rule: a tenant that has no call in flight is admitted while one place is free; a tenant that has
//! some is admitted while they are at most [`SHARE`] times the free places less one. Hence:
//!
//! - A tenant alone can have three quarters of all places, within its own limit.
//! - Busy tenants converge to equal shares: of n tenants that all want more than they get, each holds
//!   about `3 * total / (3 * n + 1)`, because one that holds more gets no new place as its calls end.
//! - The last free place goes only to a tenant that has none. So whoever has none waits, if at all, only
//!   for others who had none: a thousand tenants do not starve each other.

use std::sync::atomic::{AtomicU32, Ordering};

/// How many calls a tenant may have in flight for each place that would still be free.
pub const SHARE: u32 = 3;

/// The places.
#[derive(Debug)]
pub(super) struct Places {
    total: u32,
    taken: AtomicU32,
}

impl Places {
    pub(super) fn new(total: u32) -> Self {
        Self {
            total,
            taken: AtomicU32::new(0),
        }
    }

    pub(super) fn total(&self) -> u32 {
        self.total
    }

    pub(super) fn taken(&self) -> u32 {
        self.taken.load(Ordering::Acquire)
    }

    /// Takes a place for a tenant that holds `held`; `false` where it would be more than its share.
    pub(super) fn take(&self, held: u32) -> bool {
        let mut taken = self.taken.load(Ordering::Acquire);
        loop {
            if !admits(self.total.saturating_sub(taken), held) {
                return false;
            }
            match self.taken.compare_exchange_weak(
                taken,
                taken + 1,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return true,
                Err(current) => taken = current,
            }
        }
    }

    /// Gives a place back that was taken.
    pub(super) fn release(&self) {
        self.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Whether a tenant that holds `held` places may have one of `free` ones.
fn admits(free: u32, held: u32) -> bool {
    match held {
        0 => free >= 1,
        _ => held <= free.saturating_sub(1).saturating_mul(SHARE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets the tenants take in turns until none gets more; answers what each holds.
    fn share_out(places: &Places, mut held: Vec<u32>) -> Vec<u32> {
        loop {
            let mut progress = false;
            for held in &mut held {
                if places.take(*held) {
                    *held += 1;
                    progress = true;
                }
            }
            if !progress {
                return held;
            }
        }
    }

    #[test]
    fn a_tenant_alone_has_three_quarters_and_not_one_more() {
        let places = Places::new(1024);
        assert_eq!(share_out(&places, vec![0]), [768]);
    }

    #[test]
    fn busy_tenants_get_equal_shares_and_leave_room_for_the_next() {
        for (tenants, least) in [(2, 438), (15, 66), (16, 62), (100, 10), (340, 3)] {
            let places = Places::new(1024);
            let held = share_out(&places, vec![0; tenants]);
            let (smallest, largest) = (held.iter().min().unwrap(), held.iter().max().unwrap());
            assert!(*smallest >= least, "{tenants}: {smallest}");
            assert!(
                largest - smallest <= 1,
                "{tenants}: {smallest} to {largest}"
            );
            assert!(places.taken() < 1024, "{tenants}: room for one more");
            assert!(places.take(0), "{tenants}: the next one gets in");
        }
    }

    #[test]
    fn a_thousand_tenants_get_one_each_before_any_gets_two() {
        let places = Places::new(1024);
        assert!(
            share_out(&places, vec![0; 1000])
                .iter()
                .all(|&held| held >= 1)
        );
        let places = Places::new(1024);
        let held = share_out(&places, vec![0; 1500]);
        assert_eq!(held.iter().sum::<u32>(), 1024);
        assert!(held.iter().all(|&held| held <= 1));
    }

    #[test]
    fn the_last_place_is_for_one_who_has_none() {
        let places = Places::new(2);
        assert!(places.take(0));
        assert!(!places.take(1));
        assert!(places.take(0));
        assert!(!places.take(0));
        places.release();
        assert!(!places.take(1), "not even right after a release");
        assert!(places.take(0));
    }

    #[test]
    fn who_came_early_makes_room_as_its_calls_end() {
        let places = Places::new(1024);
        let mut early = share_out(&places, vec![0])[0];
        let mut late = 0;
        // Each of the early tenant's calls ends, and both ask for its place, the early one first.
        for _ in 0..5000 {
            places.release();
            early -= 1;
            if places.take(early) {
                early += 1;
            }
            if places.take(late) {
                late += 1;
            }
        }
        assert!(early.abs_diff(late) <= 1, "{early} and {late}");
    }
}
