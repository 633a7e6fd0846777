//! Servers at an address: streamable HTTP, the older HTTP with server-sent events, and WebSocket.

pub mod egress;
mod event_stream;
mod failure;
mod headers;
mod http;
mod oauth;
mod outlet;
mod sends;
mod server;
mod sse;
mod tls;
mod websocket;

use std::sync::Arc;

use futures::FutureExt;
use tokio::sync::OnceCell;
use tokio_rustls::rustls::ClientConfig;

use super::link::{Links, Opened};
use crate::mesh::integration::RemoteKind;
use crate::mesh::store::Reply;
use crate::mesh::upstream::{ConnectionPlan, ConnectionSecrets, ConnectionTarget};
use crate::mesh::{Clock, Error, ErrorKind};
use egress::{Gate, SystemLookup};
use server::{Admitted, RemoteServer};

pub use egress::EgressPolicy;

/// What the operator says of servers at an address.
#[derive(Clone, Debug, Default)]
pub struct RemoteSettings {
    /// Which addresses may be reached.
    pub egress: EgressPolicy,
}

/// What opens links to servers at an address. Links share nothing: each has its own connections, tokens and
/// TLS sessions.
pub struct RemoteLinks {
    gate: Gate,
    clock: Arc<dyn Clock>,
    /// Made with the first link: reading the machine's certificates takes longer than a start may.
    tls: OnceCell<ClientConfig>,
}

impl RemoteLinks {
    /// Links as `settings` allow them. Nothing is connected yet.
    pub fn new(settings: RemoteSettings, clock: Arc<dyn Clock>) -> Self {
        Self {
            gate: Gate::new(Arc::new(settings.egress), Arc::new(SystemLookup)),
            clock,
            tls: OnceCell::new(),
        }
    }

    #[cfg(test)]
    fn trial(
        egress: EgressPolicy,
        lookup: Arc<dyn egress::Lookup>,
        clock: Arc<dyn Clock>,
        tls: ClientConfig,
    ) -> Self {
        Self {
            gate: Gate::new(Arc::new(egress), lookup),
            clock,
            tls: OnceCell::new_with(Some(tls)),
        }
    }

    fn admit(
        &self,
        target: &ConnectionTarget,
        secrets: &ConnectionSecrets,
    ) -> Result<Admitted, Error> {
        let other = || {
            Err(Error::new(
                ErrorKind::NotSupported,
                "It is no server at an address.",
            ))
        };
        Admitted::of(&self.gate, &self.clock, target, secrets).unwrap_or_else(other)
    }

    async fn tls(&self) -> Result<&ClientConfig, Error> {
        let unusable = "the machine's certificates cannot be used";
        let make = || async {
            tokio::task::spawn_blocking(tls::client_config)
                .await
                .map_err(|error| Error::internal(unusable).caused_by(error))?
                .map_err(|error| Error::internal(unusable).caused_by(error))
        };
        self.tls.get_or_try_init(make).await
    }
}

impl Links for RemoteLinks {
    fn open<'a>(&'a self, plan: &'a ConnectionPlan) -> Reply<'a, Opened> {
        async move {
            let admitted = self.admit(&plan.target, &plan.secrets)?;
            let kind = admitted.kind;
            let tls = self.tls().await?;
            let server = RemoteServer::new(&self.gate, tls, admitted)?;
            match kind {
                RemoteKind::Http => Ok(http::open(server)),
                RemoteKind::Sse => sse::open(server).await,
                RemoteKind::Websocket => websocket::open(&self.gate, tls, server).await,
            }
        }
        .boxed()
    }

    fn check(&self, target: &ConnectionTarget) -> Result<(), Error> {
        let none = ConnectionSecrets::default();
        self.admit(target, &none).map(drop)
    }
}

#[cfg(test)]
mod tests;
