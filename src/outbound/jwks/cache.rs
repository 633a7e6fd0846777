//! A key set kept up to date: read ahead of its end, once at a time, and no more often than allowed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};

use super::origin::{FetchError, Fetched, Origin};
use super::{FETCH_TIMEOUT, STALE_MAX};
use crate::mesh::Clock;
use crate::mesh::tenant::key_set::InvalidKeySet;
use crate::mesh::tenant::{KeySet, KeysUnavailable, SignatureKey};

/// When a key set is read again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    /// How long a key set is used whose publisher does not say.
    pub(super) fresh_for: Duration,
    /// The bounds of what a publisher may say.
    pub(super) fresh_min: Duration,
    pub(super) fresh_max: Duration,
    /// How long after a reading an unknown key may cause the next one.
    pub(super) reread_after: Duration,
    /// How long after a failure the next try is made; doubled with each further failure.
    pub(super) retry_min: Duration,
    pub(super) retry_max: Duration,
    /// How long one reading may take.
    pub(super) timeout: Duration,
}

impl Policy {
    /// A file is cheap to read, and who replaces it expects that to count.
    pub(super) const OF_FILE: Self = Self {
        fresh_for: Duration::from_secs(1),
        fresh_min: Duration::from_secs(1),
        fresh_max: Duration::from_secs(1),
        reread_after: Duration::ZERO,
        retry_min: Duration::from_secs(1),
        retry_max: Duration::from_secs(5),
        timeout: FETCH_TIMEOUT,
    };

    /// An issuer is asked rarely, and never more often because somebody sends tokens with made-up keys.
    pub(super) const OF_URL: Self = Self {
        fresh_for: Duration::from_secs(600),
        fresh_min: Duration::from_secs(60),
        fresh_max: Duration::from_secs(3600),
        reread_after: Duration::from_secs(30),
        retry_min: Duration::from_secs(1),
        retry_max: Duration::from_secs(30),
        timeout: FETCH_TIMEOUT,
    };
}

/// A key set and where it comes from.
pub(super) struct KeyCache {
    shared: Arc<CacheShared>,
}

struct CacheShared {
    origin: Arc<dyn Origin>,
    policy: Policy,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    loaded: Option<Loaded>,
    /// When the last reading ended, well or not.
    tried_at: Option<Duration>,
    failures: u32,
    flight: Option<Flight>,
}

struct Loaded {
    keys: Arc<KeySet>,
    body: Vec<u8>,
    at: Duration,
    fresh_for: Duration,
}

/// A reading under way; any number of callers may wait for it, and it goes on if none does.
type Flight = Shared<BoxFuture<'static, ()>>;

/// What a caller can do with what is at hand.
enum Step {
    Use(Arc<KeySet>),
    Wait(Flight),
    Unavailable,
}

