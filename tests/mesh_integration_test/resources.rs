//! Artifacts as resources of the protocol: listed, read, completed and watched.

use serde_json::{Value, json};

use crate::artifacts::contents;
use crate::support::caller::IDENTITY;
use crate::support::client::patiently;
use crate::support::token::claims;
use crate::support::{Caller, World};

async fn put(caller: &Caller, key: &str, scope: &str) -> String {
    let stored = caller
        .ok(
            "artifacts_put",
            json!({"key": key, "content": format!("<{key}>"), "scope": scope}),
        )
        .await;
    stored["uri"].as_str().expect("an address").to_owned()
}

async fn addresses(caller: &Caller) -> Vec<String> {
    let (mut found, mut params) = (Vec::new(), json!({}));
    loop {
        let page = caller.get("resources/list", params).await;
        let resources = page["resources"].as_array().expect("resources");
        found.extend(
            resources
                .iter()
                .map(|one| one["uri"].as_str().expect("a uri").to_owned())
                .filter(|uri| uri != "mesh://alerts"),
        );
        match page.get("nextCursor") {
            Some(cursor) => params = json!({ "cursor": cursor }),
            None => return found,
        }
    }
}

#[tokio::test]
async fn resources_are_ones_own_and_then_the_tenants() {
    let world = World::of_two_tenants().await;
    let ada = world.user("acme", "ada", "user").await;
    let bob = world.user("acme", "bob", "user").await;
    let eve = world.user("globex", "eve", "user").await;
    let mut own = Vec::new();
    for number in 0..101 {
        own.push(put(&ada, &format!("own/{number:03}"), "user").await);
    }
    let shared = put(&bob, "shared é", "tenant").await;
    assert_eq!(shared, "mesh://artifacts/tenant/shared%20%C3%A9");
    let foreign = put(&eve, "own/000", "user").await;
    let expected: Vec<_> = own.iter().cloned().chain([shared.clone()]).collect();
    assert_eq!(addresses(&ada).await, expected);
    assert_eq!(addresses(&bob).await, [shared]);
    assert_eq!(addresses(&eve).await, std::slice::from_ref(&foreign));
    assert_eq!(foreign, own[0], "the address says nothing of the tenant");
    let page = ada.get("resources/list", json!({})).await;
    assert_eq!(page["resources"][0]["uri"], "mesh://alerts");
    let first = &page["resources"][1];
    assert_eq!(
        (&first["name"], &first["size"]),
        (&json!("own/000"), &json!("<own/000>".len()))
    );
}

#[tokio::test]
async fn the_template_and_its_completions_lead_to_every_artifact() {
    let world = World::of_two_tenants().await;
    let ada = world.user("acme", "ada", "user").await;
    let eve = world.user("globex", "eve", "user").await;
    for number in 0..101 {
        put(&ada, &format!("r/{number:03}"), "user").await;
    }
    put(&ada, "shared", "tenant").await;
    let templates = ada.get("resources/templates/list", json!({})).await;
    let template = &templates["resourceTemplates"][0]["uriTemplate"];
    assert_eq!(template, "mesh://artifacts/{scope}/{+key}");
    let complete = async |caller: &Caller, name: &str, value: &str, scope: Option<&str>| {
        let mut params = json!({
            "ref": {"type": "ref/resource", "uri": template},
            "argument": {"name": name, "value": value},
        });
        if let Some(scope) = scope {
            params["context"] = json!({"arguments": {"scope": scope}});
        }
        let completed = caller.get("completion/complete", params).await;
        let values = completed["completion"]["values"]
            .as_array()
            .expect("values")
            .len();
        (
            values,
            completed["completion"]["hasMore"].as_bool(),
            completed["completion"]["values"][0].clone(),
        )
    };
    assert_eq!(
        complete(&ada, "scope", "t", None).await,
        (1, Some(false), json!("tenant"))
    );
    assert_eq!(complete(&ada, "scope", "", None).await.0, 2);
    assert_eq!(
        complete(&ada, "key", "r/", None).await,
        (100, Some(true), json!("r/000"))
    );
    assert_eq!(
        complete(&ada, "key", "r/10", Some("user")).await,
        (1, Some(false), json!("r/100"))
    );
    assert_eq!(
        complete(&ada, "key", "", Some("tenant")).await,
        (1, Some(false), json!("shared"))
    );
    assert_eq!(complete(&eve, "key", "", None).await.0, 0);
    assert_eq!(complete(&eve, "key", "", Some("tenant")).await.0, 0);
    for params in [
        json!({"ref": {"type": "ref/resource", "uri": template}, "argument": {"name": "other", "value": ""}}),
        json!({"ref": {"type": "ref/resource", "uri": "file:///{x}"}, "argument": {"name": "key", "value": ""}}),
        json!({
            "ref": {"type": "ref/resource", "uri": template}, "argument": {"name": "key", "value": ""},
            "context": {"arguments": {"scope": "everyone"}},
        }),
    ] {
        let fault = ada
            .request("completion/complete", params)
            .await
            .unwrap_err();
        assert_eq!(fault.code, -32602);
    }
}

