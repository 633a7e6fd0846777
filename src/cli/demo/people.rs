//! Who takes part in the demonstration.

use std::fmt;

/// A user of a tenant, and what the user may do there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) name: &'static str,
    pub(super) tenant: &'static str,
    pub(super) role: &'static str,
}

/// An administrator of acme.
pub(super) const ADA: Person = Person {
    name: "ada",
    tenant: "acme",
    role: "admin",
};

/// A user of acme.
pub(super) const BEN: Person = Person {
    name: "ben",
    tenant: "acme",
    role: "user",
};

/// Somebody of acme who may look and not touch.
pub(super) const CLEO: Person = Person {
    name: "cleo",
    tenant: "acme",
    role: "viewer",
};

/// An administrator of another tenant, globex.
pub(super) const EVE: Person = Person {
    name: "eve",
    tenant: "globex",
    role: "admin",
};

impl fmt::Display for Person {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}@{}", self.name, self.tenant)
    }
}
