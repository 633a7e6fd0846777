//! What a stranger sees of a thing that exists: a row for every tool and method.
//!
//! The owner is ada of acme. The stranger is called ada too, of globex, an administrator there. The fellow is
//! bob of acme. There are things of the owner's own and things that the tenant shares.

use agent_mesh::mesh::call::tool::Tool;
use serde_json::{Value, json};

use crate::kv::names_of;
use crate::support::calls::{Ending, call};
use crate::support::upstreams::tool;
use crate::support::{Caller, World};

struct Stage {
    owner: Caller,
    fellow: Caller,
    /// An administrator of the owner's tenant.
    admin: Caller,
    stranger: Caller,
    /// A run of the owner's.
    run: String,
}

impl Stage {
    async fn set(world: &World) -> Self {
        let mut stage = Self {
            run: String::new(),
            owner: world.user("acme", "ada", "user").await,
            fellow: world.user("acme", "bob", "user").await,
            admin: world.user("acme", "amy", "admin").await,
            stranger: world.user("globex", "ada", "admin").await,
        };
        for (key, scope) in [("own", "user"), ("shared", "tenant")] {
            stage
                .owner
                .ok(
                    "kv_set",
                    json!({"key": key, "value": "of acme", "scope": scope}),
                )
                .await;
            let artifact = json!({"key": key, "content": "of acme", "scope": scope});
            stage.owner.ok("artifacts_put", artifact).await;
        }
        let event = json!({
            "detail_type": "Acme.Told", "detail": {"of": "acme"}, "wait": true, "tags": {"of": "acme"},
            "idempotency_key": "k",
        });
        stage.owner.ok("events_send", event).await;
        stage.admin.ok("events_create_rule", watch()).await;
        let bell = json!({"name": "bell", "rule": "watch", "method": "sns", "topic": "ops"});
        stage.admin.ok("events_create_alert", bell).await;
        world
            .scripts
            .at("https://notes.example/acme")
            .show(&[tool("acme_notes", "Notes of acme.")]);
        stage.admin.ok("integration_register", notes("acme")).await;
        let connect = json!({"service_id": "notes", "credentials": {"token": "of acme"}});
        stage.owner.ok("integration_connect", connect).await;
        let start = json!({"name": "sample", "input": {"of": "acme"}, "idempotency_key": "k"});
        let started = stage.owner.ok("workflow_start", start).await;
        stage.run = started["run_id"].as_str().expect("an id").to_owned();
        stage
    }

    /// What the stranger is answered, which names nothing of the owner's tenant.
    async fn stranger(&self, tool: Tool, arguments: Value) -> Value {
        let text = call(&self.stranger, tool, arguments)
            .await
            .worked(tool.name());
        for trace in ["acme", "Acme", "bob", "amy"] {
            assert!(!text.contains(trace), "{}: {text}", tool.name());
        }
        serde_json::from_str(&text).expect("JSON")
    }

    async fn fellow(&self, tool: Tool, arguments: Value) -> Value {
        let text = call(&self.fellow, tool, arguments)
            .await
            .worked(tool.name());
        serde_json::from_str(&text).expect("JSON")
    }

    async fn owner(&self, tool: Tool, arguments: Value) -> Value {
        let text = call(&self.owner, tool, arguments).await.worked(tool.name());
        serde_json::from_str(&text).expect("JSON")
    }
}

/// A rule of the owner's tenant.
fn watch() -> Value {
    json!({"name": "watch", "pattern": {"detail-type": ["Acme.Told"]}, "description": "of acme"})
}

/// An integration of that tenant's, under an id that both have.
fn notes(tenant: &str) -> Value {
    json!({
        "service_id": "notes", "name": format!("Notes of {tenant}"), "server_type": "http",
        "url": format!("https://notes.example/{tenant}"), "auth_method": "bearer",
    })
}

