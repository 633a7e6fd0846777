//! Parallel and Map.

use super::*;

#[tokio::test]
async fn branches_run_side_by_side_and_answer_in_order() {
    let stage = Stage::new();
    let branch = |states: Value| machine(states);
    let parallel = json!({
        "Type": "Parallel",
        "Branches": [
            branch(json!({"A": then(task(json!({"a.$": "$.n"})), "A2"), "A2": {"Type": "Pass", "OutputPath": "$.echo.a", "End": true}})),
            branch(json!({"B": {"Type": "Pass", "Result": "b", "End": true}})),
            branch(json!({"C": {"Type": "Parallel", "Branches": [branch(json!({"D": {"Type": "Succeed"}}))], "End": true}})),
        ],
        "ResultPath": "$.out",
        "End": true,
    });
    let output = stage
        .output(&machine(json!({"P": parallel})), &json!({"n": 7}))
        .await;
    assert_eq!(output, json!({"n": 7, "out": [7, "b", [{"n": 7}]]}));
    assert_eq!(stage.frames().await, 0);
}

#[tokio::test]
async fn the_first_branch_that_fails_ends_the_others_and_is_caught() {
    let stage = Stage::new();
    stage.script.fail("f", &["CONFLICT"]);
    let parallel = json!({
        "Type": "Parallel",
        "Branches": [
            machine(json!({"Hangs": task(json!({"hang": true}))})),
            machine(json!({"Fails": task(json!({"fail": "f"}))})),
        ],
        "Catch": [{"ErrorEquals": ["CONFLICT"], "ResultPath": "$.error", "Next": "After"}],
        "End": true,
    });
    let definition =
        machine(json!({"P": parallel, "After": task(json!({"after.$": "$.error.Error"}))}));
    let output = stage.output(&definition, &json!({})).await;
    assert_eq!(output, json!({"echo": {"after": "CONFLICT"}}));
    assert_eq!(stage.frames().await, 0);
}

#[tokio::test]
async fn a_parallel_state_that_is_tried_again_begins_all_its_branches_anew() {
    let stage = Stage::new();
    stage.script.fail("f", &["CONFLICT"]);
    let parallel = json!({
        "Type": "Parallel",
        "Branches": [
            machine(json!({"Counts": task(json!({"n": 1}))})),
            machine(json!({"Fails": task(json!({"fail": "f"}))})),
        ],
        "Retry": [{"ErrorEquals": ["CONFLICT"], "IntervalSeconds": 1}],
        "End": true,
    });
    stage.define("m", &machine(json!({"P": parallel})));
    let execution = stage.start("m", "one", &json!({})).await;
    stage
        .until(async || {
            let kinds = stage.kinds(&execution).await;
            kinds
                .last()
                .is_some_and(|kind| kind == "ParallelStateFailed")
        })
        .await;
    stage.clock.advance(Duration::from_secs(1));
    assert_eq!(stage.end(&execution).await["status"], "SUCCEEDED");
    let counted = stage
        .script
        .calls()
        .iter()
        .filter(|call| call["n"] == 1)
        .count();
    // The first time it may not have come to that.
    assert!((1..=2).contains(&counted));
    let kinds = stage.kinds(&execution).await;
    let count = |kind: &str| kinds.iter().filter(|other| *other == kind).count();
    assert_eq!(
        (count("ParallelStateStarted"), count("ParallelStateFailed")),
        (2, 1)
    );
    assert_eq!(
        (
            count("ParallelStateSucceeded"),
            count("ParallelStateExited")
        ),
        (1, 1)
    );
}

#[tokio::test]
async fn each_item_of_a_map_goes_through_its_states_with_its_place() {
    let stage = Stage::new();
    let map = json!({
        "Type": "Map",
        "ItemsPath": "$.items",
        "ItemSelector": {"at.$": "$$.Map.Item.Index", "item.$": "$$.Map.Item.Value", "all.$": "$.name"},
        "MaxConcurrency": 3,
        "ItemProcessor": machine(json!({"T": with(task(json!({"got.$": "$"})), json!({"OutputPath": "$.echo.got"}))})),
        "ResultPath": "$.out",
        "OutputPath": "$.out",
        "End": true,
    });
    let items: Vec<Value> = (0..50).map(|number| json!(number * 2)).collect();
    let definition = machine(json!({"M": map}));
    let output = stage
        .output(&definition, &json!({"items": items, "name": "x"}))
        .await;
    let expected: Vec<Value> = (0..50)
        .map(|number| json!({"at": number, "item": number * 2, "all": "x"}))
        .collect();
    assert_eq!(output, json!(expected));
    let empty = stage
        .output(&definition, &json!({"items": [], "name": "x"}))
        .await;
    assert_eq!(empty, json!([]));
}

