//! Whether the tool that is meant comes first, among a thousand.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use ulid::Ulid;

use super::*;
use crate::mesh::Timestamp;
use crate::mesh::integration::listing::{Listing, ServicePins};
use crate::mesh::integration::row::{Connected, Pin, Registered, ServerSeen, new_version};
use crate::mesh::integration::{
    AuthMethod, Definition, Endpoint, RemoteAddress, RemoteKind, ServiceId,
};
use crate::mesh::upstream::UpstreamTool;

/// A service, and each tool's name, description and parameters.
type Service = (
    &'static str,
    &'static [(&'static str, &'static str, &'static [&'static str])],
);

/// Services as people have them.
const SERVICES: [Service; 8] = [
    (
        "github",
        &[
            (
                "create_issue",
                "Open a new issue in a repository.",
                &["owner", "repo", "title", "body"],
            ),
            (
                "list_issues",
                "List issues of a repository, filtered by state and labels.",
                &["owner", "repo", "state"],
            ),
            (
                "create_pull_request",
                "Open a pull request from a branch.",
                &["owner", "repo", "head", "base"],
            ),
            (
                "merge_pull_request",
                "Merge a pull request into its base branch.",
                &["owner", "repo", "number"],
            ),
            (
                "get_file_contents",
                "Read a file or folder of a repository.",
                &["owner", "repo", "path"],
            ),
            (
                "search_code",
                "Search for code across repositories.",
                &["query"],
            ),
        ],
    ),
    (
        "filesystem",
        &[
            (
                "read_text_file",
                "Read the complete contents of a file as text.",
                &["path", "head", "tail"],
            ),
            (
                "write_file",
                "Create a new file or overwrite one.",
                &["path", "content"],
            ),
            (
                "list_directory",
                "List files and folders of a directory.",
                &["path"],
            ),
            (
                "move_file",
                "Move or rename files and directories.",
                &["source", "destination"],
            ),
            (
                "search_files",
                "Search files by name with a pattern.",
                &["path", "pattern"],
            ),
        ],
    ),
    (
        "slack",
        &[
            (
                "postMessage",
                "Send a message to a channel.",
                &["channel", "text"],
            ),
            (
                "listChannels",
                "List public channels of the workspace.",
                &["limit"],
            ),
            (
                "addReaction",
                "Add an emoji reaction to a message.",
                &["channel", "timestamp", "emoji"],
            ),
        ],
    ),
    (
        "postgres",
        &[
            (
                "query",
                "Run a read-only SQL query against the database.",
                &["sql"],
            ),
            (
                "describe-table",
                "Show columns, types and indexes of a table.",
                &["table"],
            ),
        ],
    ),
    (
        "calendar",
        &[
            (
                "createEvent",
                "Add a meeting to the calendar and invite attendees.",
                &["start", "end", "attendees"],
            ),
            (
                "deleteEvent",
                "Remove a meeting from the calendar.",
                &["event_id"],
            ),
            (
                "freebusy",
                "Find out when people are free or busy.",
                &["people", "from", "to"],
            ),
        ],
    ),
    (
        "weather",
        &[(
            "get_forecast",
            "Weather forecast for a place, for up to ten days.",
            &["latitude", "longitude"],
        )],
    ),
    (
        "memory",
        &[
            (
                "create_entities",
                "Create entities in the knowledge graph.",
                &["entities"],
            ),
            (
                "search_nodes",
                "Search nodes of the knowledge graph.",
                &["query"],
            ),
        ],
    ),
    (
        "stripe",
        &[
            (
                "create_refund",
                "Refund a charge, in whole or in part.",
                &["charge", "amount"],
            ),
            (
                "list_customers",
                "List customers, newest first.",
                &["limit", "email"],
            ),
        ],
    ),
];

/// What somebody asks for, and the tool that is meant.
const ASKED: [(&str, &str); 26] = [
    ("create issue", "github.create_issue"),
    ("create_issue", "github.create_issue"),
    ("github.create_issue", "github.create_issue"),
    (
        "open a bug report issue in my repository",
        "github.create_issue",
    ),
    ("merge a pull request", "github.merge_pull_request"),
    ("merging pull requests", "github.merge_pull_request"),
    ("search code", "github.search_code"),
    ("read a file", "filesystem.read_text_file"),
    ("rename a file", "filesystem.move_file"),
    ("overwrite file", "filesystem.write_file"),
    ("list the files of a folder", "filesystem.list_directory"),
    ("send a message", "slack.postMessage"),
    ("post message to channel", "slack.postMessage"),
    ("slack channels", "slack.listChannels"),
    ("emoji", "slack.addReaction"),
    ("run sql", "postgres.query"),
    ("columns of a table", "postgres.describe-table"),
    (
        "schedule a meeting and invite people",
        "calendar.createEvent",
    ),
    ("cancel or remove a meeting", "calendar.deleteEvent"),
    ("who is busy", "calendar.freebusy"),
    ("weather", "weather.get_forecast"),
    ("forecast for tomorrow", "weather.get_forecast"),
    ("knowledge graph search", "memory.search_nodes"),
    ("refund a customer's charge", "stripe.create_refund"),
    ("refunds", "stripe.create_refund"),
    ("list customers by email", "stripe.list_customers"),
];

fn source(service: &str, tools: &[(String, String)]) -> (Arc<Owned>, Arc<KnownTools>) {
    let id: ServiceId = service.parse().unwrap();
    let list: Vec<_> = tools
        .iter()
        .map(|(name, definition)| UpstreamTool {
            name: name.clone(),
            definition: Arc::from(RawValue::from_string(definition.clone()).unwrap()),
        })
        .collect();
    let listing = Listing::of(&list);
    let of = Ulid::generate();
    let fresh = listing.news(&ServicePins::default()).fresh;
    let pins = fresh.into_iter().map(|tool| Pin {
        service: id.clone(),
        tool: Arc::clone(&tool.name),
        of,
        approved: vec![tool.hash],
        definition: Some(Arc::clone(&tool.definition)),
        held: None,
        created_at: Timestamp::from_millis(0),
        approved_by: None,
        version: new_version(),
    });
    let pins = Arc::new(ServicePins::default().with(pins.collect()));
    let tools = Arc::new(listing.known(&pins));
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
            direct_tools: Vec::new(),
        },
        id: of,
        leaving: false,
        created_at: Timestamp::from_millis(0),
        created_by: "ada".parse().unwrap(),
        version: new_version(),
    };
    let row = Connected {
        service: id,
        user: "ada".parse().unwrap(),
        connection: crate::mesh::integration::ConnectionId::default(),
        of,
        revision: Ulid::generate(),
        settings: BTreeMap::new(),
        credentials: None,
        attempt_at: None,
        pending: false,
        server: ServerSeen::default(),
        tools: listing.tools_for_row(),
        created_at: Timestamp::from_millis(0),
        version: new_version(),
    };
    let tenant = "acme".parse().unwrap();
    let user = "ada".parse().unwrap();
    let owned = Owned::new(&tenant, &user, row, Arc::new(registered), pins);
    (Arc::new(owned), tools)
}

