//! What the operator oversees calls with: a policy service that may refuse each, and an audit log that has each.

use std::path::Path;
use std::sync::{Arc, Mutex};

use agent_mesh::mesh::call::tool::Tool;
use agent_mesh::outbound::audit::Seal;
use agent_mesh::outbound::audit::verify::verify_log;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};

use crate::support::calls::{
    SECRET, call, prepare, prepare_connection, prepare_integration, sample,
};
use crate::support::{Plan, World};

/// A policy service: it denies the tools that it is told to, and keeps what it was asked.
struct PolicyService {
    url: String,
    rules: Arc<Rules>,
}

#[derive(Default)]
struct Rules {
    denied: Mutex<Denied>,
    asked: Mutex<Vec<Value>>,
}

/// What is denied.
#[derive(Clone, Default)]
enum Denied {
    #[default]
    Nothing,
    Tool(&'static str),
    Everything,
    /// It fails.
    Broken,
}

impl PolicyService {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let rules = Arc::new(Rules::default());
        let router = Router::new()
            .route("/verify", post(answer))
            .with_state(Arc::clone(&rules));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, rules }
    }

    /// A world that asks it, each call anew, and has time to.
    fn plan(&self) -> Plan {
        Plan::default()
            .by_token()
            .set("AGENT_MESH_AUTHORIZER_URL", &self.url)
            .set("AGENT_MESH_AUTHORIZER_KEY", "the-key")
            .set("AGENT_MESH_AUTHORIZER_TIMEOUT_MS", "10000")
            .set("AGENT_MESH_AUTHORIZER_CACHE_MS", "0")
            .set("AGENT_MESH_AUDIT_LOG", "audit.jsonl")
    }

    fn deny(&self, denied: Denied) {
        *self.rules.denied.lock().unwrap() = denied;
    }

    /// What it has been asked since the last time.
    fn asked(&self) -> Vec<Value> {
        std::mem::take(&mut *self.rules.asked.lock().unwrap())
    }
}

async fn answer(
    State(rules): State<Arc<Rules>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    assert_eq!(headers["authorization"], "Bearer the-key");
    let question: Value = serde_json::from_slice(&body).unwrap();
    let tool = question["tool"].as_str().unwrap().to_owned();
    rules.asked.lock().unwrap().push(question);
    let denied = rules.denied.lock().unwrap().clone();
    let denies = match denied {
        Denied::Broken => return (StatusCode::BAD_REQUEST, String::new()),
        Denied::Nothing => false,
        Denied::Tool(name) => tool == name,
        Denied::Everything => true,
    };
    let ruling = match denies {
        true => json!({"allow": false, "reason": "the office is closed"}),
        false => json!({"allow": true}),
    };
    (StatusCode::OK, ruling.to_string())
}

/// The lines of the audit log that tell of calls.
fn audited(world: &World) -> Vec<Value> {
    let text = std::fs::read_to_string(world.path("audit.jsonl")).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["kind"] == "call").collect()
}

fn assert_right(log: &Path) {
    let report = verify_log(log, &Seal::Plain).unwrap();
    assert_eq!(report.findings, [], "{report:?}");
}

/// Who brings a token subscribes to nothing.
fn by_token() -> impl Iterator<Item = Tool> {
    let subscribes = |tool: &Tool| matches!(tool, Tool::ResourcesSubscribe | Tool::AlertsSubscribe);
    Tool::ALL.into_iter().filter(move |tool| !subscribes(tool))
}

async fn prepare_all(world: &World) {
    let admin = world.user("acme", "ada", "admin").await;
    prepare_integration(&admin).await;
    prepare(&admin).await;
}

#[tokio::test]
async fn every_call_is_asked_about_and_what_is_denied_is_not_done_and_is_audited_as_denied() {
    let service = PolicyService::start().await;
    let world = service.plan().open().await;
    prepare_all(&world).await;
    let ada = world.user("acme", "ada", "admin").await;
    service.deny(Denied::Everything);
    service.asked();
    for tool in by_token() {
        let before = audited(&world).len();
        let failure = call(&ada, tool, sample(tool)).await.failed(tool.name());
        assert_eq!(failure.code(), "PERMISSION_DENIED", "{}", tool.name());
        assert_eq!(failure.detail("decided_by"), "policy", "{}", tool.name());
        assert!(failure.message().contains("the office is closed"));
        let asked = service.asked();
        let question = &asked[0];
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert_eq!(question["tool"], tool.name());
        assert_eq!(question["permission"], tool.permission().name());
        assert_eq!(
            (
                &question["tenant_id"],
                &question["user_id"],
                &question["role"]
            ),
            (&json!("acme"), &json!("ada"), &json!("admin"))
        );
        assert_eq!(question["request_id"], failure.request_id());
        assert!(!question.to_string().contains(SECRET), "{question}");
        let lines = audited(&world);
        let line = &lines[before];
        assert_eq!(lines.len(), before + 1, "{}", tool.name());
        assert_eq!(
            (&line["outcome"], &line["error_code"], &line["tool"]),
            (
                &json!("denied"),
                &json!("PERMISSION_DENIED"),
                &json!(tool.name())
            )
        );
        assert_eq!(line["arguments_sha256"], question["arguments_sha256"]);
        assert_eq!(line["request_id"], question["request_id"]);
    }
    service.deny(Denied::Nothing);
    for tool in by_token() {
        if matches!(tool, Tool::IntegrationTest | Tool::McpProxy) {
            prepare_connection(&ada).await;
        }
        call(&ada, tool, sample(tool)).await.worked(tool.name());
    }
    assert_right(&world.path("audit.jsonl"));
    let text = std::fs::read_to_string(world.path("audit.jsonl")).unwrap();
    assert!(!text.contains(SECRET), "the log has names and no values");
}

