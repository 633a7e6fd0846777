//! Integrations: other MCP servers that a tenant has registered, and who is connected to them.

pub mod definition;
pub mod id;
pub mod template;

pub use definition::{AuthMethod, Definition, Endpoint, Program, RemoteAddress, RemoteKind};
pub use id::{ConnectionId, InvalidIntegrationId, ServiceId};
pub use template::{Slot, Template, Templates};
