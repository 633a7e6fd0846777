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
