//! Events that callers send, and the health of what carries them.

use std::collections::BTreeSet;
use std::time::Duration;

use agent_mesh::outbound::embedded::{Fault, Service};
use serde_json::{Value, json};
use ulid::Ulid;

use crate::support::client::patiently;
use crate::support::{Caller, World};

fn event(detail_type: &str) -> Value {
    json!({"detail_type": detail_type, "detail": {"n": 1}})
}

/// The ids of what was accepted, each in order of time.
fn ids(answer: &Value) -> Vec<Ulid> {
    let many = answer.get("events").and_then(Value::as_array);
    let one = [answer.clone()];
    let accepted = many.map_or(&one[..], Vec::as_slice);
    accepted
        .iter()
        .map(|one| {
            one["event_id"]
                .as_str()
                .expect("an id")
                .parse()
                .expect("a ULID")
        })
        .collect()
}

#[tokio::test]
async fn one_event_or_up_to_ten_are_accepted() {
    let world = World::open().await;
    let caller = world.caller().await;
    let one = caller
        .ok("events_send", json!({
            "detail_type": "Order.Failed", "detail": {"order": 7, "sum": 1.10}, "source": "till",
            "priority": "high", "tags": {"shop": "grüße"},
        }))
        .await;
    let members: Vec<_> = one.as_object().unwrap().keys().collect();
    assert_eq!(members, ["event_id", "accepted_at"]);
    let id = ids(&one)[0];
    let accepted: agent_mesh::mesh::Timestamp =
        one["accepted_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(
        i64::try_from(id.timestamp_ms()).unwrap(),
        accepted.as_millis()
    );

    for count in [1, 10] {
        let list: Vec<_> = (0..count)
            .map(|number| event(&format!("Order.N{number}")))
            .collect();
        let many = caller.ok("events_send", json!({ "events": list })).await;
        assert_eq!(
            many["events"].as_array().unwrap().len(),
            count,
            "a list is answered with a list"
        );
        let ids = ids(&many);
        assert!(
            ids.windows(2).all(|pair| pair[0] < pair[1]),
            "in the order they were sent: {ids:?}"
        );
    }
    let waited = caller
        .ok(
            "events_send",
            json!({"events": [event("A.B")], "wait": true}),
        )
        .await;
    assert_eq!(waited["published"], true);
    let mut waited = event("A.B");
    waited["wait"] = json!(true);
    assert_eq!(caller.ok("events_send", waited).await["published"], true);
}

#[tokio::test]
async fn what_is_no_event_is_refused_whole_and_by_name() {
    let world = World::open().await;
    let caller = world.caller().await;
    let before = world.app.shared().backplane.outbox.stats();
    let with = |name: &str, value: Value| {
        let mut event = event("A.B");
        event[name] = value;
        event
    };
    let tags = |count: usize| {
        let tags: serde_json::Map<_, _> = (0..count)
            .map(|number| (format!("t{number}"), json!("v")))
            .collect();
        with("tags", Value::Object(tags))
    };
    for (arguments, parameter) in [
        (json!({}), "detail_type"),
        (json!({"detail_type": "A"}), "detail"),
        (with("detail", json!([1])), "detail"),
        (with("detail", json!("{}")), "detail"),
        (with("detail", json!(null)), "detail"),
        (event(""), "detail_type"),
        (event(&"é".repeat(129)), "detail_type"),
        (event("a\nb"), "detail_type"),
        (with("source", json!("")), "source"),
        (with("source", json!("s".repeat(129))), "source"),
        (with("priority", json!("urgent")), "priority"),
        (tags(21), "tags"),
        (with("tags", json!({"": "v"})), "tags"),
        (with("tags", json!({"a": ""})), "tags"),
        (with("tags", json!({"a": "v".repeat(257)})), "tags"),
        (with("tags", json!({"a": 5})), "tags"),
        (with("idempotency_key", json!("")), "idempotency_key"),
        (
            with("idempotency_key", json!("k".repeat(257))),
            "idempotency_key",
        ),
        (json!({"events": []}), "events"),
        (json!({"events": vec![event("A.B"); 11]}), "events"),
        (json!({"events": {}}), "events"),
        (json!({"events": [event("A.B"), 5]}), "events[1]"),
        (
            json!({"events": [event("A.B"), {"detail_type": "A"}]}),
            "events[1].detail",
        ),
        (
            json!({"events": [event("A.B"), event("KV.Set")]}),
            "events[1].detail_type",
        ),
        (
            json!({"events": [with("detial", json!({}))]}),
            "events[0].detial",
        ),
        (
            json!({"events": [event("A.B")], "detail_type": "A.B"}),
            "detail_type",
        ),
    ] {
        let failure = caller.fail("events_send", arguments.clone()).await;
        let told = (failure.code().to_owned(), failure.parameter());
        assert_eq!(
            told,
            ("INVALID_PARAMETER".to_owned(), parameter.to_owned()),
            "{arguments}"
        );
    }
    for family in [
        "KV",
        "Artifacts",
        "Events",
        "Integration",
        "MCP",
        "Workflow",
        "Mesh",
    ] {
        for name in [format!("{family}."), format!("{family}.Set")] {
            let failure = caller.fail("events_send", event(&name)).await;
            assert_eq!(failure.parameter(), "detail_type", "{name}");
            assert!(failure.fix().is_some());
        }
    }
    let after = world.app.shared().backplane.outbox.stats();
    assert!(
        after.bytes < before.bytes + (1 << 20),
        "refused calls leave small records: {after:?}"
    );
    for fits in [
        event(&"é".repeat(128)),
        event("Meshed.Up"),
        event("kv.set"),
        with("source", json!("s".repeat(128))),
        with("tags", json!({"k".repeat(256): "v".repeat(256)})),
        tags(20),
        with("idempotency_key", json!("k".repeat(256))),
    ] {
        caller.ok("events_send", fits).await;
    }
}

