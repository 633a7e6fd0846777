//! Definitions: what is read, what is refused, and how it is said.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::machine::{Jitter, Kind, Seconds, Then};
use super::super::path::ReferencePath;
use super::super::resource::{DynamoDbAction, Resource};
use super::*;

fn flaws(definition: &Value) -> Vec<String> {
    let flaws = Machine::parse(&definition.to_string()).expect_err("it must have flaws");
    flaws.iter().map(ToString::to_string).collect()
}

/// The flaws of a machine of one state.
fn flaws_of(state: Value) -> Vec<String> {
    flaws(&json!({"StartAt": "S", "States": {"S": state}}))
}

/// Holds that each state is refused with what is said beside it.
fn hold_flaws(cases: &[(Value, &str)]) {
    for (state, expected) in cases {
        let flaws = flaws_of(state.clone());
        assert!(
            flaws.iter().any(|flaw| flaw.contains(expected)),
            "{state}: {flaws:?}"
        );
    }
}

fn read(definition: &Value) -> Machine {
    Machine::parse(&definition.to_string()).unwrap_or_else(|flaws| panic!("{flaws:#?}"))
}

fn with(base: &Value, members: Value) -> Value {
    let mut merged = base.as_object().cloned().unwrap_or_default();
    if let Value::Object(members) = members {
        merged.extend(members);
    }
    merged.retain(|_, value| *value != json!("REMOVED"));
    Value::Object(merged)
}

fn task(members: Value) -> Value {
    let base = json!({"Type": "Task", "Resource": "arn:aws:states:::sns:publish", "End": true});
    with(&base, members)
}

fn flow() -> Value {
    json!({"StartAt": "Inner", "States": {"Inner": {"Type": "Succeed"}}})
}

fn map(members: Value) -> Value {
    with(
        &json!({"Type": "Map", "ItemProcessor": flow(), "End": true}),
        members,
    )
}

/// A definition in which most members of a Task are there.
fn orders() -> Value {
    json!({
        "Comment": "Orders", "Version": "1.0", "TimeoutSeconds": 60, "QueryLanguage": "JSONPath",
        "StartAt": "Get",
        "States": {
            "Get": {
                "Type": "Task", "Comment": "Reads", "Resource": "arn:aws:states:::dynamodb:getItem",
                "Parameters": {"TableName": "t", "Key.$": "$.key"}, "ResultPath": null, "OutputPath": null,
                "TimeoutSecondsPath": "$.limit", "HeartbeatSeconds": 5,
                "Retry": [
                    {"ErrorEquals": ["A", "B"], "IntervalSeconds": 3, "MaxAttempts": 0, "BackoffRate": 1.5,
                     "MaxDelaySeconds": 10, "JitterStrategy": "FULL", "Comment": "Patience"},
                    {"ErrorEquals": ["States.ALL"]},
                ],
                "Catch": [{"ErrorEquals": ["States.TaskFailed"], "Next": "Tell", "ResultPath": "$.error"}],
                "Next": "Tell",
            },
            "Tell": {"Type": "Task", "Resource": "arn:aws:states:::agent-mesh:kv_set", "End": true},
        },
    })
}

#[test]
fn a_definition_is_read_with_its_defaults() {
    let machine = read(&orders());
    assert_eq!(machine.comment.as_deref(), Some("Orders"));
    assert_eq!(machine.timeout_seconds, Some(60));
    let get = &machine.flow.states["Get"];
    assert_eq!(
        (get.output_path.is_none(), get.result_path.is_none()),
        (true, true)
    );
    assert_eq!(get.then(), Some(&Then::Next("Tell".to_owned())));
    let Kind::Task(task) = &get.kind else {
        unreachable!("it was written as one");
    };
    assert_eq!(task.resource, Resource::DynamoDb(DynamoDbAction::Get));
    assert_eq!(task.resource.arn(), "arn:aws:states:::dynamodb:getItem");
    assert_eq!(task.heartbeat, Some(Seconds::Fixed(5)));
    let limit = ReferencePath::parse("$.limit").unwrap();
    assert_eq!(task.timeout, Some(Seconds::Path(limit)));
    let [first, second] = get.retry() else {
        unreachable!("there are two");
    };
    assert_eq!(
        (
            first.interval_seconds,
            first.attempts_max,
            first.backoff_rate
        ),
        (3, 0, 1.5)
    );
    assert_eq!(
        (first.delay_seconds_max, first.jitter),
        (Some(10), Jitter::Full)
    );
    assert_eq!(
        (
            second.interval_seconds,
            second.attempts_max,
            second.backoff_rate
        ),
        (1, 3, 2.0)
    );
    assert_eq!(
        (second.delay_seconds_max, second.jitter),
        (None, Jitter::None)
    );
    assert_eq!(get.catch()[0].next, "Tell");
    let names: Vec<_> = machine
        .states()
        .iter()
        .map(|state| state.name.as_str())
        .collect();
    assert_eq!(names, ["Get", "Tell"]);
    let embedded: Vec<_> = machine
        .embedded_only()
        .iter()
        .map(|(state, tool)| (state.name.as_str(), *tool))
        .collect();
    assert_eq!(embedded, [("Tell", "kv_set")]);
}

