//! What states make of their inputs and results, beyond what the corpus of machines shows.

use serde_json::json;

use super::super::context::{Entropy, Execution};
use super::super::error::{DATA_LIMIT_EXCEEDED, PARAMETER_PATH_FAILURE, RESULT_PATH_MATCH_FAILURE};
use super::super::machine::Machine;
use super::super::retry::find_catcher;
use super::*;

fn context() -> Context {
    Context::new(&Execution {
        id: "id".to_owned(),
        name: "run".to_owned(),
        input: json!({"seconds": 9}),
        started_at: Timestamp::from_seconds(0),
        machine_id: "machine".to_owned(),
        machine_name: "machine".to_owned(),
        role: "role".to_owned(),
    })
}

/// The one state of a machine.
fn state(definition: Value) -> State {
    let machine = json!({"StartAt": "Only", "States": {"Only": definition}});
    let machine = Machine::parse(&machine.to_string()).unwrap_or_else(|flaws| panic!("{flaws:?}"));
    machine.flow.states["Only"].clone()
}

fn task(members: Value) -> State {
    let mut definition = json!({
        "Type": "Task", "Resource": "arn:aws:states:::agent-mesh:kv_get", "End": true,
    });
    if let (Value::Object(definition), Value::Object(members)) = (&mut definition, members) {
        definition.extend(members);
    }
    state(definition)
}

#[test]
fn a_task_goes_through_all_five_members_in_order() {
    let state = task(json!({
        "InputPath": "$.in",
        "Parameters": {"key.$": "$.id", "seconds.$": "$$.Execution.Input.seconds"},
        "ResultSelector": {"found.$": "$.Item.v"},
        "ResultPath": "$.result",
        "OutputPath": "$.result.found",
    }));
    let raw = json!({"in": {"id": 7}, "other": 1});
    let context = context();
    let mut entropy = Entropy::new(b"seed");
    let mut scope = Scope::new(&context, &mut entropy);
    let arguments = state.effective_input(&raw, &mut scope).unwrap();
    assert_eq!(arguments, json!({"key": 7, "seconds": 9}));
    let result = json!({"Item": {"v": [1]}, "ignored": true});
    let output = state.effective_result(&raw, result, &mut scope).unwrap();
    assert_eq!(output, json!([1]));
    let error = state
        .effective_result(&raw, json!({}), &mut scope)
        .unwrap_err();
    assert_eq!(error.error, PARAMETER_PATH_FAILURE);
}

#[test]
fn timeouts_come_from_the_definition_or_the_selected_input() {
    let timeout = |members: Value, input: Value| {
        let state = task(members);
        let Kind::Task(task) = &state.kind else {
            unreachable!("it was written as one");
        };
        let seconds = |limit: Option<Duration>| limit.map(|limit| limit.as_secs());
        Ok::<_, StateError>((
            seconds(task.timeout(&input, &context())?),
            seconds(task.heartbeat(&input, &context())?),
        ))
    };
    assert_eq!(timeout(json!({}), json!({})), Ok((None, None)));
    let fixed = json!({"TimeoutSeconds": 20, "HeartbeatSeconds": 5});
    assert_eq!(timeout(fixed, json!({})), Ok((Some(20), Some(5))));
    let paths =
        json!({"TimeoutSecondsPath": "$.t", "HeartbeatSecondsPath": "$$.Execution.Input.seconds"});
    assert_eq!(
        timeout(paths.clone(), json!({"t": 30.0})),
        Ok((Some(30), Some(9)))
    );
    for input in [
        json!({}),
        json!({"t": "30"}),
        json!({"t": 0}),
        json!({"t": 1.5}),
        json!({"t": 1e12}),
    ] {
        let error = timeout(paths.clone(), input.clone()).unwrap_err();
        assert_eq!(error.error, RUNTIME, "{input}");
        assert!(error.cause.contains("TimeoutSecondsPath"), "{error}");
    }
}

