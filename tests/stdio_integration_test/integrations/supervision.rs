//! Children that are killed, again and again and under load, and what is left of them when we are.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{integrate, proxied, python, said, start};
use crate::client::Client;
use crate::server::{WAIT_MAX, lives, send_signal, within};

/// How often a child is killed and comes back.
const ROUNDS: usize = 1000;

/// How much more memory a server may use after those: bytes. It is what its allocator keeps.
const GROWTH_MAX: u64 = 12 << 20;

/// Calls under load, and how often the server behind them is killed meanwhile.
const CALLS: usize = 400;
const KILLS: usize = 12;

fn child_of(client: &mut Client, service: &str) -> u32 {
    let said = said(client, &format!("{service}.process"), json!({}));
    said.parse().expect("a process id")
}

fn wait_until_gone(processes: &BTreeSet<u32>) {
    let gone = within(WAIT_MAX, || {
        !processes.iter().any(|process| lives(*process))
    });
    assert!(gone, "there are still some of {processes:?}");
}

/// Everything that descends from `process`.
fn descendants(process: u32) -> BTreeSet<u32> {
    let mut parents: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").expect("processes").flatten() {
        let id = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let Some(id) = id else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        if let Some(parent) = parent {
            parents.entry(parent).or_default().push(id);
        }
    }
    let mut found = BTreeSet::new();
    let mut next = vec![process];
    while let Some(process) = next.pop() {
        for child in parents.get(&process).into_iter().flatten() {
            if found.insert(*child) {
                next.push(*child);
            }
        }
    }
    found
}

fn descriptors(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/fd"))
        .expect("descriptors")
        .count()
}

#[test]
fn a_thousand_rounds_of_kill_and_reconnect_leave_nothing_behind() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut client = Client::open(&start(folder.path(), &python));
    integrate(&mut client, "scripted", &python, &[]);
    let mut seen = BTreeSet::new();
    let mut before = (0, 0);
    for round in 0..ROUNDS {
        let child = child_of(&mut client, "scripted");
        assert!(seen.insert(child), "{child} was killed and answers");
        send_signal(child, Signal::KILL);
        if round == ROUNDS / 10 {
            before = (client.memory(), descriptors(client.pid()));
        }
    }
    let after = (client.memory(), descriptors(client.pid()));
    assert!(
        after.0 < before.0 + GROWTH_MAX,
        "memory: {before:?}, {after:?}"
    );
    assert!(
        after.1 <= before.1 + 8,
        "descriptors: {before:?}, {after:?}"
    );
    child_of(&mut client, "scripted");
    let left = descendants(client.pid());
    assert!((1..=4).contains(&left.len()), "{left:?}");
    client.kill();
    wait_until_gone(&left);
}

/// What has become of one call under load.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Unknown,
}

#[test]
fn a_server_that_restarts_under_load_costs_no_read_and_repeats_no_write() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut client = Client::open(&start(folder.path(), &python));
    integrate(&mut client, "scripted", &python, &[]);
    let mut writes = BTreeMap::new();
    for round in 0..KILLS {
        let child = child_of(&mut client, "scripted");
        let mut asked = Vec::new();
        for number in 0..CALLS / KILLS {
            let line = format!("{round}-{number}");
            let (tool, arguments) = match number % 2 {
                0 => ("scripted.append", json!({"line": line})),
                _ => ("scripted.echo", json!({"text": line})),
            };
            let call = json!({"tool_name": tool, "arguments": arguments});
            asked.push((line, number % 2 == 0, client.post_call("mcp_proxy", call)));
        }
        // Some have been answered by then, some are half done, some have not been sent.
        client.wait_for_answers(1 + round * 2);
        send_signal(child, Signal::KILL);
        for (line, is_write, id) in asked {
            let answer = client.answer(id);
            let result = &answer["result"];
            let code = &result["structuredContent"]["error"]["code"];
            match (is_write, code.as_str()) {
                (false, None) => assert_eq!(result["content"][0]["text"], line),
                (true, None) => drop(writes.insert(line, Outcome::Done)),
                (true, Some("OUTCOME_UNKNOWN")) => drop(writes.insert(line, Outcome::Unknown)),
                _ => panic!("{line}: {result}"),
            }
        }
    }
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for line in said(&mut client, "scripted.lines", json!({})).lines() {
        *times.entry(line.to_owned()).or_default() += 1;
    }
    for (line, outcome) in &writes {
        let done = times.get(line).copied().unwrap_or_default();
        match outcome {
            Outcome::Done => assert_eq!(done, 1, "{line}"),
            Outcome::Unknown => assert!(done <= 1, "{line}: {done} times"),
        }
    }
    let known = writes.values().filter(|outcome| **outcome == Outcome::Done);
    assert!(known.count() > 0, "{writes:?}");
}

#[test]
fn connecting_again_ends_no_call_and_leaves_one_child() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut client = Client::open(&start(folder.path(), &python));
    integrate(&mut client, "scripted", &python, &[]);
    let first = child_of(&mut client, "scripted");
    let slow = json!({"tool_name": "scripted.slow", "arguments": {"ms": 3000, "tell": true}});
    let slow = client.post_call("mcp_proxy", slow);
    let has_begun = within(WAIT_MAX, || {
        said(&mut client, "scripted.lines", json!({})).contains("begun")
    });
    assert!(has_begun);
    client.ask("integration_connect", json!({"service_id": "scripted"}));
    let second = child_of(&mut client, "scripted");
    assert_ne!(first, second);
    assert!(lives(first), "it still has a call");
    let answer = client.answer(slow);
    assert_eq!(answer["result"]["content"][0]["text"], "done", "{answer}");
    wait_until_gone(&BTreeSet::from([first]));
    assert_eq!(child_of(&mut client, "scripted"), second);
}

#[test]
fn children_end_with_us_however_we_end() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    for way in ["kill", "end of file", "terminate"] {
        let mut client = Client::open(&start(folder.path(), &python));
        match way {
            "kill" => integrate(&mut client, "scripted", &python, &[]),
            _ => drop(proxied(&mut client, "scripted.echo", json!({"text": "a"}))),
        }
        child_of(&mut client, "scripted");
        let left = descendants(client.pid());
        assert!(!left.is_empty());
        match way {
            "kill" => client.kill(),
            "end of file" => client.end_input(),
            _ => client.signal(Signal::TERM),
        }
        wait_until_gone(&left);
    }
    let children = folder.path().join("data/children");
    assert!(
        within(WAIT_MAX, || records(&children) == 0),
        "records of children are left"
    );
}

fn records(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    names
        .filter(|name| name.to_string_lossy().ends_with(".json"))
        .count()
}

#[test]
fn the_tree_of_children_is_shown() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let start = start(folder.path(), &python);
    let mut client = Client::open(&start);
    integrate(&mut client, "scripted", &python, &[]);
    let child = child_of(&mut client, "scripted");
    let shown = start.clone().arguments(&["integrations", "ps"]).run();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("scripted"), "{shown}");
    assert!(shown.contains(&child.to_string()), "{shown}");
    let _: Value = client.ask("integration_disconnect", json!({"service_id": "scripted"}));
    let shown = start.arguments(&["integrations", "ps"]).run();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(!shown.contains(&child.to_string()), "{shown}");
}
