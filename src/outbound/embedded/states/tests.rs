//! Whole executions on a folder of their own, with a clock that tests move and work that tests script.

mod children;
mod errors;
mod owners;
mod resume;
mod stopping;
mod walks;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use super::asl::{StateError, StateResult};
use super::definition::Definitions;
use super::disk::Disk;
use super::runner::Runner;
use super::work::{Work, Worker};
use super::{api, name};
use crate::mesh::{Clock, ManualClock, Timestamp};
use crate::outbound::embedded::folder::Folder;

/// The longest that anything is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the work of tests is done: by what the arguments say, noting each call.
#[derive(Default)]
struct Script {
    /// Every call: its step and its arguments.
    calls: Mutex<Vec<(String, Value)>>,
    /// Errors that the next calls with this `fail` key meet, before they succeed.
    failures: Mutex<BTreeMap<String, Vec<String>>>,
    /// Lets one call with `gate` after another go on.
    gate: Gate,
}

/// Closed at first.
struct Gate(Semaphore);

impl Default for Gate {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

impl Script {
    fn fail(&self, key: &str, errors: &[&str]) {
        let errors = errors.iter().rev().map(|error| (*error).to_owned());
        self.failures
            .lock()
            .unwrap()
            .insert(key.to_owned(), errors.collect());
    }

    fn calls(&self) -> Vec<Value> {
        let calls = self.calls.lock().unwrap();
        calls
            .iter()
            .map(|(_, arguments)| arguments.clone())
            .collect()
    }

    fn steps(&self) -> Vec<String> {
        let calls = self.calls.lock().unwrap();
        calls.iter().map(|(step, _)| step.clone()).collect()
    }
}

impl Worker for Script {
    /// `{"hang": true}` never ends, `{"gate": true}` does when a test lets it, `{"fail": key}` meets the failures of that key, all else is echoed.
    fn work(&self, work: Work) -> BoxFuture<'_, StateResult<Value>> {
        let arguments = work.arguments.clone();
        self.calls
            .lock()
            .unwrap()
            .push((work.step, arguments.clone()));
        async move {
            if arguments["hang"] == true {
                return std::future::pending().await;
            }
            if arguments["gate"] == true {
                self.gate.0.acquire().await.unwrap().forget();
            }
            let key = arguments["fail"].as_str().unwrap_or_default();
            let failure = self
                .failures
                .lock()
                .unwrap()
                .get_mut(key)
                .and_then(Vec::pop);
            match failure {
                Some(error) => Err(StateError::new(error, "on purpose")),
                None => Ok(json!({"echo": arguments})),
            }
        }
        .boxed()
    }
}

/// A folder in which executions run.
struct Stage {
    folder: Arc<TempDir>,
    clock: Arc<ManualClock>,
    script: Arc<Script>,
    runner: Arc<Runner>,
}

impl Stage {
    fn new() -> Self {
        Self::beside(
            Arc::new(TempDir::new().unwrap()),
            Timestamp::from_seconds(1_800_000_000),
        )
    }

    /// Another process's view of the same folder, with work of its own.
    fn beside(folder: Arc<TempDir>, now: Timestamp) -> Self {
        Self::working(folder, now, Arc::default())
    }

    fn working(folder: Arc<TempDir>, now: Timestamp, script: Arc<Script>) -> Self {
        let clock = Arc::new(ManualClock::at(now));
        let runner = runner(
            folder.path(),
            Arc::clone(&clock) as _,
            Arc::clone(&script) as _,
        );
        Self {
            folder,
            clock,
            script,
            runner,
        }
    }

    /// Another process on the same folder.
    fn other(&self) -> Self {
        Self::beside(Arc::clone(&self.folder), self.clock.now())
    }

    fn define(&self, name: &str, definition: &Value) {
        let folder = self.runner.definitions.folder();
        fs::create_dir_all(folder).unwrap();
        fs::write(
            folder.join(format!("{name}.asl.json")),
            definition.to_string(),
        )
        .unwrap();
    }

    async fn ask(&self, operation: &str, body: &Value) -> (u16, Value) {
        let answer = api::answer(&self.runner, operation, body.to_string().as_bytes()).await;
        (answer.status, serde_json::from_slice(&answer.body).unwrap())
    }

