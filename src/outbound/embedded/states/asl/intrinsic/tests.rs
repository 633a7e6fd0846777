//! Intrinsic functions: what they answer, what they fail for, what is refused when they are read.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::context::{Context, Entropy, Execution, Scope};
use super::super::error::{INTRINSIC_FAILURE, StateError, StateResult};
use super::super::template::Evaluation;
use super::*;
use crate::mesh::Timestamp;

fn evaluate_with(text: &str, input: &Value, seed: &[u8]) -> StateResult<Value> {
    let context = Context::new(&Execution {
        id: "id".to_owned(),
        name: "run".to_owned(),
        input: json!({}),
        started_at: Timestamp::from_seconds(0),
        machine_id: "machine".to_owned(),
        machine_name: "machine".to_owned(),
        role: "role".to_owned(),
    });
    let call = Call::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"));
    let mut entropy = Entropy::new(seed);
    let mut scope = Scope::new(&context, &mut entropy);
    call.evaluate(&mut Evaluation::new(input, &mut scope))
}

fn evaluate(text: &str, input: &Value) -> StateResult<Value> {
    evaluate_with(text, input, b"seed")
}

fn input() -> Value {
    json!({
        "name": "Ada", "list": [1, 2, 2.0, "2", null, [1], [1.0]], "object": {"a": 1, "b": {"x": 1}},
        "other": {"b": {"y": 2}}, "number": 7, "float": 2.5, "big": i64::MAX, "huge": 1e300,
        "template": r"\{{}\}", "true": true, "null": null, "empty": [], "text": "a,b;;c", "json": "[1, {\"a\": null}]",
    })
}

/// Holds that each call answers what stands beside it.
fn hold(cases: &[(&str, Value)]) {
    for (text, expected) in cases {
        assert_eq!(evaluate(text, &input()).as_ref(), Ok(expected), "{text}");
    }
}

#[test]
fn arrays_are_made_and_taken_apart() {
    hold(&[
        ("States.Array()", json!([])),
        (
            "States.Array( 1 ,\t'a' , null,true, $.empty )",
            json!([1, "a", null, true, []]),
        ),
        (
            "States.Array(-1.5e1, $$.Execution.Name)",
            json!([-15.0, "run"]),
        ),
        (
            r"States.Array('it\'s', '\{\}', '\\', '{\}')",
            json!(["it's", "{}", "\\", "{}"]),
        ),
        ("States.ArrayContains($.list, 2)", json!(true)),
        ("States.ArrayContains($.list, 1.0)", json!(true)),
        ("States.ArrayContains($.list, '1')", json!(false)),
        ("States.ArrayContains($.list, null)", json!(true)),
        ("States.ArrayGetItem($.list, 3)", json!("2")),
        ("States.ArrayGetItem($.list, 2.6)", json!("2")),
        ("States.ArrayLength($.empty)", json!(0)),
        (
            "States.ArrayPartition($.list, 3)",
            json!([[1, 2, 2.0], ["2", null, [1]], [[1.0]]]),
        ),
        ("States.ArrayPartition($.empty, 3)", json!([])),
        ("States.ArrayRange(1, 9, 2)", json!([1, 3, 5, 7, 9])),
        ("States.ArrayRange(9, 1, -4)", json!([9, 5, 1])),
        ("States.ArrayRange(1, 3, -1)", json!([])),
        ("States.ArrayRange(0.6, 3.4, 1)", json!([1, 2, 3])),
        ("States.ArrayUnique($.list)", json!([1, 2, "2", null, [1]])),
    ]);
}

