//! What each tool and method needs, reports and costs: a row for every one, seen from outside.

use std::collections::BTreeSet;

use agent_mesh::mesh::call::tool::Tool;
use agent_mesh::mesh::limit::Direction;
use agent_mesh::mesh::tenant::{Permission, Role};
use serde_json::{Value, json};

use crate::support::bus::Heard;
use crate::support::calls::{
    SECRET, call, prepare, prepare_connection, prepare_event, prepare_integration, prepare_run,
    sample,
};
use crate::support::token::claims;
use crate::support::world::stopped_clock;
use crate::support::{Caller, Plan, World};

/// The permission, the type of the event and the limit that is reached first, as the contract has them.
fn row(tool: Tool) -> (Permission, &'static str, Option<Direction>) {
    use Direction::{
        DynamodbRead, DynamodbWrite, Eventbridge, S3Get, S3List, S3Put, States, Upstream,
    };
    match tool {
        Tool::KvGet => (Permission::KvRead, "KV.Get", Some(DynamodbRead)),
        Tool::KvSet => (Permission::KvWrite, "KV.Set", Some(DynamodbWrite)),
        Tool::KvDelete => (Permission::KvWrite, "KV.Deleted", Some(DynamodbWrite)),
        Tool::KvList => (Permission::KvRead, "KV.Listed", Some(DynamodbRead)),
        Tool::ArtifactsGet => (Permission::ArtifactsRead, "Artifacts.Get", Some(S3Get)),
        Tool::ArtifactsPut => (Permission::ArtifactsWrite, "Artifacts.Put", Some(S3Put)),
        Tool::ArtifactsDelete => (Permission::ArtifactsWrite, "Artifacts.Deleted", Some(S3Put)),
        Tool::ArtifactsList => (Permission::ArtifactsRead, "Artifacts.List", Some(S3List)),
        Tool::EventsSend => (Permission::EventsSend, "Sample.Sent", Some(Eventbridge)),
        Tool::EventsQuery => (Permission::EventsRead, "Events.Query", Some(DynamodbRead)),
        Tool::EventsAnalytics => (
            Permission::EventsRead,
            "Events.Analytics",
            Some(DynamodbRead),
        ),
        Tool::EventsHealthCheck => (Permission::HealthRead, "Events.HealthCheck", None),
        Tool::EventsCreateRule => (
            Permission::RulesManage,
            "Events.RuleCreated",
            Some(DynamodbWrite),
        ),
        Tool::EventsListRules => (
            Permission::EventsRead,
            "Events.RulesListed",
            Some(DynamodbRead),
        ),
        Tool::EventsDeleteRule => (
            Permission::RulesManage,
            "Events.RuleDeleted",
            Some(DynamodbRead),
        ),
        Tool::EventsCreateAlert => (
            Permission::AlertsManage,
            "Events.AlertCreated",
            Some(DynamodbWrite),
        ),
        Tool::EventsDeleteAlert => (
            Permission::AlertsManage,
            "Events.AlertDeleted",
            Some(DynamodbRead),
        ),
        Tool::AlertsRead => (
            Permission::EventsRead,
            "Events.AlertsRead",
            Some(DynamodbRead),
        ),
        Tool::AlertsSubscribe => (Permission::EventsRead, "Events.AlertsSubscribed", None),
        Tool::IntegrationApprove => (
            Permission::IntegrationManage,
            "Integration.Approved",
            Some(DynamodbRead),
        ),
        Tool::IntegrationConnect => (
            Permission::IntegrationConnect,
            "Integration.Connected",
            Some(DynamodbWrite),
        ),
        Tool::IntegrationDisconnect => (
            Permission::IntegrationConnect,
            "Integration.Disconnected",
            Some(DynamodbRead),
        ),
        Tool::IntegrationList => (
            Permission::IntegrationRead,
            "Integration.Listed",
            Some(DynamodbRead),
        ),
        Tool::IntegrationRegister => (
            Permission::IntegrationManage,
            "Integration.Registered",
            Some(DynamodbWrite),
        ),
        Tool::IntegrationTest => (
            Permission::IntegrationConnect,
            "Integration.Tested",
            Some(Upstream),
        ),
        Tool::IntegrationUnregister => (
            Permission::IntegrationManage,
            "Integration.Unregistered",
            Some(DynamodbRead),
        ),
        Tool::McpListTools => (
            Permission::IntegrationRead,
            "MCP.ToolsListed",
            Some(DynamodbRead),
        ),
        Tool::McpProxy => (Permission::ProxyCall, "MCP.ToolCalled", Some(Upstream)),
        Tool::WorkflowList => (
            Permission::WorkflowRead,
            "Workflow.Listed",
            Some(DynamodbRead),
        ),
        Tool::WorkflowStart => (Permission::WorkflowRun, "Workflow.Started", Some(States)),
        Tool::WorkflowStatus => (Permission::WorkflowRead, "Workflow.Status", Some(States)),
        Tool::WorkflowStop => (Permission::WorkflowRun, "Workflow.Stopped", Some(States)),
        Tool::Complete => (Permission::ArtifactsRead, "Artifacts.List", Some(S3List)),
        Tool::ResourcesList => (Permission::ArtifactsRead, "Artifacts.List", Some(S3List)),
        Tool::ResourcesRead => (Permission::ArtifactsRead, "Artifacts.Get", Some(S3Get)),
        Tool::ValuesRead => (Permission::KvRead, "KV.Get", Some(DynamodbRead)),
        Tool::EventRead => (Permission::EventsRead, "Events.Query", Some(DynamodbRead)),
        Tool::ResourcesSubscribe => (Permission::ArtifactsRead, "Artifacts.Subscribed", None),
    }
}

