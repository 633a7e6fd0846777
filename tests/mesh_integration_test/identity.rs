//! Who is calling: the environment's user, or whom each request's token names, and nobody else.

use std::time::Duration;

use agent_mesh::mesh::call::tool::Tool;
use agent_mesh::mesh::tenant::Role;
use serde_json::{Value, json};

use crate::support::caller::IDENTITY;
use crate::support::calls::{call, prepare, sample};
use crate::support::token::{Issuer, LIFETIME_S, claims};
use crate::support::world::stopped_clock;
use crate::support::{Caller, Plan, World};

/// What JSON-RPC answers without an identity that can be believed, and under a suspended tenant.
const UNAUTHENTICATED: i64 = -32010;
const SUSPENDED: i64 = -32011;

/// Every method that a client can call, with parameters that fit, and whether it is answered to anybody.
fn methods() -> Vec<(&'static str, Value, bool)> {
    let template = "mesh://artifacts/{scope}/{+key}";
    let uri = json!({"uri": "mesh://artifacts/tenant/sample"});
    vec![
        ("ping", json!({}), true),
        ("tools/list", json!({}), true),
        (
            "tools/call",
            json!({"name": "kv_get", "arguments": {"key": "sample"}}),
            false,
        ),
        ("tools/call", json!({"name": "events_health_check"}), false),
        ("prompts/list", json!({}), false),
        ("prompts/get", json!({"name": "what-happened-today"}), false),
        ("resources/list", json!({}), false),
        ("resources/templates/list", json!({}), false),
        ("resources/read", uri.clone(), false),
        ("resources/subscribe", uri.clone(), false),
        ("resources/unsubscribe", uri, false),
        (
            "completion/complete",
            json!({"ref": {"type": "ref/resource", "uri": template}, "argument": {"name": "key", "value": ""}}),
            false,
        ),
        (
            "completion/complete",
            json!({"ref": {"type": "ref/resource", "uri": template}, "argument": {"name": "scope", "value": ""}}),
            false,
        ),
    ]
}

#[tokio::test]
async fn without_a_token_only_the_handshake_and_the_list_are_answered() {
    let world = World::of_two_tenants().await;
    let client = world.connect();
    let server = client.initialize("2025-06-18").await;
    assert_eq!(server["serverInfo"]["name"], "agent-mesh");
    let nobody = world.over(client);
    for (method, params, is_answered) in methods() {
        let answer = nobody.request(method, params.clone()).await;
        match (is_answered, answer) {
            (true, Ok(_)) => {}
            (false, Err(fault)) => {
                assert_eq!(fault.code, UNAUTHENTICATED, "{method}: {fault:?}");
                assert!(
                    fault.data["fix"]
                        .as_str()
                        .is_some_and(|fix| fix.contains(IDENTITY)),
                    "{method}"
                );
            }
            (_, answer) => panic!("{method} {params}: {answer:?}"),
        }
    }
    assert_eq!(
        nobody.tool_names().await.len(),
        Tool::ALL
            .into_iter()
            .filter(|tool| tool.is_listed())
            .count()
    );
    let stateless = world.stateless();
    stateless.get("server/discover", json!({})).await;
    stateless.get("tools/list", json!({})).await;
    let listening = json!({"notifications": {"resourcesListChanged": true}});
    let fault = stateless
        .request("subscriptions/listen", listening)
        .await
        .unwrap_err();
    assert_eq!(fault.code, UNAUTHENTICATED, "{fault:?}");
}

#[tokio::test]
async fn many_tenants_share_one_pipe_request_by_request() {
    let world = World::of_two_tenants().await;
    let mut callers = Vec::new();
    for (tenant, user) in [
        ("acme", "ada"),
        ("globex", "ada"),
        ("acme", "bob"),
        ("globex", "bob"),
    ] {
        callers.push((
            world.user(tenant, user, "user").await,
            format!("{tenant}/{user}"),
        ));
    }
    let (first, _) = &callers[0];
    assert!(
        callers
            .iter()
            .all(|(caller, _)| std::sync::Arc::ptr_eq(&caller.client, &first.client))
    );
    let sets = callers
        .iter()
        .map(|(caller, name)| caller.ok("kv_set", json!({"key": "who", "value": name})));
    futures::future::join_all(sets).await;
    let gets = callers
        .iter()
        .cycle()
        .take(40)
        .map(|(caller, name)| async move {
            assert_eq!(
                caller.ok("kv_get", json!({"key": "who"})).await["value"],
                json!(name)
            );
        });
    futures::future::join_all(gets).await;
}