/// The row of `tool`.
async fn hold(tool: Tool, stage: &Stage) {
    match tool {
        Tool::KvGet | Tool::ArtifactsGet => get(tool, stage).await,
        Tool::KvSet | Tool::ArtifactsPut => put(tool, stage).await,
        Tool::KvDelete | Tool::ArtifactsDelete => delete(tool, stage).await,
        Tool::KvList | Tool::ArtifactsList => list(tool, stage).await,
        Tool::EventsSend => events_send(stage).await,
        Tool::EventsQuery => events_query(stage).await,
        Tool::EventsAnalytics => events_analytics(stage).await,
        Tool::EventsHealthCheck => {
            stage.stranger(tool, json!({"verbose": true})).await;
        }
        Tool::EventsCreateRule => events_create_rule(stage).await,
        Tool::EventsListRules => events_list_rules(stage).await,
        Tool::EventsDeleteRule => {
            let gone = stage.stranger(tool, json!({"name": "watch"})).await;
            let absent = json!({"rule": "watch", "existed": false, "alerts_deleted": []});
            assert_eq!(gone, absent);
        }
        Tool::EventsCreateAlert => events_create_alert(stage).await,
        Tool::EventsDeleteAlert => {
            let gone = stage.stranger(tool, json!({"name": "bell"})).await;
            assert_eq!(gone, json!({"alert": "bell", "existed": false}));
        }
        Tool::AlertsRead => alerts_read(stage).await,
        Tool::AlertsSubscribe => resources_subscribe("mesh://alerts", stage).await,
        Tool::WorkflowList => workflow_list(stage).await,
        Tool::IntegrationApprove
        | Tool::IntegrationConnect
        | Tool::IntegrationTest
        | Tool::McpProxy => integration_used(tool, stage).await,
        Tool::IntegrationDisconnect | Tool::IntegrationUnregister => {
            integration_ended(tool, stage).await;
        }
        Tool::IntegrationList => integration_list(stage).await,
        Tool::IntegrationRegister => integration_register(stage).await,
        Tool::McpListTools => mcp_list_tools(stage).await,
        Tool::WorkflowStart => workflow_start(stage).await,
        Tool::WorkflowStatus | Tool::WorkflowStop => workflow_run(tool, stage).await,
        Tool::Complete => complete(stage).await,
        Tool::ResourcesList => resources_list(stage).await,
        Tool::ResourcesRead => resources_read(tool, "artifacts", stage).await,
        Tool::ValuesRead => resources_read(tool, "values", stage).await,
        Tool::EventRead => event_read(stage).await,
        Tool::ResourcesSubscribe => {
            resources_subscribe("mesh://artifacts/tenant/shared", stage).await;
        }
    }
}

#[tokio::test]
async fn a_stranger_sees_nothing_whatever_is_called() {
    let world = World::of_two_tenants().await;
    for tool in Tool::ALL {
        let stage = Stage::set(&world).await;
        hold(tool, &stage).await;
        // Whatever they did, the owner's things are as they were.
        for (key, scope) in [("own", "user"), ("shared", "tenant")] {
            let key = json!({"key": key, "scope": scope});
            let value = stage.owner(Tool::KvGet, key.clone()).await;
            assert_eq!(value["value"], "of acme", "after {}", tool.name());
            let artifact = stage.owner(Tool::ArtifactsGet, key).await;
            assert_eq!(artifact["content"], "of acme", "after {}", tool.name());
        }
        let rules = stage.fellow(Tool::EventsListRules, json!({})).await;
        let rule = &rules["rules"][0];
        assert_eq!(
            (&rule["description"], &rule["alerts"][0]["alert"]),
            (&json!("of acme"), &json!("bell")),
            "after {}",
            tool.name()
        );
        let notes = json!({"tool_name": "notes.acme_notes"});
        let called = stage.owner(Tool::McpProxy, notes).await;
        assert_eq!(called["called"], "acme_notes", "after {}", tool.name());
        let run = json!({"run_id": stage.run});
        let run = stage.owner(Tool::WorkflowStatus, run).await;
        assert_eq!(run["status"], "running", "after {}", tool.name());
    }
}

async fn get(tool: Tool, stage: &Stage) {
    let own = json!({"key": "own", "scope": "user"});
    let shared = json!({"key": "shared", "scope": "tenant"});
    assert_eq!(
        stage.stranger(tool, own.clone()).await,
        json!({"key": "own", "found": false})
    );
    assert_eq!(
        stage.stranger(tool, shared.clone()).await,
        json!({"key": "shared", "found": false})
    );
    assert_eq!(stage.fellow(tool, own).await["found"], false);
    assert_eq!(stage.fellow(tool, shared).await["found"], true);
}

