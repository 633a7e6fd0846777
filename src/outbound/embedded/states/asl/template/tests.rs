//! Payload templates: what they make, and what is refused.

use serde_json::{Value, json};

use super::super::context::Execution;
use super::super::error::{DATA_LIMIT_EXCEEDED, INTRINSIC_FAILURE};
use super::super::flaw::Flaw;
use super::*;
use crate::mesh::Timestamp;

fn parse(template: &Value) -> Result<Template, Vec<Flaw>> {
    let mut flaws = Flaws::default();
    let parsed = Template::parse(template, "/Parameters", &mut flaws);
    let flaws = flaws.into_vec();
    match parsed {
        Some(parsed) if flaws.is_empty() => Ok(parsed),
        _ => Err(flaws),
    }
}

fn make(template: &Value, input: &Value) -> StateResult<Value> {
    let context = Context::new(&Execution {
        id: "id".to_owned(),
        name: "run".to_owned(),
        input: json!({}),
        started_at: Timestamp::from_seconds(0),
        machine_id: "machine".to_owned(),
        machine_name: "machine".to_owned(),
        role: "role".to_owned(),
    });
    let context = context.item(3, json!("item"));
    let mut entropy = Entropy::new(b"seed");
    let mut scope = Scope::new(&context, &mut entropy);
    parse(template).unwrap().evaluate(input, &mut scope)
}

#[test]
fn computed_members_lose_their_ending_and_all_else_stands() {
    let template = json!({
        "fixed": {"a": [1, {"b": "$.x"}]},
        "path.$": "$.x",
        "list": [{"in.$": "$.x[0]"}, "States.UUID()"],
        "context.$": "$$.Map.Item.Index",
        "call.$": "States.Format('{}', $.x[1])",
        "several.$": "$.x[*]",
        "dotted.name": "$",
    });
    let expected = json!({
        "fixed": {"a": [1, {"b": "$.x"}]},
        "path": [1, 2],
        "list": [{"in": 1}, "States.UUID()"],
        "context": 3,
        "call": "2",
        "several": [1, 2],
        "dotted.name": "$",
    });
    let made = make(&template, &json!({"x": [1, 2]})).unwrap();
    assert_eq!(made.to_string(), expected.to_string());
}

#[test]
fn what_holds_nothing_computed_is_kept_as_it_is() {
    let template = json!({"a": [1, {"b": {}}], "c": "$.d"});
    assert_eq!(parse(&template), Ok(Template::Fixed(template.clone())));
}

#[test]
fn what_leads_to_nothing_fails_by_its_kind() {
    let input = json!({"x": 1});
    let error = make(&json!({"deep": [{"a.$": "$.none"}]}), &input).unwrap_err();
    assert_eq!(error.error, PARAMETER_PATH_FAILURE);
    assert!(error.cause.contains("'$.none' of 'a.$'"), "{error}");
    let error = make(&json!({"a.$": "States.Array($.none)"}), &input).unwrap_err();
    assert_eq!(error.error, INTRINSIC_FAILURE);
}

#[test]
fn what_is_no_template_is_refused_with_its_place() {
    let cases = [
        (json!("text"), "/Parameters", "must be an object"),
        (json!([1]), "/Parameters", "must be an object"),
        (
            json!({"a.$": 5}),
            "/Parameters/a.$",
            "takes a path or an intrinsic",
        ),
        (
            json!({"a.$": {"b": 1}}),
            "/Parameters/a.$",
            "takes a path or an intrinsic",
        ),
        (json!({"a.$": "text"}), "/Parameters/a.$", "leave '.$' out"),
        (json!({"a.$": ""}), "/Parameters/a.$", "leave '.$' out"),
        (json!({"a.$": "$.x["}), "/Parameters/a.$", "the path '$.x['"),
        (
            json!({"a.$": "States.None()"}),
            "/Parameters/a.$",
            "there is no function",
        ),
        (
            json!({"a": [0, {"b/c.$": "x"}]}),
            "/Parameters/a/1/b~1c.$",
            "leave '.$' out",
        ),
        (json!({"a.$": "$.x", "a": 1}), "/Parameters/a.$", "keep one"),
        (
            json!({"t.$": "$$.Task.Token"}),
            "/Parameters/t.$",
            "waitForTaskToken",
        ),
    ];
    for (template, path, why) in cases {
        let flaws = parse(&template).unwrap_err();
        assert_eq!(flaws[0].path, path, "{template}");
        assert!(flaws[0].message.contains(why), "{template}: {}", flaws[0]);
    }
}

#[test]
fn many_copies_of_something_large_are_stopped() {
    let members = (0..100).map(|number| (format!("m{number}.$"), json!("$")));
    let template = Value::Object(members.collect());
    let error = make(&template, &json!("x".repeat(200_000))).unwrap_err();
    assert_eq!(error.error, DATA_LIMIT_EXCEEDED);
}
