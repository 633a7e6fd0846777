//! The names of secrets in the store: a user's, the tenant's, and those of connections.

use super::{Keyspace, Scope};
use crate::mesh::integration::row::SecretSlot;
use crate::mesh::integration::{ConnectionId, ServiceId};
use crate::mesh::tenant::{TenantId, UserId};

/// What every secret's name begins with.
pub const SECRET_ROOT: &str = "agent-mesh/";

/// A secret of the secret store, of one tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SecretKey {
    tenant: TenantId,
    key: String,
}

/// All secrets of a tenant whose names begin with `root`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SecretPrefix {
    tenant: TenantId,
    root: String,
}

impl SecretKey {
    /// The tenant it belongs to.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The name in the store: of `[A-Za-z0-9/_+=.@-]`.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl SecretPrefix {
    /// The tenant it belongs to.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// What every name in reach begins with, and what is cut off the names that are told.
    pub fn root(&self) -> &str {
        &self.root
    }
}

impl Keyspace {
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

    /// What a user's connection to an integration was given to sign in with: one of two secrets, so that the other
    /// is as it was until a row says otherwise. No connection's id has a `=`.
    pub(in crate::mesh) fn credentials(
        &self,
        service: &ServiceId,
        user: &UserId,
        connection: &ConnectionId,
        slot: SecretSlot,
    ) -> SecretKey {
        let tenant = &self.tenant;
        let user = user.as_str().replace('~', "=");
        let slot = match slot {
            SecretSlot::First => "",
            SecretSlot::Second => "=2",
        };
        SecretKey {
            tenant: tenant.clone(),
            key: format!("{SECRET_ROOT}{tenant}/c/{service}/{user}/{connection}{slot}"),
        }
    }
}
