//! Retries, catches and timeouts.

use super::*;

fn retry(errors: &[&str], more: Value) -> Value {
    with(json!({"ErrorEquals": errors}), more)
}

#[tokio::test]
async fn a_task_is_tried_again_after_growing_pauses_and_stands_for_one_step() {
    let stage = Stage::new();
    stage.script.fail("f", &["NOT_FOUND", "NOT_FOUND"]);
    let retried = with(
        task(json!({"fail": "f"})),
        json!({"Retry": [retry(&["NOT_FOUND"], json!({"IntervalSeconds": 10, "BackoffRate": 3, "MaxAttempts": 2}))]}),
    );
    stage.define("m", &machine(json!({"T": retried})));
    let execution = stage.start("m", "one", &json!({})).await;
    for (made, pause) in [(1, 10), (2, 30)] {
        stage
            .until(async || stage.script.calls().len() == made && stage.is_put_aside().await)
            .await;
        stage.clock.advance(Duration::from_secs(pause - 1));
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert_eq!(stage.script.calls().len(), made);
        stage.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(stage.end(&execution).await["status"], "SUCCEEDED");
    let steps = stage.script.steps();
    assert_eq!(steps.len(), 3);
    assert!(steps.iter().all(|step| *step == steps[0]), "{steps:?}");
}

impl Stage {
    /// Whether every execution that runs has been let go of.
    async fn is_put_aside(&self) -> bool {
        let owners = self.runner.disk.read(super::super::store::owners).await;
        owners.unwrap().is_some_and(|owners| owners.is_empty())
    }
}

#[tokio::test]
async fn attempts_are_counted_for_each_retrier_and_then_the_error_is_caught() {
    let stage = Stage::new();
    stage.script.fail("f", &["A", "B", "A", "B", "B"]);
    let state = with(
        task(json!({"fail": "f"})),
        json!({
            "Retry": [
                retry(&["A"], json!({"IntervalSeconds": 1, "BackoffRate": 1, "MaxAttempts": 2, "MaxDelaySeconds": 2})),
                retry(&["States.TaskFailed"], json!({"IntervalSeconds": 1, "BackoffRate": 1, "MaxAttempts": 2})),
            ],
            "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Caught"}],
        }),
    );
    stage.define(
        "m",
        &machine(json!({
            "T": state,
            "Caught": {"Type": "Pass", "End": true},
        })),
    );
    let execution = stage.start("m", "one", &json!({"kept": 1})).await;
    let end = async { stage.end(&execution).await };
    let moving = async {
        loop {
            stage.clock.advance(Duration::from_millis(200));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let end = tokio::select! { end = end => end, () = moving => unreachable!() };
    assert_eq!(
        end["output"],
        "{\"kept\":1,\"error\":{\"Error\":\"B\",\"Cause\":\"on purpose\"}}"
    );
    assert_eq!(stage.script.calls().len(), 5);
}

#[tokio::test]
async fn an_error_that_nothing_catches_ends_the_execution() {
    let stage = Stage::new();
    stage.script.fail("f", &["PERMISSION_DENIED"]);
    let state = with(
        task(json!({"fail": "f"})),
        json!({"Catch": [{"ErrorEquals": ["NOT_FOUND"], "Next": "T"}], "Retry": [retry(&["CONFLICT"], json!({}))]}),
    );
    let end = stage.run(&machine(json!({"T": state})), &json!({})).await;
    assert_eq!(
        (&end["status"], &end["error"]),
        (&json!("FAILED"), &json!("PERMISSION_DENIED"))
    );
}

#[tokio::test]
async fn a_task_that_takes_too_long_or_says_nothing_fails_with_its_own_error() {
    let stage = Stage::new();
    for (limits, error) in [
        (json!({"TimeoutSeconds": 1}), "States.Timeout"),
        (json!({"TimeoutSecondsPath": "$.seconds"}), "States.Timeout"),
        (
            json!({"TimeoutSeconds": 9, "HeartbeatSeconds": 1}),
            "States.HeartbeatTimeout",
        ),
    ] {
        let state = with(task(json!({"hang": true})), limits);
        let caught = with(
            state,
            json!({"Catch": [{"ErrorEquals": [error], "Next": "Caught"}]}),
        );
        let definition = machine(json!({
            "T": caught,
            "Caught": {"Type": "Pass", "Parameters": {"error.$": "$.Error"}, "End": true},
        }));
        let output = stage.output(&definition, &json!({"seconds": 1})).await;
        assert_eq!(output, json!({"error": error}));
    }
}

#[tokio::test]
async fn a_machine_that_takes_too_long_times_out_whatever_it_waits_for() {
    let stage = Stage::new();
    for state in [
        task(json!({"hang": true})),
        json!({"Type": "Wait", "Seconds": 3600, "End": true}),
    ] {
        let mut definition = machine(json!({"S": state}));
        definition["TimeoutSeconds"] = json!(600);
        stage.define("m", &definition);
        let execution = stage
            .start("m", &ulid::Ulid::generate().to_string(), &json!({}))
            .await;
        stage
            .until(async || stage.kinds(&execution).await.len() >= 2)
            .await;
        stage.clock.advance(Duration::from_secs(600));
        let end = stage.end(&execution).await;
        assert_eq!(
            (&end["status"], &end["error"]),
            (&json!("TIMED_OUT"), &json!("States.Timeout"))
        );
        assert_eq!(
            stage.kinds(&execution).await.last().unwrap(),
            "ExecutionTimedOut"
        );
    }
}

#[tokio::test]
async fn a_result_that_cannot_be_put_where_it_should_is_caught_too() {
    let stage = Stage::new();
    let state = with(
        task(json!({"a": 1})),
        json!({
            "ResultPath": "$.text.below",
            "Catch": [{"ErrorEquals": ["States.ResultPathMatchFailure"], "ResultPath": "$.error", "Next": "Caught"}],
        }),
    );
    let definition = machine(json!({
        "T": state,
        "Caught": {"Type": "Pass", "Parameters": {"error.$": "$.error.Error"}, "End": true},
    }));
    let output = stage.output(&definition, &json!({"text": "x"})).await;
    assert_eq!(output, json!({"error": "States.ResultPathMatchFailure"}));
}

#[tokio::test]
async fn a_machine_that_does_not_fit_its_data_cannot_go_on() {
    let stage = Stage::new();
    let state = with(
        task(json!({"a.$": "$.missing"})),
        json!({"Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Caught"}]}),
    );
    let definition = machine(json!({"T": state, "Caught": {"Type": "Pass", "End": true}}));
    let end = stage.run(&definition, &json!({})).await;
    assert!(
        matches!(end["status"].as_str(), Some("FAILED" | "SUCCEEDED")),
        "{end}"
    );
    assert_eq!(stage.script.calls(), [Value::Null; 0]);
    let choice = json!({"Type": "Choice", "Choices": [{"Variable": "$.a", "NumericEquals": 1, "Next": "T"}]});
    let definition = machine(json!({"C": choice, "T": task(json!({}))}));
    let end = stage.run(&definition, &json!({"a": 2})).await;
    assert_eq!(end["error"], "States.NoChoiceMatched");
}
