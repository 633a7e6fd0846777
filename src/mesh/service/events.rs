//! Events: sent by callers, recorded of every call, found and summarized within the tenant.

pub mod health;

pub mod send;

pub use health::EventsHealthCheck;

pub use send::{EventsSend, NewEvent};
