//! The arithmetic of a token bucket: exact in whole numbers, eight bytes a bucket.
//!
//! A bucket is kept as what is missing from it, its deficit, so a full one is 0 whatever its limit is. A
//! limit of `amount` per window of `window_ms` milliseconds is counted in parts, `window_ms` of them to a
//! unit. One millisecond then brings back exactly `amount` parts, and a full bucket, which holds one
//! window's worth, holds `amount * window_ms` of them.

use std::sync::Arc;

use super::cost::{Cost, Direction};
use crate::mesh::tenant::Limits;

/// So many units per window; the bucket holds one window's worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    /// Units per window, and parts per millisecond.
    pub(super) amount: u32,
    /// The window in milliseconds, and parts per unit.
    pub(super) window_ms: u32,
}

/// How long until something is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wait {
    /// So many milliseconds; 0 is now.
    Millis(u64),
    /// The limit is 0.
    Never,
}

/// A minute in milliseconds.
const MINUTE_MS: u32 = 60_000;
/// A second in milliseconds. A second's window makes parts of thousandths, those of [`Cost`].
const SECOND_MS: u32 = 1000;

impl Rate {
    pub(super) fn per_minute(amount: u32) -> Self {
        Self {
            amount,
            window_ms: MINUTE_MS,
        }
    }

    pub(super) fn per_second(amount: u32) -> Self {
        Self {
            amount,
            window_ms: SECOND_MS,
        }
    }

    /// What a full bucket holds, in parts.
    pub(super) fn full(self) -> u64 {
        u64::from(self.amount) * u64::from(self.window_ms)
    }

    /// What is missing after `millis` more milliseconds.
    fn refill(self, deficit: u64, millis: u64) -> u64 {
        deficit.saturating_sub(u64::from(self.amount).saturating_mul(millis))
    }

    /// How long until `cost` parts can be taken. A cost above what a full bucket holds can be taken from
    /// a full one, and nothing can always be taken.
    fn wait(self, deficit: u64, cost: u64) -> Wait {
        if cost == 0 {
            return Wait::Millis(0);
        }
        if self.amount == 0 {
            return Wait::Never;
        }
        let over = deficit.saturating_sub(self.full().saturating_sub(cost));
        Wait::Millis(over.div_ceil(u64::from(self.amount)))
    }

    /// What is missing after `cost` parts were taken. Where the limit is 0 nothing is kept, since nothing
    /// could bring it back.
    fn charge(self, deficit: u64, cost: u64) -> u64 {
        if self.amount == 0 {
            0
        } else {
            deficit.saturating_add(cost)
        }
    }

    /// What is missing when the limit becomes `other`: the same share of it, rounded up, so that the time
    /// until it is full stays as it was and nobody is shut out because his limit was lowered.
    fn convert(self, deficit: u64, other: Self) -> u64 {
        if self.amount == other.amount || deficit == 0 {
            return deficit;
        }
        let scaled =
            (u128::from(deficit) * u128::from(other.amount)).checked_div(u128::from(self.amount));
        match scaled {
            None => 0,
            Some(whole) => {
                let exact = whole * u128::from(self.amount)
                    == u128::from(deficit) * u128::from(other.amount);
                u64::try_from(whole + u128::from(!exact)).unwrap_or(u64::MAX)
            }
        }
    }
}

/// All buckets of one tenant, as they were at one moment.
#[derive(Debug)]
pub(super) struct Buckets {
    /// Missing requests of this minute, in 60,000ths.
    requests: u64,
    /// Missing units of each direction, in thousandths.
    directions: [u64; Direction::ALL.len()],
    /// The moment, in milliseconds of the monotonic clock.
    at_ms: u64,
    /// The limits under which the deficits are to be read.
    limits: Arc<Limits>,
}

impl Buckets {
    /// Full ones.
    pub(super) fn full(limits: &Arc<Limits>, now_ms: u64) -> Self {
        Self {
            requests: 0,
            directions: [0; Direction::ALL.len()],
            at_ms: now_ms,
            limits: Arc::clone(limits),
        }
    }

    /// Refills up to `now_ms`. Threads read the clock before they get here, so an earlier moment may come
    /// after a later one; nothing is refilled then.
    pub(super) fn refill(&mut self, now_ms: u64) {
        let millis = now_ms.saturating_sub(self.at_ms);
        if millis == 0 {
            return;
        }
        self.at_ms = now_ms;
        self.requests = requests_rate(&self.limits).refill(self.requests, millis);
        for direction in Direction::ALL {
            let deficit = &mut self.directions[direction as usize];
            *deficit = direction_rate(direction, &self.limits).refill(*deficit, millis);
        }
    }

    /// Goes over to `limits`, in case they were changed.
    pub(super) fn adopt(&mut self, limits: &Arc<Limits>) {
        if Arc::ptr_eq(&self.limits, limits) {
            return;
        }
        self.requests = requests_rate(&self.limits).convert(self.requests, requests_rate(limits));
        for direction in Direction::ALL {
            let deficit = &mut self.directions[direction as usize];
            *deficit = direction_rate(direction, &self.limits)
                .convert(*deficit, direction_rate(direction, limits));
        }
        self.limits = Arc::clone(limits);
    }

    /// How long, from `now_ms` on, until one more request is admitted.
    pub(super) fn request_wait(&self, now_ms: u64) -> Wait {
        let wait = requests_rate(&self.limits).wait(self.requests, u64::from(MINUTE_MS));
        self.from(now_ms, wait)
    }

