//! Bus, table or workflows that are away, throttle or take things in part, while the rest goes on: nothing is
//! lost, and only what failed is done again.

use super::*;
use crate::mesh::event::rules::ALERT_RAISED;

/// Events whose rule starts a workflow and raises two alerts.
const EVENTS: usize = 300;

/// What bus and history get of them: each, and that it has raised each alert.
const ENTRIES: usize = EVENTS * 3;

/// A minute at the real pace has room for about so many tries at the longest wait, and so does this time away.
const TRIES: usize = 16;

fn set_down(world: &World, is_down: bool) {
    world.bus.is_down.store(is_down, Ordering::SeqCst);
}

/// Everything is done that rules and history have to do with the events, each once.
async fn is_done_but_for_the_bus(world: &World, process: &Process, ids: &[String]) {
    until("rules and history are through", || {
        let stats = process.publisher.stats();
        world.stored("acme").len() == ENTRIES
            && (stats.rules.records, stats.history.records) == (0, 0)
    })
    .await;
    world.assert_started("acme", ids);
    let stored = world.stored("acme");
    assert!(ids.iter().all(|id| stored.contains(id)));
    assert_eq!(world.recorded("acme", ALERT_RAISED).len(), EVENTS * 2);
}

/// The bus gets everything that is in the history, and no entry of it twice.
async fn is_published_once(world: &World, process: &Process) {
    until("the bus is through", || {
        process.publisher.stats().bus.records == 0
    })
    .await;
    assert!(world.published().into_iter().collect::<HashSet<_>>() == world.stored("acme"));
    let details = world.bus.details();
    let name = |detail: &Value| (detail["writer"].to_string(), detail["seq"].to_string());
    let entries: HashSet<_> = details.iter().map(name).collect();
    assert_eq!(entries.len(), details.len(), "an entry was taken twice");
    assert_eq!(process.publisher.stats().bus.set_aside, 0);
}

#[tokio::test]
async fn while_the_bus_is_away_rules_act_and_when_it_is_back_it_gets_each_event_once() {
    let world = World::with_rule_and_alerts("acme").await;
    set_down(&world, true);
    let process = world.start();
    let mut ids = process.send_many("acme", EVENTS / 2);
    until("the fault is told", || {
        process.publisher.stats().bus.fault.is_some()
    })
    .await;
    // Whoever starts meanwhile takes over what waits.
    process.kill().await;
    let process = world.start();
    ids.extend(process.send_many("acme", EVENTS / 2));
    is_done_but_for_the_bus(&world, &process, &ids).await;
    assert_eq!(process.outbox.stats().adopted_folders, 1);
    // That an alert was raised is said again where the kill came before it was acknowledged.
    let waiting = process.publisher.stats().bus.records;
    assert!(waiting >= ENTRIES as u64, "{waiting}");

    // It comes back busy: first it takes nothing, then not all of it, then all.
    let sources = || world.bus.sources.lock().unwrap();
    sources().insert("agent-mesh.acme".to_owned(), ErrorKind::AwsThrottled);
    set_down(&world, false);
    until("it is told that the bus throttles", || {
        let fault = process.publisher.stats().bus.fault;
        fault.is_some_and(|fault| fault.code == "AWS_THROTTLED")
    })
    .await;
    assert_eq!(world.bus.count(), 0);
    world.bus.flaky.store(3, Ordering::SeqCst);
    sources().clear();
    is_published_once(&world, &process).await;
    world.assert_started("acme", &ids);
}

#[tokio::test]
async fn a_bus_that_is_away_for_long_is_asked_in_moderation_and_loses_nothing() {
    let mut world = World::with_rule_and_alerts("acme").await;
    world.pace.backoff_longest = Duration::from_millis(50);
    set_down(&world, true);
    let process = world.start();
    let ids = process.send_many("acme", EVENTS);
    is_done_but_for_the_bus(&world, &process, &ids).await;
    let tries = || world.bus.tries.load(Ordering::SeqCst);
    let (before, begun) = (tries(), Instant::now());
    until("it was asked often", || tries() - before >= TRIES).await;
    // Of the waits the first ones may be shorter; each further one is halved by chance at most.
    let tries = tries() - before;
    let most = begun.elapsed().as_millis() / 25 + 16;
    assert!(tries as u128 <= most, "{tries} of {most}");
    assert_eq!(process.publisher.stats().bus.records, ENTRIES as u64);
    set_down(&world, false);
    is_published_once(&world, &process).await;
    assert_eq!(world.bus.count(), ENTRIES);
    world.assert_started("acme", &ids);
}

#[tokio::test]
async fn of_a_batch_that_a_table_takes_in_part_only_the_rest_is_stored_again() {
    let world = World::with_rule_and_alerts("acme").await;
    world.table.flaky.store(5, Ordering::SeqCst);
    let process = world.start();
    let ids = process.send_many("acme", EVENTS);
    is_done_but_for_the_bus(&world, &process, &ids).await;
    assert!(world.table.seen.load(Ordering::SeqCst) > ENTRIES as u64);
    assert_eq!(world.table.again.load(Ordering::SeqCst), 0);
    is_published_once(&world, &process).await;
}

#[tokio::test]
async fn while_workflows_or_topics_are_away_the_rest_goes_on_and_nothing_is_done_twice() {
    for (away, told) in [("refund", [true, true]), ("arn:ops", [true, false])] {
        let world = World::with_rule_and_alerts("acme").await;
        world.ruled().fail(away, ErrorKind::AwsUnavailable);
        let process = world.start();
        let ids = process.send_many("acme", EVENTS);
        until("history and bus have the events", || {
            let published: HashSet<_> = world.published().into_iter().collect();
            let stored = world.stored("acme");
            ids.iter()
                .all(|id| published.contains(id) && stored.contains(id))
        })
        .await;
        until("the fault is told", || {
            let (notes, waiting) = process.publisher.rules(&tenant("acme"));
            waiting > 0
                && notes
                    .fault
                    .is_some_and(|fault| fault.code == "AWS_UNAVAILABLE")
        })
        .await;
        assert_eq!(world.told("acme").map(|count| count > 0), told, "{away}");
        assert_eq!(world.ruled().run_count() == 0, away == "refund");
        world.ruled().recover();
        is_done_but_for_the_bus(&world, &process, &ids).await;
        assert_eq!(world.told("acme"), [EVENTS; 2], "{away}");
        is_published_once(&world, &process).await;
        assert_eq!(world.bus.count(), ENTRIES);
    }
}
