//! Each run's end is recorded once, whoever looks and whatever breaks.

use std::future::Future;

use super::*;
use crate::mesh::store::key::Keyspace;
use crate::mesh::store::table::{Row, Table as _};
use crate::mesh::workflow::ending::event_id;
use crate::mesh::workflow::fakes::{Bench, run};
use crate::mesh::workflow::{NewRun, Run, WatchPace};
use crate::mesh::{Clock as _, ErrorKind};

/// Does what is due in this process, as the watcher would.
async fn turn(bench: &Bench) -> usize {
    let mut done = 0;
    while let Ok(task) = bench.book.followed().next() {
        let tenant = bench.book.perform(task).await;
        bench.book.followed().returned(&tenant);
        done += 1;
    }
    done
}

/// Lets time go by until the process has nothing to watch, or patience ends.
async fn watch(bench: &Bench, run: &NewRun) {
    for _ in 0..200 {
        turn(bench).await;
        if !bench.book.followed().is_followed(&bench.tenant, run.run_id) {
            return;
        }
        bench.states.clock.advance(Duration::from_millis(250));
    }
    panic!("the run is watched for ever");
}

fn execution(bench: &Bench, run: &NewRun) -> String {
    format!("{}:{}-{}", run.machine, bench.tenant, run.run_id)
}

async fn ended(bench: &Bench, run: &NewRun) -> Run {
    let kept = bench.kept(run).await.unwrap();
    assert!(kept.run.state.has_ended());
    kept.run
}

#[tokio::test]
async fn the_end_of_a_run_is_one_event_and_frees_its_place() {
    for (status, error, detail_type) in [
        (ExecutionStatus::Succeeded, None, "Workflow.Succeeded"),
        (
            ExecutionStatus::Failed,
            Some("Out.OfStock"),
            "Workflow.Failed",
        ),
        (
            ExecutionStatus::TimedOut,
            Some("States.Timeout"),
            "Workflow.TimedOut",
        ),
        (ExecutionStatus::Aborted, None, "Workflow.Aborted"),
    ] {
        let bench = Bench::new(10);
        let run = NewRun {
            rule: Some("on-order".to_owned()),
            cause: Some(Ulid(77)),
            depth: 2,
            ..run()
        };
        bench.launch(&run).await.unwrap();
        for _ in 0..10 {
            turn(&bench).await;
            bench.states.clock.advance(Duration::from_millis(250));
        }
        assert_eq!(bench.events(), 0, "it still runs");
        bench.states.end(&execution(&bench, &run), status, error);
        watch(&bench, &run).await;
        let kept = ended(&bench, &run).await;
        assert_eq!(kept.state, RunState::Known(status));
        assert_eq!(kept.error.as_deref(), error);
        assert_eq!((bench.events(), bench.marks(), bench.used()), (1, 0, 0));
        let outbox = bench.outbox();
        for part in [
            format!("\"detail_type\":\"{detail_type}\""),
            format!(
                "\"run_id\":\"{}\",\"name\":\"refund\",\"rule\":\"on-order\"",
                run.run_id
            ),
            format!("\"cause\":\"{}\",\"depth\":2", Ulid(77)),
            "\"tool\":\"workflow_start\"".to_owned(),
            "\"user_id\":\"ada\"".to_owned(),
        ] {
            assert!(outbox.contains(&part), "{part}\n{outbox}");
        }
        assert!(
            !outbox.contains("order\": 1.50"),
            "the input is in no event"
        );
    }
}

#[tokio::test]
async fn an_ended_run_is_kept_for_ninety_days_and_then_forgotten() {
    let bench = Bench::new(10);
    let run = run();
    bench.launch(&run).await.unwrap();
    bench
        .states
        .end(&execution(&bench, &run), ExecutionStatus::Succeeded, None);
    bench.states.clock.advance(Duration::from_secs(1));
    watch(&bench, &run).await;
    bench.states.clock.advance(Duration::from_hours(24 * 89));
    assert!(bench.kept(&run).await.is_some());
    bench.states.clock.advance(Duration::from_hours(24 * 2));
    assert!(bench.kept(&run).await.is_none());
}

#[tokio::test]
async fn two_processes_that_see_the_same_end_record_it_once() {
    let bench = Bench::new(10);
    let other = bench.other();
    for _ in 0..20 {
        let run = run();
        bench.launch(&run).await.unwrap();
        bench
            .states
            .end(&execution(&bench, &run), ExecutionStatus::Succeeded, None);
        let kept = bench.kept(&run).await.unwrap();
        let end = |bench: &Bench| {
            let (book, tenant, kept) = (bench.book.clone(), bench.tenant.clone(), kept.clone());
            async move {
                let described = book.parts().states.describe(&tenant, &kept.run.execution);
                let execution = described.await.unwrap().unwrap();
                let end = End::of(&execution, kept.run.started_at).unwrap();
                let mut meter = Meter::default();
                book.end(&tenant, &kept, end, &mut meter).await.unwrap()
            }
        };
        let (one, two) = tokio::join!(end(&bench), end(&other));
        assert!(one.recorded != two.recorded);
        assert_eq!(one.run.state, two.run.state);
    }
    assert_eq!(bench.events() + other.events(), 20);
    assert_eq!((bench.marks(), bench.used()), (0, 0));
}

