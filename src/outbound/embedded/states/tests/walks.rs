//! States one after another: what goes in, what comes out, what the operations tell of it.

use super::*;

#[tokio::test]
async fn a_machine_goes_from_state_to_state_and_its_history_says_so() {
    let stage = Stage::new();
    stage.define(
        "m",
        &machine(json!({
            "Fetch": then(with(task(json!({"key.$": "$.key"})), json!({"ResultPath": "$.fetched"})), "Which"),
            "Which": {"Type": "Choice", "Choices": [{"Variable": "$.key", "StringEquals": "a", "Next": "Done"}], "Default": "Never"},
            "Done": {"Type": "Pass", "Parameters": {"got.$": "$.fetched.echo.key"}, "Next": "End"},
            "End": {"Type": "Succeed"},
            "Never": {"Type": "Fail", "Error": "Never"},
        })),
    );
    let execution = stage.start("m", "one", &json!({"key": "a"})).await;
    let end = stage.end(&execution).await;
    assert_eq!(end["status"], "SUCCEEDED");
    assert_eq!(end["output"], "{\"got\":\"a\"}");
    assert_eq!(end["input"], "{\"key\":\"a\"}");
    assert!(end["stopDate"].as_f64() >= end["startDate"].as_f64());
    let expected = [
        "ExecutionStarted",
        "TaskStateEntered",
        "TaskScheduled",
        "TaskStarted",
        "TaskSucceeded",
        "TaskStateExited",
        "ChoiceStateEntered",
        "ChoiceStateExited",
        "PassStateEntered",
        "PassStateExited",
        "SucceedStateEntered",
        "SucceedStateExited",
        "ExecutionSucceeded",
    ];
    assert_eq!(stage.kinds(&execution).await, expected);
    assert_eq!(stage.frames().await, 0);
}

#[tokio::test]
async fn a_failure_ends_the_execution_with_its_error() {
    let stage = Stage::new();
    let fail = machine(json!({"F": {"Type": "Fail", "Error": "Sad", "Cause": "on purpose"}}));
    let end = stage.run(&fail, &json!({})).await;
    assert_eq!(
        (&end["status"], &end["error"]),
        (&json!("FAILED"), &json!("Sad"))
    );
    assert_eq!(end["cause"], "on purpose");
    assert!(end.get("output").is_none());
    let bare = machine(json!({"F": {"Type": "Fail"}}));
    let end = stage.run(&bare, &json!({})).await;
    assert_eq!(end["status"], "FAILED");
    assert!(end.get("error").is_none() && end.get("cause").is_none());
}

#[tokio::test]
async fn an_execution_that_waits_for_long_is_put_aside_until_its_time() {
    let stage = Stage::new();
    let wait = json!({"Type": "Wait", "Seconds": 3600, "Next": "T"});
    stage.define(
        "m",
        &machine(json!({"W": wait, "T": task(json!({"a": 1}))})),
    );
    let mut executions = Vec::new();
    for number in 0..20 {
        executions.push(stage.start("m", &format!("w{number}"), &json!({})).await);
    }
    // Put aside, it is nobody's.
    stage
        .until(async || {
            let owners = stage.runner.disk.read(super::super::store::owners).await;
            owners.unwrap().is_some_and(|owners| owners.is_empty())
        })
        .await;
    assert_eq!(stage.script.calls(), [Value::Null; 0]);
    stage.clock.advance(Duration::from_secs(3599));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(stage.describe(&executions[0]).await["status"], "RUNNING");
    stage.clock.advance(Duration::from_secs(1));
    for execution in &executions {
        assert_eq!(stage.end(execution).await["status"], "SUCCEEDED");
    }
    assert_eq!(stage.script.calls().len(), 20);
}

#[tokio::test]
async fn a_wait_until_a_time_that_has_gone_by_is_none() {
    let stage = Stage::new();
    let wait = json!({"Type": "Wait", "TimestampPath": "$.at", "End": true});
    let input = json!({"at": "2020-01-01T00:00:00Z"});
    let output = stage.output(&machine(json!({"W": wait})), &input).await;
    assert_eq!(output, input);
}