async fn refused(world: &World, token: &str, what: &str) -> String {
    let caller = world.bearer(token).await;
    let fault = caller.fault("kv_get", json!({"key": "a"})).await;
    assert_eq!(fault.code, UNAUTHENTICATED, "{what}: {fault:?}");
    let listed = caller.request("tools/list", json!({})).await.unwrap_err();
    assert_eq!(
        listed.code, UNAUTHENTICATED,
        "{what}: a wrong token is no missing one"
    );
    assert!(fault.data["fix"].is_string(), "{what}: {fault:?}");
    let told = format!("{fault:?}");
    assert!(token.is_empty() || !told.contains(token), "{what}: {told}");
    assert!(!told.contains("acme"), "{what}: {told}");
    fault.message
}

#[tokio::test]
async fn a_token_is_believed_only_with_all_its_claims() {
    let world = World::of_two_tenants().await;
    let good = claims("acme", "ada", "user", world.now());
    let now = world.now().as_seconds();
    world
        .bearer(&world.token(&good))
        .await
        .ok("kv_get", json!({"key": "a"}))
        .await;
    for name in ["iss", "aud", "sub", "tenant_id", "role", "iat", "exp"] {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        let told = refused(&world, &world.token(&claims), name).await;
        assert!(told.contains(name), "{told}");
    }
    for (name, value) in [
        ("iss", json!("https://other.example")),
        ("aud", json!("somebody-else")),
        ("aud", json!([])),
        ("sub", json!("")),
        ("sub", json!(5)),
        ("tenant_id", json!("Acme")),
        ("tenant_id", json!("acme#x")),
        ("role", json!("root")),
        ("exp", json!(now - 6)),
        ("exp", json!(now + LIFETIME_S + 1)),
        ("exp", json!("soon")),
        ("iat", json!(now + 60)),
    ] {
        let mut claims = good.clone();
        claims[name] = value.clone();
        refused(&world, &world.token(&claims), &format!("{name} = {value}")).await;
    }
    let signed = world.token(&good);
    let (message, _) = signed.rsplit_once('.').unwrap();
    let (header, payload) = message.split_once('.').unwrap();
    refused(
        &world,
        &Issuer::new().sign(&good),
        "another key under the same name",
    )
    .await;
    refused(&world, &format!("{message}."), "no signature").await;
    refused(
        &world,
        &format!("{header}.{}x.{}", payload, "AAAA"),
        "a broken body",
    )
    .await;
    refused(&world, "", "nothing").await;
    refused(&world, "not a token", "no token").await;
    refused(&world, &"a".repeat(9000), "too long").await;
}

#[tokio::test]
async fn a_tenant_that_is_unknown_and_one_that_the_issuer_may_not_name_look_alike() {
    let toml = r#"
[tenants.acme]
issuers = ["https://id.example"]
[tenants.walled]
issuers = ["https://other.example"]
[tenants.closed]
issuers = []
"#;
    let world = Plan::default().by_token().tenants(toml).open().await;
    let mut told = Vec::new();
    for tenant in ["nobody", "walled", "closed"] {
        let token = world.token(&claims(tenant, "ada", "user", world.now()));
        told.push(refused(&world, &token, tenant).await);
    }
    assert!(told.iter().all(|message| *message == told[0]), "{told:?}");
}

#[tokio::test]
async fn a_token_ends_when_it_says_and_a_few_seconds_later() {
    let clock = stopped_clock();
    let world = Plan::default().by_token().clock(&clock).open().await;
    let token = world.token(&claims("acme", "ada", "user", world.now()));
    let caller = world.bearer(&token).await;
    caller.ok("kv_set", json!({"key": "a", "value": 1})).await;
    clock.advance(Duration::from_millis(304_999));
    assert_eq!(
        caller.ok("kv_get", json!({"key": "a"})).await["value"],
        1,
        "5 s for clocks that differ"
    );
    clock.advance(Duration::from_millis(1));
    assert!(refused(&world, &token, "expired").await.contains("expired"));
    let renewed = world.user("acme", "ada", "user").await;
    assert_eq!(renewed.ok("kv_get", json!({"key": "a"})).await["value"], 1);
}