/// Those that can be called with tokens: there, watching is by streams alone.
fn by_token() -> impl Iterator<Item = Tool> {
    Tool::ALL
        .into_iter()
        .filter(|tool| !matches!(tool, Tool::ResourcesSubscribe | Tool::AlertsSubscribe))
}

/// Prepares what the samples of all tools need.
async fn prepare_all(world: &World) {
    prepare(&world.user("acme", "ada", "user").await).await;
    prepare_integration(&world.user("acme", "amy", "admin").await).await;
}

/// Whether who calls `tool` must have been connected before.
fn needs_connection(tool: Tool) -> bool {
    matches!(tool, Tool::IntegrationTest | Tool::McpProxy)
}

/// An administrator of acme whose token is narrowed to `permissions`.
async fn narrowed(world: &World, user: &str, permissions: &[Permission]) -> Caller {
    let names: Vec<_> = permissions
        .iter()
        .map(|permission| permission.name())
        .collect();
    let mut claims = claims("acme", user, "admin", world.now());
    claims["scope"] = json!(names.join(" "));
    world.bearer(&world.token(&claims)).await
}

#[tokio::test]
async fn a_call_needs_its_one_permission_and_no_other() {
    let world = World::of_two_tenants().await;
    prepare_all(&world).await;
    for tool in by_token() {
        let (needed, ..) = row(tool);
        let without: Vec<_> = Permission::ALL
            .into_iter()
            .filter(|permission| *permission != needed)
            .collect();
        let denied = narrowed(&world, "without", &without).await;
        let failure = call(&denied, tool, sample(tool)).await.failed(tool.name());
        assert_eq!(failure.code(), "PERMISSION_DENIED", "{}", tool.name());
        assert_eq!(
            failure.detail("permission"),
            needed.name(),
            "{}",
            tool.name()
        );
        if tool == Tool::EventRead {
            // One's own events are all that this permission alone shows.
            prepare_event(&narrowed(&world, "with", &[Permission::EventsSend]).await).await;
        }
        if needs_connection(tool) {
            prepare_connection(&narrowed(&world, "with", &[Permission::IntegrationConnect]).await)
                .await;
        }
        let allowed = narrowed(&world, "with", &[needed]).await;
        call(&allowed, tool, sample(tool)).await.worked(tool.name());
        if tool.is_listed() {
            let wrong = call(&denied, tool, json!({"no": "argument"})).await;
            let failure = wrong.failed(tool.name());
            assert_eq!(
                failure.code(),
                "PERMISSION_DENIED",
                "who may not call learns nothing else of it"
            );
        }
    }
}

