//! A tenant whose records cannot leave takes up what they are, and neither the time nor the room of others.

use std::fs;

use serde_json::value::RawValue;

use super::rules::{every, rule};
use super::*;
use crate::mesh::event::outbox::survey::survey;

/// The smallest outbox.
const BYTES_MAX: u64 = 1 << 20;

/// Bytes of the detail of an event of the tenant that goes on.
const DETAIL_BYTES: usize = 4 << 10;

/// How many events go at once, of how many rounds: six times the outbox.
const EVENTS: usize = 40;
const ROUNDS: usize = 36;

/// How many events wait.
const STUCK: usize = 20;

async fn world() -> World {
    let mut world = World::with_rules();
    world.bytes_max = BYTES_MAX;
    let rule = rule("all", every(), Some("refund"));
    world.rule("acme", &rule).await;
    world.ruled().fail("refund", ErrorKind::AwsUnavailable);
    world
}

/// Bytes of all segments on the disk, and how many there are.
fn on_disk(world: &World) -> (u64, usize) {
    let target = fs::read_dir(world.root.path()).unwrap().next().unwrap();
    let mut found = (0, 0);
    for writer in fs::read_dir(target.unwrap().path()).unwrap() {
        let Ok(entries) = fs::read_dir(writer.unwrap().path()) else {
            continue;
        };
        for entry in entries.map(Result::unwrap) {
            let is_segment = entry.path().extension().is_some_and(|end| end == "log");
            if let (true, Ok(metadata)) = (is_segment, entry.metadata()) {
                found = (found.0 + metadata.len(), found.1 + 1);
            }
        }
    }
    found
}

fn large(tenant: &str) -> Event {
    let mut event = now(tenant);
    let detail = format!("{{\"text\":\"{}\"}}", "x".repeat(DETAIL_BYTES));
    event.data = RawValue::from_string(detail).unwrap();
    event
}

/// Sends a round of events of a tenant that goes on; none may be refused.
fn send_round(process: &Process, tenant: &str) -> Vec<String> {
    let send = |_| {
        let event = large(tenant);
        let id = event.event_id.to_string();
        process.send(event);
        id
    };
    (0..EVENTS).map(send).collect()
}

async fn has_room(world: &World, process: &Process) {
    until("there is room again", || {
        process.outbox.held(&tenant("beta")) == 0
            && process.outbox.stats().disk_bytes <= BYTES_MAX / 2
    })
    .await;
    let (bytes, files) = on_disk(world);
    assert!(bytes <= BYTES_MAX, "{bytes} bytes");
    assert!(files <= 64, "{files} files");
}

#[tokio::test]
async fn beside_a_tenant_that_is_stuck_another_sends_many_times_the_outbox() {
    let world = world().await;
    let process = world.start();
    let mut stuck = process.send_many("acme", STUCK / 2);
    let mut ids = Vec::new();
    for round in 0..ROUNDS {
        ids.extend(send_round(&process, "beta"));
        if round % (ROUNDS / (STUCK / 2)) == 0 && stuck.len() < STUCK {
            // Those that come later are stuck elsewhere in the log.
            stuck.extend(process.send_many("acme", 1));
        }
        has_room(&world, &process).await;
    }
    let stats = process.outbox.stats();
    let waiting = process.outbox.held(&tenant("acme"));
    assert_eq!(stats.bytes, waiting, "what counts is what waits");
    assert_eq!(stats.records, stuck.len() as u64);
    assert!(
        waiting < 20_000 && stats.bytes < BYTES_MAX / 50,
        "{waiting}"
    );
    assert_eq!(world.ruled().run_count(), 0);
    until("whoever looks from outside counts what waits alone", || {
        let found = survey(world.root.path(), &Target::default()).unwrap();
        found.ours[0].records == stuck.len() as u64
    })
    .await;

    world.ruled().recover();
    until("everything has left", || {
        process.outbox.stats().records == 0
    })
    .await;
    world.assert_started("acme", &stuck);
    assert_eq!(world.stored("beta").len(), ids.len());
    let published: HashSet<String> = world.published().into_iter().collect();
    assert!(ids.iter().chain(&stuck).all(|id| published.contains(id)));
    assert_eq!(world.bus.count(), ids.len() + stuck.len(), "each once");
}

#[tokio::test]
async fn processes_that_are_killed_beside_a_stuck_tenant_lose_and_double_nothing() {
    let world = world().await;
    let (mut stuck, mut ids) = (Vec::new(), Vec::new());
    let mut last = None;
    for generation in 0..4 {
        let process = world.start();
        // What the one before has left of two rounds, and a third, is more than a tenant may have wait.
        has_room(&world, &process).await;
        for round in 0..ROUNDS / 5 {
            if round % 4 == 0 {
                stuck.extend(process.send_many("acme", 1));
            }
            ids.extend(send_round(&process, "beta"));
            // Killed now in the midst of a round, now of a compaction.
            if round + usize::min(generation, 2) < ROUNDS / 5 {
                has_room(&world, &process).await;
            }
        }
        if generation < 3 {
            process.kill().await;
        } else {
            last = Some(process);
        }
    }
    let process = last.unwrap();
    has_room(&world, &process).await;
    world.ruled().recover();
    until("everything has left", || {
        world.folders() == 1 && process.outbox.stats().records == 0
    })
    .await;
    assert!(process.publisher.stored(&tenant("beta"), SOON).await);
    assert!(process.publisher.stored(&tenant("acme"), SOON).await);
    world.assert_started("acme", &stuck);
    let published: HashSet<String> = world.published().into_iter().collect();
    assert!(ids.iter().chain(&stuck).all(|id| published.contains(id)));
    assert_eq!(world.stored("beta").len(), ids.len());
    assert_eq!(world.stored("acme").len(), stuck.len());
    assert_eq!(world.counted(), (ids.len() + stuck.len()) as u64);
    assert_eq!(process.outbox.stats().torn_records, 0);
    assert_eq!(process.outbox.stats().damaged_stretches, 0);
}