#[tokio::test]
async fn the_context_and_what_looks_random_are_there() {
    let stage = Stage::new();
    let pass = json!({
        "Type": "Pass",
        "Parameters": {
            "name.$": "$$.Execution.Name",
            "machine.$": "$$.StateMachine.Name",
            "state.$": "$$.State.Name",
            "started.$": "$$.Execution.StartTime",
            "id.$": "States.UUID()",
        },
        "End": true,
    });
    let first = stage.output(&machine(json!({"P": pass})), &json!({})).await;
    assert_eq!(
        (&first["machine"], &first["state"]),
        (&json!("m"), &json!("P"))
    );
    assert_eq!(first["started"], "2027-01-15T08:00:00.000Z");
    let second = stage.output(&machine(json!({"P": pass})), &json!({})).await;
    assert_ne!(first["id"], second["id"]);
}

#[tokio::test]
async fn a_name_is_taken_once_and_the_same_start_again_is_the_same_execution() {
    let stage = Stage::new();
    stage.define("m", &machine(json!({"T": task(json!({"hang": true}))})));
    let body = |input: &str| json!({"stateMachineArn": name::machine_arn("m"), "name": "n", "input": input});
    let (status, first) = stage.ask("StartExecution", &body("{\"a\":1}")).await;
    assert_eq!(status, 200);
    stage.clock.advance(Duration::from_secs(5));
    assert_eq!(
        stage.ask("StartExecution", &body("{\"a\":1}")).await,
        (200, first.clone())
    );
    let (status, other) = stage.ask("StartExecution", &body("{\"a\":2}")).await;
    assert_eq!(
        (status, &other["__type"]),
        (400, &json!("ExecutionAlreadyExists"))
    );
    let stop = json!({"executionArn": first["executionArn"], "error": "E", "cause": "enough"});
    let (status, _) = stage.ask("StopExecution", &stop).await;
    assert_eq!(status, 200);
    let end = stage
        .describe(first["executionArn"].as_str().unwrap())
        .await;
    assert_eq!(
        (&end["status"], &end["cause"]),
        (&json!("ABORTED"), &json!("enough"))
    );
    let (_, again) = stage.ask("StartExecution", &body("{\"a\":1}")).await;
    assert_eq!(again["__type"], "ExecutionAlreadyExists");
    // Stopping what has ended changes nothing.
    let stopped_at = end["stopDate"].clone();
    stage.clock.advance(Duration::from_secs(5));
    let (status, again) = stage.ask("StopExecution", &stop).await;
    assert_eq!((status, &again["stopDate"]), (200, &stopped_at));
}