#[tokio::test]
async fn a_process_that_dies_at_any_write_leaves_the_end_to_the_next() {
    let (mut before, mut after) = (0, 0);
    for writes in 0..4 {
        let bench = Bench::new(10);
        let run = run();
        bench.launch(&run).await.unwrap();
        bench
            .states
            .end(&execution(&bench, &run), ExecutionStatus::Succeeded, None);
        bench.states.clock.advance(Duration::from_millis(10));
        bench.table.die_after(writes);
        turn(&bench).await;
        bench.table.revive();
        let dead = bench.events();
        history_gets_events(&bench, &run, dead).await;
        // It is gone from here on, with what its outbox has.
        let next = bench.other();
        next.states.clock.advance(WatchPace::EMBEDDED.lease);
        next.book.note_active(&next.tenant);
        for _ in 0..100 {
            turn(&next).await;
            next.states.clock.advance(Duration::from_millis(250));
        }
        assert!(ended(&next, &run).await.stopped_at.is_some());
        assert_eq!(dead + next.events(), 1, "after {writes} writes");
        assert_eq!(next.marks(), 0);
        before += dead;
        after += next.events();
    }
    assert!(
        before > 0 && after > 0,
        "it died on both sides of the event"
    );
}

/// What a publisher does that adopts the outbox of a dead process.
async fn history_gets_events(bench: &Bench, run: &NewRun, count: u64) {
    if count == 0 {
        return;
    }
    let kept = bench.kept(run).await.unwrap().run;
    let id = event_id(&bench.tenant, kept.run_id, kept.stopped_at.unwrap());
    let key = Keyspace::of(&bench.tenant).event(kept.stopped_at.unwrap(), 0, &id.to_string());
    let row = Row::new().with_text("detail", "{}");
    let put = bench
        .table
        .put(&key, row, crate::mesh::store::table::Condition::Always);
    put.await.unwrap();
}

#[tokio::test]
async fn a_repetition_of_an_end_has_the_same_event() {
    let bench = Bench::new(10);
    let run = run();
    bench.launch(&run).await.unwrap();
    let stopped_at = bench.states.clock.now();
    let id = event_id(&bench.tenant, run.run_id, stopped_at);
    assert_eq!(id, event_id(&bench.tenant, run.run_id, stopped_at));
    assert_ne!(
        id,
        event_id(&"other".parse().unwrap(), run.run_id, stopped_at)
    );
    assert_ne!(id, event_id(&bench.tenant, Ulid(1), stopped_at));
    assert_eq!(
        id.timestamp_ms(),
        stopped_at.as_millis().unsigned_abs(),
        "so that it lies on the day of the end"
    );
}

#[tokio::test]
async fn runs_of_a_living_process_are_left_to_it_and_those_of_a_dead_one_taken_over() {
    let bench = Bench::new(10);
    let run = run();
    bench.launch(&run).await.unwrap();
    turn(&bench).await;
    let next = bench.other();
    for _ in 0..20 {
        bench.states.clock.advance(Duration::from_secs(2));
        turn(&bench).await;
        next.book.note_active(&next.tenant);
        turn(&next).await;
    }
    bench
        .states
        .end(&execution(&bench, &run), ExecutionStatus::Succeeded, None);
    // From here on the first one does nothing any more.
    let mut looks = 0;
    while next.events() == 0 {
        looks += 1;
        assert!(looks < 20, "nobody takes it over");
        bench.states.clock.advance(Duration::from_secs(1));
        next.book.note_active(&next.tenant);
        turn(&next).await;
    }
    assert!(looks > 1, "it was not taken over before its time");
    assert_eq!(bench.events(), 0);
}

#[tokio::test]
async fn a_run_that_never_began_is_recorded_as_failed_and_one_that_did_goes_on() {
    for is_started in [false, true] {
        let bench = Bench::new(10);
        let run = run();
        let fault = (ErrorKind::AwsUnavailable, is_started);
        bench.states.start_faults.lock().unwrap().push_back(fault);
        bench.launch(&run).await.unwrap_err();
        let before = START_GRACE - Duration::from_secs(10);
        for _ in 0..before.as_secs() {
            bench.states.clock.advance(Duration::from_secs(1));
            turn(&bench).await;
        }
        let state = bench.kept(&run).await.unwrap().run.state;
        match is_started {
            true => assert_eq!(state, RunState::Known(ExecutionStatus::Running)),
            false => assert_eq!(state, RunState::Starting),
        }
        assert_eq!(bench.events(), 0);
        for _ in 0..30 {
            bench.states.clock.advance(Duration::from_secs(1));
            turn(&bench).await;
        }
        if is_started {
            assert_eq!((bench.events(), bench.marks()), (0, 1));
            continue;
        }
        let kept = ended(&bench, &run).await;
        assert_eq!(kept.state, RunState::Known(ExecutionStatus::Failed));
        assert_eq!(kept.error.as_deref(), Some("Mesh.NotStarted"));
        assert_eq!((bench.events(), bench.marks(), bench.used()), (1, 0, 0));
        assert!(bench.outbox().contains("\"error\":\"Mesh.NotStarted\""));
        // The same start again finds what was recorded and starts nothing.
        bench.launch(&run).await.unwrap();
        assert_eq!(bench.started(), 0);
    }
}

