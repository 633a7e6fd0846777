//! Physical keys of integrations: their rows, the connections of users, and what is pinned.

use super::{CONNECTION_PREFIX, INTEGRATION_PREFIX, Keyspace, PIN_PREFIX, Partition, RowKey};
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
}
