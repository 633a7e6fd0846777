//! What a process could not publish reaches history and bus through another one, wherever that runs.

use super::*;
use crate::mesh::event::publisher::handover::adoption::{CLAIM_TIME, LOOK_AGAIN, TENANTS_MAX};

/// How long a drain has in these tests that ends while something is down.
const SHORT: Duration = Duration::from_millis(600);

impl World {
    fn with_hand_over() -> Self {
        Self {
            hand_over: true,
            ..Self::new()
        }
    }

    /// The same cloud, seen from a machine with an empty disk.
    pub(super) fn elsewhere(&self) -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
            table: self.table.clone(),
            bucket: self.bucket.clone(),
            bus: self.bus.clone(),
            clock: self.clock.clone(),
            bytes_max: self.bytes_max,
            shards: self.shards,
            hand_over: true,
            pace: self.pace,
            ruled: self.ruled.clone(),
        }
    }

    pub(super) fn set_down(&self, table: bool, bus: bool) {
        self.table.is_down.store(table, Ordering::SeqCst);
        self.bus.is_down.store(bus, Ordering::SeqCst);
    }

    pub(super) fn handed_over(&self, tenant: &str) -> Vec<String> {
        self.bucket.keys(&format!("t/{tenant}/outbox/"))
    }

    /// A process that sends so many events of acme, cannot publish them and ends.
    pub(super) async fn leave(&self, count: usize) -> (Ulid, Vec<String>) {
        let process = self.start();
        let ids = process.send_many("acme", count);
        let drained = process.publisher.drain(SHORT).await;
        assert_eq!(drained, Drained { left: 0 });
        (process.outbox.writer(), ids)
    }

    /// The numbers of a writer's events on the bus.
    fn seqs(&self, writer: Ulid) -> Vec<u64> {
        let writer = writer.to_string();
        let details = self.bus.details();
        let ours = details.iter().filter(|detail| detail["writer"] == writer);
        let mut seqs: Vec<u64> = ours.map(|detail| detail["seq"].as_u64().unwrap()).collect();
        seqs.sort_unstable();
        seqs
    }

    /// Waits until nothing of acme is handed over any more, and everything of this process is published.
    async fn settled(&self, process: &Process) {
        until("the objects are gone", || {
            self.handed_over("acme").is_empty()
        })
        .await;
        until("nothing waits", || process.outbox.stats().records == 0).await;
        assert!(process.publisher.stored(&tenant("acme"), SOON).await);
    }
}

#[tokio::test]
async fn what_the_bus_did_not_take_arrives_from_another_disk_once_and_as_it_was() {
    let world = World::with_hand_over();
    world.set_down(false, true);
    let (writer, ids) = world.leave(120).await;
    assert_eq!(world.folders(), 0);
    let keys = world.handed_over("acme");
    assert_eq!(keys, [format!("t/acme/outbox/{writer}-000001")]);
    assert_eq!((world.counted(), world.bus.count()), (120, 0));

    world.set_down(false, false);
    let other = world.elsewhere();
    let next = other.start();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(world.bus.count(), 0, "nobody has asked for the tenant yet");
    let id = next.send_many("acme", 1).remove(0);
    other.settled(&next).await;
    assert_eq!(world.seqs(writer), (1..=120).collect::<Vec<u64>>());
    let mut expected: HashSet<String> = ids.into_iter().collect();
    expected.insert(id);
    assert_eq!(
        world.published().into_iter().collect::<HashSet<_>>(),
        expected
    );
    assert_eq!(world.stored("acme"), expected);
    assert_eq!(world.counted(), 121);
    let stats = next.publisher.stats().hand_over;
    assert_eq!((stats.adopted_records, stats.unreadable_objects), (120, 0));
}

#[tokio::test]
async fn what_went_nowhere_is_counted_and_stored_by_who_takes_it_on() {
    let world = World::with_hand_over();
    world.set_down(true, true);
    let (writer, ids) = world.leave(300).await;
    assert_eq!(world.stored("acme").len(), 0);
    world.set_down(false, false);
    let other = world.elsewhere();
    let next = other.start();
    // Whoever only reads has it looked for as well.
    assert!(next.publisher.stored(&tenant("acme"), SOON).await);
    other.settled(&next).await;
    assert_eq!(world.stored("acme"), ids.into_iter().collect());
    assert_eq!(world.counted(), 300);
    assert_eq!(world.seqs(writer), (1..=300).collect::<Vec<u64>>());
    for detail in world.table.details("T#acme#EV#") {
        assert_eq!(detail["writer"], writer.to_string());
    }
}