#[test]
fn states_within_others_are_found() {
    let tool =
        json!({"Type": "Task", "Resource": "arn:aws:states:::agent-mesh:events_send", "End": true});
    let machine = read(&json!({
        "StartAt": "P",
        "States": {
            "P": {"Type": "Parallel", "Branches": [{"StartAt": "A", "States": {"A": tool}}], "Next": "M"},
            "M": {"Type": "Map", "Iterator": {"StartAt": "B", "States": {"B": tool}}, "End": true},
        },
    }));
    let names: Vec<_> = machine
        .embedded_only()
        .iter()
        .map(|(state, _)| state.name.as_str())
        .collect();
    assert_eq!(names, ["B", "A"]);
}

#[test]
fn what_is_wrong_with_the_whole_is_told() {
    let state = json!({"S": {"Type": "Succeed"}});
    let cases = [
        (json!([]), "the definition: it must be an object"),
        (json!({"States": state}), "'StartAt' is missing"),
        (json!({"StartAt": "S"}), "'States' is missing"),
        (
            json!({"StartAt": 5, "States": state}),
            "/StartAt: it must be a text",
        ),
        (
            json!({"StartAt": "S", "States": []}),
            "/States: it must be an object of states",
        ),
        (
            json!({"StartAt": "S", "States": {}}),
            "/States: there must be a state",
        ),
        (
            json!({"StartAt": "T", "States": state}),
            "/StartAt: there is no state 'T'",
        ),
        (
            json!({"StartAt": "S", "States": state, "Version": "2.0"}),
            "/Version: the only version is 1.0",
        ),
        (
            json!({"StartAt": "S", "States": state, "TimeoutSeconds": 0}),
            "/TimeoutSeconds: it must be a whole number from 1",
        ),
        (
            json!({"StartAt": "S", "States": state, "TimeoutSeconds": 1.5}),
            "/TimeoutSeconds: it must be a whole number",
        ),
        (
            json!({"StartAt": "S", "States": state, "QueryLanguage": "JSONata"}),
            "/QueryLanguage: 'JSONata' is not supported",
        ),
        (
            json!({"StartAt": "S", "States": state, "Startat": "S"}),
            "/Startat: a state machine has no member 'Startat'; is 'StartAt' meant?",
        ),
        (
            json!({"StartAt": "S", "States": state, "x/y": 1}),
            "/x~1y: a state machine has no member 'x/y': take it out",
        ),
    ];
    for (definition, expected) in cases {
        let flaws = flaws(&definition);
        assert!(
            flaws
                .iter()
                .any(|flaw| flaw.starts_with(expected) || flaw.contains(expected)),
            "{definition}: {flaws:?}"
        );
    }
    let text = |text: &str| Machine::parse(text).unwrap_err()[0].to_string();
    assert!(text("{").contains("it is no JSON"));
    assert!(text("{} {}").contains("it is no JSON"));
    let twice = text(
        r#"{"StartAt": "S", "States": {"S": {"Type": "Pass", "End": true}, "S": {"Type": "Succeed"}}}"#,
    );
    assert!(twice.contains("the member 'S' comes twice"), "{twice}");
    assert!(text(&"[".repeat(1000)).contains("recursion limit"));
    assert!(text(&" ".repeat(DEFINITION_BYTES_MAX + 1)).contains("split it"));
}

