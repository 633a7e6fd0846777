//! Tools of integrated servers among those that a client is shown, and by the names under which it calls them.

use std::sync::Arc;

use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};

use super::{RequestHead, Server, Shared, identity_error};
use crate::inbound::tool::{Called, DirectName};
use crate::mesh::call::tool::{Tool, Toolset};
use crate::mesh::integration::DirectTools;
use crate::mesh::integration::direct::readings;
use crate::mesh::tenant::{IdentityError, PermissionSet, TenantContext};

impl Server {
    /// The tools that the caller may call, as [`Shared::tool_list`] has them. Where requests bring tokens, one
    /// that brings none sees all of our own that is offered; what a token opens is decided when it is called.
    pub(super) async fn listed_tools(
        &self,
        context: &RequestContext<RoleServer>,
    ) -> Result<String, ErrorData> {
        let caller = match self.caller(context).await {
            Ok(caller) => caller,
            Err(IdentityError::Missing) => {
                return Ok(self.shared.catalog.list(PermissionSet::ALL).to_string());
            }
            Err(error) => return Err(identity_error(error)),
        };
        self.start_tool_list_teller(&caller, context);
        let (list, fingerprint) = self.shared.tool_list(&caller).await;
        self.shown_tools.show(fingerprint);
        Ok(list)
    }

    /// The tools of integrated servers that are listed to `caller`; nothing where that is not known now.
    pub(super) async fn direct_tools(&self, caller: &TenantContext) -> Option<Arc<DirectTools>> {
        self.shared.direct_tools(caller).await
    }
}

impl Shared {
    /// The tools that `caller` may call, the text of a JSON array: our own, then those of integrated servers
    /// that its tenant has chosen; and the fingerprint of the latter.
    pub(in crate::inbound) async fn tool_list(&self, caller: &TenantContext) -> (String, u64) {
        let own = self.catalog.list(caller.permissions());
        let direct = self.direct_tools(caller).await.unwrap_or_default();
        (joined(&own, direct.texts()), direct.fingerprint())
    }

    async fn direct_tools(&self, caller: &TenantContext) -> Option<Arc<DirectTools>> {
        if !self.catalog.has(Toolset::Integrations) {
            return Some(Arc::default());
        }
        let book = &self.backplane.integrations;
        book.direct_tools(caller, self.catalog.is_read_only()).await
    }

    /// What the caller means by `name`, if it is anything. Our own names win.
    pub(in crate::inbound) async fn called(
        &self,
        name: &str,
        head: &RequestHead,
    ) -> Option<Called> {
        let catalog = &self.catalog;
        if let Some(tool) = Tool::named(name) {
            return catalog.offers(tool).then_some(Called::Own(tool));
        }
        if !catalog.has(Toolset::Integrations) {
            return None;
        }
        let found = readings(name);
        if found.is_empty() {
            return None;
        }
        let caller = self.caller(head).await.ok()?;
        let book = &self.backplane.integrations;
        let (service, tool) = book.meant(&caller, found).await?;
        Some(Called::Direct(DirectName {
            service,
            tool: tool.to_owned(),
            only_reads: catalog.is_read_only(),
        }))
    }
}

/// The list `own` with `texts` behind its tools.
fn joined(own: &str, texts: &[String]) -> String {
    let mut list = own.strip_suffix(']').unwrap_or(own).to_owned();
    for text in texts {
        if list.len() > 1 {
            list.push(',');
        }
        list.push_str(text);
    }
    list.push(']');
    list
}
