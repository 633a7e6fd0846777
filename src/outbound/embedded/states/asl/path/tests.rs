//! Paths: what they lead to, what is refused, what they may cost.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::context::Execution;
use super::super::error::{DATA_LIMIT_EXCEEDED, RESULT_PATH_MATCH_FAILURE, RUNTIME};
use super::*;
use crate::mesh::Timestamp;

fn context() -> Context {
    Context::new(&Execution {
        id: "arn:aws:states:us-west-2:000000000000:execution:machine:run".to_owned(),
        name: "run".to_owned(),
        input: json!({"from": "context"}),
        started_at: Timestamp::from_seconds(0),
        machine_id: "arn:aws:states:us-west-2:000000000000:stateMachine:machine".to_owned(),
        machine_name: "machine".to_owned(),
        role: "arn:aws:iam::000000000000:role/role".to_owned(),
    })
}

fn value(path: &str, input: &Value) -> Option<Value> {
    let parsed = Path::parse(path).unwrap_or_else(|why| panic!("{path}: {why}"));
    parsed
        .value(input, &context(), &mut Meter::new())
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn document() -> Value {
    json!({
        "store": {
            "book": [
                {"title": "A", "price": 8, "tags": ["x", "y"]},
                {"title": "B", "price": 12.5},
                {"title": "C", "price": 8.0, "isbn": null},
            ],
            "bicycle": {"price": 20, "colour": "red"},
        },
        "a.b": 1, "a-b": 2, "": 3, "it's": 4, "\\": 5, "null": null, "list": [0, 1, 2, 3, 4], "text": "t",
    })
}

#[test]
fn definite_paths_give_the_value_itself() {
    let cases = [
        ("$.store.bicycle.colour", json!("red")),
        ("$['store']['book'][0]['title']", json!("A")),
        ("$[\"store\"].book[-1].title", json!("C")),
        ("$.['text']", json!("t")),
        ("$.a\\.b", json!(1)),
        ("$['a.b']", json!(1)),
        ("$.a-b", json!(2)),
        ("$['']", json!(3)),
        (r"$['it\'s']", json!(4)),
        (r"$['\\']", json!(5)),
        ("$.null", Value::Null),
        ("$.list", json!([0, 1, 2, 3, 4])),
        ("$$.Execution.Input.from", json!("context")),
        ("$$.StateMachine.Name", json!("machine")),
        (
            "$$['Execution']['StartTime']",
            json!("1970-01-01T00:00:00.000Z"),
        ),
    ];
    for (path, expected) in cases {
        assert_eq!(value(path, &document()), Some(expected), "{path}");
    }
    assert_eq!(value("$", &json!("scalar")), Some(json!("scalar")));
    assert_eq!(value("$[1]", &json!([1, 2])), Some(json!(2)));
}

#[test]
fn other_paths_give_a_list_whatever_it_holds() {
    let cases = [
        ("$.list[*]", json!([0, 1, 2, 3, 4])),
        ("$.list[1:3]", json!([1, 2])),
        ("$.list[:-3]", json!([0, 1])),
        ("$.list[-2:]", json!([3, 4])),
        ("$.list[-99:99]", json!([0, 1, 2, 3, 4])),
        ("$.list[3:1]", json!([])),
        ("$.list[ 0 , -1 , 9 ]", json!([0, 4])),
        ("$.store.book[*].isbn", json!([null])),
        ("$.store.book[0:1].title", json!(["A"])),
        ("$.store.*.colour", json!(["red"])),
        ("$..colour", json!(["red"])),
        ("$..price", json!([8, 12.5, 8.0, 20])),
        ("$.store..title", json!(["A", "B", "C"])),
        ("$..tags[0]", json!(["x"])),
        ("$..book[*].title", json!(["A", "B", "C"])),
        ("$..nothing", json!([])),
        ("$.text[*]", json!([])),
        ("$.store.book[?(@.price == 8)].title", json!(["A", "C"])),
        ("$.store.book[?(@.price<10)].title", json!(["A", "C"])),
        (
            "$.store.book[?(@.price >= 8 && @.title != 'A')].title",
            json!(["B", "C"]),
        ),
        (
            "$.store.book[?(@.tags || @.title == \"B\")].title",
            json!(["A", "B"]),
        ),
        ("$.store.book[?(!@.tags)].title", json!(["B", "C"])),
        ("$.store.book[?(@.isbn == null)].title", json!(["C"])),
        ("$.store.book[?(@.tags[1] == 'y')].title", json!(["A"])),
        ("$.store.book[?(@['title'] > 'A')].title", json!(["B", "C"])),
        ("$.store.book[?(8 == @.price)].title", json!(["A", "C"])),
        (
            "$.store.book[?(@.price == $.store.book[1].price)].title",
            json!(["B"]),
        ),
        ("$.store.book[?(@.title == 5)]", json!([])),
        ("$.store.book[?(@.none != 1)].title", json!(["A", "B", "C"])),
        ("$.list[?(@ > 2)]", json!([3, 4])),
        ("$.store.bicycle[?(@.price > 10)].colour", json!(["red"])),
        ("$..[?(@.price > 10)].price", json!([12.5, 20])),
    ];
    for (path, expected) in cases {
        assert_eq!(value(path, &document()), Some(expected), "{path}");
    }
}

#[test]
fn a_path_through_what_is_not_there_leads_nowhere() {
    let paths = [
        "$.none",
        "$.none.deeper",
        "$.text.length",
        "$.list.0",
        "$.list[5]",
        "$.list[-6]",
        "$.store[0]",
        "$.none[*]",
        "$.none..price",
        "$.text[0,1]",
        "$.text[1:]",
        "$.text[?(@.a)]",
        "$.null.x",
        "$$.Map.Item.Value",
    ];
    for path in paths {
        assert_eq!(value(path, &document()), None, "{path}");
    }
}

#[test]
fn what_is_no_path_is_refused_with_its_place() {
    let cases = [
        ("", "'$'"),
        ("name", "'$'"),
        ("$name", "'.' or '['"),
        ("$.", "a name"),
        ("$..", "a name"),
        ("$.a..", "a name"),
        ("$. a", "a name"),
        ("$.a b", "character 4"),
        ("$.a]", "'.' or '['"),
        ("$[", "an index"),
        ("$[]", "an index"),
        ("$['a'", "']'"),
        ("$['a", "not closed"),
        ("$['a','b']", "several names"),
        ("$[1:2:3]", "no step"),
        ("$[99999999999999999999]", "too large"),
        ("$[-]", "a digit"),
        ("$[1,]", "an index"),
        ("$.list.length()", "no function"),
        ("$[?@.a]", "'(' after '?'"),
        ("$[?(@.a]", "')'"),
        ("$[?(1)]", "a comparison"),
        ("$[?(@.a =~ /x/)]", "regular expressions"),
        ("$[?(@.a in ['x'])]", "one of"),
        ("$[?(@.a == x)]", "neither a path"),
        ("$[?(@..a)]", "names and indexes only"),
        ("$[(@.length-1)]", "an index"),
        ("$.a\\", "backslash"),
    ];
    for (path, why) in cases {
        let message = Path::parse(path).unwrap_err();
        assert!(message.contains(why), "{path}: {message}");
    }
    let deep = format!("$[?({}@.a{})]", "(".repeat(50), ")".repeat(50));
    assert!(Path::parse(&deep).unwrap_err().contains("in each other"));
    let long = format!("${}", ".a".repeat(SEGMENTS_MAX + 1));
    assert!(Path::parse(&long).unwrap_err().contains("steps"));
    assert!(Path::parse(&format!("${}", ".a".repeat(SEGMENTS_MAX))).is_ok());
}

#[test]
fn reference_paths_name_one_place() {
    for path in [
        "$",
        "$.a.b",
        "$['a b'][0].c",
        "$$.Execution.Name",
        "$.a-b",
        "$.a\\@b",
    ] {
        assert!(ReferencePath::parse(path).is_ok(), "{path}");
    }
    for path in [
        "$..a",
        "$.a[*]",
        "$.*",
        "$[0,1]",
        "$[0:1]",
        "$[?(@.a)]",
        "$[-1]",
    ] {
        let message = ReferencePath::parse(path).unwrap_err();
        assert!(message.contains("one place"), "{path}: {message}");
    }
    assert!(ReferencePath::parse_writable("$$.a").is_err());
    assert!(ReferencePath::parse_writable("$.a").is_ok());
}

#[test]
fn a_result_is_put_where_its_path_says() {
    let put = |path: &str, mut input: Value| {
        let path = ReferencePath::parse_writable(path).unwrap();
        path.put(&mut input, json!("new")).map(|()| input)
    };
    let good = [
        ("$", json!(5), json!("new")),
        ("$.a", json!({}), json!({"a": "new"})),
        (
            "$.a",
            json!({"a": [1], "b": 2}),
            json!({"a": "new", "b": 2}),
        ),
        (
            "$.a.b.c",
            json!({"a": {"x": 1}}),
            json!({"a": {"x": 1, "b": {"c": "new"}}}),
        ),
        ("$.a[1]", json!({"a": [1, 2]}), json!({"a": [1, "new"]})),
        ("$[0].b", json!([{}]), json!([{"b": "new"}])),
    ];
    for (path, input, expected) in good {
        assert_eq!(put(path, input), Ok(expected), "{path}");
    }
    let bad = [
        ("$.a", json!("text")),
        ("$.a", json!(null)),
        ("$.a", json!([])),
        ("$.a.b", json!({"a": 1})),
        ("$.a.b", json!({"a": null})),
        ("$.a[0]", json!({"a": []})),
        ("$.a[0]", json!({})),
        ("$[0]", json!({"0": 1})),
    ];
    for (path, input) in bad {
        assert_eq!(
            put(path, input).unwrap_err().error,
            RESULT_PATH_MATCH_FAILURE,
            "{path}"
        );
    }
}

/// A document of 256 KiB that is as deep as one may be.
fn deep_and_wide() -> Value {
    let mut value = Value::Array((0..8_000).map(|_| json!({"a": 1})).collect());
    for _ in 0..90 {
        value = json!({"a": value, "b": [1, 2, 3]});
    }
    value
}

#[test]
fn a_path_that_asks_for_too_much_is_stopped() {
    let document = deep_and_wide();
    let run = |path: &str| {
        let path = Path::parse(path).unwrap();
        path.value(&document, &context(), &mut Meter::new())
    };
    assert!(run("$..none").is_ok());
    // Every one of the ninety levels holds a copy of all below it.
    assert_eq!(run("$..a").unwrap_err().error, DATA_LIMIT_EXCEEDED);
    assert_eq!(run("$..*..*..*..none").unwrap_err().error, RUNTIME);
    assert_eq!(run("$..*[?($ == $)]..none").unwrap_err().error, RUNTIME);
}

#[test]
fn a_list_is_paid_for_with_what_it_copies() {
    let text = "x".repeat(1 << 19);
    let document = json!([text.clone(), text.clone(), text]);
    let path = Path::parse("$[*]").unwrap();
    let mut meter = Meter::new();
    assert!(path.value(&document, &context(), &mut meter).is_ok());
    assert!(path.value(&document, &context(), &mut meter).is_ok());
    let error = path.value(&document, &context(), &mut meter).unwrap_err();
    assert_eq!(error.error, DATA_LIMIT_EXCEEDED);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3_i64..3).prop_map(Value::from),
        "[abc]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[abc]", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A path of what RFC 9535 and Jayway's dialect read alike.
fn any_common_path() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        3 => "\\.[abc]",
        1 => "\\['[abc]'\\]",
        2 => "\\[-?[0-3]\\]".prop_filter("minus zero", |text| text != "[-0]"),
        1 => Just(".*".to_owned()),
        1 => Just("[*]".to_owned()),
        1 => Just("..a".to_owned()),
        1 => Just("..*".to_owned()),
        1 => Just("[0,1]".to_owned()),
        1 => Just("[1:3]".to_owned()),
        1 => Just("[:-1]".to_owned()),
    ];
    prop::collection::vec(segment, 0..5).prop_map(|segments| format!("${}", segments.concat()))
}