#[test]
fn members_that_a_state_does_not_have_or_take_are_told() {
    let end = |members: Value| with(&json!({"End": true}), members);
    hold_flaws(&[
        (json!("text"), "/States/S: it must be an object"),
        (json!({}), "'Type' is missing"),
        (
            json!({"Type": "pass"}),
            "/States/S/Type: there is no type 'pass', only Pass",
        ),
        (
            end(json!({"Type": "Pass", "QueryLanguage": "JSONata"})),
            "/QueryLanguage: 'JSONata'",
        ),
        (
            end(json!({"Type": "Pass", "Assign": {}})),
            "/Assign: variables are not supported",
        ),
        (end(json!({"Type": "Pass", "Output": {}})), "JSONata"),
        (
            end(json!({"Type": "Pass", "ResultSelector": {}})),
            "a Pass state has no member 'ResultSelector'",
        ),
        (
            end(json!({"Type": "Pass", "Retry": []})),
            "no member 'Retry'",
        ),
        (
            end(json!({"Type": "Pass", "Inputpath": "$"})),
            "is 'InputPath' meant?",
        ),
        (
            end(json!({"Type": "Pass", "InputPath": "x"})),
            "/InputPath: the path 'x' is not right",
        ),
        (
            end(json!({"Type": "Pass", "OutputPath": 5})),
            "/OutputPath: it must be a path or null",
        ),
        (
            end(json!({"Type": "Pass", "ResultPath": "$.a[*]"})),
            "it must name one place",
        ),
        (
            end(json!({"Type": "Pass", "ResultPath": "$$.a"})),
            "nothing can be written to the context",
        ),
        (
            end(json!({"Type": "Pass", "Parameters": "x"})),
            "/Parameters: it must be an object",
        ),
        (
            end(json!({"Type": "Pass", "Comment": 5})),
            "/Comment: it must be a text",
        ),
    ]);
}

#[test]
fn a_state_that_leads_nowhere_is_told() {
    hold_flaws(&[
        (json!({"Type": "Pass"}), "it leads nowhere"),
        (json!({"Type": "Pass", "End": false}), "it leads nowhere"),
        (
            json!({"Type": "Pass", "End": "true"}),
            "/End: it must be true or false",
        ),
        (
            json!({"Type": "Pass", "Next": 5}),
            "/Next: it must be a text",
        ),
        (
            json!({"Type": "Pass", "Next": "T"}),
            "/States/S/Next: there is no state 'T' here",
        ),
        (
            json!({"Type": "Pass", "Next": "S", "End": true}),
            "'Next' and 'End' exclude",
        ),
    ]);
}

#[test]
fn what_makes_a_state_of_its_type_must_be_right() {
    let end = |members: Value| with(&json!({"End": true}), members);
    hold_flaws(&[
        (
            end(json!({"Type": "Succeed"})),
            "a Succeed state has no member 'End'",
        ),
        (
            json!({"Type": "Fail", "InputPath": "$"}),
            "a Fail state has no member 'InputPath'",
        ),
        (
            json!({"Type": "Fail", "Error": "a", "ErrorPath": "$.a"}),
            "exclude each other",
        ),
        (
            json!({"Type": "Fail", "CausePath": "text"}),
            "/CausePath: 'text' is neither a path",
        ),
        (
            json!({"Type": "Fail", "CausePath": "$.a[*]"}),
            "/CausePath: the path '$.a[*]'",
        ),
        (
            json!({"Type": "Choice", "Choices": [], "Default": "S"}),
            "/Choices: it must be an array with an item",
        ),
        (
            json!({"Type": "Choice", "Default": "S"}),
            "'Choices' is missing",
        ),
        (end(json!({"Type": "Wait"})), "exactly one of Seconds"),
        (
            end(json!({"Type": "Wait", "Seconds": 1, "Timestamp": "x"})),
            "exactly one of Seconds",
        ),
        (
            end(json!({"Type": "Wait", "Seconds": -1})),
            "/Seconds: it must be a whole number from 0",
        ),
        (
            end(json!({"Type": "Wait", "Seconds": 100_000_000})),
            "to 99999999",
        ),
        (
            end(json!({"Type": "Wait", "SecondsPath": "5"})),
            "/SecondsPath: the path '5'",
        ),
        (
            end(json!({"Type": "Wait", "Timestamp": "2024-01-01"})),
            "/Timestamp: it must be a time such as",
        ),
        (end(json!({"Type": "Parallel"})), "'Branches' is missing"),
        (
            end(json!({"Type": "Parallel", "Branches": []})),
            "/Branches: it must be an array with an item",
        ),
        (
            end(json!({"Type": "Parallel", "Branches": [{"StartAt": "x"}]})),
            "/Branches/0: 'States' is missing",
        ),
        (
            end(
                json!({"Type": "Parallel", "Branches": [with(&flow(), json!({"TimeoutSeconds": 1}))]}),
            ),
            "a branch has no member",
        ),
    ]);
}

