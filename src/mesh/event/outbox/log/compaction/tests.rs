//! Compaction keeps what is needed where it was, and nothing twice, whatever interrupts it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;
use crate::mesh::event::fakes::event;
use crate::mesh::event::outbox::disk::{Disk, MachineDisk};
use crate::mesh::event::outbox::frame::parse_payload;
use crate::mesh::event::outbox::reader::LogReader;
use crate::mesh::event::outbox::share::{OUTBOX_BYTES_MIN, Way};
use crate::mesh::event::outbox::{Outbox, OutboxSettings, Slot, Target, Weight};
use crate::mesh::event::record::{Event, Outcome};
use crate::mesh::{ManualClock, Timestamp};

/// The tenants whose records are needed.
struct Only<'a>(&'a [&'a str]);

impl Needs for Only<'_> {
    fn is_needed(&self, _: Position, tenant: &TenantId, _: u64) -> bool {
        self.0.contains(&tenant.as_str())
    }

    fn is_over(&self) -> bool {
        false
    }
}

fn settings(root: &Path) -> OutboxSettings {
    OutboxSettings {
        root: root.to_owned(),
        target: Target::default(),
        bytes_max: OUTBOX_BYTES_MIN,
        clock: Arc::new(ManualClock::at(Timestamp::from_millis(1_700_000_000_000))),
    }
}

fn open(root: &Path) -> Outbox {
    Outbox::open(settings(root)).unwrap()
}

fn reserve(outbox: &Outbox, tenant: &str) -> Slot {
    let tenant = tenant.parse().unwrap();
    outbox.reserve(&tenant, Weight::Health).unwrap()
}

fn commit(outbox: &Outbox, tenant: &str) -> u64 {
    let events = [event(tenant, 1_700_000_000_000)];
    reserve(outbox, tenant).commit(&events).unwrap().first_seq
}

/// Fills segments with records of `other`, each `every`-th one of `stuck`.
fn fill(outbox: &Outbox, segments: u64, every: usize) {
    let end = outbox.log().tail().0.segment + segments;
    for index in 0.. {
        if outbox.log().tail().0.segment >= end {
            return;
        }
        let tenant = if index % every == 0 { "stuck" } else { "other" };
        commit(outbox, tenant);
    }
}

/// A record that was read: its number, its place, its tenant and its outcome.
type Read = (u64, Position, String, Outcome);

fn records_from(log: &Arc<Log>, from: Position) -> Vec<Read> {
    let mut reader = LogReader::new(log.clone(), from);
    let mut records = Vec::new();
    while let Some(found) = reader.next().unwrap() {
        if found.header.kind == Kind::Commit {
            let (tenant, events) = parse_payload(reader.payload()).unwrap();
            for (seq, json) in (found.header.seq..).zip(events) {
                let event: Event = serde_json::from_slice(json).unwrap();
                records.push((seq, found.position, tenant.to_string(), event.outcome));
            }
        }
    }
    records
}

fn records(log: &Arc<Log>) -> Vec<Read> {
    records_from(log, Position::default())
}

/// What of `before` must be there: what is of `tenant`, and what is in the last segment.
fn expected(log: &Log, before: &[Read], tenant: &str) -> Vec<Read> {
    let tail = log.tail().0.segment;
    let is_kept = |read: &&Read| read.2 == tenant || read.1.segment == tail;
    before.iter().filter(is_kept).cloned().collect()
}

fn disk_bytes(log: &Log) -> u64 {
    let segments = log.segments_for_test();
    segments.iter().map(|&(_, bytes)| bytes).sum()
}

/// The log of a process that was killed, taken over by a new one.
fn adopt(root: &Path, dead: &Outbox) -> (Outbox, Arc<Log>) {
    dead.log().unlock_for_test();
    let heir = open(root);
    let log = heir.adopt(dead.log().writer()).unwrap().unwrap();
    (heir, log)
}

