//! Rules at work: how they are kept, and which of them are in force for a tenant's records.

pub mod book;
pub mod row;

pub use book::{RuleBook, TenantRules};

use ulid::Ulid;

use crate::mesh::Timestamp;
use crate::mesh::tenant::TenantId;

/// What the event is called that says that an alert was raised.
pub const ALERT_RAISED: &str = "Mesh.AlertRaised";

/// An alert that this process has raised, for the clients of its tenant that listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertRaised {
    /// Whose alert it is.
    pub tenant: TenantId,
    /// The alert's name.
    pub alert: String,
    /// The event that it is about.
    pub event_id: Ulid,
    /// When that event was recorded.
    pub time: Timestamp,
}
