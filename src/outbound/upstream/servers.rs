//! Links to any server: to a child process or to an address, as its plan says.

use futures::FutureExt as _;

use super::child::ChildLinks;
use super::link::{Links, Opened};
use super::remote::RemoteLinks;
use crate::mesh::store::Reply;
use crate::mesh::upstream::{ConnectionPlan, ConnectionTarget};
use crate::mesh::{Error, ErrorKind};

/// What opens links to servers of every kind.
pub struct ServerLinks {
    children: Option<ChildLinks>,
    remote: RemoteLinks,
}

impl ServerLinks {
    /// Over `children`, where processes can be started at all, and `remote`.
    pub const fn new(children: Option<ChildLinks>, remote: RemoteLinks) -> Self {
        Self { children, remote }
    }

    fn of(&self, target: &ConnectionTarget) -> Result<&dyn Links, Error> {
        match target {
            ConnectionTarget::Remote { .. } => Ok(&self.remote),
            ConnectionTarget::Command { .. } | ConnectionTarget::Template { .. } => {
                match &self.children {
                    Some(children) => Ok(children),
                    None => Err(no_children()),
                }
            }
        }
    }
}

impl Links for ServerLinks {
    fn open<'a>(&'a self, plan: &'a ConnectionPlan) -> Reply<'a, Opened> {
        match self.of(&plan.target) {
            Ok(links) => links.open(plan),
            Err(error) => async { Err(error) }.boxed(),
        }
    }

    fn check(&self, target: &ConnectionTarget) -> Result<(), Error> {
        self.of(target)?.check(target)
    }
}

fn no_children() -> Error {
    Error::new(
        ErrorKind::NotSupported,
        "this server cannot start processes: it does not know its own program",
    )
    .fix("Register a remote server (`url`).")
}
