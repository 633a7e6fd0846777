//! The record of a call: outbox, publisher, history, counters.

pub mod analytics;
pub mod counters;
pub mod detail;
pub mod history;
pub mod live;
pub mod native_rules;
pub mod outbox;
pub mod pattern;
pub mod publisher;
pub mod record;
pub mod rollup;
pub mod rule;
pub mod rules;

#[cfg(test)]
mod fakes;

pub use live::LiveEvents;
pub use outbox::{Committed, Outbox, OutboxSettings, Slot, Target, Weight};
pub use publisher::{Pace, Publisher, PublisherSettings};
pub use record::{Event, Outcome, Priority};
pub use rollup::{EventReads, Rollup};
