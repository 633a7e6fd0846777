//! What operators see of a process: its metrics, its readiness, and the dashboard and rules that are made of them.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use agent_mesh::mesh::event::Outcome;
use agent_mesh::mesh::readiness::NotReady;
use agent_mesh::outbound::embedded::{Fault, Service};
use agent_mesh::telemetry::metrics::HttpFigures;
use serde_json::{Value, json};

use crate::support::world::{Plan, World};

/// What no metric may show.
const SECRET: &str = "Zq7-secret-Zq7";

/// The dashboard and the rules, where operators find them.
const OBSERVABILITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/infra/observability");

/// The value of the series `name`, of which every label is in `labels`; 0 where there is none.
pub(crate) fn value(text: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let found: Vec<f64> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter(|line| line.split(['{', ' ']).next() == Some(name))
        .filter(|line| {
            let has = |(key, value): &(&str, &str)| line.contains(&format!("{key}=\"{value}\""));
            labels.iter().all(has)
        })
        .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
        .collect();
    found.iter().sum()
}

fn metrics(world: &World) -> String {
    let text = world.metrics.as_ref().expect("metrics").encode();
    assert!(text.ends_with("# EOF\n"), "{text}");
    text
}

#[tokio::test]
async fn calls_their_errors_and_what_aws_did_are_counted_and_nothing_of_them_is_shown() {
    let world = Plan::default().counted().by_token().open().await;
    let user = world.user("acme", "ada", "user").await;
    let viewer = world.user("acme", "bob", "viewer").await;
    user.ok("kv_set", json!({"key": SECRET, "value": SECRET}))
        .await;
    user.ok("kv_get", json!({"key": SECRET})).await;
    user.ok("kv_get", json!({"key": SECRET})).await;
    viewer
        .fail("kv_set", json!({"key": SECRET, "value": 1}))
        .await;
    user.fail("kv_set", json!({"key": SECRET})).await;

    let text = metrics(&world);
    let calls = |tool, outcome| {
        value(
            &text,
            "agent_mesh_calls_total",
            &[("tool", tool), ("outcome", outcome)],
        )
    };
    assert_eq!(calls("kv_set", "ok"), 1.0);
    assert_eq!(calls("kv_get", "ok"), 2.0);
    assert_eq!(calls("kv_set", "denied"), 1.0);
    assert_eq!(calls("kv_set", "error"), 1.0);
    let errors = |code| value(&text, "agent_mesh_call_errors_total", &[("code", code)]);
    assert_eq!(errors("PERMISSION_DENIED"), 1.0);
    assert_eq!(errors("INVALID_PARAMETER"), 1.0);
    let count = "agent_mesh_call_duration_seconds_count";
    assert_eq!(value(&text, count, &[("tool", "kv_get")]), 2.0);
    let requests = "agent_mesh_aws_requests_total";
    assert!(
        value(
            &text,
            requests,
            &[("service", "DynamoDB"), ("outcome", "ok")]
        ) >= 3.0,
        "{text}"
    );
    assert_eq!(value(&text, requests, &[("outcome", "abandoned")]), 0.0);
    assert_eq!(
        value(
            &text,
            "agent_mesh_build_info",
            &[("version", env!("CARGO_PKG_VERSION"))]
        ),
        1.0
    );
    assert!(value(&text, "process_start_time_seconds", &[]) > 1.7e9);
    for shown in [SECRET, "acme", "ada", "bob"] {
        assert!(!text.contains(shown), "{shown}: {text}");
    }
}

#[tokio::test]
async fn what_is_refused_is_counted_by_the_limit_and_by_the_reason() {
    let tenants = "[tenants.acme]\nissuers = [\"https://id.example\"]\n\
                   [tenants.acme.limits]\nrequests_per_minute = 2\n";
    let world = Plan::default()
        .counted()
        .by_token()
        .tenants(tenants)
        .open()
        .await;
    let user = world.user("acme", "ada", "user").await;
    for _ in 0..2 {
        user.ok("kv_get", json!({"key": "a"})).await;
    }
    for _ in 0..3 {
        user.fail("kv_get", json!({"key": "a"})).await;
    }
    let nobody = world.over(user.client.clone());
    nobody.fault("kv_get", json!({"key": "a"})).await;

    let text = metrics(&world);
    let limit = [("limit", "requests_per_minute")];
    assert_eq!(value(&text, "agent_mesh_calls_refused_total", &limit), 3.0);
    let limited = [("tool", "kv_get"), ("outcome", "limited")];
    assert_eq!(value(&text, "agent_mesh_calls_total", &limited), 3.0);
    let count = "agent_mesh_call_duration_seconds_count";
    assert_eq!(value(&text, count, &[("tool", "kv_get")]), 2.0);
    let reason = [("reason", "missing")];
    assert_eq!(
        value(&text, "agent_mesh_requests_unidentified_total", &reason),
        1.0
    );
}

