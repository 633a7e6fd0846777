//! Limits: refused exactly when they are reached, for exactly as long, and at no cost to anybody.

use std::time::Duration;

use agent_mesh::config::tenants::Look;
use agent_mesh::outbound::embedded::{Fault, Service};
use serde_json::{Value, json};

use crate::support::client::patiently;
use crate::support::world::stopped_clock;
use crate::support::{Caller, Failure, Plan, World};

async fn get(caller: &Caller) -> Result<Value, Failure> {
    let answer = caller.call("kv_get", json!({"key": "a"})).await.unwrap();
    if answer.is_error { Err(Failure::of(answer.value())) } else { Ok(answer.value()) }
}

async fn limited(caller: &Caller, limit: &str, wait_ms: u64) {
    let failure = get(caller).await.unwrap_err();
    assert_eq!((failure.code(), failure.detail("limit")), ("RATE_LIMITED", json!(limit)));
    assert_eq!(failure.retry_after_ms(), Some(wait_ms), "{failure:?}");
}

#[tokio::test]
async fn the_wait_that_is_told_is_exact_and_refusals_do_not_lengthen_it() {
    let clock = stopped_clock();
    let toml = "[defaults.limits]\nrequests_per_minute = 3\n";
    let world = Plan::default().clock(&clock).tenants(toml).open().await;
    let caller = world.caller().await;
    for _ in 0..3 {
        get(&caller).await.unwrap();
    }
    for _ in 0..20 {
        limited(&caller, "requests_per_minute", 20_000).await;
    }
    clock.advance(Duration::from_millis(19_999));
    limited(&caller, "requests_per_minute", 1).await;
    clock.advance(Duration::from_millis(1));
    get(&caller).await.unwrap();
    limited(&caller, "requests_per_minute", 20_000).await;
    clock.advance(Duration::from_secs(3600));
    for _ in 0..3 {
        get(&caller).await.unwrap();
    }
    limited(&caller, "requests_per_minute", 20_000).await;
}

#[tokio::test]
async fn the_longest_wait_of_all_limits_is_told_with_what_is_left() {
    let clock = stopped_clock();
    let toml = "[defaults.limits]\nrequests_per_minute = 60\ndynamodb_write = 10\n";
    let world = Plan::default().clock(&clock).tenants(toml).open().await;
    let caller = world.caller().await;
    let set = |bytes: usize| json!({"key": "a", "value": "x".repeat(bytes)});
    // More than a whole second's worth passes once, and is paid off before anything else passes.
    caller.ok("kv_set", set(30_000)).await;
    let failure = caller.fail("kv_set", set(10)).await;
    assert_eq!((failure.code(), failure.detail("limit")), ("RATE_LIMITED", json!("dynamodb_write")));
    assert_eq!((failure.detail("allowed"), failure.detail("remaining")), (json!(10), json!(0)));
    assert_eq!(failure.detail("unit"), "write units per second");
    let wait = failure.retry_after_ms().unwrap();
    assert!((2000..=2200).contains(&wait), "30 units and one more, at 10 a second, from 10: {wait}");
    get(&caller).await.unwrap();
    clock.advance(Duration::from_millis(wait - 1));
    assert_eq!(caller.fail("kv_set", set(10)).await.retry_after_ms(), Some(1));
    clock.advance(Duration::from_millis(1));
    caller.ok("kv_set", set(10)).await;
}

