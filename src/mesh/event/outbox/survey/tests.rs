//! Looking at outboxes counts what waits, tells who lives, and changes nothing.

use std::sync::Arc;

use super::*;
use crate::mesh::event::fakes::event;
use crate::mesh::event::outbox::share::Way;
use crate::mesh::event::{Outbox, OutboxSettings, Weight};
use crate::mesh::{ManualClock, Timestamp};

fn target(table: &str) -> Target {
    Target {
        backend: "embedded".to_owned(),
        table: table.to_owned(),
        ..Target::default()
    }
}

fn open(root: &Path, table: &str) -> Outbox {
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_700_000_000_000)));
    let target = target(table);
    Outbox::open(OutboxSettings {
        root: root.to_owned(),
        target,
        bytes_max: 4 << 20,
        clock,
    })
    .unwrap()
}

fn commit(outbox: &Outbox, count: usize) {
    let event = event("acme", 1_700_000_000_000);
    let slot = outbox.reserve(&event.tenant_id, Weight::Read).unwrap();
    slot.commit(&vec![event; count]).unwrap();
}

#[test]
fn a_root_that_is_not_there_is_empty() {
    let root = tempfile::tempdir().unwrap();
    let looked = survey(&root.path().join("none"), &target("a")).unwrap();
    assert_eq!(looked, Survey::default());
}

#[test]
fn what_waits_is_counted_for_each_writer_and_target() {
    let root = tempfile::tempdir().unwrap();
    let (ours, other) = (open(root.path(), "a"), open(root.path(), "b"));
    commit(&ours, 1);
    commit(&ours, 2);
    commit(&other, 1);
    let looked = survey(root.path(), &target("a")).unwrap();
    assert_eq!(looked.ours.len(), 1);
    let found = &looked.ours[0];
    assert_eq!(
        (found.writer, found.is_alive, found.records),
        (ours.writer(), true, 3)
    );
    assert!(found.bytes > 0);
    assert_eq!(looked.others.len(), 1);
    assert_eq!(looked.others[0].1[0].records, 1);
    assert!(!looked.is_partial);
}

#[test]
fn what_has_left_on_every_way_does_not_wait() {
    let root = tempfile::tempdir().unwrap();
    let outbox = open(root.path(), "a");
    commit(&outbox, 3);
    let log = outbox.log();
    let end = log.tail().0;
    for (way, expected) in [(Way::History, 3), (Way::Rules, 3), (Way::Bus, 0)] {
        log.acknowledge(way, end);
        log.keep_acks();
        let looked = survey(root.path(), &target("a")).unwrap();
        assert_eq!(looked.ours[0].records, expected, "{way:?}");
    }
}

#[test]
fn a_writer_that_is_gone_is_told_apart_and_can_still_be_adopted() {
    let root = tempfile::tempdir().unwrap();
    let event = event("acme", 1_700_000_000_000);
    let gone = open(root.path(), "a");
    commit(&gone, 1);
    let mut slot = gone.reserve(&event.tenant_id, Weight::Mutation).unwrap();
    slot.intend(&event).unwrap();
    let alive = survey(root.path(), &target("a")).unwrap();
    assert_eq!((alive.ours[0].is_alive, alive.ours[0].records), (true, 1));
    gone.log().unlock_for_test();
    for _ in 0..2 {
        let looked = survey(root.path(), &target("a")).unwrap();
        assert_eq!(
            (looked.ours[0].is_alive, looked.ours[0].records),
            (false, 2)
        );
    }
    let heir = open(root.path(), "a");
    assert!(heir.adopt(gone.writer()).unwrap().is_some());
}

fn records(root: &Path) -> u64 {
    survey(root, &target("a")).unwrap().ours[0].records
}

#[test]
fn what_has_left_past_a_record_that_waits_is_not_counted() {
    let root = tempfile::tempdir().unwrap();
    let outbox = open(root.path(), "a");
    commit(&outbox, 1);
    let log = outbox.log();
    let (first, _) = log.tail();
    commit(&outbox, 2);
    commit(&outbox, 2);
    let (end, _) = log.tail();
    for way in [Way::History, Way::Rules] {
        log.acknowledge(way, end);
    }
    log.keep_acks();
    assert_eq!(records(root.path()), 5);
    // The first one waits for the bus, and all after it have left.
    let nobody = || std::iter::empty();
    log.note(Way::Bus, Some(Note::new(end, (1, 100), nobody())));
    log.keep_acks();
    let found = survey(root.path(), &target("a")).unwrap();
    assert_eq!((found.ours[0].records, found.ours[0].bytes), (1, 100));
    commit(&outbox, 3);
    assert_eq!(records(root.path()), 4);
    // Those of the tenant from the second commit on have not been read.
    let lagging = [("acme".parse().unwrap(), first)].into_iter();
    log.note(Way::Bus, Some(Note::new(end, (1, 100), lagging)));
    log.keep_acks();
    assert_eq!(records(root.path()), 8);
    let other = [("umbra".parse().unwrap(), first)].into_iter();
    log.note(Way::Bus, Some(Note::new(end, (1, 100), other)));
    log.keep_acks();
    assert_eq!(records(root.path()), 4);
    // Once the way is past it a note counts for nothing, nor that of a writer that is gone.
    log.acknowledge(Way::Bus, end);
    log.keep_acks();
    assert_eq!(records(root.path()), 3);
    log.unlock_for_test();
    assert_eq!(records(root.path()), 3);
}

#[test]
fn the_notes_of_a_writer_that_is_gone_count_for_nothing() {
    let root = tempfile::tempdir().unwrap();
    let outbox = open(root.path(), "a");
    commit(&outbox, 5);
    let log = outbox.log();
    let note = Note::new(log.tail().0, (1, 100), std::iter::empty());
    for way in Way::ALL {
        log.note(way, Some(note.clone()));
    }
    log.keep_acks();
    assert_eq!(records(root.path()), 1);
    log.unlock_for_test();
    assert_eq!(records(root.path()), 5);
    let heir = open(root.path(), "a");
    assert!(heir.adopt(outbox.writer()).unwrap().is_some());
    let found = survey(root.path(), &target("a")).unwrap();
    let taken = found
        .ours
        .iter()
        .find(|found| found.writer == outbox.writer());
    assert_eq!(taken.unwrap().records, 5);
}