#[test]
fn texts_numbers_and_json_are_worked_on() {
    hold(&[
        (
            "States.Base64Encode('Data to encode')",
            json!("RGF0YSB0byBlbmNvZGU="),
        ),
        (
            "States.Base64Decode('RGF0YSB0byBlbmNvZGU')",
            json!("Data to encode"),
        ),
        (
            "States.Base64Decode('RGF0YSB0 byBlbmNvZGU=')",
            json!("Data to encode"),
        ),
        ("States.Format('Hello, {}!', $.name)", json!("Hello, Ada!")),
        (r"States.Format('\{{}\} {}', 1, 'x')", json!("{1} x")),
        ("States.Format($.template, 1)", json!("{1}")),
        (
            "States.Format('{}{}{}{}', $.true, $.null, $.number, $.float)",
            json!("truenull72.5"),
        ),
        (
            "States.Hash('', 'MD5')",
            json!("d41d8cd98f00b204e9800998ecf8427e"),
        ),
        (
            "States.Hash('abc', 'SHA-1')",
            json!("a9993e364706816aba3e25717850c26c9cd0d89d"),
        ),
        (
            "States.JsonMerge($.object, $.other, false)",
            json!({"a": 1, "b": {"y": 2}}),
        ),
        (
            "States.JsonToString($.object)",
            json!("{\"a\":1,\"b\":{\"x\":1}}"),
        ),
        ("States.JsonToString('quoted')", json!("\"quoted\"")),
        ("States.MathAdd($.number, -10)", json!(-3)),
        ("States.MathAdd($.float, 0)", json!(3)),
        ("States.MathAdd(-2.5, 0)", json!(-2)),
        ("States.StringSplit($.text, ';,')", json!(["a", "b", "c"])),
        ("States.StringSplit('', ',')", json!([])),
        ("States.StringSplit('a,b', '')", json!(["a,b"])),
        ("States.StringToJson($.json)", json!([1, {"a": null}])),
        (
            "States.ArrayLength(States.StringSplit(States.Format('{}-{}', 1, 2), '-'))",
            json!(2),
        ),
    ]);
}

#[test]
fn functions_fail_for_what_they_do_not_take() {
    let calls = [
        "States.ArrayContains('text', 1)",
        "States.ArrayGetItem($.list, 7)",
        "States.ArrayGetItem($.list, -1)",
        "States.ArrayGetItem($.list, '0')",
        "States.ArrayLength($.object)",
        "States.ArrayPartition($.list, 0)",
        "States.ArrayPartition($.list, -1)",
        "States.ArrayRange(0, 1000, 1)",
        "States.ArrayRange(0, 1, 0)",
        "States.ArrayRange(0, $.big, 1)",
        "States.ArrayUnique($.object)",
        "States.Base64Decode('!!')",
        "States.Base64Decode('/w==')",
        "States.Base64Encode($.number)",
        "States.Format($.template)",
        "States.Format($.template, 1, 2)",
        "States.Format($.number)",
        "States.Format('{}', $.list)",
        "States.Format($.json, 1)",
        "States.Hash('abc', 'SHA-3')",
        "States.Hash($.object, 'MD5')",
        "States.JsonMerge($.object, $.list, false)",
        "States.JsonMerge($.object, $.other, $.true)",
        "States.MathAdd($.big, 1)",
        "States.MathAdd($.huge, 1)",
        "States.MathAdd('1', 1)",
        "States.MathRandom(2, 1)",
        "States.StringSplit($.number, ',')",
        "States.StringToJson($.name)",
        "States.StringToJson($.object)",
        "States.Array($.missing)",
        "States.Array($.name.length)",
    ];
    for text in calls {
        let error = evaluate(text, &input()).unwrap_err();
        assert_eq!(error.error, INTRINSIC_FAILURE, "{text}");
        let name = text.split('(').next().unwrap();
        assert!(error.cause.contains(name), "{text}: {}", error.cause);
    }
}

#[test]
fn texts_of_ten_thousand_characters_are_the_longest_to_encode_or_hash() {
    for call in [
        "States.Base64Encode($)",
        "States.Hash($, 'MD5')",
        "States.Base64Decode($)",
    ] {
        let longest = json!("YWJj".repeat(2500));
        assert!(evaluate(call, &longest).is_ok(), "{call}");
        let error = evaluate(call, &json!("abcd".repeat(2501))).unwrap_err();
        assert!(error.cause.contains("10000 characters"), "{call}: {error}");
    }
    // Characters are counted, not bytes.
    assert!(evaluate("States.Hash($, 'MD5')", &json!("é".repeat(10_000))).is_ok());
}

