//! The seam to EventBridge's own rules, for events that other producers put on the bus.

use super::Reply;
use crate::mesh::tenant::TenantId;

/// A real rule on the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusRule {
    /// Its name on the bus: `agent-mesh.<tenant>.<name>`, at most 64 characters of `[A-Za-z0-9._-]`.
    pub name: String,
    /// Its pattern: JSON text, with the source forced to the tenant's.
    pub pattern: String,
    /// Where matching events go: the ARN of a state machine or topic of the operator's.
    pub target: String,
    /// Whether it is in force.
    pub enabled: bool,
}

/// The rules of the bus.
pub trait BusRules: Send + Sync + 'static {
    /// Makes the rule and its one target, or makes them as they should be.
    fn put<'a>(&'a self, tenant: &'a TenantId, rule: &'a BusRule) -> Reply<'a, ()>;

    /// Removes the rule and its targets; one that is not there is no error.
    fn remove<'a>(&'a self, tenant: &'a TenantId, name: &'a str) -> Reply<'a, ()>;

    /// The names of the tenant's rules on the bus, for the repair of what a crash left.
    fn names<'a>(&'a self, tenant: &'a TenantId) -> Reply<'a, Vec<String>>;
}