#[test]
fn what_is_wrong_with_a_task_is_told() {
    hold_flaws(&[
        (
            task(json!({"Resource": "REMOVED"})),
            "'Resource' is missing",
        ),
        (
            task(json!({"Resource": "arn:aws:lambda:us-east-1:123456789012:function:f"})),
            "/Resource: there are no Lambda",
        ),
        (
            task(json!({"Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken"})),
            "waitForTaskToken",
        ),
        (
            task(json!({"Resource": "arn:aws:states:::sns:publish.waitForTaskToken"})),
            "not supported",
        ),
        (
            task(json!({"Resource": "arn:aws:states:::batch:submitJob.sync"})),
            ".sync",
        ),
        (
            task(json!({"Resource": "arn:aws:states:us-east-1:123456789012:activity:a"})),
            "activities",
        ),
        (
            task(json!({"Resource": "arn:aws:states:::aws-sdk:s3:getObject"})),
            "AWS SDK",
        ),
        (
            task(json!({"Resource": "arn:aws:states:::dynamodb:query"})),
            "not known: use",
        ),
        (
            task(json!({"Resource": "arn:aws:states:::agent-mesh:"})),
            "the name of a tool",
        ),
        (
            task(json!({"Resource": "arn:aws:states:::agent-mesh:kv set"})),
            "the name of a tool",
        ),
        (
            task(json!({"Credentials": {}})),
            "as the user that started the run",
        ),
        (
            task(json!({"TimeoutSeconds": 0})),
            "/TimeoutSeconds: it must be",
        ),
        (
            task(json!({"TimeoutSeconds": 5, "TimeoutSecondsPath": "$.a"})),
            "exclude each other",
        ),
        (
            task(json!({"TimeoutSeconds": 5, "HeartbeatSeconds": 5})),
            "/HeartbeatSeconds: it must be less than",
        ),
        (task(json!({"HeartbeatSecondsPath": "$..a"})), "one place"),
        (
            task(json!({"Parameters": {"Message.$": "$$.Task.Token"}})),
            "waitForTaskToken",
        ),
    ]);
}

#[test]
fn what_an_integration_does_not_take_is_told() {
    let of = |resource: &str, parameters: Value| {
        let resource = format!("arn:aws:states:::{resource}");
        task(json!({"Resource": resource, "Parameters": parameters}))
    };
    let entry = |members: Value| of("events:putEvents", json!({"Entries": [members]}));
    hold_flaws(&[
        (
            of("dynamodb:getItem", json!({"TableName": "t"})),
            "/States/S/Parameters: arn:aws:states:::dynamodb:getItem needs 'Key'",
        ),
        (
            of("dynamodb:putItem", json!({"TableName.$": "$.t", "Key": {}})),
            "/Parameters/Key: arn:aws:states:::dynamodb:putItem does not take 'Key'",
        ),
        (
            of(
                "dynamodb:updateItem",
                json!({"TableName": "t", "Key": {}, "AttributeUpdates.$": "$.a"}),
            ),
            "does not take 'AttributeUpdates'",
        ),
        (
            of("dynamodb:deleteItem", json!({"Key": {}})),
            "needs 'TableName'",
        ),
        (
            of("sns:publish", json!({"Message": "m", "PhoneNumber": "1"})),
            "needs 'TopicArn'",
        ),
        (
            of(
                "sns:publish",
                json!({"TopicArn": "t", "Message": "m", "MessageStructure": "json"}),
            ),
            "does not take 'MessageStructure'",
        ),
        (of("events:putEvents", json!({})), "needs 'Entries'"),
        (
            entry(json!({"Detail": {}})),
            "/Parameters/Entries/0: arn:aws:states:::events:putEvents needs 'DetailType'",
        ),
        (
            entry(json!({"DetailType": "d", "Detail": {}, "Sourc": "s"})),
            "/Entries/0/Sourc: arn:aws:states:::events:putEvents does not take 'Sourc'",
        ),
    ]);
    for fine in [
        of(
            "dynamodb:putItem",
            json!({"TableName.$": "$.t", "Item.$": "$.i", "ConditionExpression": "c"}),
        ),
        of("events:putEvents", json!({"Entries.$": "$.entries"})),
        of("agent-mesh:kv_set", json!({"anything": 1})),
        task(json!({})),
    ] {
        read(&json!({"StartAt": "S", "States": {"S": fine}}));
    }
}