#[test]
fn what_is_kept_keeps_its_order_number_and_place_and_the_rest_goes() {
    let root = tempfile::tempdir().unwrap();
    let outbox = open(root.path());
    fill(&outbox, 12, 50);
    let log = outbox.log();
    let before = records(log);
    let expected = expected(log, &before, "stuck");
    // A reader that is in the midst of it goes on.
    let mut midst = LogReader::new(log.clone(), Position::default());
    midst.next().unwrap().unwrap();
    let full = disk_bytes(log);
    log.compact(&Only(&["stuck"])).unwrap();
    assert_eq!(records(log), expected);
    assert!(disk_bytes(log) < full / 5, "{} of {full}", disk_bytes(log));
    assert_eq!(outbox.stats().disk_bytes, disk_bytes(log));
    assert_eq!(log.segments_for_test().len(), 2, "and few files");
    for from in &before {
        let later = |read: &&Read| read.1 >= from.1;
        let later: Vec<Read> = expected.iter().filter(later).cloned().collect();
        assert_eq!(records_from(log, from.1), later);
    }
    let mut last = 0;
    while let Some(found) = midst.next().unwrap() {
        last = found.header.seq;
    }
    assert_eq!(last, before.last().unwrap().0);

    // It grows and is compacted again, until nothing is needed.
    fill(&outbox, 5, 70);
    let expected = self::expected(log, &records(log), "stuck");
    log.compact(&Only(&["stuck"])).unwrap();
    assert_eq!(records(log), expected);
    assert_eq!(log.segments_for_test().len(), 2);
    log.compact(&Only(&[])).unwrap();
    assert_eq!(log.segments_for_test().len(), 1);
    assert_eq!(outbox.stats().disk_bytes, disk_bytes(log));
    assert_eq!(
        outbox.stats().damaged_stretches + outbox.stats().torn_records,
        0
    );
}

#[test]
fn a_compacted_log_is_adopted_with_what_was_kept_and_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let dead = open(root.path());
    fill(&dead, 6, 40);
    let before = records(dead.log());
    let expected = expected(dead.log(), &before, "stuck");
    dead.log().compact(&Only(&["stuck"])).unwrap();
    // What one way had acknowledged lies behind what another one still needs.
    let acknowledged = before[before.len() / 2].1;
    dead.log().acknowledge(Way::Bus, acknowledged);
    dead.log().keep_acks();
    let (heir, log) = adopt(root.path(), &dead);
    assert_eq!(records(&log), expected);
    assert_eq!(heir.stats().adopted_records, expected.len() as u64);
    let unacknowledged = |read: &&Read| read.1 >= acknowledged;
    let on_bus = expected.iter().filter(unacknowledged).count() as u64;
    assert_eq!(heir.records(Way::Bus), on_bus);
    assert_eq!(log.tail().1, before.last().unwrap().0 + 1);
    // The heir compacts it in its turn, dies, and leaves the same to the next.
    log.compact(&Only(&["stuck"])).unwrap();
    log.unlock_for_test();
    drop((heir, log));
    let heir = open(root.path());
    let log = heir.adopt(dead.log().writer()).unwrap().unwrap();
    assert_eq!(records(&log), expected);
    let end = log.tail().0;
    for way in Way::ALL {
        log.acknowledge(way, end);
    }
    assert!(log.is_done());
    heir.remove(&log).unwrap();
    assert_eq!(heir.stats().disk_bytes, 0);
}

#[test]
fn a_version_that_does_not_understand_it_leaves_a_compacted_log_alone() {
    let root = tempfile::tempdir().unwrap();
    let outbox = open(root.path());
    let owner = outbox.log().ballast_for_test().with_file_name("owner");
    fill(&outbox, 2, 10);
    assert_eq!(fs::read_to_string(&owner).unwrap(), "agent-mesh outbox 1\n");
    outbox.log().compact(&Only(&["stuck"])).unwrap();
    assert_eq!(fs::read_to_string(&owner).unwrap(), "agent-mesh outbox 2\n");
}