async fn put(tool: Tool, stage: &Stage) {
    let member = if tool == Tool::KvSet {
        "value"
    } else {
        "content"
    };
    for (key, scope) in [("own", "user"), ("shared", "tenant")] {
        let mut arguments = json!({"key": key, "scope": scope, "if_absent": true});
        arguments[member] = json!("of globex");
        stage.stranger(tool, arguments.clone()).await;
        let ending = call(&stage.fellow, tool, arguments).await;
        match scope {
            "user" => drop(ending.worked("the fellow's own")),
            _ => assert_eq!(ending.failed("what the tenant shares").code(), "CONFLICT"),
        }
    }
    // Strangers cleans up what is theirs, for the next row.
    let deletion = if tool == Tool::KvSet {
        Tool::KvDelete
    } else {
        Tool::ArtifactsDelete
    };
    for (key, scope) in [("own", "user"), ("shared", "tenant")] {
        let gone = stage
            .stranger(deletion, json!({"key": key, "scope": scope}))
            .await;
        assert_eq!(gone["existed"], true);
    }
    stage.fellow(deletion, json!({"key": "own"})).await;
}

async fn delete(tool: Tool, stage: &Stage) {
    for (key, scope) in [("own", "user"), ("shared", "tenant")] {
        let gone = stage
            .stranger(tool, json!({"key": key, "scope": scope}))
            .await;
        assert_eq!(gone, json!({"key": key, "existed": false}));
    }
    assert_eq!(
        stage.fellow(tool, json!({"key": "own"})).await["existed"],
        false
    );
    let condition = if tool == Tool::KvDelete {
        "if_version"
    } else {
        "if_etag"
    };
    let mut arguments = json!({"key": "shared", "scope": "tenant"});
    arguments[condition] = json!("x");
    let conflict = call(&stage.stranger, tool, arguments)
        .await
        .failed(tool.name());
    assert_eq!(conflict.code(), "CONFLICT");
    assert!(
        !conflict.message().contains("version 0"),
        "no version of another tenant: {conflict:?}"
    );
}

async fn list(tool: Tool, stage: &Stage) {
    for scope in ["user", "tenant"] {
        let seen = stage.stranger(tool, json!({ "scope": scope })).await;
        assert_eq!(seen, json!({"items": []}), "{scope}");
    }
    assert_eq!(stage.fellow(tool, json!({})).await, json!({"items": []}));
    let shared = stage.fellow(tool, json!({"scope": "tenant"})).await;
    assert_eq!(names_of(shared["items"].as_array().unwrap()), ["shared"]);
    for prefix in ["own", "../", "K#", "u/ada/", "t/"] {
        let seen = stage.stranger(tool, json!({ "prefix": prefix })).await;
        assert_eq!(seen, json!({"items": []}), "{prefix}");
    }
}

/// An idempotency key is its user's: the same one elsewhere is another one.
async fn events_send(stage: &Stage) {
    let event = json!({"detail_type": "Other.Told", "detail": {}, "idempotency_key": "k"});
    stage.stranger(Tool::EventsSend, event.clone()).await;
    stage.fellow(Tool::EventsSend, event).await;
}

