//! Holds events against patterns so that a large one does not hold up everybody else's calls.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::Semaphore;

use super::Pattern;
use super::view::{Seen, view_of};
use crate::mesh::Error;

/// The most work that is done within a task without a pause: bytes of the event times comparisons of the pattern,
/// each at most 5 ns (`benches/patterns.rs`).
const UNNOTICED_MAX: usize = 1 << 15;

/// The most work that is done within a task at all; more goes to a thread of its own.
const WITHIN_MAX: usize = 1 << 19;

/// The most threads that are at such work.
const ASIDE_MAX: usize = 2;

static ASIDE: Semaphore = Semaphore::const_new(ASIDE_MAX);

/// An event as patterns see it, to be held against several.
#[derive(Clone, Debug)]
pub struct Viewed {
    view: Arc<Value>,
    bytes: usize,
}

impl Viewed {
    /// The event of these members.
    ///
    /// # Errors
    /// `INTERNAL` where its detail is no JSON.
    pub fn of(seen: &Seen<'_>) -> Result<Self, Error> {
        let of_tags = |tags: &BTreeMap<String, String>| -> usize {
            tags.iter().map(|(name, tag)| name.len() + tag.len()).sum()
        };
        Ok(Self {
            view: Arc::new(view_of(seen)?),
            bytes: seen.detail.get().len() + seen.tags.map_or(0, of_tags),
        })
    }
}

impl Pattern {
    /// Whether `event` fits. What takes long is done aside; within a runtime.
    ///
    /// # Errors
    /// `INTERNAL` where that broke down.
    pub async fn fits(&self, event: &Viewed) -> Result<bool, Error> {
        let work = event.bytes.saturating_mul(self.0.cost);
        if work > WITHIN_MAX {
            return self.fits_aside(event).await;
        }
        if work > UNNOTICED_MAX {
            tokio::task::yield_now().await;
        }
        Ok(self.matches(&event.view))
    }

    async fn fits_aside(&self, event: &Viewed) -> Result<bool, Error> {
        let broken = || Error::internal("a pattern could not be held against an event");
        let _place = ASIDE.acquire().await.map_err(|_| broken())?;
        let (pattern, view) = (self.clone(), Arc::clone(&event.view));
        match tokio::task::spawn_blocking(move || pattern.matches(&view)).await {
            Ok(fits) => Ok(fits),
            Err(gone) if gone.is_panic() => Err(broken().caused_by(gone)),
            // The runtime goes down, and nothing may come of an event that was not looked at.
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::mesh::event::{Outcome, Priority};

    fn viewed(detail: &str) -> Viewed {
        let detail = RawValue::from_string(detail.to_owned()).unwrap();
        Viewed::of(&Seen {
            source: None,
            detail_type: "Order.Failed",
            detail: &detail,
            tool: "events_send",
            outcome: Outcome::Ok,
            priority: Priority::Medium,
            user_id: "ada",
            tags: None,
        })
        .unwrap()
    }

    #[tokio::test]
    async fn it_is_the_same_answer_wherever_it_is_found() {
        let pattern = Pattern::parse(r#"{"detail": {"a": [{"prefix": "x"}, 7]}}"#).unwrap();
        let cost = pattern.0.cost;
        for most in [0, UNNOTICED_MAX, WITHIN_MAX] {
            // At the edge, and one past it.
            for bytes in [most / cost, most / cost + 1] {
                for (value, expected) in [("7", true), ("8", false), (r#""x""#, true)] {
                    let blanks = " ".repeat(bytes.saturating_sub(8));
                    let event = viewed(&format!(r#"{{"a":{value}{blanks}}}"#));
                    assert_eq!(pattern.fits(&event).await.unwrap(), expected);
                    assert_eq!(pattern.matches(&event.view), expected);
                }
            }
        }
    }

    #[tokio::test]
    async fn large_work_leaves_the_runtime_to_others() {
        let values: Vec<String> = (0..100)
            .map(|value| format!(r#"{{"suffix":"{value}x"}}"#))
            .collect();
        let pattern = format!(r#"{{"detail": {{"a": [{}]}}}}"#, values.join(","));
        let pattern = Pattern::parse(&pattern).unwrap();
        let event = viewed(&format!(r#"{{"a":[{}"y"]}}"#, r#""y","#.repeat(20_000)));
        assert!(event.bytes * pattern.0.cost > WITHIN_MAX);
        // With nobody else's place to take, it waits, and others go on meanwhile.
        let places = ASIDE.acquire_many(ASIDE_MAX as u32).await.unwrap();
        let fits = tokio::spawn({
            let (pattern, event) = (pattern.clone(), event.clone());
            async move { pattern.fits(&event).await.unwrap() }
        });
        tokio::task::yield_now().await;
        assert!(!fits.is_finished());
        let small = viewed(r#"{"a":"q"}"#);
        assert!(!pattern.fits(&small).await.unwrap());
        drop(places);
        assert!(!fits.await.unwrap());
    }
}
