//! The seams to AWS, and the handles through which a service reaches what is its caller's.
//!
//! A physical key (`RowKey`, `ObjectKey`, ...) can be formed only in this folder, and a service gets a
//! handle only from an admitted call, so no service can name another tenant's data.

pub mod artifacts;
pub mod bucket;
pub mod bus;
pub mod bus_rules;
pub mod events;
pub mod idempotency;
pub mod integrations;
pub mod key;
pub mod mail;
pub mod native;
pub mod rules;
pub mod runs;
pub mod secrets;
pub mod states;
pub mod table;
pub mod topics;
pub mod values;

pub use bucket::Bucket;
pub use bus::Bus;
pub use bus_rules::BusRules;
pub use secrets::SecretStore;
pub use states::States;
pub use table::Table;
pub use topics::Topics;

use futures::future::BoxFuture;

use super::error::Error;

/// What a seam answers, in time.
pub type Reply<'a, T> = BoxFuture<'a, Result<T, Error>>;

/// An answer and what the service charged for it, in its own units (read or write units for the table,
/// requests for the others).
#[derive(Clone, Debug, PartialEq)]
pub struct Metered<T> {
    /// The answer.
    pub value: T,
    /// What it cost.
    pub units: f64,
}