#[tokio::test]
async fn a_resource_is_read_as_text_or_as_bytes() {
    let world = World::open().await;
    let caller = world.caller().await;
    let uri = put(&caller, "a b/é.txt", "tenant").await;
    let read = caller.get("resources/read", json!({ "uri": uri })).await;
    let content = &read["contents"][0];
    assert_eq!(
        (&content["uri"], &content["text"]),
        (&json!(uri), &json!("<a b/é.txt>"))
    );
    assert_eq!(content["mimeType"], "text/plain; charset=utf-8");
    let part = caller
        .get("resources/read", json!({"uri": format!("{uri}?range=1-3")}))
        .await;
    assert_eq!(part["contents"][0]["text"], "a b");
    caller
        .ok(
            "artifacts_put",
            json!({"key": "i", "content_base64": "AP8=", "content_type": "image/png"}),
        )
        .await;
    let image = caller
        .get("resources/read", json!({"uri": "mesh://artifacts/user/i"}))
        .await;
    assert_eq!(image["contents"][0]["blob"], "AP8=");
    assert_eq!(contents(&image), [0, 255]);
    for uri in [
        "mesh://artifacts/user/none",
        "mesh://artifacts/user/a%20b/%C3%A9.txt",
        "mesh://artifacts/tenant/a%2520b/%C3%A9.txt",
        "mesh://artifacts/other/i",
        "mesh://artifacts/user/../i",
        "mesh://artifacts/user/%2e%2e/i",
        "mesh://other/user/i",
        "file:///etc/passwd",
        "",
    ] {
        let fault = caller
            .request("resources/read", json!({ "uri": uri }))
            .await
            .unwrap_err();
        assert_eq!(fault.code, -32002, "{uri}: {fault:?}");
    }
    let outside = json!({"uri": format!("{uri}?range=100-200")});
    let fault = caller.request("resources/read", outside).await.unwrap_err();
    assert_eq!(
        (fault.code, &fault.data["error"]["code"]),
        (-32602, &json!("INVALID_PARAMETER"))
    );
}

#[tokio::test]
async fn a_value_too_large_for_an_answer_is_read_by_its_address() {
    let world = World::open().await;
    let caller = world.caller().await;
    for (number, key) in [
        "plain",
        "a b",
        "../x",
        "/a//b/",
        "é🦀",
        "a%2Fb?range=0-1#c",
        "\"\\",
    ]
    .iter()
    .enumerate()
    {
        let value = json!({ "n": number, "text": "é".repeat(40_000) });
        caller
            .ok(
                "kv_set",
                json!({"key": key, "value": value, "scope": "tenant"}),
            )
            .await;
        let answer = caller
            .call("kv_get", json!({"key": key, "scope": "tenant"}))
            .await
            .unwrap();
        let got = answer.value();
        assert_eq!(
            (&got["found"], &got["truncated"]),
            (&json!(true), &json!(true)),
            "{key}"
        );
        assert_eq!(answer.links[0]["uri"], got["uri"], "{key}");
        let uri = got["uri"].as_str().unwrap();
        let whole = caller.get("resources/read", json!({ "uri": uri })).await;
        let text = value.to_string();
        assert_eq!(contents(&whole), text.as_bytes(), "{key}");
        let part = caller
            .get(
                "resources/read",
                json!({"uri": format!("{uri}?range=5-50")}),
            )
            .await;
        assert_eq!(contents(&part), text.as_bytes()[5..=50], "{key}");
    }
    let fault = caller
        .request(
            "resources/read",
            json!({"uri": "mesh://values/tenant/none"}),
        )
        .await
        .unwrap_err();
    assert_eq!(fault.code, -32002);
}

