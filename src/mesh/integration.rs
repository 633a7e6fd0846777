//! Integrations: other MCP servers that a tenant has registered, and who is connected to them.

pub mod credentials;
pub mod definition;
pub mod id;
pub mod leak;
pub mod pin;
pub mod reference;
pub mod tools;
pub mod unseen;
pub mod waiting;

pub use credentials::Credentials;
pub use definition::{AuthMethod, Definition, Endpoint, Program, RemoteAddress, RemoteKind};
pub use id::{ConnectionId, InvalidIntegrationId, ServiceId};
pub use pin::{Difference, PinHash};
pub use reference::{Place, Reference, Referents, SecretName};
pub use tools::{KnownTool, KnownTools, RefusedBecause, RefusedTool, ToolState};
