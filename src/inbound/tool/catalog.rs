//! Which tools this process offers, and to whom.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::describe;
use crate::mesh::call::tool::{Effect, Tool, Toolset};
use crate::mesh::tenant::PermissionSet;

/// The most lists that are kept; there are few sets of permissions that differ.
const LISTS_MAX: usize = 64;

/// The tools that are offered.
pub struct Catalog {
    toolsets: Vec<Toolset>,
    read_only: bool,
    /// Each offered tool and its JSON text, in the order of listing.
    tools: Vec<(Tool, String)>,
    /// The JSON text of the list for each set of permissions that has asked.
    lists: Mutex<HashMap<PermissionSet, Arc<str>>>,
}

impl Catalog {
    /// The tools of `toolsets`, and with `read_only` only those that change nothing.
    pub fn new(toolsets: &[Toolset], read_only: bool) -> Self {
        let mut catalog = Self {
            toolsets: toolsets.to_vec(),
            read_only,
            tools: Vec::new(),
            lists: Mutex::default(),
        };
        let offered = Tool::ALL.into_iter().filter(|&tool| catalog.offers(tool));
        catalog.tools = offered
            .filter_map(|tool| Some((tool, describe(tool)?.to_json().to_string())))
            .collect();
        catalog
    }

    /// Whether `tool` is offered to those who may call it.
    pub fn offers(&self, tool: Tool) -> bool {
        let changes = matches!(tool.effect(), Effect::Mutation | Effect::Events);
        self.toolsets.contains(&tool.toolset()) && !(self.read_only && changes)
    }

    /// Whether only tools are offered that change nothing.
    pub const fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Whether any tool of `toolset` is offered.
    pub fn has(&self, toolset: Toolset) -> bool {
        self.toolsets.contains(&toolset)
    }

    /// The list for a caller with `permissions`: the text of a JSON array.
    pub fn list(&self, permissions: PermissionSet) -> Arc<str> {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = lists.get(&permissions) {
            return Arc::clone(list);
        }
        let callable = self
            .tools
            .iter()
            .filter(|(tool, _)| permissions.contains(tool.permission()));
        let texts: Vec<_> = callable.map(|(_, text)| text.as_str()).collect();
        let list: Arc<str> = format!("[{}]", texts.join(",")).into();
        if lists.len() < LISTS_MAX {
            lists.insert(permissions, Arc::clone(&list));
        }
        list
    }

    /// Every offered tool with its JSON text.
    pub fn tools(&self) -> impl Iterator<Item = (Tool, &str)> {
        self.tools.iter().map(|(tool, text)| (*tool, text.as_str()))
    }

    /// What a model should know before it chooses among the tools.
    pub fn instructions(&self) -> String {
        let mut text = String::from(
            "A backplane for agents. Everything you store belongs to your tenant; what has scope `user` \
             (the default) only you see, what has scope `tenant` everyone of the tenant.",
        );
        if self.has(Toolset::Kv) {
            text.push_str(" kv_*: JSON under a key, kept 24 hours unless you say otherwise.");
        }
        if self.has(Toolset::Artifacts) {
            text.push_str(" artifacts_*: files, also readable as resources mesh://artifacts/....");
        }
        if self.has(Toolset::Events) {
            text.push_str(
                " events_*: every call leaves an event; events_query finds them and your own, \
                 events_analytics counts them.",
            );
            if !self.read_only {
                text.push_str(
                    " events_create_rule makes events start workflows and raise alerts; alerts that were \
                     raised are the resource mesh://alerts.",
                );
            }
        }
        if self.has(Toolset::Workflows) {
            text.push_str(
                " workflow_*: runs that go on in the background; workflow_status waits for their end.",
            );
        }
        if self.has(Toolset::Integrations) {
            text.push_str(
                " integration_*: other MCP servers; mcp_list_tools finds a tool of theirs by what you want to \
                 do, mcp_proxy calls it.",
            );
        }
        if self.read_only {
            text.push_str(" This server is read-only.");
        }
        text.push_str(
            " A failed call answers {\"error\": {code, message, fix}}: do what `fix` says; repeat a call \
             unchanged only if `retryable` is true.",
        );
        text
    }
}
