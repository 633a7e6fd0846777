//! The rules: who calls, what is allowed, what it costs, what is done and what is recorded of it.

pub mod audit;
pub mod call;
pub mod channels;
pub mod clock;
pub mod error;
pub mod event;
pub mod integration;
pub mod limit;
pub mod policy;
pub mod readiness;
pub mod service;
pub mod store;
pub mod tenant;
mod text_id;
pub mod trace;
pub mod upstream;
pub mod workflow;

pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use error::{Error, ErrorKind};
