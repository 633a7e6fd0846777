//! Whose executions a process may take: anyone's, or those of its one tenant.

use crate::mesh::tenant::TenantId;
use crate::mesh::workflow::run::run_of;

/// The condition of [`Whose`] on the column `name`, with [`Whose::prefix`] as its first parameter. A run's
/// execution is named for the tenant, a hyphen and 26 characters, so that no tenant's name fits another's.
pub(super) const IS_THEIRS: &str =
    "(?1 IS NULL OR (length(name) = length(?1) + 26 AND substr(name, 1, length(?1)) = ?1))";

/// Whose executions a process may take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Whose(Option<TenantId>);

impl Whose {
    /// Those of `tenant`; anyone's where there is none.
    pub(in super::super) fn of(tenant: Option<TenantId>) -> Self {
        Self(tenant)
    }

    /// Whether the execution of that name is among them.
    pub(in super::super) fn includes(&self, execution: &str) -> bool {
        self.0
            .as_ref()
            .is_none_or(|only| run_of(execution).is_some_and(|(tenant, _)| tenant == *only))
    }

    /// What the names begin with; nothing where all will do.
    pub(super) fn prefix(&self) -> Option<String> {
        self.0.as_ref().map(|tenant| format!("{tenant}-"))
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, params};
    use ulid::Ulid;

    use super::*;
    use crate::mesh::workflow::run::execution_name;

    #[test]
    fn a_tenants_executions_are_its_own_runs_and_nobody_elses() {
        let connection = Connection::open_in_memory().unwrap();
        let is_theirs = |whose: &Whose, name: &str| -> bool {
            let sql = format!("SELECT {IS_THEIRS} FROM (SELECT ?2 AS name)");
            connection
                .query_row(&sql, params![whose.prefix(), name], |row| row.get(0))
                .unwrap()
        };
        let tenant = |name: &str| name.parse::<TenantId>().unwrap();
        let of = |name: &str| execution_name(&tenant(name), Ulid::generate());
        let acme = Whose::of(Some(tenant("acme")));
        let theirs = of("acme");
        assert!(acme.includes(&theirs) && is_theirs(&acme, &theirs));
        let others = [
            of("acm"),
            of("acme-2"),
            of("acmf"),
            "acme-1".to_owned(),
            "order".to_owned(),
        ];
        for other in &others {
            assert!(!acme.includes(other) && !is_theirs(&acme, other), "{other}");
        }
        let anyone = Whose::default();
        for name in others.iter().chain([&theirs]) {
            assert!(anyone.includes(name) && is_theirs(&anyone, name), "{name}");
        }
    }
}
