//! Integrations: registered by administrators, connected by each user, and their tools found and approved.

mod approve;
mod connect;
mod disconnect;
mod list;
mod register;
mod test;
mod tools;
mod unregister;

pub use approve::{IntegrationApprove, IntegrationApproveAnswer};
pub use connect::{IntegrationConnect, IntegrationConnectAnswer};
pub use disconnect::{IntegrationDisconnect, IntegrationDisconnectAnswer};
pub use list::{IntegrationList, IntegrationListAnswer};
pub use register::{IntegrationRegister, IntegrationRegisterAnswer};
pub use test::{IntegrationTest, IntegrationTestAnswer};
pub use tools::{Detail, LIMIT_MAX, McpListTools, McpListToolsAnswer, QUERY_BYTES_MAX};
pub use unregister::{IntegrationUnregister, IntegrationUnregisterAnswer};
