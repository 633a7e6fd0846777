//! Several processes on one folder: each execution is one's at a time.

use super::super::store::{self, Whose};
use super::*;
use crate::mesh::workflow::run::execution_name;

#[tokio::test]
async fn nobody_takes_what_a_living_process_runs() {
    let stage = Stage::new();
    stage.define("m", &machine(json!({"T": task(json!({"hang": true}))})));
    stage.start("m", "one", &json!({})).await;
    stage.until(async || stage.script.calls().len() == 1).await;
    let other = stage.other();
    other.runner.look_from_now_on();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(other.script.calls(), [Value::Null; 0]);
    assert_eq!(stage.script.calls().len(), 1);
}

#[tokio::test]
async fn a_stop_by_another_process_reaches_the_one_that_runs() {
    let stage = Stage::new();
    let again = with(then(task(json!({"n": 1})), "Wait"), json!({}));
    let wait = json!({"Type": "Wait", "Seconds": 1, "Next": "T"});
    stage.define("m", &machine(json!({"T": again, "Wait": wait})));
    let execution = stage.start("m", "one", &json!({})).await;
    stage.until(async || !stage.script.calls().is_empty()).await;
    let other = stage.other();
    let (status, _) = other
        .ask("StopExecution", &json!({"executionArn": execution}))
        .await;
    assert_eq!(status, 200);
    assert_eq!(stage.end(&execution).await["status"], "ABORTED");
    let made = stage.script.calls().len();
    stage.clock.advance(Duration::from_secs(60));
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    assert_eq!(stage.script.calls().len(), made);
    let kinds = stage.kinds(&execution).await;
    assert_eq!(kinds.last().unwrap(), "ExecutionAborted");
    assert_eq!(stage.describe(&execution).await["status"], "ABORTED");
}

#[tokio::test]
async fn more_executions_than_one_process_may_have_under_way_wait_for_their_turn() {
    let stage = Stage::new();
    stage.define(
        "m",
        &machine(json!({"T": task(json!({"hang.$": "$.hang"}))})),
    );
    let mut hanging = Vec::new();
    for number in 0..256 {
        hanging.push(
            stage
                .start("m", &format!("h{number}"), &json!({"hang": true}))
                .await,
        );
    }
    let queued = stage.start("m", "queued", &json!({"hang": false})).await;
    stage
        .until(async || stage.script.calls().len() == 256)
        .await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(stage.describe(&queued).await["status"], "RUNNING");
    assert_eq!(stage.script.calls().len(), 256);
    stage
        .ask("StopExecution", &json!({"executionArn": hanging[0]}))
        .await;
    assert_eq!(stage.end(&queued).await["status"], "SUCCEEDED");
}

#[test]
fn executions_go_on_in_another_runtime_of_the_same_process() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let stage = Stage::new();
    stage.define(
        "m",
        &machine(json!({"T": task(json!({"hang.$": "$.hang"}))})),
    );
    let first = runtime();
    let execution = first.block_on(async {
        let execution = stage.start("m", "one", &json!({"hang": true})).await;
        stage.until(async || stage.script.calls().len() == 1).await;
        execution
    });
    drop(first);
    runtime().block_on(async {
        stage.describe(&execution).await;
        stage.until(async || stage.script.calls().len() == 2).await;
    });
}

#[tokio::test]
async fn a_process_of_one_tenant_takes_and_waits_for_nobody_elses_executions() {
    let stage = Stage::new();
    stage.define("m", &machine(json!({"T": task(json!({"n.$": "$.n"}))})));
    stage.define(
        "w",
        &machine(
            json!({"W": {"Type": "Wait", "Seconds": 3, "Next": "T"}, "T": task(json!({"n.$": "$.n"}))}),
        ),
    );
    let named = |tenant: &str| {
        let tenant = tenant.parse().unwrap();
        execution_name(&tenant, ulid::Ulid::generate())
    };
    let only = |stage: &Stage, tenant: &str| {
        stage
            .runner
            .run_only(Whose::of(Some(tenant.parse().unwrap())));
    };
    only(&stage, "acme");
    // One of another tenant, as a rule of it may start it here, is due from the first and stays so.
    let theirs = stage
        .start("m", &named("acme-2"), &json!({"n": "theirs"}))
        .await;
    // Our own is put aside, and so comes back by way of the same look that would find the other one first.
    let ours = stage
        .start("w", &named("acme"), &json!({"n": "ours"}))
        .await;
    let whose = Whose::of(Some("acme".parse().unwrap()));
    let next = || async {
        let whose = whose.clone();
        let next = move |connection: &rusqlite::Connection| store::next_due(connection, &whose);
        stage.runner.disk.read(next).await.unwrap().flatten()
    };
    stage.until(async || next().await.is_some()).await;
    // Nothing is due, so nobody spins for what is another's.
    assert!(next().await.unwrap() > stage.clock.now());
    stage.clock.advance(Duration::from_secs(4));
    assert_eq!(stage.end(&ours).await["status"], "SUCCEEDED");
    assert_eq!(stage.script.calls(), [json!({"n": "ours"})]);
    assert_eq!(stage.describe(&theirs).await["status"], "RUNNING");
    let other = stage.other();
    only(&other, "acme-2");
    other.runner.look_from_now_on();
    assert_eq!(other.end(&theirs).await["status"], "SUCCEEDED");
    assert_eq!(other.script.calls(), [json!({"n": "theirs"})]);
    assert_eq!(stage.script.calls().len(), 1);
}
