//! What the commands of the tools print, and how they end.

use std::collections::BTreeMap;

use super::*;
use crate::config::Environment;

/// Runs `tools` with these words, under these settings, on an embedded cloud of its own.
struct Shell {
    folder: tempfile::TempDir,
    variables: BTreeMap<String, String>,
}

impl Shell {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            variables: BTreeMap::new(),
        }
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    fn run(&self, words: &[&str]) -> (ExitStatus, String, String) {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            arguments: Arguments,
        }
        let environment = Environment {
            variables: self.variables.clone(),
            data_home: Some(self.folder.path().to_owned()),
            working_dir: self.folder.path().to_owned(),
            login_name: Some("ada".to_owned()),
            ..Environment::default()
        };
        let config = Config::from_sources(&BTreeMap::new(), &environment, None).unwrap();
        let words = ["tools"].iter().chain(words);
        let line = <Line as clap::Parser>::try_parse_from(words).unwrap();
        let (mut output, captured) = Output::captured();
        let status = run(&line.arguments, &config, &mut output);
        (status, captured.stdout(), captured.stderr())
    }
}

#[test]
fn the_list_has_the_tools_that_the_user_may_call() {
    let (status, all, _) = Shell::new().run(&["list"]);
    assert_eq!(status, ExitStatus::Success);
    assert!(all.contains("kv_get") && all.contains("kv_set"));
    assert!(all.ends_with("tells what one takes.\n"), "{all}");
    let viewer = Shell::new().set("AGENT_MESH_ROLE", "viewer");
    let (_, some, _) = viewer.run(&["list"]);
    assert!(
        some.contains("kv_get") && !some.contains("kv_set"),
        "{some}"
    );
    let (_, json, _) = viewer.run(&["list", "--json"]);
    let listed: Value = serde_json::from_str(&json).unwrap();
    let names: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| &tool["name"])
        .collect();
    assert!(names.contains(&&"kv_get".into()) && !names.contains(&&"kv_set".into()));
    let (_, none, _) = Shell::new()
        .set("AGENT_MESH_TOOLSETS", "events")
        .run(&["list"]);
    assert!(!none.contains("kv_get"), "{none}");
}

#[test]
fn a_tool_is_described_for_people_and_for_programs() {
    let shell = Shell::new();
    let (status, text, _) = shell.run(&["describe", "kv_set"]);
    assert_eq!(status, ExitStatus::Success);
    for words in ["kv_set: ", "key*  ", "kv.write", "ttl_hours", "Answer"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let (_, json, _) = shell.run(&["describe", "kv.set", "--json"]);
    let described: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(described["name"], "kv_set");
    assert_eq!(described["inputSchema"]["additionalProperties"], false);
}

#[test]
fn a_call_prints_its_result_to_the_digit_and_ends_with_0() {
    let shell = Shell::new();
    let (status, stdout, stderr) =
        shell.run(&["call", "kv_set", "key=a", "value=12345678901234567890.10"]);
    assert_eq!((status, stderr.as_str()), (ExitStatus::Success, ""));
    assert!(stdout.starts_with("{\n  \"key\": \"a\",\n"), "{stdout}");
    let (_, stdout, _) = shell.run(&["call", "kv_get", "--arguments", r#"{"key":"a"}"#]);
    assert!(
        stdout.contains("\"value\": 12345678901234567890.10,\n"),
        "{stdout}"
    );
    let (_, stdout, _) = shell.run(&["call", "kv_get", "key=a", "--json"]);
    assert_eq!(stdout.lines().count(), 1);
    assert!(
        stdout.contains("\"value\":12345678901234567890.10,"),
        "{stdout}"
    );
}

#[test]
fn a_call_that_fails_is_explained_and_ends_with_1() {
    let shell = Shell::new();
    let (status, stdout, stderr) = shell.run(&["call", "kv_get", "key="]);
    assert_eq!((status, stdout.as_str()), (ExitStatus::Failure, ""));
    for words in ["error: INVALID_PARAMETER: ", "\n  fix: ", "\n  request: "] {
        assert!(stderr.contains(words), "{words}: {stderr}");
    }
    let (status, stdout, stderr) = shell.run(&["call", "kv_get", "key=", "--json"]);
    assert_eq!((status, stderr.as_str()), (ExitStatus::Failure, ""));
    let result: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(result["error"]["code"], "INVALID_PARAMETER");
}

#[test]
fn a_call_takes_the_path_of_every_call() {
    let viewer = Shell::new().set("AGENT_MESH_ROLE", "viewer");
    let (status, _, stderr) = viewer.run(&["call", "kv_set", "key=a", "value=1"]);
    assert_eq!(status, ExitStatus::Failure);
    assert!(stderr.contains("PERMISSION_DENIED"), "{stderr}");
    let (_, stdout, _) = viewer.run(&["call", "events_query", "outcome=denied", "--json"]);
    let found: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(found["events"][0]["tool"], "kv_set", "{found}");
}

#[test]
fn a_wrong_command_line_is_2_and_names_what_is_near() {
    let shell = Shell::new();
    for (words, expected) in [
        (&["call", "kv_gte"][..], "did you mean `kv_get`?"),
        (&["describe", "resources/read"], "there is no tool"),
        (&["call", "kv_get", "key"], "KEY=VALUE"),
        (&["call", "kv_get", "--arguments", "[]"], "--arguments"),
    ] {
        let (status, stdout, stderr) = shell.run(words);
        assert_eq!(
            (status, stdout.as_str()),
            (ExitStatus::Usage, ""),
            "{words:?}"
        );
        assert!(stderr.contains(expected), "{words:?}: {stderr}");
    }
    let read_only = Shell::new().set("AGENT_MESH_READ_ONLY", "true");
    let (status, _, stderr) = read_only.run(&["call", "kv_set", "key=a", "value=1"]);
    assert_eq!(status, ExitStatus::Usage);
    assert!(stderr.contains("AGENT_MESH_READ_ONLY"), "{stderr}");
}

#[test]
fn under_tokens_a_call_says_how_to_call_as_oneself() {
    let shell = Shell::new();
    let keys = shell.folder.path().join("keys.json");
    std::fs::write(&keys, r#"{"keys":[]}"#).unwrap();
    let shell = shell
        .set("AGENT_MESH_IDENTITY", "jwt")
        .set("AGENT_MESH_JWKS", keys.to_str().unwrap())
        .set("AGENT_MESH_JWT_ISSUER", "https://id.example")
        .set("AGENT_MESH_JWT_AUDIENCE", "agent-mesh");
    let (status, _, stderr) = shell.run(&["call", "kv_get", "key=a"]);
    assert_eq!(status, ExitStatus::Failure);
    assert!(stderr.contains("AGENT_MESH_IDENTITY=env"), "{stderr}");
}
