//! Stdout carries the protocol alone at every log level, and the log none of what belongs to tenants.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::client::Client;
use crate::dashboard::Dashboard;
use crate::server::{Reads, Start};

/// What stands in everything that must not be logged.
const SECRET: &str = "Zq7-secret-Zq7";

/// Calls that write a log of several pipes' size at level trace.
const TALKATIVE_CALLS: u64 = 150;

fn at_trace(start: Start) -> Start {
    start.set("LOG_LEVEL", "trace").set("RUST_LOG", "trace")
}

/// A little of everything, with mistakes, in which every value has the secret in it.
fn workload(client: &mut Client) {
    let value = json!({"text": SECRET, SECRET: [SECRET]});
    client.ask("kv_set", json!({"key": "a", "value": value}));
    client.ask("kv_get", json!({"key": "a"}));
    client.ask("kv_list", json!({"prefix": "a"}));
    client.ask(
        "artifacts_put",
        json!({"key": "t", "content": SECRET, "metadata": {"label": SECRET}}),
    );
    let encoded = STANDARD.encode(SECRET);
    client.ask(
        "artifacts_put",
        json!({"key": "b", "content_base64": encoded}),
    );
    client.ask("artifacts_get", json!({"key": "t"}));
    client.ask("artifacts_get", json!({"key": "b", "as": "base64"}));
    client.request("resources/read", json!({"uri": "mesh://artifacts/user/t"}));
    client.ask("artifacts_list", json!({}));
    let event = json!({"detail_type": "Test.Sent", "detail": {"text": SECRET}, "source": SECRET,
        "tags": {"label": SECRET}, "wait": true});
    client.ask("events_send", event);
    client.ask("events_health_check", json!({"verbose": true}));
    client.ask("artifacts_delete", json!({"key": "t"}));
    client.fail(
        "kv_set",
        json!({"key": "a", "value": SECRET, "if_absent": true}),
    );
    client.fail(
        "kv_set",
        json!({"key": "a", "value": SECRET, "ttl_hours": SECRET}),
    );
    client.fail(
        "kv_set",
        json!({"key": 1, "value": SECRET, "unknown": SECRET}),
    );
    client.fail(
        "artifacts_put",
        json!({"key": "t", "content_base64": SECRET}),
    );
    client.fail(
        "kv_get",
        json!({"key": "a", "_context": {"userId": SECRET}}),
    );
    client.call("artifacts_get", json!({"key": "none"}));
    let unknown = json!({"name": format!("no_{SECRET}"), "arguments": {"value": SECRET}});
    assert_eq!(
        client.request("tools/call", unknown)["error"]["code"],
        -32602
    );
    client.request(&format!("no/{SECRET}"), json!({"value": SECRET}));
    client.request("tools/call", json!({"name": "kv_get", "arguments": SECRET}));
    client.request("tools/list", json!({"cursor": SECRET}));
    for line in [
        format!("{SECRET}\n"),
        format!("{{\"jsonrpc\":\"2.0\",\"id\":900,\"params\":\"{SECRET}\"\n"),
        format!("{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/{SECRET}\"}}\n"),
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":\"{SECRET}\",\"result\":{{\"value\":\"{SECRET}\"}}}}\n"
        ),
    ] {
        client.write(line.as_bytes()).unwrap();
    }
    client.answer(900);
    client.ask("kv_delete", json!({"key": "a"}));
}

fn assert_tells_nothing(log: &str, secrets: &[&str]) {
    let encoded = STANDARD.encode(SECRET);
    for secret in secrets.iter().chain([&SECRET, &encoded.as_str()]) {
        let found: Vec<&str> = log.lines().filter(|line| line.contains(secret)).collect();
        assert!(found.is_empty(), "the log tells a secret: {found:#?}");
    }
}

#[test]
fn at_trace_level_stdout_is_the_protocol_and_the_log_tells_no_values() {
    let folder = tempfile::tempdir().unwrap();
    let mut client = Client::open(&at_trace(Start::on(folder.path())));
    // The client itself refuses every line that is no message.
    workload(&mut client);
    client.finish();
    let rest: Vec<Value> = client
        .rest()
        .iter()
        .map(|line| crate::client::parse(line))
        .collect();
    assert_eq!(rest, Vec::<Value>::new(), "words after the end");
    let log = client.log();
    assert!(
        log.contains("TRACE") || log.contains("DEBUG"),
        "the level is not in force:\n{log}"
    );
    assert_tells_nothing(&log, &[]);
}

#[test]
fn at_trace_level_no_token_is_logged() {
    let mut dashboard = Dashboard::start(at_trace);
    let token = dashboard.token("acme", "ada", "admin");
    let expired = dashboard.expired_token("acme", "ada");
    let set = json!({"key": "a", "value": SECRET, "_context": {"userId": SECRET}});
    dashboard.ask(&token, "kv_set", set);
    assert!(
        dashboard
            .refusal(Some(&expired), "kv_get", json!({"key": "a"}))
            .is_some()
    );
    assert!(
        dashboard
            .refusal(Some(SECRET), "kv_get", json!({"key": "a"}))
            .is_some()
    );
    dashboard.client.finish();
    let log = dashboard.client.log();
    assert!(
        log.contains("TRACE") || log.contains("DEBUG"),
        "the level is not in force:\n{log}"
    );
    let parts: BTreeSet<&str> = token.split('.').chain(expired.split('.')).collect();
    let parts: Vec<&str> = parts.into_iter().collect();
    assert_tells_nothing(&log, &parts);
}

#[test]
fn every_line_of_the_log_is_json_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let start = Start::on(folder.path())
        .set("LOG_FORMAT", "json")
        .set("LOG_LEVEL", "debug");
    let mut client = Client::open(&start);
    workload(&mut client);
    client.finish();
    let log = client.log();
    assert!(log.lines().count() > 2, "{log}");
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        for member in ["timestamp", "level", "target"] {
            assert!(line[member].is_string(), "{member} is missing: {line}");
        }
    }
    assert_tells_nothing(&log, &[]);
}

#[test]
fn a_client_that_never_reads_the_log_is_served_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let start = at_trace(Start::on(folder.path()).generous()).set("LOG_FORMAT", "json");
    let mut client = Client::of(start.spawn_reading(Reads {
        output: true,
        log: false,
    }));
    client.initialize("2025-06-18");
    // Each of them makes the server say several KiB; a pipe holds 64.
    for number in 0..TALKATIVE_CALLS {
        let id = client.post_call(
            "kv_set",
            json!({"key": format!("k{}", number % 10), "value": number}),
        );
        client.write(b"garbage\n").unwrap();
        assert_eq!(client.answer(id)["result"]["isError"], false);
    }
    client.finish();
}

#[test]
fn the_first_line_of_the_log_says_where_the_data_go() {
    let folder = tempfile::tempdir().unwrap();
    let mut client = Client::open(&Start::on(folder.path()));
    client.finish();
    let log = client.log();
    let first = log.lines().next().unwrap();
    for word in ["embedded", "because", "AGENT_MESH_BACKEND=aws"] {
        assert!(first.contains(word), "{word} is missing: {first}");
    }
}
