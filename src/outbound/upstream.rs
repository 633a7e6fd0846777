//! Other MCP servers: child processes and remote ones, behind one client that loses nothing of what they say.

pub mod link;
pub mod pool;
pub mod remote;

pub use pool::UpstreamPool;
pub use pool::settings::PoolSettings;
