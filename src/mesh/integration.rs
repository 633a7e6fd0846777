//! Integrations: other MCP servers that a tenant has registered, and who is connected to them.

pub mod book;
mod copies;
pub mod credentials;
pub mod definition;
pub mod direct;
pub mod egress;
pub mod id;
pub mod leak;
pub mod listing;
pub mod news;
pub mod pin;
pub mod plan;
pub mod reference;
pub mod row;
pub mod search;
pub mod template;
pub mod tools;
pub mod unseen;
pub mod view;
pub mod waiting;
pub mod written;

pub use book::{BookParts, IntegrationBook};
pub use credentials::Credentials;
pub use definition::{AuthMethod, Definition, Endpoint, Program, RemoteAddress, RemoteKind};
pub use direct::{DirectTools, ToolPattern};
pub use egress::{EgressRule, InvalidEgressRule};
pub use id::{ConnectionId, InvalidIntegrationId, ServiceId};
pub use pin::{Difference, PinHash};
pub use reference::{Place, Reference, Referents, SecretName};
pub use template::{Slot, Template, Templates};
pub use tools::{KnownTool, KnownTools, RefusedBecause, RefusedTool, ToolState};
