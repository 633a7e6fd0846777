//! Which tools are listed directly, under which names, and what is left out and why.

use ulid::Ulid;

use super::*;
use crate::mesh::Timestamp;
use crate::mesh::integration::listing::{Listing, ServicePins};
use crate::mesh::integration::row::{Connected, Pin, Registered, ServerSeen, new_version};
use crate::mesh::integration::{AuthMethod, Definition, Endpoint, RemoteAddress, RemoteKind};
use crate::mesh::upstream::UpstreamTool;

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// The connection `connection` to a server with these tools, those of them chosen that `patterns` mean.
fn source(service: &str, connection: &str, patterns: &[&str], tools: &[String]) -> Source {
    let id: ServiceId = service.parse().unwrap();
    let list: Vec<_> = tools
        .iter()
        .map(|definition| UpstreamTool {
            name: serde_json::from_str::<Named>(definition).unwrap().name,
            definition: Arc::from(RawValue::from_string(definition.clone()).unwrap()),
        })
        .collect();
    let listing = Listing::of(&list);
    let of = Ulid::generate();
    let time = Timestamp::from_millis(0);
    let fresh = listing.news(&ServicePins::default()).fresh;
    let pins = fresh.into_iter().map(|tool| Pin {
        service: id.clone(),
        tool: Arc::clone(&tool.name),
        of,
        approved: vec![tool.hash],
        definition: Some(Arc::clone(&tool.definition)),
        held: None,
        created_at: time,
        approved_by: None,
        version: new_version(),
    });
    let pins = Arc::new(ServicePins::default().with(pins.collect()));
    let registered = Registered {
        definition: Definition {
            service: id.clone(),
            name: service.to_owned(),
            endpoint: Endpoint::Remote(RemoteAddress {
                kind: RemoteKind::Http,
                url: "https://a.example".to_owned(),
                headers: BTreeMap::new(),
            }),
            auth: AuthMethod::None,
            description: None,
            category: None,
            capabilities: Vec::new(),
            direct_tools: patterns.iter().map(|text| text.parse().unwrap()).collect(),
        },
        id: of,
        leaving: false,
        created_at: time,
        created_by: "ada".parse().unwrap(),
        version: new_version(),
    };
    let row = Connected {
        service: id,
        user: "ada".parse().unwrap(),
        connection: connection.parse().unwrap(),
        of,
        revision: Ulid::generate(),
        settings: BTreeMap::new(),
        credentials: None,
        attempt_at: None,
        pending: false,
        server: ServerSeen::default(),
        tools: listing.tools_for_row(),
        created_at: time,
        version: new_version(),
    };
    let tools = Arc::new(listing.known(&pins));
    let (tenant, user) = ("acme".parse().unwrap(), "ada".parse().unwrap());
    let owned = Owned::new(&tenant, &user, row, Arc::new(registered), pins);
    (Arc::new(owned), tools)
}

fn plain(name: &str) -> String {
    json!({"name": name, "inputSchema": {"type": "object"}}).to_string()
}

fn names(direct: &DirectTools) -> Vec<String> {
    let tools = direct.texts().iter();
    tools
        .map(|text| serde_json::from_str::<Value>(text).unwrap()["name"].clone())
        .map(|name| name.as_str().unwrap().to_owned())
        .collect()
}

fn left_out(direct: &DirectTools) -> Vec<(&str, LeftOutBecause)> {
    let left_out = direct.left_out().iter();
    left_out.map(|one| (&*one.tool, one.reason)).collect()
}

