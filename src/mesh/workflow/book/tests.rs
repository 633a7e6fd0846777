//! A run is started once, within its quota, whatever breaks meanwhile.

use futures::future::join_all;
use serde_json::json;

use super::*;
use crate::mesh::store::key::{Keyspace, RUNNING_PREFIX};
use crate::mesh::store::table::Condition;
use crate::mesh::workflow::ending::End;
use crate::mesh::workflow::fakes::{Bench, run};

#[tokio::test]
async fn a_run_is_started_with_its_tenant_around_its_input() {
    let bench = Bench::new(10);
    let run = run();
    bench.launch(&run).await.unwrap();
    let kept = bench.kept(&run).await.unwrap().run;
    assert_eq!(kept.state, RunState::Known(ExecutionStatus::Running));
    assert_eq!(kept.execution, format!("arn:refund:acme-{}", run.run_id));
    assert_eq!(kept.permissions, run.permissions);
    let input = bench.states.input(&kept.execution);
    assert_eq!(
        input,
        r#"{"tenant":{"tenant_id":"acme","user_id":"ada"},"input":{"order": 1.50}}"#
    );
    assert_eq!((bench.marks(), bench.used()), (1, 1));
}

#[tokio::test]
async fn the_same_run_is_started_once_however_often_and_at_once() {
    let bench = Bench::new(10);
    let run = run();
    let all = join_all((0..8).map(|_| bench.launch(&run))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    bench.launch(&run).await.unwrap();
    assert_eq!(bench.started(), 1);
    assert_eq!((bench.marks(), bench.used()), (1, 1));
}

#[tokio::test]
async fn a_start_that_broke_off_anywhere_is_taken_up_by_the_next() {
    for writes in 0..5 {
        let bench = Bench::new(1);
        let run = run();
        bench.table.die_after(writes);
        let broken = bench.launch(&run).await;
        // The last write only says of a run that was started that it runs.
        assert_eq!(broken.is_ok(), writes >= 3, "{writes}");
        bench.table.revive();
        bench.launch(&run).await.unwrap();
        assert_eq!(bench.started(), 1);
        let kept = bench.kept(&run).await.unwrap().run;
        assert_eq!(kept.state, RunState::Known(ExecutionStatus::Running));
        assert_eq!((bench.marks(), bench.used()), (1, 1), "{writes}");
    }
}

#[tokio::test]
async fn a_lost_answer_leaves_a_run_that_the_same_start_finds() {
    for is_started in [false, true] {
        let bench = Bench::new(10);
        let run = run();
        let fault = (ErrorKind::AwsUnavailable, is_started);
        bench.states.start_faults.lock().unwrap().push_back(fault);
        let error = bench.launch(&run).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AwsUnavailable);
        assert_eq!(
            bench.kept(&run).await.unwrap().run.state,
            RunState::Starting
        );
        bench.launch(&run).await.unwrap();
        assert_eq!(bench.started(), 1);
        assert_eq!((bench.marks(), bench.used()), (1, 1));
    }
}

#[tokio::test]
async fn a_refused_start_leaves_nothing() {
    let bench = Bench::new(10);
    for kind in [ErrorKind::NotFound, ErrorKind::NotSupported] {
        let run = run();
        bench
            .states
            .start_faults
            .lock()
            .unwrap()
            .push_back((kind, false));
        assert_eq!(bench.launch(&run).await.unwrap_err().kind(), kind);
        assert!(bench.kept(&run).await.is_none());
        assert_eq!((bench.marks(), bench.used()), (0, 0));
    }
}

#[tokio::test]
async fn the_quota_holds_when_many_start_at_once() {
    let bench = Bench::new(5);
    let runs: Vec<_> = (0..20).map(|_| run()).collect();
    let all = join_all(runs.iter().map(|run| bench.launch(run))).await;
    let refused: Vec<_> = all.into_iter().filter_map(Result::err).collect();
    assert_eq!(refused.len(), 15);
    for error in refused {
        assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
        assert_eq!(error.details()["quota"], "workflows_running");
        assert_eq!(error.details()["allowed"], json!(5));
    }
    assert_eq!(bench.started(), 5);
    assert_eq!(bench.marks(), 5);
    // What was refused leaves nothing that would keep the next one out.
    let (mut meter, tenant) = (Meter::default(), &bench.tenant);
    for run in &runs {
        let kept = bench.kept(run).await;
        if let Some(kept) = kept {
            let end = End::without_execution(&kept, bench.states.clock.now());
            let ended = bench.book.end(tenant, &kept, end, &mut meter);
            ended.await.unwrap();
            break;
        }
    }
    bench.launch(&run()).await.unwrap();
    let error = bench.launch(&run()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
}

#[tokio::test]
async fn a_quota_that_crashes_have_used_up_is_counted_anew() {
    let bench = Bench::new(2);
    for _ in 0..4 {
        // It dies when the mark is set and the quota taken.
        bench.table.die_after(2);
        assert!(bench.launch(&run()).await.is_err());
        bench.table.revive();
    }
    let keys = Keyspace::of(&bench.tenant);
    let marks = bench.table.sorts(&keys.runs(), RUNNING_PREFIX);
    for mark in marks {
        let run_id = mark.trim_start_matches(RUNNING_PREFIX);
        let key = keys.running(run_id);
        let deleted = bench.table.delete(&key, Condition::Always);
        deleted.await.unwrap();
    }
    bench.launch(&run()).await.unwrap();
    bench.launch(&run()).await.unwrap();
    assert_eq!(bench.used(), 2);
    let error = bench.launch(&run()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
    assert_eq!(bench.started(), 2);
}

#[tokio::test]
async fn an_input_is_taken_up_to_its_limit_and_not_one_byte_more() {
    let bench = Bench::new(10);
    let around = wrapped_input(&bench.tenant, &"ada".parse().unwrap(), "0")
        .unwrap()
        .len()
        - 1;
    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    let full = NewRun {
        input: text(PAYLOAD_BYTES_MAX - around),
        ..run()
    };
    bench.launch(&full).await.unwrap();
    let over = NewRun {
        input: text(PAYLOAD_BYTES_MAX - around + 1),
        ..run()
    };
    let error = bench.launch(&over).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert_eq!(bench.marks(), 1);
    let wrong = NewRun {
        input: "{".to_owned(),
        ..run()
    };
    let error = bench.launch(&wrong).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidParameter);
}
