//! The closed list of what a client can have done to a tenant's data, and what each needs and reports.

use crate::mesh::tenant::Permission;

/// A tool, or a method of the protocol that reaches a tenant's data and so takes the same path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tool {
    /// Delete an artifact.
    ArtifactsDelete,
    /// Read an artifact.
    ArtifactsGet,
    /// List artifacts.
    ArtifactsList,
    /// Store an artifact.
    ArtifactsPut,
    /// Summarize events.
    EventsAnalytics,
    /// Make an alert.
    EventsCreateAlert,
    /// Make a rule.
    EventsCreateRule,
    /// Remove an alert.
    EventsDeleteAlert,
    /// Remove a rule.
    EventsDeleteRule,
    /// See the health of what the tenant uses.
    EventsHealthCheck,
    /// List rules and alerts.
    EventsListRules,
    /// Find events.
    EventsQuery,
    /// Send events.
    EventsSend,
    /// Approve what a tool of an integration has become.
    IntegrationApprove,
    /// Connect to an integration.
    IntegrationConnect,
    /// End a connection to an integration.
    IntegrationDisconnect,
    /// List integrations and the caller's connections.
    IntegrationList,
    /// Register an integration.
    IntegrationRegister,
    /// Ask an integration for a sign of life.
    IntegrationTest,
    /// Remove an integration.
    IntegrationUnregister,
    /// Delete a value.
    KvDelete,
    /// Read a value.
    KvGet,
    /// List values.
    KvList,
    /// Store a value.
    KvSet,
    /// Find tools of integrations.
    McpListTools,
    /// Call a tool of an integration.
    McpProxy,
    /// List workflow runs.
    WorkflowList,
    /// Start a workflow.
    WorkflowStart,
    /// See how a workflow run is.
    WorkflowStatus,
    /// Stop a workflow run.
    WorkflowStop,
    /// `completion/complete` of a resource's key.
    Complete,
    /// `resources/list`.
    ResourcesList,
    /// `resources/read`.
    ResourcesRead,
    /// `resources/read` of a value.
    ValuesRead,
    /// `resources/read` of an event.
    EventRead,
    /// `resources/subscribe`, or one resource of `subscriptions/listen`.
    ResourcesSubscribe,
    /// `resources/read` of the alerts that were raised.
    AlertsRead,
    /// `resources/subscribe` to the alerts that are raised, or their part of `subscriptions/listen`.
    AlertsSubscribe,
}

/// A family of tools, as `--toolsets` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Toolset {
    /// Key-values.
    Kv,
    /// Artifacts, also as resources.
    Artifacts,
    /// Events.
    Events,
    /// Integrations, and the calls of their tools.
    Integrations,
    /// Workflows.
    Workflows,
}

/// What a call does to the tenant's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It only reads.
    Read,
    /// It changes something: its intent is recorded before it begins.
    Mutation,
    /// It adds events, which are their own record.
    Events,
    /// It tells how the tenant's parts are, and must work when they do not.
    Health,
}

impl Toolset {
    /// Every family.
    pub const ALL: [Self; 5] = [
        Self::Artifacts,
        Self::Events,
        Self::Integrations,
        Self::Kv,
        Self::Workflows,
    ];

    /// The name in settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kv => "kv",
            Self::Artifacts => "artifacts",
            Self::Events => "events",
            Self::Integrations => "integrations",
            Self::Workflows => "workflows",
        }
    }
}

impl Tool {
    /// Every tool and method: the tools sorted by name, then the methods.
    pub const ALL: [Self; 38] = [
        Self::ArtifactsDelete,
        Self::ArtifactsGet,
        Self::ArtifactsList,
        Self::ArtifactsPut,
        Self::EventsAnalytics,
        Self::EventsCreateAlert,
        Self::EventsCreateRule,
        Self::EventsDeleteAlert,
        Self::EventsDeleteRule,
        Self::EventsHealthCheck,
        Self::EventsListRules,
        Self::EventsQuery,
        Self::EventsSend,
        Self::IntegrationApprove,
        Self::IntegrationConnect,
        Self::IntegrationDisconnect,
        Self::IntegrationList,
        Self::IntegrationRegister,
        Self::IntegrationTest,
        Self::IntegrationUnregister,
        Self::KvDelete,
        Self::KvGet,
        Self::KvList,
        Self::KvSet,
        Self::McpListTools,
        Self::McpProxy,
        Self::WorkflowList,
        Self::WorkflowStart,
        Self::WorkflowStatus,
        Self::WorkflowStop,
        Self::Complete,
        Self::ResourcesList,
        Self::ResourcesRead,
        Self::ValuesRead,
        Self::EventRead,
        Self::ResourcesSubscribe,
        Self::AlertsRead,
        Self::AlertsSubscribe,
    ];

