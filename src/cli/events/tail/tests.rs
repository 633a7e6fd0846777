//! The newest events as a person and as a program sees them.

use std::collections::BTreeMap;

use super::*;
use crate::config::Environment;

struct Installation(tempfile::TempDir);

impl Installation {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn config(&self, variables: &[(&str, &str)]) -> Config {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let environment = Environment {
            variables: variables.collect(),
            data_home: Some(self.0.path().to_owned()),
            working_dir: self.0.path().to_owned(),
            login_name: Some("ada".to_owned()),
            ..Environment::default()
        };
        Config::from_sources(&BTreeMap::new(), &environment, None).unwrap()
    }

    /// Makes calls, each in turn.
    fn call(&self, calls: &[(Tool, &str)]) {
        let (mut output, _) = Output::captured();
        InProcess::run(&self.config(&[]), &mut output, async |server, _| {
            for (tool, arguments) in calls {
                server.call(*tool, arguments).await.1.unwrap();
                // Events of one millisecond stand in no particular order.
                sleep(Duration::from_millis(2)).await;
            }
            ExitStatus::Success
        });
    }

    fn tail(&self, words: &[&str]) -> (ExitStatus, String, String) {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            tail: Tail,
        }
        let line = <Line as clap::Parser>::try_parse_from(["tail"].iter().chain(words)).unwrap();
        let (mut output, captured) = Output::captured();
        let status = run(&line.tail, &self.config(&[]), &mut output);
        (status, captured.stdout(), captured.stderr())
    }
}

const SET: (Tool, &str) = (Tool::KvSet, r#"{"key":"a","value":1}"#);
const WRONG: (Tool, &str) = (Tool::KvGet, "{}");
const SENT: (Tool, &str) = (
    Tool::EventsSend,
    r#"{"detail_type":"Order.Shipped","detail":{ "price": 10.50 }}"#,
);

#[test]
fn the_newest_events_are_shown_the_oldest_of_them_first() {
    let installation = Installation::new();
    installation.call(&[SET, WRONG, SENT]);
    let (status, shown, _) = installation.tail(&[]);
    assert_eq!(status, ExitStatus::Success);
    let lines: Vec<_> = shown.lines().collect();
    assert_eq!(lines.len(), 3, "{shown}");
    for (line, words) in lines.iter().zip([
        &["  ok       KV.Set ", "ada", r#""key":"a""#][..],
        &["  error    KV.Get ", "INVALID_PARAMETER"],
        &["  ok       Order.Shipped ", r#"{"price":10.50}"#],
    ]) {
        assert!(words.iter().all(|word| line.contains(word)), "{line}");
    }
    let (_, last, _) = installation.tail(&["-n", "1", "--type", "Order.Shipped"]);
    assert_eq!(last.lines().collect::<Vec<_>>(), [lines[2]]);
    let (_, failed, _) = installation.tail(&["--outcome", "error"]);
    assert_eq!(failed.lines().collect::<Vec<_>>(), [lines[1]]);
    let (_, none, told) = installation.tail(&["--tool", "kv_delete"]);
    assert_eq!(
        (none.as_str(), told.as_str()),
        ("", "no such event in the last 24 hours\n")
    );
}

#[test]
fn as_json_each_event_has_a_line_and_its_digits() {
    let installation = Installation::new();
    installation.call(&[SENT]);
    let (_, shown, _) = installation.tail(&["--json"]);
    assert_eq!(shown.lines().count(), 1, "{shown}");
    assert!(shown.contains(r#""detail":{"price":10.50}"#), "{shown}");
    let event: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(event["detail_type"], "Order.Shipped");
}

#[test]
fn more_than_a_page_is_fetched_page_by_page() {
    let installation = Installation::new();
    installation.call(&[SET; PAGE + 7]);
    let (_, shown, _) = installation.tail(&["-n", "1000", "--json"]);
    assert_eq!(shown.lines().count(), PAGE + 7);
    let (_, shown, _) = installation.tail(&["-n", "105", "--json", "--type", "KV.Set"]);
    assert_eq!(shown.lines().count(), 105);
}

#[test]
fn where_events_are_not_offered_that_is_told() {
    let installation = Installation::new();
    let config = installation.config(&[("AGENT_MESH_TOOLSETS", "kv")]);
    let (mut output, captured) = Output::captured();
    let options = Tail {
        follow: false,
        limit: 1,
        hours: 1,
        detail_type: None,
        tool: None,
        outcome: None,
        json: false,
    };
    assert_eq!(run(&options, &config, &mut output), ExitStatus::Failure);
    assert!(captured.stderr().contains("AGENT_MESH_TOOLSETS"));
}

#[test]
fn ids_are_remembered_up_to_a_number_and_the_oldest_is_forgotten() {
    let mut remembered = Remembered::default();
    for id in 0..REMEMBERED_MAX {
        assert!(remembered.is_new(&id.to_string()));
    }
    assert!(!remembered.is_new("0"), "at the edge all are remembered");
    assert!(remembered.is_new("one more"));
    assert!(remembered.is_new("0"), "one past it the oldest is not");
    assert_eq!(remembered.ids.len(), REMEMBERED_MAX);
}

#[test]
fn only_what_may_pass_is_waited_for() {
    let limited = r#"{"error":{"code":"RATE_LIMITED","retryable":true,"retry_after_ms":20}}"#;
    assert_eq!(wait_of(limited), Some(Duration::from_millis(20)));
    assert_eq!(
        wait_of(r#"{"error":{"code":"NOT_FOUND","retryable":false}}"#),
        None
    );
}

#[test]
fn a_long_detail_is_shortened() {
    let edge = "x".repeat(DETAIL_CHARS_MAX);
    assert_eq!(shortened(&edge), edge);
    assert_eq!(shortened(&format!("{edge}x")), format!("{edge}..."));
}
