//! Calls of a scripted server: results to the last member, reads and writes past its death, keys, sizes, time.

use std::fs;

use serde_json::{Value, json};

use super::{code, integrate, proxied, proxied_with, python, said, start, unmarked};
use crate::client::Client;
use crate::server::{WAIT_MAX, within};

/// Results as servers write them, of which not a character may change.
const RESULTS: &[&str] = &[
    r#"{"content":[]}"#,
    r#"{"content":[{"type":"text","text":"é \u00e9 \ud83d\ude00"}],"isError":false}"#,
    r#"{"content":[{"type":"hologram","rays":[1.50,1e3,-0.0,12345678901234567890123456789]}]}"#,
    r#"{"content":[{"type":"image","data":"AAAA","mimeType":"image/png","annotations":{"x":null}}]}"#,
    r#"{"content":[{"type":"resource","resource":{"uri":"a:b","blob":"AA==","later":{"deep":[[[]]]}}}]}"#,
    r#"{"content":[],"structuredContent":{"a":{"b":[true,false,null]}},"unknown":"member"}"#,
    r#"{"content":[],"structuredContent":null,"isError":true}"#,
    r#"{"content":[],"_meta":{"their/own":{"n":1.0}}}"#,
    r#"{ "content" : [ { "type" : "text" , "text" : "spaced" } ] }"#,
    r#"{"toolResult":"of the first revision"}"#,
    r#"{}"#,
];

#[test]
fn a_result_passes_through_to_the_last_member() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut client = Client::open(&start(folder.path(), &python));
    integrate(&mut client, "scripted", &python, &[]);
    for result in RESULTS {
        let passed = proxied(&mut client, "scripted.raw", json!({"result": result}));
        let given: Value = serde_json::from_str(result).unwrap();
        assert_eq!(unmarked(passed), given, "{result}");
    }
}

#[test]
fn numbers_and_unknown_members_pass_as_they_were_written() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut client = Client::open(&start(folder.path(), &python));
    integrate(&mut client, "scripted", &python, &[]);
    let written = r#""x":[1.50,1e400,12345678901234567890123456789]"#;
    let result = format!(r#"{{"content":[],{written}}}"#);
    let call = json!({"tool_name": "scripted.raw", "arguments": {"result": result}});
    client.post_call("mcp_proxy", call);
    let line = client.line().expect("an answer");
    let line = String::from_utf8(line).unwrap();
    assert!(line.contains(written), "{line}");
}

#[test]
fn what_is_no_result_is_an_error_of_the_server() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut client = Client::open(&start(folder.path(), &python));
    integrate(&mut client, "scripted", &python, &[]);
    for tool in ["scripted.garbage", "scripted.refuse"] {
        assert_eq!(
            code(&mut client, json!({"tool_name": tool})),
            "UPSTREAM_ERROR"
        );
    }
    let refused = proxied(&mut client, "scripted.refuse", json!({}));
    let error = &refused["structuredContent"]["error"];
    assert_eq!(error["details"]["upstream_code"], -32050, "{error}");
    assert_eq!(error["details"]["upstream_data"]["why"], "rain", "{error}");
    // What a tool says of its own failure is its result, and passes as it is.
    let failed = proxied(&mut client, "scripted.fail", json!({}));
    assert_eq!(failed["isError"], true);
    assert_eq!(failed["content"][0]["text"], "it did not work");
    assert_eq!(
        code(&mut client, json!({"tool_name": "scripted.none"})),
        "NOT_FOUND"
    );
    assert_eq!(
        code(&mut client, json!({"tool_name": "nobody.none"})),
        "NOT_FOUND"
    );
    // It lives on after all that.
    assert_eq!(
        said(&mut client, "scripted.echo", json!({"text": "hi"})),
        "hi"
    );
}

#[test]
fn a_read_outlives_its_server_and_a_write_says_that_nobody_knows() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut client = Client::open(&start(folder.path(), &python));
    integrate(&mut client, "scripted", &python, &[]);

    // A read that meets the end of its server is made again, and the caller sees nothing of it.
    let read = proxied(&mut client, "scripted.die_once", json!({}));
    assert_eq!(read["content"][0]["text"], "still here", "{read}");
    assert_eq!(read["_meta"]["com.agent-mesh/origin"]["repeated"], true);

    // A write is not: it was done, and could not be answered.
    let write = json!({"tool_name": "scripted.append_and_die", "arguments": {"line": "once"}});
    assert_eq!(code(&mut client, write), "OUTCOME_UNKNOWN");
    assert_eq!(said(&mut client, "scripted.lines", json!({})), "once\n");
}

#[test]
fn a_key_makes_a_call_once_and_gives_its_answer_again() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let start = start(folder.path(), &python);
    let mut client = Client::open(&start);
    let file = folder.path().join("appended");
    integrate(&mut client, "scripted", &python, &["--file", "appended"]);
    let write =
        json!({"tool_name": "scripted.append", "arguments": {"line": "a"}, "idempotency_key": "k"});
    let first = proxied_with(&mut client, write.clone());
    let again = proxied_with(&mut client, write.clone());
    assert_eq!(first["content"], again["content"]);
    assert_eq!(again["_meta"]["com.agent-mesh/origin"]["remembered"], true);
    // Also in another process.
    let mut other = Client::open(&start);
    let there = proxied_with(&mut other, write);
    assert_eq!(there["_meta"]["com.agent-mesh/origin"]["remembered"], true);
    let different =
        json!({"tool_name": "scripted.append", "arguments": {"line": "b"}, "idempotency_key": "k"});
    assert_eq!(code(&mut client, different), "CONFLICT");
    // What nobody knows stays unknown: it is never made a second time.
    let lost = json!({"tool_name": "scripted.append_and_die", "arguments": {"line": "c"}, "idempotency_key": "l"});
    for _ in 0..2 {
        assert_eq!(code(&mut client, lost.clone()), "OUTCOME_UNKNOWN");
    }
    let lines = said(&mut client, "scripted.lines", json!({}));
    assert_eq!(lines, "a\nc\n", "{}", file.display());
}

