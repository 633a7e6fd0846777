//! What is in the outbox stays there until it has left, whatever happens to its process or its disk.

use std::fs::File;
use std::io::Write;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use proptest::prelude::*;

use super::log::Position;
use super::reader::LogReader;
use super::*;
use crate::mesh::event::fakes::event;
use crate::mesh::{ManualClock, Timestamp};

const BYTES_MAX: u64 = 4 << 20;

fn settings(root: &std::path::Path) -> OutboxSettings {
    OutboxSettings {
        root: root.to_owned(),
        target: Target {
            backend: "embedded".to_owned(),
            ..Target::default()
        },
        bytes_max: BYTES_MAX,
        clock: Arc::new(ManualClock::at(Timestamp::from_millis(1_700_000_000_000))),
    }
}

fn open(root: &std::path::Path) -> Outbox {
    Outbox::open(settings(root)).unwrap()
}

fn acme() -> TenantId {
    "acme".parse().unwrap()
}

fn commit(outbox: &Outbox, name: &str) -> Committed {
    let slot = outbox.reserve(&acme(), Weight::Read).unwrap();
    slot.commit(&[named(name)]).unwrap()
}

fn named(name: &str) -> Event {
    let mut event = event("acme", 1_700_000_000_000);
    event.detail_type = name.to_owned().into();
    event
}

/// Number, type and outcome of every event in a log.
fn events(log: &Arc<Log>) -> Vec<(u64, String, Outcome)> {
    let mut reader = LogReader::new(log.clone(), Position::default());
    let mut events = Vec::new();
    while let Some(found) = reader.next().unwrap() {
        if found.header.kind != frame::Kind::Commit {
            continue;
        }
        let (_, bodies) = frame::parse_payload(reader.payload()).unwrap();
        for (seq, body) in (found.header.seq..).zip(bodies) {
            let event: Event = serde_json::from_slice(body).unwrap();
            events.push((seq, event.detail_type.into_owned(), event.outcome));
        }
    }
    events
}

fn adopt_one(outbox: &Outbox) -> Arc<Log> {
    let writers = outbox.other_writers().unwrap();
    assert_eq!(writers.len(), 1);
    outbox.adopt(writers[0]).unwrap().unwrap()
}

#[test]
fn events_are_numbered_in_the_order_they_were_appended() {
    let root = tempfile::tempdir().unwrap();
    let outbox = open(root.path());
    let first = commit(&outbox, "a");
    let slot = outbox.reserve(&acme(), Weight::Mutation).unwrap();
    let both = slot.commit(&[named("b"), named("c")]).unwrap();
    assert_eq!((first.first_seq, both.first_seq, both.count), (1, 2, 2));
    assert_eq!(first.writer, outbox.writer());
    let names: Vec<_> = events(outbox.log())
        .into_iter()
        .map(|(seq, name, _)| (seq, name))
        .collect();
    assert_eq!(
        names,
        [
            (1, "a".to_owned()),
            (2, "b".to_owned()),
            (3, "c".to_owned())
        ]
    );
}

#[test]
fn an_intent_that_is_dropped_is_of_unknown_outcome_and_one_that_is_committed_is_not() {
    let root = tempfile::tempdir().unwrap();
    let outbox = open(root.path());
    for is_dropped in [true, false] {
        let mut slot = outbox.reserve(&acme(), Weight::Mutation).unwrap();
        slot.intend(&named("x")).unwrap();
        assert!(
            slot.intend(&named("x")).is_err(),
            "an intent is stated once"
        );
        if !is_dropped {
            slot.commit(&[named("x")]).unwrap();
        }
    }
    let expected = [
        (1, "x".to_owned(), Outcome::Unknown),
        (2, "x".to_owned(), Outcome::Ok),
    ];
    assert_eq!(events(outbox.log()), expected);
    assert_eq!(outbox.stats().records, 2);
}

#[test]
fn a_slot_that_is_dropped_leaves_nothing_behind() {
    let root = tempfile::tempdir().unwrap();
    let outbox = open(root.path());
    let mut slot = outbox.reserve(&acme(), Weight::Read).unwrap();
    slot.enlarge(100).unwrap();
    assert_eq!(outbox.held(&acme()), SLOT_BYTES + 100);
    drop(slot);
    assert_eq!((outbox.held(&acme()), outbox.stats().bytes), (0, 0));
}

