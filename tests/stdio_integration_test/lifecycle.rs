//! From the start of the process to its end.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{Client, initialize_params, parse};
use crate::server::{
    END_MAX, PROGRAM, Reads, Start, WAIT_MAX, files, lives, locked_files, run_to_end, send_signal,
    within,
};

/// Calls that are in flight when a server is told to end.
const IN_FLIGHT: u64 = 64;

const SHUTTING_DOWN: i64 = -32012;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn the_handshake_says_who_answers_and_what_it_can_do() {
    let folder = folder();
    let mut client = Client::of(Start::on(folder.path()).spawn());
    let answer = client.initialize("2025-06-18");
    assert_eq!(answer["protocolVersion"], "2025-06-18");
    assert_eq!(answer["serverInfo"]["name"], "agent-mesh");
    assert_eq!(answer["serverInfo"]["version"], env!("CARGO_PKG_VERSION"));
    for capability in ["tools", "resources", "prompts", "completions"] {
        assert!(
            answer["capabilities"][capability].is_object(),
            "{capability}: {answer}"
        );
    }
    assert!(answer["instructions"].as_str().unwrap().contains("kv_"));
    assert!(client.request("ping", json!({}))["result"].is_object());
    client.finish();
}

#[test]
fn the_end_of_the_input_ends_it_and_nothing_stays_behind() {
    let folder = folder();
    let start = Start::on(folder.path());
    let mut client = Client::open(&start);
    client.ask("kv_set", json!({"key": "a", "value": 1}));
    client.ask("artifacts_put", json!({"key": "a", "content": "text"}));
    assert_eq!(client.children(), "", "it has children");
    let outbox = files(&start.data().join("outbox"));
    assert!(
        outbox.iter().any(|path| path.ends_with("owner")),
        "{outbox:?}"
    );
    assert_ne!(
        locked_files(&start.data()),
        Vec::<std::path::PathBuf>::new(),
        "nothing is locked"
    );
    client.finish();
    assert_eq!(client.rest(), Vec::<Vec<u8>>::new());
    assert_eq!(
        locked_files(&start.data()),
        Vec::<std::path::PathBuf>::new()
    );
    // Its events have been published, and with that its outbox goes.
    let outbox = files(&start.data().join("outbox"));
    assert!(
        !outbox.iter().any(|path| path.ends_with("owner")),
        "{outbox:?}"
    );
}

#[test]
fn sigterm_and_sigint_end_it_while_its_input_is_open() {
    for signal in [Signal::TERM, Signal::INT] {
        let folder = folder();
        let start = Start::on(folder.path());
        let mut client = Client::open(&start);
        client.ask("kv_set", json!({"key": "a", "value": 1}));
        client.signal(signal);
        assert_eq!(client.end().code(), Some(0), "{}", client.log());
        assert_eq!(
            locked_files(&start.data()),
            Vec::<std::path::PathBuf>::new()
        );
    }
}

#[test]
fn sigterm_before_the_handshake_ends_it() {
    let folder = folder();
    let mut server = Start::on(folder.path()).spawn();
    // Its first words come before it listens for signals; the answer to a line comes after.
    server
        .write(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n")
        .unwrap();
    server.line().unwrap();
    server.signal(Signal::TERM);
    assert_eq!(server.end().code(), Some(0), "{}", server.log());
}

#[test]
fn the_death_of_its_parent_ends_it() {
    let folder = folder();
    let start = Start::on(folder.path());
    // The input stays open with us: only the parent's death can be what it notices.
    let script = "exec 3<&0; \"$0\" <&3 & echo \"pid $!\" >&2; wait";
    let mut command = start.command_by("/bin/sh");
    command.args(["-c", script, PROGRAM]);
    let mut parent = Client::of(crate::server::Server::of(
        &mut command,
        Reads {
            output: true,
            log: true,
        },
    ));
    parent.initialize("2025-06-18");
    let log = parent.log();
    let pid = log
        .lines()
        .find_map(|line| line.strip_prefix("pid "))
        .unwrap()
        .parse()
        .unwrap();
    assert!(lives(pid));
    parent.ask("kv_set", json!({"key": "a", "value": 1}));
    send_signal(parent.pid(), Signal::KILL);
    let ended = within(END_MAX, || !lives(pid));
    send_signal(pid, Signal::KILL);
    assert!(ended, "it outlives its parent; {}", parent.log());
    assert_eq!(
        locked_files(&start.data()),
        Vec::<std::path::PathBuf>::new()
    );
    assert!(
        parent.log().contains("parent"),
        "the log does not say why: {}",
        parent.log()
    );
}

#[test]
fn the_last_line_needs_no_newline() {
    let folder = folder();
    let mut client = Client::open(&Start::on(folder.path()));
    client
        .write(br#"{"jsonrpc":"2.0","id":99,"method":"ping"}"#)
        .unwrap();
    client.end_input();
    let answer = client.answer(99);
    assert!(answer["result"].is_object(), "{answer}");
    assert_eq!(client.end().code(), Some(0));
}

#[test]
fn a_file_may_be_its_input() {
    let folder = folder();
    let path = folder.path().join("lines");
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": initialize_params("2025-06-18")});
    let call = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call",
        "params": {"name": "kv_set", "arguments": {"key": "a", "value": 1}}});
    std::fs::write(&path, format!("{initialize}\n{call}")).unwrap();
    let mut command = Start::on(folder.path()).command();
    command.stdin(std::fs::File::open(path).unwrap());
    let output = run_to_end(&mut command, WAIT_MAX);
    assert!(output.status.success());
    let answers: Vec<Value> = output
        .stdout
        .split_inclusive(|byte| *byte == b'\n')
        .map(parse)
        .collect();
    let ids: Vec<&Value> = answers.iter().map(|answer| &answer["id"]).collect();
    assert_eq!(ids, [1, 2]);
    assert_eq!(answers[1]["result"]["isError"], false);
}

