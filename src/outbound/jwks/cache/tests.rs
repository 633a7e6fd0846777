//! When a key set is read again, on a clock that is moved by hand.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::mesh::tenant::test_key::{TestKey, key_set};
use crate::mesh::{ManualClock, Timestamp};

/// A body and how long it says it holds, or a failure.
type Answer = Result<(String, Option<u64>), ()>;

/// Answers from a list, the last one for ever; counts and can be held up.
struct Script {
    answers: Mutex<VecDeque<Answer>>,
    fetches: AtomicUsize,
    gate: tokio::sync::Semaphore,
}

impl Origin for Script {
    fn fetch(&self) -> BoxFuture<'_, Result<Fetched, FetchError>> {
        async {
            self.fetches.fetch_add(1, Ordering::SeqCst);
            self.gate.acquire().await.unwrap().forget();
            let mut answers = self.answers.lock().unwrap();
            let answer = if answers.len() > 1 {
                answers.pop_front().unwrap()
            } else {
                answers[0].clone()
            };
            match answer {
                Ok((body, seconds)) => Ok(Fetched {
                    body: body.into_bytes(),
                    max_age: seconds.map(Duration::from_secs),
                }),
                Err(()) => Err(FetchError::Status(503)),
            }
        }
        .boxed()
    }

    fn name(&self) -> String {
        "the script".to_owned()
    }
}

struct World {
    cache: Arc<KeyCache>,
    script: Arc<Script>,
    clock: Arc<ManualClock>,
}

fn world(policy: Policy, answers: Vec<Answer>) -> World {
    let script = Arc::new(Script {
        answers: Mutex::new(answers.into()),
        fetches: AtomicUsize::new(0),
        gate: tokio::sync::Semaphore::new(10_000),
    });
    let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_790_000_000)));
    World {
        cache: Arc::new(KeyCache::new(script.clone(), policy, clock.clone())),
        script,
        clock,
    }
}

fn keys(names: &[&str]) -> Answer {
    let keys: Vec<TestKey> = names
        .iter()
        .map(|name| TestKey::new("EdDSA", name))
        .collect();
    Ok((key_set(&keys.iter().collect::<Vec<_>>()), None))
}

impl World {
    fn fetches(&self) -> usize {
        self.script.fetches.load(Ordering::SeqCst)
    }

    /// Whether the key is there, or nothing where the keys are unavailable.
    async fn has(&self, kid: &str) -> Option<bool> {
        self.cache.key(kid).await.ok().map(|key| key.is_some())
    }

    async fn pass(&self, seconds: f64) {
        self.clock.advance(Duration::from_secs_f64(seconds));
        self.settle().await;
    }