#[tokio::test]
async fn a_stream_ends_with_the_identity_that_began_it() {
    let clock = stopped_clock();
    let world = Plan::default().by_token().clock(&clock).open().await;
    let listener = world.user("acme", "ada", "user").await.stateless();
    let id = listener.client.new_id();
    let params = listener.params(json!({"notifications": {"resourcesListChanged": true}}));
    let stream = listener
        .client
        .begin(id, "subscriptions/listen", &params)
        .await;
    assert_eq!(
        listener.client.other().await["method"],
        "notifications/subscriptions/acknowledged"
    );
    clock.advance(Duration::from_secs(305));
    let ended = crate::support::client::patiently(stream)
        .await
        .expect("an answer");
    assert_eq!(ended.unwrap_err().code, UNAUTHENTICATED);
}

#[tokio::test]
async fn a_suspended_tenant_calls_nothing() {
    let toml = "[tenants.acme]\nissuers = [\"https://id.example\"]\nstatus = \"suspended\"\n";
    let world = Plan::default().by_token().tenants(toml).open().await;
    let caller = world.user("acme", "ada", "admin").await;
    for (method, params, _) in methods()
        .into_iter()
        .filter(|(method, ..)| *method != "ping")
    {
        let fault = caller.request(method, params).await.unwrap_err();
        assert_eq!(fault.code, SUSPENDED, "{method}: {fault:?}");
    }
    let toml = "[tenants.local]\nstatus = \"suspended\"\n";
    let world = Plan::default().tenants(toml).open().await;
    let caller = world.caller().await;
    assert_eq!(
        caller.fault("kv_get", json!({"key": "a"})).await.code,
        SUSPENDED
    );
}

#[tokio::test]
async fn a_subject_that_is_no_user_id_is_a_user_all_the_same() {
    let toml = r#"
[tenants.acme]
issuers = ["https://first.example", "https://id.example"]
[tenants.globex]
issuers = ["https://id.example"]
"#;
    let world = Plan::default().by_token().tenants(toml).open().await;
    let odd = world.user("globex", "Ada Lovelace <ada@x>", "user").await;
    odd.ok("kv_set", json!({"key": "a", "value": "odd"})).await;
    assert_eq!(odd.ok("kv_get", json!({"key": "a"})).await["value"], "odd");
    // The same plain subject of an issuer that is not the tenant's first is somebody else than the first's.
    let second = world.user("acme", "ada", "admin").await;
    second.ok("kv_set", json!({"key": "a", "value": 1})).await;
    let seen = second.ok("events_query", json!({"tool": "kv_set"})).await;
    let user = seen["events"][0]["user_id"].as_str().unwrap();
    assert!(user.starts_with('~') && user.len() == 41, "{user}");
    let own = second
        .ok("events_query", json!({"tool": "kv_set", "user_id": user}))
        .await;
    assert_eq!(
        own["events"].as_array().unwrap().len(),
        1,
        "what is shown can be asked for"
    );
}

#[tokio::test]
async fn the_environment_names_the_one_caller() {
    let world = Plan::default()
        .set("AGENT_MESH_TENANT_ID", "acme")
        .set("AGENT_MESH_USER_ID", "grace")
        .set("AGENT_MESH_ROLE", "admin")
        .open()
        .await;
    let caller = world.caller().await;
    caller.ok("kv_set", json!({"key": "a", "value": 1})).await;
    let seen = caller.ok("events_query", json!({"tool": "kv_set"})).await;
    assert_eq!(seen["events"][0]["user_id"], "grace");
    for (tenant, role) in [("local", Role::Admin), ("acme", Role::User)] {
        let held = Tool::ALL
            .into_iter()
            .filter(|tool| tool.is_listed() && role.permissions().contains(tool.permission()));
        let world = Plan::default()
            .set("AGENT_MESH_TENANT_ID", tenant)
            .open()
            .await;
        assert_eq!(
            world.caller().await.tool_names().await.len(),
            held.count(),
            "{tenant}"
        );
    }
}

