//! The seam to the secret store: texts under names that begin with their tenant, never shown; and its handle.

pub mod named;

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::{Mutex, PoisonError};

use secrecy::SecretString;

use super::Reply;
use super::key::{Keyspace, Scope, SecretKey, SecretPrefix};
use crate::mesh::Error;
use crate::mesh::call::grant::Reach;
use crate::mesh::call::operation::{
    Allows, IntegrationConnect, IntegrationManage, IntegrationRead, Needs, ProxyCall,
};
use crate::mesh::integration::reference::{all_references, unresolved};
use crate::mesh::integration::row::SecretSlot;
use crate::mesh::integration::{
    ConnectionId, Credentials, Reference, Referents, SecretName, ServiceId,
};
use crate::mesh::limit::Direction;
use crate::mesh::tenant::UserId;

/// The most bytes of one secret.
pub const SECRET_BYTES_MAX: usize = 16 << 10;

/// The most secrets of one listing.
pub const SECRETS_PAGE_MAX: u32 = 100;

/// Some names of secrets, and where the next page begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretNames {
    /// The names, relative to the prefix they were asked for.
    pub names: Vec<String>,
    /// What to go on after, where there may be more.
    pub next: Option<String>,
}

/// Requests that writing or removing a secret takes: one that finds out what is there, one that changes it.
const CHANGE_REQUESTS: f64 = 2.0;

/// The secret store.
pub trait SecretStore: Send + Sync + 'static {
    /// A secret's text.
    fn get<'a>(&'a self, key: &'a SecretKey) -> Reply<'a, Option<SecretString>>;

    /// Keeps a text of at most [`SECRET_BYTES_MAX`] bytes under `key`, in place of what was there.
    fn put<'a>(&'a self, key: &'a SecretKey, text: &'a SecretString) -> Reply<'a, ()>;

    /// Removes a secret at once; `false` where there was none.
    fn delete<'a>(&'a self, key: &'a SecretKey) -> Reply<'a, bool>;

    /// At most [`SECRETS_PAGE_MAX`] of the names under `prefix`.
    fn list<'a>(
        &'a self,
        prefix: &'a SecretPrefix,
        after: Option<&'a str>,
    ) -> Reply<'a, SecretNames>;
}

/// A permission with which connections are opened: whoever lists tools or calls them opens anew the
/// connections that the caller has made.
pub trait OpensConnections: Needs {}

impl OpensConnections for IntegrationConnect {}
impl OpensConnections for IntegrationManage {}
impl OpensConnections for IntegrationRead {}
impl OpensConnections for ProxyCall {}

/// Secrets of the caller and of its tenant, to the extent of the permission `P`. What was read is kept for
/// this call and no longer.
pub struct Secrets<'call, P> {
    reach: Reach<'call>,
    keys: Keyspace,
    read: Mutex<HashMap<SecretName, SecretString>>,
    permission: PhantomData<P>,
}

impl<'call, P> Secrets<'call, P> {
    pub(in crate::mesh) fn new(reach: Reach<'call>) -> Self {
        Self {
            keys: reach.keyspace(),
            reach,
            read: Mutex::default(),
            permission: PhantomData,
        }
    }

    /// The secret `name`: the caller's own, else the tenant's.
    ///
    /// # Errors
    /// `NOT_FOUND` where neither has it, and what the store says.
    pub async fn resolve(&self, name: &SecretName) -> Result<SecretString, Error>
    where
        P: OpensConnections,
    {
        if let Some(known) = self.remembered(name) {
            return Ok(known);
        }
        for scope in [Scope::User, Scope::Tenant] {
            let key = self.keys.secret(scope, self.reach.user_id(), name.as_str());
            self.spend(1.0);
            if let Some(found) = self.store().get(&key).await? {
                let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
                read.insert(name.clone(), found.clone());
                return Ok(found);
            }
        }
        Err(unresolved(&Reference::Secret(name.clone())))
    }

    /// What all references in `texts` stand for; fields of `credentials` are among it.
    ///
    /// # Errors
    /// `INVALID_PARAMETER` that names `parameter` for what is no reference, `NOT_FOUND` that names what
    /// is missing, and what the store says.
    pub async fn referents<'text>(
        &self,
        parameter: &str,
        texts: impl IntoIterator<Item = &'text str>,
        credentials: &Credentials,
    ) -> Result<Referents, Error>
    where
        P: OpensConnections,
    {
        let mut referents = Referents::default();
        for reference in all_references(parameter, texts)? {
            let text = match &reference {
                Reference::Secret(name) => self.resolve(name).await?,
                Reference::Credential(name) => {
                    let field = credentials.get(name.as_str());
                    field.cloned().ok_or_else(|| unresolved(&reference))?
                }
            };
            referents.insert(reference, text);
        }
        Ok(referents)
    }

    /// What the caller's connection was given to sign in with; none where it was given nothing.
    ///
    /// # Errors
    /// What the store says.
    pub async fn credentials(
        &self,
        service: &ServiceId,
        connection: &ConnectionId,
        slot: SecretSlot,
    ) -> Result<Option<Credentials>, Error>
    where
        P: OpensConnections,
    {
        let user = self.reach.user_id();
        let key = self.keys.credentials(service, user, connection, slot);
        self.spend(1.0);
        let found = self.store().get(&key).await?;
        found.as_ref().map(Credentials::of_secret).transpose()
    }

    /// Keeps what the caller's connection was given, in place of what was kept in that slot.
    ///
    /// # Errors
    /// What the store says.
    pub async fn put_credentials(
        &self,
        service: &ServiceId,
        connection: &ConnectionId,
        slot: SecretSlot,
        credentials: &Credentials,
    ) -> Result<(), Error>
    where
        P: Allows<IntegrationConnect>,
    {
        let user = self.reach.user_id();
        let key = self.keys.credentials(service, user, connection, slot);
        self.spend(CHANGE_REQUESTS);
        self.store().put(&key, &credentials.to_secret()).await
    }

    /// Forgets what the caller's connection was given, but for what is in the slot `except`.
    ///
    /// # Errors
    /// What the store says.
    pub async fn delete_credentials(
        &self,
        service: &ServiceId,
        connection: &ConnectionId,
        except: Option<SecretSlot>,
    ) -> Result<(), Error>
    where
        P: Allows<IntegrationConnect>,
    {
        let user = self.reach.user_id();
        self.delete(service, user, connection, except).await
    }

    /// Forgets what any user's connection was given, of an integration that is unregistered.
    ///
    /// # Errors
    /// What the store says.
    pub async fn delete_credentials_of(
        &self,
        service: &ServiceId,
        user: &UserId,
        connection: &ConnectionId,
    ) -> Result<(), Error>
    where
        P: Allows<IntegrationManage>,
    {
        self.delete(service, user, connection, None).await
    }

    async fn delete(
        &self,
        service: &ServiceId,
        user: &UserId,
        connection: &ConnectionId,
        except: Option<SecretSlot>,
    ) -> Result<(), Error> {
        let slots = SecretSlot::ALL.into_iter();
        for slot in slots.filter(|slot| Some(*slot) != except) {
            let key = self.keys.credentials(service, user, connection, slot);
            self.spend(CHANGE_REQUESTS);
            self.store().delete(&key).await?;
        }
        Ok(())
    }

    fn remembered(&self, name: &SecretName) -> Option<SecretString> {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.get(name).cloned()
    }

    fn store(&self) -> &'call dyn SecretStore {
        self.reach.secret_store()
    }

    fn spend(&self, requests: f64) {
        self.reach.spend(Direction::Secrets, requests);
    }
}