#[test]
fn an_event_that_cannot_be_committed_resolves_its_intent_as_unknown() {
    let root = tempfile::tempdir().unwrap();
    let outbox = open(root.path());
    let mut slot = outbox.reserve(&acme(), Weight::Mutation).unwrap();
    slot.intend(&named("x")).unwrap();
    assert!(slot.commit(&[event("other", 1)]).is_err());
    assert_eq!(
        events(outbox.log()),
        [(1, "x".to_owned(), Outcome::Unknown)]
    );
}

#[test]
fn an_outbox_without_an_owner_is_adopted_under_its_own_writer_and_numbers() {
    let root = tempfile::tempdir().unwrap();
    let dead = open(root.path());
    let writer = dead.writer();
    commit(&dead, "a");
    let mut open_slot = dead.reserve(&acme(), Weight::Mutation).unwrap();
    open_slot.intend(&named("in flight")).unwrap();
    let mut done = dead.reserve(&acme(), Weight::Mutation).unwrap();
    done.intend(&named("done")).unwrap();
    done.commit(&[named("done")]).unwrap();
    let heir = open(root.path());
    assert_eq!(
        heir.adopt(writer).unwrap().map(|_| ()),
        None,
        "its owner lives"
    );

    // A process that is killed runs no destructors.
    std::mem::forget(open_slot);
    let Outbox(inner) = dead;
    release_like_a_kill(inner);
    let log = adopt_one(&heir);
    assert_eq!(log.writer(), writer);
    let expected = [
        (1, "a".to_owned(), Outcome::Ok),
        (2, "done".to_owned(), Outcome::Ok),
        (3, "in flight".to_owned(), Outcome::Unknown),
    ];
    assert_eq!(events(&log), expected);
    let stats = heir.stats();
    assert_eq!(
        (stats.records, stats.adopted_records, stats.adopted_folders),
        (3, 3, 1)
    );
    assert!(stats.bytes > 0 && heir.held(&acme()) > 0);
    assert!(heir.adopt(writer).unwrap().is_none(), "it is adopted once");
}

/// Gives up the lock of an outbox whose slots were forgotten, as the system does for a killed process.
fn release_like_a_kill(inner: Arc<Inner>) {
    inner.log.unlock_for_test();
}

#[test]
fn an_heir_that_dies_as_well_leaves_the_same_numbers_to_the_next() {
    let root = tempfile::tempdir().unwrap();
    let dead = open(root.path());
    commit(&dead, "a");
    let mut slot = dead.reserve(&acme(), Weight::Mutation).unwrap();
    slot.intend(&named("b")).unwrap();
    std::mem::forget(slot);
    release_like_a_kill(dead.0.clone());
    let mut seen = Vec::new();
    for _ in 0..3 {
        let heir = Outbox::open(settings(root.path())).unwrap();
        let log = heir.adopt(dead.writer()).unwrap().unwrap();
        seen.push(events(&log));
        drop((log, heir));
    }
    assert_eq!(
        seen[0],
        [
            (1, "a".to_owned(), Outcome::Ok),
            (2, "b".to_owned(), Outcome::Unknown)
        ]
    );
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[1], seen[2]);
}

#[test]
fn a_torn_end_is_counted_and_its_numbers_are_not_given_out_again() {
    let root = tempfile::tempdir().unwrap();
    let dead = open(root.path());
    let writer = dead.writer();
    commit(&dead, "a");
    let mut slot = dead.reserve(&acme(), Weight::Mutation).unwrap();
    slot.intend(&named("b")).unwrap();
    let segment = dead.log().segment_from(0).unwrap().1;
    std::mem::forget(slot);
    release_like_a_kill(dead.0.clone());
    // Half of a frame.
    File::options()
        .append(true)
        .open(&segment)
        .unwrap()
        .write_all(&[0xFF; 30])
        .unwrap();
    let heir = open(root.path());
    let log = heir.adopt(writer).unwrap().unwrap();
    let events = events(&log);
    assert_eq!(events.len(), 2);
    assert_eq!(events[1].0, 2 + (1 << 16));
    let stats = heir.stats();
    assert_eq!(
        stats.torn_records + stats.damaged_stretches,
        1,
        "however often it is read"
    );
}

