//! The demonstration as a newcomer meets it: it works at once, whatever the environment, and leaves nothing.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::server::{Start, WAIT_MAX, run_to_end, within};

/// How long the whole of it may take on a machine that is busy with other tests.
const DEMO_MAX: Duration = Duration::from_secs(120);

/// A demonstration in an environment that would lead a server astray, with a folder of its own for what is
/// temporary.
fn astray(folder: &Path) -> Command {
    fs::create_dir(folder.join("tmp")).unwrap();
    let temporary = folder.join("tmp");
    Start::on(folder)
        .set("TMPDIR", temporary.to_str().unwrap())
        .set("AGENT_MESH_BACKEND", "azure")
        .set("AGENT_MESH_ROLE", "king")
        .set("AGENT_MESH_KV_TABLE", "somebody-elses")
        .set("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        .set("AWS_PROFILE", "none")
        .set("RUST_LOG", "trace")
        .arguments(&["demo"])
        .command()
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn it_shows_everything_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let output = run_to_end(&mut astray(folder.path()), DEMO_MAX);
    let shown = String::from_utf8(output.stdout).unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{shown}{told}");
    assert_eq!(told, "");
    for words in [
        "\n1. ",
        "answers in MCP",
        "PERMISSION_DENIED",
        r#"{"key":"plan","found":false}"#,
        "its signature does not fit",
        "mesh://artifacts/tenant/reports/june.md",
        "Order.Shipped",
        "RATE_LIMITED",
        "retry_after_ms",
        "\n7. ",
        "\"still here\"",
        "use_aws_mcp init claude-desktop",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert!(!shown.contains('\u{1b}'), "colour where no terminal is");
    assert!(!shown.contains("WRONG"), "{shown}");
    assert!(is_empty(&folder.path().join("tmp")));
    for name in ["home", "data"] {
        assert!(!folder.path().join(name).exists(), "it made {name}");
    }
}

#[test]
fn interrupted_it_leaves_nothing_either() {
    let folder = tempfile::tempdir().unwrap();
    let temporary = folder.path().join("tmp");
    let mut child = astray(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Its server has opened its cloud, so that there is something to leave behind.
    let is_under_way = || {
        let mut folders = fs::read_dir(&temporary).unwrap().flatten();
        folders.any(|entry| entry.path().join("data/table.sqlite").exists())
    };
    assert!(within(WAIT_MAX, is_under_way));
    let id = Pid::from_child(&child);
    kill_process(id, Signal::INT).unwrap();
    let mut status = None;
    assert!(within(WAIT_MAX, || {
        status = child.try_wait().unwrap();
        status.is_some()
    }));
    assert_eq!(status.unwrap().code(), Some(1));
    assert!(is_empty(&temporary));
}