#[tokio::test]
async fn counts_that_were_half_written_end_up_exact() {
    let world = World::with_hand_over();
    let process = world.start();
    process.send_many("acme", 50);
    assert!(process.publisher.stored(&tenant("acme"), SOON).await);
    assert_eq!(world.counted(), 50);
    world.set_down(true, false);
    process.send_many("acme", 30);
    process.publisher.drain(SHORT).await;
    assert_eq!((world.counted(), world.folders()), (50, 0));
    world.set_down(false, false);
    let other = world.elsewhere();
    let next = other.start();
    assert!(next.publisher.stored(&tenant("acme"), SOON).await);
    other.settled(&next).await;
    assert_eq!(world.counted(), 80);
    assert_eq!(world.stored("acme").len(), 80);
    assert_eq!(world.bus.count(), 80, "the bus had them already");
}

#[tokio::test]
async fn without_the_bucket_and_without_the_setting_the_records_stay_in_the_folder() {
    for (hand_over, is_down) in [(true, true), (false, false)] {
        let mut world = World::new();
        world.hand_over = hand_over;
        world.set_down(false, true);
        world.bucket.is_down.store(is_down, Ordering::SeqCst);
        let process = world.start();
        process.send_many("acme", 10);
        let drained = process.publisher.drain(SHORT).await;
        assert_eq!(drained, Drained { left: 10 });
        assert_eq!((world.folders(), world.handed_over("").len()), (1, 0));
        drop(process);
        world.set_down(false, false);
        let _next = world.start();
        until("the next has published it", || world.bus.count() == 10).await;
        assert_eq!(world.counted(), 10);
    }
}

#[tokio::test]
async fn a_bucket_that_never_answers_does_not_hold_the_end_up() {
    let world = World::with_hand_over();
    world.set_down(false, true);
    world.bucket.hangs.store(true, Ordering::SeqCst);
    let process = world.start();
    process.send_many("acme", 10);
    let begun = Instant::now();
    let drained = process.publisher.drain(SHORT).await;
    assert!(begun.elapsed() < SHORT * 2, "{:?}", begun.elapsed());
    assert_eq!((drained, world.folders()), (Drained { left: 10 }, 1));
}

#[tokio::test]
async fn of_several_who_look_at_once_one_publishes() {
    let world = World::with_hand_over();
    world.set_down(true, true);
    let (writer, _) = world.leave(200).await;
    world.set_down(false, false);
    *world.table.delay.lock().unwrap() = Duration::from_millis(2);
    let machines: Vec<World> = (0..4).map(|_| world.elsewhere()).collect();
    let processes: Vec<Process> = machines.iter().map(World::start).collect();
    for process in &processes {
        process.send(now("acme"));
    }
    for (machine, process) in machines.iter().zip(&processes) {
        machine.settled(process).await;
    }
    assert_eq!(world.counted(), 204);
    assert_eq!(world.stored("acme").len(), 204);
    assert_eq!(world.seqs(writer), (1..=200).collect::<Vec<u64>>());
}

#[tokio::test]
async fn an_object_that_a_dead_process_has_taken_on_is_taken_from_it_in_time() {
    let world = World::with_hand_over();
    world.set_down(false, true);
    let (writer, _) = world.leave(20).await;
    let other = world.elsewhere();
    let dead = other.start();
    dead.send_many("acme", 1);
    let key = world.handed_over("acme").remove(0);
    let claim = dead.outbox.writer().to_string();
    until("it is taken on", || {
        let objects = world.bucket.objects.lock().unwrap();
        std::str::from_utf8(&objects[&key])
            .unwrap()
            .contains(&claim)
    })
    .await;
    dead.kill().await;
    world.set_down(false, false);
    let third = world.elsewhere();
    let next = third.start();
    next.send_many("acme", 1);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(world.seqs(writer), [0; 0], "it is still left in peace");
    let long_ago = SystemClock::new().now().minus(CLAIM_TIME);
    *world.bucket.modified.lock().unwrap() = Some(long_ago);
    third.settled(&next).await;
    assert_eq!(world.seqs(writer), (1..=20).collect::<Vec<u64>>());
}