#[tokio::test]
async fn a_rules_run_that_has_not_begun_waits_for_its_publisher() {
    let bench = Bench::new(10);
    let run = NewRun {
        rule: Some("on-order".to_owned()),
        ..run()
    };
    let fault = (ErrorKind::AwsUnavailable, false);
    bench.states.start_faults.lock().unwrap().push_back(fault);
    bench.launch(&run).await.unwrap_err();
    for _ in 0..60 {
        bench.states.clock.advance(Duration::from_secs(60));
        turn(&bench).await;
    }
    assert_eq!(bench.events(), 0);
    bench.launch(&run).await.unwrap();
    assert_eq!(bench.started(), 1);
    bench
        .states
        .end(&execution(&bench, &run), ExecutionStatus::Succeeded, None);
    watch(&bench, &run).await;
    assert_eq!(bench.events(), 1);
}

#[tokio::test]
async fn an_execution_that_is_no_longer_known_ends_its_run() {
    let bench = Bench::new(10);
    let run = run();
    bench.launch(&run).await.unwrap();
    bench.states.executions.lock().unwrap().clear();
    for _ in 0..START_GRACE.as_secs() + 10 {
        bench.states.clock.advance(Duration::from_secs(1));
        turn(&bench).await;
    }
    assert_eq!(
        ended(&bench, &run).await.error.as_deref(),
        Some("Mesh.Lost")
    );
    assert_eq!(bench.events(), 1);
}

#[tokio::test]
async fn a_mark_without_a_row_is_removed_once_nobody_can_be_about_to_write_it() {
    let bench = Bench::new(10);
    bench.table.die_after(2);
    bench.launch(&run()).await.unwrap_err();
    bench.table.revive();
    assert_eq!(bench.marks(), 1);
    bench.book.note_active(&bench.tenant);
    for second in 0..START_GRACE.as_secs() + 10 {
        bench.states.clock.advance(Duration::from_secs(1));
        turn(&bench).await;
        if second < START_GRACE.as_secs() - 10 {
            assert_eq!(bench.marks(), 1, "after {second} s");
        }
    }
    assert_eq!((bench.marks(), bench.events()), (0, 0));
}

#[tokio::test]
async fn the_watcher_records_ends_by_itself_and_stops_when_it_is_dropped() {
    let bench = Bench::new(10);
    let watcher = bench.book.watch();
    let run = run();
    bench.launch(&run).await.unwrap();
    bench
        .states
        .end(&execution(&bench, &run), ExecutionStatus::Succeeded, None);
    eventually(&bench, || async { bench.events() == 1 }).await;
    drop(watcher);
    let late = run_again(&bench).await;
    bench.states.clock.advance(Duration::from_secs(1));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(bench.events(), 1);
    assert!(!bench.kept(&late).await.unwrap().run.state.has_ended());
}

async fn run_again(bench: &Bench) -> NewRun {
    let late = run();
    bench.launch(&late).await.unwrap();
    bench
        .states
        .end(&execution(bench, &late), ExecutionStatus::Succeeded, None);
    late
}

async fn eventually<F: Future<Output = bool>>(bench: &Bench, holds: impl Fn() -> F) {
    for _ in 0..2000 {
        if holds().await {
            return;
        }
        bench.states.clock.advance(Duration::from_millis(5));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("it never held");
}

#[tokio::test]
async fn a_watcher_that_is_stopped_completes_what_it_is_at_and_looks_at_nothing_else() {
    let bench = Bench::new(10);
    let (run, other) = (run(), run());
    for run in [&run, &other] {
        bench.launch(run).await.unwrap();
    }
    bench
        .states
        .end(&execution(&bench, &run), ExecutionStatus::Succeeded, None);
    bench.states.clock.advance(Duration::from_millis(250));
    let answers = bench.table.hold_answers();
    let watcher = bench.book.watch();
    let has_ended = async || bench.kept(&run).await.unwrap().run.state.has_ended();
    let claimed = async {
        while !has_ended().await {
            tokio::task::yield_now().await;
        }
    };
    let patience = Duration::from_secs(30);
    tokio::time::timeout(patience, claimed).await.unwrap();
    assert_eq!(bench.events(), 0, "its end is claimed and not recorded");
    tokio::join!(watcher.stop(), async {
        tokio::task::yield_now().await;
        answers.add_permits(100);
    });
    assert_eq!((bench.events(), bench.marks(), bench.used()), (1, 1, 1));
    bench
        .states
        .end(&execution(&bench, &other), ExecutionStatus::Succeeded, None);
    bench.states.clock.advance(Duration::from_secs(1));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.events(), 1);
}
