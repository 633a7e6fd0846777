//! The record of a call: outbox, publisher, history, counters.

pub mod detail;
pub mod outbox;
pub mod record;

#[cfg(test)]
mod fakes;

pub use outbox::{Committed, Outbox, OutboxSettings, Slot, Target, Weight};
pub use record::{Event, Outcome, Priority};
