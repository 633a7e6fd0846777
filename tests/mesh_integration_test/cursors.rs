//! Listings and their cursors: they lead through everything once, and open nothing that their bearer could not see anyway.

use std::collections::BTreeSet;

use agent_mesh::mesh::store::key::trial;
use serde_json::{Value, json};

use crate::kv::names_of;
use crate::support::bus::Heard;
use crate::support::world::stopped_clock;
use crate::support::{Caller, Plan, World};

/// What JSON-RPC answers to a cursor that does not fit.
const INVALID_PARAMS: i64 = -32602;

async fn set_all(caller: &Caller, scope: &str, keys: impl Iterator<Item = String>) {
    let keys: Vec<String> = keys.collect();
    for some in keys.chunks(50) {
        let sets = some.iter().map(|key| {
            caller.ok(
                "kv_set",
                json!({"key": key, "value": key, "scope": scope, "ttl_hours": 0}),
            )
        });
        futures::future::join_all(sets).await;
    }
}

async fn put_all(caller: &Caller, scope: &str, keys: impl Iterator<Item = String>) {
    for key in keys {
        caller
            .ok(
                "artifacts_put",
                json!({"key": key, "content": key, "scope": scope}),
            )
            .await;
    }
}

/// Puts the row of ada's value `key` under further keys, which is faster than to set thousands of values.
#[expect(
    clippy::disallowed_methods,
    reason = "the rows are those that the tool wrote"
)]
async fn copy_row(world: &World, key: &str, copies: impl Iterator<Item = String>) {
    let of = |key: &str| trial::row(&"acme".parse().unwrap(), "KV#U#ada", &format!("K#{key}"));
    let table = &world.app.shared().backplane.table;
    let row = table
        .get(&of(key), true)
        .await
        .unwrap()
        .value
        .expect("the row");
    let rows: Vec<_> = copies.map(|copy| (of(&copy), row.clone())).collect();
    let unwritten = table.put_all(&rows).await.unwrap().value;
    assert_eq!(unwritten, Vec::<usize>::new());
}

#[tokio::test]
async fn pages_lead_through_2500_keys_each_once() {
    let world = World::of_two_tenants().await;
    let caller = world.user("acme", "ada", "user").await;
    let name = |number: usize| format!("page/{number:04}");
    let others = ["pagd", "page/0000", "page0"].map(str::to_owned);
    set_all(&caller, "user", others.into_iter()).await;
    copy_row(&world, "page/0000", (1..2500).map(name)).await;
    let expected: Vec<String> = (0..2500).map(name).collect();
    for limit in [1000, 211] {
        let listing = json!({"prefix": "page/", "limit": limit});
        let (items, pages) = caller.list_all("kv_list", listing).await;
        assert_eq!(names_of(&items), expected, "limit {limit}");
        assert!(
            pages >= 2500_usize.div_ceil(limit),
            "{pages} pages of {limit}"
        );
    }
}

#[tokio::test]
async fn a_listing_goes_on_where_it_was_while_keys_come_and_go() {
    let world = World::open().await;
    let caller = world.caller().await;
    set_all(
        &caller,
        "user",
        (0..20).map(|number| format!("k{number:02}")),
    )
    .await;
    let first = caller.ok("kv_list", json!({"limit": 10})).await;
    let cursor = first["next_cursor"].clone();
    // The key that the cursor stands at, one before it and one behind it.
    for key in ["k09", "k03", "k15"] {
        caller.ok("kv_delete", json!({"key": key})).await;
    }
    set_all(
        &caller,
        "user",
        ["k00a".to_owned(), "k12a".to_owned()].into_iter(),
    )
    .await;
    let (rest, _) = caller
        .list_all("kv_list", json!({"limit": 10, "cursor": cursor}))
        .await;
    let expected: Vec<_> = [
        "k10", "k11", "k12", "k12a", "k13", "k14", "k16", "k17", "k18", "k19",
    ]
    .into();
    assert_eq!(names_of(&rest), expected);
}

/// The calls that a cursor of the first one does not fit, each with what differs.
fn strangers(tool: &str) -> Vec<(&'static str, Value)> {
    let mut calls = vec![
        ("another prefix", json!({"prefix": "b/"})),
        ("no prefix", json!({})),
        ("another scope", json!({"prefix": "a/", "scope": "tenant"})),
    ];
    if tool == "artifacts_list" {
        calls.push(("a delimiter", json!({"prefix": "a/", "delimiter": "/"})));
    }
    calls
}

