//! Whatever breaks, every event reaches history and bus, and nobody waits for somebody else's trouble.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde_json::Value;

use super::*;
use crate::mesh::audit::Audit;
use crate::mesh::event::counters::tally::Tally;
use crate::mesh::event::fakes::{FakeBucket, FakeBus, FakeDirectory, FakeTable, event};
use crate::mesh::event::outbox::{OutboxSettings, Target, Weight};
use crate::mesh::event::record::{Event, Outcome};
use crate::mesh::{ErrorKind, ManualClock, SystemClock};

const SOON: Duration = Duration::from_secs(10);

mod away;
mod hand_over;
mod rules;
mod stuck;

struct World {
    root: tempfile::TempDir,
    table: Arc<FakeTable>,
    bucket: Arc<FakeBucket>,
    bus: Arc<FakeBus>,
    clock: Arc<dyn Clock>,
    bytes_max: u64,
    shards: u16,
    hand_over: bool,
    pace: Pace,
    ruled: Option<Arc<rules::Ruled>>,
}

struct Process {
    outbox: Outbox,
    publisher: Publisher,
}

impl World {
    fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
            table: Arc::default(),
            bucket: Arc::default(),
            bus: Arc::default(),
            clock: Arc::new(SystemClock::new()),
            bytes_max: 64 << 20,
            shards: 1,
            hand_over: false,
            pace: Pace {
                backoff_first: Duration::from_millis(2),
                backoff_longest: Duration::from_millis(20),
                adopt_every: Duration::from_millis(20),
                ..Pace::default()
            },
            ruled: None,
        }
    }

    fn outbox(&self) -> Outbox {
        Outbox::open(OutboxSettings {
            root: self.root.path().to_owned(),
            target: Target::default(),
            bytes_max: self.bytes_max,
            clock: self.clock.clone(),
        })
        .unwrap()
    }

    fn publish(&self, outbox: Outbox) -> Process {
        let publisher = Publisher::start(PublisherSettings {
            outbox: outbox.clone(),
            table: self.table.clone(),
            bucket: self.bucket.clone(),
            bus: self.bus.clone(),
            tenants: match &self.ruled {
                Some(ruled) => ruled.clone(),
                None => Arc::new(FakeDirectory(self.shards)),
            },
            rules: self
                .ruled
                .as_ref()
                .map(|ruled| ruled.parts(&self.table, &self.clock)),
            rollup: Rollup::new(outbox.clone(), Audit::off(), self.clock.clone()),
            retention_days: 30,
            clock: self.clock.clone(),
            pace: self.pace,
            hand_over: self.hand_over,
        });
        Process { outbox, publisher }
    }

    fn start(&self) -> Process {
        self.publish(self.outbox())
    }

    /// Ids of all events in the history of tenants whose names begin so.
    fn stored(&self, tenant: &str) -> HashSet<String> {
        let rows = self.table.rows.lock().unwrap();
        rows.keys()
            .filter(|(partition, sort)| {
                partition.starts_with(&format!("T#{tenant}"))
                    && partition.contains("#EV#")
                    && !sort.starts_with('#')
            })
            .map(|(_, sort)| sort.clone())
            .collect()
    }

    fn published(&self) -> Vec<String> {
        let text = |detail: &Value| detail["event_id"].as_str().unwrap().to_owned();
        self.bus.details().iter().map(text).collect()
    }

    /// Events that the counters of all writers know.
    fn counted(&self) -> u64 {
        let rows = self.table.rows.lock().unwrap();
        let tallies = rows.values().filter_map(|row| row.text("tally"));
        tallies
            .map(|text| serde_json::from_str::<Tally>(text).unwrap().events)
            .sum()
    }

    fn folders(&self) -> usize {
        let target = std::fs::read_dir(self.root.path())
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        let entries = std::fs::read_dir(target.path()).unwrap();
        entries
            .filter(|entry| entry.as_ref().unwrap().path().is_dir())
            .count()
    }
}

impl Process {
    fn send(&self, event: Event) -> Committed {
        let slot = self.outbox.reserve(&event.tenant_id, Weight::Read).unwrap();
        slot.commit(&[event]).unwrap()
    }

