//! What is exported of calls, and that it stays within its bounds.

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
fn what_is_open_is_counted_while_it_is() {
    let metrics = metrics();
    let http = metrics.http();
    let open = [
        http.connection(),
        http.connection(),
        http.stream(StreamKind::Sse),
    ];
    http.answered("/mcp", known_method("BREW"), 405, Duration::from_millis(2));
    http.refused(HttpRefusal::Origin);
    let text = metrics.encode();
    for line in [
        "agent_mesh_http_connections 2",
        "agent_mesh_http_sessions 0",
        r#"agent_mesh_http_streams{kind="sse"} 1"#,
        r#"agent_mesh_http_requests_total{route="/mcp",method="other",status="405"} 1"#,
        r#"agent_mesh_http_refused_total{reason="origin"} 1"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    drop(open);
    let text = metrics.encode();
    assert!(text.contains("agent_mesh_http_connections 0\n"), "{text}");
    assert!(
        text.contains("agent_mesh_http_streams{kind=\"sse\"} 0\n"),
        "{text}"
    );
}

#[test]
fn what_counts_nothing_costs_and_shows_nothing() {
    let http = HttpMetrics::default();
    http.answered("/mcp", "POST", 200, Duration::ZERO);
    http.refused(HttpRefusal::Host);
    drop((
        http.connection(),
        http.session(),
        http.stream(StreamKind::Events),
    ));
    UpstreamMetrics::default().called("http", "ok");
    AwsMetrics::default().ended("DynamoDB", "GetItem", AwsOutcome::Ok, Duration::ZERO);
    assert!(!metrics().encode().contains("http_requests"));
}
