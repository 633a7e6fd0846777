//! Integrations: registered by administrators, connected by each user, and their tools found and approved.

mod approve;
mod connect;
mod disconnect;
mod list;
mod register;
mod test;
mod tools;
mod unregister;

use serde::Serialize;

use crate::mesh::integration::KnownTools;
use crate::mesh::integration::row::ServerSeen;

pub use approve::{IntegrationApprove, IntegrationApproveAnswer};
pub use connect::{IntegrationConnect, IntegrationConnectAnswer};
pub use disconnect::{IntegrationDisconnect, IntegrationDisconnectAnswer};
pub use list::{IntegrationList, IntegrationListAnswer};
pub use register::{IntegrationRegister, IntegrationRegisterAnswer};
pub use test::{IntegrationTest, IntegrationTestAnswer};
pub use tools::{Detail, LIMIT_MAX, McpListTools, McpListToolsAnswer, QUERY_BYTES_MAX};
pub use unregister::{IntegrationUnregister, IntegrationUnregisterAnswer};

/// The most tools that are named as held back in one list of names.
const HELD_NAMES_MAX: usize = 50;

/// Who a server says it is.
#[derive(Debug, Serialize)]
struct Server {
    name: String,
    version: String,
}

impl Server {
    fn of(seen: &ServerSeen) -> Self {
        Self {
            name: seen.name.clone(),
            version: seen.version.clone(),
        }
    }
}

/// The names of the tools that are held back.
fn held_back(tools: &KnownTools) -> Vec<String> {
    let held = tools.iter().filter(|tool| tool.is_held_back());
    held.take(HELD_NAMES_MAX)
        .map(|tool| tool.name.to_string())
        .collect()
}