    async fn start(&self, machine: &str, execution: &str, input: &Value) -> String {
        let body = json!({
            "stateMachineArn": name::machine_arn(machine),
            "name": execution,
            "input": input.to_string(),
        });
        let (status, answer) = self.ask("StartExecution", &body).await;
        assert_eq!(status, 200, "{answer}");
        answer["executionArn"].as_str().unwrap().to_owned()
    }

    async fn describe(&self, execution: &str) -> Value {
        let (status, answer) = self
            .ask("DescribeExecution", &json!({"executionArn": execution}))
            .await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// Waits until `is_so`, which something under way will make true.
    async fn until(&self, is_so: impl AsyncFn() -> bool) {
        let waiting = async {
            while !is_so().await {
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    }

    /// The end of the execution.
    async fn end(&self, execution: &str) -> Value {
        self.until(async || self.describe(execution).await["status"] != "RUNNING")
            .await;
        self.describe(execution).await
    }

    /// Runs a definition from start to end on a machine of its own.
    async fn run(&self, definition: &Value, input: &Value) -> Value {
        self.define("m", definition);
        let number = ulid::Ulid::generate();
        let execution = self.start("m", &format!("x-{number}"), input).await;
        self.end(&execution).await
    }

    /// The output of a definition that succeeds.
    async fn output(&self, definition: &Value, input: &Value) -> Value {
        let end = self.run(definition, input).await;
        assert_eq!(end["status"], "SUCCEEDED", "{end}");
        serde_json::from_str(end["output"].as_str().unwrap()).unwrap()
    }

    /// The kinds of the events of an execution, in order.
    async fn kinds(&self, execution: &str) -> Vec<String> {
        let mut kinds = Vec::new();
        let mut token = Value::Null;
        loop {
            let mut body = json!({"executionArn": execution, "maxResults": 1000});
            if !token.is_null() {
                body["nextToken"] = token;
            }
            let (status, answer) = self.ask("GetExecutionHistory", &body).await;
            assert_eq!(status, 200, "{answer}");
            for event in answer["events"].as_array().unwrap() {
                assert_eq!(event["id"], kinds.len() + 1);
                assert!(event["previousEventId"].as_i64().unwrap() <= kinds.len() as i64);
                kinds.push(event["type"].as_str().unwrap().to_owned());
            }
            token = answer["nextToken"].clone();
            if token.is_null() {
                return kinds;
            }
        }
    }

    /// What is on the disk of an execution that runs.
    async fn frames(&self) -> usize {
        let count = |connection: &rusqlite::Connection| {
            connection.query_row("SELECT count(*) FROM frames", [], |row| row.get(0))
        };
        self.runner.disk.read(count).await.unwrap().unwrap_or(0)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.runner.cut();
    }
}

fn runner(folder: &Path, clock: Arc<dyn Clock>, worker: Arc<dyn Worker>) -> Arc<Runner> {
    let folder = Folder::open(folder).unwrap();
    Runner::new(
        Disk::open(&folder).unwrap(),
        clock,
        Definitions::new(folder.workflows_path()),
        worker,
        folder.workflow_owners_path(),
    )
}

/// A machine of these states, which begins with the first.
fn machine(states: Value) -> Value {
    let first = states.as_object().unwrap().keys().next().unwrap().clone();
    json!({"StartAt": first, "States": states})
}

/// A Task with these arguments that ends its flow.
fn task(parameters: Value) -> Value {
    json!({
        "Type": "Task",
        "Resource": "arn:aws:states:::agent-mesh:kv_set",
        "Parameters": parameters,
        "End": true,
    })
}

/// `state` with more members.
fn with(mut state: Value, more: Value) -> Value {
    let Value::Object(more) = more else {
        panic!("members")
    };
    for (name, value) in more {
        if value.is_null() {
            state.as_object_mut().unwrap().shift_remove(&name);
        } else {
            state[name] = value;
        }
    }
    state
}

/// `state`, followed by another.
fn then(state: Value, next: &str) -> Value {
    with(state, json!({"End": null, "Next": next}))
}
