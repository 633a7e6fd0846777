//! Other MCP servers: child processes and remote ones, behind one client that loses nothing of what they say.

pub mod child;
mod dialect;
mod handshake;
pub mod link;
mod message;
pub mod pool;
pub mod remote;
mod scrub;
mod servers;
mod session;

#[cfg(test)]
mod trial;

pub use pool::UpstreamPool;
pub use pool::settings::PoolSettings;
pub use servers::ServerLinks;
