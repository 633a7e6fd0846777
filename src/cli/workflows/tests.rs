//! The commands as a person types them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::config::Environment;

const GOOD: &str = r#"{
  "StartAt": "Save",
  "States": {
    "Save": {
      "Type": "Task",
      "Resource": "arn:aws:states:::agent-mesh:kv_set",
      "Parameters": {"key.$": "$.input.key", "value.$": "$.input.value", "scope": "tenant"},
      "ResultPath": "$.saved",
      "Next": "Done"
    },
    "Done": {"Type": "Pass", "OutputPath": "$.saved.key", "End": true}
  }
}"#;

const FAILING: &str = r#"{"StartAt": "No", "States": {"No": {"Type": "Fail", "Error": "Sad", "Cause": "on purpose"}}}"#;

fn folder(definitions: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    let workflows = folder.path().join("workflows");
    fs::create_dir(&workflows).unwrap();
    for (name, text) in definitions {
        fs::write(workflows.join(format!("{name}.asl.json")), text).unwrap();
    }
    folder
}

fn workflows(folder: &Path, words: &[&str], more: &[(&str, &str)]) -> (ExitStatus, String, String) {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }
    let data = folder.to_str().unwrap();
    let variables = [("AGENT_MESH_DATA_DIR", data)];
    let environment = Environment {
        variables: variables
            .iter()
            .chain(more)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        data_home: Some(folder.to_owned()),
        working_dir: folder.to_owned(),
        login_name: Some("ada".to_owned()),
        ..Environment::default()
    };
    let config = Config::from_sources(&BTreeMap::new(), &environment, None).unwrap();
    let words = ["workflows"].iter().chain(words);
    let line = <Line as clap::Parser>::try_parse_from(words).unwrap();
    let (mut output, captured) = Output::captured();
    let status = run(&line.arguments, &config, &mut output);
    (status, captured.stdout(), captured.stderr())
}

#[test]
fn check_tells_flaws_with_their_places_and_what_is_not_portable() {
    let wrong = GOOD.replace("\"Next\": \"Done\"", "\"Next\": \"Dome\"");
    let mistyped = GOOD.replace("\"End\"", "\"Ende\"");
    let folder = folder(&[("good", GOOD), ("wrong", &wrong), ("mistyped", &mistyped)]);
    let check = |words: &[&str]| {
        let words: Vec<&str> = ["check"].iter().chain(words).copied().collect();
        workflows(folder.path(), &words, &[])
    };
    let (status, told, _) = check(&["good"]);
    assert_eq!(status, ExitStatus::Success, "{told}");
    assert!(told.contains("good, 2 states"), "{told}");
    assert!(told.contains("good.asl.json:4"), "{told}");
    assert!(
        told.contains("Save calls kv_set") && told.contains("dynamodb:putItem"),
        "{told}"
    );
    assert_eq!(check(&["good", "--portable"]).0, ExitStatus::Found);
    let (status, told, _) = check(&[]);
    assert_eq!(status, ExitStatus::Found);
    assert!(
        told.contains("wrong.asl.json:9") && told.contains("Dome"),
        "{told}"
    );
    assert!(
        told.contains("mistyped.asl.json:11") && told.contains("Ende"),
        "{told}"
    );
    let (status, told, _) = check(&["wrong", "--json"]);
    assert_eq!(status, ExitStatus::Found);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told[0]["good"], false);
    let flaws = told[0]["flaws"].as_array().unwrap();
    assert!(flaws.iter().any(|flaw| flaw["line"] == 9), "{flaws:?}");
    let file = folder.path().join("workflows/good.asl.json");
    assert_eq!(check(&[file.to_str().unwrap()]).0, ExitStatus::Success);
    let (status, _, told) = check(&["none"]);
    assert_eq!(status, ExitStatus::Failure);
    assert!(
        told.contains("there is no") && told.contains("none.asl.json"),
        "{told}"
    );
}

#[test]
fn list_tells_what_may_be_started_and_what_is_wrong_with_it() {
    let folder = folder(&[("good", GOOD), ("wrong", "{}")]);
    let arn = "arn:aws:states:us-west-2:123456789012:stateMachine:refund";
    let given = format!("refund={arn}");
    let (status, told, _) = workflows(folder.path(), &["list"], &[]);
    assert_eq!(status, ExitStatus::Success);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 2, "{told}");
    assert!(lines[0].starts_with("good") && lines[0].ends_with("good.asl.json"));
    assert!(lines[1].contains("workflows check wrong"), "{told}");
    let on_aws = [
        ("AGENT_MESH_BACKEND", "aws"),
        ("AGENT_MESH_WORKFLOWS", given.as_str()),
    ];
    let (status, told, _) = workflows(folder.path(), &["list", "--json"], &on_aws);
    assert_eq!(status, ExitStatus::Success, "{told}");
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        told,
        serde_json::json!([{"name": "refund", "place": arn, "good": true}])
    );
    let empty = TempDir::new().unwrap();
    let (status, told, _) = workflows(empty.path(), &["list"], &[]);
    assert_eq!(status, ExitStatus::Success);
    assert!(told.contains("There are no workflows yet"), "{told}");
}

#[test]
fn run_follows_a_workflow_to_its_end_and_its_status_says_how_that_was() {
    let folder = folder(&[("good", GOOD), ("failing", FAILING)]);
    let input = r#"{"key":"k","value":{"n":1}}"#;
    let words = ["run", "good", "--input", input, "--wait"];
    let (status, told, wrong) = workflows(folder.path(), &words, &[]);
    assert_eq!(status, ExitStatus::Success, "{told}{wrong}");
    for part in [
        "TaskStateEntered",
        "Save",
        "ExecutionSucceeded",
        "succeeded",
        "\"k\"",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let (status, told, _) = workflows(folder.path(), &["run", "failing", "--wait"], &[]);
    assert_eq!(status, ExitStatus::Failure);
    assert!(
        told.contains("failed  Sad") && told.contains("on purpose"),
        "{told}"
    );
    let (status, told, _) = workflows(folder.path(), &["run", "failing", "--wait", "--json"], &[]);
    assert_eq!(status, ExitStatus::Failure);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        (&told["status"], &told["error"]),
        (&"failed".into(), &"Sad".into())
    );
    let (status, _, told) = workflows(folder.path(), &["run", "none"], &[]);
    assert_eq!(status, ExitStatus::Failure);
    assert!(
        told.contains("NOT_FOUND") && told.contains("failing, good"),
        "{told}"
    );
    let (status, _, told) = workflows(folder.path(), &["run", "good", "--input", "{"], &[]);
    assert_eq!(status, ExitStatus::Usage);
    assert!(told.contains("not JSON"), "{told}");
}

#[test]
fn a_run_that_nobody_waits_for_is_there_for_the_next_process() {
    let folder = folder(&[("good", GOOD)]);
    let input = r#"{"key":"k","value":1}"#;
    let (status, told, _) = workflows(
        folder.path(),
        &["run", "good", "--input", input, "--json"],
        &[],
    );
    assert_eq!(status, ExitStatus::Success, "{told}");
    let started: Value = serde_json::from_str(&told).unwrap();
    assert!(started["run_id"].is_string(), "{told}");
}