/// A line with members beside the parameters that name somebody.
async fn naming(caller: &Caller, method: &str, params: &Value) -> crate::support::client::Response {
    let id = caller.client.new_id();
    let line = json!({
        "jsonrpc": "2.0", "id": id, "method": method, "params": params, "tenant_id": "globex", "user_id": "eve",
    });
    let answer = caller.client.begin_line(id, &line.to_string()).await;
    crate::support::client::patiently(answer)
        .await
        .expect("an answer")
}

#[tokio::test]
async fn under_env_an_identity_inside_a_request_is_refused_not_ignored() {
    let world = World::open().await;
    let caller = world.caller().await;
    prepare(&caller).await;
    let with_token = caller.clone().with_meta(IDENTITY, "some.token.here");
    for (method, params, _) in methods()
        .into_iter()
        .filter(|(method, ..)| *method != "ping")
    {
        let fault = with_token
            .request(method, params.clone())
            .await
            .unwrap_err();
        assert_eq!(
            fault.code, UNAUTHENTICATED,
            "a token at {method}: {fault:?}"
        );
        assert!(fault.data["fix"].is_string(), "{method}: {fault:?}");
        if method != "tools/call" {
            let fault = naming(&caller, method, &params).await.unwrap_err();
            assert_eq!(
                fault.code, UNAUTHENTICATED,
                "members beside {method}: {fault:?}"
            );
        }
    }
    for tool in Tool::ALL.into_iter().filter(|tool| tool.is_listed()) {
        let mut named = sample(tool);
        named["_context"] = json!({"userId": "eve"});
        let failure = call(&caller, tool, named).await.failed(tool.name());
        let told = (failure.code().to_owned(), failure.parameter());
        assert_eq!(
            told,
            ("INVALID_PARAMETER".to_owned(), "_context".to_owned()),
            "{}",
            tool.name()
        );
        assert!(
            failure
                .fix()
                .is_some_and(|fix| fix.contains("AGENT_MESH_IDENTITY=jwt"))
        );
        let params = json!({"name": tool.name(), "arguments": sample(tool)});
        let answer = naming(&caller, "tools/call", &params).await.unwrap();
        let answer = caller.read(tool.name(), &answer);
        assert!(
            answer.is_error && answer.text.contains("INVALID_PARAMETER"),
            "{}",
            answer.text
        );
    }
    assert_eq!(
        caller
            .ok("kv_get", json!({"key": "sample-2", "scope": "tenant"}))
            .await["found"],
        false
    );
}

#[tokio::test]
async fn under_jwt_other_identities_in_a_request_are_passed_over() {
    let world = World::of_two_tenants().await;
    let ada = world.user("acme", "ada", "user").await;
    let eve = world.user("globex", "eve", "user").await;
    eve.ok("kv_set", json!({"key": "a", "value": "of globex"}))
        .await;
    let context = json!({"userId": "eve", "organizationId": "globex", "tenant_id": "globex"});
    ada.ok(
        "kv_set",
        json!({"key": "a", "value": "of acme", "_context": context}),
    )
    .await;
    let params: Value = serde_json::from_str(&ada.call_params("kv_get", r#"{"key":"a"}"#)).unwrap();
    let answer = naming(&ada, "tools/call", &params).await.unwrap();
    assert_eq!(ada.read("kv_get", &answer).value()["value"], "of acme");
    assert_eq!(
        eve.ok("kv_get", json!({"key": "a"})).await["value"],
        "of globex"
    );
    let nobody = world.over(ada.client.clone());
    let fault = nobody
        .fault("kv_get", json!({"key": "a", "_context": context}))
        .await;
    assert_eq!(fault.code, UNAUTHENTICATED, "they are no identity either");
    let odd = nobody.with_meta(IDENTITY, json!({"tenant_id": "globex"}));
    assert_eq!(
        odd.fault("kv_get", json!({"key": "a"})).await.code,
        UNAUTHENTICATED
    );
}
