//! All connections of this process: one for each key, opened when it is needed and ended when it is not.

pub mod settings;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use self::settings::PoolSettings;
use super::link::Links;
use crate::mesh::store::Reply;
use crate::mesh::tenant::TenantId;
use crate::mesh::upstream::{
    ConnectionKey, ConnectionPlan, ConnectionState, ConnectionTarget, Upstream, Upstreams,
};
use crate::mesh::{Clock, Error};

/// The connections of this process.
pub struct UpstreamPool {
    links: Arc<dyn Links>,
}

impl UpstreamPool {
    /// A pool without connections, which opens them over `links`.
    pub fn new(links: Arc<dyn Links>, clock: Arc<dyn Clock>, settings: PoolSettings) -> Self {
        let _ = (clock, settings);
        Self { links }
    }
}

impl Upstreams for UpstreamPool {
    fn connect(&self, plan: ConnectionPlan) -> Reply<'_, Arc<dyn Upstream>> {
        async move { Err(Error::internal(format!("not yet: {:?}", plan.key))) }.boxed()
    }

    fn open(&self, _: &ConnectionKey, _: &str) -> Option<Arc<dyn Upstream>> {
        None
    }

    fn disconnect<'a>(&'a self, _: &'a ConnectionKey) -> BoxFuture<'a, ()> {
        async {}.boxed()
    }

    fn states(&self, _: Option<&TenantId>) -> Vec<ConnectionState> {
        Vec::new()
    }

    fn check(&self, target: &ConnectionTarget) -> Result<(), Error> {
        self.links.check(target)
    }

    fn close(&self, _: Duration) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}