#[tokio::test]
async fn a_cursor_fits_only_the_listing_that_it_was_given_for() {
    let world = World::open().await;
    let caller = world.caller().await;
    set_all(&caller, "user", (0..4).map(|number| format!("a/{number}"))).await;
    put_all(&caller, "user", (0..4).map(|number| format!("a/{number}"))).await;
    let mut cursors = Vec::new();
    for tool in ["kv_list", "artifacts_list"] {
        let page = caller.ok(tool, json!({"prefix": "a/", "limit": 2})).await;
        let cursor = page["next_cursor"].as_str().expect("more").to_owned();
        // Another limit is the same listing.
        let rest = caller
            .ok(tool, json!({"prefix": "a/", "limit": 1, "cursor": cursor}))
            .await;
        assert_eq!(
            names_of(rest["items"].as_array().unwrap()),
            ["a/2"],
            "{tool}"
        );
        for (what, mut arguments) in strangers(tool) {
            arguments["cursor"] = json!(cursor);
            let fault = caller.fault(tool, arguments).await;
            assert_eq!(fault.code, INVALID_PARAMS, "{tool}: {what}");
            assert!(fault.message.contains("cursor"), "{fault:?}");
        }
        cursors.push(cursor);
    }
    for (tool, other) in [("kv_list", &cursors[1]), ("artifacts_list", &cursors[0])] {
        let fault = caller
            .fault(tool, json!({"prefix": "a/", "cursor": other}))
            .await;
        assert_eq!(
            fault.code, INVALID_PARAMS,
            "{tool} with the other tool's cursor"
        );
    }
    let own = cursors[0].clone();
    let cut = own[..own.len() - 1].to_owned();
    for damaged in ["", "x", "!!", "e30", "bnVsbA", &cut, &"A".repeat(9000)] {
        for tool in ["kv_list", "artifacts_list"] {
            let fault = caller
                .fault(tool, json!({"prefix": "a/", "cursor": damaged}))
                .await;
            assert_eq!(fault.code, INVALID_PARAMS, "{tool}: {damaged}");
        }
        let fault = caller
            .request("resources/list", json!({"cursor": damaged}))
            .await
            .unwrap_err();
        assert_eq!(fault.code, INVALID_PARAMS, "resources/list: {damaged}");
    }
    let fault = caller
        .request("tools/list", json!({"cursor": own}))
        .await
        .unwrap_err();
    assert_eq!(fault.code, INVALID_PARAMS, "the list of tools has one page");
    let failure = caller
        .fail("kv_list", json!({"prefix": "a/", "cursor": 5}))
        .await;
    assert_eq!(
        failure.parameter(),
        "cursor",
        "of the wrong type it is the tool's error"
    );
}

#[tokio::test]
async fn a_cursor_of_another_tenant_or_user_opens_only_ones_own() {
    let world = World::of_two_tenants().await;
    let ada = world.user("acme", "ada", "user").await;
    let bob = world.user("acme", "bob", "user").await;
    let eve = world.user("globex", "eve", "user").await;
    for (caller, name) in [(&ada, "ada"), (&bob, "bob"), (&eve, "eve")] {
        for scope in ["user", "tenant"] {
            let keys = (0..4).map(|number| format!("{scope}-{number}-{name}"));
            set_all(caller, scope, keys.clone()).await;
            put_all(caller, scope, keys).await;
        }
    }
    for tool in ["kv_list", "artifacts_list"] {
        for scope in ["user", "tenant"] {
            let page = ada.ok(tool, json!({"scope": scope, "limit": 2})).await;
            let listing = json!({"scope": scope, "limit": 100, "cursor": page["next_cursor"]});
            for (caller, name, sees) in [(&bob, "bob", scope == "tenant"), (&eve, "eve", false)] {
                let (items, _) = caller.list_all(tool, listing.clone()).await;
                let owners: BTreeSet<&str> = names_of(&items)
                    .iter()
                    .filter_map(|key| key.rsplit('-').next())
                    .collect();
                let expected: BTreeSet<&str> = match sees {
                    true => ["ada", "bob"].into(),
                    false => [name].into(),
                };
                assert_eq!(owners, expected, "{tool} {scope}");
            }
        }
    }
}