async fn events_query(stage: &Stage) {
    let tool = Tool::EventsQuery;
    for filter in [
        json!({"limit": 200}),
        json!({"limit": 200, "user_id": "bob"}),
        json!({"detail_type": "Acme.Told"}),
        json!({"tags": {"of": "acme"}}),
    ] {
        let everything = filter.get("user_id").is_none() && filter.get("detail_type").is_none();
        let seen = stage.stranger(tool, filter).await;
        let events = seen["events"].as_array().unwrap();
        assert!(events.is_empty() || everything, "{seen}");
    }
    let sent = json!({"detail_type": "Acme.Told", "limit": 1});
    assert_eq!(stage.fellow(tool, sent.clone()).await["events"], json!([]));
    let others = json!({"user_id": "ada"});
    let denied = call(&stage.fellow, tool, others)
        .await
        .failed("others' events");
    assert_eq!(
        (denied.code(), denied.detail("permission")),
        ("PERMISSION_DENIED", json!("events.read_all"))
    );
    for caller in [&stage.owner, &stage.admin] {
        let text = call(caller, tool, sent.clone())
            .await
            .worked("one's own, and the administrator's");
        assert!(text.contains(r#""of":"acme""#), "{text}");
    }
}

async fn events_analytics(stage: &Stage) {
    let figures = stage
        .stranger(Tool::EventsAnalytics, json!({"time_range": "24h"}))
        .await;
    let types = figures["top_types"].to_string();
    assert!(!types.contains("Told"), "{types}");
    let own = stage
        .owner(Tool::EventsAnalytics, json!({"time_range": "24h"}))
        .await;
    assert!(own["top_types"].to_string().contains("Acme.Told"), "{own}");
}

/// What another tenant has registered is as what nobody has, and a fellow has to connect for himself.
async fn integration_used(tool: Tool, stage: &Stage) {
    let of = |service: &str| match tool {
        Tool::IntegrationApprove => json!({"service_id": service, "tool": "acme_notes"}),
        Tool::McpProxy => json!({"tool_name": format!("{service}.acme_notes")}),
        _ => json!({"service_id": service}),
    };
    let foreign = call(&stage.stranger, tool, of("notes"))
        .await
        .failed("foreign");
    let none = call(&stage.stranger, tool, of("ghost"))
        .await
        .failed("none");
    assert_eq!((foreign.code(), none.code()), ("NOT_FOUND", "NOT_FOUND"));
    assert_eq!(
        foreign.message().replace("notes", "X"),
        none.message()
            .replace("ghost", "X")
            .replace("acme_notes", "acme_X"),
        "as what is not there at all"
    );
    if [Tool::IntegrationTest, Tool::McpProxy].contains(&tool) {
        let fellow = call(&stage.fellow, tool, of("notes"))
            .await
            .failed("the fellow");
        assert_eq!(fellow.code(), "NOT_FOUND");
        assert!(fellow.message().contains("not connected"), "{fellow:?}");
    }
}

async fn integration_ended(tool: Tool, stage: &Stage) {
    let ended = stage.stranger(tool, json!({"service_id": "notes"})).await;
    assert_eq!(ended["existed"], false);
    if tool == Tool::IntegrationDisconnect {
        let ended = stage.fellow(tool, json!({"service_id": "notes"})).await;
        assert_eq!(ended["existed"], false);
    }
}

async fn integration_list(stage: &Stage) {
    let tool = Tool::IntegrationList;
    assert_eq!(
        stage.stranger(tool, json!({})).await,
        json!({"integrations": []})
    );
    let fellow = stage.fellow(tool, json!({})).await;
    assert_eq!(fellow["integrations"][0]["service_id"], "notes");
    assert_eq!(fellow["integrations"][0]["connections"], json!([]));
    assert_eq!(
        fellow["integrations"][0].get("url"),
        None,
        "for administrators"
    );
    let owner = stage.owner(tool, json!({})).await;
    assert_eq!(owner["integrations"][0]["connections"][0]["tool_count"], 1);
}

/// The same id in another tenant is another integration, with tools of its own.
async fn integration_register(stage: &Stage) {
    stage
        .stranger(Tool::IntegrationRegister, notes("globex"))
        .await;
    let connect = json!({"service_id": "notes", "credentials": {"token": "of globex"}});
    stage.stranger(Tool::IntegrationConnect, connect).await;
    let seen = stage
        .stranger(Tool::McpListTools, json!({"detail": "schema"}))
        .await;
    assert_eq!(seen["tools"][0]["name"], "notes.echo");
    let ended = json!({"service_id": "notes"});
    let ended = stage.stranger(Tool::IntegrationUnregister, ended).await;
    assert_eq!(
        (&ended["existed"], &ended["connections_ended"]),
        (&json!(true), &json!(1))
    );
}

async fn mcp_list_tools(stage: &Stage) {
    let tool = Tool::McpListTools;
    let nothing = json!({"tools": [], "total": 0, "unavailable": []});
    for query in [
        json!({}),
        json!({"query": "notes"}),
        json!({"detail": "schema"}),
    ] {
        assert_eq!(stage.stranger(tool, query.clone()).await, nothing);
        assert_eq!(stage.fellow(tool, query).await, nothing, "not connected");
    }
    let owner = stage.owner(tool, json!({"query": "notes"})).await;
    assert_eq!(owner["tools"][0]["name"], "notes.acme_notes");
}

/// The same name and the same key are another run of another tenant, or of another user.
async fn workflow_start(stage: &Stage) {
    let start = json!({"name": "sample", "input": {"of": "others"}, "idempotency_key": "k"});
    let foreign = stage.stranger(Tool::WorkflowStart, start.clone()).await;
    let fellows = stage.fellow(Tool::WorkflowStart, start).await;
    let runs = [&foreign["run_id"], &fellows["run_id"], &json!(stage.run)];
    assert!(runs[0] != runs[1] && runs[1] != runs[2] && runs[0] != runs[2]);
}

/// Runs are the tenant's: a fellow sees them, a stranger does not.
async fn workflow_list(stage: &Stage) {
    let own = stage.fellow(Tool::WorkflowList, json!({})).await;
    assert!(own.to_string().contains(&stage.run), "{own}");
    for filter in [
        json!({}),
        json!({"name": "sample"}),
        json!({"status": "running"}),
    ] {
        let seen = stage.stranger(Tool::WorkflowList, filter).await;
        assert!(!seen.to_string().contains(&stage.run), "{seen}");
    }
}

async fn workflow_run(tool: Tool, stage: &Stage) {
    let absent = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    let of = |run: &str| json!({ "run_id": run });
    let none = call(&stage.stranger, tool, of(absent)).await.failed("none");
    let foreign = call(&stage.stranger, tool, of(&stage.run))
        .await
        .failed("foreign");
    assert_eq!((none.code(), foreign.code()), ("NOT_FOUND", "NOT_FOUND"));
    assert_eq!(
        none.message().replace(absent, "X"),
        foreign.message().replace(&stage.run, "X"),
        "as what is not there at all"
    );
    if tool == Tool::WorkflowStatus {
        let seen = stage.fellow(tool, of(&stage.run)).await;
        assert_eq!(seen["status"], "running");
    }
}

async fn complete(stage: &Stage) {
    let completing = |scope: &str| {
        json!({
            "ref": {"type": "ref/resource", "uri": "mesh://artifacts/{scope}/{+key}"},
            "argument": {"name": "key", "value": ""}, "context": {"arguments": {"scope": scope}},
        })
    };
    let values = |completed: Value| completed["completion"]["values"].clone();
    for scope in ["user", "tenant"] {
        assert_eq!(
            values(stage.stranger(Tool::Complete, completing(scope)).await),
            json!([])
        );
    }
    assert_eq!(
        values(stage.fellow(Tool::Complete, completing("user")).await),
        json!([])
    );
    assert_eq!(
        values(stage.fellow(Tool::Complete, completing("tenant")).await),
        json!(["shared"])
    );
}

/// The same name in another tenant is another rule, and what it is tried on is that tenant's.
async fn events_create_rule(stage: &Stage) {
    let everything = json!({"name": "watch", "pattern": {"detail-type": [{"prefix": ""}]}});
    stage.stranger(Tool::EventsCreateRule, everything).await;
    let told = json!({"name": "told", "pattern": {"detail-type": ["Acme.Told"]}, "dry_run": true});
    let ending = call(&stage.stranger, Tool::EventsCreateRule, told.clone()).await;
    let seen: Value = serde_json::from_str(&ending.worked("a preview")).unwrap();
    assert_eq!(seen["preview"]["matched"], 0, "{seen}");
    let ending = call(&stage.admin, Tool::EventsCreateRule, told).await;
    let seen: Value = serde_json::from_str(&ending.worked("a preview")).unwrap();
    assert_ne!(seen["preview"]["matched"], 0, "{seen}");
    stage
        .stranger(Tool::EventsDeleteRule, json!({"name": "watch"}))
        .await;
}

async fn events_list_rules(stage: &Stage) {
    let tool = Tool::EventsListRules;
    assert_eq!(
        stage.stranger(tool, json!({})).await,
        json!({"rules": [], "alerts": []})
    );
    let seen = stage.fellow(tool, json!({})).await;
    assert_eq!(seen["rules"][0]["rule"], "watch");
    assert_eq!(seen["rules"][0]["alerts"][0]["topic"], "ops");
}

async fn events_create_alert(stage: &Stage) {
    let tool = Tool::EventsCreateAlert;
    let about = |rule: &str| json!({"name": "b", "rule": rule, "method": "sns", "topic": "ops"});
    let foreign = call(&stage.stranger, tool, about("watch")).await;
    let absent = call(&stage.stranger, tool, about("ghost")).await;
    let (foreign, absent) = (foreign.failed("another's"), absent.failed("none"));
    assert_eq!(foreign.code(), "NOT_FOUND");
    assert_eq!(
        (foreign.message().replace("watch", "ghost"), foreign.fix()),
        (absent.message().to_owned(), absent.fix()),
        "as what is not there at all"
    );
}

async fn alerts_read(stage: &Stage) {
    let read = json!({"uri": "mesh://alerts"});
    let seen = stage.stranger(Tool::AlertsRead, read).await;
    assert_eq!(seen["contents"][0]["text"], r#"{"alerts":[]}"#);
}

async fn resources_list(stage: &Stage) {
    let mut params = json!({});
    loop {
        let page = stage.stranger(Tool::ResourcesList, params).await;
        assert_eq!(artifacts_of(&page), Vec::<&Value>::new());
        match page.get("nextCursor") {
            Some(cursor) => params = json!({ "cursor": cursor }),
            None => break,
        }
    }
    let first = stage.fellow(Tool::ResourcesList, json!({})).await;
    assert_eq!(
        artifacts_of(&first),
        Vec::<&Value>::new(),
        "the owner's own"
    );
}

/// What is listed besides the alerts, which every tenant has.
fn artifacts_of(page: &Value) -> Vec<&Value> {
    let resources = page["resources"].as_array().expect("resources").iter();
    resources
        .filter(|one| one["uri"] != "mesh://alerts")
        .collect()
}

async fn resources_read(tool: Tool, family: &str, stage: &Stage) {
    let read = |rest: &str| json!({ "uri": format!("mesh://{family}/{rest}") });
    let absent = call(&stage.stranger, tool, read("user/none")).await;
    let absent = absent.failed("what is not there");
    for rest in ["user/own", "tenant/shared"] {
        let foreign = call(&stage.stranger, tool, read(rest)).await.failed(rest);
        assert_eq!(foreign.code(), "NOT_FOUND");
        let told = (foreign.message(), foreign.fix());
        assert_eq!(
            told,
            (absent.message(), absent.fix()),
            "as what is not there at all"
        );
    }
    let own = call(&stage.fellow, tool, read("user/own")).await;
    assert_eq!(own.failed("the owner's own").code(), "NOT_FOUND");
    let shared = stage.fellow(tool, read("tenant/shared")).await;
    let text = shared["contents"][0]["text"].as_str().expect("text");
    assert_eq!(text.trim_matches('"'), "of acme");
}

async fn event_read(stage: &Stage) {
    let event = json!({"detail_type": "Own.Told", "detail": {"of": "acme"}});
    let sent = stage.owner(Tool::EventsSend, event).await;
    let id = sent["event_id"].as_str().expect("an id");
    let read = |id: &str| json!({ "uri": format!("mesh://events/{id}") });
    let tool = Tool::EventRead;
    let absent = call(&stage.fellow, tool, read("01ARZ3NDEKTSV4RRFFQ69G5FAV")).await;
    let absent = absent.failed("what is not there");
    for caller in [&stage.stranger, &stage.fellow] {
        let foreign = call(caller, tool, read(id)).await.failed("another's");
        assert_eq!(foreign.code(), "NOT_FOUND");
        let told = (foreign.message(), foreign.fix());
        assert_eq!(told, (absent.message(), absent.fix()));
    }
    let own = stage.owner(tool, read(id)).await;
    let text = own["contents"][0]["text"].as_str().expect("text");
    let own: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(own["detail"], json!({"of": "acme"}));
}

/// Where requests bring tokens there is no subscription of a session; `resources.rs` shows what a stream
/// of one tenant tells of another's changes.
async fn resources_subscribe(uri: &str, stage: &Stage) {
    for caller in [&stage.owner, &stage.fellow, &stage.stranger] {
        let params = json!({ "uri": uri });
        let ending = call(caller, Tool::ResourcesSubscribe, params).await;
        assert!(
            matches!(&ending, Ending::NoCall(fault) if fault.code == -32602),
            "{ending:?}"
        );
    }
}
