//! Events: sent by callers, recorded of every call, found and summarized within the tenant.

pub mod alerts;
pub mod analytics;
pub mod health;
pub mod live;
pub mod query;
pub mod resource;
pub mod rules;
pub mod send;

pub use alerts::{AlertsRead, AlertsSubscribe, CreateAlert, DeleteAlert};
pub use analytics::EventsAnalytics;
pub use health::EventsHealthCheck;
pub use live::EventsWatch;
pub use query::EventsQuery;
pub use resource::{EVENT_TYPE, EventAddress, EventRead};
pub use rules::{CreateRule, DeleteRule, ListRules};
pub use send::{EventsSend, NewEvent};