proptest! {
    #[test]
    fn common_paths_select_what_the_rfc_says(path in any_common_path(), document in any_json()) {
        let ours = Path::parse(&path).unwrap();
        let theirs = serde_json_path::JsonPath::parse(&path).unwrap();
        let expected: Vec<&Value> = theirs.query(&document).all();
        let found = ours.find(&document, &context(), &mut Meter::new()).unwrap_or(None).map(|found| match found {
            Found::One(value) => vec![value.to_string()],
            Found::List(values) => values.into_iter().map(Value::to_string).collect(),
        });
        let mut expected: Vec<String> = expected.into_iter().map(Value::to_string).collect();
        let mut found = found.unwrap_or_default();
        // The order below '..' is the implementation's, in the RFC.
        if path.contains("..") {
            expected.sort();
            found.sort();
        }
        prop_assert_eq!(found, expected, "{}", path);
    }

    #[test]
    fn no_text_makes_a_path_panic(text in "\\$?\\$?[.\\[\\]()?@*,:'\"\\\\ab0-9 =<>!&|-]{0,24}", document in any_json()) {
        if let Ok(path) = Path::parse(&text) {
            let _ = path.value(&document, &context(), &mut Meter::new());
        }
        if let Ok(path) = ReferencePath::parse_writable(&text) {
            let mut document = document;
            if path.put(&mut document, json!("new")).is_ok() {
                let back = path.find(&document, &context()).unwrap().cloned();
                prop_assert_eq!(back, Some(json!("new")));
            }
        }
    }
}