#[tokio::test]
async fn a_call_that_is_not_decided_is_not_done() {
    let service = PolicyService::start().await;
    let world = service.plan().open().await;
    let ada = world.user("acme", "ada", "user").await;
    service.deny(Denied::Broken);
    let failure = ada.fail("kv_set", json!({"key": "a", "value": 1})).await;
    assert_eq!(failure.code(), "UPSTREAM_UNAVAILABLE");
    assert!(failure.retry_after_ms().is_some());
    service.deny(Denied::Nothing);
    assert_eq!(ada.ok("kv_get", json!({"key": "a"})).await["found"], false);
    let outcomes: Vec<_> = audited(&world)
        .iter()
        .map(|line| line["outcome"].clone())
        .collect();
    assert_eq!(outcomes, ["error", "ok"]);
}

#[tokio::test]
async fn who_lacks_the_permission_is_refused_without_a_question() {
    let service = PolicyService::start().await;
    let world = service.plan().open().await;
    let viewer = world.user("acme", "eve", "viewer").await;
    let failure = viewer.fail("kv_set", json!({"key": "a", "value": 1})).await;
    assert_eq!(failure.code(), "PERMISSION_DENIED");
    assert_eq!(failure.detail("decided_by"), Value::Null);
    let wrong = viewer.fail("kv_get", json!({"no": 1})).await;
    assert_eq!(wrong.code(), "INVALID_PARAMETER");
    assert_eq!(service.asked(), Vec::<Value>::new());
}

/// Stores a value under the key that it is given.
const STORE: &str = r#"{"StartAt": "Store", "States": {"Store": {"Type": "Task",
    "Resource": "arn:aws:states:::agent-mesh:kv_set",
    "Parameters": {"key": "from-run", "value": 1, "scope": "tenant"}, "End": true}}}"#;

#[tokio::test]
async fn what_a_workflow_calls_is_asked_about_as_its_users_calls_are() {
    let service = PolicyService::start().await;
    let world = service.plan().machine("store", STORE).open().await;
    let ada = world.user("acme", "ada", "user").await;
    service.deny(Denied::Tool("kv_set"));
    let run = ada.ok("workflow_start", json!({"name": "store"})).await["run_id"].clone();
    let status = loop {
        let look = json!({"run_id": run, "wait_ms": 5000});
        let status = ada.ok("workflow_status", look).await;
        if status["status"] != "running" {
            break status;
        }
    };
    assert_eq!(
        (&status["status"], &status["error"]),
        (&json!("failed"), &json!("PERMISSION_DENIED")),
        "{status}"
    );
    let asked = service.asked();
    let set = asked
        .iter()
        .find(|question| question["tool"] == "kv_set")
        .unwrap();
    assert_eq!(
        (&set["user_id"], &set["subject"]["key"]),
        (&json!("ada"), &json!("from-run"))
    );
}

#[tokio::test]
async fn the_same_arguments_have_the_same_hash_and_an_answer_is_remembered_for_them() {
    let service = PolicyService::start().await;
    let world = service
        .plan()
        .set("AGENT_MESH_AUTHORIZER_CACHE_MS", "60000")
        .open()
        .await;
    let ada = world.user("acme", "ada", "user").await;
    for arguments in [
        r#"{"key":"a","scope":"tenant"}"#,
        r#"{ "scope" : "tenant", "\u006bey": "a" }"#,
        r#"{"key":"b","scope":"tenant"}"#,
    ] {
        ada.call_text("kv_get", arguments).await.unwrap();
    }
    assert_eq!(service.asked().len(), 2);
    let hashes: Vec<_> = audited(&world)
        .iter()
        .map(|line| line["arguments_sha256"].clone())
        .collect();
    assert_eq!(hashes[0], hashes[1]);
    assert_ne!(hashes[1], hashes[2]);
}

#[tokio::test]
async fn a_request_without_an_identity_is_a_line_of_the_audit_log() {
    let service = PolicyService::start().await;
    let world = service.plan().open().await;
    let nobody = world.caller().await;
    nobody.fault("kv_get", json!({"key": "a"})).await;
    let text = std::fs::read_to_string(world.path("audit.jsonl")).unwrap();
    let line: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&line["kind"], &line["tool"]),
        (&json!("identity_refused"), &json!("kv_get"))
    );
    assert_eq!(service.asked(), Vec::<Value>::new());
}