    /// How long, from `now_ms` on, until `cost` is admitted in `direction`.
    pub(super) fn direction_wait(&self, direction: Direction, cost: &Cost, now_ms: u64) -> Wait {
        let wait = direction_rate(direction, &self.limits).wait(
            self.directions[direction as usize],
            u64::from(cost.thousandths(direction)),
        );
        self.from(now_ms, wait)
    }

    /// Requests that are left of this minute, rounded down.
    pub(super) fn requests_left(&self) -> u64 {
        let left = requests_rate(&self.limits)
            .full()
            .saturating_sub(self.requests);
        left / u64::from(MINUTE_MS)
    }

    /// Thousandths of a unit that are left of this second in `direction`; none where it is in debt.
    pub(super) fn thousandths_left(&self, direction: Direction) -> u64 {
        direction_rate(direction, &self.limits)
            .full()
            .saturating_sub(self.directions[direction as usize])
    }

    /// Takes one request and `cost`.
    pub(super) fn take(&mut self, cost: &Cost) {
        self.requests = requests_rate(&self.limits).charge(self.requests, u64::from(MINUTE_MS));
        for direction in Direction::ALL {
            self.charge(direction, cost.thousandths(direction));
        }
    }

    /// Takes `thousandths` of a unit, whether they are there or not.
    pub(super) fn charge(&mut self, direction: Direction, thousandths: u32) {
        let deficit = &mut self.directions[direction as usize];
        *deficit = direction_rate(direction, &self.limits).charge(*deficit, u64::from(thousandths));
    }

    /// Gives `thousandths` of a unit back, up to a full bucket.
    pub(super) fn refund(&mut self, direction: Direction, thousandths: u32) {
        let deficit = &mut self.directions[direction as usize];
        *deficit = deficit.saturating_sub(u64::from(thousandths));
    }

    /// The moment up to which they are refilled, in milliseconds of the monotonic clock.
    pub(super) fn at_ms(&self) -> u64 {
        self.at_ms
    }

    /// Whether nothing is missing anywhere: such buckets are the same as none.
    pub(super) fn are_full(&self) -> bool {
        self.requests == 0 && self.directions == [0; Direction::ALL.len()]
    }

    /// `wait`, which counts from the moment of the buckets, counted from `now_ms` instead.
    fn from(&self, now_ms: u64, wait: Wait) -> Wait {
        match wait {
            Wait::Millis(millis) if millis > 0 => {
                Wait::Millis(millis.saturating_add(self.at_ms.saturating_sub(now_ms)))
            }
            settled => settled,
        }
    }
}

fn requests_rate(limits: &Limits) -> Rate {
    Rate::per_minute(limits.requests_per_minute)
}

fn direction_rate(direction: Direction, limits: &Limits) -> Rate {
    Rate::per_second(direction.rate(limits))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Rate = Rate {
        amount: 10,
        window_ms: SECOND_MS,
    };

    #[test]
    fn a_cost_waits_until_the_millisecond_in_which_it_fits() {
        assert_eq!(TEN.wait(0, 10_000), Wait::Millis(0));
        assert_eq!(TEN.wait(1, 10_000), Wait::Millis(1));
        assert_eq!(TEN.wait(10, 10_000), Wait::Millis(1));
        assert_eq!(TEN.wait(11, 10_000), Wait::Millis(2));
        assert_eq!(TEN.wait(9000, 1000), Wait::Millis(0));
        assert_eq!(TEN.wait(9001, 1000), Wait::Millis(1));
        assert_eq!(TEN.wait(30_000, 1000), Wait::Millis(2100));
    }

    #[test]
    fn a_cost_above_the_burst_waits_for_a_full_bucket() {
        assert_eq!(TEN.wait(0, 10_001), Wait::Millis(0));
        assert_eq!(TEN.wait(0, u64::MAX), Wait::Millis(0));
        assert_eq!(TEN.wait(1, u64::MAX), Wait::Millis(1));
        assert_eq!(TEN.wait(25_000, 10_001), Wait::Millis(2500));
    }

    #[test]
    fn a_limit_of_zero_admits_nothing_but_what_costs_nothing() {
        let never = Rate::per_second(0);
        assert_eq!(never.wait(0, 1), Wait::Never);
        assert_eq!(never.wait(0, 0), Wait::Millis(0));
        assert_eq!(never.charge(0, 5), 0);
        assert!(Wait::Never > Wait::Millis(u64::MAX));
    }

    #[test]
    fn debt_does_not_hold_up_what_costs_nothing() {
        assert_eq!(TEN.wait(1_000_000, 0), Wait::Millis(0));
    }

    #[test]
    fn a_changed_limit_keeps_the_time_until_the_bucket_is_full() {
        let hundred = Rate::per_second(100);
        assert_eq!(TEN.convert(10_000, hundred), 100_000);
        assert_eq!(hundred.convert(100_000, TEN), 10_000);
        assert_eq!(hundred.convert(1, TEN), 1, "rounded up");
        assert_eq!(hundred.convert(0, TEN), 0, "a full one stays full");
        assert_eq!(TEN.convert(5000, Rate::per_second(0)), 0);
        assert_eq!(Rate::per_second(0).convert(5000, TEN), 0);
        assert_eq!(
            Rate::per_second(1).convert(u64::MAX, Rate::per_second(u32::MAX)),
            u64::MAX
        );
    }

    #[test]
    fn the_largest_limits_and_times_do_not_overflow() {
        let most = Rate::per_minute(u32::MAX);
        assert_eq!(most.full(), u64::from(u32::MAX) * 60_000);
        assert_eq!(most.refill(u64::MAX, u64::MAX), 0);
        assert_eq!(most.charge(u64::MAX, 1), u64::MAX);
    }
}
