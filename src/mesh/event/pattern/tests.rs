//! The matcher held against expected answers, its limits, and attempts to reach what is another tenant's.
//!
//! The same pairs are put to an emulator of EventBridge by `tests/aws_integration_test/patterns.rs`.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use ulid::Ulid;

use super::*;
use crate::mesh::Timestamp;
use crate::mesh::event::{Event, Outcome, Priority};
use crate::mesh::tenant::TenantId;

const CORPUS: &str = include_str!("../../../../tests/aws_integration_test/patterns/corpus.json");
const REFUSED: &str = include_str!("../../../../tests/aws_integration_test/patterns/refused.json");
const WIDENING: &str =
    include_str!("../../../../tests/aws_integration_test/patterns/widening.json");

/// Patterns of what an event's detail holds, and details that fit and that do not.
#[derive(Deserialize)]
struct Group {
    about: String,
    pattern: Box<RawValue>,
    fits: Vec<Value>,
    not: Vec<Value>,
}

#[derive(Deserialize)]
struct Attempt {
    about: String,
    pattern: String,
    #[serde(default)]
    path: String,
}

fn corpus() -> Vec<Group> {
    serde_json::from_str(CORPUS).unwrap()
}

fn parse(text: &str) -> Pattern {
    Pattern::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault}"))
}

fn path_of(text: &str) -> String {
    Pattern::parse(text).unwrap_err().path().to_owned()
}