#[test]
fn full_segments_are_left_when_everything_in_them_is_acknowledged() {
    let root = tempfile::tempdir().unwrap();
    let outbox = open(root.path());
    let mut open_slot = outbox.reserve(&acme(), Weight::Mutation).unwrap();
    open_slot.intend(&named("long")).unwrap();
    while outbox.log().tail().0.segment < 4 {
        commit(&outbox, "x");
    }
    let tail = outbox.log().tail().0;
    let files = || outbox.log().segments_for_test().len();
    assert_eq!(files(), 4);
    outbox.log().acknowledge(Way::History, tail);
    assert_eq!(files(), 4, "the bus has had nothing yet");
    outbox.log().acknowledge(Way::Bus, tail);
    assert_eq!(files(), 4, "no rule has been asked yet");
    outbox.log().acknowledge(Way::Rules, tail);
    assert_eq!(files(), 1, "an open intent moves on with the log");
    assert!(outbox.stats().disk_bytes <= BYTES_MAX / 16);
    drop(open_slot);
    let unknown = events(outbox.log());
    assert_eq!(unknown.last().unwrap().2, Outcome::Unknown);

    // The intent is found by an heir although its first segment is gone.
    let mut late = outbox.reserve(&acme(), Weight::Mutation).unwrap();
    late.intend(&named("late")).unwrap();
    while outbox.log().tail().0.segment < 6 {
        commit(&outbox, "x");
    }
    let tail = outbox.log().tail().0;
    for way in Way::ALL {
        outbox.log().acknowledge(way, tail);
    }
    outbox.log().keep_acks();
    std::mem::forget(late);
    release_like_a_kill(outbox.0.clone());
    let heir = open(root.path());
    let log = heir.adopt(outbox.writer()).unwrap().unwrap();
    assert_eq!(events(&log).last().unwrap().1, "late");
    assert_eq!(
        heir.stats().adopted_records,
        1,
        "what was acknowledged is not repeated"
    );
}

#[test]
fn numbers_go_on_where_only_a_call_under_way_is_left_in_the_log() {
    let root = tempfile::tempdir().unwrap();
    let dead = open(root.path());
    let mut slot = dead.reserve(&acme(), Weight::Mutation).unwrap();
    slot.intend(&named("x")).unwrap();
    let mut last = 0;
    while dead.log().segments_for_test().len() < 2 {
        // The last one lies in the second segment, whose first frame repeats the intent.
        last = commit(&dead, "x").first_seq;
    }
    for way in Way::ALL {
        dead.log().acknowledge(way, dead.log().tail().0);
    }
    dead.log().keep_acks();
    let (number, bytes) = dead.log().segments_for_test()[0];
    assert_eq!(number, 2);
    // A kill before the commit that began the segment was written.
    let path = dead.log().segment_from(number).unwrap().1;
    let event = Body::of(&acme(), [&named("x")]).unwrap().frame_bytes();
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(bytes - event).unwrap();
    fs::remove_file(path.with_file_name("acks")).unwrap();
    std::mem::forget(slot);
    release_like_a_kill(dead.0.clone());
    let heir = open(root.path());
    let log = heir.adopt(dead.writer()).unwrap().unwrap();
    let expected = [(last, "x".to_owned(), Outcome::Unknown)];
    assert_eq!(events(&log), expected);
}

#[test]
fn a_full_outbox_refuses_changes_first_and_then_reads() {
    let root = tempfile::tempdir().unwrap();
    let outbox = open(root.path());
    let bytes = |outbox: &Outbox| outbox.stats().bytes;
    while bytes(&outbox) + SLOT_BYTES <= BYTES_MAX / 10 * 9 {
        drop(outbox.reserve(&acme(), Weight::Mutation).unwrap());
        commit(&outbox, "x");
    }
    let error = outbox.reserve(&acme(), Weight::Mutation).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    while bytes(&outbox) + SLOT_BYTES <= BYTES_MAX {
        commit(&outbox, "x");
    }
    let error = outbox.reserve(&acme(), Weight::Read).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    assert!(error.wait().unwrap() > Duration::ZERO && error.fix_text().is_some());
    let health = outbox.reserve(&acme(), Weight::Health).unwrap();
    health.commit(&[named("health")]).unwrap();

    let tail = outbox.log().tail().0;
    for way in Way::ALL {
        outbox.log().acknowledge(way, tail);
        outbox.settle(way, [(&acme(), u64::MAX)]);
    }
    outbox
        .reserve(&acme(), Weight::Mutation)
        .unwrap()
        .commit(&[named("again")])
        .unwrap();
}