#[test]
fn what_is_hardly_dead_stays_as_it_is() {
    for (every, is_rewritten) in [(20, false), (12, true)] {
        let root = tempfile::tempdir().unwrap();
        let outbox = open(root.path());
        for index in 0.. {
            if outbox.log().tail().0.segment == 5 {
                break;
            }
            let tenant = if index % every == 0 { "other" } else { "stuck" };
            commit(&outbox, tenant);
        }
        let before = records(outbox.log());
        let freed = outbox.log().compact(&Only(&["stuck"])).unwrap();
        assert_eq!(freed > 0, is_rewritten, "one of {every}");
        assert_eq!(records(outbox.log()) != before, is_rewritten);
    }
}

#[test]
fn many_small_files_in_a_row_become_one_though_all_of_them_is_needed() {
    for (closed, files) in [
        (FILES_IN_A_ROW_MAX - 1, FILES_IN_A_ROW_MAX),
        (FILES_IN_A_ROW_MAX, 2),
    ] {
        let root = tempfile::tempdir().unwrap();
        let dead = open(root.path());
        fill(&dead, closed as u64 + 1, 1);
        let before = records(dead.log());
        dead.log().unlock_for_test();
        // The heir's segments are larger.
        let heir = Outbox::open(OutboxSettings {
            bytes_max: 64 * OUTBOX_BYTES_MIN,
            ..settings(root.path())
        });
        let log = heir.unwrap().adopt(dead.log().writer()).unwrap().unwrap();
        log.compact(&Only(&["stuck"])).unwrap();
        assert_eq!(log.segments_for_test().len(), files);
        assert_eq!(records(&log), before);
    }
}

#[test]
fn on_a_full_disk_only_what_costs_no_room_is_done() {
    let root = tempfile::tempdir().unwrap();
    let disk = Arc::new(Dying {
        left: AtomicUsize::new(usize::MAX),
        error: io::ErrorKind::StorageFull,
    });
    let outbox = Outbox::open_on(settings(root.path()), disk.clone()).unwrap();
    fill(&outbox, 4, 50);
    disk.left.store(0, Ordering::SeqCst);
    let refused = reserve(&outbox, "other").commit(&[event("other", 1)]);
    assert!(refused.is_err() && outbox.stats().is_disk_full);
    let before = records(outbox.log());
    assert_eq!(outbox.log().compact(&Only(&["stuck"])).unwrap(), 0);
    assert_eq!(records(outbox.log()), before);
    assert!(outbox.log().compact(&Only(&[])).unwrap() > 0);
    assert_eq!(outbox.log().segments_for_test().len(), 1);
}

/// A disk that takes so many more writes.
struct Dying {
    left: AtomicUsize,
    error: io::ErrorKind,
}

impl Disk for Dying {
    fn append(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        let left = self.left.load(Ordering::SeqCst);
        if left == 0 {
            // Half of a write, as a kill may leave it.
            MachineDisk.append(file, &bytes[..bytes.len() / 2])?;
            return Err(self.error.into());
        }
        self.left.store(left - 1, Ordering::SeqCst);
        MachineDisk.append(file, bytes)
    }
}

#[test]
fn a_compaction_that_fails_at_any_write_loses_and_doubles_nothing() {
    let root = tempfile::tempdir().unwrap();
    let disk = Arc::new(Dying {
        left: AtomicUsize::new(usize::MAX),
        error: io::ErrorKind::Other,
    });
    let outbox = Outbox::open_on(settings(root.path()), disk.clone()).unwrap();
    fill(&outbox, 3, 100);
    let before = records(outbox.log());
    let expected = expected(outbox.log(), &before, "stuck");
    let mut writes = 0;
    loop {
        disk.left.store(writes, Ordering::SeqCst);
        let compacted = outbox.log().compact(&Only(&["stuck"]));
        if compacted.is_ok() {
            break;
        }
        assert_eq!(records(outbox.log()), before, "after {writes} writes");
        writes += 1;
    }
    assert!(writes > 10, "{writes}");
    assert_eq!(records(outbox.log()), expected);
}

