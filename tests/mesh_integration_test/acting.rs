//! Rules at work in the embedded cloud: an event starts a workflow, whose own events end in a chain that is cut.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::patiently;
use crate::support::{Caller, Failure, Plan};

/// Stores what it learns of the event that has started it.
const STORE: &str = r#"{"StartAt": "Store", "States": {"Store": {
    "Type": "Task", "Resource": "arn:aws:states:::agent-mesh:kv_set",
    "Parameters": {"key.$": "$.input.detail.order", "value.$": "$", "scope": "tenant"}, "End": true}}}"#;

/// Sends the event that starts it.
const CHAIN: &str = r#"{"StartAt": "Send", "States": {"Send": {
    "Type": "Task", "Resource": "arn:aws:states:::agent-mesh:events_send",
    "Parameters": {"detail_type": "Chain.Step", "detail": {}}, "End": true}}}"#;

/// What `look` finds, as soon as it finds something.
async fn found<T>(look: impl AsyncFn() -> Option<T>) -> T {
    patiently(async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

/// The part of the health that is about rules.
async fn health(caller: &Caller) -> Value {
    let answer = json!({"verbose": true});
    let answer = caller.ok("events_health_check", answer).await;
    let parts = answer["parts"].as_array().expect("parts");
    let part = parts.iter().find(|part| part["name"] == "rules");
    part.expect("the rules").clone()
}

#[tokio::test]
async fn an_event_starts_the_workflow_of_the_rule_that_it_matches() {
    let world = Plan::default().machine("store", STORE).open().await;
    let caller = world.caller().await;
    let pattern =
        json!({"detail-type": ["Order.Failed"], "detail": {"total": [{"numeric": [">", 100]}]}});
    let rule = json!({"name": "large", "pattern": pattern, "workflow": "store"});
    caller.ok("events_create_rule", rule).await;
    let mut matching = Value::Null;
    for (kind, order, total) in [
        ("Order.Failed", "small", 5),
        ("Order.Placed", "placed", 500),
        ("Order.Failed", "large", 500),
    ] {
        let detail = json!({"order": order, "total": total});
        let event = json!({"detail_type": kind, "detail": detail, "source": "shop"});
        matching = caller.ok("events_send", event).await;
    }
    let value = found(async || {
        let key = json!({"key": "large", "scope": "tenant"});
        let read = caller.ok("kv_get", key).await;
        (read["found"] == true).then(|| read["value"].clone())
    })
    .await;
    assert_eq!(
        value["tenant"],
        json!({"tenant_id": "local", "user_id": "ada"})
    );
    let input = &value["input"];
    assert_eq!(input["event_id"], matching["event_id"]);
    assert_eq!(
        (&input["rule"], &input["detail_type"], &input["source"]),
        (&json!("large"), &json!("Order.Failed"), &json!("shop"))
    );
    assert_eq!(input["detail"], json!({"order": "large", "total": 500}));
    let list = caller.ok("workflow_list", json!({})).await;
    assert_eq!(list["runs"].as_array().unwrap().len(), 1, "{list}");
    let health = found(async || {
        let health = health(&caller).await;
        (health["details"]["started_workflows"] == 1).then_some(health)
    })
    .await;
    assert_eq!(health["status"], "healthy");
}

#[tokio::test]
async fn a_chain_of_rules_and_workflows_is_cut_and_health_says_so() {
    let world = Plan::default().machine("chain", CHAIN).open().await;
    let caller = world.caller().await;
    let rule =
        json!({"name": "again", "pattern": {"detail-type": ["Chain.Step"]}, "workflow": "chain"});
    caller.ok("events_create_rule", rule).await;
    let first = json!({"detail_type": "Chain.Step", "detail": {}});
    caller.ok("events_send", first).await;
    let health = found(async || {
        let health = health(&caller).await;
        (health["details"]["cut_chains"] == 1).then_some(health)
    })
    .await;
    assert_eq!(health["status"], "degraded");
    let message = health["message"].as_str().unwrap();
    assert!(message.contains("`again`"), "{message}");
    let list = caller.ok("workflow_list", json!({"name": "chain"})).await;
    assert_eq!(list["runs"].as_array().unwrap().len(), 8);
    let query = json!({"detail_type": "Chain.Step"});
    let events = caller.ok("events_query", query).await;
    assert_eq!(events["events"].as_array().unwrap().len(), 9);
}

/// Waits for longer than any test.
const REST: &str =
    r#"{"StartAt": "Rest", "States": {"Rest": {"Type": "Wait", "Seconds": 36000, "End": true}}}"#;

/// Calls a tool until it is refused since the outbox is full.
async fn fill(caller: &Caller, tool: &str, arguments: Value) {
    for _ in 0..1000 {
        let answer = caller.call(tool, arguments.clone()).await.unwrap();
        if answer.is_error {
            assert_eq!(Failure::of(answer.value()).code(), "OVERLOADED");
            return;
        }
    }
    panic!("{tool} was never refused");
}

#[tokio::test]
async fn a_tenant_whose_rule_is_stuck_gets_out_by_itself() {
    let world = Plan::default()
        .machine("rest", REST)
        .set("AGENT_MESH_OUTBOX_BYTES_MAX", "1MiB")
        .tenants("[tenants.local.limits]\nworkflows_running = 1\n")
        .open()
        .await;
    let caller = world.caller().await;
    let rule =
        json!({"name": "all", "pattern": {"detail-type": ["Bulk.Sent"]}, "workflow": "rest"});
    caller.ok("events_create_rule", rule).await;
    // The first one starts a run, and the others have to wait for its end.
    let bulk = json!({"detail_type": "Bulk.Sent", "detail": {"text": "x".repeat(50_000)}});
    fill(&caller, "events_send", bulk).await;
    fill(&caller, "kv_get", json!({"key": "a"})).await;
    let set = json!({"key": "a", "value": 1});
    let refused = caller.call("kv_set", set.clone()).await.unwrap();
    assert!(refused.is_error);

    let runs = caller.ok("workflow_list", json!({})).await;
    let run = json!({"run_id": runs["runs"][0]["run_id"]});
    caller.ok("workflow_stop", run).await;
    let rules = caller.ok("events_list_rules", json!({})).await;
    assert_eq!(rules["rules"][0]["rule"], "all");
    caller
        .ok("events_delete_rule", json!({"name": "all"}))
        .await;
    patiently(async {
        while caller.call("kv_set", set.clone()).await.unwrap().is_error {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}