#[tokio::test]
async fn an_event_too_large_for_an_answer_is_read_by_its_address() {
    let world = World::of_two_tenants().await;
    let ada = world.user("acme", "ada", "user").await;
    let detail = json!({"text": "é".repeat(60_000), "n": 1.5});
    let event = json!({"detail_type": "Large.Sent", "detail": detail, "tags": {"a": "b"}});
    let sent = ada.ok("events_send", event).await;
    let answer = ada
        .call("events_query", json!({"detail_type": "Large.Sent"}))
        .await
        .unwrap();
    let found = answer.value()["events"][0].clone();
    let size = detail.to_string().len();
    assert_eq!(
        (&found["truncated"], &found["detail_bytes"]),
        (&json!(true), &json!(size))
    );
    let uri = format!("mesh://events/{}", sent["event_id"].as_str().unwrap());
    assert_eq!(found["uri"], json!(uri));
    assert_eq!(answer.links.len(), 1);
    assert_eq!(answer.links[0]["uri"], json!(uri));

    let whole = ada.get("resources/read", json!({ "uri": uri })).await;
    assert_eq!(whole["contents"][0]["mimeType"], "application/json");
    let text = whole["contents"][0]["text"].as_str().unwrap();
    assert_eq!(answer.links[0]["size"], json!(text.len()));
    let event: Value = serde_json::from_str(text).unwrap();
    assert_eq!(event["detail"], detail);
    assert_eq!(
        (&event["tags"], event.get("truncated")),
        (&json!({"a": "b"}), None)
    );
    for member in [
        "event_id",
        "time",
        "tool",
        "outcome",
        "user_id",
        "request_id",
    ] {
        assert_eq!(event[member], found[member], "{member}");
    }
    let part = json!({"uri": format!("{uri}?range=2-9")});
    let part = ada.get("resources/read", part).await;
    assert_eq!(part["contents"][0]["text"], text[2..=9]);
    let outside = json!({"uri": format!("{uri}?range=9000000-")});
    assert_eq!(
        ada.request("resources/read", outside)
            .await
            .unwrap_err()
            .code,
        -32602
    );

    // Who may see everyone's events reads it, too; nobody else does.
    let read = json!({ "uri": uri });
    let admin = world.user("acme", "root", "admin").await;
    assert_eq!(admin.get("resources/read", read.clone()).await, whole);
    let bob = world.user("acme", "bob", "user").await;
    let eve = world.user("globex", "ada", "admin").await;
    for other in [bob, eve] {
        let fault = other
            .request("resources/read", read.clone())
            .await
            .unwrap_err();
        assert_eq!(fault.code, -32002);
    }
    let templates = ada.get("resources/templates/list", json!({})).await;
    let templates = templates["resourceTemplates"].as_array().unwrap();
    assert!(
        templates
            .iter()
            .any(|one| one["uriTemplate"] == "mesh://events/{event_id}")
    );
}

fn updated(uri: &str) -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": uri}})
}

#[tokio::test]
async fn who_subscribed_is_told_of_every_change_and_of_nothing_else() {
    let world = World::open().await;
    let caller = world.caller().await;
    let other = world.caller().await;
    let uri = "mesh://artifacts/user/watched";
    caller
        .get("resources/subscribe", json!({ "uri": uri }))
        .await;
    put(&other, "unwatched", "user").await;
    put(&other, "watched", "tenant").await;
    assert_eq!(put(&other, "watched", "user").await, uri);
    assert_eq!(caller.client.other().await, updated(uri));
    other
        .ok("artifacts_delete", json!({"key": "watched"}))
        .await;
    assert_eq!(caller.client.other().await, updated(uri));
    other
        .ok("artifacts_delete", json!({"key": "watched"}))
        .await;
    caller
        .get("resources/unsubscribe", json!({ "uri": uri }))
        .await;
    put(&other, "watched", "user").await;
    caller
        .get(
            "resources/subscribe",
            json!({"uri": "mesh://artifacts/user/last"}),
        )
        .await;
    put(&other, "last", "user").await;
    let next = caller.client.other().await;
    assert_eq!(
        next,
        updated("mesh://artifacts/user/last"),
        "neither no change nor an unwatched one is told"
    );
    assert_eq!(
        other.client.others_so_far().await,
        Vec::<Value>::new(),
        "who did not subscribe is told nothing"
    );
}

