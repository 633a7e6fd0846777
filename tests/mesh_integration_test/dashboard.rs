//! The older dashboard's way of calling, which reads `content[0].text` and sends what fails again.

use serde_json::{Value, json};

use crate::support::caller::IDENTITY;
use crate::support::token::claims;
use crate::support::{Caller, World};

/// The user for whom the dashboard calls, as it writes him into the arguments of every call.
fn context() -> Value {
    json!({
        "userId": "user_2abc", "personalNamespace": "personal_user_2abc",
        "organizationId": null, "organizationSlug": null,
    })
}

/// Calls as the dashboard does: with its context, a namespace beside the parameters, and only the first
/// content's text for an answer.
async fn call(caller: &Caller, token: Option<&str>, tool: &str, arguments: Value) -> Value {
    let mut arguments = arguments;
    arguments["_context"] = context();
    let mut params = json!({"name": tool, "arguments": arguments});
    if let Some(token) = token {
        params["_meta"] = json!({ IDENTITY: token });
    }
    let id = caller.client.new_id();
    let line = json!({
        "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params,
        "tenant_id": "personal_user_2abc", "user_id": "user_2abc",
    });
    let answer = caller.client.begin_line(id, &line.to_string()).await;
    let answer = crate::support::client::patiently(answer)
        .await
        .expect("an answer");
    let answer: Value = serde_json::from_str(&answer.expect("no error of the protocol")).unwrap();
    serde_json::from_str(answer["content"][0]["text"].as_str().expect("a text")).expect("JSON")
}

#[tokio::test]
async fn it_works_for_many_users_over_one_pipe() {
    let world = World::of_two_tenants().await;
    let pipe = world.over(world.connect());
    pipe.client.initialize("2025-06-18").await;
    for (tenant, user) in [("acme", "user_2abc"), ("globex", "user_9xyz")] {
        let token = world.token(&claims(tenant, user, "user", world.now()));
        for (number, name) in [
            "kv_set",
            "mcp__agent-mesh__kv_set",
            "mcp__aws__kv_set",
            "kv.set",
        ]
        .iter()
        .enumerate()
        {
            let value = json!({"key": "state", "value": {"of": tenant, "n": number}});
            assert_eq!(
                call(&pipe, Some(&token), name, value).await["key"],
                "state",
                "{name}"
            );
        }
    }
    for (tenant, user) in [("acme", "user_2abc"), ("globex", "user_9xyz")] {
        let token = world.token(&claims(tenant, user, "user", world.now()));
        for name in ["kv_get", "mcp__agent-mesh__kv_get", "kv.get"] {
            let got = call(&pipe, Some(&token), name, json!({"key": "state"})).await;
            assert_eq!(got["value"], json!({"of": tenant, "n": 3}), "{name}");
        }
        let failed = call(&pipe, Some(&token), "kv_get", json!({})).await;
        assert_eq!(
            failed["error"]["code"], "INVALID_PARAMETER",
            "an error can be read from the text too"
        );
        let list = call(&pipe, Some(&token), "artifacts.list", json!({"maxKeys": 5})).await;
        assert_eq!(list["error"]["details"]["parameter"], "maxKeys", "{list}");
        let list = call(&pipe, Some(&token), "artifacts.list", json!({"limit": 5})).await;
        assert_eq!(list["items"], json!([]));
    }
}

#[tokio::test]
async fn a_mutation_delivered_three_times_has_its_effect_once() {
    let world = World::of_two_tenants().await;
    let pipe = world.over(world.connect());
    pipe.client.initialize("2025-06-18").await;
    let token = world.token(&claims("acme", "user_2abc", "admin", world.now()));
    let thrice = async |tool: &str, arguments: Value| {
        let calls = (0..3).map(|_| call(&pipe, Some(&token), tool, arguments.clone()));
        futures::future::join_all(calls).await
    };
    for answer in thrice("kv_set", json!({"key": "a", "value": 1})).await {
        assert_eq!(answer["key"], "a");
    }
    let got = call(&pipe, Some(&token), "kv_get", json!({"key": "a"})).await;
    assert_eq!(got["value"], 1);
    let puts = thrice("artifacts_put", json!({"key": "f", "content": "x"})).await;
    assert!(
        puts.iter()
            .all(|put| *put == puts[0] && put["etag"].is_string()),
        "{puts:?}"
    );
    let list = call(&pipe, Some(&token), "artifacts_list", json!({})).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);

    let event =
        json!({"detail_type": "Order.Placed", "detail": {"n": 1}, "idempotency_key": "order-1"});
    let sent = thrice("events_send", event).await;
    assert!(
        sent.iter()
            .all(|answer| answer["event_id"] == sent[0]["event_id"]),
        "{sent:?}"
    );
    let found = call(
        &pipe,
        Some(&token),
        "events_query",
        json!({"detail_type": "Order.Placed"}),
    )
    .await;
    assert_eq!(found["events"].as_array().unwrap().len(), 1, "{found}");

    let deleted = thrice("kv_delete", json!({"key": "a"})).await;
    assert_eq!(
        deleted
            .iter()
            .filter(|answer| answer["existed"] == true)
            .count(),
        1,
        "{deleted:?}"
    );
    for answer in thrice("artifacts_delete", json!({"key": "f"})).await {
        assert_eq!(answer["key"], "f", "{answer}");
    }
    let list = call(&pipe, Some(&token), "artifacts_list", json!({})).await;
    assert_eq!(list["items"], json!([]));
}

#[tokio::test]
async fn under_env_it_is_told_what_to_change_in_words_that_it_can_read() {
    let world = World::open().await;
    let caller = world.caller().await;
    let answer = call(
        &caller,
        None,
        "mcp__agent-mesh__kv_get",
        json!({"key": "a"}),
    )
    .await;
    assert_eq!(answer["error"]["code"], "INVALID_PARAMETER");
    let fix = answer["error"]["fix"].as_str().unwrap();
    assert!(
        fix.contains("_context") && fix.contains("AGENT_MESH_IDENTITY=jwt"),
        "{fix}"
    );
}
