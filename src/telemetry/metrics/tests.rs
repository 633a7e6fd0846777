//! What is exported of calls, and that it stays within its bounds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::*;
use crate::mesh::call::observer::RefusedBy;
use crate::mesh::call::tool::Tool;
use crate::mesh::event::Outcome;
use crate::mesh::limit::Limit;
use crate::mesh::tenant::TenantId;
use crate::mesh::{ErrorKind, SystemClock};

fn metrics() -> Arc<Metrics> {
    Metrics::new(&MetricsSettings::default(), &SystemClock::new())
}

fn call(tenant: &TenantId, tool: Tool, outcome: Outcome) -> EndedCall<'_> {
    EndedCall {
        tool,
        tenant,
        outcome,
        error: None,
        refused_by: None,
        duration: Duration::from_micros(300),
    }
}

#[test]
fn every_tool_outcome_code_and_limit_together_are_a_bounded_text() {
    let metrics = metrics();
    for number in 0..100 {
        let tenant: TenantId = format!("tenant-{number}").parse().unwrap();
        for tool in Tool::ALL {
            for outcome in Outcome::ALL {
                metrics.ended(&call(&tenant, tool, outcome));
            }
        }
        for kind in ErrorKind::ALL {
            metrics.ended(&EndedCall {
                error: Some(kind),
                refused_by: Some(RefusedBy::Limit(Limit::RequestsPerMinute)),
                ..call(&tenant, Tool::KvGet, Outcome::Limited)
            });
        }
    }
    let text = metrics.encode();
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    // 34 names, 5 outcomes; a histogram has a series for each bound, one for the rest, its sum and its count.
    let names: std::collections::BTreeSet<_> = Tool::ALL.iter().map(|tool| tool.name()).collect();
    let histograms = names.len() * (LATENCY_BOUNDS_SECONDS.len() + 3);
    let most = names.len() * 5 + histograms + ErrorKind::ALL.len() + 1 + 10;
    assert!(series <= most, "{series} > {most}");
    assert!(!text.contains("tenant-"));
    assert!(
        text.contains(r#"agent_mesh_calls_total{tool="kv_get",outcome="ok"} 100"#),
        "{text}"
    );
    let limited = r#"agent_mesh_calls_refused_total{limit="requests_per_minute"} 1800"#;
    assert!(text.contains(limited), "{text}");
}

#[test]
fn methods_that_share_a_name_are_counted_together() {
    let metrics = metrics();
    let tenant: TenantId = "acme".parse().unwrap();
    for tool in [
        Tool::ResourcesRead,
        Tool::ValuesRead,
        Tool::EventRead,
        Tool::AlertsRead,
    ] {
        metrics.ended(&call(&tenant, tool, Outcome::Ok));
    }
    let text = metrics.encode();
    assert!(
        text.contains(r#"agent_mesh_calls_total{tool="resources/read",outcome="ok"} 4"#),
        "{text}"
    );
}

#[test]
fn requests_are_counted_by_route_and_a_listener_is_asked_anew_each_time() {
    let metrics = metrics();
    assert!(!metrics.encode().contains("http_connections"));
    let connections = Arc::new(AtomicU64::new(2));
    let asked = Arc::clone(&connections);
    metrics.watch_listener(move || HttpFigures {
        connections: asked.load(Ordering::SeqCst),
        streams: vec![("sse", 1), ("websocket", 0)],
        refused: vec![("origin", 1)],
    });
    metrics
        .http()
        .answered("/mcp", known_method("BREW"), 405, Duration::from_millis(2));
    let text = metrics.encode();
    for line in [
        "agent_mesh_http_connections 2.0",
        r#"agent_mesh_http_streams{kind="sse"} 1.0"#,
        r#"agent_mesh_http_streams{kind="websocket"} 0.0"#,
        r#"agent_mesh_http_requests_total{route="/mcp",method="other",status="405"} 1"#,
        r#"agent_mesh_http_refused_total{reason="origin"} 1"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    connections.store(0, Ordering::SeqCst);
    let text = metrics.encode();
    assert!(text.contains("agent_mesh_http_connections 0.0\n"), "{text}");
}

#[test]
fn what_counts_nothing_costs_and_shows_nothing() {
    let http = HttpMetrics::default();
    http.answered("/mcp", "POST", 200, Duration::ZERO);
    UpstreamMetrics::default().called("http", "ok");
    AwsMetrics::default().ended("DynamoDB", "GetItem", AwsOutcome::Ok, Duration::ZERO);
    assert!(!metrics().encode().contains("http_requests"));
}
