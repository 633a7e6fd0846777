//! Rules at work: how they are kept, which are in force, and what is done about a record that they match.

mod actions;
mod alarm;
pub mod book;
mod journal;
mod notice;
pub mod row;

pub(super) use actions::{Actions, Steps};
pub use book::{RuleBook, TenantRules};
pub use journal::{RuleFault, RuleNotes};

use std::sync::Arc;

use ulid::Ulid;

use crate::mesh::Timestamp;
use crate::mesh::channels::{Channels, TenantNews};
use crate::mesh::store::Topics;
use crate::mesh::tenant::TenantId;
use crate::mesh::workflow::{Launcher, WorkflowNames};

/// What the event is called that says that an alert was raised.
pub const ALERT_RAISED: &str = "Mesh.AlertRaised";

/// What the event is called that says that a tenant's alerts are not delivered for the rest of the day.
pub const ALERTS_LIMITED: &str = "Mesh.AlertsLimited";

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

impl TenantNews for AlertRaised {
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
}

/// What matches records against rules, and what is done then.
#[derive(Clone)]
pub struct RuleParts {
    /// Which rules and alerts are in force.
    pub book: Arc<RuleBook>,
    /// What starts workflows.
    pub launcher: Arc<dyn Launcher>,
    /// Which machines tenants mean by their names.
    pub workflows: WorkflowNames,
    /// What alerts are delivered through.
    pub topics: Arc<dyn Topics>,
    /// Who listens to alerts.
    pub alerts: Arc<Channels<AlertRaised>>,
}