/// A disk with so many bytes left; a write that does not fit leaves half of itself behind.
struct SmallDisk {
    left: AtomicUsize,
    can_cut: bool,
}

impl Disk for SmallDisk {
    fn append(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        let left = self.left.load(Ordering::SeqCst);
        if bytes.len() <= left {
            self.left.fetch_sub(bytes.len(), Ordering::SeqCst);
            return file.write_all(bytes);
        }
        file.write_all(&bytes[..bytes.len() / 2])?;
        if !self.can_cut {
            // A file that is only readable cannot be cut.
            *file = File::open("/dev/null")?;
        }
        Err(io::ErrorKind::StorageFull.into())
    }

    fn drop_ballast(&self, path: &std::path::Path) -> io::Result<()> {
        fs::remove_file(path)?;
        self.left.fetch_add(disk::BALLAST_BYTES, Ordering::SeqCst);
        Ok(())
    }
}

fn small(root: &std::path::Path, left: usize, can_cut: bool) -> (Outbox, Arc<SmallDisk>) {
    let left = AtomicUsize::new(disk::BALLAST_BYTES + left);
    let disk = Arc::new(SmallDisk { left, can_cut });
    (Outbox::open_on(settings(root), disk.clone()).unwrap(), disk)
}

#[test]
fn a_full_disk_is_said_before_anything_is_done_and_loses_nothing_in_flight() {
    for can_cut in [true, false] {
        let root = tempfile::tempdir().unwrap();
        let (outbox, disk) = small(root.path(), 1500, can_cut);
        let mut in_flight = outbox.reserve(&acme(), Weight::Mutation).unwrap();
        in_flight.intend(&named("in flight")).unwrap();
        let mut refused = outbox.reserve(&acme(), Weight::Mutation).unwrap();
        disk.left.store(100, Ordering::SeqCst);
        let error = refused.intend(&named("refused")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Overloaded);
        assert!(error.message().contains("disk"), "{error}");
        let error = outbox.reserve(&acme(), Weight::Read).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Overloaded);
        assert!(outbox.stats().is_disk_full);

        in_flight.commit(&[named("in flight")]).unwrap();
        drop(refused);
        let before = events(outbox.log());
        assert_eq!(
            before.last().unwrap().1,
            "in flight",
            "the ballast made room"
        );

        disk.left.store(10 * disk::BALLAST_BYTES, Ordering::SeqCst);
        outbox.mend();
        commit(&outbox, "after");
        let after = events(outbox.log());
        assert_eq!(after.len(), before.len() + 1);
        let found = outbox.stats().torn_records + outbox.stats().damaged_stretches;
        assert_eq!(
            found > 0,
            !can_cut,
            "what could not be cut off is passed over"
        );
    }
}

#[test]
fn an_outcome_that_meets_a_disk_without_ballast_is_written_when_there_is_room() {
    let root = tempfile::tempdir().unwrap();
    let (outbox, disk) = small(root.path(), 1500, true);
    let mut slot = outbox.reserve(&acme(), Weight::Mutation).unwrap();
    slot.intend(&named("x")).unwrap();
    fs::remove_file(outbox.log().ballast_for_test()).unwrap();
    disk.left.store(0, Ordering::SeqCst);
    let error = slot.commit(&[named("x")]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    assert_eq!(outbox.held(&acme()), 0);
    outbox.mend();
    assert_eq!(events(outbox.log()), [], "still full");
    disk.left.store(10 * disk::BALLAST_BYTES, Ordering::SeqCst);
    outbox.mend();
    assert_eq!(events(outbox.log()), [(1, "x".to_owned(), Outcome::Ok)]);
    assert!(!outbox.stats().is_disk_full);
    assert!(outbox.held(&acme()) > 0);
}

#[test]
fn a_folder_of_a_newer_version_is_told_of_and_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let newer = open(root.path());
    commit(&newer, "a");
    let writer = newer.writer();
    let owner = newer.log().ballast_for_test().with_file_name("owner");
    drop(newer);
    fs::write(&owner, "agent-mesh outbox 3\n").unwrap();
    let heir = open(root.path());
    for _ in 0..2 {
        assert!(heir.adopt(writer).unwrap().is_none());
    }
    assert_eq!(heir.stats().other_format_folders, 1);
    assert!(owner.with_file_name("00000000000000000001.log").exists());
}