#[tokio::test]
async fn damaged_newer_and_foreign_objects_are_left_alone_and_told_of_once() {
    let world = World::with_hand_over();
    world.set_down(false, true);
    let (writer, _) = world.leave(5).await;
    let key = world.handed_over("acme").remove(0);
    let sound = world.bucket.objects.lock().unwrap()[&key].clone();
    let name = |number: u32| format!("t/acme/outbox/{writer}-{number:06}");
    let text = std::str::from_utf8(&sound).unwrap().to_owned();
    let target = text.split("\"target\":\"").nth(1).unwrap();
    let target = target.split('"').next().unwrap().to_owned();
    let strange = [
        (name(1), text.replace("KV.Set", "KV.Get")),
        (name(2), text.replace("\"version\":2", "\"version\":3")),
        (name(3), text.replace(&target, "aws-uswest2-0")),
        (name(4), String::new()),
        ("t/acme/outbox/note".to_owned(), "hello".to_owned()),
    ];
    for (key, text) in &strange {
        let mut objects = world.bucket.objects.lock().unwrap();
        objects.insert(key.clone(), text.clone().into());
    }
    world.bucket.objects.lock().unwrap().insert(name(5), sound);
    world.set_down(false, false);
    let other = world.elsewhere();
    let next = other.start();
    next.send_many("acme", 1);
    until("the sound one is published", || {
        world.seqs(writer) == [1, 2, 3, 4, 5]
    })
    .await;
    until("and gone", || world.handed_over("acme").len() == 5).await;
    let gets = world.bucket.gets.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let stats = next.publisher.stats().hand_over;
    assert_eq!(
        stats.unreadable_objects, 3,
        "bound for elsewhere is no fault"
    );
    assert_eq!(world.bucket.gets.load(Ordering::SeqCst), gets);
    for (key, text) in &strange {
        let objects = world.bucket.objects.lock().unwrap();
        assert_eq!(objects[key], text.as_bytes());
    }
}

#[tokio::test]
async fn each_tenant_has_its_own_objects_and_none_waits_for_another() {
    // Where history is missing too, the folder keeps all of it: counts must find it in order.
    for (is_table_down, left) in [(false, 10), (true, 20)] {
        let world = World::with_hand_over();
        world.set_down(is_table_down, true);
        // Of beta nothing can be handed over.
        world.bucket.closed.lock().unwrap().insert("t/beta/".into());
        let process = world.start();
        for _ in 0..10 {
            process.send_many("acme", 1);
            process.send_many("beta", 1);
        }
        let drained = process.publisher.drain(SHORT).await;
        assert_eq!(drained, Drained { left });
        assert_eq!((world.folders(), world.handed_over("beta").len()), (1, 0));
        let key = world.handed_over("acme").remove(0);
        let body = world.bucket.objects.lock().unwrap()[&key].clone();
        let text = std::str::from_utf8(&body).unwrap();
        assert!(text.contains("\"tenant_id\":\"acme\"") && !text.contains("beta"));
        drop(process);
        world.set_down(false, false);
        world.bucket.closed.lock().unwrap().clear();
        let next = world.start();
        next.send_many("acme", 1);
        world.settled(&next).await;
        until("the folder is published", || world.folders() == 1).await;
        assert_eq!((world.counted(), world.stored("").len()), (21, 21));
        let published: HashSet<String> = world.published().into_iter().collect();
        assert_eq!(published.len(), 21);
    }
}

#[tokio::test]
async fn only_what_has_not_left_is_handed_over() {
    let world = World::with_hand_over();
    world
        .table
        .throttled
        .lock()
        .unwrap()
        .insert("T#acme#EV".into());
    let process = world.start();
    for _ in 0..20 {
        process.send_many("acme", 1);
        process.send_many("beta", 1);
    }
    assert!(process.publisher.stored(&tenant("beta"), SOON).await);
    let drained = process.publisher.drain(SHORT).await;
    assert_eq!((drained, world.folders()), (Drained { left: 0 }, 0));
    assert_eq!(world.handed_over("beta").len(), 0);
    world.table.throttled.lock().unwrap().clear();
    let other = world.elsewhere();
    let next = other.start();
    assert!(next.publisher.stored(&tenant("acme"), SOON).await);
    other.settled(&next).await;
    assert_eq!(world.stored("acme").len(), 20);
    assert_eq!((world.counted(), world.bus.count()), (40, 40));
}

#[tokio::test]
async fn a_bus_that_takes_some_is_not_sent_them_again() {
    let world = World::with_hand_over();
    world.set_down(false, true);
    let (writer, _) = world.leave(100).await;
    world.set_down(false, false);
    world.bus.flaky.store(3, Ordering::SeqCst);
    let other = world.elsewhere();
    let next = other.start();
    next.send_many("acme", 1);
    other.settled(&next).await;
    assert_eq!(world.seqs(writer), (1..=100).collect::<Vec<u64>>());
    assert_eq!(next.publisher.stats().hand_over.adopted_records, 100);
}

#[tokio::test]
async fn more_than_fits_one_object_goes_into_several_in_order() {
    let world = World::with_hand_over();
    world.set_down(true, true);
    let process = world.start();
    for _ in 0..60 {
        let mut event = now("acme");
        let body = format!("\"{}\"", "x".repeat(150_000));
        event.data = serde_json::value::RawValue::from_string(body).unwrap();
        process.send(event);
    }
    let drained = process.publisher.drain(Duration::from_secs(3)).await;
    assert_eq!(drained, Drained { left: 0 });
    let keys = world.handed_over("acme");
    assert_eq!(keys.len(), 3);
    for key in keys {
        let size = world.bucket.objects.lock().unwrap()[&key].len();
        assert!(size <= (4 << 20) + (4 << 10), "{size}");
    }
    world.set_down(false, false);
    let other = world.elsewhere();
    let next = other.start();
    assert!(next.publisher.stored(&tenant("acme"), SOON).await);
    other.settled(&next).await;
    assert_eq!(
        world.seqs(process.outbox.writer()),
        (1..=60).collect::<Vec<u64>>()
    );
    assert_eq!((world.stored("acme").len(), world.counted()), (60, 60));
}