    /// The tool's name, or the method's.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ArtifactsDelete => "artifacts_delete",
            Self::ArtifactsGet => "artifacts_get",
            Self::ArtifactsList => "artifacts_list",
            Self::ArtifactsPut => "artifacts_put",
            Self::EventsAnalytics => "events_analytics",
            Self::EventsCreateAlert => "events_create_alert",
            Self::EventsCreateRule => "events_create_rule",
            Self::EventsDeleteAlert => "events_delete_alert",
            Self::EventsDeleteRule => "events_delete_rule",
            Self::EventsHealthCheck => "events_health_check",
            Self::EventsListRules => "events_list_rules",
            Self::EventsQuery => "events_query",
            Self::EventsSend => "events_send",
            Self::IntegrationApprove => "integration_approve",
            Self::IntegrationConnect => "integration_connect",
            Self::IntegrationDisconnect => "integration_disconnect",
            Self::IntegrationList => "integration_list",
            Self::IntegrationRegister => "integration_register",
            Self::IntegrationTest => "integration_test",
            Self::IntegrationUnregister => "integration_unregister",
            Self::KvDelete => "kv_delete",
            Self::KvGet => "kv_get",
            Self::KvList => "kv_list",
            Self::KvSet => "kv_set",
            Self::McpListTools => "mcp_list_tools",
            Self::McpProxy => "mcp_proxy",
            Self::WorkflowList => "workflow_list",
            Self::WorkflowStart => "workflow_start",
            Self::WorkflowStatus => "workflow_status",
            Self::WorkflowStop => "workflow_stop",
            Self::Complete => "completion/complete",
            Self::ResourcesList => "resources/list",
            Self::ResourcesRead | Self::ValuesRead | Self::EventRead | Self::AlertsRead => {
                "resources/read"
            }
            Self::ResourcesSubscribe | Self::AlertsSubscribe => "resources/subscribe",
        }
    }

    /// Whether it talks to a server outside of this one.
    pub const fn reaches_outside(self) -> bool {
        matches!(
            self,
            Self::IntegrationConnect | Self::IntegrationTest | Self::McpListTools | Self::McpProxy
        )
    }

    /// Whether it is called by `tools/call`, rather than being a method of its own.
    pub const fn is_listed(self) -> bool {
        !matches!(
            self,
            Self::Complete
                | Self::ResourcesList
                | Self::ResourcesRead
                | Self::ValuesRead
                | Self::EventRead
                | Self::ResourcesSubscribe
                | Self::AlertsRead
                | Self::AlertsSubscribe
        )
    }

    /// The family it belongs to.
    pub const fn toolset(self) -> Toolset {
        match self {
            Self::KvDelete | Self::KvGet | Self::KvList | Self::KvSet | Self::ValuesRead => {
                Toolset::Kv
            }
            Self::ArtifactsDelete
            | Self::ArtifactsGet
            | Self::ArtifactsList
            | Self::ArtifactsPut
            | Self::Complete
            | Self::ResourcesList
            | Self::ResourcesRead
            | Self::ResourcesSubscribe => Toolset::Artifacts,
            Self::EventRead
            | Self::EventsAnalytics
            | Self::EventsCreateAlert
            | Self::EventsCreateRule
            | Self::EventsDeleteAlert
            | Self::EventsDeleteRule
            | Self::EventsHealthCheck
            | Self::EventsListRules
            | Self::EventsQuery
            | Self::EventsSend
            | Self::AlertsRead
            | Self::AlertsSubscribe => Toolset::Events,
            Self::WorkflowList
            | Self::WorkflowStart
            | Self::WorkflowStatus
            | Self::WorkflowStop => Toolset::Workflows,
            Self::IntegrationApprove
            | Self::IntegrationConnect
            | Self::IntegrationDisconnect
            | Self::IntegrationList
            | Self::IntegrationRegister
            | Self::IntegrationTest
            | Self::IntegrationUnregister
            | Self::McpListTools
            | Self::McpProxy => Toolset::Integrations,
        }
    }

    /// The permission that a caller needs.
    pub const fn permission(self) -> Permission {
        match self {
            Self::KvGet | Self::KvList | Self::ValuesRead => Permission::KvRead,
            Self::KvSet | Self::KvDelete => Permission::KvWrite,
            Self::ArtifactsGet
            | Self::ArtifactsList
            | Self::Complete
            | Self::ResourcesList
            | Self::ResourcesRead
            | Self::ResourcesSubscribe => Permission::ArtifactsRead,
            Self::ArtifactsPut | Self::ArtifactsDelete => Permission::ArtifactsWrite,
            Self::EventsSend => Permission::EventsSend,
            Self::EventsQuery
            | Self::EventRead
            | Self::EventsAnalytics
            | Self::EventsListRules
            | Self::AlertsRead
            | Self::AlertsSubscribe => Permission::EventsRead,
            Self::EventsCreateRule | Self::EventsDeleteRule => Permission::RulesManage,
            Self::EventsCreateAlert | Self::EventsDeleteAlert => Permission::AlertsManage,
            Self::EventsHealthCheck => Permission::HealthRead,
            Self::WorkflowList | Self::WorkflowStatus => Permission::WorkflowRead,
            Self::WorkflowStart | Self::WorkflowStop => Permission::WorkflowRun,
            Self::IntegrationList | Self::McpListTools => Permission::IntegrationRead,
            Self::IntegrationConnect | Self::IntegrationDisconnect | Self::IntegrationTest => {
                Permission::IntegrationConnect
            }
            Self::IntegrationApprove | Self::IntegrationRegister | Self::IntegrationUnregister => {
                Permission::IntegrationManage
            }
            Self::McpProxy => Permission::ProxyCall,
        }
    }

    /// The detail type of the event that records a call. `Events.Send` records only sends that were
    /// refused or failed: one that worked is recorded by the events themselves.
    pub const fn detail_type(self) -> &'static str {
        match self {
            Self::KvGet | Self::ValuesRead => "KV.Get",
            Self::KvSet => "KV.Set",
            Self::KvDelete => "KV.Deleted",
            Self::KvList => "KV.Listed",
            Self::ArtifactsGet | Self::ResourcesRead => "Artifacts.Get",
            Self::ArtifactsPut => "Artifacts.Put",
            Self::ArtifactsList | Self::ResourcesList | Self::Complete => "Artifacts.List",
            Self::ArtifactsDelete => "Artifacts.Deleted",
            Self::ResourcesSubscribe => "Artifacts.Subscribed",
            Self::EventsSend => "Events.Send",
            Self::EventsQuery | Self::EventRead => "Events.Query",
            Self::EventsAnalytics => "Events.Analytics",
            Self::EventsCreateAlert => "Events.AlertCreated",
            Self::EventsCreateRule => "Events.RuleCreated",
            Self::EventsDeleteAlert => "Events.AlertDeleted",
            Self::EventsDeleteRule => "Events.RuleDeleted",
            Self::EventsHealthCheck => "Events.HealthCheck",
            Self::EventsListRules => "Events.RulesListed",
            Self::AlertsRead => "Events.AlertsRead",
            Self::AlertsSubscribe => "Events.AlertsSubscribed",
            Self::WorkflowList => "Workflow.Listed",
            Self::WorkflowStart => "Workflow.Started",
            Self::WorkflowStatus => "Workflow.Status",
            Self::WorkflowStop => "Workflow.Stopped",
            Self::IntegrationApprove => "Integration.Approved",
            Self::IntegrationConnect => "Integration.Connected",
            Self::IntegrationDisconnect => "Integration.Disconnected",
            Self::IntegrationList => "Integration.Listed",
            Self::IntegrationRegister => "Integration.Registered",
            Self::IntegrationTest => "Integration.Tested",
            Self::IntegrationUnregister => "Integration.Unregistered",
            Self::McpListTools => "MCP.ToolsListed",
            Self::McpProxy => "MCP.ToolCalled",
        }
    }

    /// What a call does.
    pub const fn effect(self) -> Effect {
        match self {
            Self::KvSet
            | Self::KvDelete
            | Self::ArtifactsPut
            | Self::ArtifactsDelete
            | Self::EventsCreateAlert
            | Self::EventsCreateRule
            | Self::EventsDeleteAlert
            | Self::EventsDeleteRule
            | Self::WorkflowStart
            | Self::WorkflowStop
            | Self::IntegrationApprove
            | Self::IntegrationConnect
            | Self::IntegrationDisconnect
            | Self::IntegrationRegister
            | Self::IntegrationUnregister
            | Self::McpProxy => Effect::Mutation,
            Self::EventsSend => Effect::Events,
            Self::EventsHealthCheck => Effect::Health,
            Self::KvGet
            | Self::KvList
            | Self::ArtifactsGet
            | Self::ArtifactsList
            | Self::EventsQuery
            | Self::EventsAnalytics
            | Self::EventsListRules
            | Self::WorkflowList
            | Self::WorkflowStatus
            | Self::IntegrationList
            | Self::IntegrationTest
            | Self::McpListTools
            | Self::Complete
            | Self::ResourcesList
            | Self::ResourcesRead
            | Self::ValuesRead
            | Self::EventRead
            | Self::ResourcesSubscribe
            | Self::AlertsRead
            | Self::AlertsSubscribe => Effect::Read,
        }
    }

    /// Whether it may be a way out for a tenant whose rules cannot do what they say, so that its events stay in
    /// the outbox until that has no room for its calls: it takes away what they wait for, or finds it.
    pub const fn is_way_out(self) -> bool {
        matches!(
            self,
            Self::EventsDeleteAlert
                | Self::EventsDeleteRule
                | Self::EventsListRules
                | Self::WorkflowList
                | Self::WorkflowStop
        )
    }

    /// The tool that a client means by `name`: its own name, the name behind a client's prefix
    /// (`mcp__<server>__kv_get`, stripped once), or the older JavaScript server's spelling (`kv.get`).
    pub fn named(name: &str) -> Option<Self> {
        let exact = |name: &str| {
            Self::ALL
                .into_iter()
                .find(|tool| tool.is_listed() && tool.name() == name)
        };
        let dotted = |name: &str| match name.split_once('.') {
            Some((family, rest)) if !rest.contains('.') && !family.contains('_') => {
                exact(&format!("{family}_{rest}"))
            }
            _ => None,
        };
        let behind_prefix = |name: &str| {
            let (_, rest) = name.strip_prefix("mcp__")?.rsplit_once("__")?;
            exact(rest).or_else(|| dotted(rest))
        };
        exact(name)
            .or_else(|| behind_prefix(name))
            .or_else(|| dotted(name))
    }
}

