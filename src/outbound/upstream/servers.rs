//! Links to any server: to a child process or to an address, as its plan says.

use futures::future::BoxFuture;

use super::child::ChildLinks;
use super::link::{Links, Opened};
use super::remote::RemoteLinks;
use crate::mesh::Error;
use crate::mesh::integration::ServiceId;
use crate::mesh::store::Reply;
use crate::mesh::tenant::TenantId;
use crate::mesh::upstream::{ConnectionPlan, ConnectionTarget};

/// What opens links to servers of every kind.
pub struct ServerLinks {
    children: ChildLinks,
    remote: RemoteLinks,
}

impl ServerLinks {
    /// Over `children` and `remote`.
    pub const fn new(children: ChildLinks, remote: RemoteLinks) -> Self {
        Self { children, remote }
    }

    fn of(&self, target: &ConnectionTarget) -> &dyn Links {
        match target {
            ConnectionTarget::Remote { .. } => &self.remote,
            ConnectionTarget::Command { .. } | ConnectionTarget::Template { .. } => &self.children,
        }
    }
}

impl Links for ServerLinks {
    fn open<'a>(&'a self, plan: &'a ConnectionPlan) -> Reply<'a, Opened> {
        self.of(&plan.target).open(plan)
    }

    fn forget<'a>(&'a self, tenant: &'a TenantId, service: &'a ServiceId) -> BoxFuture<'a, ()> {
        self.children.forget(tenant, service)
    }

    fn check(&self, target: &ConnectionTarget) -> Result<(), Error> {
        self.of(target).check(target)
    }
}
