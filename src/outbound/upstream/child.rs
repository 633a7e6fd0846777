//! Servers that are child processes: what may be started, in what environment, and how it ends.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::mesh::integration::Templates;
use crate::mesh::store::Reply;
use crate::mesh::upstream::{ConnectionPlan, ConnectionTarget};
use crate::mesh::{Clock, Error};

use super::link::{Links, Opened};

/// What children may be and where they live.
#[derive(Clone)]
pub struct ChildSettings {
    /// This program: children are started through its hidden commands.
    pub executable: PathBuf,
    /// The folder of the children's working folders, absolute. It is made when the first child needs it.
    pub folder: PathBuf,
    /// The operator's list of commands, each with the program that it stands for where there is one; nothing
    /// under token identities, which may have templates alone.
    pub commands: Option<BTreeMap<String, Option<PathBuf>>>,
    /// The operator's templates.
    pub templates: Templates,
    /// Further folders that every child may read.
    pub readable: Vec<PathBuf>,
    /// What no child may read, whatever else is allowed: our data, the outbox, files of settings.
    pub private: Vec<PathBuf>,
    /// `PATH` of the children.
    pub search_path: String,
    /// `LANG` and `LC_*` of the children.
    pub locale: BTreeMap<String, String>,
    /// What tells the time.
    pub clock: Arc<dyn Clock>,
}

/// Opens links to child processes.
pub struct ChildLinks {
    settings: ChildSettings,
}

impl ChildLinks {
    /// Children by these settings.
    pub fn new(settings: ChildSettings) -> Self {
        Self { settings }
    }
}

impl Links for ChildLinks {
    fn open<'a>(&'a self, _plan: &'a ConnectionPlan) -> Reply<'a, Opened> {
        let _ = &self.settings.folder;
        Box::pin(async { Err(Error::internal("children cannot be started yet")) })
    }

    fn check(&self, _target: &ConnectionTarget) -> Result<(), Error> {
        Ok(())
    }
}