#[test]
fn what_is_wrong_with_a_retrier_is_told() {
    hold_flaws(&[
        (task(json!({"Retry": {}})), "/Retry: it must be an array"),
        (
            task(json!({"Retry": [5]})),
            "/Retry/0: it must be an object",
        ),
        (
            task(json!({"Retry": [{}]})),
            "/Retry/0: 'ErrorEquals' is missing",
        ),
        (
            task(json!({"Retry": [{"ErrorEquals": []}]})),
            "/Retry/0/ErrorEquals: it must be an array with an item",
        ),
        (
            task(json!({"Retry": [{"ErrorEquals": [5]}]})),
            "/ErrorEquals/0: it must be a text",
        ),
        (
            task(json!({"Retry": [{"ErrorEquals": ["States.TimeOut"]}]})),
            "there is no error 'States.TimeOut'",
        ),
        (
            task(json!({"Retry": [{"ErrorEquals": ["States.ALL", "A"]}]})),
            "must stand alone",
        ),
        (
            task(json!({"Retry": [{"ErrorEquals": ["States.ALL"]}, {"ErrorEquals": ["A"]}]})),
            "/Retry/0/ErrorEquals: 'States.ALL' must stand alone, in the last",
        ),
        (
            task(json!({"Retry": [{"ErrorEquals": ["A"], "MaxAttempts": -1}]})),
            "/MaxAttempts: it must be a whole number from 0",
        ),
        (
            task(json!({"Retry": [{"ErrorEquals": ["A"], "IntervalSeconds": 0}]})),
            "/IntervalSeconds: it must be a whole number from 1",
        ),
        (
            task(json!({"Retry": [{"ErrorEquals": ["A"], "BackoffRate": 0.5}]})),
            "/BackoffRate: it must be a number from 1.0",
        ),
        (
            task(
                json!({"Retry": [{"ErrorEquals": ["A"], "MaxDelaySeconds": 5, "IntervalSeconds": 5}]}),
            ),
            "/MaxDelaySeconds: it must be more than",
        ),
        (
            task(json!({"Retry": [{"ErrorEquals": ["A"], "JitterStrategy": "full"}]})),
            "/JitterStrategy: it must be FULL or NONE",
        ),
        (
            task(json!({"Retry": [{"ErrorEquals": ["A"], "MaxAttempt": 1}]})),
            "is 'MaxAttempts' meant?",
        ),
    ]);
}

#[test]
fn what_is_wrong_with_a_catcher_is_told() {
    hold_flaws(&[
        (
            task(json!({"Catch": [{"ErrorEquals": ["A"]}]})),
            "/Catch/0: 'Next' is missing",
        ),
        (
            task(json!({"Catch": [{"ErrorEquals": ["A"], "Next": "T"}]})),
            "/Catch/0/Next: there is no state 'T'",
        ),
        (
            task(json!({"Catch": [{"ErrorEquals": ["A"], "Next": "S", "ResultPath": "x"}]})),
            "/Catch/0/ResultPath: the path 'x'",
        ),
        (
            task(json!({"Catch": [{"ErrorEquals": ["A"], "Next": "S", "Output": 1}]})),
            "JSONata",
        ),
    ]);
}

#[test]
fn what_is_wrong_with_a_map_is_told() {
    let distributed = with(
        &flow(),
        json!({"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS"}}),
    );
    hold_flaws(&[
        (
            map(json!({"ItemProcessor": "REMOVED"})),
            "'ItemProcessor' is missing",
        ),
        (
            map(json!({"Iterator": flow()})),
            "'ItemProcessor' and 'Iterator' exclude",
        ),
        (
            map(json!({"ItemProcessor": distributed})),
            "/ProcessorConfig/Mode: distributed maps",
        ),
        (
            map(json!({"ItemProcessor": distributed})),
            "has no member 'ExecutionType'",
        ),
        (
            map(json!({"ItemSelector": {}, "Parameters": {}})),
            "exclude each other",
        ),
        (
            map(json!({"MaxConcurrency": 1, "MaxConcurrencyPath": "$.n"})),
            "exclude each other",
        ),
        (
            map(json!({"MaxConcurrency": -1})),
            "/MaxConcurrency: it must be a whole number",
        ),
        (
            map(json!({"ItemsPath": "$.a[*]"})),
            "/ItemsPath: the path '$.a[*]' is not right: it must name one place",
        ),
        (
            map(json!({"ItemsPath": null})),
            "/ItemsPath: it must be a text",
        ),
        (map(json!({"ItemReader": {}})), "distributed maps"),
        (map(json!({"ItemBatcher": {}})), "distributed maps"),
        (map(json!({"ResultWriter": {}})), "distributed maps"),
        (map(json!({"ToleratedFailureCount": 1})), "distributed maps"),
        (map(json!({"Items": []})), "JSONata"),
    ]);
}