#[tokio::test]
async fn no_more_items_are_under_way_than_the_map_allows() {
    let stage = Stage::new();
    for (most, items, under_way) in [(json!(2), 10, 2), (json!(0), 100, 40)] {
        stage.script.calls.lock().unwrap().clear();
        let map = json!({
            "Type": "Map",
            "MaxConcurrency": most,
            "ItemProcessor": machine(json!({"T": task(json!({"hang": true}))})),
            "End": true,
        });
        stage.define("m", &machine(json!({"M": map})));
        let input: Vec<usize> = (0..items).collect();
        let execution = stage.start("m", &format!("n{items}"), &json!(input)).await;
        stage
            .until(async || stage.script.calls().len() >= under_way)
            .await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(stage.script.calls().len(), under_way);
        stage
            .ask("StopExecution", &json!({"executionArn": execution}))
            .await;
    }
}

#[tokio::test]
async fn maps_within_maps_stay_within_bounds() {
    let stage = Stage::new();
    let inner = json!({
        "Type": "Map",
        "ItemProcessor": machine(json!({"P": {"Type": "Pass", "End": true}})),
        "End": true,
    });
    let outer =
        json!({"Type": "Map", "ItemProcessor": machine(json!({"Inner": inner})), "End": true});
    let input: Vec<Vec<usize>> = (0..40).map(|_| (0..40).collect()).collect();
    let output = stage
        .output(&machine(json!({"M": outer})), &json!(input))
        .await;
    assert_eq!(output, json!(input));
}

#[tokio::test]
async fn results_that_are_together_too_large_fail_the_state() {
    let stage = Stage::new();
    let map = json!({
        "Type": "Map",
        "ItemsPath": "$.items",
        "ItemSelector": {"text.$": "$.text"},
        "ItemProcessor": machine(json!({"P": {"Type": "Pass", "End": true}})),
        "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Never"}],
        "End": true,
    });
    let never = json!({"Type": "Pass", "End": true});
    let input = json!({"items": [1, 2, 3, 4, 5, 6, 7, 8], "text": "x".repeat(40_000)});
    let end = stage
        .run(&machine(json!({"M": map, "Never": never})), &input)
        .await;
    assert_eq!(end["error"], "States.DataLimitExceeded");
}

#[tokio::test]
async fn branches_that_all_wait_are_put_aside_together() {
    let stage = Stage::new();
    let wait = |name: &str, seconds: u64| {
        let mut states = serde_json::Map::new();
        states.insert(
            name.to_owned(),
            json!({"Type": "Wait", "Seconds": seconds, "End": true}),
        );
        machine(Value::Object(states))
    };
    let parallel =
        json!({"Type": "Parallel", "Branches": [wait("A", 100), wait("B", 200)], "End": true});
    stage.define("m", &machine(json!({"P": parallel})));
    let execution = stage.start("m", "one", &json!({})).await;
    let put_aside = async || {
        let owners = stage.runner.disk.read(super::super::store::owners).await;
        owners.unwrap().is_some_and(|owners| owners.is_empty())
    };
    stage.until(put_aside).await;
    // The first wakes up, ends, and the second is waited for again.
    stage.clock.advance(Duration::from_secs(100));
    let kinds = |kinds: Vec<String>| {
        kinds
            .iter()
            .filter(|kind| *kind == "WaitStateExited")
            .count()
    };
    stage
        .until(async || kinds(stage.kinds(&execution).await) == 1 && put_aside().await)
        .await;
    stage.clock.advance(Duration::from_secs(100));
    assert_eq!(stage.end(&execution).await["status"], "SUCCEEDED");
}
