//! What each type of message does.

use rmcp::model::ProtocolVersion;
use serde_json::{Value, json};

use super::message::{Fault, Members, Message};
use super::{Desk, subscription};
use crate::inbound::server::SERVER_NAME;
use crate::inbound::tool::{self, CallFault, Called, Reply};
use crate::mesh::call::tool::{Tool, Toolset};
use crate::mesh::tenant::{ContextType, IdentityError, Permission, TenantContext};

/// What `request_metrics` asks of the counters.
const METRICS: &str = r#"{"time_range":"1h"}"#;

impl Desk {
    /// Does what `message` asks for.
    pub(super) async fn work(
        self: &std::sync::Arc<Self>,
        message: &Message<'_>,
    ) -> Result<Members, Fault> {
        match message.kind.as_ref() {
            "health_check" => {
                let result = self.own(Tool::EventsHealthCheck, "{}").await?;
                Ok(format!("\"health\":{result}"))
            }
            "request_metrics" => {
                let result = self.own(Tool::EventsAnalytics, METRICS).await?;
                Ok(format!("\"metrics\":{result}"))
            }
            "server_info" => self.server_info().await,
            "list_tools" => self.list_tools().await,
            "mcp_call" => self.mcp_call(message).await,
            "subscribe_events" => subscription::begin(self, message).await,
            "unsubscribe_events" => subscription::end(self, message),
            "context_switch" => self.context_switch(message).await,
            _ => Err(Fault::unknown_type()),
        }
    }

    /// Who asks, now.
    pub(super) async fn caller(&self) -> Result<TenantContext, IdentityError> {
        self.shared.caller(&self.head()).await
    }

    /// The result of a tool of our own.
    async fn own(&self, tool: Tool, arguments: &str) -> Result<String, Fault> {
        if !self.shared.catalog.offers(tool) {
            return Err(Fault::not_offered());
        }
        let reply = self.call(&Called::Own(tool), Some(arguments)).await?;
        match reply.is_error {
            true => Err(Fault::of_result(&reply.result)),
            false => Ok(reply.result),
        }
    }

    async fn call(&self, called: &Called, arguments: Option<&str>) -> Result<Reply, Fault> {
        let own = arguments.filter(|_| matches!(called, Called::Own(_)));
        let request = self.head().into_request(own);
        let request_id = request.id;
        let backplane = &self.shared.backplane;
        let reply = tool::call_named(backplane, called, request, arguments).await;
        reply.map_err(|fault| match fault {
            CallFault::Cursor(error) => Fault::parameter("cursor", &error.to_string()),
            CallFault::Identity(error) => match error.tool_error() {
                Some(error) => Fault::failed(&error, request_id),
                None => Fault::identity(error),
            },
        })
    }

    async fn server_info(&self) -> Result<Members, Fault> {
        let caller = self.caller().await.map_err(Fault::identity)?;
        let families = Toolset::ALL.into_iter();
        let families = families.filter(|family| self.shared.catalog.has(*family));
        let families: Vec<&str> = families.map(Toolset::name).collect();
        let versions = ProtocolVersion::KNOWN_VERSIONS.iter();
        let versions: Vec<&str> = versions.map(ProtocolVersion::as_str).collect();
        let server = json!({
            "name": SERVER_NAME, "version": env!("CARGO_PKG_VERSION"),
            "protocol_versions": versions, "toolsets": families,
            "read_only": self.shared.catalog.is_read_only(),
        });
        let context = context_of(&caller);
        Ok(format!("\"server\":{server},\"context\":{context}"))
    }

    async fn list_tools(&self) -> Result<Members, Fault> {
        let caller = self.caller().await.map_err(Fault::identity)?;
        let (tools, _) = self.shared.tool_list(&caller).await;
        Ok(format!("\"tools\":{tools}"))
    }

    async fn mcp_call(&self, message: &Message<'_>) -> Result<Members, Fault> {
        let Some(name) = message.tool.as_deref() else {
            return Err(Fault::parameter("tool", "`tool` names the tool to call"));
        };
        let Some(called) = self.shared.called(name, &self.head()).await else {
            return Err(Fault::not_found(
                "there is no such tool here",
                "list_tools names those that there are.",
            ));
        };
        let arguments = message.arguments.map(serde_json::value::RawValue::get);
        let reply = self.call(&called, arguments).await?;
        // What another server says of a failure of its own is its result.
        if reply.is_error && reply.upstream_error().is_none() {
            return Err(Fault::of_result(&reply.result));
        }
        Ok(format!("\"result\":{}", reply.to_json(false)))
    }

    /// A token is of one tenant and one organization at most, so that a switch is to what it says already, or
    /// takes another token.
    async fn context_switch(&self, message: &Message<'_>) -> Result<Members, Fault> {
        let caller = self.caller().await.map_err(Fault::identity)?;
        let tenant = message.tenant.as_deref();
        if tenant.is_some_and(|tenant| tenant != caller.tenant_id().as_str()) {
            return Err(Fault::not_allowed(
                "the token of this connection is of another tenant",
                "Connect with a token of the tenant that you want.",
            ));
        }
        let own = match caller.context_type() {
            ContextType::Personal => None,
            ContextType::Organization { org_id } => Some(org_id.as_ref()),
        };
        let wanted = message.org_id.as_deref();
        if wanted.is_some() && wanted != own {
            return Err(Fault::not_allowed(
                "the token of this connection does not act for that organization",
                "Connect with a token that names the organization.",
            ));
        }
        Ok(format!("\"context\":{}", context_of(&caller)))
    }
}

/// Who asks, as it is told.
fn context_of(caller: &TenantContext) -> Value {
    let permissions = caller.permissions().iter();
    let permissions: Vec<&str> = permissions.map(Permission::name).collect();
    let mut context = json!({
        "tenant_id": caller.tenant_id().as_str(),
        "user_id": caller.user_id().as_str(),
        "context_type": "personal",
        "role": caller.role().name(),
        "permissions": permissions,
    });
    if let ContextType::Organization { org_id } = caller.context_type() {
        context["context_type"] = "organization".into();
        context["org_id"] = org_id.as_ref().into();
    }
    if let Some(ends_at) = caller.ends_at() {
        context["ends_at"] = ends_at.to_string().into();
    }
    context
}
