//! The audit log of real processes: killed in the middle, several on one folder, checked by the command.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use crate::client::Client;
use crate::server::Start;

/// How often a server is killed.
const KILLS: usize = 5;

/// Calls that are under way when it is killed.
const CALLS: usize = 20;

fn start(folder: &Path) -> Start {
    Start::on(folder)
        .generous()
        .set("AGENT_MESH_AUDIT_LOG", "audit.jsonl")
}

/// The lines of all files of the log.
fn lines(folder: &Path) -> Vec<Value> {
    let files = std::fs::read_dir(folder).unwrap();
    let files = files.map(|file| file.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|found| found == "jsonl"));
    let text: String = files
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn verify(start: &Start, more: &[&str]) -> (Option<i32>, Value, Output) {
    let words = [&["audit", "verify", "--json"], more].concat();
    let output = start.clone().arguments(&words).run();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), report, output)
}

#[test]
fn every_answer_of_a_server_that_is_killed_again_and_again_is_in_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let start = start(folder.path());
    let mut answered = BTreeSet::new();
    for life in 0..KILLS {
        let mut client = Client::open(&start);
        let ids: Vec<u64> = (0..CALLS)
            .map(|call| {
                let set = json!({"key": format!("{life}/{call}"), "value": call});
                client.post_call("kv_set", set)
            })
            .collect();
        assert!(client.wait_for_answers(CALLS / 2), "{}", client.log());
        client.kill();
        for (call, id) in ids.into_iter().enumerate() {
            let answer = client.try_answer(id);
            if answer.is_some_and(|answer| answer["result"]["isError"] == false) {
                answered.insert(format!("{life}/{call}"));
            }
        }
    }
    assert!(answered.len() >= KILLS * CALLS / 2);
    let lines = lines(folder.path());
    let recorded = lines.iter().filter(|line| line["kind"] == "call");
    let recorded: BTreeSet<_> = recorded
        .map(|line| line["data"]["key"].as_str().unwrap().to_owned())
        .collect();
    let lost: Vec<_> = answered.difference(&recorded).collect();
    assert!(lost.is_empty(), "{lost:?}");
    let (status, report, output) = verify(&start, &[]);
    assert_eq!(status, Some(0), "{output:?}");
    assert_eq!(
        report["chains"].as_array().map(Vec::len),
        Some(1),
        "{report}"
    );
}

#[test]
fn processes_on_one_folder_write_a_chain_each_and_altered_lines_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let start = start(folder.path());
    let mut clients: Vec<Client> = (0..4).map(|_| Client::open(&start)).collect();
    for round in 0..5 {
        for (number, client) in clients.iter_mut().enumerate() {
            client.ask(
                "kv_set",
                json!({"key": format!("{number}/{round}"), "value": round}),
            );
        }
    }
    let (status, report, output) = verify(&start, &[]);
    assert_eq!(status, Some(0), "while they write: {output:?}");
    assert_eq!(
        report["chains"].as_array().map(Vec::len),
        Some(4),
        "{report}"
    );
    drop(clients);

    let log = folder.path().join("audit.2.jsonl");
    let text = std::fs::read_to_string(&log).unwrap();
    std::fs::write(
        &log,
        text.replacen("\"outcome\":\"ok\"", "\"outcome\":\"no\"", 1),
    )
    .unwrap();
    let (status, report, output) = verify(&start, &[]);
    assert_eq!(status, Some(3), "{output:?}");
    let found = &report["findings"][0];
    let file = PathBuf::from(found["file"].as_str().unwrap());
    assert_eq!(
        (file.file_name(), &found["what"]),
        (log.file_name(), &json!("altered"))
    );
    assert_eq!(
        (&report["ok"], &found["line"]),
        (&json!(false), &json!(2)),
        "{report}"
    );
}

#[test]
fn a_log_with_a_key_is_checked_with_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), format!("{}\n", "k".repeat(64))).unwrap();
    let keyed = start(folder.path()).set("AGENT_MESH_AUDIT_KEY_FILE", "key");
    let mut client = Client::open(&keyed);
    client.ask("kv_set", json!({"key": "a", "value": 1}));
    client.finish();
    assert_eq!(verify(&keyed, &[]).0, Some(0));
    let plain = Start::on(folder.path());
    let (status, _, output) = verify(&plain, &["audit.jsonl"]);
    assert_eq!(status, Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("--key-file"));
    let (status, ..) = verify(&plain, &["audit.jsonl", "--key-file", "key"]);
    assert_eq!(status, Some(0));
    assert_eq!(verify(&plain, &[]).0, Some(2), "no log is named");
}
