//! Integrations: other MCP servers that a tenant has registered, and who is connected to them.

pub mod definition;
pub mod id;
pub mod waiting;

pub use definition::{AuthMethod, Definition, Endpoint, Program, RemoteAddress, RemoteKind};
pub use id::{ConnectionId, InvalidIntegrationId, ServiceId};
