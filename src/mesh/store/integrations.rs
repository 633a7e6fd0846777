//! The handle to a tenant's integrations: their rows, the caller's connections to them, and what is pinned.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::mesh::call::grant::Reach;
use crate::mesh::call::operation::{IntegrationConnect, IntegrationRead, Needs, ProxyCall};
use crate::mesh::integration::{ConnectionId, KnownTools, ServiceId};
use crate::mesh::upstream::{ConnectionKey, Upstream};
use crate::mesh::{Error, ErrorKind};

/// A connection of the caller's that is open, and its tools.
#[derive(Clone)]
pub struct Reached {
    /// Whose it is.
    pub key: Arc<ConnectionKey>,
    /// The connection.
    pub upstream: Arc<dyn Upstream>,
    /// Its tools.
    pub tools: Arc<KnownTools>,
}

/// A permission with which the caller's own connections may be used.
pub trait UsesConnections: Needs {}

impl UsesConnections for IntegrationRead {}
impl UsesConnections for IntegrationConnect {}
impl UsesConnections for ProxyCall {}

/// Integrations of the caller's tenant and the caller's own connections, to the extent of the permission `P`.
pub struct Integrations<'call, P> {
    reach: Reach<'call>,
    permission: PhantomData<P>,
}

impl<'call, P> Integrations<'call, P> {
    pub(in crate::mesh) fn new(reach: Reach<'call>) -> Self {
        Self {
            reach,
            permission: PhantomData,
        }
    }

    /// The caller's connection, opened where it is not open. Where it is, and the copy of its row is fresh,
    /// nothing is asked of anybody.
    ///
    /// # Errors
    /// `NOT_FOUND` where there is no such integration, or the caller is not connected to it;
    /// `UPSTREAM_UNAVAILABLE` with what the server last said.
    pub async fn reach(
        &self,
        service: &ServiceId,
        connection: &ConnectionId,
    ) -> Result<Reached, Error>
    where
        P: UsesConnections,
    {
        let _ = (self.reach.tenant_id(), connection);
        Err(Error::new(
            ErrorKind::NotFound,
            format!("there is no integration `{service}`"),
        ))
    }

    /// The same connection anew, after it broke in the middle of a call.
    ///
    /// # Errors
    /// As [`Self::reach`].
    pub async fn reconnect(&self, broken: &Reached) -> Result<Reached, Error>
    where
        P: UsesConnections,
    {
        self.reach(&broken.key.service, &broken.key.connection)
            .await
    }
}
