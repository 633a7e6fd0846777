//! Many calls become one event, and none of them is forgotten.

use super::*;
use crate::mesh::ManualClock;
use crate::mesh::event::outbox::frame::{Kind, parse_payload};
use crate::mesh::event::outbox::log::Position;
use crate::mesh::event::outbox::reader::LogReader;
use crate::mesh::event::outbox::{OutboxSettings, Target};

struct World {
    _root: tempfile::TempDir,
    outbox: Outbox,
    clock: Arc<ManualClock>,
    rollup: Rollup,
}

impl World {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_700_000_000_000)));
        let outbox = Outbox::open(OutboxSettings {
            root: root.path().to_owned(),
            target: Target::default(),
            bytes_max: 8 << 20,
            clock: clock.clone(),
        })
        .unwrap();
        let rollup = Rollup::new(outbox.clone(), Audit::off(), clock.clone());
        Self {
            _root: root,
            outbox,
            clock,
            rollup,
        }
    }

    fn events(&self) -> Vec<Event> {
        let mut reader = LogReader::new(self.outbox.log().clone(), Position::default());
        let mut events = Vec::new();
        while let Some(found) = reader.next().unwrap() {
            assert_eq!(found.header.kind, Kind::Commit);
            let (_, bodies) = parse_payload(reader.payload()).unwrap();
            events.extend(
                bodies
                    .iter()
                    .map(|body| serde_json::from_slice::<Event>(body).unwrap()),
            );
        }
        events
    }
}

fn note(tenant: &str, tool: &str) -> Note {
    Note {
        tenant_id: tenant.parse().unwrap(),
        user_id: "ada".parse().unwrap(),
        org_id: None,
        tool: tool.to_owned().into(),
        detail_type: "KV.Get".into(),
        outcome: Outcome::Limited,
        error_code: Some("RATE_LIMITED".into()),
        request_id: Ulid(1),
        duration_ms: 2.0,
        bytes: None,
    }
}

#[test]
fn refusals_of_a_second_are_one_event_with_their_count() {
    let world = World::new();
    for _ in 0..1000 {
        world.rollup.note_refused(note("acme", "kv_get"));
    }
    world.rollup.note_refused(note("acme", "kv_set"));
    world.rollup.note_refused(note("beta", "kv_get"));
    let mut denied = note("acme", "kv_get");
    denied.error_code = Some("OVERLOADED".into());
    world.rollup.note_refused(denied);
    world
        .clock
        .advance(REFUSALS_PERIOD - Duration::from_millis(1));
    world.rollup.flush_due();
    assert_eq!(world.events().len(), 0, "the second is not over");
    world.clock.advance(Duration::from_millis(1));
    world.rollup.flush_due();
    let mut counts: Vec<u32> = world
        .events()
        .iter()
        .map(|event| event.count.unwrap())
        .collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 1, 1, 1000]);
    let event = world
        .events()
        .into_iter()
        .find(|event| event.count == Some(1000))
        .unwrap();
    assert_eq!(
        (event.outcome, event.error_code.as_deref()),
        (Outcome::Limited, Some("RATE_LIMITED"))
    );
    assert_eq!(event.event_id.timestamp_ms(), 1_700_000_000_000);
    world.rollup.flush_all();
    assert_eq!(world.events().len(), 4, "each once");
}

#[test]
fn reads_of_ten_seconds_are_one_event_with_mean_and_sum() {
    let world = World::new();
    for duration_ms in [1.0, 2.0, 6.0] {
        let mut read = note("acme", "kv_get");
        (read.outcome, read.error_code) = (Outcome::Ok, None);
        (read.duration_ms, read.bytes) = (duration_ms, Some(10));
        world.rollup.note_read(read);
    }
    world.clock.advance(READS_PERIOD);
    world.rollup.flush_due();
    let events = world.events();
    assert_eq!(events.len(), 1);
    assert_eq!(
        (events[0].count, events[0].duration_ms, events[0].bytes),
        (Some(3), 3.0, Some(30))
    );
}

#[test]
fn more_tools_than_fit_are_written_at_once() {
    let world = World::new();
    for index in 0..ROLLED_UP_MAX {
        world
            .rollup
            .note_refused(note("acme", &format!("tool{index}")));
    }
    assert_eq!(world.events().len(), 0);
    world.rollup.note_refused(note("acme", "one more"));
    assert_eq!(world.events().len(), ROLLED_UP_MAX + 1);
    assert!(world.rollup.pending().is_empty());
}

#[test]
fn what_the_outbox_does_not_take_is_counted_on() {
    let world = World::new();
    let mut blockers = Vec::new();
    while let Ok(mut slot) = world.outbox.reserve(&"acme".parse().unwrap(), Weight::Read) {
        let _ = slot.enlarge(1 << 20);
        blockers.push(slot);
    }
    world.rollup.note_refused(note("acme", "kv_get"));
    world.rollup.flush_all();
    assert_eq!(world.events().len(), 0);
    world.rollup.note_refused(note("acme", "kv_get"));
    for index in 0..2 * ROLLED_UP_MAX {
        world
            .rollup
            .note_refused(note("acme", &format!("tool{index}")));
        assert!(world.rollup.pending().len() <= ROLLED_UP_MAX + 1);
        if index == 10 {
            break;
        }
    }
    drop(blockers);
    world.rollup.flush_all();
    let event = world
        .events()
        .into_iter()
        .find(|event| event.tool == "kv_get")
        .unwrap();
    assert_eq!(event.count, Some(2));
}
