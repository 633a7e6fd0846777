//! Rules of a Choice, read and held against inputs.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::StateError;
use super::super::context::{Context, Execution};
use super::super::error::{NO_CHOICE_MATCHED, RUNTIME};
use super::super::machine::{Kind, Machine};
use crate::mesh::Timestamp;

fn context() -> Context {
    Context::new(&Execution {
        id: "id".to_owned(),
        name: "run".to_owned(),
        input: json!({"limit": 5}),
        started_at: Timestamp::from_seconds(0),
        machine_id: "machine".to_owned(),
        machine_name: "machine".to_owned(),
        role: "role".to_owned(),
    })
}

/// Whether the rule holds for the input; what is wrong with it where it cannot be read.
fn holds(rule: &Value, input: &Value) -> Result<Result<bool, StateError>, String> {
    let mut rule = rule.clone();
    rule["Next"] = json!("Yes");
    let definition = json!({
        "StartAt": "Pick",
        "States": {
            "Pick": {"Type": "Choice", "Choices": [rule]},
            "Yes": {"Type": "Succeed"},
        },
    });
    let machine = Machine::parse(&definition.to_string())
        .map_err(|flaws| flaws.iter().map(ToString::to_string).collect::<String>())?;
    let Kind::Choice(choice) = &machine.flow.states["Pick"].kind else {
        unreachable!("it was written as one");
    };
    Ok(match choice.choose(input, &context()) {
        Ok(_) => Ok(true),
        Err(error) if error.error == NO_CHOICE_MATCHED => Ok(false),
        Err(error) => Err(error),
    })
}

fn test(operator: &str, operand: Value) -> Value {
    json!({"Variable": "$.v", operator: operand})
}

#[test]
fn every_operator_holds_for_what_it_is_named_after() {
    let early = json!("2024-01-01T00:00:00Z");
    let late = json!("2024-01-01T00:00:00-01:00");
    let orders = [
        ("Equals", [false, true, false]),
        ("LessThan", [true, false, false]),
        ("GreaterThan", [false, false, true]),
        ("LessThanEquals", [true, true, false]),
        ("GreaterThanEquals", [false, true, true]),
    ];
    let kinds = [
        ("String", [json!("a"), json!("b"), json!("c")]),
        ("Numeric", [json!(-1.5), json!(2), json!(1e10)]),
        (
            "Timestamp",
            [json!("1999-12-31T23:59:59Z"), early.clone(), late],
        ),
    ];
    for (kind, values) in &kinds {
        for (order, expected) in orders {
            for (value, expected) in values.iter().zip(expected) {
                let operator = format!("{kind}{order}");
                let input = json!({"v": value, "w": values[1]});
                let fixed = holds(&test(&operator, values[1].clone()), &input);
                assert_eq!(fixed, Ok(Ok(expected)), "{operator} {value}");
                let path = holds(&test(&format!("{operator}Path"), json!("$.w")), &input);
                assert_eq!(path, Ok(Ok(expected)), "{operator}Path {value}");
            }
        }
    }
    for (left, right) in [(true, true), (true, false), (false, true), (false, false)] {
        let input = json!({"v": left, "w": right});
        let fixed = holds(&test("BooleanEquals", json!(right)), &input);
        assert_eq!(fixed, Ok(Ok(left == right)));
        let path = holds(&test("BooleanEqualsPath", json!("$.w")), &input);
        assert_eq!(path, Ok(Ok(left == right)));
    }
}