#[expect(clippy::too_many_lines, reason = "it is a table")]
#[tokio::test]
async fn wrong_requests_are_refused_in_step_functions_words() {
    let stage = Stage::new();
    stage.define("m", &machine(json!({"P": {"Type": "Pass", "End": true}})));
    stage.define(
        "wrong",
        &json!({"StartAt": "A", "States": {"B": {"Type": "Pas"}}}),
    );
    let arn = name::machine_arn;
    let missing = name::execution_arn("m", "none");
    let large = format!(
        "\"{}\"",
        "x".repeat(super::super::asl::PAYLOAD_BYTES_MAX - 1)
    );
    let start = "StartExecution";
    for (operation, body, code) in [
        (start, json!({}), "SerializationException"),
        (start, json!({"stateMachineArn": "m"}), "InvalidArn"),
        (
            start,
            json!({"stateMachineArn": arn("none")}),
            "StateMachineDoesNotExist",
        ),
        (
            start,
            json!({"stateMachineArn": arn("../m")}),
            "StateMachineDoesNotExist",
        ),
        (
            start,
            json!({"stateMachineArn": arn("m:1")}),
            "StateMachineDoesNotExist",
        ),
        (
            start,
            json!({"stateMachineArn": arn("wrong")}),
            "InvalidDefinition",
        ),
        (
            start,
            json!({"stateMachineArn": arn("m"), "name": "a b"}),
            "InvalidName",
        ),
        (
            start,
            json!({"stateMachineArn": arn("m"), "input": "{"}),
            "InvalidExecutionInput",
        ),
        (
            start,
            json!({"stateMachineArn": arn("m"), "input": large}),
            "ValidationException",
        ),
        (
            "DescribeExecution",
            json!({"executionArn": missing}),
            "ExecutionDoesNotExist",
        ),
        (
            "DescribeExecution",
            json!({"executionArn": "x"}),
            "InvalidArn",
        ),
        (
            "StopExecution",
            json!({"executionArn": missing}),
            "ExecutionDoesNotExist",
        ),
        (
            "GetExecutionHistory",
            json!({"executionArn": missing}),
            "ExecutionDoesNotExist",
        ),
        (
            "GetExecutionHistory",
            json!({"executionArn": missing, "maxResults": 1001}),
            "ValidationException",
        ),
        (
            "ListExecutions",
            json!({"stateMachineArn": arn("none")}),
            "StateMachineDoesNotExist",
        ),
        ("ListExecutions", json!({}), "ValidationException"),
        (
            "DescribeStateMachine",
            json!({"stateMachineArn": arn("none")}),
            "StateMachineDoesNotExist",
        ),
        ("CreateStateMachine", json!({}), "UnknownOperationException"),
    ] {
        let (status, answer) = stage.ask(operation, &body).await;
        assert_eq!(
            (status, &answer["__type"]),
            (400, &json!(code)),
            "{operation} {body}"
        );
    }
    // What is wrong with a definition is said.
    let (_, answer) = stage
        .ask(start, &json!({"stateMachineArn": arn("wrong")}))
        .await;
    let message = answer["message"].as_str().unwrap();
    assert!(message.contains("/States/B"), "{message}");
    assert!(!stage.runner.disk.exists() || stage.frames().await == 0);
}

#[tokio::test]
async fn the_largest_input_is_taken() {
    let stage = Stage::new();
    stage.define("m", &machine(json!({"P": {"Type": "Pass", "End": true}})));
    let text = "x".repeat(super::super::asl::PAYLOAD_BYTES_MAX - 2);
    let execution = stage.start("m", "large", &json!(text)).await;
    assert_eq!(stage.end(&execution).await["status"], "SUCCEEDED");
}

#[tokio::test]
async fn an_execution_keeps_the_definition_that_it_was_started_with() {
    let stage = Stage::new();
    let of = |answer: &str| {
        machine(json!({
            "W": {"Type": "Wait", "Seconds": 60, "Next": "P"},
            "P": {"Type": "Pass", "Result": answer, "End": true},
        }))
    };
    stage.define("m", &of("old"));
    let execution = stage.start("m", "one", &json!({})).await;
    stage.define("m", &of("new"));
    let later = stage.start("m", "two", &json!({})).await;
    stage.clock.advance(Duration::from_secs(60));
    assert_eq!(stage.end(&execution).await["output"], "\"old\"");
    assert_eq!(stage.end(&later).await["output"], "\"new\"");
}