#[tokio::test]
async fn a_session_watches_a_hundred_resources_and_not_one_more() {
    let world = World::open().await;
    let caller = world.caller().await;
    for number in 0..100 {
        caller
            .get(
                "resources/subscribe",
                json!({"uri": format!("mesh://artifacts/user/{number}")}),
            )
            .await;
    }
    caller
        .get(
            "resources/subscribe",
            json!({"uri": "mesh://artifacts/user/99"}),
        )
        .await;
    let past = json!({"uri": "mesh://artifacts/user/100"});
    assert_eq!(
        caller
            .request("resources/subscribe", past.clone())
            .await
            .unwrap_err()
            .code,
        -32602
    );
    caller
        .get(
            "resources/unsubscribe",
            json!({"uri": "mesh://artifacts/user/0"}),
        )
        .await;
    caller.get("resources/subscribe", past).await;
}

/// Begins a stream of changes; answers the id that its notifications bear.
async fn listen(caller: &Caller, filter: Value) -> u64 {
    let id = caller.client.new_id();
    let params = caller.params(json!({ "notifications": filter }));
    let answer = caller
        .client
        .begin(id, "subscriptions/listen", &params)
        .await;
    tokio::spawn(answer);
    let acknowledged = caller.client.other().await;
    assert_eq!(
        acknowledged["method"],
        "notifications/subscriptions/acknowledged"
    );
    let accepted = &acknowledged["params"]["notifications"];
    assert_eq!(
        accepted, &filter,
        "neither more nor less than was asked for"
    );
    id
}

fn told(id: u64, method: &str, uri: Option<&str>) -> Value {
    let mut params = json!({"_meta": {"io.modelcontextprotocol/subscriptionId": id}});
    if let Some(uri) = uri {
        params["uri"] = json!(uri);
    }
    json!({"jsonrpc": "2.0", "method": format!("notifications/resources/{method}"), "params": params})
}

#[tokio::test]
async fn a_stream_tells_what_it_was_asked_for_under_its_own_id() {
    let world = World::open().await;
    let listener = world.stateless();
    let other = world.caller().await;
    let uri = "mesh://artifacts/user/w";
    let id = listen(
        &listener,
        json!({"resourceSubscriptions": [uri], "resourcesListChanged": true}),
    )
    .await;
    put(&other, "w", "user").await;
    assert_eq!(
        listener.client.other().await,
        told(id, "updated", Some(uri))
    );
    assert_eq!(
        listener.client.other().await,
        told(id, "list_changed", None)
    );
    put(&other, "w", "user").await;
    assert_eq!(
        listener.client.other().await,
        told(id, "updated", Some(uri))
    );
    other.ok("artifacts_delete", json!({"key": "w"})).await;
    assert_eq!(
        listener.client.other().await,
        told(id, "updated", Some(uri))
    );
    assert_eq!(
        listener.client.other().await,
        told(id, "list_changed", None)
    );

    listener
        .client
        .notify("notifications/cancelled", json!({ "requestId": id }))
        .await;
    let second = listen(&listener, json!({"resourceSubscriptions": [uri]})).await;
    put(&other, "w", "user").await;
    let next = listener.client.other().await;
    assert_eq!(
        next,
        told(second, "updated", Some(uri)),
        "the first stream has ended"
    );
    put(&other, "new", "user").await;
    put(&other, "w", "user").await;
    let next = listener.client.other().await;
    assert_eq!(
        next,
        told(second, "updated", Some(uri)),
        "changes of the list were not asked for"
    );
}

