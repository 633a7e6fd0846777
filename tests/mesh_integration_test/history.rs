//! Events as they are found and summarized afterwards.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::world::stopped_clock;
use crate::support::{Caller, Plan, World};

async fn query(caller: &Caller, arguments: Value) -> Vec<Value> {
    let (mut events, mut arguments) = (Vec::new(), arguments);
    loop {
        let page = caller.ok("events_query", arguments.clone()).await;
        assert_eq!(page.get("pending"), None, "the publisher keeps up");
        events.extend(page["events"].as_array().expect("events").iter().cloned());
        match page.get("next_cursor") {
            Some(cursor) => arguments["cursor"] = cursor.clone(),
            None => return events,
        }
    }
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["detail_type"].as_str().expect("a type")).collect()
}

async fn send(caller: &Caller, event: Value) -> Value {
    let mut event = event;
    event["wait"] = json!(true);
    caller.ok("events_send", event).await
}

#[tokio::test]
async fn what_was_sent_is_found_to_the_letter_and_by_every_filter() {
    let world = World::open().await;
    let caller = world.caller().await;
    let detail = r#"{"sum":1.10,"n":123456789012345678901234567890,"text":"grüße 🦀"}"#;
    let arguments = format!(
        r#"{{"detail_type":"Order.Failed","detail":{detail},"source":"till","priority":"high","tags":{{"shop":"a","day":"b"}},"wait":true}}"#
    );
    let sent = caller.call_text("events_send", &arguments).await.unwrap().value();
    send(&caller, json!({"detail_type": "Order.Placed", "detail": {}})).await;
    let answer = caller.call("events_query", json!({"detail_type": "Order.Failed"})).await.unwrap();
    assert!(answer.text.contains(detail), "{}", answer.text);
    let found = answer.value()["events"][0].clone();
    assert_eq!((&found["event_id"], &found["time"]), (&sent["event_id"], &sent["accepted_at"]));
    let told = json!({
        "detail_type": found["detail_type"], "source": found["source"], "tool": found["tool"],
        "outcome": found["outcome"], "priority": found["priority"], "user_id": found["user_id"],
        "tags": found["tags"],
    });
    let expected = json!({
        "detail_type": "Order.Failed", "source": "till", "tool": "events_send", "outcome": "ok",
        "priority": "high", "user_id": "ada", "tags": {"shop": "a", "day": "b"},
    });
    assert_eq!(told, expected);
    for (filter, is_found) in [
        (json!({"source": "till"}), true),
        (json!({"source": "til"}), false),
        (json!({"priority": "high"}), true),
        (json!({"priority": "low"}), false),
        (json!({"tags": {"shop": "a"}}), true),
        (json!({"tags": {"shop": "a", "day": "c"}}), false),
        (json!({"tool": "events_send", "detail_type": "Order.Failed"}), true),
        (json!({"tool": "kv_get"}), false),
        (json!({"outcome": "ok", "source": "till"}), true),
        (json!({"outcome": "error"}), false),
        (json!({"user_id": "ada", "source": "till"}), true),
        (json!({"user_id": "bob"}), false),
        (json!({"start_time": sent["accepted_at"], "end_time": sent["accepted_at"], "source": "till"}), true),
        (json!({"end_time": "2020-01-01T00:00:00Z"}), false),
    ] {
        let events = query(&caller, filter.clone()).await;
        let has = types(&events).contains(&"Order.Failed");
        assert_eq!(has, is_found, "{filter}");
    }
}