#[test]
fn ways_into_nowhere_are_told_together_with_all_other_flaws() {
    let told = flaws(&json!({"StartAt": "Begin", "States": {
        "A": {"Type": "Task", "Resource": "x", "Catch": [{"ErrorEquals": [], "Next": "B"}], "Next": "C"},
        "B": {"Type": "Tsk", "Next": "A"},
        "D": {"Type": "Choice", "Choices": [{"Variable": "x", "Next": "E"}, {"Next": 5}], "Default": "F"},
        "G": {"Type": "Pass", "Next": "H", "End": true},
        "I": {"Type": "Succeed", "Next": "J"},
        "K": "L",
    }}));
    for expected in [
        "/StartAt: there is no state 'Begin' here",
        "/States/A/Resource: ",
        "/States/A/Catch/0/ErrorEquals: ",
        "/States/A/Next: there is no state 'C' here",
        "/States/B/Type: there is no type 'Tsk'",
        "/States/D/Choices/0: a comparison is missing",
        "/States/D/Choices/0/Next: there is no state 'E' here",
        "/States/D/Choices/1/Next: it must be a text",
        "/States/D/Default: there is no state 'F' here",
        "/States/G/Next: there is no state 'H' here",
        "/States/I/Next: a Succeed state has no member 'Next'",
        "/States/K: ",
    ] {
        let count = told
            .iter()
            .filter(|flaw| flaw.starts_with(expected))
            .count();
        assert_eq!(count, 1, "{expected}: {told:#?}");
    }
    // What cannot be reached is told where all ways are known, whatever else is wrong.
    let island = json!({"StartAt": "A", "States": {
        "A": {"Type": "Task", "Resource": "x", "End": true},
        "B": {"Type": "Succeed"},
    }});
    let told = flaws(&island);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[1].starts_with("/States/B: no way leads to this state"),
        "{told:?}"
    );
    let mut unclear = island;
    unclear["States"]["A"]["Type"] = json!("Tsk");
    assert_eq!(flaws(&unclear).len(), 1);
}

#[test]
fn ways_stay_within_their_flow_and_reach_every_state() {
    let pass = |next: &str| json!({"Type": "Pass", "Next": next});
    let outside = json!({"StartAt": "M", "States": {
        "M": {"Type": "Map", "ItemProcessor": {"StartAt": "In", "States": {"In": pass("Out")}}, "Next": "Out"},
        "Out": pass("In"),
    }});
    let told = flaws(&outside);
    assert!(
        told[0].starts_with("/States/M/ItemProcessor/States/In/Next: there is no state 'Out' here"),
        "{told:?}"
    );
    assert!(
        told[1].starts_with("/States/Out/Next: there is no state 'In' here"),
        "{told:?}"
    );
    let island = json!({"StartAt": "A", "States": {
        "A": {"Type": "Succeed"}, "B": pass("C"), "C": pass("B"),
    }});
    let told = flaws(&island);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].starts_with("/States/B: no way leads to this state"),
        "{told:?}"
    );
    let again = json!({"StartAt": "A", "States": {
        "A": {"Type": "Parallel", "Branches": [{"StartAt": "A", "States": {"A": {"Type": "Succeed"}}}], "End": true},
    }});
    assert!(flaws(&again)[0].contains("another state has this name"));
}

