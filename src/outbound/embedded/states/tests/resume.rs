//! What another process finds when the one that ran an execution is gone.

use super::*;

/// As if the process died: its tasks end where they are, and its lock goes with it.
async fn die(stage: Stage) -> (Arc<TempDir>, Timestamp) {
    let (folder, now) = (Arc::clone(&stage.folder), stage.clock.now());
    let runner = Arc::downgrade(&stage.runner);
    drop(stage);
    // Its thread that writes and its tasks let go of it one after another.
    let gone = async {
        while runner.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    (folder, now)
}

#[tokio::test]
async fn what_was_answered_is_not_asked_again_and_the_step_under_way_is() {
    let stage = Stage::new();
    stage.define(
        "m",
        &machine(json!({
            "One": with(then(task(json!({"n": 1, "id.$": "States.UUID()"})), "Two"), json!({"ResultPath": "$.one"})),
            "Two": with(task(json!({"n": 2, "hang.$": "$.hang", "id.$": "States.UUID()"})), json!({"ResultPath": "$.two"})),
        })),
    );
    let execution = stage.start("m", "one", &json!({"hang": true})).await;
    stage.until(async || stage.script.calls().len() == 2).await;
    let (calls, steps) = (stage.script.calls(), stage.script.steps());
    let (folder, now) = die(stage).await;
    let next = Stage::beside(folder, now);
    next.runner.look_from_now_on();
    next.until(async || !next.script.calls().is_empty()).await;
    // The same step with the same arguments, also those that look random.
    assert_eq!(next.script.calls(), calls[1..]);
    assert_eq!(next.script.steps(), steps[1..]);
    assert_eq!(next.describe(&execution).await["status"], "RUNNING");
}

#[tokio::test]
async fn an_execution_goes_on_from_any_of_its_states_and_ends_as_it_would_have() {
    let item = with(
        then(task(json!({"item.$": "$", "fail": "f"})), "Rest"),
        json!({"ResultSelector": {"seen.$": "$.echo.item"}, "Retry": [{"ErrorEquals": ["CONFLICT"], "IntervalSeconds": 1}]}),
    );
    let map = json!({
        "Type": "Map",
        "MaxConcurrency": 2,
        "ItemProcessor": machine(json!({"Item": item, "Rest": {"Type": "Wait", "Seconds": 10, "Next": "Name"}, "Name": {"Type": "Pass", "Parameters": {"seen.$": "$.seen", "twice.$": "States.Format('{}{}', $.seen, $.seen)"}, "End": true}})),
        "Next": "Both",
    });
    let both = json!({
        "Type": "Parallel",
        "Branches": [
            machine(json!({"L": with(task(json!({"all.$": "$"})), json!({"OutputPath": "$.echo.all[0].twice"}))})),
            machine(json!({"R": {"Type": "Wait", "Seconds": 5, "Next": "R2"}, "R2": task(json!({"r": 1}))})),
        ],
        "End": true,
    });
    let definition = machine(json!({"M": map, "Both": both}));
    let mut stage = Stage::new();
    stage.define("m", &definition);
    stage.script.fail("f", &["CONFLICT"]);
    let execution = stage
        .start("m", "one", &json!(["a", "b", "c", "d", "e"]))
        .await;
    let script = Arc::clone(&stage.script);
    // It is killed every few milliseconds, whatever it is at, while the clock goes on.
    for round in 0..200_u64 {
        tokio::time::sleep(Duration::from_millis(1 + round * 7 % 13)).await;
        stage.clock.advance(Duration::from_millis(700));
        if stage.describe(&execution).await["status"] != "RUNNING" {
            break;
        }
        let (folder, now) = die(stage).await;
        stage = Stage::working(folder, now, Arc::clone(&script));
        stage.runner.look_from_now_on();
    }
    let moving = async {
        loop {
            stage.clock.advance(Duration::from_millis(500));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let end = tokio::select! { end = stage.end(&execution) => end, () = moving => unreachable!() };
    assert_eq!(end["status"], "SUCCEEDED", "{end}");
    assert_eq!(end["output"], "[\"aa\",{\"echo\":{\"r\":1}}]");
    let mut seen: BTreeMap<String, Value> = BTreeMap::new();
    for (step, arguments) in script.calls.lock().unwrap().iter() {
        let known = seen
            .entry(step.clone())
            .or_insert_with(|| arguments.clone());
        assert_eq!(known, arguments, "a step is always given the same");
    }
    // One step an item, and one for each branch.
    assert_eq!(seen.len(), 7, "{seen:?}");
    assert_eq!(stage.frames().await, 0);
}

#[tokio::test]
async fn a_wait_goes_on_until_its_time_and_not_from_the_start() {
    let stage = Stage::new();
    stage.define(
        "m",
        &machine(json!({"W": {"Type": "Wait", "Seconds": 100, "End": true}})),
    );
    let execution = stage.start("m", "one", &json!({})).await;
    stage
        .until(async || {
            let owners = stage.runner.disk.read(super::super::store::owners).await;
            owners.unwrap().is_some_and(|owners| owners.is_empty())
        })
        .await;
    stage.clock.advance(Duration::from_secs(99));
    let (folder, now) = die(stage).await;
    let next = Stage::beside(folder, now);
    next.runner.look_from_now_on();
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(next.describe(&execution).await["status"], "RUNNING");
    next.clock.advance(Duration::from_secs(1));
    assert_eq!(next.end(&execution).await["status"], "SUCCEEDED");
}

#[tokio::test]
async fn what_is_left_at_the_end_of_a_process_is_taken_at_once() {
    let stage = Stage::new();
    stage.define(
        "m",
        &machine(
            json!({"T": with(task(json!({"hang.$": "$.hang"})), json!({"TimeoutSeconds": 600}))}),
        ),
    );
    stage.start("m", "one", &json!({"hang": true})).await;
    stage.until(async || stage.script.calls().len() == 1).await;
    let other = stage.other();
    stage.runner.stop().await;
    other.runner.look_from_now_on();
    other.until(async || other.script.calls().len() == 1).await;
    // Who has stopped takes nothing more, and what is started there is run elsewhere.
    stage.start("m", "two", &json!({"hang": false})).await;
    other.until(async || other.script.calls().len() == 2).await;
    assert_eq!(stage.script.calls().len(), 1);
}