#[tokio::test]
async fn a_stream_tells_nothing_of_another_tenant_or_user() {
    let world = World::of_two_tenants().await;
    let eve = world.user("globex", "eve", "user").await.stateless();
    let ada = world.user("acme", "ada", "user").await;
    let bob = world.user("acme", "bob", "user").await;
    let uri = "mesh://artifacts/user/w";
    let id = listen(
        &eve,
        json!({"resourceSubscriptions": [uri], "resourcesListChanged": true}),
    )
    .await;
    put(&ada, "w", "user").await;
    put(&bob, "w", "tenant").await;
    let own = world.user("globex", "eve", "user").await;
    let fellow = world.user("globex", "mallory", "user").await;
    put(&fellow, "w", "user").await;
    put(&fellow, "w", "tenant").await;
    let next = eve.client.other().await;
    assert_eq!(
        next,
        told(id, "list_changed", None),
        "only that what the tenant shares has changed"
    );
    put(&own, "w", "user").await;
    assert_eq!(eve.client.other().await, told(id, "updated", Some(uri)));
    let subscription = own
        .request("resources/subscribe", json!({ "uri": uri }))
        .await;
    assert_eq!(
        subscription.unwrap_err().code,
        -32602,
        "nothing unsolicited where requests bring tokens"
    );
}

#[tokio::test]
async fn a_stream_ends_with_its_session() {
    let world = World::open().await;
    let listener = world.stateless();
    listen(&listener, json!({"resourcesListChanged": true})).await;
    let ended = patiently(listener.client.end()).await;
    assert_eq!(ended.unfinished, 0, "{ended:?}");
}

/// Asks for a stream that is refused; answers the error's code. Nothing was acknowledged before.
async fn refused_stream(caller: &Caller, filter: Value) -> i64 {
    let params = json!({ "notifications": filter });
    let fault = caller
        .request("subscriptions/listen", params)
        .await
        .unwrap_err();
    assert_eq!(
        caller.client.others_so_far().await,
        Vec::<Value>::new(),
        "{fault:?}"
    );
    fault.code
}

#[tokio::test]
async fn a_stream_that_is_refused_is_not_acknowledged_before() {
    let world = World::of_two_tenants().await;
    let uri = "mesh://artifacts/user/w";
    let all = json!({"resourceSubscriptions": [uri], "resourcesListChanged": true});
    let nobody = world.over(world.connect()).stateless();
    assert_eq!(refused_stream(&nobody, all.clone()).await, -32010);
    let forged = nobody.clone().with_meta(IDENTITY, "a.b.c");
    assert_eq!(refused_stream(&forged, all.clone()).await, -32010);
    let bearer = |role: &str, scope: Option<&str>| {
        let mut claims = claims("acme", "ada", role, world.now());
        if let Some(scope) = scope {
            claims["scope"] = json!(scope);
        }
        nobody.clone().with_meta(IDENTITY, world.token(&claims))
    };
    let narrow = bearer("user", Some("kv.read"));
    assert_eq!(refused_stream(&narrow, all.clone()).await, -32602);
    let ada = bearer("user", None);
    let none = json!({"resourceSubscriptions": [uri, "mesh://artifacts/user/../w"]});
    assert_eq!(refused_stream(&ada, none).await, -32002);
    let many: Vec<_> = (0..101).map(|number| format!("{uri}{number}")).collect();
    let many = json!({ "resourceSubscriptions": many });
    assert_eq!(refused_stream(&ada, many).await, -32602);
    for _ in 0..8 {
        listen(&ada, all.clone()).await;
    }
    assert_eq!(
        refused_stream(&ada, all).await,
        -32602,
        "a ninth of one tenant"
    );
}

#[tokio::test]
async fn a_client_is_promised_what_it_is_then_told() {
    let world = World::open().await;
    let older = world.connect().initialize("2025-06-18").await;
    assert_eq!(
        older["capabilities"]["resources"],
        json!({"subscribe": true})
    );
    let newer = world.stateless().get("server/discover", json!({})).await;
    let promised = &newer["capabilities"]["resources"];
    assert_eq!(promised, &json!({"subscribe": true, "listChanged": true}));
    let by_token = World::of_two_tenants().await;
    let older = by_token.connect().initialize("2025-06-18").await;
    assert_eq!(older["capabilities"]["resources"], json!({}));
}
