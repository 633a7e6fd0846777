//! Integrations: other MCP servers that a tenant has registered, and who is connected to them.

pub mod definition;
pub mod id;
pub mod pin;
pub mod tools;
pub mod unseen;

pub use definition::{AuthMethod, Definition, Endpoint, Program, RemoteAddress, RemoteKind};
pub use id::{ConnectionId, InvalidIntegrationId, ServiceId};
pub use pin::{Difference, PinHash};
pub use tools::{KnownTool, KnownTools, RefusedBecause, RefusedTool, ToolState};
