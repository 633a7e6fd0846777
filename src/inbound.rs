//! What faces the client: transports, sessions, MCP methods, tools.

pub mod dashboard;
pub mod error;
pub mod front;
pub mod prompt;
pub mod rest;
pub mod server;
pub mod session;
pub mod sign_in;
pub mod task;
pub mod tool;
pub mod transport;
