//! Signing in as over HTTP: signed tokens, static ones and none, what each may do, and where no token is left.

use std::path::Path;
use std::time::Duration;

use agent_mesh::mesh::Timestamp;
use agent_mesh::mesh::call::tool::Tool;
use agent_mesh::mesh::tenant::{Permission, PermissionSet, Role};
use agent_mesh::outbound::tokens::{self, NewToken};
use secrecy::ExposeSecret as _;
use serde_json::json;
use ulid::Ulid;

use crate::support::calls::{Ending, call, prepare, sample};
use crate::support::token::claims;
use crate::support::{Caller, Plan, World};

/// What JSON-RPC answers without an identity that can be believed.
const UNAUTHENTICATED: i64 = -32010;

/// A static token in the file of `world`, of a user of `acme`.
fn made(world: &World, role: Role, scope: Option<PermissionSet>) -> (Ulid, String) {
    let new = NewToken {
        tenant: "acme".parse().unwrap(),
        user: "robot".parse().unwrap(),
        role,
        scope,
        expires: None,
    };
    let path = world.path("data/tokens.toml");
    let (text, kept) = tokens::create(&path, new, Timestamp::from_seconds(0)).unwrap();
    (kept.id, text.expose_secret().to_owned())
}

/// Calls until the answer is as it should be, as it is once the file has been looked at twice.
async fn becomes(caller: &Caller, is_let_in: bool) {
    loop {
        let answer = caller.call("kv_get", json!({"key": "a"})).await;
        match answer {
            Ok(_) if is_let_in => return,
            Err(fault) if !is_let_in && fault.code == UNAUTHENTICATED => return,
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// What is listed to `caller` is what it may call, tool by tool.
async fn assert_list_and_calls_agree(caller: &Caller, role: Role, scope: &str) {
    let listed = caller.tool_names().await;
    assert!(!listed.is_empty(), "{scope}");
    for tool in Tool::ALL.into_iter().filter(|tool| tool.is_listed()) {
        let (name, permission) = (tool.name(), tool.permission());
        let denied = match call(caller, tool, sample(tool)).await {
            Ending::Failed(failure) if failure.code() == "PERMISSION_DENIED" => Some(failure),
            Ending::Worked(_) | Ending::Failed(_) => None,
            Ending::NoCall(fault) => panic!("{name}: {fault:?}"),
        };
        assert_eq!(
            denied.is_none(),
            listed.contains(&name.to_owned()),
            "{name} under {scope}"
        );
        if let Some(failure) = denied {
            assert_eq!(failure.detail("permission"), json!(permission.name()));
            let by_scope = role.permissions().contains(permission);
            let told = failure.detail("scope");
            assert_eq!(told == json!(permission.name()), by_scope, "{name}: {told}");
        }
    }
}

#[tokio::test]
async fn tools_that_a_scope_leaves_out_are_neither_listed_nor_called() {
    for over_http in [false, true] {
        let plan = Plan::default().by_token();
        let world = match over_http {
            true => plan.over_http().open().await,
            false => plan.open().await,
        };
        prepare(&world.user("acme", "ada", "admin").await).await;
        for (role, scope) in [
            (Role::Viewer, "openid kv.read events.read"),
            (Role::User, "kv.read kv.write proxy.call"),
            (Role::Admin, "rules.manage integration.manage health.read"),
        ] {
            let mut narrow = claims("acme", "bob", role.name(), world.now());
            narrow["scope"] = json!(scope);
            let caller = world.bearer(&world.token(&narrow)).await;
            assert_list_and_calls_agree(&caller, role, scope).await;
        }
    }
}

#[tokio::test]
async fn a_static_token_signs_in_as_long_as_it_is_kept_and_no_longer() {
    let world = Plan::default().over_http().open().await;
    let (id, token) = made(&world, Role::User, None);
    let robot = world.bearer(&token).await;
    becomes(&robot, true).await;
    robot.ok("kv_set", json!({"key": "a", "value": 1})).await;
    let seen = robot.ok("events_query", json!({"tool": "kv_set"})).await;
    assert_eq!(seen["events"][0]["user_id"], "robot");
    let (_, narrow) = made(
        &world,
        Role::User,
        Some(PermissionSet::of(&[Permission::KvRead])),
    );
    let reader = world.bearer(&narrow).await;
    becomes(&reader, true).await;
    assert_list_and_calls_agree(&reader, Role::User, "kv.read").await;
    assert!(tokens::revoke(&world.path("data/tokens.toml"), id).unwrap());
    becomes(&robot, false).await;
    reader.ok("kv_get", json!({"key": "a"})).await;
}

#[tokio::test]
async fn who_brings_no_token_is_let_in_as_the_operator_says_and_who_brings_a_wrong_one_is_not() {
    let closed = Plan::default().over_http().open().await;
    let nobody = closed.caller().await;
    let fault = nobody.fault("kv_get", json!({"key": "a"})).await;
    assert_eq!(fault.code, UNAUTHENTICATED);

    let open = Plan::default()
        .over_http()
        .by_token()
        .set("AGENT_MESH_ANONYMOUS", "true")
        .open()
        .await;
    let nobody = open.caller().await;
    assert_eq!(
        nobody.ok("kv_get", json!({"key": "a"})).await["found"],
        false
    );
    assert_list_and_calls_agree(&nobody, Role::Viewer, "no token").await;
    for wrong in ["", "mesh_x_y", "a.b.c", "anything"] {
        let caller = open.bearer(wrong).await;
        let fault = caller.fault("kv_get", json!({"key": "a"})).await;
        assert_eq!(fault.code, UNAUTHENTICATED, "{wrong}: {fault:?}");
        let listed = caller.request("tools/list", json!({})).await.unwrap_err();
        assert_eq!(listed.code, UNAUTHENTICATED, "{wrong}: {listed:?}");
    }
    let ada = open.user("acme", "ada", "user").await;
    ada.ok("kv_set", json!({"key": "a", "value": 1, "scope": "tenant"}))
        .await;
    let stored = json!({"key": "a", "scope": "tenant"});
    assert_eq!(
        nobody.ok("kv_get", stored).await["found"],
        false,
        "another tenant's"
    );
}

#[tokio::test]
async fn a_bearer_may_live_longer_than_a_token_in_a_message() {
    for (over_http, is_let_in) in [(true, true), (false, false)] {
        let plan = Plan::default().by_token();
        let world = match over_http {
            true => plan.over_http().open().await,
            false => plan.open().await,
        };
        let mut claims = claims("acme", "ada", "user", world.now());
        claims["exp"] = json!(world.now().as_seconds() + 3600);
        let ada = world.bearer(&world.token(&claims)).await;
        let answer = ada.call("kv_get", json!({"key": "a"})).await;
        assert_eq!(answer.is_ok(), is_let_in, "{over_http}");
    }
}

/// Every file below `folder` that holds `text`.
fn holding(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, text));
        } else if std::fs::read(&path).is_ok_and(|bytes| {
            bytes
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        }) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[tokio::test]
async fn no_token_is_left_in_an_event_a_value_or_a_file() {
    let world = Plan::default().over_http().by_token().open().await;
    let (_, kept) = made(&world, Role::Admin, None);
    let signed = world.token(&claims("acme", "ada", "admin", world.now()));
    for token in [kept, signed] {
        let caller = world.bearer(&token).await;
        becomes(&caller, true).await;
        prepare(&caller).await;
        let mut told = String::new();
        for tool in Tool::ALL {
            told += &format!("{:?}", call(&caller, tool, sample(tool)).await);
        }
        let events = caller.ok("events_query", json!({"limit": 100})).await;
        told += &events.to_string();
        let secret = match token.strip_prefix("mesh_") {
            Some(rest) => rest.split_once('_').unwrap().1,
            None => token.rsplit('.').next().unwrap(),
        };
        assert!(secret.len() >= 40);
        assert!(!told.contains(secret));
        let found = holding(&world.path("."), secret);
        assert!(found.is_empty(), "{found:?}");
    }
}
