//! The record of a call: outbox, publisher, history, counters.

pub mod record;

pub use record::{Event, Outcome, Priority};
