//! Servers at an address: streamable HTTP, the older HTTP with server-sent events, and WebSocket.

pub mod egress;

use std::sync::Arc;

use futures::FutureExt;

use super::link::{Links, Opened};
use crate::mesh::store::Reply;
use crate::mesh::upstream::{ConnectionPlan, ConnectionTarget};
use crate::mesh::{Error, ErrorKind};

pub use egress::EgressPolicy;

/// What the operator says of servers at an address.
#[derive(Clone, Debug, Default)]
pub struct RemoteSettings {
    /// Which addresses may be reached.
    pub egress: EgressPolicy,
}

/// What opens links to servers at an address.
pub struct RemoteLinks {
    egress: Arc<EgressPolicy>,
}

impl RemoteLinks {
    /// Links as `settings` allow them. Nothing is connected yet.
    pub fn new(settings: RemoteSettings) -> Self {
        Self {
            egress: Arc::new(settings.egress),
        }
    }
}

impl Links for RemoteLinks {
    fn open<'a>(&'a self, plan: &'a ConnectionPlan) -> Reply<'a, Opened> {
        async move {
            self.check(&plan.target)?;
            Err(Error::new(ErrorKind::NotSupported, "Not yet."))
        }
        .boxed()
    }

    fn check(&self, target: &ConnectionTarget) -> Result<(), Error> {
        let ConnectionTarget::Remote { kind, url, .. } = target else {
            return Err(Error::new(
                ErrorKind::NotSupported,
                "It is no server at an address.",
            ));
        };
        self.egress.admit(*kind, url).map(drop)
    }
}
