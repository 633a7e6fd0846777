//! Other MCP servers: child processes and remote ones, behind one client that loses nothing of what they say.

pub mod child;
pub mod link;
