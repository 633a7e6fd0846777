//! Secrets that a person keeps by name: set, listed and removed by a command, never by a tool.
//!
//! There is no tool for it because the text of a secret would pass through a conversation. So there is no
//! call either, and no event; what is the same is who the person is, what they may do, and that a name is
//! within their tenant.

use secrecy::SecretString;

use super::SecretStore;
use crate::mesh::call::stage::denied;
use crate::mesh::integration::SecretName;
use crate::mesh::store::key::{Keyspace, Scope};
use crate::mesh::tenant::{Permission, TenantContext};
use crate::mesh::{Error, ErrorKind};

/// The most pages of names that are read for one list.
const PAGES_MAX: usize = 100;

/// The secrets that a person may set: their own with `integration.connect`, the tenant's with
/// `integration.manage`.
pub struct NamedSecrets<'a> {
    store: &'a dyn SecretStore,
    context: &'a TenantContext,
}

impl<'a> NamedSecrets<'a> {
    /// The secrets of whoever `context` is.
    pub fn new(store: &'a dyn SecretStore, context: &'a TenantContext) -> Self {
        Self { store, context }
    }

    /// Keeps `text` as `name`, in place of what was kept.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`, and what the store says.
    pub async fn set(
        &self,
        scope: Scope,
        name: &SecretName,
        text: &SecretString,
    ) -> Result<(), Error> {
        self.permit(scope)?;
        let key = self
            .keys()
            .secret(scope, self.context.user_id(), name.as_str());
        self.store.put(&key, text).await
    }

    /// Removes `name`; `false` where it was not kept.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`, and what the store says.
    pub async fn remove(&self, scope: Scope, name: &SecretName) -> Result<bool, Error> {
        self.permit(scope)?;
        let key = self
            .keys()
            .secret(scope, self.context.user_id(), name.as_str());
        self.store.delete(&key).await
    }

    /// Every name, sorted.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`, `TOO_LARGE` where there are more than 10,000, and what the store says.
    pub async fn names(&self, scope: Scope) -> Result<Vec<String>, Error> {
        self.permit(scope)?;
        let prefix = self.keys().secrets(scope, self.context.user_id());
        let mut names = Vec::new();
        let mut after: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let page = self.store.list(&prefix, after.as_deref()).await?;
            names.extend(page.names);
            match page.next {
                Some(next) => after = Some(next),
                None => {
                    names.sort_unstable();
                    return Ok(names);
                }
            }
        }
        Err(Error::new(
            ErrorKind::TooLarge,
            "there are more secrets than can be listed",
        )
        .fix("remove those that nobody needs"))
    }

    /// Whether the person may do anything with the secrets of `scope`.
    pub fn may_reach(&self, scope: Scope) -> bool {
        self.context.permissions().contains(permission(scope))
    }

    fn permit(&self, scope: Scope) -> Result<(), Error> {
        match self.may_reach(scope) {
            true => Ok(()),
            false => Err(denied(self.context, permission(scope))),
        }
    }

    fn keys(&self) -> Keyspace {
        Keyspace::of(self.context.tenant_id())
    }
}

const fn permission(scope: Scope) -> Permission {
    match scope {
        Scope::User => Permission::IntegrationConnect,
        Scope::Tenant => Permission::IntegrationManage,
    }
}
