//! A server that needs input to go on, and clients of either era: all four combinations.

use serde_json::{Value, json};

use super::{integrate, python, start};
use crate::client::Client;

const STATELESS: &str = "2026-07-28";

fn asks() -> Value {
    json!({"name": "mcp_proxy", "arguments": {"tool_name": "scripted.ask"}})
}

/// What each request of a stateless client carries.
fn stateless(mut params: Value, capabilities: &Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": STATELESS,
        "io.modelcontextprotocol/clientInfo": {"name": "stdio_integration_test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": capabilities,
    });
    params
}

/// A client with a session that can be asked.
fn session(server: crate::server::Server) -> Client {
    let mut client = Client::of(server);
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {"elicitation": {}},
        "clientInfo": {"name": "stdio_integration_test", "version": "1"}});
    client.request("initialize", params);
    client.notify("notifications/initialized", json!({}));
    client
}

/// A client with a session gets the question while its call runs, whatever the server's era.
fn session_is_asked(era: &str) {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut client = session(start(folder.path(), &python).spawn());
    integrate(&mut client, "scripted", &python, &["--era", era]);
    let id = client.post("tools/call", asks());
    let question = loop {
        let message = client.message().expect("a question");
        if message["method"] == "elicitation/create" {
            break message;
        }
        assert_ne!(message["id"], id, "it was not asked: {message}");
    };
    assert_eq!(
        question["params"]["message"], "What is your name?",
        "{question}"
    );
    client.send(&json!({"jsonrpc": "2.0", "id": question["id"],
        "result": {"action": "accept", "content": {"name": "Ada"}}}));
    let answer = client.answer(id);
    assert_eq!(
        answer["result"]["content"][0]["text"], "hello Ada",
        "{answer}"
    );
}

#[test]
fn a_client_with_a_session_is_asked_by_a_server_with_sessions() {
    session_is_asked("sessions");
}

#[test]
fn a_client_with_a_session_is_asked_for_a_stateless_server() {
    session_is_asked("stateless");
}

/// A stateless client gets the question as its answer, and calls again with what it says, whatever the
/// server's era.
fn stateless_client_is_answered(era: &str) {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let start = start(folder.path(), &python);
    integrate(
        &mut Client::open(&start),
        "scripted",
        &python,
        &["--era", era],
    );
    let capabilities = json!({"elicitation": {}});
    let mut client = Client::of(start.spawn());
    let asked = client.request("tools/call", stateless(asks(), &capabilities));
    let asked = &asked["result"];
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    let requests = asked["inputRequests"].as_object().expect("requests");
    let (name, request) = requests.iter().next().expect("a request");
    assert_eq!(request["method"], "elicitation/create", "{asked}");
    assert_eq!(
        request["params"]["message"], "What is your name?",
        "{asked}"
    );
    let mut again = asks();
    again["requestState"] = asked["requestState"].clone();
    again["inputResponses"] = json!({name: {"action": "accept", "content": {"name": "Ada"}}});
    let answer = client.request("tools/call", stateless(again.clone(), &capabilities));
    assert_eq!(
        answer["result"]["content"][0]["text"], "hello Ada",
        "{answer}"
    );
    assert_eq!(answer["result"]["resultType"], "complete", "{answer}");
    if era == "sessions" {
        // What has been answered waits for nobody any more.
        let late = client.request("tools/call", stateless(again, &capabilities));
        let code = &late["result"]["structuredContent"]["error"]["code"];
        assert_eq!(code, "NOT_FOUND", "{late}");
    }
}

#[test]
fn a_stateless_client_answers_a_server_with_sessions() {
    stateless_client_is_answered("sessions");
}

#[test]
fn a_stateless_client_answers_a_stateless_server() {
    stateless_client_is_answered("stateless");
}

#[test]
fn a_server_is_told_that_a_client_cannot_be_asked() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let start = start(folder.path(), &python);
    let mut client = Client::open(&start);
    integrate(&mut client, "scripted", &python, &[]);
    let answer = client.request("tools/call", asks());
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    assert_eq!(
        answer["result"]["content"][0]["text"], "nobody answered",
        "{answer}"
    );
}

#[test]
fn a_silent_old_server_costs_its_wait_once() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let start = start(folder.path(), &python);
    let mut client = Client::open(&start);
    integrate(&mut client, "scripted", &python, &["--silent"]);
    let listed = client.ask("integration_list", json!({}));
    let text = listed.to_string();
    assert!(text.contains("2025-06-18"), "{text}");
    assert_eq!(
        super::said(&mut client, "scripted.echo", json!({"text": "a"})),
        "a"
    );
}