#[tokio::test]
async fn a_page_stays_within_the_answers_text_and_nothing_is_skipped() {
    let world = World::of_two_tenants().await;
    let caller = world.user("acme", "ada", "user").await;
    // Quotes count twice in JSON, and twice again inside the text.
    let long = |number: usize| format!("{number:03}{}", "\"".repeat(480));
    set_all(&caller, "user", (0..70).map(long)).await;
    put_all(&caller, "user", (0..70).map(long)).await;
    let expected: Vec<String> = (0..70).map(long).collect();
    for tool in ["kv_list", "artifacts_list"] {
        // That no page is over the budget is held for every answer that is read.
        let (items, pages) = caller.list_all(tool, json!({"limit": 1000})).await;
        assert_eq!(names_of(&items), expected, "{tool}");
        assert!(pages > 1, "{tool}");
    }
}

#[tokio::test]
async fn a_delimiter_shows_one_folder_and_the_folders_in_it() {
    let world = World::open().await;
    let caller = world.caller().await;
    for key in ["a", "d/1", "d/2", "d/e/1", "d/e/2", "d/f/1", "g/1", "z"] {
        caller
            .ok("artifacts_put", json!({"key": key, "content": key}))
            .await;
    }
    let list = async |arguments: Value| {
        let (mut keys, mut folders) = (Vec::new(), Vec::new());
        let mut arguments = arguments;
        loop {
            let page = caller.ok("artifacts_list", arguments.clone()).await;
            keys.extend(
                names_of(page["items"].as_array().unwrap())
                    .into_iter()
                    .map(str::to_owned),
            );
            let prefixes = page
                .get("common_prefixes")
                .and_then(Value::as_array)
                .cloned();
            folders.extend(prefixes.unwrap_or_default());
            match page.get("next_cursor") {
                Some(cursor) => arguments["cursor"] = cursor.clone(),
                None => return (keys, folders),
            }
        }
    };
    for limit in [1, 2, 100] {
        let (keys, folders) = list(json!({"delimiter": "/", "limit": limit})).await;
        assert_eq!(
            (keys, json!(folders)),
            (vec!["a".into(), "z".into()], json!(["d/", "g/"]))
        );
        let inside = json!({"prefix": "d/", "delimiter": "/", "limit": limit});
        let (keys, folders) = list(inside).await;
        assert_eq!(
            (keys, json!(folders)),
            (vec!["d/1".into(), "d/2".into()], json!(["d/e/", "d/f/"]))
        );
    }
    let (keys, folders) = list(json!({"prefix": "d/e"})).await;
    assert_eq!(
        (keys, folders.len()),
        (vec!["d/e/1".into(), "d/e/2".into()], 0)
    );
    let failure = caller
        .fail("artifacts_list", json!({"delimiter": "/".repeat(17)}))
        .await;
    assert_eq!(failure.parameter(), "delimiter");
}

#[tokio::test]
async fn a_cursor_that_does_not_fit_is_charged_and_recorded_like_any_call() {
    let toml = "[defaults.limits]\nrequests_per_minute = 4\n";
    let clock = stopped_clock();
    let world = Plan::default().tenants(toml).clock(&clock).open().await;
    let heard = Heard::at(&world);
    let caller = world.caller().await;
    let wrong = json!({"cursor": "x"});
    for tool in ["kv_list", "artifacts_list", "events_query"] {
        let fault = caller.fault(tool, wrong.clone()).await;
        assert_eq!(fault.code, INVALID_PARAMS, "{tool}");
        let events = heard.wait(1, |detail| detail["tool"] == tool).await;
        let (_, detail) = &events[0];
        let told = (&detail["outcome"], &detail["error_code"]);
        assert_eq!(
            told,
            (&json!("error"), &json!("INVALID_PARAMETER")),
            "{tool}"
        );
    }
    let list = caller.request("resources/list", wrong.clone()).await;
    assert_eq!(list.unwrap_err().code, INVALID_PARAMS);
    let failure = caller.fail("kv_list", wrong.clone()).await;
    assert_eq!(
        failure.code(),
        "RATE_LIMITED",
        "it is no way around the limits"
    );
    let list = caller.request("resources/list", wrong).await.unwrap_err();
    assert_eq!(list.data["error"]["code"], "RATE_LIMITED");
}