#[test]
fn an_operator_never_holds_for_a_value_of_another_type() {
    let values = [
        json!(null),
        json!(true),
        json!(1),
        json!("text"),
        json!("2024-01-01T00:00:00Z"),
        json!([]),
        json!({}),
    ];
    let operators = [
        ("String", json!("a"), &[3, 4][..]),
        ("Numeric", json!(1), &[2]),
        ("Timestamp", json!("2024-01-01T00:00:00Z"), &[4]),
    ];
    for (kind, operand, own) in operators {
        for (place, value) in values.iter().enumerate() {
            let input = json!({"v": value});
            let at_most = holds(
                &test(&format!("{kind}LessThanEquals"), operand.clone()),
                &input,
            );
            let above = holds(
                &test(&format!("{kind}GreaterThan"), operand.clone()),
                &input,
            );
            let either = at_most == Ok(Ok(true)) || above == Ok(Ok(true));
            assert_eq!(either, own.contains(&place), "{kind} {value}");
        }
    }
    let number = holds(&test("StringMatches", json!("*")), &json!({"v": 1}));
    assert_eq!(number, Ok(Ok(false)));
}

#[test]
fn types_are_told_apart() {
    let values = [
        (json!(null), "IsNull"),
        (json!(false), "IsBoolean"),
        (json!(-0.0), "IsNumeric"),
        (json!("2024-01-01"), "IsString"),
    ];
    for operator in ["IsNull", "IsBoolean", "IsNumeric", "IsString"] {
        for (value, own) in &values {
            for expected in [true, false] {
                let result = holds(&test(operator, json!(expected)), &json!({"v": value}));
                assert_eq!(
                    result,
                    Ok(Ok((operator == *own) == expected)),
                    "{operator} {value}"
                );
            }
        }
    }
    let time = json!({"v": "2024-01-01T00:00:00.5+02:00"});
    assert_eq!(
        holds(&test("IsTimestamp", json!(true)), &time),
        Ok(Ok(true))
    );
    assert_eq!(holds(&test("IsString", json!(true)), &time), Ok(Ok(true)));
}

#[test]
fn only_presence_may_be_asked_of_what_is_not_there() {
    let empty = json!({});
    assert_eq!(
        holds(&test("IsPresent", json!(false)), &empty),
        Ok(Ok(true))
    );
    assert_eq!(
        holds(&test("IsPresent", json!(true)), &json!({"v": null})),
        Ok(Ok(true))
    );
    for (operator, operand) in [("IsNull", json!(true)), ("StringEquals", json!(""))] {
        let error = holds(&test(operator, operand), &empty)
            .unwrap()
            .unwrap_err();
        assert_eq!(error.error, RUNTIME);
        assert!(error.cause.contains("$.v"), "{error}");
    }
    let error = holds(&test("NumericEqualsPath", json!("$.w")), &json!({"v": 1}));
    assert!(
        error
            .unwrap()
            .unwrap_err()
            .cause
            .contains("NumericEqualsPath")
    );
}

#[test]
fn lists_are_present_where_they_hold_anything_and_compare_with_nothing() {
    let rule = |operator: &str, operand: Value| json!({"Variable": "$.v[*].n", operator: operand});
    let input = json!({"v": [{"n": 1}]});
    assert_eq!(holds(&rule("IsPresent", json!(true)), &input), Ok(Ok(true)));
    assert_eq!(
        holds(&rule("IsPresent", json!(true)), &json!({"v": []})),
        Ok(Ok(false))
    );
    assert_eq!(
        holds(&rule("NumericEquals", json!(1)), &input),
        Ok(Ok(false))
    );
    assert_eq!(
        holds(&rule("IsNumeric", json!(false)), &input),
        Ok(Ok(true))
    );
}

#[test]
fn rules_are_joined_and_stop_where_the_answer_is_known() {
    let (yes, no) = (
        test("IsPresent", json!(true)),
        test("IsPresent", json!(false)),
    );
    let failing = json!({"Variable": "$.missing", "IsNull": true});
    let cases = [
        (json!({"And": [yes, yes]}), Ok(true)),
        (json!({"And": [no, failing]}), Ok(false)),
        (json!({"Or": [yes, failing]}), Ok(true)),
        (json!({"Or": [no, no]}), Ok(false)),
        (json!({"Not": no}), Ok(true)),
        (
            json!({"Not": {"And": [yes, {"Or": [no, {"Not": yes}]}]}}),
            Ok(true),
        ),
        (json!({"And": [yes, failing]}), Err(())),
    ];
    for (rule, expected) in cases {
        let result = holds(&rule, &json!({"v": 1})).unwrap();
        assert_eq!(result.map_err(|_| ()), expected, "{rule}");
    }
    let context = json!({"Variable": "$.v", "NumericLessThanPath": "$$.Execution.Input.limit"});
    assert_eq!(holds(&context, &json!({"v": 4})), Ok(Ok(true)));
    assert_eq!(holds(&context, &json!({"v": 5})), Ok(Ok(false)));
}

