//! The seam to EventBridge's own rules, for events that other producers put on the bus.

use super::Reply;
use crate::mesh::tenant::{TenantId, UserId};

/// A real rule on the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusRule {
    /// Its name on the bus: `agent-mesh.<tenant>.<name>`, at most 64 characters of `[A-Za-z0-9._-]`.
    pub name: String,
    /// Its pattern: JSON text, with the source forced to the tenant's.
    pub pattern: String,
    /// Where matching events go: the ARN of a state machine of the operator's.
    pub target: String,
    /// Its name within the tenant, which the target is told.
    pub rule: String,
    /// As whom the target runs, which it is told.
    pub user: UserId,
    /// Whether it is in force.
    pub enabled: bool,
}

/// What the bus says of a rule when it is asked what there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRule {
    /// Its name on the bus.
    pub name: String,
    /// Its pattern: JSON text.
    pub pattern: String,
    /// Whether it is in force.
    pub enabled: bool,
}

/// The rules of the bus.
pub trait BusRules: Send + Sync + 'static {
    /// Makes the rule and its one target, or makes them as they should be. The target's input is that of any
    /// workflow that a rule starts: `{tenant: {tenant_id, user_id}, input: {event_id, time, rule, detail_type,
    /// source, detail}}`.
    ///
    /// # Errors
    /// `INVALID_PARAMETER` where EventBridge does not take the pattern, `QUOTA_EXCEEDED` where the bus has no
    /// room for another rule, and what else AWS says. Whatever it is, calling it again is safe.
    fn put<'a>(&'a self, tenant: &'a TenantId, rule: &'a BusRule) -> Reply<'a, ()>;

    /// Removes the rule and its targets; one that is not there is no error. `name` is its name on the bus.
    fn remove<'a>(&'a self, tenant: &'a TenantId, name: &'a str) -> Reply<'a, ()>;

    /// The tenant's rules on the bus, for the repair of what a crash left.
    ///
    /// # Errors
    /// What AWS says; also that there are more than a bus holds.
    fn list<'a>(&'a self, tenant: &'a TenantId) -> Reply<'a, Vec<ListedRule>>;
}