    fn send_many(&self, tenant: &str, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for _ in 0..count {
            let event = now(tenant);
            ids.push(event.event_id.to_string());
            self.send(event);
        }
        ids
    }

    /// Lets everything stop where it is, as `kill -9` does; the lock goes with the process.
    async fn kill(self) {
        let mut tasks = std::mem::take(&mut *self.publisher.tasks.lock().unwrap());
        tasks.shutdown().await;
        drop(self);
    }
}

fn now(tenant: &str) -> Event {
    let millis = SystemClock::new().now().as_millis();
    event(tenant, millis.unsigned_abs())
}

async fn until(what: &str, check: impl Fn() -> bool) {
    let begun = Instant::now();
    while !check() {
        assert!(begun.elapsed() < SOON, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

#[tokio::test]
async fn an_event_reaches_history_counters_and_bus_in_the_contracts_form() {
    let world = World::new();
    let process = world.start();
    let event = now("acme");
    let committed = process.send(event.clone());
    assert!(process.publisher.published(&committed, SOON).await);
    assert!(process.publisher.stored(&tenant("acme"), SOON).await);
    let entry = world.bus.entries.lock().unwrap()[0].clone();
    assert_eq!(
        (entry.source.as_str(), entry.detail_type.as_str()),
        ("agent-mesh.acme", "KV.Set")
    );
    let detail: Value = serde_json::from_str(&entry.detail).unwrap();
    assert_eq!(detail["writer"], committed.writer.to_string());
    assert_eq!(detail["seq"], 1);
    assert_eq!(detail["data"]["key"], "a/b");
    assert_eq!(world.table.details("T#acme#EV#")[0], detail);
    assert_eq!(world.counted(), 1);
    let stats = process.publisher.stats();
    assert_eq!(
        (
            stats.bus.records,
            stats.history.records,
            stats.outbox.records
        ),
        (0, 0, 0)
    );
    assert_eq!(stats.oldest_age_ms, None);
}

#[tokio::test]
async fn a_large_body_lies_in_the_bucket_and_goes_whole_to_the_bus() {
    let world = World::new();
    let process = world.start();
    for (length, is_large) in [
        (INLINE_BODY_BYTES_MAX, false),
        (INLINE_BODY_BYTES_MAX + 1, true),
    ] {
        let mut event = now("acme");
        let body = format!("\"{}\"", "x".repeat(length - 2));
        event.data = serde_json::value::RawValue::from_string(body.clone()).unwrap();
        let id = event.event_id.to_string();
        let committed = process.send(event);
        assert!(process.publisher.stored(&tenant("acme"), SOON).await);
        assert!(process.publisher.published(&committed, SOON).await);
        let key = format!("t/acme/ev/{id}");
        let object = world.bucket.objects.lock().unwrap().get(&key).cloned();
        assert_eq!(object.is_some(), is_large);
        let row = world
            .table
            .details("T#acme#EV#")
            .into_iter()
            .find(|row| row["event_id"] == id)
            .unwrap();
        assert_eq!(row.get("data").is_none(), is_large);
        let detail = world
            .bus
            .details()
            .into_iter()
            .find(|detail| detail["event_id"] == id)
            .unwrap();
        assert_eq!(detail["data"].as_str().unwrap().len() + 2, length);
    }
}

#[tokio::test]
async fn a_bus_that_is_down_delays_no_history_and_loses_nothing() {
    let world = World::new();
    world.bus.is_down.store(true, Ordering::SeqCst);
    let process = world.start();
    let ids = process.send_many("acme", 300);
    assert!(process.publisher.stored(&tenant("acme"), SOON).await);
    assert_eq!(world.stored("acme").len(), 300);
    until("the fault is told", || {
        process.publisher.stats().bus.fault.is_some()
    })
    .await;
    let stats = process.publisher.stats();
    assert_eq!(stats.bus.fault.unwrap().code, "AWS_UNAVAILABLE");
    assert_eq!((stats.bus.records, stats.history.records), (300, 0));
    assert!(stats.history.fault.is_none() && stats.oldest_age_ms.is_some());

    world.bus.is_down.store(false, Ordering::SeqCst);
    until("the bus has all", || world.bus.count() == 300).await;
    let mut details = world.bus.details();
    details.sort_by_key(|detail| detail["seq"].as_u64().unwrap());
    let seqs = details.iter().map(|detail| detail["seq"].as_u64().unwrap());
    assert!(seqs.eq(1..=300), "each once, under its own number");
    let order = details
        .iter()
        .map(|detail| detail["event_id"].as_str().unwrap());
    assert!(
        order.eq(ids.iter().map(String::as_str)),
        "the numbers tell the order"
    );
    until("the fault is over", || {
        process.publisher.stats().bus.fault.is_none()
    })
    .await;
    assert!(
        world.bus.largest.load(Ordering::SeqCst) == 10,
        "in full batches"
    );
}

#[tokio::test]
async fn a_table_that_is_down_delays_no_bus() {
    let world = World::new();
    world.table.is_down.store(true, Ordering::SeqCst);
    let process = world.start();
    let ids = process.send_many("acme", 60);
    until("the bus has all", || world.bus.count() == 60).await;
    assert!(
        !process
            .publisher
            .stored(&tenant("acme"), Duration::from_millis(30))
            .await
    );
    world.table.is_down.store(false, Ordering::SeqCst);
    assert!(process.publisher.stored(&tenant("acme"), SOON).await);
    assert_eq!(world.stored("acme"), ids.into_iter().collect());
    assert_eq!(world.counted(), 60);
}

#[tokio::test]
async fn only_the_entries_that_failed_are_sent_again() {
    let world = World::new();
    world.bus.flaky.store(7, Ordering::SeqCst);
    let process = world.start();
    let ids = process.send_many("acme", 200);
    until("the bus has all", || world.bus.count() >= 200).await;
    let mut published = world.published();
    assert_eq!(published.len(), 200, "none twice");
    published.sort();
    let mut ids = ids;
    ids.sort();
    assert_eq!(published, ids);
}

#[tokio::test]
async fn an_event_that_is_wrong_in_itself_is_set_aside() {
    let world = World::new();
    world
        .bus
        .refused
        .lock()
        .unwrap()
        .insert("Bad.Type".to_owned(), ErrorKind::InvalidParameter);
    let process = world.start();
    let mut bad = now("acme");
    bad.detail_type = "Bad.Type".into();
    let bad = process.send(bad);
    let good = process.send(now("acme"));
    assert!(process.publisher.published(&good, SOON).await);
    assert!(!process.publisher.published(&bad, SOON).await);
    assert!(process.publisher.stored(&tenant("acme"), SOON).await);
    assert_eq!((world.bus.count(), world.stored("acme").len()), (1, 2));
    let stats = process.publisher.stats();
    assert_eq!((stats.bus.set_aside, stats.bus.records), (1, 0));

    // A row that has its whole batch refused is found, and the others are stored.
    let poison = now("acme");
    world
        .table
        .poison
        .lock()
        .unwrap()
        .insert(poison.event_id.to_string());
    process.send_many("acme", 5);
    process.send(poison);
    process.send_many("acme", 5);
    assert!(process.publisher.stored(&tenant("acme"), SOON).await);
    assert_eq!(world.stored("acme").len(), 12);
    assert_eq!(process.publisher.stats().history.set_aside, 1);
}

#[tokio::test]
async fn a_throttled_tenant_holds_up_nobody_else_however_much_it_has() {
    let world = World::new();
    world
        .table
        .throttled
        .lock()
        .unwrap()
        .insert("T#slow#".to_owned());
    let process = world.start();
    let slow = process.send_many("slow", 2000);
    let quick = process.send_many("quick", 500);
    assert!(process.publisher.stored(&tenant("quick"), SOON).await);
    assert_eq!(world.stored("quick"), quick.into_iter().collect());
    assert_eq!(world.stored("slow").len(), 0);
    assert!(
        !process
            .publisher
            .stored(&tenant("slow"), Duration::from_millis(30))
            .await
    );
    until("one waits", || {
        process.publisher.stats().history.deferred_tenants == 1
    })
    .await;
    assert_eq!(process.publisher.stats().history.records, 2000);

    world.table.throttled.lock().unwrap().clear();
    let more = process.send_many("slow", 10);
    assert!(process.publisher.stored(&tenant("slow"), SOON).await);
    assert_eq!(world.stored("slow"), slow.into_iter().chain(more).collect());
    assert_eq!(world.counted(), 2510);
    assert_eq!(process.publisher.stats().history.records, 0);
    until("none waits", || {
        process.publisher.stats().history.deferred_tenants == 0
    })
    .await;
}

#[tokio::test]
async fn more_throttled_tenants_than_can_be_held_back_lose_nothing() {
    let world = World::new();
    let throttled = 1500;
    world
        .table
        .throttled
        .lock()
        .unwrap()
        .insert("T#slow".to_owned());
    let process = world.start();
    for index in 0..throttled {
        process.send_many(&format!("slow{index}"), 1);
    }
    let most = || process.publisher.stats().history.deferred_tenants;
    until("as many as fit wait", || most() >= deferral::TENANTS_MAX).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    // What was read before the last of them failed waits with them.
    assert!(most() <= deferral::TENANTS_MAX + 700, "{}", most());
    world.table.throttled.lock().unwrap().clear();
    until("all are stored", || world.stored("slow").len() == throttled).await;
    until("nothing is left", || {
        process.publisher.stats().history.records == 0
    })
    .await;
}

#[tokio::test]
async fn tenants_whom_the_bus_refuses_hold_up_nobody_else() {
    let world = World::new();
    for index in 0..20 {
        let source = format!("agent-mesh.denied{index}");
        world
            .bus
            .sources
            .lock()
            .unwrap()
            .insert(source, ErrorKind::PermissionDenied);
    }
    let process = world.start();
    for index in 0..20 {
        process.send_many(&format!("denied{index}"), 100);
    }
    let quick = process.send_many("quick", 300);
    until("the others' are out", || world.bus.count() == 300).await;
    assert_eq!(
        world.published().into_iter().collect::<HashSet<_>>(),
        quick.into_iter().collect()
    );
    world.bus.sources.lock().unwrap().clear();
    until("all are out", || world.bus.count() == 2300).await;
    assert_eq!(process.publisher.stats().bus.set_aside, 0);
}

#[tokio::test]
async fn what_a_killed_process_left_is_published_under_its_name_and_counted_once() {
    let world = World::new();
    world.bus.is_down.store(true, Ordering::SeqCst);
    let dead = world.start();
    let writer = dead.outbox.writer();
    let mut ids = dead.send_many("acme", 120);
    // Part of it is in history and counters already.
    assert!(dead.publisher.stored(&tenant("acme"), SOON).await);
    ids.extend(dead.send_many("acme", 7));
    let mut slot = dead
        .outbox
        .reserve(&tenant("acme"), Weight::Mutation)
        .unwrap();
    let intent = now("acme");
    ids.push(intent.event_id.to_string());
    slot.intend(&intent).unwrap();
    drop(slot);
    dead.kill().await;
    assert_eq!(world.folders(), 1);

    world.bus.is_down.store(false, Ordering::SeqCst);
    let heir = world.start();
    until("the heir has published all", || world.bus.count() >= 128).await;
    until("the folder is gone", || world.folders() == 1).await;
    let stats = heir.publisher.stats();
    assert_eq!((stats.outbox.adopted_folders, stats.outbox.records), (1, 0));
    assert_eq!(stats.outbox.bytes, 0);
    let details = world.bus.details();
    assert!(
        details
            .iter()
            .all(|detail| detail["writer"] == writer.to_string())
    );
    let mut seqs: Vec<u64> = details
        .iter()
        .map(|detail| detail["seq"].as_u64().unwrap())
        .collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=128).collect::<Vec<u64>>());
    assert_eq!(
        details
            .iter()
            .filter(|detail| detail["outcome"] == "unknown")
            .count(),
        1
    );
    assert_eq!(world.stored("acme"), ids.into_iter().collect());
    assert_eq!(world.counted(), 128, "replayed events count once");
}

#[tokio::test]
async fn a_process_can_be_killed_at_any_moment_and_again() {
    let world = World::new();
    world.bus.flaky.store(5, Ordering::SeqCst);
    *world.table.delay.lock().unwrap() = Duration::from_millis(1);
    let mut ids = HashSet::new();
    for round in 0..12 {
        let process = world.start();
        ids.extend(process.send_many("acme", 40));
        ids.extend(process.send_many("beta", 3));
        tokio::time::sleep(Duration::from_millis(round * 3)).await;
        process.kill().await;
    }
    let last = world.start();
    until("all folders are published", || world.folders() == 1).await;
    assert_eq!(last.publisher.stats().outbox.records, 0);
    let stored: HashSet<String> = world.stored("").into_iter().collect();
    assert_eq!(stored, ids);
    assert_eq!(world.published().into_iter().collect::<HashSet<_>>(), ids);
    assert_eq!(world.counted(), ids.len() as u64);
}

#[tokio::test]
async fn processes_of_one_target_leave_each_others_outboxes_alone_while_they_live() {
    let world = World::new();
    world.bus.is_down.store(true, Ordering::SeqCst);
    let (one, two) = (world.start(), world.start());
    one.send_many("acme", 20);
    two.send_many("acme", 30);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(one.publisher.stats().outbox.adopted_folders, 0);
    world.bus.is_down.store(false, Ordering::SeqCst);
    until("both publish", || world.bus.count() == 50).await;
    let by_writer = world
        .bus
        .details()
        .iter()
        .fold(BTreeMap::new(), |mut by_writer, detail| {
            *by_writer
                .entry(detail["writer"].as_str().unwrap().to_owned())
                .or_insert(0) += 1;
            by_writer
        });
    let expected = [
        (one.outbox.writer().to_string(), 20),
        (two.outbox.writer().to_string(), 30),
    ];
    assert_eq!(by_writer, BTreeMap::from(expected));
}

#[tokio::test]
async fn a_drain_publishes_what_is_left_and_removes_the_folder() {
    let world = World::new();
    let process = world.start();
    process.send_many("acme", 100);
    let drained = process.publisher.drain(Duration::from_secs(5)).await;
    assert_eq!(drained, Drained { left: 0 });
    assert_eq!(
        (
            world.bus.count(),
            world.stored("acme").len(),
            world.counted()
        ),
        (100, 100, 100)
    );
    assert_eq!(world.folders(), 0);
    assert!(
        process
            .outbox
            .reserve(&tenant("acme"), Weight::Read)
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_events_waits_for_nothing() {
    let world = World::new();
    let process = world.start();
    let tenant = "acme".parse().unwrap();
    let start = Instant::now();
    assert!(process.publisher.stored(&tenant, SOON).await);
    let drained = process.publisher.drain(SOON).await;
    assert!(start.elapsed() < SOON / 2, "{:?}", start.elapsed());
    assert_eq!(drained, Drained { left: 0 });
    assert_eq!(world.folders(), 0);
}

#[tokio::test]
async fn a_drain_ends_in_time_and_leaves_the_rest_to_the_next_process() {
    let world = World::new();
    world.bus.is_down.store(true, Ordering::SeqCst);
    let process = world.start();
    process.send_many("acme", 10);
    let begun = Instant::now();
    let drained = process.publisher.drain(Duration::from_millis(100)).await;
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(drained, Drained { left: 10 });
    assert_eq!(world.counted(), 10);
    drop(process);
    world.bus.is_down.store(false, Ordering::SeqCst);
    let _next = world.start();
    until("the next has published it", || world.bus.count() == 10).await;
}

#[tokio::test]
async fn segments_go_as_they_are_published_and_the_outbox_stays_open() {
    let mut world = World::new();
    world.bytes_max = 1 << 20;
    let process = world.start();
    // Far more than fits at once: the calls wait for the publisher now and then.
    let mut refused = 0;
    for _ in 0..6000 {
        loop {
            match process.outbox.reserve(&tenant("acme"), Weight::Read) {
                Ok(slot) => {
                    slot.commit(&[now("acme")]).unwrap();
                    break;
                }
                Err(_) => {
                    refused += 1;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        }
    }
    assert!(process.publisher.stored(&tenant("acme"), SOON).await);
    until("the bus has all", || world.bus.count() == 6000).await;
    until("nothing is in use", || process.outbox.stats().bytes == 0).await;
    assert!(refused > 0, "it was never full");
    assert_eq!(world.counted(), 6000);
}

#[tokio::test]
async fn a_clock_that_jumps_loses_no_event() {
    let mut world = World::new();
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_700_000_000_000)));
    world.clock = clock.clone();
    let process = world.start();
    for millis in [
        1_700_000_000_000,
        1_000,
        1_900_000_000_000,
        1_700_000_000_000,
    ] {
        clock.jump_to(Timestamp::from_millis(millis));
        process.send(event("acme", millis.unsigned_abs()));
        assert!(process.publisher.stored(&tenant("acme"), SOON).await);
    }
    assert_eq!((world.stored("acme").len(), world.counted()), (4, 4));
    let rows = world.table.rows.lock().unwrap();
    let early = rows
        .iter()
        .find(|((partition, _), _)| partition.contains("EV#19700101"))
        .unwrap()
        .1;
    let month = 30 * 86_400;
    assert_eq!(
        early.number("exp"),
        Some(1 + month),
        "by the clock of that moment"
    );
}

#[tokio::test]
async fn a_day_that_is_spread_is_marked_before_its_first_event() {
    let mut world = World::new();
    world.shards = 8;
    let process = world.start();
    process.send_many("acme", 30);
    assert!(process.publisher.stored(&tenant("acme"), SOON).await);
    let rows = world.table.rows.lock().unwrap();
    let marks: Vec<_> = rows
        .keys()
        .filter(|(_, sort)| sort.starts_with('#'))
        .collect();
    assert_eq!(marks.len(), 1);
    assert!(marks[0].0.ends_with("#0"), "in the first shard");
    assert_eq!(marks[0].1, "#008");
    let shard = super::super::history::shard_of(&process.outbox.writer().to_string(), 8);
    let events = rows.keys().filter(|(partition, sort)| {
        partition.contains("#EV#")
            && partition.ends_with(&format!("#{shard}"))
            && !sort.starts_with('#')
    });
    assert_eq!(events.count(), 30);
}

#[tokio::test]
async fn a_health_check_of_a_working_publisher_shows_no_fault() {
    let world = World::new();
    let process = world.start();
    let committed = process.send(now("acme"));
    assert!(process.publisher.published(&committed, SOON).await);
    let stats = serde_json::to_value(process.publisher.stats()).unwrap();
    assert!(stats["bus"].get("fault").is_none());
    assert_eq!(stats["outbox"]["torn_records"], 0);
    let mut unknown = now("acme");
    unknown.outcome = Outcome::Unknown;
    process.send(unknown);
    assert!(process.publisher.stored(&tenant("acme"), SOON).await);
}

#[tokio::test]
async fn a_steady_callers_events_fill_batches() {
    const EVENTS: usize = 150;
    const PAUSE: Duration = Duration::from_millis(15);
    let world = World::new();
    let process = world.start();
    let started = Instant::now();
    for _ in 0..EVENTS {
        process.send(now("acme"));
        tokio::time::sleep(PAUSE).await;
    }
    let elapsed = started.elapsed();
    until("all are on the bus", || world.bus.count() == EVENTS).await;
    // Seven come together in a linger, which would be twenty-three requests. On a machine so busy that there was
    // no steady pace, nothing can be said.
    let puts = world.bus.puts.load(Ordering::SeqCst);
    let is_steady = elapsed < PAUSE * EVENTS as u32 * 5 / 4;
    assert!(
        puts <= EVENTS / 10 + 5 || !is_steady,
        "{puts} requests in {elapsed:?}"
    );
}
