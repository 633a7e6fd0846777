//! The commands for who runs the server: doctor, init aws, tools and events, as a shell meets them.

use std::io::{BufRead, BufReader};
use std::process::{Output, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::server::{Start, WAIT_MAX, run_to_end};

/// How long the doctor may take, whatever does not answer.
const DOCTOR_MAX: Duration = Duration::from_secs(15);

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// On AWS, where nothing answers and no credentials are.
fn without_aws(start: Start) -> Start {
    start
        .set("AWS_EC2_METADATA_DISABLED", "true")
        .set("AGENT_MESH_BACKEND", "aws")
        .set("AGENT_MESH_TENANT_ID", "acme")
}

fn with_credentials(start: Start) -> Start {
    start
        .set("AWS_ACCESS_KEY_ID", "test")
        .set("AWS_SECRET_ACCESS_KEY", "test")
        .set("AWS_REGION", "us-east-1")
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", text(&output.stdout), text(&output.stderr)))
}

#[test]
fn the_doctor_names_missing_credentials_and_their_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let start = without_aws(Start::on(folder.path())).arguments(&["doctor", "--json"]);
    let output = start.run();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(text(&output.stderr), "");
    let report = report(&output);
    let checks = report["checks"].as_array().unwrap();
    let fault = checks
        .iter()
        .find(|check| check["state"] == "fault")
        .unwrap();
    assert_eq!(
        (&fault["section"], &fault["part"]),
        (&"aws".into(), &"credentials".into())
    );
    assert!(
        fault["fix"].as_str().unwrap().contains("aws configure"),
        "{fault}"
    );
    assert!(!start.data().exists(), "looking made a folder");
}

#[test]
fn the_doctor_gives_up_on_what_does_not_answer() {
    // It takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let start = with_credentials(without_aws(Start::on(folder.path())))
        .set("AWS_ENDPOINT_URL", &url)
        .arguments(&["doctor", "--json"]);
    let output = run_to_end(&mut start.command(), DOCTOR_MAX);
    assert_eq!(output.status.code(), Some(3));
    let report = report(&output);
    assert!(report["faults"].as_u64().unwrap() >= 1, "{report}");
    let checks = report["checks"].as_array().unwrap();
    assert!(
        checks
            .iter()
            .all(|check| check["state"] == "ok" || check["fix"].is_string())
    );
}

#[test]
fn setting_aws_up_without_credentials_says_how_to_get_them() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["init", "aws", "--dry-run"][..], &["init", "aws", "--yes"]] {
        let output = without_aws(Start::on(folder.path()))
            .arguments(arguments)
            .run();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert_eq!(text(&output.stdout), "");
        let told = text(&output.stderr);
        assert!(
            told.contains("error: the server has no AWS credentials"),
            "{told}"
        );
        assert!(
            told.contains("fix: ") && told.contains("aws configure"),
            "{told}"
        );
    }
}

#[test]
fn a_call_of_one_process_is_read_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let call = |arguments: &[&str]| {
        let words: Vec<&str> = ["tools", "call"].iter().chain(arguments).copied().collect();
        Start::on(folder.path()).arguments(&words).run()
    };
    let output = call(&["kv_set", "key=a", r#"value={"n":1.50}"#]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let output = call(&["kv_get", "key=a", "--json"]);
    assert!(text(&output.stdout).contains(r#""value":{"n":1.50}"#));
    let output = call(&["kv_set", "key=a", "value=1", "if_absent=true"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("CONFLICT"));
}

#[test]
fn events_are_followed_across_processes_until_it_is_told_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let call = |key: &str| {
        let key = format!("key={key}");
        let arguments = ["tools", "call", "kv_set", key.as_str(), "value=1"];
        let output = Start::on(folder.path()).arguments(&arguments).run();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    };
    call("before");
    call("shown");
    let mut tail = Start::on(folder.path())
        .arguments(&["events", "tail", "--follow", "--json", "-n", "1"])
        .command()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let (sender, lines) = channel();
    let stdout = tail.stdout.take().unwrap();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let next = || {
        let line = lines.recv_timeout(WAIT_MAX).expect("an event");
        let event: Value = serde_json::from_str(&line).unwrap();
        event["detail"]["key"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(next(), "shown", "only as many as were wanted");
    call("later");
    assert_eq!(
        next(),
        "later",
        "neither an old event nor one of its own looks"
    );
    kill_process(Pid::from_child(&tail), Signal::INT).unwrap();
    assert_eq!(tail.wait().unwrap().code(), Some(0));
    assert_eq!(lines.try_iter().count(), 0);
}
