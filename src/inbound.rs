//! What faces the client: transports, sessions, MCP methods, tools.

pub mod transport;
