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
