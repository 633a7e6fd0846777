//! What a client needs to know of this server before it calls, and who it is to it.

use rmcp::model::ProtocolVersion;
use serde_json::{Value, json};

use crate::inbound::server::SERVER_NAME;
use crate::inbound::tool::catalog::Catalog;
use crate::inbound::transport::FRAME_BYTES_MAX;
use crate::mesh::call::CALL_TIME_MAX;
use crate::mesh::call::tool::Toolset;
use crate::mesh::service::resources::READ_BYTES_MAX;
use crate::mesh::tenant::{ContextType, Permission, TenantContext};

/// What [`Catalog`] offers `caller`, by which limits, and who that is.
pub(super) fn info(catalog: &Catalog, caller: &TenantContext) -> Value {
    let toolsets = Toolset::ALL.into_iter();
    let toolsets = toolsets.filter(|toolset| catalog.has(*toolset));
    let versions = ProtocolVersion::KNOWN_VERSIONS.iter();
    let limits = caller.limits();
    json!({
        "name": SERVER_NAME,
        "title": "Agent Mesh",
        "version": env!("CARGO_PKG_VERSION"),
        "protocol_versions": versions.map(ProtocolVersion::as_str).collect::<Vec<_>>(),
        "toolsets": toolsets.map(Toolset::name).collect::<Vec<_>>(),
        "read_only": catalog.is_read_only(),
        "limits": {
            "body_bytes": FRAME_BYTES_MAX,
            "resource_read_bytes": READ_BYTES_MAX,
            "call_time_ms": CALL_TIME_MAX.as_millis(),
            "requests_per_minute": limits.requests_per_minute,
            "calls_in_flight": limits.calls_in_flight,
        },
        "caller": who(caller),
    })
}

fn who(caller: &TenantContext) -> Value {
    let permissions = caller.permissions();
    let mut who = json!({
        "tenant_id": caller.tenant_id().as_str(),
        "user_id": caller.user_id().as_str(),
        "role": caller.role().name(),
        "permissions": permissions.iter().map(Permission::name).collect::<Vec<_>>(),
    });
    if let ContextType::Organization { org_id } = caller.context_type() {
        who["org_id"] = json!(org_id);
    }
    if let Some(end) = caller.ends_at() {
        who["expires_at"] = json!(end);
    }
    who
}