#[tokio::test]
async fn operations_are_found_by_how_they_ended_without_what_they_carried() {
    let world = World::open().await;
    let caller = world.caller().await;
    caller.ok("kv_set", json!({"key": "k", "value": "the secret"})).await;
    caller.fail("kv_set", json!({"key": "k", "value": "the secret", "if_absent": true})).await;
    caller.fail("kv_get", json!({})).await;
    caller.ok("artifacts_put", json!({"key": "f", "content": "the secret", "metadata": {"m": "the secret"}})).await;
    let all = query(&caller, json!({})).await;
    assert!(!json!(all).to_string().contains("the secret"), "{all:?}");
    let failed = query(&caller, json!({"outcome": "error", "order": "asc"})).await;
    let codes: Vec<_> = failed.iter().map(|event| event["error_code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["CONFLICT", "INVALID_PARAMETER"]);
    assert_eq!(failed[0]["detail"]["key"], "k");
    let set = query(&caller, json!({"detail_type": "KV.Set", "outcome": "ok"})).await;
    assert_eq!((set.len(), &set[0]["detail"]["key"]), (1, &json!("k")));
    assert!(set[0]["duration_ms"].as_f64().is_some_and(|time| time > 0.0));
}

#[tokio::test]
async fn pages_lead_through_a_window_in_either_order_each_event_once() {
    let clock = stopped_clock();
    let toml = "[tenants.local]\nevent_shards = 4\n[defaults.limits]\ndynamodb_read = 100000\n";
    let world = Plan::default().clock(&clock).tenants(toml).open().await;
    let caller = world.caller().await;
    let mut ids = Vec::new();
    for number in 0..25 {
        let sent = send(&caller, json!({"detail_type": "Step.Taken", "detail": {"n": number}})).await;
        ids.push(sent["event_id"].clone());
        clock.advance(Duration::from_hours(3));
    }
    let window = |order: &str, limit: usize| {
        json!({"detail_type": "Step.Taken", "start_time": "2026-01-01T00:00:00Z", "order": order, "limit": limit})
    };
    let of = |events: Vec<Value>| -> Vec<Value> {
        events.iter().map(|event| event["event_id"].clone()).collect()
    };
    for limit in [1, 7, 1000] {
        assert_eq!(of(query(&caller, window("asc", limit)).await), ids, "{limit}");
        let mut newest_first = ids.clone();
        newest_first.reverse();
        assert_eq!(of(query(&caller, window("desc", limit)).await), newest_first, "{limit}");
    }
    // Without a time it looks back a day: of three hours each, eight and the one that is a day old.
    let day = query(&caller, json!({"detail_type": "Step.Taken"})).await;
    assert_eq!(day.len(), 8, "{:?}", of(day));
    let first = caller.ok("events_query", window("asc", 5)).await;
    let mut other = window("desc", 5);
    other["cursor"] = first["next_cursor"].clone();
    assert_eq!(caller.fault("events_query", other).await.code, -32602, "another order is another query");
    let mut other = window("asc", 5);
    other["cursor"] = first["next_cursor"].clone();
    other["detail_type"] = json!("KV.Set");
    assert_eq!(caller.fault("events_query", other).await.code, -32602);
}

#[tokio::test]
async fn a_large_detail_comes_back_and_a_page_stays_within_the_answer() {
    let world = World::open().await;
    let caller = world.caller().await;
    for (size, name) in [(40_000, "Large.A"), (40_000, "Large.B"), (190_000, "Large.C")] {
        send(&caller, json!({"detail_type": name, "detail": {"t": "x".repeat(size)}})).await;
    }
    let events = query(&caller, json!({"tool": "events_send", "order": "asc"})).await;
    assert_eq!(types(&events), ["Large.A", "Large.B", "Large.C"]);
    assert_eq!(events[2]["truncated"], true, "no answer holds it");
    assert!(events[2]["detail_bytes"].as_u64().is_some_and(|bytes| bytes > 190_000));
    let whole = query(&caller, json!({"detail_type": "Large.A"})).await;
    assert_eq!(whole[0]["detail"]["t"].as_str().map(str::len), Some(40_000));
}

#[tokio::test]
async fn a_window_that_cannot_be_is_refused() {
    let world = World::open().await;
    let caller = world.caller().await;
    for (tool, arguments, parameter) in [
        ("events_query", json!({"start_time": "2026-01-02T00:00:00Z", "end_time": "2026-01-01T00:00:00Z"}), "end_time"),
        ("events_query", json!({"start_time": "2020-01-01T00:00:00Z"}), "start_time"),
        ("events_query", json!({"start_time": "yesterday"}), "start_time"),
        ("events_query", json!({"limit": 1001}), "limit"),
        ("events_query", json!({"user_id": "a b"}), "user_id"),
        ("events_query", json!({"detail_type": ""}), "detail_type"),
        ("events_analytics", json!({"start_time": "2026-01-02T00:00:00Z", "end_time": "2026-01-01T00:00:00Z"}), "end_time"),
        ("events_analytics", json!({"time_range": "2h"}), "time_range"),
        ("events_analytics", json!({"time_range": "1h", "start_time": "2026-01-02T00:00:00Z"}), "time_range"),
        ("events_analytics", json!({"metrics": ["volume", "fame"]}), "metrics"),
    ] {
        let failure = caller.fail(tool, arguments.clone()).await;
        let told = (failure.code().to_owned(), failure.parameter());
        assert_eq!(told, ("INVALID_PARAMETER".to_owned(), parameter.to_owned()), "{tool} {arguments}");
    }
}

#[tokio::test]
async fn figures_count_what_happened() {
    let clock = stopped_clock();
    let world = Plan::default().clock(&clock).open().await;
    let caller = world.caller().await;
    for number in 0..6 {
        caller.ok("kv_set", json!({"key": format!("{number}"), "value": 1})).await;
    }
    for _ in 0..2 {
        caller.fail("kv_get", json!({})).await;
    }
    clock.advance(Duration::from_hours(1));
    send(&caller, json!({"events": [
        {"detail_type": "A.B", "detail": {}, "priority": "high"}, {"detail_type": "A.B", "detail": {}},
    ]}))
    .await;
    let figures = caller.ok("events_analytics", json!({"time_range": "6h"})).await;
    let members: BTreeSet<_> = figures.as_object().unwrap().keys().map(String::as_str).collect();
    let expected =
        ["window", "totals", "volume", "top_types", "top_tools", "errors", "latency", "priority"];
    assert_eq!(members, expected.into());
    assert_eq!(figures["totals"], json!({"events": 10, "calls": 10, "failed": 2}));
    let count = |list: &str, name: &str| {
        let entries = figures[list].as_array().unwrap().iter();
        entries.filter(|entry| entry["name"] == name).map(|entry| entry["calls"].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!((count("top_types", "KV.Set"), count("top_types", "KV.Get")), (6, 2));
    assert_eq!((count("top_types", "A.B"), count("top_tools", "events_send")), (2, 2));
    assert_eq!(figures["errors"]["rate"], 0.2);
    assert_eq!(figures["errors"]["codes"], json!([{"name": "INVALID_PARAMETER", "calls": 2}]));
    let hours: Vec<_> = figures["volume"].as_array().unwrap().iter()
        .map(|point| point["calls"].as_u64().unwrap()).filter(|calls| *calls > 0).collect();
    assert_eq!(hours, [8, 2], "an hour apart");
    let window = &figures["window"];
    for edge in ["start_time", "end_time"] {
        assert!(window[edge].as_str().unwrap().ends_with(":00:00.000Z"), "rounded to hours: {window}");
    }
    let latency = figures["latency"].as_array().unwrap();
    let set = latency.iter().find(|entry| entry["tool"] == "kv_set").unwrap();
    assert_eq!(set["calls"], 6, "{set}");
    let some = caller.ok("events_analytics", json!({"metrics": ["volume"], "granularity": "day"})).await;
    assert_eq!((some.get("top_types"), some["volume"].is_array()), (None, true));
    let before = json!({"start_time": "2026-01-01T00:00:00Z", "end_time": "2026-01-02T00:00:00Z"});
    assert_eq!(caller.ok("events_analytics", before).await["totals"]["events"], 0);
}

#[tokio::test]
async fn reads_may_be_recorded_together() {
    let clock = stopped_clock();
    let world = Plan::default().set("AGENT_MESH_EVENT_READS", "rollup").clock(&clock).open().await;
    let caller = world.caller().await;
    for _ in 0..9 {
        caller.ok("kv_get", json!({"key": "a"})).await;
    }
    caller.ok("kv_set", json!({"key": "a", "value": 1})).await;
    crate::support::client::patiently(async {
        loop {
            clock.advance(Duration::from_secs(11));
            let reads = query(&caller, json!({"tool": "kv_get"})).await;
            if !reads.is_empty() {
                assert_eq!((reads.len(), &reads[0]["count"]), (1, &json!(9)), "{reads:?}");
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let set = query(&caller, json!({"tool": "kv_set"})).await;
    assert_eq!((set.len(), set[0].get("count")), (1, None));
}
