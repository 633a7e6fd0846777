//! When a server that could not be reached may be tried again, and when it has failed too often.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::settings::PoolSettings;

/// The failed attempts of one connection.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: VecDeque<Instant>,
    attempt: u32,
    retry_at: Option<Instant>,
}

impl Breaker {
    /// An attempt failed; `hint` is how long the server asks to wait, `share` a random number from 0 to 1.
    pub(super) fn fail(&mut self, settings: &PoolSettings, hint: Option<Duration>, share: f64) {
        let now = Instant::now();
        if self.failures.len() >= settings.failures_max {
            self.failures.pop_front();
        }
        self.failures.push_back(now);
        let doubled = settings
            .backoff_first
            .saturating_mul(1 << self.attempt.min(20));
        let longest = doubled
            .max(hint.unwrap_or_default())
            .min(settings.backoff_max);
        self.attempt = self.attempt.saturating_add(1);
        self.retry_at = Some(now + longest.mul_f64(0.5 + share.clamp(0.0, 1.0) / 2.0));
    }

    /// An attempt succeeded.
    pub(super) fn succeed(&mut self) {
        *self = Self::default();
    }

    /// How long no attempt is made yet.
    pub(super) fn wait(&self) -> Option<Duration> {
        let wait = self.retry_at?.saturating_duration_since(Instant::now());
        (!wait.is_zero()).then_some(wait)
    }

    /// Whether it failed as often as it may within the window.
    pub(super) fn is_open(&self, settings: &PoolSettings) -> bool {
        let counted = self.failures.iter();
        let counted = counted.filter(|failure| failure.elapsed() < settings.failure_window);
        counted.count() >= settings.failures_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> PoolSettings {
        PoolSettings {
            backoff_first: Duration::from_secs(100),
            backoff_max: Duration::from_secs(1000),
            failures_max: 3,
            ..PoolSettings::default()
        }
    }

    #[test]
    fn waits_double_to_the_longest_and_a_success_ends_them() {
        let mut breaker = Breaker::default();
        for expected in [100, 200, 400, 800, 1000, 1000] {
            breaker.fail(&settings(), None, 1.0);
            let wait = breaker.wait().unwrap().as_secs();
            assert!(
                (expected - 5..=expected).contains(&wait),
                "{wait} for {expected}"
            );
        }
        breaker.fail(&settings(), None, 0.0);
        assert!(breaker.wait().unwrap() <= Duration::from_secs(500));
        breaker.succeed();
        assert_eq!(breaker.wait(), None);
        breaker.fail(&settings(), Some(Duration::from_secs(5000)), 1.0);
        assert!(breaker.wait().unwrap() > Duration::from_secs(900));
    }

    #[test]
    fn it_opens_at_its_bound_and_only_by_what_still_counts() {
        let mut breaker = Breaker::default();
        for _ in 0..2 {
            breaker.fail(&settings(), None, 0.5);
        }
        assert!(!breaker.is_open(&settings()));
        breaker.fail(&settings(), None, 0.5);
        assert!(breaker.is_open(&settings()));
        let brief = PoolSettings {
            failure_window: Duration::ZERO,
            ..settings()
        };
        assert!(!breaker.is_open(&brief));
    }
}
