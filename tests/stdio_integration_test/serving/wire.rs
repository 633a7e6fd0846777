//! The messages themselves, as they come over a pipe and as the bodies of responses: byte for byte the same.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::masks::masked;
use super::{CORPUS_MIN, SignedIn};
use crate::foreign::repository;
use crate::server::{Server, Start};

/// The requests of the corpus, each with an id, and with what the revision without sessions wants in each.
fn requests(is_stateless: bool) -> Vec<Value> {
    let corpus = std::fs::read_to_string(repository("tests/clients/corpus.json")).unwrap();
    let corpus: Vec<Value> = serde_json::from_str(&corpus).unwrap();
    assert!(corpus.len() >= CORPUS_MIN);
    let mut requests = Vec::new();
    for (number, mut message) in corpus.into_iter().enumerate() {
        message["jsonrpc"] = json!("2.0");
        message["id"] = json!(number + 2);
        if is_stateless {
            message["params"]["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            });
        }
        requests.push(message);
    }
    requests
}

fn handshake() -> Value {
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "wire", "version": "1"}});
    json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})
}

/// What the answers are over a pipe, one after the other.
fn over_a_pipe(server: &mut Server, messages: &[Value]) -> Vec<String> {
    let answer = |message: &Value| {
        server.write(format!("{message}\n").as_bytes()).unwrap();
        let line = String::from_utf8(server.line().expect("an answer")).unwrap();
        line.trim_end_matches('\n').to_owned()
    };
    messages.iter().map(answer).collect()
}

/// The headers that repeat what a message says, as the revision without sessions wants them.
fn repeated(request: RequestBuilder, message: &Value) -> RequestBuilder {
    let params = &message["params"];
    let subject = params["name"].as_str().or_else(|| params["uri"].as_str());
    let request = request
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", message["method"].as_str().unwrap());
    match subject {
        Some(subject) => {
            let encoded = format!("=?base64?{}?=", STANDARD.encode(subject));
            request.header("mcp-name", encoded)
        }
        None => request,
    }
}

async fn compare(is_stateless: bool) {
    let (piped, served) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let signed_in = SignedIn::start(served.path());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let post = |message: &Value| {
        let request = client
            .post(signed_in.serving.url())
            .bearer_auth(&signed_in.token)
            .header("accept", "application/json")
            .header("content-type", "application/json");
        request.body(message.to_string())
    };
    let mut messages = requests(is_stateless);
    let mut session = None;
    if !is_stateless {
        let response = post(&handshake()).send().await.unwrap();
        session = response.headers().get("mcp-session-id").cloned();
        messages.insert(0, handshake());
    }
    let mut server = Start::on(piped.path()).spawn();
    let piped = over_a_pipe(&mut server, &messages);
    for (message, piped) in messages.iter().zip(piped) {
        let request = match &session {
            Some(session) => post(message).header("mcp-session-id", session),
            None => repeated(post(message), message),
        };
        let body = request.send().await.unwrap().text().await.unwrap();
        assert_eq!(masked(&body), masked(&piped), "{message}");
    }
}

#[tokio::test]
async fn a_session_says_the_same_over_a_pipe_and_by_url() {
    compare(false).await;
}

#[tokio::test]
async fn without_sessions_the_same_is_said_over_a_pipe_and_by_url() {
    compare(true).await;
}
