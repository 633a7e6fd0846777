//! One call of every tool and method that works, and what the tables of the contract say of it.

use std::cell::RefCell;

use agent_mesh::mesh::call::tool::Tool;
use serde_json::{Value, json};

use super::caller::Caller;
use super::{Failure, Fault};

/// What stands in values, contents and bodies, and in no event of an operation.
pub(crate) const SECRET: &str = "a secret of the caller";

thread_local! {
    /// The run that the samples ask for; each test has a thread of its own.
    static RUN: RefCell<String> = const { RefCell::new(String::new()) };

    /// The event that the samples ask for.
    static EVENT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Starts the run that the samples ask for.
pub(crate) async fn prepare_run(caller: &Caller) {
    let started = caller
        .ok(
            "workflow_start",
            json!({"name": "sample", "input": {"key": SECRET}}),
        )
        .await;
    let run_id = started["run_id"].as_str().expect("an id").to_owned();
    RUN.with_borrow_mut(|run| *run = run_id);
}

/// Sends the event that the samples ask for, as one of `caller`'s.
pub(crate) async fn prepare_event(caller: &Caller) {
    let event = json!({"detail_type": "Sample.Prepared", "detail": {"key": "sample"}});
    let sent = caller.ok("events_send", event).await;
    let event_id = sent["event_id"].as_str().expect("an id").to_owned();
    EVENT.with_borrow_mut(|event| *event = event_id);
}

fn sample_event() -> String {
    format!("mesh://events/{}", EVENT.with_borrow(Clone::clone))
}

fn sample_run() -> String {
    let run = RUN.with_borrow(Clone::clone);
    match run.is_empty() {
        true => "01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned(),
        false => run,
    }
}

/// Arguments with which `tool` works in a world that [`prepare`] has seen; for a method its parameters.
pub(crate) fn sample(tool: Tool) -> Value {
    match tool {
        Tool::KvGet => json!({"key": "sample", "scope": "tenant"}),
        Tool::KvSet => json!({"key": "sample-2", "value": SECRET, "scope": "tenant"}),
        Tool::KvDelete => json!({"key": "sample-3", "scope": "tenant"}),
        Tool::KvList => json!({"prefix": "sample", "scope": "tenant"}),
        Tool::ArtifactsGet => json!({"key": "sample", "scope": "tenant"}),
        Tool::ArtifactsPut => json!({"key": "sample-2", "content": SECRET, "scope": "tenant"}),
        Tool::ArtifactsDelete => json!({"key": "sample-3", "scope": "tenant"}),
        Tool::ArtifactsList => json!({"prefix": "sample", "scope": "tenant"}),
        Tool::EventsSend => json!({"detail_type": "Sample.Sent", "detail": {"key": "sample"}}),
        Tool::EventsQuery => json!({"detail_type": "KV.Set"}),
        Tool::EventsAnalytics => json!({"time_range": "1h"}),
        Tool::EventsHealthCheck => json!({}),
        Tool::EventsCreateRule => json!({
            "name": "sample-2", "pattern": {"detail": {"of": [SECRET]}}, "description": SECRET,
        }),
        Tool::EventsListRules => json!({}),
        Tool::EventsDeleteRule => json!({"name": "sample-3"}),
        Tool::EventsCreateAlert => json!({
            "name": "sample-2", "pattern": {"detail": {"of": [SECRET]}}, "method": "sns", "topic": "ops",
        }),
        Tool::EventsDeleteAlert => json!({"name": "sample-3"}),
        Tool::IntegrationApprove => json!({"service_id": "sample", "tool": "echo"}),
        Tool::IntegrationConnect => json!({
            "service_id": "sample", "connection_id": "another", "credentials": {"token": SECRET},
        }),
        Tool::IntegrationDisconnect => json!({"service_id": "sample", "connection_id": "third"}),
        Tool::IntegrationList => json!({}),
        Tool::IntegrationRegister => json!({
            "service_id": "sample-2", "name": "Sample", "server_type": "http",
            "url": "https://sample.example/mcp",
        }),
        Tool::IntegrationTest => json!({"service_id": "sample"}),
        Tool::IntegrationUnregister => json!({"service_id": "sample-3"}),
        Tool::McpListTools => json!({"query": "say something"}),
        Tool::McpProxy => json!({"tool_name": "sample.echo", "arguments": {"text": SECRET}}),
        Tool::WorkflowList => json!({"name": "sample"}),
        Tool::WorkflowStart => json!({"name": "sample", "input": {"secret": SECRET}}),
        Tool::WorkflowStatus => json!({"run_id": sample_run(), "history": true}),
        Tool::WorkflowStop => json!({"run_id": sample_run(), "reason": SECRET}),
        Tool::Complete => json!({
            "ref": {"type": "ref/resource", "uri": "mesh://artifacts/{scope}/{+key}"},
            "argument": {"name": "key", "value": "sample"},
        }),
        Tool::ResourcesList => json!({}),
        Tool::ResourcesRead => json!({"uri": "mesh://artifacts/tenant/sample"}),
        Tool::ValuesRead => json!({"uri": "mesh://values/tenant/sample"}),
        Tool::EventRead => json!({"uri": sample_event()}),
        Tool::ResourcesSubscribe => json!({"uri": "mesh://artifacts/tenant/sample"}),
        Tool::AlertsRead | Tool::AlertsSubscribe => json!({"uri": "mesh://alerts"}),
    }
}

/// Stores what the samples read, as somebody of the tenant.
pub(crate) async fn prepare(caller: &Caller) {
    caller
        .ok(
            "kv_set",
            json!({"key": "sample", "value": SECRET, "scope": "tenant"}),
        )
        .await;
    caller
        .ok(
            "artifacts_put",
            json!({"key": "sample", "content": SECRET, "scope": "tenant"}),
        )
        .await;
    prepare_run(caller).await;
    prepare_event(caller).await;
}

/// Registers the integration that the samples use, as an administrator, and connects them to it.
pub(crate) async fn prepare_integration(admin: &Caller) {
    let sample = json!({
        "service_id": "sample", "name": "Sample", "server_type": "http",
        "url": "https://sample.example/mcp",
    });
    admin.ok("integration_register", sample).await;
    prepare_connection(admin).await;
}

/// Connects `caller` to that integration.
pub(crate) async fn prepare_connection(caller: &Caller) {
    caller
        .ok("integration_connect", json!({"service_id": "sample"}))
        .await;
}

/// How a call ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// It worked, and this is the text of its result.
    Worked(String),
    /// It failed as a call.
    Failed(Failure),
    /// It was no call.
    NoCall(Fault),
}

/// Calls `tool`, whatever it is called by. What fails by a method is told under `error` in its data.
pub(crate) async fn call(caller: &Caller, tool: Tool, arguments: Value) -> Ending {
    let outcome = if tool.is_listed() {
        match caller.call(tool.name(), arguments).await {
            Ok(answer) if answer.is_error => return Ending::Failed(Failure::of(answer.value())),
            Ok(answer) => Ok(answer.text),
            Err(fault) => Err(fault),
        }
    } else {
        caller.request(tool.name(), arguments).await
    };
    match outcome {
        Ok(text) => Ending::Worked(text),
        Err(fault) if fault.data.get("error").is_some() => {
            Ending::Failed(Failure::of(fault.data.clone()))
        }
        Err(fault) => Ending::NoCall(fault),
    }
}

impl Ending {
    /// The text of the result of a call that worked.
    pub(crate) fn worked(self, what: &str) -> String {
        match self {
            Self::Worked(text) => text,
            other => panic!("{what}: {other:?}"),
        }
    }

    /// The error of a call that failed.
    pub(crate) fn failed(self, what: &str) -> Failure {
        match self {
            Self::Failed(failure) => failure,
            other => panic!("{what}: {other:?}"),
        }
    }
}
