//! What happens after an error: which Retrier, after which pause, and which Catcher.

use std::time::Duration;

use serde_json::Value;

use super::context::Entropy;
use super::error::{StateError, StateResult};
use super::machine::{Catcher, Jitter, Retrier};
use super::{SECONDS_MAX, payload};

/// The first Retrier for an error, with its place: how often it was used is counted by that.
pub(crate) fn find_retrier<'r>(
    retriers: &'r [Retrier],
    error: &StateError,
) -> Option<(usize, &'r Retrier)> {
    let mut places = retriers.iter().enumerate();
    places.find(|(_, retrier)| stands_for(&retrier.errors, error))
}

/// The first Catcher for an error.
pub(crate) fn find_catcher<'c>(catchers: &'c [Catcher], error: &StateError) -> Option<&'c Catcher> {
    catchers
        .iter()
        .find(|catcher| stands_for(&catcher.errors, error))
}

fn stands_for(names: &[String], error: &StateError) -> bool {
    names.iter().any(|name| error.is(name))
}

impl Retrier {
    /// The pause before the next attempt, after this Retrier was used `used` times in this visit of the
    /// state; nothing where it is used up.
    pub(crate) fn delay(&self, used: u64, entropy: &mut Entropy) -> Option<Duration> {
        if used >= self.attempts_max {
            return None;
        }
        let most = self.delay_seconds_max.unwrap_or(SECONDS_MAX) as f64;
        let growth = self
            .backoff_rate
            .powi(i32::try_from(used).unwrap_or(i32::MAX));
        let seconds = (self.interval_seconds as f64 * growth).clamp(0.0, most);
        let seconds = match self.jitter {
            Jitter::None => seconds,
            Jitter::Full => seconds * entropy.fraction(),
        };
        Some(Duration::try_from_secs_f64(seconds).unwrap_or_default())
    }
}

impl Catcher {
    /// What the state that it leads to begins with.
    ///
    /// # Errors
    /// `States.ResultPathMatchFailure`, and `States.DataLimitExceeded` where it is too much.
    pub(crate) fn output(&self, raw: &Value, error: &StateError) -> StateResult<Value> {
        let output = super::step::combined(self.result_path.as_ref(), raw, error.output())?;
        payload::fit(&output, "the input with the error")?;
        Ok(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retrier(interval: u64, rate: f64, attempts: u64, most: Option<u64>) -> Retrier {
        Retrier {
            errors: vec!["E".to_owned()],
            interval_seconds: interval,
            attempts_max: attempts,
            backoff_rate: rate,
            delay_seconds_max: most,
            jitter: Jitter::None,
        }
    }

    fn pauses(retrier: &Retrier) -> Vec<f64> {
        let mut entropy = Entropy::new(b"seed");
        (0..)
            .map_while(|used| retrier.delay(used, &mut entropy))
            .map(|pause| pause.as_secs_f64())
            .collect()
    }

    #[test]
    fn pauses_grow_by_the_rate_up_to_the_longest() {
        assert_eq!(pauses(&retrier(3, 2.0, 2, None)), [3.0, 6.0]);
        assert_eq!(pauses(&retrier(3, 2.0, 2, Some(4))), [3.0, 4.0]);
        assert_eq!(pauses(&retrier(1, 1.5, 3, None)), [1.0, 1.5, 2.25]);
        assert_eq!(pauses(&retrier(1, 1.0, 2, None)), [1.0, 1.0]);
        assert_eq!(pauses(&retrier(1, 2.0, 0, None)), [0.0; 0]);
    }

    #[test]
    fn a_pause_stays_finite_however_often_and_fast_it_grows() {
        let mut entropy = Entropy::new(b"seed");
        let pause = retrier(SECONDS_MAX, 1e300, u64::MAX, None).delay(u64::MAX - 1, &mut entropy);
        assert_eq!(pause, Some(Duration::from_secs(SECONDS_MAX)));
    }

    #[test]
    fn jitter_shortens_a_pause_the_same_way_for_the_same_seed() {
        let mut retrier = retrier(100, 1.0, 50, None);
        retrier.jitter = Jitter::Full;
        let drawn = pauses(&retrier);
        assert_eq!(drawn, pauses(&retrier));
        assert!(drawn.iter().all(|pause| (0.0..100.0).contains(pause)));
        assert!(drawn.iter().any(|pause| *pause < 50.0));
        assert!(drawn.iter().any(|pause| *pause > 50.0));
    }

    #[test]
    fn the_first_that_names_the_error_is_taken_with_its_place() {
        let mut any = retrier(1, 1.0, 1, None);
        any.errors = vec!["States.ALL".to_owned()];
        let retriers = [retrier(1, 1.0, 1, None), any];
        let place =
            |error| find_retrier(&retriers, &StateError::new(error, "")).map(|found| found.0);
        assert_eq!(place("E"), Some(0));
        assert_eq!(place("other"), Some(1));
        assert_eq!(place("States.Runtime"), None);
    }
}
