//! Keys for tests of what lies behind the seams, which stand outside of the path of a call.

use super::{Keyspace, ObjectKey, ObjectPrefix, Partition, RowKey, Scope, SecretKey, SecretPrefix};
use crate::mesh::tenant::{TenantId, UserId};

/// A partition of `tenant`.
pub fn partition(tenant: &TenantId, rest: &str) -> Partition {
    Keyspace::of(tenant).partition(format_args!("{rest}"))
}

/// A row in a partition of `tenant`.
pub fn row(tenant: &TenantId, rest: &str, sort: &str) -> RowKey {
    RowKey {
        partition: Keyspace::of(tenant).partition(format_args!("{rest}")),
        sort: sort.to_owned(),
    }
}

/// An object of `tenant`.
pub fn object(tenant: &TenantId, rest: &str) -> ObjectKey {
    Keyspace::of(tenant).object(format_args!("{rest}"))
}

/// The objects of `tenant` under `root` whose keys go on with `prefix`.
pub fn prefix(tenant: &TenantId, root: &str, prefix: &str) -> ObjectPrefix {
    ObjectPrefix {
        tenant: tenant.clone(),
        root: Keyspace::of(tenant).object(format_args!("{root}")).key,
        prefix: prefix.to_owned(),
    }
}

/// A secret that `user` of `tenant` keeps, or the tenant.
pub fn secret(tenant: &TenantId, scope: Scope, user: &UserId, name: &str) -> SecretKey {
    Keyspace::of(tenant).secret(scope, user, name)
}

/// All secrets that `user` of `tenant` keeps, or the tenant.
pub fn secrets(tenant: &TenantId, scope: Scope, user: &UserId) -> SecretPrefix {
    Keyspace::of(tenant).secrets(scope, user)
}