#[test]
fn a_wait_is_for_a_time_or_until_one() {
    let pause = |member: &str, value: Value, input: Value| {
        let state = state(json!({"Type": "Wait", member: value, "End": true}));
        let Kind::Wait { wait, .. } = &state.kind else {
            unreachable!("it was written as one");
        };
        wait.pause(&input, &context())
    };
    let seconds = |seconds| Ok(Pause::For(Duration::from_secs(seconds)));
    let until = |millis| Ok(Pause::Until(Timestamp::from_millis(millis)));
    assert_eq!(pause("Seconds", json!(7), json!({})), seconds(7));
    assert_eq!(
        pause("SecondsPath", json!("$.s"), json!({"s": 0})),
        seconds(0)
    );
    let time = "1970-01-01T02:00:01.5+02:00";
    assert_eq!(pause("Timestamp", json!(time), json!({})), until(1500));
    assert_eq!(pause("TimestampPath", json!("$"), json!(time)), until(1500));
    let input = json!({"s": -1, "t": "1970-01-01", "n": null});
    for (member, path) in [
        ("SecondsPath", "$.s"),
        ("SecondsPath", "$.none"),
        ("TimestampPath", "$.t"),
        ("TimestampPath", "$.n"),
    ] {
        let error = pause(member, json!(path), input.clone()).unwrap_err();
        assert_eq!(error.error, RUNTIME, "{member} {path}");
        assert!(error.cause.contains(member), "{error}");
    }
}

#[test]
fn a_map_takes_its_concurrency_from_the_input() {
    let concurrency = |members: Value, input: Value| {
        let mut definition = json!({
            "Type": "Map", "End": true,
            "ItemProcessor": {"StartAt": "Each", "States": {"Each": {"Type": "Succeed"}}},
        });
        if let (Value::Object(definition), Value::Object(members)) = (&mut definition, members) {
            definition.extend(members);
        }
        let state = state(definition);
        let Kind::Map(map) = &state.kind else {
            unreachable!("it was written as one");
        };
        map.concurrency(&input, &context())
    };
    assert_eq!(concurrency(json!({}), json!([])), Ok(0));
    assert_eq!(concurrency(json!({"MaxConcurrency": 4}), json!([])), Ok(4));
    let path = json!({"MaxConcurrencyPath": "$.n"});
    assert_eq!(concurrency(path.clone(), json!({"n": 3})), Ok(3));
    for input in [json!({}), json!({"n": -1}), json!({"n": "3"})] {
        assert_eq!(concurrency(path.clone(), input).unwrap_err().error, RUNTIME);
    }
}

#[test]
fn what_is_caught_must_fit_where_it_is_put() {
    let machine = json!({
        "StartAt": "Try",
        "States": {
            "Try": {
                "Type": "Task", "Resource": "arn:aws:states:::sns:publish", "End": true,
                "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Done"}],
            },
            "Done": {"Type": "Succeed"},
        },
    });
    let machine = Machine::parse(&machine.to_string()).unwrap();
    let error = StateError::new("Broken", "why");
    let catcher = find_catcher(machine.flow.states["Try"].catch(), &error).unwrap();
    let output = catcher.output(&json!({"a": 1}), &error).unwrap();
    assert_eq!(
        output,
        json!({"a": 1, "error": {"Error": "Broken", "Cause": "why"}})
    );
    let mismatch = catcher.output(&json!("text"), &error).unwrap_err();
    assert_eq!(mismatch.error, RESULT_PATH_MATCH_FAILURE);
    let long = StateError::new("Broken", "x".repeat(300_000));
    let too_much = catcher.output(&json!({}), &long).unwrap_err();
    assert_eq!(too_much.error, DATA_LIMIT_EXCEEDED);
}

#[test]
fn inputs_and_outputs_are_limited_in_size_and_depth() {
    let bytes = |count: usize| json!("x".repeat(count - 2));
    let limit = super::super::PAYLOAD_BYTES_MAX;
    assert_eq!(payload::fit(&bytes(limit), "it"), Ok(()));
    let error = payload::fit(&bytes(limit + 1), "it").unwrap_err();
    assert_eq!(error.error, DATA_LIMIT_EXCEEDED);
    let deep = |count: usize| (0..count).fold(json!(1), |value, _| json!([value]));
    assert_eq!(payload::fit(&deep(payload::DEPTH_MAX), "it"), Ok(()));
    let error = payload::fit(&deep(payload::DEPTH_MAX + 1), "it").unwrap_err();
    assert_eq!(error.error, DATA_LIMIT_EXCEEDED);
    // What is as deep as it may be can still be read from its text.
    let text = deep(payload::DEPTH_MAX).to_string();
    assert!(serde_json::from_str::<Value>(&text).is_ok());

    let state = state(json!({"Type": "Pass", "Parameters": {"a.$": "$", "b.$": "$"}, "End": true}));
    let context = context();
    let mut entropy = Entropy::new(b"seed");
    let mut scope = Scope::new(&context, &mut entropy);
    let error = state
        .effective_input(&bytes(200_000), &mut scope)
        .unwrap_err();
    assert_eq!(error.error, DATA_LIMIT_EXCEEDED);
}