#[test]
fn names_and_nesting_have_limits() {
    let named = |name: &str| json!({"StartAt": name, "States": {name: {"Type": "Succeed"}}});
    read(&named(&"ж".repeat(NAME_CHARS_MAX)));
    assert!(flaws(&named(&"x".repeat(81)))[0].contains("1 to 80 characters, not 81"));
    assert!(flaws(&named(""))[0].contains("not 0"));
    let nested = |depth: usize| {
        let mut inner = json!({"StartAt": "s0", "States": {"s0": {"Type": "Succeed"}}});
        for level in 1..depth {
            let name = format!("s{level}");
            inner = json!({"StartAt": name, "States": {name: {"Type": "Map", "ItemProcessor": inner, "End": true}}});
        }
        inner
    };
    read(&nested(FLOW_DEPTH_MAX));
    let flaws = flaws(&nested(FLOW_DEPTH_MAX + 1));
    assert!(flaws[0].contains("lie in each other"), "{flaws:?}");
}

#[test]
fn everything_wrong_is_told_at_once_up_to_a_limit() {
    let two = json!({"StartAt": "S", "States": {"S": {"Type": "Pass", "InputPath": "x", "OutputPath": "y", "Next": "S"}}});
    assert_eq!(flaws(&two).len(), 2);
    let states = (0..500).map(|number| (format!("s{number}"), json!({"Type": "None"})));
    let many = json!({"StartAt": "s0", "States": Map::from_iter(states)});
    assert_eq!(flaws(&many).len(), 50);
    let long = json!({"StartAt": "S", "States": {"S": {"Type": "x".repeat(10_000)}}});
    assert!(flaws(&long)[0].len() < 300);
    let long = json!({"StartAt": "S", "States": {"x".repeat(10_000): {"Type": "Pass", "y".repeat(10_000): 1}}});
    assert!(flaws(&long).iter().all(|flaw| flaw.len() < 500));
}

/// A file of this package.
fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn every_machine_of_the_corpus_is_read() {
    let folder = file("tests/aws_integration_test/machines");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let machine: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let read = Machine::parse(&machine["definition"].to_string());
        assert!(read.is_ok(), "{}: {read:?}", path.display());
        assert!(!machine["cases"].as_array().unwrap().is_empty());
        count += 1;
    }
    assert!(count >= 60, "there are {count}");
}

#[test]
fn the_machines_of_the_document_are_read() {
    let document = fs::read_to_string(file("docs/workflows.md")).unwrap();
    let blocks = document.split("```json\n").skip(1);
    let machines: Vec<&str> = blocks
        .filter_map(|block| block.split("```").next())
        .filter(|block| block.contains("\"StartAt\""))
        .collect();
    assert!(machines.len() >= 2);
    for machine in machines {
        let read = Machine::parse(machine);
        assert!(read.is_ok(), "{machine}: {read:?}");
    }
}

/// Names and values that definitions are made of.
fn any_part() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2_i64..3).prop_map(Value::from),
        prop::sample::select(vec![
            "Pass",
            "Task",
            "Choice",
            "Wait",
            "Succeed",
            "Fail",
            "Parallel",
            "Map",
            "S",
            "T",
            "$",
            "$.a",
            "$$.x",
            "States.UUID()",
            "States.ALL",
            "JSONPath",
            "2024-01-01T00:00:00Z",
            "arn:aws:states:::sns:publish",
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 4, |inner| {
        let name = prop::sample::select(vec![
            "StartAt",
            "States",
            "Type",
            "S",
            "T",
            "Next",
            "End",
            "Choices",
            "Variable",
            "IsNull",
            "StringEquals",
            "And",
            "Not",
            "Branches",
            "ItemProcessor",
            "Retry",
            "Catch",
            "ErrorEquals",
            "Parameters",
            "a.$",
            "Seconds",
            "ResultPath",
            "InputPath",
            "Default",
            "Result",
            "MaxAttempts",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(name, inner, 0..5).prop_map(|members| {
                Value::Object(
                    members
                        .into_iter()
                        .map(|(name, value)| (name.to_owned(), value))
                        .collect(),
                )
            }),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_is_read_is_a_machine_or_has_flaws(text in "\\PC{0,64}", states in any_part(), state in any_part()) {
        let _ = Machine::parse(&text);
        for definition in [json!({"StartAt": "S", "States": states}), json!({"StartAt": "S", "States": {"S": state}}), state] {
            match Machine::parse(&definition.to_string()) {
                Ok(machine) => prop_assert!(machine.flow.states.contains_key(&machine.flow.start_at)),
                Err(flaws) => prop_assert!(!flaws.is_empty()),
            }
        }
    }
}