#[tokio::test]
async fn tenants_are_named_only_where_the_operator_wants_it() {
    let named = Plan::default().counted().by_token();
    let world = named.set("AGENT_MESH_METRICS_TENANTS", "1").open().await;
    for (tenant, calls) in [("acme", 5), ("globex", 1)] {
        let user = world.user(tenant, "ada", "user").await;
        // Only who is named from the first reading on is counted under a name.
        for _ in 0..calls {
            user.ok("kv_get", json!({"key": "a"})).await;
        }
        metrics(&world);
    }
    let user = world.user("acme", "ada", "user").await;
    user.ok("kv_get", json!({"key": "a"})).await;
    let text = metrics(&world);
    let calls = |tenant| {
        value(
            &text,
            "agent_mesh_tenant_calls_total",
            &[("tenant", tenant)],
        )
    };
    assert_eq!((calls("acme"), calls("(other)")), (1.0, 6.0));
    assert!(!text.contains("globex"), "{text}");
}

#[tokio::test]
async fn a_bus_that_is_down_shows_in_what_waits_and_in_what_is_not_ready_does_not() {
    let world = Plan::default().counted().open().await;
    let faults = world.faults();
    assert!(faults.inject(Service::EventBridge, "*", Fault::ServerError, 1_000_000));
    let caller = world.caller().await;
    caller.ok("kv_set", json!({"key": "a", "value": 1})).await;
    let backplane = &world.app.shared().backplane;
    let failing = || {
        value(
            &metrics(&world),
            "agent_mesh_publisher_failing",
            &[("way", "bus")],
        )
    };
    while failing() < 1.0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let text = metrics(&world);
    let bus = [("way", "bus")];
    assert!(
        value(&text, "agent_mesh_publisher_waiting_records", &bus) >= 1.0,
        "{text}"
    );
    assert!(value(&text, "agent_mesh_publisher_failed_batches_total", &bus) >= 1.0);
    assert!(value(&text, "agent_mesh_outbox_records", &[]) >= 1.0);
    assert!(value(&text, "agent_mesh_outbox_bytes", &[]) > 0.0);
    // All replicas would go at once; the events are safe where they are.
    assert!(backplane.readiness(false).await.ready);
    let health = serde_json::to_value(backplane.process_health(false).await).unwrap();
    assert_eq!(health["ready"], true);
    assert!(
        health["publisher"]["bus"]["records"].as_u64() >= Some(1),
        "{health}"
    );
}

