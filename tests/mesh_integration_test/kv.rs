//! Key-values: what is stored comes back to the letter, for as long as it was meant to, and to whom.

use std::time::Duration;

use agent_mesh::mesh::Timestamp;
use serde_json::{Value, json};

use crate::support::world::stopped_clock;
use crate::support::{Caller, Plan, World};

#[tokio::test]
async fn test_kv_operations() {
    let world = World::open().await;
    let caller = world.caller().await;
    let absent = caller.ok("kv_get", json!({"key": "a"})).await;
    assert_eq!(absent, json!({"key": "a", "found": false}));

    let set = caller
        .ok("kv_set", json!({"key": "a", "value": {"n": [1, "two"]}}))
        .await;
    assert_eq!(
        (&set["key"], &set["size"]),
        (&json!("a"), &json!(r#"{"n":[1,"two"]}"#.len()))
    );
    let got = caller.ok("kv_get", json!({"key": "a"})).await;
    assert_eq!(got["value"], json!({"n": [1, "two"]}));
    for member in ["version", "size", "expires_at"] {
        assert_eq!(got[member], set[member], "{member}");
    }
    let life = time(&got["expires_at"]).since(time(&got["created_at"]));
    assert_eq!(
        life.as_secs().div_ceil(3600),
        24,
        "kept for a day: {life:?}"
    );

    let listed = caller.ok("kv_list", json!({})).await;
    let item = json!({
        "key": "a", "version": got["version"], "size": got["size"],
        "created_at": got["created_at"], "expires_at": got["expires_at"],
    });
    assert_eq!(listed, json!({ "items": [item] }));

    let deleted = caller.ok("kv_delete", json!({"key": "a"})).await;
    assert_eq!(deleted, json!({"key": "a", "existed": true}));
    let again = caller.ok("kv_delete", json!({"key": "a"})).await;
    assert_eq!(again, json!({"key": "a", "existed": false}));
    assert_eq!(
        caller.ok("kv_get", json!({"key": "a"})).await["found"],
        false
    );
    assert_eq!(caller.ok("kv_list", json!({})).await, json!({"items": []}));
}

#[tokio::test]
async fn a_value_comes_back_to_the_letter() {
    let world = World::open().await;
    let caller = world.caller().await;
    for text in [
        "1.10",
        "1e400",
        "-0",
        "0.1e-7",
        "123456789012345678901234567890",
        "[1.0, 2.50,3E+2]",
        r#"{"b":1,"a":{"b":1.00},"b2":"\u0041\/"}"#,
        r#"{"twice":1,"twice":2}"#,
        "\"grüße 🦀 \\u0000\"",
        "null",
        "true",
        "\"\"",
        "[]",
        "{}",
    ] {
        let arguments = format!(r#"{{"key":"exact","value":{text}}}"#);
        let set = caller.call_text("kv_set", &arguments).await.unwrap();
        assert!(!set.is_error, "{}", set.text);
        let got = caller
            .call("kv_get", json!({"key": "exact"}))
            .await
            .unwrap();
        assert_eq!(got.member("value").as_deref(), Some(text));
        assert_eq!(got.member("found").as_deref(), Some("true"));
        assert_eq!(got.member("size"), Some(text.len().to_string()));
    }
}

#[tokio::test]
async fn a_key_may_be_anything_of_512_bytes_but_control_characters() {
    let world = World::open().await;
    let caller = world.caller().await;
    let edge = "é".repeat(256);
    for key in [
        "a",
        " ",
        "a b",
        "K#x",
        "T#local#KV",
        "../..",
        "\"\\",
        "🦀/é#1",
        "%2e",
        "a\u{2028}b",
        &edge,
    ] {
        caller.ok("kv_set", json!({"key": key, "value": key})).await;
        let got = caller.ok("kv_get", json!({"key": key})).await;
        assert_eq!((&got["key"], &got["value"]), (&json!(key), &json!(key)));
        let (items, _) = caller.list_all("kv_list", json!({"prefix": key})).await;
        assert!(items.iter().any(|item| item["key"] == key), "{key}");
        assert_eq!(
            caller.ok("kv_delete", json!({"key": key})).await["existed"],
            true,
            "{key}"
        );
    }
    let past = format!("{edge}a");
    for key in ["", "a\nb", "\u{0}", "\u{7f}", "\u{85}", &past] {
        for tool in ["kv_get", "kv_set", "kv_delete"] {
            let arguments = match tool {
                "kv_set" => json!({"key": key, "value": 1}),
                _ => json!({"key": key}),
            };
            let failure = caller.fail(tool, arguments).await;
            assert_eq!(
                (failure.code(), failure.parameter().as_str()),
                ("INVALID_PARAMETER", "key")
            );
            assert!(
                failure.fix().is_some_and(|fix| fix.contains("512")),
                "{failure:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_value_may_have_350_kib_and_not_a_byte_more() {
    let world = World::open().await;
    let caller = world.caller().await;
    // A quote on either side belongs to the JSON text.
    let edge = "x".repeat(350 * 1024 - 2);
    let set = caller
        .ok("kv_set", json!({"key": "k".repeat(512), "value": edge}))
        .await;
    assert_eq!(set["size"], 350 * 1024);
    let got = caller
        .ok(
            "kv_get",
            json!({"key": "k".repeat(512), "consistent": true}),
        )
        .await;
    assert_eq!(got["truncated"], true, "too large for an answer");
    assert_eq!((&got["size"], got.get("value")), (&json!(350 * 1024), None));
    let uri = got["uri"].as_str().unwrap();
    let read = |uri: String| {
        let caller = &caller;
        async move {
            let read = caller
                .request("resources/read", json!({ "uri": uri }))
                .await;
            let read: Value = serde_json::from_str(&read.unwrap()).unwrap();
            read["contents"][0]["text"].as_str().unwrap().to_owned()
        }
    };
    assert_eq!(read(uri.to_owned()).await, format!("\"{edge}\""));
    assert_eq!(read(format!("{uri}?range=0-2")).await, "\"xx");
    let failure = caller
        .fail("kv_set", json!({"key": "k", "value": format!("{edge}x")}))
        .await;
    assert_eq!(failure.code(), "TOO_LARGE");
    assert_eq!(failure.detail("limit"), 350 * 1024);
    assert_eq!(failure.detail("size"), 350 * 1024 + 1);
    assert!(failure.fix().unwrap().contains("artifacts_put"));
    assert_eq!(
        caller.ok("kv_get", json!({"key": "k"})).await["found"],
        false
    );
}

#[tokio::test]
async fn a_value_is_there_until_it_expires_and_not_a_moment_longer() {
    let clock = stopped_clock();
    let world = Plan::default().clock(&clock).open().await;
    let caller = world.caller().await;
    let start = world.now();
    let set = |key: &str, hours: Value| {
        caller.ok(
            "kv_set",
            json!({"key": key, "value": 1, "ttl_hours": hours}),
        )
    };
    let half = set("half", json!(0.5)).await;
    assert_eq!(
        time(&half["expires_at"]).since(start),
        Duration::from_secs(1800)
    );
    let ever = set("ever", json!(0)).await;
    assert_eq!(ever.get("expires_at"), None);
    let longest = set("longest", json!(876_000)).await;
    assert_eq!(
        time(&longest["expires_at"]).since(start),
        Duration::from_hours(876_000)
    );

    clock.advance(Duration::from_millis(1_799_999));
    assert_eq!(
        caller.ok("kv_get", json!({"key": "half"})).await["found"],
        true
    );
    assert_eq!(keys(&caller).await, ["ever", "half", "longest"]);
    clock.advance(Duration::from_millis(1));
    assert_eq!(
        caller.ok("kv_get", json!({"key": "half"})).await,
        json!({"key": "half", "found": false})
    );
    assert_eq!(keys(&caller).await, ["ever", "longest"]);
    let deleted = caller.ok("kv_delete", json!({"key": "half"})).await;
    assert_eq!(deleted["existed"], false, "what has expired is not there");

    clock.advance(Duration::from_hours(24 * 365));
    assert_eq!(keys(&caller).await, ["ever", "longest"]);
    for hours in ["-1", "-0.001", "876000.01", "1e300", "\"24\"", "true"] {
        let arguments = format!(r#"{{"key":"a","value":1,"ttl_hours":{hours}}}"#);
        let answer = caller.call_text("kv_set", &arguments).await.unwrap();
        let failure = crate::support::Failure::of(answer.value());
        assert_eq!(
            (failure.code(), failure.parameter().as_str()),
            ("INVALID_PARAMETER", "ttl_hours")
        );
    }
}

#[tokio::test]
async fn an_end_within_a_second_is_never_early() {
    let clock = stopped_clock();
    clock.advance(Duration::from_millis(400));
    let world = Plan::default().clock(&clock).open().await;
    let caller = world.caller().await;
    // 3.6 s: the table keeps whole seconds.
    let set = caller
        .ok(
            "kv_set",
            json!({"key": "a", "value": 1, "ttl_hours": 0.001}),
        )
        .await;
    let end = time(&set["expires_at"]);
    let life = end.since(world.now());
    assert!((3600..4600).contains(&life.as_millis()), "{life:?}");
    clock.advance(life - Duration::from_millis(1));
    assert_eq!(
        caller.ok("kv_get", json!({"key": "a"})).await["found"],
        true
    );
    clock.advance(Duration::from_millis(1));
    assert_eq!(
        caller.ok("kv_get", json!({"key": "a"})).await["found"],
        false
    );
}

#[tokio::test]
async fn a_condition_that_does_not_hold_changes_nothing() {
    let world = World::open().await;
    let caller = world.caller().await;
    let conflict = async |tool: &str, arguments: Value, current: Option<&Value>| {
        let failure = caller.fail(tool, arguments).await;
        assert_eq!(failure.code(), "CONFLICT");
        assert_eq!(
            failure.detail("version"),
            current.cloned().unwrap_or_default()
        );
        assert!(failure.fix().is_some());
    };
    let nowhere = json!({"key": "a", "value": 0, "if_version": "01ARZ3NDEKTSV4RRFFQ69G5FAV"});
    conflict("kv_set", nowhere, None).await;
    conflict("kv_delete", json!({"key": "a", "if_version": "x"}), None).await;

    let first = caller
        .ok("kv_set", json!({"key": "a", "value": 1, "if_absent": true}))
        .await;
    let version = &first["version"];
    conflict(
        "kv_set",
        json!({"key": "a", "value": 2, "if_absent": true}),
        Some(version),
    )
    .await;
    conflict(
        "kv_set",
        json!({"key": "a", "value": 2, "if_version": "x"}),
        Some(version),
    )
    .await;
    conflict(
        "kv_delete",
        json!({"key": "a", "if_version": "x"}),
        Some(version),
    )
    .await;
    assert_eq!(caller.ok("kv_get", json!({"key": "a"})).await["value"], 1);

    let second = caller
        .ok(
            "kv_set",
            json!({"key": "a", "value": 2, "if_version": version}),
        )
        .await;
    assert_ne!(
        &second["version"], version,
        "every write has a version of its own"
    );
    conflict(
        "kv_set",
        json!({"key": "a", "value": 3, "if_version": version}),
        Some(&second["version"]),
    )
    .await;
    let gone = caller
        .ok(
            "kv_delete",
            json!({"key": "a", "if_version": second["version"]}),
        )
        .await;
    assert_eq!(gone["existed"], true);

    let both = json!({"key": "a", "value": 1, "if_absent": true, "if_version": "x"});
    let failure = caller.fail("kv_set", both).await;
    assert_eq!(
        (failure.code(), failure.parameter().as_str()),
        ("INVALID_PARAMETER", "if_version")
    );
}

#[tokio::test]
async fn a_key_that_expired_and_came_back_never_matches_an_old_version() {
    let clock = stopped_clock();
    let world = Plan::default().clock(&clock).open().await;
    let caller = world.caller().await;
    let old = caller
        .ok("kv_set", json!({"key": "a", "value": 1, "ttl_hours": 1}))
        .await;
    clock.advance(Duration::from_hours(1));
    let stale = json!({"key": "a", "value": 2, "if_version": old["version"]});
    assert_eq!(
        caller.fail("kv_set", stale.clone()).await.code(),
        "CONFLICT",
        "it has expired"
    );
    let new = caller
        .ok("kv_set", json!({"key": "a", "value": 3, "if_absent": true}))
        .await;
    assert_ne!(new["version"], old["version"]);
    assert_eq!(caller.fail("kv_set", stale).await.code(), "CONFLICT");
    let deletion = json!({"key": "a", "if_version": old["version"]});
    assert_eq!(caller.fail("kv_delete", deletion).await.code(), "CONFLICT");
    assert_eq!(caller.ok("kv_get", json!({"key": "a"})).await["value"], 3);
}

#[tokio::test]
async fn of_writers_at_once_with_one_condition_one_wins() {
    let world = World::open().await;
    let caller = world.caller().await;
    let writes = (0..20).map(|writer| {
        caller.call(
            "kv_set",
            json!({"key": "a", "value": writer, "if_absent": true}),
        )
    });
    let answers = futures::future::join_all(writes).await;
    let winners: Vec<_> = (0..20)
        .filter(|&writer| !answers[writer].as_ref().unwrap().is_error)
        .collect();
    assert_eq!(winners.len(), 1, "{winners:?}");
    assert_eq!(
        caller.ok("kv_get", json!({"key": "a"})).await["value"],
        winners[0]
    );
}

#[tokio::test]
async fn the_users_own_and_what_the_tenant_shares_are_apart() {
    let world = World::of_two_tenants().await;
    let ada = world.user("acme", "ada", "user").await;
    let bob = world.user("acme", "bob", "user").await;
    for (caller, scope, value) in [(&ada, "user", 1), (&bob, "user", 2), (&ada, "tenant", 3)] {
        caller
            .ok(
                "kv_set",
                json!({"key": "k", "value": value, "scope": scope}),
            )
            .await;
    }
    for (caller, own) in [(&ada, 1), (&bob, 2)] {
        assert_eq!(caller.ok("kv_get", json!({"key": "k"})).await["value"], own);
        assert_eq!(
            caller
                .ok("kv_get", json!({"key": "k", "scope": "user"}))
                .await["value"],
            own
        );
        assert_eq!(
            caller
                .ok("kv_get", json!({"key": "k", "scope": "tenant"}))
                .await["value"],
            3
        );
    }
    bob.ok("kv_delete", json!({"key": "k", "scope": "tenant"}))
        .await;
    assert_eq!(
        ada.ok("kv_get", json!({"key": "k", "scope": "tenant"}))
            .await["found"],
        false
    );
    assert_eq!(ada.ok("kv_get", json!({"key": "k"})).await["value"], 1);
}

#[tokio::test]
async fn arguments_may_be_written_in_camel_case_but_not_in_both() {
    let world = World::open().await;
    let caller = world.caller().await;
    let set = json!({"key": "a", "value": 1, "ttlHours": 0, "ifAbsent": true});
    assert_eq!(
        caller.ok("kv_set", set.clone()).await.get("expires_at"),
        None
    );
    assert_eq!(caller.fail("kv_set", set).await.code(), "CONFLICT");
    let both = json!({"key": "a", "value": 1, "ttlHours": 0, "ttl_hours": 0});
    assert_eq!(caller.fail("kv_set", both).await.parameter(), "ttl_hours");
}

#[tokio::test]
async fn keys_are_listed_in_the_order_of_their_bytes_under_a_prefix() {
    let world = World::open().await;
    let caller = world.caller().await;
    let mut names = [
        "a", "a/1", "a/10", "a/2", "a0", "ab", "b", "é", "z", "🦀", "~",
    ];
    for key in names {
        caller.ok("kv_set", json!({"key": key, "value": 1})).await;
    }
    names.sort_unstable();
    assert_eq!(keys(&caller).await, names);
    let (under, _) = caller.list_all("kv_list", json!({"prefix": "a/"})).await;
    assert_eq!(names_of(&under), ["a/1", "a/10", "a/2"]);
    let (one_by_one, pages) = caller.list_all("kv_list", json!({"limit": 1})).await;
    assert_eq!(names_of(&one_by_one), names);
    assert!(pages >= names.len(), "{pages}");
    for limit in ["0", "1001", "-1", "1.5", "\"5\""] {
        let answer = caller
            .call_text("kv_list", &format!(r#"{{"limit":{limit}}}"#))
            .await
            .unwrap();
        let failure = crate::support::Failure::of(answer.value());
        assert_eq!(failure.parameter(), "limit", "{limit}");
    }
}

async fn keys(caller: &Caller) -> Vec<String> {
    let (items, _) = caller.list_all("kv_list", json!({})).await;
    names_of(&items).into_iter().map(str::to_owned).collect()
}

/// The keys of listed items.
pub(crate) fn names_of(items: &[Value]) -> Vec<&str> {
    items
        .iter()
        .map(|item| item["key"].as_str().expect("a key"))
        .collect()
}

fn time(value: &Value) -> Timestamp {
    let text = value.as_str().expect("a time");
    assert!(
        text.len() == 24 && text.ends_with('Z'),
        "RFC 3339 with milliseconds: {text}"
    );
    text.parse().expect("a time")
}