#[test]
fn a_kill_at_any_moment_of_a_compaction_loses_and_doubles_nothing() {
    for killed_at in 0..4 {
        let root = tempfile::tempdir().unwrap();
        let dead = open(root.path());
        fill(&dead, 6, 30);
        let before = records(dead.log());
        let folder = dead.log().ballast_for_test();
        let file = |name: &str| folder.with_file_name(name);
        let names: Vec<String> = (1..=5).map(|number| format!("{number:020}.log")).collect();
        let old: BTreeMap<&String, Vec<u8>> = names
            .iter()
            .map(|name| (name, fs::read(file(name)).unwrap()))
            .collect();
        let expected = match killed_at {
            0 => {
                // Before the new file took the first one's name.
                fs::write(file(&format!("{}.new", names[0])), &old[&names[1]]).unwrap();
                before.clone()
            }
            removed => {
                // After it did, and before all of the others were removed.
                dead.log().compact(&Only(&["stuck"])).unwrap();
                for name in &names[removed..5] {
                    assert!(!file(name).exists());
                    fs::write(file(name), &old[name]).unwrap();
                }
                expected(dead.log(), &before, "stuck")
            }
        };
        let (heir, log) = adopt(root.path(), &dead);
        assert_eq!(records(&log), expected, "killed at {killed_at}");
        assert_eq!(heir.stats().adopted_records, expected.len() as u64);
        assert_eq!(heir.records(Way::Rules), expected.len() as u64);
        assert_eq!(heir.stats().disk_bytes, disk_bytes(&log));
        assert!(!file(&format!("{}.new", names[0])).exists());
    }
}

#[test]
fn a_call_that_has_ended_never_looks_as_if_it_had_not_and_one_that_has_not_is_not_forgotten() {
    let root = tempfile::tempdir().unwrap();
    let dead = open(root.path());
    let begin = |tenant: &str| {
        let mut slot = reserve(&dead, tenant);
        slot.intend(&event(tenant, 1_700_000_000_000)).unwrap();
        slot
    };
    // Everything in the first segments is needed, so that they stay as they are.
    commit(&dead, "stuck");
    let (first, unended) = (begin("other"), begin("other"));
    fill(&dead, 2, 1);
    let second = begin("other");
    fill(&dead, 1, 1000);
    let ended = [first, second].map(|slot| slot.commit(&[event("other", 1)]).unwrap().first_seq);
    fill(&dead, 3, 1000);
    for _ in 0..3 {
        dead.log().compact(&Only(&["stuck"])).unwrap();
    }
    let seqs: Vec<u64> = records(dead.log()).iter().map(|read| read.0).collect();
    assert!(seqs.contains(&ended[0]), "its beginning is still there");
    assert!(!seqs.contains(&ended[1]), "its beginning is gone, too");
    std::mem::forget(unended);
    let (_heir, log) = adopt(root.path(), &dead);
    let unknown = |read: &&Read| read.3 == Outcome::Unknown;
    assert_eq!(records(&log).iter().filter(unknown).count(), 1);
    // Once the beginnings may go, so may the ends.
    log.compact(&Only(&[])).unwrap();
    log.compact(&Only(&[])).unwrap();
    let seqs: Vec<u64> = records(&log).iter().map(|read| read.0).collect();
    assert!(ended.iter().all(|seq| !seqs.contains(seq)));
    log.unlock_for_test();
    let again = open(root.path());
    let log = again.adopt(dead.log().writer()).unwrap().unwrap();
    assert_eq!(records(&log).iter().filter(unknown).count(), 1);
}

/// Needs everything until it has been asked so often, and acknowledges all of a log then.
struct Meanwhile<'a> {
    log: &'a Log,
    asked: AtomicUsize,
    at: usize,
    is_over: AtomicBool,
}

impl Needs for Meanwhile<'_> {
    fn is_needed(&self, _: Position, tenant: &TenantId, _: u64) -> bool {
        if self.asked.fetch_add(1, Ordering::SeqCst) == self.at {
            let end = self.log.tail().0;
            for way in Way::ALL {
                self.log.acknowledge(way, end);
            }
        }
        tenant.as_str() == "stuck"
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }
}