#[test]
fn an_outbox_on_a_folder_that_is_none_is_refused_with_the_remedy() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Outbox::open(settings(file.path())).err().unwrap();
    assert!(error.fix_text().unwrap().contains("AGENT_MESH_OUTBOX_DIR"));
    let root = tempfile::tempdir().unwrap();
    for (bytes_max, is_ok) in [(OUTBOX_BYTES_MIN, true), (OUTBOX_BYTES_MIN - 1, false)] {
        let settings = OutboxSettings {
            bytes_max,
            ..settings(root.path())
        };
        assert_eq!(Outbox::open(settings).is_ok(), is_ok);
    }
}

#[test]
fn targets_do_not_adopt_from_each_other() {
    let root = tempfile::tempdir().unwrap();
    let dead = open(root.path());
    commit(&dead, "a");
    drop(dead);
    let mut elsewhere = settings(root.path());
    elsewhere.target.account = "another".to_owned();
    assert_eq!(
        Outbox::open(elsewhere).unwrap().other_writers().unwrap(),
        []
    );
    assert_eq!(open(root.path()).other_writers().unwrap().len(), 1);
}

#[test]
fn a_clock_that_jumps_does_not_change_numbers_or_owners() {
    let root = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(-5)));
    let settings = OutboxSettings {
        clock: clock.clone(),
        ..settings(root.path())
    };
    let early = Outbox::open(settings.clone()).unwrap();
    commit(&early, "a");
    clock.jump_to(Timestamp::from_millis(i64::MAX));
    commit(&early, "b");
    let late = Outbox::open(settings).unwrap();
    assert_ne!(early.writer(), late.writer());
    assert!(late.adopt(early.writer()).unwrap().is_none());
    let seqs: Vec<u64> = events(early.log()).iter().map(|event| event.0).collect();
    assert_eq!(seqs, [1, 2]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_end_a_kill_leaves_everything_before_it_is_adopted(
        count in 1_usize..12,
        cut in any::<prop::sample::Index>(),
    ) {
        let root = tempfile::tempdir().unwrap();
        let dead = open(root.path());
        let writer = dead.writer();
        let mut ends = Vec::new();
        for index in 0..count {
            let mut slot = dead.reserve(&acme(), Weight::Mutation).unwrap();
            slot.intend(&named(&format!("e{index}"))).unwrap();
            let intended = dead.log().tail().0.offset;
            slot.commit(&[named(&format!("e{index}"))]).unwrap();
            ends.push((intended, dead.log().tail().0.offset));
        }
        let segment = dead.log().segment_from(0).unwrap().1;
        drop(dead);
        let length = fs::metadata(&segment).unwrap().len();
        let cut = cut.index(usize::try_from(length).unwrap() + 1) as u64;
        File::options().write(true).open(&segment).unwrap().set_len(cut).unwrap();

        let heir = open(root.path());
        let log = heir.adopt(writer).unwrap().unwrap();
        let expected: Vec<(String, Outcome)> = (0..count)
            .filter(|&index| ends[index].0 <= cut)
            .map(|index| {
                let outcome = if ends[index].1 <= cut { Outcome::Ok } else { Outcome::Unknown };
                (format!("e{index}"), outcome)
            })
            .collect();
        let found: Vec<(String, Outcome)> =
            events(&log).into_iter().map(|(_, name, outcome)| (name, outcome)).collect();
        prop_assert_eq!(found, expected);
    }
}
