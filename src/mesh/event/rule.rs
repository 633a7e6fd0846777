//! A tenant's rules and alerts as they are kept: what matches, and what happens then.

use ulid::Ulid;

use crate::mesh::Timestamp;
use crate::mesh::tenant::{PermissionSet, UserId};

/// The most rules and workflows that may lead from one to the next; the event at this depth starts
/// nothing any more.
pub const DEPTH_MAX: u8 = 8;

/// The longest name of a rule or an alert: characters of `[A-Za-z0-9._-]`, the first a letter or digit.
pub const NAME_CHARS_MAX: usize = 64;

/// A rule: events of its tenant that match its pattern start its workflow and raise its alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name within the tenant.
    pub name: String,
    /// New with each creation, so that a rule made again under an old name is another one.
    pub id: Ulid,
    /// The pattern, as JSON text.
    pub pattern: String,
    /// What its maker says of it.
    pub description: Option<String>,
    /// Whether it is in force.
    pub enabled: bool,
    /// The workflow that it starts, by its logical name.
    pub workflow: Option<String>,
    /// Whether it is a real rule on the bus, which the publisher does not match.
    pub native: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it; its workflows run as this user.
    pub created_by: UserId,
    /// What that user might do then; its workflows may do no more.
    pub permissions: PermissionSet,
}

/// An alert: tells somebody of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Its name within the tenant.
    pub name: String,
    /// New with each creation; what mail subscriptions filter by.
    pub id: Ulid,
    /// Which events.
    pub trigger: Trigger,
    /// How it tells.
    pub delivery: Delivery,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: UserId,
}

/// Which events an alert is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Those that a rule of this name matches.
    Rule(String),
    /// Those that match a pattern of its own: JSON text.
    Pattern(String),
}

/// How an alert tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// By mail, through the tenant's topic.
    Mail {
        /// To whom.
        address: String,
        /// The subscription's ARN, once it is known to be confirmed.
        subscription: Option<String>,
    },
    /// By a topic of the operator's, by its logical name.
    Topic {
        /// The name.
        name: String,
    },
}

impl Alert {
    /// Whether it is about the rule `rule`.
    pub fn is_about(&self, rule: &str) -> bool {
        matches!(&self.trigger, Trigger::Rule(name) if name == rule)
    }

    /// Whether it tells by mail.
    pub const fn is_mailed(&self) -> bool {
        matches!(self.delivery, Delivery::Mail { .. })
    }

    /// Whether both are mailed to the same address.
    pub fn shares_mailbox(&self, other: &Self) -> bool {
        match (&self.delivery, &other.delivery) {
            (Delivery::Mail { address: one, .. }, Delivery::Mail { address: other, .. }) => {
                one == other
            }
            _ => false,
        }
    }
}
