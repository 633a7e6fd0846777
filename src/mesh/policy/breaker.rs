//! When the policy service is not asked at all: after failures in a row, for a while that grows.

use std::time::Duration;

/// After how many failures in a row it is not asked.
pub(super) const FAILURES_MAX: u32 = 5;

/// How long it is not asked after that; doubled with each probe that fails.
pub(super) const PAUSE_MIN: Duration = Duration::from_secs(1);

/// The longest pause.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Counts failures in a row. After too many, one question in each pause finds out whether it works again.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    /// Until when nothing is asked.
    closed_until: Duration,
}

impl Breaker {
    /// Whether the service may be asked at `now`, or how long not. Past a pause the first question passes as
    /// the probe, and the others wait for another pause or for its answer.
    pub(super) fn pass(&mut self, now: Duration) -> Result<(), Duration> {
        let Some(beyond) = self.failures.checked_sub(FAILURES_MAX) else {
            return Ok(());
        };
        if now < self.closed_until {
            return Err(self.closed_until.saturating_sub(now));
        }
        self.closed_until = now.saturating_add(pause(beyond));
        Ok(())
    }

    pub(super) fn worked(&mut self) {
        if self.failures >= FAILURES_MAX {
            tracing::info!("the policy service works again");
        }
        *self = Self::default();
    }

    pub(super) fn failed(&mut self, now: Duration) {
        self.failures = self.failures.saturating_add(1);
        if let Some(beyond) = self.failures.checked_sub(FAILURES_MAX) {
            self.closed_until = now.saturating_add(pause(beyond));
            if beyond == 0 {
                tracing::error!(
                    failures = self.failures,
                    "the policy service fails; calls are refused without asking it, but for a probe now and then"
                );
            }
        }
    }
}

fn pause(beyond: u32) -> Duration {
    PAUSE_MIN.saturating_mul(1 << beyond.min(16)).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    #[test]
    fn it_opens_at_the_last_of_so_many_failures_in_a_row_and_not_before() {
        let mut breaker = Breaker::default();
        for _ in 1..FAILURES_MAX {
            breaker.failed(NOW);
        }
        assert_eq!(breaker.pass(NOW), Ok(()));
        breaker.worked();
        for _ in 1..FAILURES_MAX {
            breaker.failed(NOW);
        }
        assert_eq!(breaker.pass(NOW), Ok(()));
        breaker.failed(NOW);
        assert_eq!(breaker.pass(NOW), Err(PAUSE_MIN));
    }

    #[test]
    fn after_a_pause_one_question_passes_and_the_pause_grows_with_each_that_fails() {
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES_MAX {
            breaker.failed(NOW);
        }
        let later = NOW + PAUSE_MIN;
        assert_eq!(
            breaker.pass(later - Duration::from_nanos(1)),
            Err(Duration::from_nanos(1))
        );
        assert_eq!(breaker.pass(later), Ok(()));
        assert_eq!(breaker.pass(later), Err(PAUSE_MIN));
        breaker.failed(later);
        assert_eq!(breaker.pass(later), Err(PAUSE_MIN * 2));
        for _ in 0..50 {
            breaker.failed(later);
        }
        assert_eq!(breaker.pass(later), Err(PAUSE_MAX));
        breaker.worked();
        assert_eq!(breaker.pass(later), Ok(()));
    }
}
