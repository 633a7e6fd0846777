//! How long to wait after a failure: longer each time, up to a limit, and never all at the same moment.

use std::time::Duration;

use tokio::time::Instant;

/// Waits that double from a first to a longest one, each shortened at random by up to a half.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    attempt: u32,
    until: Option<Instant>,
    random: u64,
}

impl Backoff {
    pub(super) fn new(first: Duration, longest: Duration, seed: u64) -> Self {
        Self {
            first,
            longest,
            attempt: 0,
            until: None,
            random: seed | 1,
        }
    }

    /// It failed; `hint` is how long the other side asks to wait.
    pub(super) fn fail(&mut self, hint: Option<Duration>) {
        let doubled = self.first.saturating_mul(1 << self.attempt.min(20));
        let base = doubled.max(hint.unwrap_or_default()).min(self.longest);
        self.attempt = self.attempt.saturating_add(1);
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let share = 0.5 + (self.random >> 11) as f64 / (1_u64 << 54) as f64;
        self.until = Some(Instant::now() + base.mul_f64(share));
    }

    /// It succeeded.
    pub(super) fn succeed(&mut self) {
        self.attempt = 0;
        self.until = None;
    }

    /// Whether the last try failed.
    pub(super) fn has_failed(&self) -> bool {
        self.attempt > 0
    }

    /// Until when to wait, where that is still to come.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until.filter(|&until| until > Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_differ() {
        let (first, longest) = (Duration::from_secs(10), Duration::from_secs(60));
        let mut backoff = Backoff::new(first, longest, 7);
        let mut seen = Vec::new();
        for expected in [10, 20, 40, 60, 60, 60] {
            let before = Instant::now();
            backoff.fail(None);
            let wait = backoff.until().unwrap() - before;
            let expected = Duration::from_secs(expected);
            assert!(
                wait >= expected / 2 && wait <= expected + Duration::from_secs(1),
                "{wait:?}"
            );
            seen.push(wait);
        }
        assert_ne!(seen[4], seen[5]);
        backoff.succeed();
        assert!(backoff.until().is_none() && !backoff.has_failed());
    }

    #[test]
    fn a_hint_is_heeded_up_to_the_longest() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60), 7);
        backoff.fail(Some(Duration::from_secs(1000)));
        let wait = backoff.until().unwrap() - Instant::now();
        assert!(wait > Duration::from_secs(29) && wait <= Duration::from_secs(60));
    }
}
