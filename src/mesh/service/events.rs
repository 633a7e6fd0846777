//! Events: sent by callers, recorded of every call, found and summarized within the tenant.

pub mod analytics;
pub mod health;
pub mod query;
pub mod send;

pub use analytics::EventsAnalytics;
pub use health::EventsHealthCheck;
pub use query::EventsQuery;
pub use send::{EventsSend, NewEvent};