#[test]
fn a_pattern_is_a_name_or_the_beginning_of_some() {
    for (pattern, name, is_meant) in [
        ("read", "read", true),
        ("read", "read_all", false),
        ("read*", "read", true),
        ("read*", "read_all", true),
        ("read*", "rea", false),
        ("*", "anything", true),
        ("a.b-c_D9*", "a.b-c_D9", true),
    ] {
        let parsed: ToolPattern = pattern.parse().unwrap();
        assert_eq!(parsed.matches(name), is_meant, "{pattern} {name}");
    }
    for wrong in ["", "**", "a*b", "*a", "a b", "ä", "a#"] {
        assert!(wrong.parse::<ToolPattern>().is_err(), "{wrong}");
        assert!(serde_json::from_value::<ToolPattern>(json!(wrong)).is_err());
    }
    let (longest, longer) = ("x".repeat(128), "x".repeat(129));
    assert!(longest.parse::<ToolPattern>().is_ok() && longer.parse::<ToolPattern>().is_err());
}

#[test]
fn a_name_is_read_with_and_without_a_clients_prefix() {
    let read = |name: &'static str| -> Vec<(String, &str)> {
        let found = readings(name).into_iter();
        found
            .map(|(service, tool)| (service.to_string(), tool))
            .collect()
    };
    let is = |service: &str, tool: &'static str| (service.to_owned(), tool);
    assert_eq!(read("files__read"), [is("files", "read")]);
    assert_eq!(read("files__read__all"), [is("files", "read__all")]);
    assert_eq!(read("files___x"), [is("files", "_x")]);
    assert_eq!(read("mcp__mesh__files__read"), [is("files", "read")]);
    assert_eq!(
        read("mcp__my__own__files__read"),
        [is("own", "files__read"), is("files", "read")]
    );
    for none in [
        "",
        "files",
        "files__",
        "__read",
        "kv__get",
        "mcp__files",
        "mcp__a__b",
        "Files__a",
        "a__b c",
    ] {
        assert_eq!(read(none), [], "{none}");
    }
    let many: &'static str = Box::leak(format!("mcp__{}", "a__".repeat(100)).into_boxed_str());
    assert!(read(many).len() <= READINGS_MAX);
}

#[test]
fn what_is_pinned_of_a_definition_is_listed_as_it_was_written() {
    let definition = r#"{ "icons":[{"src":"https://evil.example/x.png"}], "_meta":{"com.agent-mesh/origin":1},
        "title":null, "name":"read", "description":"é \u00e9",
        "inputSchema":{"type":"object","properties":{"n":{"maximum":1.50}}, "x":12345678901234567890123456789},
        "execution":{"taskSupport":"required"}, "annotations":{"readOnlyHint":true} }"#;
    let source = source("files", "default", &["read"], &[definition.to_owned()]);
    let direct = DirectTools::of(vec![source], true);
    let expected = concat!(
        r#"{"name":"files__read","description":"é \u00e9","#,
        r#""inputSchema":{"type":"object","properties":{"n":{"maximum":1.50}}, "x":12345678901234567890123456789},"#,
        r#""annotations":{"readOnlyHint":true},"#,
        r#""_meta":{"com.agent-mesh/origin":{"service_id":"files","tool":"read","connection_id":"default"}}}"#
    );
    assert_eq!(direct.texts(), [expected]);
    assert!(direct.left_out().is_empty());
}

#[test]
fn what_nobody_would_see_is_escaped() {
    let definition = json!({"name": "read", "description": "a\u{202e}b",
        "inputSchema": {"type": "object", "properties": {"x": {"description": "c\u{200b}"}}}});
    let source = source("files", "default", &["*"], &[definition.to_string()]);
    let direct = DirectTools::of(vec![source], false);
    let shown: Value = serde_json::from_str(&direct.texts()[0]).unwrap();
    assert_eq!(shown["description"], "a\\u{202e}b");
    assert_eq!(
        shown["inputSchema"]["properties"]["x"]["description"],
        "c\\u{200b}"
    );
}