/// What the detail types of operations begin with; a caller's own may not begin with any of them.
pub const RESERVED_DETAIL_TYPES: [&str; 7] = [
    "KV.",
    "Artifacts.",
    "Events.",
    "Integration.",
    "MCP.",
    "Workflow.",
    "Mesh.",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_sorted_by_name_and_come_before_the_methods() {
        let listed: Vec<_> = Tool::ALL
            .into_iter()
            .filter(|tool| tool.is_listed())
            .map(Tool::name)
            .collect();
        let mut sorted = listed.clone();
        sorted.sort_unstable();
        assert_eq!(listed, sorted);
        assert!(
            Tool::ALL
                .into_iter()
                .skip(listed.len())
                .all(|tool| !tool.is_listed())
        );
    }

    #[test]
    fn a_tool_answers_to_its_name_a_clients_prefix_and_the_older_spelling() {
        for name in [
            "kv_get",
            "mcp__agent-mesh__kv_get",
            "mcp__aws__kv_get",
            "kv.get",
            "mcp__my__own__kv.get",
        ] {
            assert_eq!(Tool::named(name), Some(Tool::KvGet), "{name}");
        }
        for name in [
            "",
            "kv",
            "kv__get",
            "mcp__kv_get",
            "KV_GET",
            "resources/read",
            "k.v.get",
        ] {
            assert_eq!(Tool::named(name), None, "{name}");
        }
    }

    #[test]
    fn every_detail_type_of_an_operation_is_reserved() {
        for tool in Tool::ALL {
            assert!(
                RESERVED_DETAIL_TYPES
                    .iter()
                    .any(|prefix| tool.detail_type().starts_with(prefix))
            );
        }
    }
}