#[tokio::test]
async fn one_tenant_at_its_limit_is_no_other_tenants_matter() {
    let toml = r#"
[tenants.acme]
issuers = ["https://id.example"]
[tenants.acme.limits]
requests_per_minute = 2
[tenants.globex]
issuers = ["https://id.example"]
"#;
    let clock = stopped_clock();
    let world = Plan::default().clock(&clock).by_token().tenants(toml).open().await;
    let ada = world.user("acme", "ada", "user").await;
    let bob = world.user("acme", "bob", "user").await;
    let eve = world.user("globex", "eve", "user").await;
    get(&ada).await.unwrap();
    get(&bob).await.unwrap();
    limited(&ada, "requests_per_minute", 30_000).await;
    limited(&bob, "requests_per_minute", 30_000).await;
    for _ in 0..10 {
        get(&eve).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_denied_or_wrong_costs_a_request_and_nothing_else() {
    let clock = stopped_clock();
    let toml = "[defaults.limits]\nrequests_per_minute = 4\ndynamodb_read = 1\ndynamodb_write = 1\n";
    let plan = Plan::default().set("AGENT_MESH_ROLE", "viewer").clock(&clock).tenants(toml);
    let world = plan.open().await;
    let caller = world.caller().await;
    let set = json!({"key": "a", "value": 1});
    for _ in 0..2 {
        assert_eq!(caller.fail("kv_set", set.clone()).await.code(), "PERMISSION_DENIED");
    }
    assert_eq!(caller.fail("kv_get", json!({})).await.code(), "INVALID_PARAMETER");
    get(&caller).await.unwrap();
    limited(&caller, "requests_per_minute", 15_000).await;
    // What is no call costs nothing at all.
    assert_eq!(caller.fault("kv_gett", json!({})).await.code, -32602);
    caller.tools().await;
    limited(&caller, "requests_per_minute", 15_000).await;
}

/// Begins calls that are never answered by the cloud, and waits until all are there.
async fn hang(world: &World, caller: &Caller, count: u32) -> Vec<u64> {
    let faults = world.faults();
    faults.inject(Service::DynamoDb, "GetItem", Fault::Hang, count);
    let mut ids = Vec::new();
    for _ in 0..count {
        let (id, answer) = caller.begin("kv_get", json!({"key": "a"})).await;
        tokio::spawn(answer);
        ids.push(id);
    }
    patiently(async {
        while faults.waiting() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    ids
}

#[tokio::test]
async fn calls_in_flight_are_bounded_and_a_place_is_free_when_one_is_given_up() {
    let toml = r#"
[defaults.limits]
calls_in_flight = 2
[tenants.acme]
issuers = ["https://id.example"]
[tenants.globex]
issuers = ["https://id.example"]
"#;
    let world = Plan::default().by_token().tenants(toml).open().await;
    let caller = world.user("acme", "ada", "user").await;
    let ids = hang(&world, &caller, 2).await;
    let failure = get(&caller).await.unwrap_err();
    assert_eq!((failure.code(), failure.detail("limit")), ("OVERLOADED", json!("calls_in_flight")));
    assert_eq!(failure.retry_after_ms(), None, "nobody knows when the others end");
    get(&world.user("globex", "ada", "user").await).await.unwrap();
    caller.client.notify("notifications/cancelled", json!({"requestId": ids[0]})).await;
    let freed = patiently(async {
        loop {
            match get(&caller).await {
                Ok(got) => return got,
                Err(failure) => assert_eq!(failure.code(), "OVERLOADED"),
            }
        }
    });
    assert_eq!(freed.await["found"], false);
}

#[tokio::test]
async fn refused_calls_are_one_event_for_each_second_and_code() {
    let clock = stopped_clock();
    let toml = "[defaults.limits]\nrequests_per_minute = 6\n";
    let world = Plan::default().clock(&clock).tenants(toml).open().await;
    let caller = world.caller().await;
    for _ in 0..6 {
        get(&caller).await.unwrap();
    }
    for _ in 0..25 {
        limited(&caller, "requests_per_minute", 10_000).await;
    }
    clock.advance(Duration::from_secs(60));
    let query = json!({"tool": "kv_get", "outcome": "limited"});
    let seen = patiently(async {
        loop {
            let seen = caller.ok("events_query", query.clone()).await;
            if seen["events"].as_array().is_some_and(|events| !events.is_empty()) {
                return seen;
            }
            clock.advance(Duration::from_secs(60));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let seen = seen.await;
    let events = seen["events"].as_array().unwrap();
    assert_eq!(events.len(), 1, "{seen}");
    let told = (&events[0]["count"], &events[0]["error_code"], &events[0]["outcome"]);
    assert_eq!(told, (&json!(25), &json!("RATE_LIMITED"), &json!("limited")));
}

#[tokio::test]
async fn a_full_outbox_refuses_changes_first_then_reads_and_never_the_health_check() {
    let world = Plan::default().set("AGENT_MESH_OUTBOX_BYTES_MAX", "1MiB").open().await;
    let caller = world.caller().await;
    caller.ok("kv_set", json!({"key": "a", "value": 1})).await;
    world.faults().inject(Service::EventBridge, "PutEvents", Fault::ServerError, u32::MAX);
    let refused = async |tool: &str, arguments: Value, most: usize| {
        for _ in 0..most {
            let answer = caller.call(tool, arguments.clone()).await.unwrap();
            if answer.is_error {
                let failure = Failure::of(answer.value());
                assert_eq!(failure.code(), "OVERLOADED", "{failure:?}");
                assert!(failure.fix().unwrap().contains("events_health_check"));
                assert!(failure.retry_after_ms().is_some());
                return;
            }
        }
        panic!("{tool} was never refused");
    };
    let bulk = json!({"detail_type": "Bulk.Sent", "detail": {"t": "x".repeat(100_000)}});
    refused("events_send", bulk, 12).await;
    refused("kv_set", json!({"key": "a", "value": 2}), 200).await;
    assert!(caller.call("kv_set", json!({"key": "a", "value": 3})).await.unwrap().is_error);
    let value = get(&caller).await.unwrap()["value"].clone();
    assert_ne!(value, 3, "reads go on, and what was refused was not done");
    refused("kv_get", json!({"key": "a"}), 400).await;
    let health = caller.ok("events_health_check", json!({})).await;
    assert_ne!(health["status"], "healthy", "{health}");
    world.faults().clear();
    patiently(async {
        while caller.call("kv_set", json!({"key": "a", "value": 3})).await.unwrap().is_error {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(get(&caller).await.unwrap()["value"], 3);
}

#[tokio::test]
async fn limits_are_read_again_when_their_file_changes_and_a_wrong_file_changes_nothing() {
    let clock = stopped_clock();
    let plan = Plan::default().clock(&clock);
    let world = plan.tenants("[tenants.local.limits]\nrequests_per_minute = 1\n").open().await;
    let caller = world.caller().await;
    let reload = |toml: &str| {
        std::fs::write(world.path("tenants.toml"), toml).unwrap();
        // A file that has stopped changing is taken at the second look.
        let looks = std::iter::repeat_with(|| world.tenants.look()).take(10);
        looks.filter(|look| !matches!(look, Look::Changing | Look::Unchanged)).next()
    };
    get(&caller).await.unwrap();
    limited(&caller, "requests_per_minute", 60_000).await;
    let raised = reload("[tenants.local.limits]\nrequests_per_minute = 6000\n");
    assert!(matches!(raised, None | Some(Look::Reloaded { .. })), "{raised:?}");
    limited(&caller, "requests_per_minute", 10).await;
    clock.advance(Duration::from_millis(10));
    get(&caller).await.unwrap();
    let wrong = reload("[tenants.local.limits]\nrequests_per_minute = \"many\"\n");
    assert!(matches!(wrong, None | Some(Look::Kept(_))), "{wrong:?}");
    clock.advance(Duration::from_millis(10));
    get(&caller).await.unwrap();
    let suspended = reload("[tenants.local]\nstatus = \"suspended\"\n");
    assert!(matches!(suspended, None | Some(Look::Reloaded { .. })), "{suspended:?}");
    assert_eq!(caller.fault("kv_get", json!({"key": "a"})).await.code, -32011);
}

#[tokio::test]
async fn a_quota_is_given_back_by_deletions_replacements_and_failures() {
    let toml = "[defaults.limits]\nartifact_bytes = 100\nartifact_objects = 2\ns3_list = 1000\n";
    let clock = stopped_clock();
    let world = Plan::default().clock(&clock).tenants(toml).open().await;
    let caller = world.caller().await;
    let put = |key: &str, bytes: usize| json!({"key": key, "content": "x".repeat(bytes)});
    let full = async |arguments: Value, quota: &str| {
        let failure = caller.fail("artifacts_put", arguments).await;
        assert_eq!((failure.code(), failure.detail("quota")), ("QUOTA_EXCEEDED", json!(quota)));
        assert!(failure.fix().unwrap().contains("artifacts_delete"));
    };
    caller.ok("artifacts_put", put("a", 60)).await;
    full(put("b", 41), "artifact_bytes").await;
    caller.ok("artifacts_put", put("b", 40)).await;
    full(put("c", 1), "artifact_bytes").await;
    caller.ok("artifacts_put", put("a", 50)).await;
    full(put("c", 1), "artifact_objects").await;
    full(put("a", 61), "artifact_bytes").await;
    caller.ok("artifacts_delete", json!({"key": "b"})).await;
    let conflict = json!({"key": "c", "content": "x".repeat(50), "if_etag": "x"});
    assert_eq!(caller.fail("artifacts_put", conflict).await.code(), "CONFLICT");
    caller.ok("artifacts_put", put("c", 50)).await;
    caller.ok("artifacts_delete", json!({"key": "c"})).await;
    world.faults().inject(Service::S3, "PutObject", Fault::ServerError, 3);
    assert_eq!(caller.fail("artifacts_put", put("d", 50)).await.code(), "AWS_UNAVAILABLE");
    // What is given back twice would let in too much.
    caller.ok("artifacts_delete", json!({"key": "c"})).await;
    caller.ok("artifacts_put", put("d", 50)).await;
    full(put("a", 51), "artifact_bytes").await;
    let shared = json!({"key": "s", "content": "x", "scope": "tenant"});
    full(shared, "artifact_bytes").await;
}