#[tokio::test]
async fn a_call_under_way_at_the_end_is_handed_over_as_unknown() {
    let world = World::with_hand_over();
    let process = world.start();
    let mut slot = process
        .outbox
        .reserve(&tenant("acme"), Weight::Mutation)
        .unwrap();
    let event = now("acme");
    slot.intend(&event).unwrap();
    process.publisher.drain(SHORT).await;
    assert_eq!(world.handed_over("acme").len(), 1);
    std::mem::forget(slot);
    let other = world.elsewhere();
    let next = other.start();
    assert!(next.publisher.stored(&tenant("acme"), SOON).await);
    other.settled(&next).await;
    let details = world.bus.details();
    assert_eq!(details.len(), 1);
    assert_eq!(details[0]["outcome"], "unknown");
    assert_eq!(details[0]["event_id"], event.event_id.to_string());
}

#[tokio::test]
async fn an_adopted_outbox_is_handed_over_as_well_beside_what_lies_there() {
    let world = World::with_hand_over();
    world.set_down(false, true);
    let first = world.start();
    first.send_many("acme", 10);
    let writer = first.outbox.writer();
    first.kill().await;
    // An object of that name is there already.
    let name = format!("t/acme/outbox/{writer}-000001");
    let stub = bytes::Bytes::from_static(b"held");
    world
        .bucket
        .objects
        .lock()
        .unwrap()
        .insert(name.clone(), stub);
    let second = world.start();
    until("it is adopted", || {
        second.publisher.stats().outbox.adopted_folders == 1
    })
    .await;
    second.send_many("acme", 5);
    let drained = second.publisher.drain(SHORT).await;
    assert_eq!((drained, world.folders()), (Drained { left: 0 }, 0));
    assert_eq!(world.handed_over("acme").len(), 3);
    world.bucket.objects.lock().unwrap().remove(&name);
    world.set_down(false, false);
    let other = world.elsewhere();
    let next = other.start();
    next.send_many("acme", 1);
    other.settled(&next).await;
    assert_eq!(world.seqs(writer), (1..=10).collect::<Vec<u64>>());
    let second = second.outbox.writer();
    assert_eq!(world.seqs(second), (1..=5).collect::<Vec<u64>>());
    assert_eq!(world.counted(), 16);
}

#[tokio::test]
async fn a_tenant_is_looked_at_when_it_becomes_active_and_then_now_and_again() {
    let mut world = World::with_hand_over();
    let clock = Arc::new(ManualClock::at(SystemClock::new().now()));
    world.clock = clock.clone();
    let process = world.start();
    let lists = || world.bucket.lists.load(Ordering::SeqCst);
    process.send_many("acme", 50);
    until("acme is looked at", || lists() == 1).await;
    clock.advance(LOOK_AGAIN - Duration::from_millis(1));
    process.send_many("acme", 50);
    assert!(process.publisher.stored(&tenant("acme"), SOON).await);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(lists(), 1);
    clock.advance(Duration::from_millis(1));
    process.send_many("acme", 1);
    until("acme is looked at again", || lists() == 2).await;
    process.send_many("beta", 1);
    until("beta is looked at", || lists() == 3).await;
}

#[tokio::test]
async fn a_bucket_that_was_down_is_asked_again() {
    let world = World::with_hand_over();
    world.set_down(false, true);
    let (writer, _) = world.leave(5).await;
    world.set_down(false, false);
    world.bucket.is_down.store(true, Ordering::SeqCst);
    let other = world.elsewhere();
    let next = other.start();
    next.send_many("acme", 1);
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.bucket.is_down.store(false, Ordering::SeqCst);
    other.settled(&next).await;
    assert_eq!(world.seqs(writer), [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn however_many_tenants_there_are_only_so_many_are_remembered() {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let (lookout, mut noticed) = Lookout::new(clock);
    let mut seen = 0;
    for number in 0..TENANTS_MAX * 2 {
        lookout.notice(&tenant(&format!("t{number}")));
        lookout.notice(&tenant(&format!("t{number}")));
        seen += usize::from(noticed.try_recv().is_ok());
        assert!(noticed.try_recv().is_err(), "each is told of once");
    }
    assert_eq!(seen, TENANTS_MAX * 2);
    assert!(lookout.remembered() <= TENANTS_MAX);
}
