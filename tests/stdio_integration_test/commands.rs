//! The commands of the binary, as a shell meets them: what they print where, and how they end.

use std::fs;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Client;
use crate::server::{PROGRAM, Reads, Server, Start, WAIT_MAX, run_to_end};

/// How long the demonstration may take; alone it takes 2 s.
const DEMO_MAX: Duration = Duration::from_secs(60);

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
    command.args(["-c", "\"$0\" config example | head -n 1", PROGRAM]);
    let output = run_to_end(&mut command, WAIT_MAX);
    assert_eq!(text(&output.stdout).lines().count(), 1);
    assert!(
        !text(&output.stderr).contains("panicked"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn the_demonstration_succeeds_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let temporary = folder.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let start = Start::on(folder.path())
        .set("TMPDIR", temporary.to_str().unwrap())
        .arguments(&["demo"]);
    let output = run_to_end(&mut start.command(), DEMO_MAX);
    let shown = text(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{shown}\n{}",
        text(&output.stderr)
    );
    for word in [
        "acme",
        "globex",
        "kv_set",
        "events_query",
        "RATE_LIMITED",
        "killed",
        " ms  ",
    ] {
        assert!(shown.contains(word), "{word} is missing:\n{shown}");
    }
    assert!(!shown.contains('\u{1b}'), "colour where no terminal is");
    assert_eq!(
        fs::read_dir(&temporary).unwrap().count(),
        0,
        "its folder is left"
    );
    assert!(!start.data().exists(), "it used the user's own data");
}

#[test]
fn tools_are_listed_described_and_called_without_a_client() {
    let folder = tempfile::tempdir().unwrap();
    let start = Start::on(folder.path());
    let command = |arguments: &[&str]| start.clone().arguments(arguments).run();
    let json_of = |output: &Output| serde_json::from_slice::<Value>(&output.stdout).unwrap();

    let listed = printed(&start.clone().arguments(&["tools", "list"]));
    assert!(
        listed.contains("kv_get") && listed.contains("tester"),
        "{listed}"
    );
    let listed = json_of(&command(&["tools", "list", "--json"]));
    // What a client gets over the pipe is the same.
    let mut client = Client::open(&start);
    let told = client.request("tools/list", json!({}))["result"]["tools"].clone();
    assert_eq!(listed, told);
    let described = json_of(&command(&["tools", "describe", "kv_get", "--json"]));
    assert!(told.as_array().unwrap().contains(&described), "{described}");

    // A server runs on the same folder meanwhile.
    let set = command(&[
        "tools",
        "call",
        "kv_set",
        "key=a",
        "value={\"b\":[1.50]}",
        "--json",
    ]);
    assert_eq!(set.status.code(), Some(0), "{}", text(&set.stderr));
    let found = client.ask("kv_get", json!({"key": "a"}));
    assert_eq!(found["version"], json_of(&set)["version"]);
    let got = command(&[
        "tools",
        "call",
        "kv_get",
        "--arguments",
        "{\"key\":\"a\"}",
        "--json",
    ]);
    assert!(
        text(&got.stdout).contains("\"value\":{\"b\":[1.50]}"),
        "{}",
        text(&got.stdout)
    );
    client.finish();

    let failed = command(&[
        "tools",
        "call",
        "kv_set",
        "key=a",
        "value=1",
        "if_absent=true",
    ]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(
        text(&failed.stderr).contains("CONFLICT"),
        "{}",
        text(&failed.stderr)
    );
    let unknown = command(&["tools", "call", "kv_gte", "key=a"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(
        text(&unknown.stderr).contains("kv_get"),
        "{}",
        text(&unknown.stderr)
    );
}

#[test]
fn events_are_followed_from_the_shell() {
    let folder = tempfile::tempdir().unwrap();
    let start = Start::on(folder.path());
    let mut client = Client::open(&start);
    client.ask("kv_set", json!({"key": "watched", "value": "never shown"}));
    client.ask(
        "events_send",
        json!({"detail_type": "Order.Placed", "detail": {"n": 4711}, "wait": true}),
    );
    client.finish();
    let shown = printed(&start.arguments(&["events", "tail"]));
    assert!(
        shown.contains("KV.Set") && shown.contains("watched"),
        "{shown}"
    );
    assert!(
        shown.contains("Order.Placed") && shown.contains("4711"),
        "{shown}"
    );
    assert!(!shown.contains("never shown"), "{shown}");
}

#[test]
fn the_doctor_finds_a_healthy_folder_healthy() {
    let folder = tempfile::tempdir().unwrap();
    let start = Start::on(folder.path());
    let shown = printed(&start.clone().arguments(&["doctor"]));
    assert!(
        shown.contains("embedded") && !shown.contains("fix:"),
        "{shown}"
    );
    let report: Value =
        serde_json::from_str(&printed(&start.arguments(&["doctor", "--json"]))).unwrap();
    assert_eq!(report["ok"], true, "{report}");
    assert_eq!(report["faults"], 0, "{report}");
}

#[test]
fn the_doctor_names_what_is_wrong_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let start = Start::on(folder.path());
    Client::open(&start).finish();
    fs::write(start.data().join("format"), "2\n").unwrap();
    let output = start.clone().arguments(&["doctor"]).run();
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{shown}");
    assert!(
        shown.contains("format 2") && shown.contains("fix:"),
        "{shown}"
    );
    let broken = start.set("AGENT_MESH_ROLE", "king").arguments(&["doctor"]);
    assert_eq!(broken.run().status.code(), Some(78));
}

#[test]
fn without_credentials_the_doctor_says_how_to_get_some() {
    let folder = tempfile::tempdir().unwrap();
    let start = Start::on(folder.path())
        .set("AGENT_MESH_BACKEND", "aws")
        .set("AWS_EC2_METADATA_DISABLED", "true")
        .arguments(&["doctor"]);
    let output = start.run();
    let shown = text(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(3),
        "{shown}\n{}",
        text(&output.stderr)
    );
    assert!(
        shown.contains("credentials") && shown.contains("fix:"),
        "{shown}"
    );
}

#[test]
fn what_is_added_to_a_desktop_client_starts() {
    let folder = tempfile::tempdir().unwrap();
    let start = Start::on(folder.path());
    let settings = folder.path().join("home/.cursor/mcp.json");
    fs::create_dir_all(settings.parent().unwrap()).unwrap();
    let before = "{\n  // kept\n  \"mcpServers\": {\"other\": {\"command\": \"x\"}}\n}\n";
    fs::write(&settings, before).unwrap();

    let dry = start
        .clone()
        .arguments(&["init", "cursor", "--dry-run"])
        .run();
    assert_eq!(dry.status.code(), Some(0), "{}", text(&dry.stderr));
    assert_eq!(
        fs::read_to_string(&settings).unwrap(),
        before,
        "a dry run wrote"
    );
    let output = start.clone().arguments(&["init", "cursor"]).run();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));

    let written = fs::read_to_string(&settings).unwrap();
    assert!(written.contains("// kept"), "{written}");
    let written: Value = serde_json::from_str(&written.replace("// kept", "")).unwrap();
    assert_eq!(written["mcpServers"]["other"], json!({"command": "x"}));
    let entry = &written["mcpServers"]["agent-mesh"];
    let copies = fs::read_dir(settings.parent().unwrap()).unwrap().flatten();
    let is_backup =
        |path: &std::path::Path| fs::read_to_string(path).is_ok_and(|copy| copy == before);
    assert!(
        copies.map(|copy| copy.path()).any(|path| is_backup(&path)),
        "no backup"
    );

    // As that client would start it.
    let mut command = Command::new(entry["command"].as_str().unwrap());
    command.env_clear().env("HOME", folder.path().join("home"));
    command.args(
        entry["args"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str),
    );
    for (name, value) in entry["env"].as_object().unwrap() {
        command.env(name, value.as_str().unwrap());
    }
    let mut client = Client::of(Server::of(
        &mut command,
        Reads {
            output: true,
            log: true,
        },
    ));
    client.initialize("2025-06-18");
    client.ask("kv_set", json!({"key": "a", "value": 1}));
    client.finish();
    assert!(
        start.data().exists(),
        "it uses another folder than the one that was set"
    );
}