#[tokio::test]
async fn each_role_is_shown_and_may_call_what_it_holds() {
    let world = World::of_two_tenants().await;
    prepare_all(&world).await;
    for role in [Role::Viewer, Role::User, Role::Admin] {
        let caller = world.user("acme", "someone", role.name()).await;
        let held = |tool: &Tool| role.permissions().contains(row(*tool).0);
        let shown: Vec<_> = Tool::ALL
            .into_iter()
            .filter(|tool| tool.is_listed())
            .filter(held)
            .collect();
        let names: Vec<_> = shown.iter().map(|tool| tool.name()).collect();
        assert_eq!(caller.tool_names().await, names, "{}", role.name());
        for tool in by_token().filter(|tool| !held(tool)) {
            let failure = call(&caller, tool, sample(tool)).await.failed(tool.name());
            assert_eq!(
                failure.code(),
                "PERMISSION_DENIED",
                "{} {}",
                role.name(),
                tool.name()
            );
            assert!(failure.message().contains(role.name()), "{failure:?}");
        }
    }
    let narrowed = narrowed(&world, "ada", &[Permission::KvRead]).await;
    assert_eq!(narrowed.tool_names().await, ["kv_get", "kv_list"]);
    let mut widened = claims("acme", "ada", "viewer", world.now());
    widened["scope"] = json!("kv.read kv.write");
    let widened = world.bearer(&world.token(&widened)).await;
    assert_eq!(
        widened.tool_names().await,
        ["kv_get", "kv_list"],
        "a scope never widens"
    );
    let set = json!({"key": "a", "value": 1});
    assert_eq!(
        widened.fail("kv_set", set).await.code(),
        "PERMISSION_DENIED"
    );
}

/// A permission that does not do for `tool`.
fn other_than(tool: Tool) -> Permission {
    match tool {
        Tool::McpProxy => Permission::KvRead,
        _ => Permission::ProxyCall,
    }
}

/// The members that the contract gives an event's detail.
const MEMBERS: [&str; 20] = [
    "v",
    "event_id",
    "tenant_id",
    "user_id",
    "org_id",
    "tool",
    "outcome",
    "error_code",
    "count",
    "request_id",
    "trace_id",
    "writer",
    "seq",
    "duration_ms",
    "bytes",
    "source",
    "priority",
    "tags",
    "depth",
    "data",
];

fn hold_event(tool: Tool, detail: &Value, user: &str, outcome: &str) {
    let name = tool.name();
    let members = detail.as_object().expect("an object");
    let unknown: Vec<_> = members
        .keys()
        .filter(|key| !MEMBERS.contains(&key.as_str()))
        .collect();
    assert!(unknown.is_empty(), "{name}: {unknown:?}");
    let known = [
        ("v", json!(1)),
        ("tenant_id", json!("acme")),
        ("user_id", json!(user)),
        ("tool", json!(name)),
        ("outcome", json!(outcome)),
        ("depth", json!(0)),
        ("priority", json!("medium")),
    ];
    for (member, expected) in known {
        assert_eq!(detail[member], expected, "{name}: {member}");
    }
    for id in ["event_id", "request_id", "writer"] {
        let id: Result<ulid::Ulid, _> = detail[id].as_str().expect("a text").parse();
        assert!(id.is_ok(), "{name}: {detail}");
    }
    assert!(
        detail["seq"].is_u64() && detail["duration_ms"].is_number(),
        "{name}: {detail}"
    );
    let text = detail.to_string();
    assert!(
        !text.contains("null") && !text.contains(SECRET),
        "{name}: {text}"
    );
}

