//! The five revisions of the protocol as they look on the wire.

use serde_json::{Value, json};

use crate::client::{Client, NEWEST_SESSION, initialize_params};
use crate::server::Start;

/// Revisions that open a session with `initialize`.
const SESSIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", NEWEST_SESSION];

/// The revision without sessions.
const STATELESS: &str = "2026-07-28";

/// What every request of the stateless revision carries.
fn stateless_meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": STATELESS,
        "io.modelcontextprotocol/clientInfo": {"name": "stdio_integration_test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

fn round(client: &mut Client, with: &dyn Fn(Value) -> Value) {
    let set = json!({"name": "kv_set", "arguments": {"key": "a", "value": {"n": 1.50}}});
    let set = client.request("tools/call", with(set));
    assert_eq!(set["result"]["isError"], false, "{set}");
    let get = json!({"name": "kv_get", "arguments": {"key": "a"}});
    let got = client.request("tools/call", with(get));
    assert_eq!(
        got["result"]["structuredContent"]["value"],
        json!({"n": 1.50}),
        "{got}"
    );
    let listed = client.request("tools/list", with(json!({})));
    let tools = listed["result"]["tools"].as_array().unwrap();
    assert!(
        tools.iter().any(|tool| tool["name"] == "kv_get"),
        "{listed}"
    );
    for (method, member) in [
        ("resources/templates/list", "resourceTemplates"),
        ("resources/list", "resources"),
        ("prompts/list", "prompts"),
    ] {
        let answer = client.request(method, with(json!({})));
        assert!(answer["result"][member].is_array(), "{method}: {answer}");
    }
}

#[test]
fn each_revision_with_a_session_is_agreed_on_and_works() {
    for version in SESSIONS {
        let folder = tempfile::tempdir().unwrap();
        let mut client = Client::of(Start::on(folder.path()).spawn());
        assert_eq!(client.initialize(version)["protocolVersion"], version);
        round(&mut client, &|params| params);
        assert!(client.request("ping", json!({}))["result"].is_object());
        let result = client.call("kv_get", json!({"key": "a"}));
        for member in ["resultType", "ttlMs", "cacheScope"] {
            assert!(
                result.get(member).is_none(),
                "{version} does not know {member}"
            );
        }
        client.finish();
    }
}

#[test]
fn an_unknown_revision_is_answered_with_one_that_is_known() {
    for version in ["1999-01-01", "2099-12-31", "latest"] {
        let folder = tempfile::tempdir().unwrap();
        let mut client = Client::of(Start::on(folder.path()).spawn());
        let agreed = client.initialize(version)["protocolVersion"].clone();
        assert!(
            SESSIONS.iter().any(|known| agreed == *known),
            "{version}: {agreed}"
        );
        round(&mut client, &|params| params);
        client.finish();
    }
}

#[test]
fn the_stateless_revision_works_without_a_handshake() {
    let folder = tempfile::tempdir().unwrap();
    let mut client = Client::of(Start::on(folder.path()).spawn());
    let with_meta = |mut params: Value| {
        params["_meta"] = stateless_meta();
        params
    };
    let discovered = client.request("server/discover", with_meta(json!({})));
    let versions = discovered["result"]["supportedVersions"]
        .as_array()
        .unwrap();
    for version in SESSIONS.into_iter().chain([STATELESS]) {
        assert!(
            versions.contains(&json!(version)),
            "{version} is not in {discovered}"
        );
    }
    round(&mut client, &with_meta);
    let list = client.request("tools/list", with_meta(json!({})));
    assert_eq!(list["result"]["cacheScope"], "private", "{list}");
    assert!(list["result"]["ttlMs"].is_u64(), "{list}");
    let get = with_meta(json!({"name": "kv_get", "arguments": {"key": "a"}}));
    assert_eq!(
        client.request("tools/call", get)["result"]["resultType"],
        "complete"
    );
    client.finish();
}

#[test]
fn a_session_and_stateless_requests_share_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let mut client = Client::of(Start::on(folder.path()).spawn());
    client.initialize("2025-06-18");
    let stateless =
        json!({"name": "kv_set", "arguments": {"key": "a", "value": 1}, "_meta": stateless_meta()});
    let answer = client.request("tools/call", stateless);
    assert_eq!(answer["result"]["resultType"], "complete", "{answer}");
    let found = client.call("kv_get", json!({"key": "a"}));
    assert_eq!(found["structuredContent"]["value"], 1);
    assert!(found.get("resultType").is_none(), "{found}");
    client.finish();
}

#[test]
fn only_one_revision_has_batches() {
    let batch = json!([
        {"jsonrpc": "2.0", "id": 10, "method": "ping"},
        {"jsonrpc": "2.0", "method": "notifications/unheard-of"},
        {"jsonrpc": "2.0", "id": 11, "method": "tools/call",
            "params": {"name": "kv_get", "arguments": {"key": "a"}}},
    ]);
    for version in SESSIONS {
        let folder = tempfile::tempdir().unwrap();
        let mut client = Client::of(Start::on(folder.path()).spawn());
        client.initialize(version);
        client.send(&batch);
        if version == "2025-03-26" {
            let answers = client.message().unwrap();
            let mut ids: Vec<u64> = answers
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["id"].as_u64().unwrap())
                .collect();
            ids.sort_unstable();
            assert_eq!(ids, [10, 11], "{answers}");
        } else {
            for id in [10, 11] {
                assert_eq!(client.answer(id)["error"]["code"], -32600, "{version}");
            }
        }
        client.finish();
    }
}

#[test]
fn a_second_handshake_does_not_break_the_session() {
    let folder = tempfile::tempdir().unwrap();
    let mut client = Client::of(Start::on(folder.path()).spawn());
    client.initialize("2025-06-18");
    let again = client.request("initialize", initialize_params("2025-06-18"));
    assert!(
        again.get("result").is_some() != again.get("error").is_some(),
        "{again}"
    );
    client.ask("kv_get", json!({"key": "a"}));
    client.finish();
}
