//! The commands of the binary, as a shell meets them: what they print where, and how they end.

use std::fs;
use std::process::{Command, Output};

use crate::server::{Start, run_to_end};

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs a command that must succeed with nothing on stderr; its output.
fn printed(start: &Start) -> String {
    let output = start.run();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    text(&output.stdout)
}

fn run(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    Start::on(folder.path()).arguments(arguments).run()
}

#[test]
fn the_version_is_the_packages_and_names_the_system() {
    let output = run(&["--version"]);
    assert_eq!(output.status.code(), Some(0));
    let (version, printed) = (env!("CARGO_PKG_VERSION"), text(&output.stdout));
    let (arch, system) = (std::env::consts::ARCH, std::env::consts::OS);
    let expected = format!("use_aws_mcp {version} ({arch}-{system}");
    assert!(printed.starts_with(&expected), "{printed}");
    assert_eq!(printed.lines().count(), 1);
}

#[test]
fn help_is_printed_where_it_is_asked_for() {
    for arguments in [
        &["--help"][..],
        &["-h"],
        &["config", "--help"],
        &["init", "--help"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(text(&output.stdout).contains("Usage:"), "{arguments:?}");
        assert!(
            !text(&output.stdout).contains('\u{1b}'),
            "colour where no terminal is: {arguments:?}"
        );
    }
}

#[test]
fn the_settings_in_force_are_shown_with_where_they_are_from() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("settings.toml"),
        "event_bus = \"of-the-file\"\nkv_table = \"of-the-file\"\n",
    )
    .unwrap();
    let start = Start::on(folder.path())
        .set("AGENT_MESH_TENANT_ID", "acme")
        .set("AGENT_MESH_KV_TABLE", "of-the-variable")
        .set("AGENT_MESH_ARTIFACTS_BUCKET", "of-the-variable")
        .set("AWS_SECRET_ACCESS_KEY", "never-shown")
        .arguments(&[
            "--config",
            "settings.toml",
            "--artifacts-bucket",
            "of-the-flag",
            "config",
            "show",
        ]);
    let shown = printed(&start);
    let line = |name: &str| {
        shown
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_default()
            .to_owned()
    };
    for (name, value, source) in [
        (
            "AGENT_MESH_KV_TABLE",
            "of-the-variable",
            "AGENT_MESH_KV_TABLE",
        ),
        (
            "AGENT_MESH_ARTIFACTS_BUCKET",
            "of-the-flag",
            "--artifacts-bucket",
        ),
        ("AGENT_MESH_EVENT_BUS", "of-the-file", "settings.toml"),
        ("AGENT_MESH_BACKEND", "aws", ""),
        ("AGENT_MESH_USER_ID", "tester", ""),
    ] {
        let rest = line(name).replacen(name, "", 1);
        assert!(
            rest.contains(value) && rest.contains(source),
            "{name}: {rest}"
        );
    }
    assert!(!shown.contains("never-shown"), "{shown}");
    assert!(!start.data().exists(), "showing settings made a folder");
}

#[test]
fn the_settings_are_checked_all_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let start = Start::on(folder.path()).arguments(&["config", "check"]);
    assert_eq!(start.run().status.code(), Some(0));
    let output = start
        .set("AGENT_MESH_BACKEND", "azure")
        .set("AGENT_MESH_ROLE", "king")
        .run();
    assert_eq!(output.status.code(), Some(78));
    let told = text(&output.stderr) + &text(&output.stdout);
    assert!(
        told.contains("AGENT_MESH_BACKEND") && told.contains("AGENT_MESH_ROLE"),
        "{told}"
    );
}

#[test]
fn the_example_of_the_settings_is_a_valid_file() {
    let folder = tempfile::tempdir().unwrap();
    let start = Start::on(folder.path());
    let example = printed(&start.clone().arguments(&["config", "example"]));
    fs::write(folder.path().join("example.toml"), example).unwrap();
    let output = start
        .arguments(&["--config", "example.toml", "config", "check"])
        .run();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn completions_are_scripts_that_shells_can_read() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = printed(&Start::on(folder.path()).arguments(&["completions", shell]));
        for word in ["use_aws_mcp", "config", "init", "--kv-table"] {
            let word = word.trim_start_matches('-');
            assert!(script.contains(word), "{shell}: {word} is missing");
        }
        let path = folder.path().join(shell);
        fs::write(&path, script).unwrap();
        if let Ok(output) = Command::new(shell).arg("-n").arg(&path).output() {
            assert!(output.status.success(), "{shell}: {}", text(&output.stderr));
        }
    }
}

#[test]
fn a_reader_that_stops_early_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let start = Start::on(folder.path());
    let mut command = start.command_by("/bin/sh");
    command.args([
        "-c",
        "\"$0\" config example | head -n 1",
        crate::server::PROGRAM,
    ]);
    let output = run_to_end(&mut command, crate::server::WAIT_MAX);
    assert_eq!(text(&output.stdout).lines().count(), 1);
    assert!(
        !text(&output.stderr).contains("panicked"),
        "{}",
        text(&output.stderr)
    );
}
