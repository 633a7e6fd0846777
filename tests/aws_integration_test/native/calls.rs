//! Native rules as clients make, list and delete them, by the program itself.

use std::process::{Command, Stdio};

use agent_mesh::mesh::store::BusRules;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::backend::Stage;

const CREATE: &str = "events_create_rule";

/// The program as it runs for one operator: two native rules for each tenant.
struct Operator<'stage> {
    stage: &'stage Stage,
    folder: TempDir,
}

impl Operator<'_> {
    /// What a call answers: the result, or the text of the error.
    async fn call(&self, tool: &str, arguments: Value) -> Result<Value, String> {
        let settings = self.stage.connection.settings();
        let [table, bucket, bus] = &self.stage.names;
        let variables = [
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_REGION", "us-west-2"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            (
                "AWS_ENDPOINT_URL",
                settings.endpoint_url.as_deref().unwrap(),
            ),
            ("AGENT_MESH_KV_TABLE", table),
            ("AGENT_MESH_ARTIFACTS_BUCKET", bucket),
            ("AGENT_MESH_EVENT_BUS", bus),
            ("AGENT_MESH_TENANT_ID", self.stage.tenant.as_str()),
            ("AGENT_MESH_USER_ID", "ada"),
            ("AGENT_MESH_ROLE", "admin"),
            ("AGENT_MESH_NATIVE_RULES_MAX", "2"),
            ("AGENT_MESH_ALERT_DOMAINS", "example.com"),
            (
                "AGENT_MESH_EVENTS_ROLE_ARN",
                "arn:aws:iam::000000000000:role/agent-mesh-events",
            ),
            (
                "AGENT_MESH_WORKFLOWS",
                "refund=arn:aws:states:us-west-2:000000000000:stateMachine:refund",
            ),
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_use_aws_mcp"));
        command
            .env_clear()
            .envs(variables)
            .env("AGENT_MESH_DATA_DIR", self.folder.path())
            .args(["tools", "call", tool, "--json", "--arguments"])
            .arg(arguments.to_string())
            .stdin(Stdio::null());
        let ended = tokio::task::spawn_blocking(move || command.output()).await;
        let output = ended.unwrap().unwrap();
        match output.status.success() {
            true => Ok(serde_json::from_slice(&output.stdout).unwrap()),
            false => Err(format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            )),
        }
    }

    async fn ok(&self, tool: &str, arguments: Value) -> Value {
        let answer = self.call(tool, arguments).await;
        answer.unwrap_or_else(|error| panic!("{tool}: {error}"))
    }

    async fn refused(&self, tool: &str, arguments: Value, code: &str) {
        let error = self.call(tool, arguments.clone()).await.unwrap_err();
        assert!(error.contains(code), "{arguments}: {error}");
    }

    /// Names of the tenant's rules on the bus, without what all of them begin with, and whether each is in
    /// force.
    async fn on_bus(&self) -> Vec<(String, bool)> {
        let mut listed: Vec<_> = self
            .stage
            .listed()
            .await
            .into_iter()
            .map(|rule| {
                let name = rule.name.rsplit('.').next().unwrap_or_default();
                (name.to_owned(), rule.enabled)
            })
            .collect();
        listed.sort();
        listed
    }
}

fn native(name: &str) -> Value {
    json!({
        "name": name, "pattern": {"detail-type": ["Order.Failed"]}, "workflow": "refund",
        "native": true,
    })
}

pub(super) async fn calls_make_mend_and_remove_rules(stage: Stage) {
    let operator = Operator {
        stage: &stage,
        folder: TempDir::new().unwrap(),
    };
    let made = operator.ok(CREATE, native("one")).await;
    assert_eq!(made["change"], "created");
    assert_eq!(operator.on_bus().await, [("one".to_owned(), true)]);
    let listed = operator.ok("events_list_rules", json!({})).await;
    let shown = &listed["rules"][0];
    assert_eq!(
        (&shown["native"], &shown["native_state"]),
        (&json!(true), &json!("active"))
    );

    let mut off = native("one");
    off["enabled"] = json!(false);
    assert_eq!(operator.ok(CREATE, off.clone()).await["change"], "updated");
    assert_eq!(operator.on_bus().await, [("one".to_owned(), false)]);
    let mut ordinary = native("one");
    ordinary["native"] = json!(false);
    operator.refused(CREATE, ordinary, "CONFLICT").await;
    let mut tried = native("tried");
    tried["dry_run"] = json!(true);
    operator.ok(CREATE, tried).await;
    let mut wide = native("wide");
    wide["pattern"] = json!({"user_id": ["ada"]});
    operator.refused(CREATE, wide, "INVALID_PARAMETER").await;
    let alert = json!({"name": "a", "rule": "one", "method": "email", "email": "a@example.com"});
    operator
        .refused("events_create_alert", alert, "INVALID_PARAMETER")
        .await;

    // What a crash, or somebody at the bus, has left: one rule too few and one too many.
    let rules = stage.rules();
    rules
        .remove(&stage.tenant, &stage.rule("one").name)
        .await
        .unwrap();
    rules
        .put(&stage.tenant, &stage.rule("stray"))
        .await
        .unwrap();
    operator.ok(CREATE, native("two")).await;
    let both = [("one".to_owned(), false), ("two".to_owned(), true)];
    assert_eq!(operator.on_bus().await, both, "and both are mended");
    operator
        .refused(CREATE, native("three"), "QUOTA_EXCEEDED")
        .await;

    for name in ["one", "two", "two"] {
        operator
            .ok("events_delete_rule", json!({ "name": name }))
            .await;
    }
    assert_eq!(operator.on_bus().await, []);
    let made = operator.ok(CREATE, native("three")).await;
    assert_eq!(made["change"], "created", "the places are free again");
    operator
        .ok("events_delete_rule", json!({"name": "three"}))
        .await;
}
