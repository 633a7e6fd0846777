//! Integrations: other MCP servers that a tenant has registered, and who is connected to them.

pub mod definition;
pub mod egress;
pub mod id;

pub use definition::{AuthMethod, Definition, Endpoint, Program, RemoteAddress, RemoteKind};
pub use egress::{EgressRule, InvalidEgressRule};
pub use id::{ConnectionId, InvalidIntegrationId, ServiceId};