#[tokio::test]
async fn every_call_leaves_one_event_of_its_own() {
    let world = World::of_two_tenants().await;
    let heard = Heard::at(&world);
    prepare_all(&world).await;
    for tool in by_token() {
        let name = tool.name();
        let user = format!("{tool:?}");
        let caller = world.user("acme", &user, "admin").await;
        if needs_connection(tool) {
            prepare_connection(&caller).await;
        }
        call(&caller, tool, sample(tool)).await.worked(name);
        let events = heard
            .wait(1, |detail| {
                detail["user_id"] == json!(user) && detail["tool"] == name
            })
            .await;
        let (event, detail) = &events[0];
        assert_eq!(
            (event.source.as_str(), event.detail_type.as_str()),
            ("agent-mesh.acme", row(tool).1)
        );
        hold_event(tool, detail, &user, "ok");
        let key = sample(tool).get("key").cloned();
        if let Some(key) = key {
            assert_eq!(detail["data"]["key"], key, "{name}: what it was about");
        }

        let narrow = narrowed(&world, &format!("{user}-denied"), &[other_than(tool)]).await;
        call(&narrow, tool, sample(tool)).await.failed(name);
        let denied = format!("{user}-denied");
        let events = heard
            .wait(1, |detail| detail["user_id"] == json!(denied))
            .await;
        let (event, detail) = &events[0];
        hold_event(tool, detail, &denied, "denied");
        assert_eq!(detail["error_code"], "PERMISSION_DENIED", "{name}");
        let expected = if tool == Tool::EventsSend {
            "Events.Send"
        } else {
            row(tool).1
        };
        assert_eq!(event.detail_type, expected, "{name}");
    }
    // The sample of stopping ended the run that was prepared.
    let end = |detail: &Value| detail["user_id"] == "ada" && detail["outcome"] == "error";
    let ends = heard.wait(1, end).await;
    assert_eq!(ends[0].0.detail_type, "Workflow.Aborted");
    let ids: BTreeSet<String> = heard
        .so_far(|_| true)
        .iter()
        .map(|(_, detail)| detail["event_id"].to_string())
        .collect();
    assert_eq!(
        ids.len(),
        9 + 2 * by_token().count(),
        "one each, those of the preparation and of the run's end, and none besides"
    );
}

#[tokio::test]
async fn watching_leaves_an_event_too() {
    for tool in [Tool::ResourcesSubscribe, Tool::AlertsSubscribe] {
        let world = World::open().await;
        let heard = Heard::at(&world);
        let caller = world.caller().await;
        call(&caller, tool, sample(tool)).await.worked(tool.name());
        let events = heard.wait(1, |_| true).await;
        assert_eq!(events[0].0.detail_type, row(tool).1);
    }
}

/// Calls `tool` until a limit refuses it; answers the limit's name.
async fn refused(caller: &Caller, tool: Tool) -> String {
    for _ in 0..4 {
        let ending = call(caller, tool, sample(tool)).await;
        if let crate::support::calls::Ending::Failed(failure) = ending {
            assert_eq!(
                failure.code(),
                "RATE_LIMITED",
                "{}: {failure:?}",
                tool.name()
            );
            assert!(failure.retry_after_ms().is_some(), "{failure:?}");
            return failure.detail("limit").as_str().expect("a name").to_owned();
        }
    }
    panic!("{} is never refused", tool.name());
}

#[tokio::test]
async fn every_call_is_held_to_its_limit() {
    let clock = stopped_clock();
    for tool in Tool::ALL {
        let limit = row(tool).2.map_or("requests_per_minute", Direction::name);
        let toml = format!("[defaults.limits]\n{limit} = 1\n");
        let world = Plan::default().tenants(&toml).clock(&clock).open().await;
        let caller = world.caller().await;
        if tool == Tool::ResourcesRead {
            caller
                .ok(
                    "artifacts_put",
                    json!({"key": "sample", "content": "x", "scope": "tenant"}),
                )
                .await;
        }
        if [Tool::WorkflowStatus, Tool::WorkflowStop].contains(&tool) {
            prepare_run(&caller).await;
        }
        if tool == Tool::EventRead {
            prepare_event(&caller).await;
        }
        if row(tool).1.starts_with("Integration.") || tool == Tool::McpProxy {
            // One of them may be refused already, which is what is asked for.
            let register = json!({
                "service_id": "sample", "name": "Sample", "server_type": "http",
                "url": "https://sample.example/mcp",
            });
            let connect = json!({"service_id": "sample"});
            let _ = caller.call("integration_register", register).await;
            let _ = caller.call("integration_connect", connect).await;
        }
        if tool == Tool::ValuesRead {
            caller
                .ok(
                    "kv_set",
                    json!({"key": "sample", "value": "x", "scope": "tenant"}),
                )
                .await;
        }
        assert_eq!(refused(&caller, tool).await, limit, "{}", tool.name());
    }
}