    /// Lets readings in the background end.
    async fn settle(&self) {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn keys_are_read_once_and_used_while_they_are_fresh() {
    let world = world(Policy::OF_URL, vec![keys(&["a"])]);
    assert_eq!(world.fetches(), 0, "nothing is read before it is needed");
    for _ in 0..10 {
        assert_eq!(world.has("a").await, Some(true));
        world.pass(47.9).await;
    }
    assert_eq!(world.fetches(), 1);
}

#[tokio::test]
async fn keys_are_read_again_in_the_background_before_they_end() {
    let world = world(Policy::OF_URL, vec![keys(&["a"]), keys(&["a", "b"])]);
    assert_eq!(world.has("a").await, Some(true));
    world.pass(479.9).await;
    assert_eq!(world.has("a").await, Some(true));
    world.settle().await;
    assert_eq!(world.fetches(), 1);
    world.pass(0.2).await;
    assert_eq!(world.has("a").await, Some(true));
    world.settle().await;
    assert_eq!(world.fetches(), 2, "past four fifths of its time");
    assert_eq!(world.has("b").await, Some(true));
    assert_eq!(world.fetches(), 2);
}

#[tokio::test]
async fn a_publisher_may_say_how_long_within_bounds() {
    for (says, holds) in [(120, 120.0), (1, 60.0), (0, 60.0), (1_000_000, 3600.0)] {
        let answer = keys(&["a"]).map(|(body, _)| (body, Some(says)));
        let world = world(Policy::OF_URL, vec![answer]);
        assert_eq!(world.has("a").await, Some(true));
        world.pass(holds * 0.8 - 0.1).await;
        assert_eq!(world.has("a").await, Some(true));
        world.settle().await;
        assert_eq!(world.fetches(), 1, "{says}");
        world.pass(0.2).await;
        assert_eq!(world.has("a").await, Some(true));
        world.settle().await;
        assert_eq!(world.fetches(), 2, "{says}");
    }
}

#[tokio::test]
async fn a_new_key_is_found_and_made_up_keys_cause_one_reading_in_thirty_seconds() {
    let world = world(
        Policy::OF_URL,
        vec![keys(&["a"]), keys(&["b"]), keys(&["c"])],
    );
    assert_eq!(world.has("a").await, Some(true));
    for number in 0..100 {
        assert_eq!(world.has(&format!("made-up-{number}")).await, Some(false));
        world.pass(0.29).await;
    }
    assert_eq!(world.fetches(), 1);
    world.pass(1.0).await;
    assert_eq!(world.has("b").await, Some(true), "it is 30 s since");
    assert_eq!(
        world.has("a").await,
        Some(false),
        "a key that is withdrawn is gone"
    );
    assert_eq!(world.fetches(), 2);
    world.pass(29.9).await;
    assert_eq!(world.has("c").await, Some(false));
    world.pass(0.1).await;
    assert_eq!(world.has("c").await, Some(true));
    assert_eq!(world.fetches(), 3);
}

#[tokio::test]
async fn any_number_of_callers_share_one_reading() {
    let world = world(Policy::OF_URL, vec![keys(&["a"])]);
    world.script.gate.forget_permits(10_000);
    let callers: Vec<_> = (0..100)
        .map(|number| {
            let cache = Arc::clone(&world.cache);
            tokio::spawn(async move {
                let kid = if number % 2 == 0 { "a" } else { "made-up" };
                cache.key(kid).await.map(|key| key.is_some())
            })
        })
        .collect();
    world.settle().await;
    assert_eq!(world.fetches(), 1);
    callers[0].abort();
    world.script.gate.add_permits(1);
    for (number, caller) in callers.into_iter().enumerate().skip(1) {
        assert_eq!(caller.await.unwrap(), Ok(number % 2 == 0));
    }
    assert_eq!(world.fetches(), 1);
}

#[tokio::test]
async fn the_last_good_keys_serve_for_an_hour_beyond_their_time() {
    let world = world(Policy::OF_URL, vec![keys(&["a"]), Err(())]);
    assert_eq!(world.has("a").await, Some(true));
    for _ in 0..41 {
        world.pass(100.0).await;
        assert_eq!(world.has("a").await, Some(true));
    }
    world.pass(99.9).await;
    assert_eq!(world.has("a").await, Some(true));
    world.pass(0.1).await;
    assert_eq!(world.has("a").await, None, "600 s and an hour");
}

#[tokio::test]
async fn a_source_that_is_down_is_asked_less_and_less_often() {
    let world = world(Policy::OF_URL, vec![Err(())]);
    let mut asked_at = Vec::new();
    for tenth in 0..1800 {
        let before = world.fetches();
        assert_eq!(world.has("a").await, None);
        if world.fetches() > before {
            asked_at.push(tenth);
        }
        world.pass(0.1).await;
    }
    assert_eq!(asked_at, [0, 10, 30, 70, 150, 310, 610, 910, 1210, 1510]);
}

#[tokio::test]
async fn a_source_that_comes_back_is_used_and_forgiven() {
    let world = world(
        Policy::OF_URL,
        vec![Err(()), Err(()), keys(&["a"]), keys(&["b"])],
    );
    assert_eq!(world.has("a").await, None);
    world.pass(1.0).await;
    assert_eq!(world.has("a").await, None);
    world.pass(2.0).await;
    assert_eq!(world.has("a").await, Some(true));
    world.pass(29.9).await;
    assert_eq!(world.has("b").await, Some(false));
    world.pass(0.1).await;
    assert_eq!(world.has("b").await, Some(true));
}

#[tokio::test]
async fn what_cannot_be_used_does_not_replace_what_can() {
    let twice = TestKey::new("EdDSA", "a");
    let duplicate = Ok((key_set(&[&twice, &twice]), None));
    let page = Ok(("<html>".to_owned(), None));
    let world = world(
        Policy::OF_URL,
        vec![keys(&["a"]), page, duplicate, keys(&["b"])],
    );
    assert_eq!(world.has("a").await, Some(true));
    world.pass(30.0).await;
    assert_eq!(world.has("b").await, Some(false));
    assert_eq!(world.has("a").await, Some(true));
    world.pass(1.0).await;
    assert_eq!(world.has("b").await, Some(false));
    assert_eq!(world.has("a").await, Some(true));
    assert_eq!(world.fetches(), 3);
    world.pass(2.0).await;
    assert_eq!(world.has("b").await, Some(true));
}

#[tokio::test]
async fn a_file_is_looked_at_every_second_and_for_every_unknown_key() {
    let world = world(
        Policy::OF_FILE,
        vec![keys(&["a"]), keys(&["b"]), keys(&["c"])],
    );
    assert_eq!(world.has("a").await, Some(true));
    assert_eq!(world.has("a").await, Some(true));
    assert_eq!(world.fetches(), 1);
    assert_eq!(
        world.has("b").await,
        Some(true),
        "at once, since it was unknown"
    );
    assert_eq!(world.fetches(), 2);
    world.pass(1.0).await;
    assert_eq!(world.has("b").await, Some(false));
    assert_eq!(world.fetches(), 3);
}

#[tokio::test]
async fn a_reading_that_hangs_is_given_up() {
    let impatient = Policy {
        timeout: Duration::from_millis(50),
        ..Policy::OF_FILE
    };
    let world = world(impatient, vec![keys(&["a"])]);
    world.script.gate.forget_permits(10_000);
    assert_eq!(world.has("a").await, None);
    world.script.gate.add_permits(1);
    world.pass(1.0).await;
    assert_eq!(world.has("a").await, Some(true));
}
