//! What faces the client: transports, sessions, MCP methods, tools.

pub mod session;
pub mod transport;
