//! Tasks of the 2026-07-28 revision, each backed by the row of a workflow run.

use std::time::Duration;

use agent_mesh::inbound::session::{DrainTimes, serve};
use agent_mesh::inbound::transport::{Limits, memory};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CancelTaskParams, ClientCapabilities, ClientConfig,
    GetTaskParams, Implementation, ProtocolVersion, TaskPayload, TaskStatus,
};
use rmcp::service::{ClientLifecycleMode, ClientServiceExt as _};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::client::patiently;
use crate::support::{Caller, Plan, World};

/// What a client says in every request that knows tasks.
const KNOWS_TASKS: &str = "io.modelcontextprotocol/tasks";

const ECHO: &str = r#"{"StartAt": "Echo", "States": {"Echo": {"Type": "Pass", "End": true}}}"#;

const FAIL: &str =
    r#"{"StartAt": "Fail", "States": {"Fail": {"Type": "Fail", "Error": "Out.OfStock"}}}"#;

fn plan() -> Plan {
    Plan::default().machine("echo", ECHO).machine("fail", FAIL)
}

/// The same caller in the revision without a handshake, as a client that knows tasks.
fn knowing(caller: Caller) -> Caller {
    caller.stateless().with_meta(
        "io.modelcontextprotocol/clientCapabilities",
        json!({"extensions": {KNOWS_TASKS: {}}}),
    )
}

async fn start(caller: &Caller, name: &str) -> Value {
    let params =
        json!({"name": "workflow_start", "arguments": {"name": name, "input": {"n": 1.5}}});
    caller.get("tools/call", params).await
}