#[tokio::test]
async fn a_detail_may_have_200_000_bytes_and_not_one_more() {
    let world = World::open().await;
    let caller = world.caller().await;
    let of_size = |bytes: usize| json!({"t": "x".repeat(bytes - r#"{"t":""}"#.len())});
    let edge = json!({"detail_type": "A.B", "detail": of_size(200_000)});
    caller
        .ok("events_send", json!({"events": vec![edge.clone(); 10]}))
        .await;
    caller.ok("events_send", edge.clone()).await;
    let past = json!({"detail_type": "A.B", "detail": of_size(200_001)});
    for arguments in [past.clone(), json!({"events": [edge, past]})] {
        let failure = caller.fail("events_send", arguments).await;
        assert_eq!(
            (failure.code(), &failure.detail("limit")),
            ("TOO_LARGE", &json!(200_000))
        );
        assert_eq!(failure.detail("size"), 200_001);
        assert!(failure.fix().unwrap().contains("artifacts_put"));
    }
}

#[tokio::test]
async fn a_call_repeated_under_an_idempotency_key_has_its_effect_once() {
    let world = World::of_two_tenants().await;
    let ada = world.user("acme", "ada", "user").await;
    let bob = world.user("acme", "bob", "user").await;
    let eve = world.user("globex", "ada", "user").await;
    let arguments = json!({
        "events": [event("A.B"), event("A.C")], "idempotency_key": "order 7 🦀",
    });
    let first = ada.ok("events_send", arguments.clone()).await;
    for _ in 0..2 {
        assert_eq!(ada.ok("events_send", arguments.clone()).await, first);
    }
    let mut other = arguments.clone();
    other["events"][1]["detail"]["n"] = json!(2);
    let failure = ada.fail("events_send", other.clone()).await;
    assert_eq!(
        (failure.code(), failure.parameter().as_str()),
        ("CONFLICT", "idempotency_key")
    );
    let mut ids: BTreeSet<Ulid> = ids(&first).into_iter().collect();
    for caller in [&bob, &eve] {
        let theirs = caller.ok("events_send", other.clone()).await;
        ids.extend(self::ids(&theirs));
    }
    assert_eq!(ids.len(), 6, "another user's key is another key");
}

#[tokio::test]
async fn calls_at_once_under_one_key_get_one_answer() {
    let world = World::open().await;
    let caller = world.caller().await;
    let mut arguments = event("A.B");
    arguments["idempotency_key"] = json!("k");
    let calls = (0..8).map(|_| caller.ok("events_send", arguments.clone()));
    let answers = futures::future::join_all(calls).await;
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
}

/// The status of each part.
async fn parts(caller: &Caller, verbose: bool) -> (String, Vec<(String, String)>) {
    let health = caller
        .ok("events_health_check", json!({ "verbose": verbose }))
        .await;
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let parts = health["parts"].as_array().expect("parts").iter();
    (
        text(&health["status"]),
        parts
            .map(|part| (text(&part["name"]), text(&part["status"])))
            .collect(),
    )
}

#[tokio::test]
async fn health_tells_of_each_part_and_never_fails() {
    let world = World::open().await;
    let caller = world.caller().await;
    let (status, all) = parts(&caller, true).await;
    assert_eq!(status, "healthy");
    for name in ["table", "bucket", "bus", "outbox", "publisher", "rules"] {
        assert!(
            all.contains(&(name.to_owned(), "healthy".to_owned())),
            "{name}: {all:?}"
        );
    }
    for (name, service) in [
        ("table", Service::DynamoDb),
        ("bucket", Service::S3),
        ("bus", Service::EventBridge),
    ] {
        let faults = world.faults();
        faults.inject(service, "*", Fault::ServerError, 50);
        let (status, all) = parts(&caller, false).await;
        faults.clear();
        assert_eq!(status, "unhealthy", "{name}");
        for (part, status) in all {
            if ["table", "bucket", "bus"].contains(&part.as_str()) {
                let expected = if part == name { "unhealthy" } else { "healthy" };
                assert_eq!(status, expected, "{part} while {name} is down");
            }
        }
    }
    // What the faults kept from being published follows, now that they are over.
    caller
        .ok(
            "events_send",
            json!({"events": [event("A.B")], "wait": true}),
        )
        .await;
    patiently(async {
        while parts(&caller, false).await.0 != "healthy" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}