/// Why there are no new keys; for the log.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("it could not be fetched")]
    Fetch(#[source] FetchError),
    #[error("it took too long")]
    Slow,
    #[error("what was fetched is not used")]
    KeySet(#[source] InvalidKeySet),
}

impl KeyCache {
    pub(super) fn new(origin: Arc<dyn Origin>, policy: Policy, clock: Arc<dyn Clock>) -> Self {
        Self {
            shared: Arc::new(CacheShared {
                origin,
                policy,
                clock,
                state: Mutex::default(),
            }),
        }
    }

    pub(super) async fn load(&self) -> Result<Arc<KeySet>, KeysUnavailable> {
        self.keys(|_| true).await
    }

    pub(super) async fn key(
        &self,
        kid: &str,
    ) -> Result<Option<Arc<SignatureKey>>, KeysUnavailable> {
        let keys = self.keys(|keys| keys.find(kid).is_some()).await?;
        Ok(keys.find(kid))
    }

    /// The keys, read again if they are old, or if they are not `enough` and that is allowed.
    async fn keys(&self, enough: impl Fn(&KeySet) -> bool) -> Result<Arc<KeySet>, KeysUnavailable> {
        match self.shared.step(&enough) {
            Step::Use(keys) => return Ok(keys),
            Step::Wait(flight) => flight.await,
            Step::Unavailable => return Err(KeysUnavailable),
        }
        let now = self.shared.clock.monotonic();
        let state = self.shared.lock();
        let usable = state.loaded.as_ref().filter(|loaded| loaded.is_usable(now));
        usable
            .map(|loaded| Arc::clone(&loaded.keys))
            .ok_or(KeysUnavailable)
    }
}

impl CacheShared {
    fn step(self: &Arc<Self>, enough: impl Fn(&KeySet) -> bool) -> Step {
        let now = self.clock.monotonic();
        let mut state = self.lock();
        let Some(loaded) = state.loaded.as_ref().filter(|loaded| loaded.is_usable(now)) else {
            return self
                .flight(&mut state, now)
                .map_or(Step::Unavailable, Step::Wait);
        };
        let (keys, age, fresh_for) = (
            Arc::clone(&loaded.keys),
            now.saturating_sub(loaded.at),
            loaded.fresh_for,
        );
        if age >= fresh_for || !enough(&keys) {
            return self
                .flight(&mut state, now)
                .map_or(Step::Use(keys), Step::Wait);
        }
        if age >= fresh_for / 5 * 4 {
            // It runs by itself; whoever needs it later finds it done.
            drop(self.flight(&mut state, now));
        }
        Step::Use(keys)
    }

    /// The reading that is under way, or a new one if it is time for it.
    fn flight(self: &Arc<Self>, state: &mut State, now: Duration) -> Option<Flight> {
        if let Some(flight) = state
            .flight
            .as_ref()
            .filter(|flight| flight.peek().is_none())
        {
            return Some(flight.clone());
        }
        let policy = &self.policy;
        let pause = match state.failures {
            0 => policy.reread_after,
            failures => policy
                .retry_min
                .saturating_mul(1 << (failures - 1).min(16))
                .min(policy.retry_max),
        };
        if state
            .tried_at
            .is_some_and(|tried_at| now.saturating_sub(tried_at) < pause)
        {
            return None;
        }
        // A task of its own, so that it survives the caller who happened to start it.
        let shared = Arc::clone(self);
        let reading = tokio::spawn(async move { shared.read().await });
        let flight = reading.map(|_| ()).boxed().shared();
        state.flight = Some(flight.clone());
        Some(flight)
    }

    async fn read(&self) {
        let taken = match tokio::time::timeout(self.policy.timeout, self.origin.fetch()).await {
            Ok(Ok(fetched)) => self.parsed(fetched).map_err(Failure::KeySet),
            Ok(Err(error)) => Err(Failure::Fetch(error)),
            Err(_elapsed) => Err(Failure::Slow),
        };
        let now = self.clock.monotonic();
        let mut state = self.lock();
        state.tried_at = Some(now);
        match taken {
            Ok(loaded) => {
                state.failures = 0;
                state.loaded = Some(loaded);
            }
            Err(error) => {
                state.failures = state.failures.saturating_add(1);
                tracing::warn!(
                    from = self.origin.name(),
                    error = &error as &(dyn std::error::Error + 'static),
                    has_earlier_keys = state.loaded.is_some(),
                    "the keys for tokens could not be read"
                );
            }
        }
    }

    fn parsed(&self, fetched: Fetched) -> Result<Loaded, InvalidKeySet> {
        let policy = &self.policy;
        let fresh_for = fetched.max_age.unwrap_or(policy.fresh_for);
        let unchanged = |loaded: &&Loaded| loaded.body == fetched.body;
        // What has not changed is not parsed again, and its oddities are not told again.
        let earlier = self
            .lock()
            .loaded
            .as_ref()
            .filter(unchanged)
            .map(|loaded| Arc::clone(&loaded.keys));
        let keys = match earlier {
            Some(keys) => keys,
            None => {
                let keys = KeySet::parse(&fetched.body)?;
                tracing::info!(
                    from = self.origin.name(),
                    keys = keys.len(),
                    "keys for tokens read"
                );
                Arc::new(keys)
            }
        };
        Ok(Loaded {
            keys,
            body: fetched.body,
            at: self.clock.monotonic(),
            fresh_for: fresh_for.clamp(policy.fresh_min, policy.fresh_max),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Loaded {
    /// Whether the keys may still be used, be it only because there are no newer ones.
    fn is_usable(&self, now: Duration) -> bool {
        now.saturating_sub(self.at) < self.fresh_for.saturating_add(STALE_MAX)
    }
}

#[cfg(test)]
mod tests;