#[test]
fn what_is_in_flight_at_the_end_of_the_input_is_answered() {
    let folder = folder();
    let start = Start::on(folder.path());
    let mut client = Client::open(&start);
    let ids: Vec<u64> = (0..IN_FLIGHT)
        .map(|number| {
            client.post_call(
                "kv_set",
                json!({"key": format!("k{number}"), "value": number}),
            )
        })
        .collect();
    client.end_input();
    for id in ids {
        assert_eq!(client.answer(id)["result"]["isError"], false, "{id}");
    }
    assert_eq!(client.end().code(), Some(0));
    let mut client = Client::open(&start);
    for number in 0..IN_FLIGHT {
        let found = client.ask("kv_get", json!({"key": format!("k{number}")}));
        assert_eq!(found["value"], number, "{found}");
    }
}

#[test]
fn what_is_in_flight_at_sigterm_is_answered_one_way_or_the_other() {
    let folder = folder();
    let start = Start::on(folder.path());
    let mut client = Client::open(&start);
    let ids: Vec<u64> = (0..IN_FLIGHT)
        .map(|number| {
            client.post_call(
                "kv_set",
                json!({"key": format!("k{number}"), "value": number}),
            )
        })
        .collect();
    client.answer(ids[0]);
    client.signal(Signal::TERM);
    // Lines that it has not read by then are lost to it, as they would be in a pipe to nobody.
    let answers: Vec<Option<Value>> = ids[1..].iter().map(|&id| client.try_answer(id)).collect();
    assert_eq!(client.end().code(), Some(0), "{}", client.log());
    let mut client = Client::open(&start);
    for (number, answer) in (1..IN_FLIGHT).zip(answers) {
        let Some(answer) = answer else { continue };
        if answer.get("error").is_some() {
            assert_eq!(answer["error"]["code"], SHUTTING_DOWN, "{answer}");
        } else if answer["result"]["isError"] == false {
            let found = client.ask("kv_get", json!({"key": format!("k{number}")}));
            assert_eq!(
                found["value"], number,
                "acknowledged and not there: {found}"
            );
        } else {
            assert_eq!(
                answer["result"]["structuredContent"]["error"]["code"], "CANCELLED",
                "{answer}"
            );
        }
    }
}

#[test]
fn a_client_that_goes_without_a_word_ends_it() {
    let folder = folder();
    let start = Start::on(folder.path());
    let mut command = start.command();
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let line = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": initialize_params("2025-06-18")});
    writeln!(input, "{line}").unwrap();
    output.read_line(&mut String::new()).unwrap();
    // Its output is closed and its input is not: it learns of it when it answers.
    drop(output);
    writeln!(input, r#"{{"jsonrpc":"2.0","id":2,"method":"ping"}}"#).unwrap();
    let ended = within(END_MAX, || child.try_wait().unwrap().is_some());
    let _ = child.kill();
    assert!(ended, "it serves a client that cannot hear it");
}

#[test]
fn a_wrong_configuration_is_told_as_a_whole_before_anything_starts() {
    let folder = folder();
    let start = Start::on(folder.path())
        .set("AGENT_MESH_BACKEND", "azure")
        .set("AGENT_MESH_ROLE", "king")
        .set("AGENT_MESH_OUTBOX_BYTES_MAX", "plenty")
        .set("AGENT_MESH_TENANT_ID", "Not-A-Tenant");
    let output = start.run();
    assert_eq!(output.status.code(), Some(78));
    assert_eq!(output.stdout, b"", "stdout is for the protocol");
    let told = String::from_utf8(output.stderr).unwrap();
    for name in ["BACKEND", "ROLE", "OUTBOX_BYTES_MAX", "TENANT_ID"] {
        assert!(
            told.contains(&format!("AGENT_MESH_{name}")),
            "{name} is missing in:\n{told}"
        );
    }
    assert!(!start.data().exists(), "something was started");
}

#[test]
fn a_wrong_command_line_is_a_matter_of_usage() {
    let folder = folder();
    for arguments in [
        &["--nonsense"][..],
        &["frobnicate"],
        &["--backend"],
        &["config", "shout"],
    ] {
        let start = Start::on(folder.path()).arguments(arguments);
        let output = start.run();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(output.stdout, b"", "{arguments:?}");
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("--help"),
            "{arguments:?}"
        );
        assert!(!start.data().exists(), "{arguments:?} started something");
    }
}

#[test]
fn an_empty_session_ends_well() {
    let folder = folder();
    let mut server = Start::on(folder.path()).spawn();
    server.finish();
    assert!(server.line_within(Duration::ZERO).is_none());
}
