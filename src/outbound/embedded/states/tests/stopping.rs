//! Processes that are told to end while they run executions.

use super::super::store;
use super::*;

/// How many executions somebody owns.
async fn owners(stage: &Stage) -> usize {
    let owners = stage.runner.disk.read(store::owners).await;
    owners.unwrap().map_or(0, |owners| owners.len())
}

fn count(kinds: &[String], kind: &str) -> usize {
    kinds.iter().filter(|found| *found == kind).count()
}

#[tokio::test]
async fn a_step_under_way_ends_and_the_next_one_is_taken_elsewhere() {
    let stage = Stage::new();
    stage.define(
        "m",
        &machine(json!({
            "One": then(task(json!({"n": 1, "gate": true})), "Two"),
            "Two": task(json!({"n": 2})),
        })),
    );
    let execution = stage.start("m", "one", &json!({})).await;
    stage.until(async || stage.script.calls().len() == 1).await;
    let ((), ()) = tokio::join!(stage.runner.stop(), async {
        tokio::task::yield_now().await;
        stage.script.gate.0.add_permits(1);
    });
    assert_eq!(stage.script.calls().len(), 1, "no step was begun");
    assert_eq!(owners(&stage).await, 0, "the claim was given back");
    let other = stage.other();
    other.runner.look_from_now_on();
    assert_eq!(other.end(&execution).await["status"], "SUCCEEDED");
    assert_eq!(other.script.calls(), [json!({"n": 2})]);
    let kinds = other.kinds(&execution).await;
    assert_eq!(count(&kinds, "TaskScheduled"), 2, "{kinds:?}");
    assert_eq!(count(&kinds, "TaskSucceeded"), 2, "{kinds:?}");
    assert_eq!(count(&kinds, "TaskStateEntered"), 2, "{kinds:?}");
}

#[tokio::test]
async fn branches_rest_wherever_they_are_and_go_on_from_there() {
    let stage = Stage::new();
    let retried = with(
        task(json!({"n": "retried", "fail": "f"})),
        json!({"Retry": [{"ErrorEquals": ["CONFLICT"], "IntervalSeconds": 1}]}),
    );
    let item = machine(
        json!({"I": then(task(json!({"item.$": "$", "gate": true})), "J"), "J": task(json!({"after.$": "$.echo.item"}))}),
    );
    let flows = [
        machine(
            json!({"A": then(task(json!({"n": "a", "gate": true})), "B"), "B": task(json!({"n": "b"}))}),
        ),
        machine(
            json!({"W": {"Type": "Wait", "Seconds": 1, "Next": "C"}, "C": task(json!({"n": "c"}))}),
        ),
        machine(json!({"R": retried})),
        machine(
            json!({"M": {"Type": "Map", "MaxConcurrency": 2, "ItemsPath": "$.items", "ItemProcessor": item, "End": true}}),
        ),
    ];
    stage.define(
        "m",
        &machine(json!({"P": {"Type": "Parallel", "Branches": flows, "End": true}})),
    );
    stage.script.fail("f", &["CONFLICT"]);
    let items = json!({"items": [1, 2, 3, 4, 5]});
    let execution = stage.start("m", "one", &items).await;
    // The first of each branch that calls, and two of the items.
    stage.until(async || stage.script.calls().len() == 4).await;
    tokio::join!(stage.runner.stop(), async {
        tokio::task::yield_now().await;
        stage.script.gate.0.add_permits(3);
    });
    assert_eq!(stage.script.calls().len(), 4, "no step was begun");
    assert_eq!(owners(&stage).await, 0);
    let other = stage.other();
    other.script.gate.0.add_permits(3);
    other.clock.advance(Duration::from_secs(2));
    other.runner.look_from_now_on();
    assert_eq!(other.end(&execution).await["status"], "SUCCEEDED");
    let mut steps = stage.script.steps();
    steps.extend(other.script.steps());
    // a, b, c, the one that is tried again, and two for each item: nothing twice but that one.
    assert_eq!(steps.len(), 3 + 2 + 10);
    steps.sort_unstable();
    steps.dedup();
    assert_eq!(steps.len(), 3 + 1 + 10);
}

#[tokio::test]
async fn a_step_that_does_not_end_is_cut_and_taken_again_elsewhere() {
    let stage = Stage::new();
    stage.define("m", &machine(json!({"T": task(json!({"gate": true}))})));
    let execution = stage.start("m", "one", &json!({})).await;
    stage.until(async || stage.script.calls().len() == 1).await;
    stage.runner.stop().await;
    assert_eq!(owners(&stage).await, 0);
    assert!(stage.runner.is_idle());
    // Again it has nothing to do.
    stage.runner.stop().await;
    let other = stage.other();
    other.script.gate.0.add_permits(1);
    other.runner.look_from_now_on();
    assert_eq!(other.end(&execution).await["status"], "SUCCEEDED");
    assert_eq!(other.script.steps(), stage.script.steps());
}