#[test]
fn what_would_cost_a_client_its_list_is_left_out_and_said() {
    let longest = "x".repeat(NAME_BYTES_MAX - "files__".len());
    let longer = format!("{longest}x");
    let mut tools: Vec<String> = ["a.b", "kv_get", &longest, &longer].map(plain).to_vec();
    let wrong = [
        r#""inputSchema":{}"#,
        r#""inputSchema":{"type":"string"}"#,
        r#""inputSchema":{"type":"object","properties":{"a":true}}"#,
        r#""inputSchema":{"type":"object","required":"a"}"#,
        r#""inputSchema":{"type":"object","x":1e999}"#,
        r#""inputSchema":{"type":"object"},"title":1"#,
        r#""inputSchema":{"type":"object"},"description":{}"#,
        r#""inputSchema":{"type":"object"},"outputSchema":{"type":"array"}"#,
        r#""inputSchema":{"type":"object"},"annotations":{"readOnlyHint":"yes"}"#,
        r#""description":"without a schema""#,
    ];
    let number = 0..wrong.len();
    tools.extend(
        number
            .zip(wrong)
            .map(|(number, rest)| format!(r#"{{"name":"w{number}",{rest}}}"#)),
    );
    let direct = DirectTools::of(vec![source("files", "default", &["*"], &tools)], false);
    assert_eq!(names(&direct), [format!("files__{longest}")]);
    let mut expected = vec![
        ("a.b", LeftOutBecause::Name),
        ("kv_get", LeftOutBecause::Name),
    ];
    let shapes: Vec<String> = (0..wrong.len())
        .map(|number| format!("w{number}"))
        .collect();
    expected.extend(
        shapes
            .iter()
            .map(|name| (name.as_str(), LeftOutBecause::Shape)),
    );
    expected.push((&longer, LeftOutBecause::Name));
    assert_eq!(left_out(&direct), expected);
}

#[test]
fn only_what_was_chosen_of_the_default_connection_is_listed_in_order() {
    let tools = ["read", "read_all", "write"].map(plain);
    let direct = |only_reads| {
        let sources = vec![
            source("b", "default", &["read*"], &tools),
            source("a", "default", &["write"], &tools),
            source("a-b", "default", &["write"], &tools),
        ];
        DirectTools::of(sources, only_reads)
    };
    assert_eq!(
        names(&direct(false)),
        ["a-b__write", "a__write", "b__read", "b__read_all"]
    );
    assert_eq!(names(&direct(true)), Vec::<String>::new());
    assert_eq!(direct(false).fingerprint(), direct(false).fingerprint());
    assert_ne!(direct(false).fingerprint(), direct(true).fingerprint());
    assert!(!is_source(&source("a", "work", &["*"], &tools).0));
    assert!(!is_source(&source("a", "default", &[], &tools).0));
}

#[test]
fn a_list_ends_where_there_is_no_room() {
    let many: Vec<_> = (0..=TOOLS_MAX + LEFT_OUT_MAX)
        .map(|number| plain(&format!("t{number:03}")))
        .collect();
    let direct = DirectTools::of(vec![source("a", "default", &["*"], &many)], false);
    assert_eq!(names(&direct).len(), TOOLS_MAX);
    assert_eq!(direct.left_out().len(), LEFT_OUT_MAX);
    assert_eq!(left_out(&direct)[0], ("t128", LeftOutBecause::Room));

    let large = |name: &str, chars: usize| {
        json!({"name": name, "description": "x".repeat(chars), "inputSchema": {"type": "object"}})
            .to_string()
    };
    let listed = |chars| {
        let tools = [large("a", 30_000), large("b", chars), plain("c")];
        names(&DirectTools::of(
            vec![source("s", "default", &["*"], &tools)],
            false,
        ))
    };
    let overhead = |name: &str| {
        let tools = [large(name, 0)];
        let direct = DirectTools::of(vec![source("s", "default", &["*"], &tools)], false);
        direct.texts()[0].len() + 1
    };
    let room = BYTES_MAX - 30_000 - overhead("a") - overhead("b");
    assert_eq!(listed(room), ["s__a", "s__b"]);
    assert_eq!(listed(room + 1), ["s__a", "s__c"]);
}