/// How the task is once it no longer works.
async fn settled(caller: &Caller, task: &Value) -> Value {
    patiently(async {
        loop {
            let params = json!({"taskId": task["taskId"]});
            let now = caller.get("tasks/get", params).await;
            assert_eq!(now["resultType"], "complete");
            assert_eq!(now["taskId"], task["taskId"]);
            if now["status"] != "working" {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_client_that_knows_tasks_gets_one_with_the_output_as_its_result() {
    let world = plan().open().await;
    let caller = knowing(world.over(world.connect()));
    let task = start(&caller, "echo").await;
    assert_eq!(task["resultType"], "task", "{task}");
    assert!(
        task["ttlMs"].is_u64() && task["pollIntervalMs"].is_u64(),
        "{task}"
    );
    let done = settled(&caller, &task).await;
    assert_eq!(done["status"], "completed");
    let result = &done["result"];
    assert_eq!(result["isError"], false);
    assert_eq!(result["structuredContent"]["status"], "succeeded");
    assert_eq!(
        result["structuredContent"]["output"]["input"],
        json!({"n": 1.5})
    );
    let text: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(text, result["structuredContent"]);
    let status = caller
        .ok("workflow_status", json!({"run_id": task["taskId"]}))
        .await;
    assert_eq!(status["run_id"], task["taskId"], "the task is the run");

    let failed = start(&caller, "fail").await;
    let failed = settled(&caller, &failed).await;
    assert_eq!(
        (&failed["status"], &failed["result"]["isError"]),
        (&json!("completed"), &json!(true))
    );
    assert_eq!(
        failed["result"]["structuredContent"]["error"],
        "Out.OfStock"
    );
}

#[tokio::test]
async fn a_task_is_cancelled_by_stopping_its_run() {
    let world = plan().open().await;
    let caller = knowing(world.over(world.connect()));
    let task = start(&caller, "sample").await;
    assert_eq!(task["status"], "working");
    let ack = caller
        .get("tasks/cancel", json!({"taskId": task["taskId"]}))
        .await;
    assert_eq!(ack, json!({"resultType": "complete"}));
    assert_eq!(settled(&caller, &task).await["status"], "cancelled");
    let input = json!({"taskId": task["taskId"], "inputResponses": {}});
    let refused = caller.request("tasks/update", input).await.unwrap_err();
    assert_eq!(refused.code, -32602);
}

#[tokio::test]
async fn a_client_that_somebody_else_wrote_follows_a_task_to_its_end() {
    let world = plan().open().await;
    let (transport, pipe) = memory(Limits::default());
    let ended = CancellationToken::new();
    let session = serve(
        world.app.server(),
        transport,
        ended.clone(),
        DrainTimes::default(),
    );
    let session = tokio::spawn(session);
    let config = ClientConfig::new(
        ClientCapabilities::builder().enable_tasks().build(),
        Implementation::from_build_env(),
    );
    let lifecycle = ClientLifecycleMode::Discover {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
    };
    let client = config.serve_with_lifecycle(pipe, lifecycle).await.unwrap();
    let start = async |name: &str| {
        let arguments = json!({ "name": name }).as_object().unwrap().clone();
        let params = CallToolRequestParams::new("workflow_start").with_arguments(arguments);
        match client.peer().call_tool_once(params).await.unwrap() {
            CallToolResponse::Task(created) => created.task,
            other => panic!("{other:?}"),
        }
    };
    let settled = async |task_id: &str| {
        patiently(async {
            loop {
                let params = GetTaskParams::new(task_id);
                let now = client.peer().get_task(params).await.unwrap().task;
                if now.status().is_terminal() {
                    return now;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    };
    let task = start("echo").await;
    match settled(&task.task_id).await.payload {
        TaskPayload::Completed { result } => {
            assert_eq!(result["structuredContent"]["run_id"], json!(task.task_id));
        }
        other => panic!("{other:?}"),
    }
    let task = start("sample").await;
    let cancel = CancelTaskParams::new(task.task_id.clone());
    client.peer().cancel_task(cancel).await.unwrap();
    let status = settled(&task.task_id).await.status();
    assert_eq!(status, TaskStatus::Cancelled);
    client.cancel().await.unwrap();
    ended.cancel();
    session.await.unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_know_tasks_sees_nothing_of_them() {
    let world = plan().open().await;
    let older = world.connect();
    let handshake = older.initialize("2025-11-25").await;
    assert!(
        handshake["capabilities"].get("extensions").is_none(),
        "{handshake}"
    );
    let caller = world.over(older);
    let started = caller.ok("workflow_start", json!({"name": "echo"})).await;
    assert!(started.get("run_id").is_some());
    let plain = world.stateless();
    let started = plain.ok("workflow_start", json!({"name": "echo"})).await;
    let params = json!({"taskId": started["run_id"]});
    assert_eq!(
        plain.request("tasks/get", params).await.unwrap_err().code,
        -32021
    );
    let discovered = plain.get("server/discover", json!({})).await;
    assert!(
        discovered["capabilities"]["extensions"]
            .get(KNOWS_TASKS)
            .is_some(),
        "{discovered}"
    );
    let without = Plan::default()
        .set("AGENT_MESH_TOOLSETS", "kv")
        .open()
        .await;
    let discovered = without.stateless().get("server/discover", json!({})).await;
    assert!(discovered["capabilities"].get("extensions").is_none());
}

#[tokio::test]
async fn a_task_of_another_tenant_is_as_unknown_as_one_that_is_not_there() {
    let world = plan().by_token().open().await;
    let session = |caller: Caller| knowing(caller);
    let ada = session(bearer(&world, "acme").await);
    let stranger = session(bearer(&world, "globex").await);
    let task = start(&ada, "sample").await;
    let absent = json!("01ARZ3NDEKTSV4RRFFQ69G5FAV");
    for method in ["tasks/get", "tasks/cancel"] {
        let mut told = Vec::new();
        for id in [&task["taskId"], &absent, &json!("no such id")] {
            let params = json!({ "taskId": id });
            let fault = stranger.request(method, params).await.unwrap_err();
            told.push((fault.code, fault.message));
        }
        assert!(told.iter().all(|each| *each == told[0]), "{told:?}");
        assert_eq!(told[0].0, -32602);
    }
    let params = json!({"taskId": task["taskId"]});
    assert_eq!(ada.get("tasks/get", params).await["status"], "working");
}

/// A user with a token over a session without a handshake.
async fn bearer(world: &World, tenant: &str) -> Caller {
    let claims = crate::support::token::claims(tenant, "ada", "user", world.now());
    world
        .over(world.connect())
        .with_meta(crate::support::caller::IDENTITY, world.token(&claims))
}
