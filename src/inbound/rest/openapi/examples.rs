//! One call of each tool, as the description shows it.

use serde_json::{Value, json};

use crate::mesh::call::tool::Tool;

/// Arguments that `tool` takes.
pub(super) fn arguments(tool: Tool) -> Value {
    match tool {
        Tool::KvGet | Tool::KvDelete => json!({ "key": "plans/june" }),
        Tool::KvSet => json!({ "key": "plans/june", "value": { "steps": 3 }, "ttl_hours": 48 }),
        Tool::KvList => json!({ "prefix": "plans/", "limit": 20 }),
        Tool::ArtifactsGet | Tool::ArtifactsDelete => json!({ "key": "reports/june.md" }),
        Tool::ArtifactsPut => json!({
            "key": "reports/june.md", "content": "# June\n", "content_type": "text/markdown",
        }),
        Tool::ArtifactsList => json!({ "prefix": "reports/", "delimiter": "/" }),
        Tool::EventsSend => json!({
            "detail_type": "Order.Placed", "detail": { "order": 4711 }, "source": "shop", "priority": "high",
        }),
        Tool::EventsQuery => json!({ "detail_type": "Order.Placed", "limit": 10 }),
        Tool::EventsAnalytics => json!({ "time_range": "24h", "metrics": ["volume", "errors"] }),
        Tool::EventsHealthCheck => json!({ "verbose": true }),
        Tool::EventsCreateRule => json!({
            "name": "orders", "pattern": { "detail-type": ["Order.Placed"] }, "dry_run": true,
        }),
        Tool::EventsDeleteRule => json!({ "name": "orders" }),
        Tool::EventsCreateAlert => json!({
            "name": "big-orders", "pattern": { "detail-type": ["Order.Placed"] }, "method": "sns", "topic": "ops",
        }),
        Tool::EventsDeleteAlert => json!({ "name": "big-orders" }),
        Tool::WorkflowStart => json!({ "name": "refund", "input": { "order": 4711 } }),
        Tool::WorkflowStatus => {
            json!({ "run_id": "01K00000000000000000000000", "wait_ms": 1000 })
        }
        Tool::WorkflowStop => {
            json!({ "run_id": "01K00000000000000000000000", "reason": "Not needed." })
        }
        Tool::WorkflowList => json!({ "status": "running" }),
        Tool::IntegrationRegister => json!({
            "service_id": "notes", "name": "Notes", "server_type": "http", "url": "https://notes.example/mcp",
            "auth_method": "bearer",
        }),
        Tool::IntegrationConnect => {
            json!({ "service_id": "notes", "credentials": { "token": "${secret:NOTES}" } })
        }
        Tool::IntegrationDisconnect | Tool::IntegrationTest | Tool::IntegrationUnregister => {
            json!({ "service_id": "notes" })
        }
        Tool::IntegrationApprove => json!({ "service_id": "notes", "tool": "search" }),
        Tool::McpListTools => json!({ "query": "find a note", "detail": "schema" }),
        Tool::McpProxy => json!({ "tool_name": "notes.search", "arguments": { "query": "june" } }),
        Tool::EventsListRules
        | Tool::IntegrationList
        | Tool::Complete
        | Tool::ResourcesList
        | Tool::ResourcesRead
        | Tool::ValuesRead
        | Tool::EventRead
        | Tool::ResourcesSubscribe
        | Tool::AlertsRead
        | Tool::AlertsSubscribe => json!({}),
    }
}