#[tokio::test]
async fn listings_come_in_pages_the_newest_first() {
    let stage = Stage::new();
    stage.define("m", &machine(json!({"P": {"Type": "Pass", "End": true}})));
    stage.define(
        "other",
        &machine(json!({"P": {"Type": "Pass", "End": true}})),
    );
    for number in 0..5 {
        let execution = stage.start("m", &format!("e{number}"), &json!({})).await;
        stage.end(&execution).await;
    }
    stage.start("other", "e0", &json!({})).await;
    let arn = name::machine_arn("m");
    let mut body = json!({"stateMachineArn": arn, "maxResults": 2});
    let mut names = Vec::new();
    loop {
        let (status, page) = stage.ask("ListExecutions", &body).await;
        assert_eq!(status, 200);
        let executions = page["executions"].as_array().unwrap();
        names.extend(executions.iter().map(|execution| execution["name"].clone()));
        match page.get("nextToken") {
            Some(token) => body["nextToken"] = token.clone(),
            None => break,
        }
    }
    assert_eq!(names, ["e4", "e3", "e2", "e1", "e0"]);
    let running = json!({"stateMachineArn": arn, "statusFilter": "RUNNING"});
    let (_, page) = stage.ask("ListExecutions", &running).await;
    assert_eq!(page["executions"], json!([]));
    let (_, machines) = stage.ask("ListStateMachines", &json!({})).await;
    let names: Vec<_> = machines["stateMachines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|machine| machine["name"].clone())
        .collect();
    assert_eq!(names, ["m", "other"]);
}

#[tokio::test]
async fn the_newest_events_come_first_where_asked_for() {
    let stage = Stage::new();
    stage.define("m", &machine(json!({"P": {"Type": "Pass", "End": true}})));
    let execution = stage.start("m", "one", &json!({"a": 1})).await;
    stage.end(&execution).await;
    let body = json!({
        "executionArn": execution,
        "reverseOrder": true,
        "maxResults": 3,
        "includeExecutionData": false,
    });
    let (_, page) = stage.ask("GetExecutionHistory", &body).await;
    let kinds: Vec<_> = page["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["type"].clone())
        .collect();
    assert_eq!(
        kinds,
        ["ExecutionSucceeded", "PassStateExited", "PassStateEntered"]
    );
    assert_eq!(
        page["events"][2]["stateEnteredEventDetails"],
        json!({"name": "P"})
    );
    let next =
        json!({"executionArn": execution, "reverseOrder": true, "nextToken": page["nextToken"]});
    let (_, rest) = stage.ask("GetExecutionHistory", &next).await;
    assert_eq!(rest["events"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_endless_loop_fails_when_its_history_is_full() {
    let stage = Stage::new();
    let round = json!({"Type": "Pass", "Next": "Back"});
    let back = json!({"Type": "Pass", "Next": "Round"});
    let end = stage
        .run(&machine(json!({"Round": round, "Back": back})), &json!({}))
        .await;
    assert_eq!(end["error"], "States.Runtime");
    assert!(end["cause"].as_str().unwrap().contains("25000"), "{end}");
    let kinds = stage.kinds(end["executionArn"].as_str().unwrap()).await;
    assert_eq!(
        (kinds.len(), kinds.last().unwrap().as_str()),
        (25_000, "ExecutionFailed")
    );
}

#[tokio::test]
async fn what_ended_long_ago_is_swept_and_its_name_free_again() {
    let stage = Stage::new();
    stage.define("m", &machine(json!({"P": {"Type": "Pass", "End": true}})));
    stage.define("hangs", &machine(json!({"T": task(json!({"hang": true}))})));
    let execution = stage.start("m", "one", &json!({})).await;
    stage.end(&execution).await;
    let hanging = stage.start("hangs", "one", &json!({})).await;
    let upkeep = super::super::Upkeep(Arc::clone(&stage.runner.disk));
    let step = |now: Timestamp| upkeep.step(now, true);
    let now = stage.clock.now();
    let days = |days: u64| Duration::from_hours(24 * days);
    assert_eq!(step(now.plus(days(90))), 0);
    let later = now.plus(days(90)).plus(Duration::from_millis(1));
    assert_eq!(step(later), 1);
    assert_eq!(step(later), 0);
    let (_, gone) = stage
        .ask("DescribeExecution", &json!({"executionArn": execution}))
        .await;
    assert_eq!(gone["__type"], "ExecutionDoesNotExist");
    assert_eq!(stage.describe(&hanging).await["status"], "RUNNING");
    stage.start("m", "one", &json!({"again": true})).await;
}