fn definition(name: &str, description: &str, parameters: &[&str]) -> (String, String) {
    let properties: serde_json::Map<String, Value> = parameters
        .iter()
        .map(|name| {
            let schema =
                serde_json::json!({"type": "string", "description": format!("The {name}.")});
            ((*name).to_owned(), schema)
        })
        .collect();
    let text = serde_json::json!({
        "name": name,
        "description": description,
        "inputSchema": {"type": "object", "properties": properties},
    });
    (name.to_owned(), text.to_string())
}

/// The services above, and as many others as make a thousand tools of a hundred services.
fn corpus() -> Vec<(Arc<Owned>, Arc<KnownTools>)> {
    const VERBS: [&str; 11] = [
        "create", "list", "get", "update", "delete", "search", "export", "import", "archive",
        "validate", "sync",
    ];
    const THINGS: [&str; 23] = [
        "invoice",
        "ticket",
        "page",
        "sprint",
        "deployment",
        "pipeline",
        "dashboard",
        "metric",
        "segment",
        "campaign",
        "contact",
        "product",
        "order",
        "shipment",
        "document",
        "folder",
        "task",
        "board",
        "webhook",
        "token",
        "report",
        "survey",
        "playlist",
    ];
    let mut sources: Vec<_> = SERVICES
        .iter()
        .map(|(service, tools)| {
            let tools = tools.iter();
            let tools: Vec<_> = tools
                .map(|(name, text, names)| definition(name, text, names))
                .collect();
            source(service, &tools)
        })
        .collect();
    let mut count: usize = sources.iter().map(|(_, tools)| tools.len()).sum();
    for number in 0..92 {
        let tools: Vec<_> = (0..11)
            .take(1000_usize.saturating_sub(count))
            .map(|place| {
                let (verb, thing) = (VERBS[place % 11], THINGS[(number * 7 + place) % 23]);
                let text = format!(
                    "{verb} one {thing} of the account, with its fields and history, for whoever may see it."
                );
                definition(&format!("{verb}_{thing}"), &text, &["id", "account", "fields", "since"])
            })
            .collect();
        count += tools.len();
        sources.push(source(&format!("vendor-{number}"), &tools));
    }
    assert_eq!((sources.len(), count), (100, 1000));
    sources
}

fn name_of(found: Found<'_>) -> String {
    format!("{}.{}", found.owned.row.service, found.tool.name)
}

#[test]
fn the_tool_that_is_meant_is_found_among_a_thousand() {
    let index = Index::of(corpus());
    let mut first = 0;
    for (query, meant) in ASKED {
        let ranked: Vec<_> = index.ranked(query, None).into_iter().map(name_of).collect();
        let place = ranked.iter().position(|name| name == meant);
        assert!(
            place.is_some_and(|place| place < 5),
            "{query}: {place:?} {:?}",
            &ranked[..5.min(ranked.len())]
        );
        first += usize::from(place == Some(0));
    }
    assert!(
        first * 10 >= ASKED.len() * 9,
        "{first} of {} come first",
        ASKED.len()
    );
}

#[test]
fn every_tool_is_found_by_its_own_name() {
    let index = Index::of(corpus());
    for found in index.all(None) {
        let query = name_of(found);
        let ranked = index.ranked(&query, None);
        assert_eq!(name_of(ranked[0]), query);
    }
}

#[test]
fn what_says_nothing_finds_nothing_and_odd_queries_are_borne() {
    let index = Index::of(corpus());
    assert!(index.ranked("zyzzyva", None).is_empty());
    assert!(index.ranked("", None).is_empty() && index.ranked("  ...", None).is_empty());
    let long = "refund ".repeat(10_000);
    assert_eq!(
        name_of(index.ranked(&long, None)[0]),
        "stripe.create_refund"
    );
    let service = "slack".parse().unwrap();
    let ranked = index.ranked("list", Some(&service));
    assert!(
        !ranked.is_empty()
            && ranked
                .iter()
                .all(|found| found.owned.row.service == service)
    );
    assert_eq!(index.all(Some(&service)).count(), 3);
    assert!(Index::default().ranked("list", None).is_empty());
}
