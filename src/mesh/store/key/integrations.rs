//! Physical keys of integrations: their rows, the connections of users, what is pinned, and secrets.

use super::{
    CONNECTION_PREFIX, INTEGRATION_PREFIX, Keyspace, PIN_PREFIX, Partition, RowKey, SECRET_ROOT,
    Scope, SecretKey, SecretPrefix,
};
use crate::mesh::integration::{ConnectionId, ServiceId};
use crate::mesh::tenant::UserId;

/// What the sort key of a row begins with that says how new integrations or connections are.
const STAMP_PREFIX: &str = "V#";

impl Keyspace {
    /// The partition of a tenant's integrations and connections.
    pub(in crate::mesh) fn integrations(&self) -> Partition {
        self.partition(format_args!("INT"))
    }

    /// The row of an integration.
    pub(in crate::mesh) fn integration(&self, service: &ServiceId) -> RowKey {
        RowKey {
            partition: self.integrations(),
            sort: format!("{INTEGRATION_PREFIX}{service}"),
        }
    }

    /// The row of one user's connection to an integration.
    pub(in crate::mesh) fn connection(
        &self,
        service: &ServiceId,
        user: &UserId,
        connection: &ConnectionId,
    ) -> RowKey {
        RowKey {
            partition: self.integrations(),
            sort: format!("{CONNECTION_PREFIX}{service}#{user}#{connection}"),
        }
    }

    /// The row of what a tool of an integration was when it was pinned. A tool's name holds no `#`.
    pub(in crate::mesh) fn pin(&self, service: &ServiceId, tool: &str) -> RowKey {
        RowKey {
            partition: self.integrations(),
            sort: format!("{PIN_PREFIX}{service}#{tool}"),
        }
    }

    /// A row of the partition of integrations by the sort key that a query found.
    pub(in crate::mesh) fn integration_row(&self, sort: &str) -> Option<RowKey> {
        let prefixes = [INTEGRATION_PREFIX, CONNECTION_PREFIX, PIN_PREFIX];
        let is_one = prefixes.into_iter().any(|prefix| sort.starts_with(prefix));
        is_one.then(|| RowKey {
            partition: self.integrations(),
            sort: sort.to_owned(),
        })
    }

    /// What the sort keys of all connections to an integration begin with, or of those of one user.
    pub(in crate::mesh) fn connections_prefix(
        service: &ServiceId,
        user: Option<&UserId>,
    ) -> String {
        match user {
            Some(user) => format!("{CONNECTION_PREFIX}{service}#{user}#"),
            None => format!("{CONNECTION_PREFIX}{service}#"),
        }
    }

    /// What the sort keys of all pins of an integration begin with.
    pub(in crate::mesh) fn pins_prefix(service: &ServiceId) -> String {
        format!("{PIN_PREFIX}{service}#")
    }

    /// The row whose version is new whenever integrations or pins of the tenant have changed, or where a
    /// user is named, that user's connections: who holds a copy of them reads this row and no other.
    pub(in crate::mesh) fn integrations_stamp(&self, user: Option<&UserId>) -> RowKey {
        let sort = match user {
            Some(user) => format!("{STAMP_PREFIX}U#{user}"),
            None => format!("{STAMP_PREFIX}T"),
        };
        RowKey {
            partition: self.integrations(),
            sort,
        }
    }

    /// What a user's connection to an integration was given to sign in with.
    pub(in crate::mesh) fn credentials(
        &self,
        service: &ServiceId,
        user: &UserId,
        connection: &ConnectionId,
    ) -> SecretKey {
        let tenant = &self.tenant;
        let user = user.as_str().replace('~', "=");
        SecretKey {
            tenant: tenant.clone(),
            key: format!("{SECRET_ROOT}{tenant}/c/{service}/{user}/{connection}"),
        }
    }

    /// A secret that a user or the tenant keeps by name. The store's names know no `~`, and no user's id
    /// has a `=`.
    pub(in crate::mesh) fn secret(&self, scope: Scope, user: &UserId, name: &str) -> SecretKey {
        SecretKey {
            tenant: self.tenant.clone(),
            key: format!("{}{name}", self.secrets(scope, user).root),
        }
    }

    /// All secrets that a user or the tenant keeps by name.
    pub(in crate::mesh) fn secrets(&self, scope: Scope, user: &UserId) -> SecretPrefix {
        let tenant = &self.tenant;
        let root = match scope {
            Scope::User => {
                let user = user.as_str().replace('~', "=");
                format!("{SECRET_ROOT}{tenant}/u/{user}/")
            }
            Scope::Tenant => format!("{SECRET_ROOT}{tenant}/t/"),
        };
        SecretPrefix {
            tenant: tenant.clone(),
            root,
        }
    }
}