#[test]
fn what_is_no_call_is_refused_with_what_to_do() {
    let deep = format!("{}1{}", "States.Array(".repeat(11), ")".repeat(11));
    let cases = [
        ("States.Nothing()", "there is no function"),
        ("States.Array", "'('"),
        ("States.Array(", "expected"),
        ("States.Array(1", "',' or ')'"),
        ("States.Array(1,)", "a text in apostrophes"),
        ("States.Array(1 2)", "',' or ')'"),
        ("States.Array(\"a\")", "a text in apostrophes"),
        ("States.Array(name)", "a text in apostrophes"),
        ("States.Array('a)", "not closed"),
        (r"States.Array('a\n')", "backslash"),
        (r"States.Array('a\", "backslash"),
        ("States.Array() and more", "the end"),
        ("States.Array($.)", "a name"),
        ("States.Array($$.Task.Token)", "task token"),
        ("States.UUID(1)", "takes 0 arguments, not 1"),
        ("States.ArrayLength()", "takes 1 arguments, not 0"),
        ("States.MathRandom(1)", "takes 2 to 3 arguments"),
        ("States.Format()", "at least 1"),
        ("States.Format('{} {}', 1)", "has 2 '{}' and 1 values"),
        ("States.Format('{', 1)", "must follow a backslash"),
        ("States.JsonMerge($.a, $.b, true)", "must be false"),
        (deep.as_str(), "more than 10"),
    ];
    for (text, why) in cases {
        let message = Call::parse(text).unwrap_err();
        assert!(message.contains(why), "{text}: {message}");
    }
}

#[test]
fn random_answers_are_the_same_for_the_same_seed_and_of_the_right_kind() {
    let uuids = "States.Array(States.UUID(), States.UUID())";
    let drawn = evaluate_with(uuids, &input(), b"one").unwrap();
    assert_eq!(evaluate_with(uuids, &input(), b"one").unwrap(), drawn);
    assert_ne!(evaluate_with(uuids, &input(), b"two").unwrap(), drawn);
    assert_ne!(drawn[0], drawn[1]);
    for uuid in drawn.as_array().unwrap() {
        let uuid: uuid::Uuid = uuid.as_str().unwrap().parse().unwrap();
        assert_eq!(uuid.get_version_num(), 4);
    }
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0_u32..200 {
        let number = evaluate_with("States.MathRandom(-1, 3)", &input(), &seed.to_be_bytes());
        seen.insert(number.unwrap().as_i64().unwrap());
    }
    assert_eq!(seen, (-1..3).collect());
    assert_eq!(evaluate("States.MathRandom(5, 5)", &input()), Ok(json!(5)));
    let seeded = |seed: &[u8]| evaluate_with("States.MathRandom(0, 1000000, 42)", &input(), seed);
    assert_eq!(seeded(b"one"), seeded(b"two"));
    let all = format!("States.MathRandom({}, {})", i64::MIN, i64::MAX);
    assert!(evaluate(&all, &input()).is_ok());
}

#[test]
fn a_call_that_asks_for_too_much_is_stopped() {
    let text = json!("x".repeat(200_000));
    let many = format!("States.Array({})", vec!["$"; 100].join(", "));
    let StateError { error, .. } = evaluate(&many, &text).unwrap_err();
    assert_eq!(error, "States.DataLimitExceeded");
    let delimiters = format!("States.StringSplit($, '{}')", "y".repeat(1000));
    assert_eq!(
        evaluate(&delimiters, &text).unwrap_err().error,
        "States.Runtime"
    );
}

proptest! {
    #[test]
    fn no_text_makes_a_call_panic(text in "States\\.(Array|Format|MathAdd|ArrayRange|StringSplit|UUID|Hash)\\([$.'{}\\\\,a0-9 ()-]{0,20}\\)?") {
        if let Ok(call) = Call::parse(&text) {
            let _ = evaluate(&text, &input());
            prop_assert_eq!(Call::parse(&text), Ok(call));
        }
    }

    #[test]
    fn any_numbers_are_taken_or_failed_for(first: i64, last: i64, step: i64) {
        let input = json!({"first": first, "last": last, "step": step});
        for call in ["States.ArrayRange($.first, $.last, $.step)", "States.MathRandom($.first, $.last, $.step)", "States.MathAdd($.first, $.last)"] {
            let _ = evaluate(call, &input);
        }
    }

    #[test]
    fn ranges_are_what_counting_gives(first in -50_i64..50, last in -50_i64..50, step in -7_i64..7) {
        prop_assume!(step != 0);
        let mut expected = Vec::new();
        let mut number = first;
        while (step > 0 && number <= last) || (step < 0 && number >= last) {
            expected.push(number);
            number += step;
        }
        let input = json!({"first": first, "last": last, "step": step});
        prop_assert_eq!(evaluate("States.ArrayRange($.first, $.last, $.step)", &input), Ok(json!(expected)));
    }

    #[test]
    fn an_escaped_text_comes_out_as_it_was(text in "\\PC{0,20}") {
        let escaped: String = text.chars().flat_map(|character| {
            let escape = matches!(character, '\'' | '{' | '}' | '\\').then_some('\\');
            escape.into_iter().chain([character])
        }).collect();
        prop_assert_eq!(evaluate(&format!("States.ArrayGetItem(States.Array('{escaped}'), 0)"), &json!(null)), Ok(json!(text)));
        prop_assert_eq!(evaluate(&format!("States.Format('{escaped}')"), &json!(null)), Ok(json!(text)));
    }
}