#[test]
fn every_pair_of_the_corpus_has_its_answer() {
    let mut pairs = 0;
    for group in corpus() {
        let bare = parse(group.pattern.get());
        let nested = parse(&format!(r#"{{"detail":{}}}"#, group.pattern));
        let expected = [(&group.fits, true), (&group.not, false)];
        for (events, expected) in expected {
            for event in events {
                let about = &group.about;
                assert_eq!(bare.matches(event), expected, "{about}: {event}");
                let event = json!({ "detail": event });
                assert_eq!(nested.matches(&event), expected, "{about}: {event}");
                pairs += 1;
            }
        }
        assert!(!group.fits.is_empty() && !group.not.is_empty());
    }
    assert!(pairs >= 400, "{pairs}");
}

#[test]
fn what_is_no_pattern_is_refused_where_it_is_none() {
    let refused: Vec<Attempt> = serde_json::from_str(REFUSED).unwrap();
    assert!(refused.len() >= 100);
    for Attempt {
        about,
        pattern,
        path,
    } in refused
    {
        let fault = Pattern::parse(&pattern).expect_err(&about);
        assert_eq!(fault.path(), path, "{about}: {fault}");
        assert!(fault.message().len() > 10, "{about}: {fault}");
        assert!(fault.to_string().starts_with(&path), "{about}: {fault}");
    }
}

#[test]
fn a_fault_says_what_to_do() {
    let fault = Pattern::parse(r#"{"detail":{"amount":[{"numerc":[">",1]}]}}"#).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "detail.amount[0].numerc: there is no such operator; did you mean numeric?"
    );
    let fault = Pattern::parse(r#"{"detail":{"a b":"x"}}"#).unwrap_err();
    assert_eq!(fault.path(), r#"detail["a b"]"#);
    let fault = Pattern::parse(r#"{"a":[{"cidr":"10.0.0.1/32"}]}"#).unwrap_err();
    assert!(fault.message().contains("plain string"), "{fault}");
}

#[test]
fn each_limit_holds_at_its_edge_and_not_past_it() {
    let long = |characters: usize| format!(r#"{{"a":["{}"]}}"#, "x".repeat(characters - 10));
    parse(&long(CHARS_MAX));
    assert_eq!(path_of(&long(CHARS_MAX + 1)), "");
    // A character of two UTF-16 units counts as two.
    let crabs = |crabs: usize| format!(r#"{{"a":["{}"]}}"#, "🦀".repeat(crabs));
    parse(&crabs((CHARS_MAX - 10) / 2));
    assert_eq!(path_of(&crabs((CHARS_MAX - 10) / 2 + 1)), "");

    // What is kept of a pattern is a pattern again, although a number may have become longer.
    let numbers = |numbers: usize| format!(r#"{{"a":[{}]}}"#, vec!["1e15"; numbers].join(","));
    let kept = parse(&numbers(100));
    assert!(kept.canonical().len() > numbers(100).len());
    assert_eq!(parse(&kept.canonical()), kept);
    assert_eq!(path_of(&numbers(200)), "");

    let deep = |depth: usize| {
        format!(
            r#"{}{{"a":["x"]}}{}"#,
            r#"{"a":"#.repeat(depth - 1),
            "}".repeat(depth - 1)
        )
    };
    parse(&deep(DEPTH_MAX));
    assert!(path_of(&deep(DEPTH_MAX + 1)).ends_with("a.a"));

    let many = |values: usize| format!(r#"{{"a":[{}]}}"#, vec!["1"; values].join(","));
    parse(&many(VALUES_MAX));
    assert_eq!(path_of(&many(VALUES_MAX + 1)), "a");

    let stars = |stars: usize| {
        let one = format!("{{\"wildcard\":\"{}\"}}", "*a".repeat(stars / 2));
        let rest = format!("{{\"wildcard\":\"{}\"}}", "*a".repeat(stars - stars / 2));
        format!(r#"{{"a":[{one},{{"anything-but":{rest}}}]}}"#)
    };
    let pattern = parse(&stars(WILDCARDS_MAX));
    assert_eq!(pattern.size().wildcards, WILDCARDS_MAX);
    assert_eq!(
        path_of(&stars(WILDCARDS_MAX + 1)),
        "a[1].anything-but.wildcard"
    );

    let branches = |name: &str, count: usize| {
        let each = format!(r#"{{"{name}":[1]}}"#);
        format!(r#""$or":[{}]"#, vec![each; count].join(","))
    };
    let combined = |first: usize, second: usize| {
        let (first, second) = (branches("a", first), branches("b", second));
        format!(r#"{{{first},"c":{{{second}}}}}"#)
    };
    parse(&combined(25, 40));
    assert_eq!(path_of(&combined(25, 41)), "c.$or");
}

/// Three choices of `branches` each, `members` in a branch, all about the elements of one list, so that they
/// have to be multiplied out.
fn entangled(branches: usize, members: usize) -> String {
    let choice = |name: char| {
        let branch = |branch: usize| {
            let member = |member: usize| format!(r#""{name}{member}":[{branch}]"#);
            let members: Vec<_> = (0..members).map(member).collect();
            format!(r#"{{"m":{{{}}}}}"#, members.join(","))
        };
        let branches: Vec<_> = (0..branches).map(branch).collect();
        format!(r#"{{"$or":[{}]}}"#, branches.join(","))
    };
    let (a, b, c) = (choice('a'), choice('b'), choice('c'));
    format!(r#"{{"x":{a},"$or":[{{"x":{b},"$or":[{{"x":{c}}},{{"y":[1]}}]}},{{"z":[1]}}]}}"#)
}

#[test]
fn choices_about_one_list_are_multiplied_out_so_far_and_no_further() {
    let pattern = parse(&entangled(3, 2));
    let element = |a: usize, b: usize, c: usize| json!({"a0": a, "a1": a, "b0": b, "b1": b, "c0": c, "c1": c});
    assert!(pattern.matches(&json!({"x": {"m": [element(9, 1, 2), element(2, 1, 0)]}})));
    assert!(!pattern.matches(&json!({"x": {"m": [element(2, 9, 0), element(9, 1, 2)]}})));
    assert!(pattern.matches(&json!({"x": {"m": [element(2, 9, 9)]}, "z": 1})));
    assert!(pattern.matches(&json!({"x": {"m": [element(2, 1, 9)]}, "y": 1})));
    assert!(!pattern.matches(&json!({"x": {"m": [element(2, 9, 9), element(9, 1, 9)]}, "y": 1})));

    let fault = Pattern::parse(&entangled(6, 9)).unwrap_err();
    assert!(fault.message().contains("1024"), "{fault}");
}

#[test]
fn hostile_wildcards_and_events_take_no_more_than_their_length() {
    let pattern = parse(&format!(
        r#"{{"a":[{{"wildcard":"{}b"}},{{"wildcard":"*aaaaaaaaaaaaaaaaaaaaaaaab*"}}]}}"#,
        "*a".repeat(60)
    ));
    let event = json!({"a": "a".repeat(1 << 20)});
    assert!(!pattern.matches(&event));

    let pattern =
        parse(r#"{"a":{"b":{"c":[1]},"$or":[{"d":[1]},{"e":[1]}]},"a.b.c":[{"exists":true}]}"#);
    let element = json!({"b": [{"c": 0}, {"c": 2}], "d": 0, "e": [0, [0]]});
    let event = json!({"a": vec![element; 20_000]});
    assert!(!pattern.matches(&event));

    let dotted = |dots: usize| format!(r#"{{"{}a":[1]}}"#, "a.".repeat(dots));
    let pattern = parse(&dotted(DOTS_MAX));
    let mut event = json!(0);
    for level in 0..=DOTS_MAX {
        event = json!({"a": event, "a.a": [{"a": level}, {"a.a": level}]});
    }
    assert!(!pattern.matches(&json!({"a": vec![event; 2000]})));
    assert_eq!(path_of(&dotted(DOTS_MAX + 1)), r#"["a.a.a.a.a.a.a.a.a.a"]"#);
    parse(&format!(
        r#"{{"a.{}":[1]}}"#,
        "a".repeat(DOTTED_BYTES_MAX - 2)
    ));
    Pattern::parse(&format!(
        r#"{{"a.{}":[1]}}"#,
        "a".repeat(DOTTED_BYTES_MAX - 1)
    ))
    .unwrap_err();
}

#[test]
fn lists_in_lists_are_followed_so_far_and_no_further() {
    let nested = |depth: usize, inner: Value| {
        let list = (0..depth).fold(inner, |value, _| Value::Array(vec![value]));
        Value::Object([("a".to_owned(), list)].into_iter().collect())
    };
    let leaf = parse(r#"{"a":["x"]}"#);
    assert!(leaf.matches(&nested(128, json!("x"))));
    assert!(!leaf.matches(&nested(129, json!("x"))));
    assert!(!leaf.matches(&nested(3000, json!("x"))));
    let object = parse(r#"{"a":{"b":["x"]}}"#);
    assert!(object.matches(&nested(128, json!({"b": "x"}))));
    assert!(!object.matches(&nested(3000, json!({"b": "x"}))));
}

#[test]
fn what_is_no_object_is_no_event() {
    let pattern = parse(r#"{"a":[{"exists":false}]}"#);
    for event in [json!(null), json!([]), json!([{}]), json!("x"), json!(1)] {
        assert!(!pattern.matches(&event), "{event}");
    }
    assert!(pattern.matches(&json!({})));
}

#[test]
fn a_callers_pattern_speaks_of_a_callers_members() {
    let all = r#"{"source":["s"],"detail-type":["t"],"detail":{"a":[1]},"tool":["x"],"outcome":["ok"],
        "priority":["high"],"user_id":["u"],"tags":{"k":["v"]},"$or":[{"source":["s"]},{"tool":["x"]}]}"#;
    // What is named in $or may not be named beside it; each by itself may.
    assert_eq!(Pattern::parse_callers(all).unwrap_err().path(), "source");
    for member in CALLERS_MEMBERS {
        Pattern::parse_callers(&format!(r#"{{"{member}":[{{"exists":true}}]}}"#)).unwrap();
    }
    for (text, path) in [
        (r#"{"account":["x"]}"#, "account"),
        (r#"{"tenant_id":["x"]}"#, "tenant_id"),
        (r#"{"detail.a":["x"]}"#, r#"["detail.a"]"#),
        (r#"{"Detail":{"a":["x"]}}"#, "Detail"),
        (r#"{"dеtail":{"a":["x"]}}"#, r#"["d\u{435}tail"]"#),
        (
            r#"{"$or":[{"detail":{"a":[1]}},{"region":["x"]}]}"#,
            "$or[1].region",
        ),
        (
            r#"{"$or":[{"tool":[1]},{"$or":[{"tool":[1]},{"id":["x"]}]}]}"#,
            "$or[1].$or[1].id",
        ),
    ] {
        let fault = Pattern::parse_callers(text).unwrap_err();
        assert_eq!(fault.path(), path);
        for member in CALLERS_MEMBERS {
            assert!(fault.message().contains(member), "{fault}");
        }
    }
    let dotted = Pattern::parse_callers(r#"{"detail.a":["x"]}"#).unwrap_err();
    assert!(
        dotted.message().contains(r#"{"detail": {...}}"#),
        "{dotted}"
    );
}

#[test]
fn the_type_may_be_spelt_as_in_arguments() {
    let (one, other) = (
        Pattern::parse_callers(r#"{"detail_type":["a"]}"#).unwrap(),
        Pattern::parse_callers(r#"{"detail-type" : ["a"]}"#).unwrap(),
    );
    assert_eq!(one, other);
    assert!(one.matches(&json!({"detail-type": "a"})));
    assert!(!one.matches(&json!({"detail_type": "a"})));
    let both = Pattern::parse_callers(r#"{"detail_type":["a"],"detail-type":["a"]}"#);
    assert_eq!(both.unwrap_err().path(), "detail-type");
    // Below the top it is a name like any other.
    let deep = Pattern::parse_callers(r#"{"detail":{"detail_type":["a"]}}"#).unwrap();
    assert!(deep.matches(&json!({"detail": {"detail_type": "a"}})));
}

#[test]
fn blanks_and_the_order_of_members_make_no_other_pattern() {
    let one = parse(r#"{"b":[1, "x\u0041"], "a": {"$or": [{"c":[null]}, {"d":[true]}]}}"#);
    let other = parse(r#"{"a":{"$or":[{"c":[null]},{"d":[true]}]},"b":[1,"xA"]}"#);
    assert_eq!(one, other);
    assert_eq!(
        one.canonical(),
        r#"{"a":{"$or":[{"c":[null]},{"d":[true]}]},"b":[1,"xA"]}"#
    );
    assert_ne!(one, parse(r#"{"a":["x"]}"#));
    for group in corpus() {
        let pattern = parse(group.pattern.get());
        assert_eq!(parse(&pattern.canonical()), pattern, "{}", group.about);
    }
}

#[test]
fn a_pattern_tells_its_size() {
    let pattern = parse(r#"{"a":["x",{"wildcard":"*a*"}],"b":{"c":[{"anything-but":[1,2]}]}}"#);
    let expected = PatternSize {
        conditions: 2,
        values: 5,
        wildcards: 2,
    };
    assert_eq!(pattern.size(), expected);
}

#[test]
fn a_pattern_comes_to_so_many_comparisons_and_no_more() {
    // What is asked of `x` is asked in each of 16 branches: the names `d` and `x`, one for plain values and
    // one for each text; and so is `y` with its value.
    let pattern = |texts: usize| {
        let texts: Vec<String> = (0..texts).map(|text| format!(r#""{text}""#)).collect();
        let texts = texts.join(",");
        let branch = |number: usize| format!(r#"{{"d":{{"y":[{number}]}}}}"#);
        let branches: Vec<String> = (0..16).map(branch).collect();
        let branches = branches.join(",");
        format!(r#"{{"d":{{"x":[{{"anything-but":{{"prefix":[{texts}]}}}}]}},"$or":[{branches}]}}"#)
    };
    let most = COST_MAX / 16 - 5;
    assert_eq!(parse(&pattern(most)).0.cost, COST_MAX);
    let fault = Pattern::parse(&pattern(most + 1)).unwrap_err().to_string();
    assert!(fault.contains("2064 comparisons"), "{fault}");
}

#[test]
fn a_pattern_goes_between_threads() {
    fn shared<T: Send + Sync + Clone + 'static>(_: &T) {}
    shared(&parse(r#"{"a":["x"]}"#));
}

fn event(tenant: &str) -> Event {
    Event {
        event_id: Ulid::from_parts(1, 1),
        time: Timestamp::from_millis(1_700_000_000_000),
        detail_type: "Order.Failed".into(),
        tenant_id: tenant.parse().unwrap(),
        user_id: "ada".parse().unwrap(),
        org_id: None,
        tool: "events_send".into(),
        outcome: Outcome::Ok,
        error_code: None,
        count: None,
        request_id: Ulid::from_parts(1, 2),
        trace_id: None,
        duration_ms: 1.5,
        bytes: None,
        source: Some("till".to_owned()),
        priority: Priority::High,
        tags: Some(BTreeMap::from([("team".to_owned(), "a".to_owned())])),
        cause: None,
        depth: 0,
        data: RawValue::from_string(r#"{"k":"v","n":[1,2.5,{"x":null}]}"#.to_owned()).unwrap(),
    }
}

#[test]
fn the_view_is_in_a_callers_terms_and_says_nothing_of_the_tenant() {
    let view_of = |event: &Event| view(event).unwrap();
    assert_eq!(
        view_of(&event("acme")),
        json!({
            "source": "till",
            "detail-type": "Order.Failed",
            "detail": {"k": "v", "n": [1, 2.5, {"x": null}]},
            "tool": "events_send",
            "outcome": "ok",
            "priority": "high",
            "user_id": "ada",
            "tags": {"team": "a"},
        })
    );
    assert!(!view_of(&event("acme")).to_string().contains("acme"));
    let mut plain = event("acme");
    (plain.source, plain.tags) = (None, None);
    let members = view_of(&plain);
    let names: Vec<_> = members.as_object().unwrap().keys().collect();
    assert!(
        names
            .iter()
            .all(|name| CALLERS_MEMBERS.contains(&name.as_str()))
    );
    assert_eq!(names.len(), CALLERS_MEMBERS.len() - 2);
    let no_source = Pattern::parse_callers(r#"{"source":[{"exists":false}]}"#).unwrap();
    assert!(no_source.matches(&members));
    assert!(!no_source.matches(&view_of(&event("acme"))));
}

#[test]
fn an_event_of_any_depth_has_a_view() {
    let nested = |depth: usize| {
        let data = format!(
            r#"{}{{"k":"v"}}{},"z":1}}"#,
            r#"{"a":"#.repeat(depth),
            "}".repeat(depth - 1)
        );
        let mut deep = event("acme");
        deep.data = RawValue::from_string(data).unwrap();
        view(&deep).unwrap()
    };
    // A pattern that is as deep: eight levels a name.
    let at = |depth: usize, test: &str| {
        let (names, rest) = (depth / 8, depth % 8);
        let text = format!(
            r#"{{"detail":{}{{"{}k":[{test}]}}{}}}"#,
            r#"{"a.a.a.a.a.a.a.a":"#.repeat(names),
            "a.".repeat(rest),
            "}".repeat(names)
        );
        parse(&text)
    };
    let edge = VIEW_DEPTH_MAX - 1;
    assert!(at(edge, "\"v\"").matches(&nested(edge)));
    assert!(!at(edge + 1, "\"v\"").matches(&nested(edge + 1)));
    let endless = nested(50_000);
    assert!(parse(r#"{"detail":{"z":[1]}}"#).matches(&endless));
    assert!(at(200, r#"{"exists":false}"#).matches(&endless));
}

/// Events on a bus that are not `acme`'s, however much they look like it, with everything that the attempts ask.
fn foreign_events() -> Vec<Value> {
    let sources = [
        "agent-mesh.other",
        "agent-mesh.acme-2",
        "agent-mesh.acm",
        "agent-mesh.acmee",
        "agent-mesh.acme.x",
        "agent-mesh.acme ",
        " agent-mesh.acme",
        "AGENT-MESH.ACME",
        "agent-mesh.аcme",
        "agent-mesh.ａcme",
        "agent-mesh.acme\u{200b}",
        "agent-mesh",
        "agent-mesh.",
        "acme",
        "aws.states",
        "",
        "x",
    ];
    let details = [
        json!({"k": "v"}),
        json!({}),
        json!({"k": "v", "tenant_id": "acme", "source": "agent-mesh.acme", "n": 1, "ip": "10.0.0.1", "l": 1}),
        json!({"tenant_id": "other", "source": "agent-mesh.other", "detail": {"k": "v"}, "detail-type": "Order.Failed"}),
        json!([{"k": "v"}, {"source": "agent-mesh.acme"}]),
        json!("agent-mesh.acme"),
        json!(null),
    ];
    let mut events = Vec::new();
    for source in sources {
        for (detail, detail_type) in details
            .iter()
            .zip(["Order.Failed", "x", "", "KV.Set"].iter().cycle())
        {
            events.push(json!({
                "version": "0", "id": "1", "detail-type": detail_type, "source": source,
                "account": "000000000000", "time": "2026-11-20T12:00:00Z", "region": "us-west-2",
                "resources": [], "detail": detail,
            }));
        }
    }
    events
}

#[test]
fn no_attempt_to_widen_reaches_another_tenants_event() {
    let acme: TenantId = "acme".parse().unwrap();
    let attempts: Vec<Attempt> = serde_json::from_str(WIDENING).unwrap();
    let foreign = foreign_events();
    let (mut accepted, mut refused) = (0, 0);
    for Attempt { about, pattern, .. } in &attempts {
        let forced = Pattern::parse_callers(pattern).and_then(|pattern| pattern.on_bus(&acme));
        let Ok(forced) = forced else {
            refused += 1;
            continue;
        };
        accepted += 1;
        let forced = parse(&forced);
        for event in &foreign {
            assert!(!forced.matches(event), "{about}: {pattern} matches {event}");
        }
    }
    assert!(accepted >= 20 && refused >= 40, "{accepted} {refused}");
    // It is the source that keeps them out, and nothing else.
    let forced = Pattern::parse_callers(r#"{"detail":{"nothing":[{"exists":false}]}}"#);
    let forced = parse(&forced.unwrap().on_bus(&acme).unwrap());
    for mut event in foreign {
        event["source"] = json!("agent-mesh.acme");
        assert!(forced.matches(&event), "{event}");
    }
}

#[test]
fn a_pattern_for_the_bus_has_the_tenants_source_and_what_is_below_it() {
    let acme: TenantId = "acme".parse().unwrap();
    let forced = |text: &str| Pattern::parse_callers(text).unwrap().on_bus(&acme);
    assert_eq!(
        forced(r#"{"detail_type":["a"],"detail":{"b":[1]}}"#).unwrap(),
        r#"{"detail":{"b":[1]},"detail-type":["a"],"source":["agent-mesh.acme"]}"#
    );
    for (text, path) in [
        (r#"{"source":["agent-mesh.acme"]}"#, "source"),
        (r#"{"tool":["x"]}"#, "tool"),
        (
            r#"{"$or":[{"detail":{"a":[1]}},{"source":["x"]}]}"#,
            "$or[1].source",
        ),
    ] {
        assert_eq!(forced(text).unwrap_err().path(), path);
    }
    let stars = |stars: usize| {
        forced(&format!(
            r#"{{"detail":{{"a":[{{"wildcard":"{}"}}]}}}}"#,
            "*a".repeat(stars)
        ))
    };
    stars(NATIVE_WILDCARDS_MAX).unwrap();
    stars(NATIVE_WILDCARDS_MAX + 1).unwrap_err();
    // The source counts as well.
    let long = |characters: usize| {
        forced(&format!(
            r#"{{"detail-type":["{}"]}}"#,
            "x".repeat(characters)
        ))
    };
    let room = CHARS_MAX - r#"{"detail-type":[""],"source":["agent-mesh.acme"]}"#.len();
    assert_eq!(long(room).unwrap().len(), CHARS_MAX);
    long(room + 1).unwrap_err();
}

#[test]
fn a_name_on_the_bus_is_the_tenants_own_and_fits() {
    let tenant: TenantId = "t".repeat(32).parse().unwrap();
    assert_eq!(
        bus_name(&tenant, &"n".repeat(20)).unwrap().len(),
        BUS_NAME_CHARS_MAX
    );
    let error = bus_name(&tenant, &"n".repeat(21)).unwrap_err();
    assert_eq!(error.details()["parameter"], "name");
    let (acme, longer): (TenantId, TenantId) = ("acme".parse().unwrap(), "acme-2".parse().unwrap());
    assert!(
        !bus_name(&longer, "x")
            .unwrap()
            .starts_with(&bus_name_prefix(&acme))
    );
    assert_eq!(bus_name(&acme, "a.b").unwrap(), "agent-mesh.acme.a.b");
}

/// Text that is nearly a pattern.
fn nearly_a_pattern() -> impl Strategy<Value = String> {
    let patterns: Vec<String> = corpus()
        .into_iter()
        .map(|group| group.pattern.get().to_owned())
        .collect();
    let piece = prop_oneof![
        Just(String::new()),
        Just("[".to_owned()),
        Just("]".to_owned()),
        Just("{".to_owned()),
        Just("}".to_owned()),
        Just("\"$or\":".to_owned()),
        Just(",".to_owned()),
        Just("*".to_owned()),
        Just("\\".to_owned()),
        Just("-1e308".to_owned()),
        "\\PC{0,3}",
    ];
    (
        prop::sample::select(patterns),
        any::<prop::sample::Index>(),
        0..8_usize,
        piece,
    )
        .prop_map(|(pattern, at, length, piece)| {
            let characters: Vec<char> = pattern.chars().collect();
            let at = at.index(characters.len() + 1);
            let after = (at + length).min(characters.len());
            let (before, after) = (&characters[..at], &characters[after..]);
            before.iter().collect::<String>() + &piece + &after.iter().collect::<String>()
        })
}

proptest! {
    #[test]
    fn whatever_is_no_pattern_is_refused_and_nothing_more(text in nearly_a_pattern()) {
        if let Ok(pattern) = Pattern::parse(&text) {
            for group in corpus().iter().take(20) {
                for event in group.fits.iter().chain(&group.not) {
                    let _ = pattern.matches(event);
                }
            }
            let again = parse(&pattern.canonical());
            prop_assert_eq!(again, pattern);
        }
    }
}