#[tokio::test]
async fn a_process_that_drains_or_has_no_keys_is_not_ready() {
    let world = World::of_two_tenants().await;
    let backplane = &world.app.shared().backplane;
    let ready = backplane.readiness(false).await;
    assert!(ready.ready, "{ready:?}");
    assert_eq!(
        serde_json::to_value(&ready).unwrap(),
        json!({"ready": true})
    );
    let draining = backplane.readiness(true).await;
    assert_eq!(draining.reasons, [NotReady::Draining]);

    let blind = Plan::default().by_token().open().await;
    std::fs::remove_file(blind.path("keys.json")).unwrap();
    let backplane = &blind.app.shared().backplane;
    let readiness = backplane.readiness(false).await;
    assert_eq!(
        serde_json::to_value(&readiness).unwrap(),
        json!({"ready": false, "reasons": ["keys_missing"]})
    );
    let health = backplane.process_health(false).await;
    let health = serde_json::to_value(&health).unwrap();
    assert_eq!(health["status"], "unhealthy");
    let parts = health["parts"].as_array().unwrap();
    let names: Vec<_> = parts
        .iter()
        .map(|part| part["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["table", "bucket", "bus"]);
    assert!(!health.to_string().contains("acme"));
}

/// What the process can export: every family, each having counted something.
async fn exported() -> BTreeSet<String> {
    let plan = Plan::default().counted().by_token();
    let tenants = "[tenants.acme]\nissuers = [\"https://id.example\"]\n\
                   [tenants.acme.limits]\nrequests_per_minute = 1\n";
    let plan = plan.set("AGENT_MESH_METRICS_TENANTS", "1").tenants(tenants);
    let world = plan.open().await;
    let all = world.metrics.as_ref().expect("metrics");
    all.http()
        .answered("/mcp", "POST", 200, Duration::from_millis(1));
    all.watch_listener(|| HttpFigures {
        connections: 1,
        streams: vec![("events", 1)],
        refused: vec![("host", 1)],
    });
    all.aws().throttled("DynamoDB");
    all.upstream().called("http", "ok");
    let user = world.user("acme", "ada", "user").await;
    user.ok("kv_get", json!({"key": "a"})).await;
    user.fail("kv_get", json!({"key": "a"})).await;
    world
        .over(user.client.clone())
        .fault("kv_get", json!({"key": "a"}))
        .await;
    let text = metrics(&world);
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let families = families.map(|family| {
        let (name, kind) = family.split_once(' ').unwrap();
        match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        }
    });
    families.collect()
}

/// The names of metrics in an expression: those of our own, and what Prometheus itself makes of histograms taken
/// off again.
fn named(expression: &str, names: &mut BTreeSet<String>) {
    let is_name = |character: char| character.is_ascii_alphanumeric() || "_:".contains(character);
    for word in expression.split(|character| !is_name(character)) {
        let is_ours = word.starts_with("agent_mesh_") || word.starts_with("process_start");
        if is_ours && !word.contains(':') {
            let parts = ["_bucket", "_sum", "_count"];
            let whole = parts.iter().find_map(|part| word.strip_suffix(part));
            names.insert(whole.unwrap_or(word).to_owned());
        }
    }
}

/// Every text under a member `expr` or `definition`, however deep.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member.as_str().filter(|_| name == "expr") {
                    Some(text) => found.push(text.to_owned()),
                    None => expressions(member, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        _ => {}
    }
}

fn read(name: &str) -> String {
    let path = Path::new(OBSERVABILITY).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[tokio::test]
async fn the_dashboard_shows_what_is_exported_and_nothing_else() {
    let dashboard: Value = serde_json::from_str(&read("grafana-dashboard.json")).unwrap();
    let mut found = Vec::new();
    expressions(&dashboard, &mut found);
    let mut shown = BTreeSet::new();
    found.iter().for_each(|text| named(text, &mut shown));
    assert_eq!(shown, exported().await);

    assert_eq!(dashboard["uid"], "agent-mesh");
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels
        .iter()
        .map(|panel| panel["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids.len(), panels.len(), "two panels share an id");
    for panel in panels {
        assert!(
            panel["title"]
                .as_str()
                .is_some_and(|title| !title.is_empty())
        );
        let is_row = panel["type"] == "row";
        assert_eq!(
            panel["datasource"]["uid"] == "${datasource}",
            !is_row,
            "{panel}"
        );
    }
}

#[tokio::test]
async fn the_rules_rest_on_what_is_exported() {
    let rules = read("prometheus-rules.yaml");
    let mut used = BTreeSet::new();
    rules
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .for_each(|line| {
            named(line, &mut used);
        });
    let exported = exported().await;
    let unknown: Vec<_> = used.difference(&exported).collect();
    assert!(unknown.is_empty(), "{unknown:?} are exported nowhere");
    assert!(used.contains("agent_mesh_calls_total"));
    // What is recorded is recorded to be used, by an alert or by the dashboard.
    let dashboard = read("grafana-dashboard.json");
    let recorded = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- record: "));
    for name in recorded {
        let uses = rules.matches(name).count() + dashboard.matches(name).count();
        assert!(uses > 1, "{name} is recorded for nothing");
    }
    assert_eq!(
        Outcome::ALL.map(Outcome::name),
        ["ok", "error", "denied", "limited", "unknown"]
    );
}
