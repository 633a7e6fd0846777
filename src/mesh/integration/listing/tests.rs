//! What of a list can be used, and what of it is new.

use super::*;
use crate::mesh::Timestamp;
use crate::mesh::integration::row::new_version;

fn tool(name: &str, definition: &str) -> UpstreamTool {
    UpstreamTool {
        name: name.to_owned(),
        definition: Arc::from(RawValue::from_string(definition.to_owned()).unwrap()),
    }
}

fn pinned(tool: &ListedTool) -> Pin {
    Pin {
        service: "files".parse().unwrap(),
        tool: Arc::clone(&tool.name),
        of: ulid::Ulid::generate(),
        approved: vec![tool.hash],
        definition: Some(Arc::clone(&tool.definition)),
        held: None,
        created_at: Timestamp::from_millis(0),
        approved_by: None,
        version: new_version(),
    }
}

#[test]
fn what_cannot_be_used_is_named_and_hinders_nothing_else() {
    let large = |bytes: usize| {
        let frame = r#"{"name":"large","description":""}"#.len();
        format!(
            r#"{{"name":"large","description":"{}"}}"#,
            "x".repeat(bytes - frame)
        )
    };
    let list = [
        tool(
            "read",
            r#"{"name":"read","annotations":{"readOnlyHint":true}}"#,
        ),
        tool("re ad", r#"{"name":"re ad"}"#),
        tool("a\u{202e}b", "{}"),
        tool(&"n".repeat(129), "{}"),
        tool(&"n".repeat(128), "{}"),
        tool("read", r#"{"name":"read","description":"another"}"#),
        tool("large", &large(DEFINITION_BYTES_MAX + 1)),
        tool("large2", &large(DEFINITION_BYTES_MAX)),
        tool(
            "odd",
            r#"{"name":"odd","annotations":{"readOnlyHint":"yes"}}"#,
        ),
    ];
    let listing = Listing::of(&list);
    let known =
        listing.known(&ServicePins::default().with(listing.tools.iter().map(pinned).collect()));
    let names: Vec<_> = known.iter().map(|tool| &*tool.name).collect();
    assert_eq!(names, ["large2", &"n".repeat(128), "odd", "read"]);
    assert!(known.find("read").unwrap().read_only && !known.find("odd").unwrap().read_only);
    let refused: Vec<_> = known
        .refused()
        .iter()
        .map(|tool| (&*tool.name, tool.reason))
        .collect();
    assert_eq!(
        refused[..2],
        [
            ("re ad", RefusedBecause::Name),
            ("a\\u{202e}b", RefusedBecause::Name)
        ]
    );
    assert_eq!(
        refused[3..],
        [
            ("read", RefusedBecause::Twice),
            ("large", RefusedBecause::TooLarge)
        ]
    );
}

#[test]
fn a_change_holds_one_tool_back_and_one_that_comes_back_unchanged_is_approved() {
    let list = [
        tool("read", r#"{"name":"read","description":"Reads."}"#),
        tool("write", r#"{"name":"write"}"#),
    ];
    let first = Listing::of(&list);
    let none = ServicePins::default();
    assert_eq!(
        (first.news(&none).fresh.len(), first.known(&none).len()),
        (2, 0)
    );
    let pins = none.with(first.tools.iter().map(pinned).collect());
    let changed = [tool(
        "read",
        r#"{"name":"read","description":"Reads and tells."}"#,
    )];
    let second = Listing::of(&changed);
    let news = second.news(&pins);
    assert_eq!((news.fresh.len(), news.changed.len()), (0, 1));
    let known = second.known(&pins);
    let read = known.find("read").unwrap();
    assert!(read.is_held_back());
    let service = "files".parse().unwrap();
    let refusal = read.require_pinned(&service).unwrap_err();
    assert_eq!(refusal.kind(), crate::mesh::ErrorKind::Conflict);
    let back = Listing::of(&list);
    assert!(back.news(&pins).changed.is_empty() && back.news(&pins).fresh.is_empty());
    assert!(back.known(&pins).iter().all(|tool| !tool.is_held_back()));
}

#[test]
fn no_more_than_so_many_tools_are_ever_pinned() {
    let list: Vec<_> = (0..=PINS_MAX)
        .map(|number| tool(&format!("t{number}"), &format!(r#"{{"name":"t{number}"}}"#)))
        .collect();
    let listing = Listing::of(&list);
    let pins = ServicePins::default();
    assert_eq!(listing.news(&pins).fresh.len(), PINS_MAX);
    let pins = pins.with(listing.news(&pins).fresh.into_iter().map(pinned).collect());
    assert!(listing.news(&pins).fresh.is_empty());
    let known = listing.known(&pins);
    assert_eq!((known.len(), known.refused().len()), (PINS_MAX, 1));
}

#[test]
fn what_a_row_knows_is_told_by_what_is_pinned() {
    let list = [tool(
        "read",
        r#"{"name":"read","description":"Reads.\u200b"}"#,
    )];
    let listing = Listing::of(&list);
    let pins = ServicePins::default().with(listing.tools.iter().map(pinned).collect());
    let known = Listing::of_row(&listing.tools_for_row(), &pins).known(&pins);
    let read = known.find("read").unwrap();
    assert_eq!(read.definition.get(), list[0].definition.get());
    assert_eq!(read.unseen.flags(), ["invisible_characters"]);
    let other = PinHash::of(&RawValue::from_string("{}".to_owned()).unwrap()).unwrap();
    let known = Listing::of_row(&[("read".into(), other)], &pins).known(&pins);
    assert!(known.find("read").unwrap().is_held_back());
}

#[test]
fn a_number_or_a_text_that_no_parser_holds_hides_nothing_of_a_tool() {
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    for odd in ["1e400", r#""\ud800""#, &deep] {
        let definition = format!(
            r#"{{"name":"read","description":"a\u202eb","annotations":{{"readOnlyHint":true,
                "idempotentHint":true,"x":{odd}}},"_meta":{odd}}}"#
        );
        let listed = Listing::of(&[tool("read", &definition)]);
        let pins = ServicePins::default().with(listed.tools.iter().map(pinned).collect());
        let known = listed.known(&pins);
        let Some(read) = known.find("read") else {
            assert_eq!(odd, deep, "what is nested deeply is not listed");
            continue;
        };
        assert_eq!(read.definition.get(), definition);
        assert!(read.read_only && read.idempotent, "{odd}");
        assert_eq!(read.unseen.flags(), ["direction_changing_characters"]);
    }
}

#[test]
fn a_tool_that_says_twice_what_it_is_only_reads_where_it_says_so_twice() {
    let twice = |second: bool| {
        let definition = format!(
            r#"{{"name":"x","annotations":{{"readOnlyHint":true}},"annotations":{{"readOnlyHint":{second}}}}}"#
        );
        ListedTool::of(
            &tool("x", &definition),
            PinHash::of(&tool("x", &definition).definition).unwrap(),
        )
    };
    assert!(twice(true).read_only && !twice(false).read_only);
}