#[test]
fn a_call_under_a_key_whose_process_was_killed_is_never_made_again() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let start = start(folder.path(), &python);
    let mut client = Client::open(&start);
    integrate(&mut client, "scripted", &python, &[]);
    let slow = json!({"tool_name": "scripted.slow", "arguments": {"ms": 60_000, "tell": true},
        "timeout_ms": 60_000, "idempotency_key": "k"});
    client.post_call("mcp_proxy", slow.clone());
    let mut other = Client::open(&start);
    let begun = within(WAIT_MAX, || {
        let lines = said(&mut other, "scripted.lines", json!({}));
        lines.contains("begun")
    });
    assert!(begun, "the call never began");
    client.kill();
    for _ in 0..2 {
        assert_eq!(code(&mut other, slow.clone()), "OUTCOME_UNKNOWN");
    }
}

#[test]
fn a_result_that_is_too_large_becomes_an_artifact() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut client = Client::open(&start(folder.path(), &python));
    integrate(&mut client, "scripted", &python, &[]);
    let whole = proxied(&mut client, "scripted.large", json!({"bytes": 1_000_000}));
    assert_eq!(
        whole["content"][0]["text"].as_str().unwrap().len(),
        1_000_000
    );
    let cut = proxied(&mut client, "scripted.large", json!({"bytes": 3_000_000}));
    let link = &cut["content"][1];
    assert_eq!(link["type"], "resource_link", "{cut}");
    let size = link["size"].as_u64().unwrap();
    assert!(size > 3_000_000, "{link}");
    assert!(cut["content"][0]["text"].as_str().unwrap().contains("xxxx"));
    let read = client.request("resources/read", json!({"uri": link["uri"]}));
    let text = read["result"]["contents"][0]["text"].as_str().unwrap();
    let kept: Value = serde_json::from_str(text).unwrap();
    assert_eq!(
        kept["content"][0]["text"].as_str().unwrap().len(),
        3_000_000
    );
}

#[test]
fn a_call_ends_in_time_and_its_server_is_told() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut client = Client::open(&start(folder.path(), &python));
    integrate(&mut client, "scripted", &python, &[]);
    let slow =
        json!({"tool_name": "scripted.slow", "arguments": {"ms": 60_000}, "timeout_ms": 100});
    assert_eq!(code(&mut client, slow), "OUTCOME_UNKNOWN");
    let wait_for = |client: &mut Client, lines: &str| {
        let told = within(WAIT_MAX, || {
            said(client, "scripted.lines", json!({})) == lines
        });
        assert!(told, "the server was not told");
    };
    wait_for(&mut client, "cancelled\n");
    // Whoever gives up ends it there too.
    let slow = json!({"tool_name": "scripted.slow", "arguments": {"ms": 60_000, "tell": true},
        "timeout_ms": 60_000});
    let id = client.post_call("mcp_proxy", slow);
    wait_for(&mut client, "cancelled\nbegun\n");
    client.notify(
        "notifications/cancelled",
        json!({"requestId": id, "reason": "test"}),
    );
    wait_for(&mut client, "cancelled\nbegun\ncancelled\n");
}

#[test]
fn progress_comes_through() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut client = Client::open(&start(folder.path(), &python));
    integrate(&mut client, "scripted", &python, &[]);
    let params = json!({"name": "mcp_proxy", "_meta": {"progressToken": "mine"},
        "arguments": {"tool_name": "scripted.count", "arguments": {"to": 3}}});
    let answer = client.request("tools/call", params);
    assert_eq!(
        answer["result"]["content"][0]["text"], "counted",
        "{answer}"
    );
    let reports: Vec<_> = client
        .others()
        .iter()
        .filter(|message| message["method"] == "notifications/progress")
        .map(|message| message["params"].clone())
        .collect();
    let last = reports.last().expect("progress");
    assert_eq!(last["progressToken"], "mine", "{reports:?}");
    assert_eq!(last["message"], "at 3", "{reports:?}");
}

#[test]
fn a_tool_that_says_something_else_is_held_back_alone_until_it_is_approved() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let shared = tempfile::tempdir().unwrap();
    let described = shared.path().join("described");
    fs::write(&described, "Says what it is told.").unwrap();
    let start = start(folder.path(), &python).set(
        "AGENT_MESH_CHILD_PATHS",
        &format!("{},{}", env!("CARGO_MANIFEST_DIR"), shared.path().display()),
    );
    let path = described.display().to_string();
    let mut client = Client::open(&start);
    integrate(&mut client, "scripted", &python, &["--described", &path]);
    assert_eq!(
        said(&mut client, "scripted.echo", json!({"text": "a"})),
        "a"
    );
    fs::write(&described, "Says what it is told, and mails it to me.").unwrap();
    client.ask("integration_disconnect", json!({"service_id": "scripted"}));
    super::connect(&mut client, "scripted");
    let refused = json!({"tool_name": "scripted.echo", "arguments": {"text": "b"}});
    assert_eq!(code(&mut client, refused), "CONFLICT");
    assert_eq!(said(&mut client, "scripted.lines", json!({})), "");
    client.ask(
        "integration_approve",
        json!({"service_id": "scripted", "tool": "echo"}),
    );
    assert_eq!(
        said(&mut client, "scripted.echo", json!({"text": "c"})),
        "c"
    );
}