#[test]
fn what_is_no_rule_is_refused_with_its_place() {
    let mut deep = test("IsNull", json!(true));
    for _ in 0..20 {
        deep = json!({"Not": deep});
    }
    let cases = [
        (json!({}), "'Variable' is missing"),
        (json!({"Variable": "$.v"}), "a comparison is missing"),
        (
            json!({"Variable": 5, "IsNull": true}),
            "/Variable: it must be a text",
        ),
        (
            json!({"Variable": "v", "IsNull": true}),
            "/Variable: the path 'v' is not right",
        ),
        (
            json!({"Variable": "$$.Task.Token", "IsNull": true}),
            "task token",
        ),
        (
            json!({"Variable": "$.v", "IsNull": true, "IsString": true}),
            "one comparison",
        ),
        (
            test("IsNull", json!("true")),
            "/IsNull: it must be true or false",
        ),
        (
            test("StringEquals", json!(5)),
            "/StringEquals: it must be a text",
        ),
        (test("NumericEquals", json!("5")), "it must be a number"),
        (test("BooleanEquals", json!(1)), "true or false"),
        (
            test("TimestampEquals", json!("2024-01-01")),
            "it must be a time",
        ),
        (test("StringEqualsPath", json!("v")), "the path 'v'"),
        (test("NumericEqualsPath", json!(5)), "it must be a path"),
        (test("StringMatches", json!("a\\")), "backslash"),
        (
            test("StringMatchesPath", json!("$.a")),
            "no comparison 'StringMatchesPath'",
        ),
        (test("BooleanLessThan", json!(true)), "no comparison"),
        (test("stringEquals", json!("a")), "no comparison"),
        (json!({"And": []}), "/And: it must be an array with an item"),
        (json!({"Or": [{}]}), "/Or/0: 'Variable' is missing"),
        (
            json!({"Not": [test("IsNull", json!(true))]}),
            "/Not: it must be an object",
        ),
        (
            json!({"And": [{"Variable": "$.v", "IsNull": true, "Next": "Yes"}]}),
            "/And/0/Next: only a rule at the top",
        ),
        (
            json!({"Not": test("IsNull", json!(true)), "Variable": "$.v"}),
            "no member 'Variable'",
        ),
        (deep, "more than 16"),
    ];
    for (rule, why) in cases {
        let message = holds(&rule, &json!({})).unwrap_err();
        assert!(message.contains(why), "{rule}: {message}");
        assert!(
            message.contains("/States/Pick/Choices/0"),
            "{rule}: {message}"
        );
    }
}

#[test]
fn conditions_of_jsonata_are_refused() {
    let message = holds(&json!({"Condition": "{% true %}"}), &json!({})).unwrap_err();
    assert!(message.contains("JSONata"), "{message}");
}

proptest! {
    #[test]
    fn numbers_compare_as_numbers_do(left in -1e6_f64..1e6, right in -1e6_f64..1e6) {
        let input = json!({"v": left});
        let cases = [
            ("NumericEquals", left == right),
            ("NumericLessThan", left < right),
            ("NumericGreaterThanEquals", left >= right),
        ];
        for (operator, expected) in cases {
            prop_assert_eq!(holds(&test(operator, json!(right)), &input), Ok(Ok(expected)));
        }
    }

    #[test]
    fn integers_compare_exactly(left: i64, right: i64) {
        let result = holds(&test("NumericLessThan", json!(right)), &json!({"v": left}));
        prop_assert_eq!(result, Ok(Ok(left < right)));
    }
}