#[test]
fn what_is_acknowledged_or_given_up_meanwhile_stops_it() {
    for at in [0, 100, 400] {
        let root = tempfile::tempdir().unwrap();
        let outbox = open(root.path());
        fill(&outbox, 6, 25);
        let before = records(outbox.log());
        let needs = Meanwhile {
            log: outbox.log(),
            asked: AtomicUsize::new(0),
            at,
            is_over: AtomicBool::new(true),
        };
        outbox.log().compact(&needs).unwrap();
        assert_eq!(records(outbox.log()), before, "nobody waits for it");
        needs.is_over.store(false, Ordering::SeqCst);
        outbox.log().compact(&needs).unwrap();
        assert_eq!(outbox.log().segments_for_test().len(), 1);
        assert_eq!(outbox.stats().disk_bytes, disk_bytes(outbox.log()));
    }
    let root = tempfile::tempdir().unwrap();
    let outbox = open(root.path());
    fill(&outbox, 2, 25);
    outbox.remove(outbox.log()).unwrap();
    outbox.log().compact(&Only(&["stuck"])).unwrap();
    assert!(!outbox.log().ballast_for_test().parent().unwrap().exists());
}

#[test]
fn damage_in_a_compacted_file_costs_what_it_hits() {
    let root = tempfile::tempdir().unwrap();
    let dead = open(root.path());
    fill(&dead, 4, 20);
    let expected = expected(dead.log(), &records(dead.log()), "stuck");
    dead.log().compact(&Only(&["stuck"])).unwrap();
    let path = dead.log().segment_from(1).unwrap().1;
    let whole = fs::read(&path).unwrap();
    for at in (HEADER_BYTES..whole.len()).step_by(whole.len() / 40) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&path, &bytes).unwrap();
        let read = records(dead.log());
        assert!(expected.len() - read.len() <= 1, "byte {at}");
        let mut rest = expected.iter();
        for found in read {
            // A gap that is lost has the frame behind it look earlier than it is, never another one.
            assert!(rest.any(|held| held.0 == found.0 && held.1 >= found.1));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_happens_when_every_record_that_is_needed_is_there_once(
        steps in prop::collection::vec((0_u8..8, 1_usize..60), 1..40),
    ) {
        let root = tempfile::tempdir().unwrap();
        let dead = open(root.path());
        let writer = dead.log().writer();
        let mut log = dead.log().clone();
        let mut needed = Vec::new();
        let mut in_flight = Vec::new();
        for (step, count) in steps {
            match step {
                0 => {
                    needed.push(commit(&dead, "stuck"));
                }
                1 => {
                    let mut slot = reserve(&dead, "stuck");
                    slot.intend(&event("stuck", 1)).unwrap();
                    in_flight.push(slot);
                }
                2 => if let Some(slot) = in_flight.pop() {
                    needed.push(slot.commit(&[event("stuck", 1)]).unwrap().first_seq);
                },
                3 => drop(log.compact(&Only(&["stuck"])).unwrap()),
                _ => for _ in 0..count {
                    let mut slot = reserve(&dead, "other");
                    slot.intend(&event("other", 1)).unwrap();
                    slot.commit(&[event("other", 1)]).unwrap();
                },
            }
        }
        let unknown = in_flight.len();
        in_flight.into_iter().for_each(std::mem::forget);
        log.unlock_for_test();
        for _ in 0..3 {
            let heir = open(root.path());
            log = heir.adopt(writer).unwrap().unwrap();
            let found: Vec<u64> = records(&log)
                .iter()
                .filter(|read| read.2 == "stuck" && read.3 != Outcome::Unknown)
                .map(|read| read.0)
                .collect();
            prop_assert_eq!(&found, &needed);
            let lost = records(&log).iter().filter(|read| read.3 == Outcome::Unknown).count();
            prop_assert_eq!(lost, unknown);
            log.compact(&Only(&["stuck"])).unwrap();
            log.unlock_for_test();
        }
    }
}
