//! Runs of workflows: how they are kept, started, watched to their end, and what they may do meanwhile.

pub mod book;
mod caller;
pub mod ending;
#[cfg(test)]
mod fakes;
pub(in crate::mesh) mod meter;
pub mod names;
mod quota;
pub(in crate::mesh) mod row;
pub(in crate::mesh) mod rows;
pub mod run;
pub mod task;
mod watch;
pub mod watcher;

pub use book::{RunBook, RunBookParts};
pub use names::{LocalMachines, WorkflowNames};
pub use run::{NewRun, Run, RunState};
pub use task::{ToolCaller, ToolTask};
pub use watch::WatchPace;
pub use watcher::Watcher;

use crate::mesh::store::Reply;
use crate::mesh::tenant::{Limits, TenantId, TenantRecord};

/// Starts workflows for rules. The publisher holds one; it is made of the runs' own store.
pub trait Launcher: Send + Sync + 'static {
    /// Starts `run`, or finds that it has been started. Done means that its row is written and that Step
    /// Functions has it.
    ///
    /// # Errors
    /// `NOT_FOUND` where there is no such machine, `QUOTA_EXCEEDED` where the tenant has too many running
    /// (worth repeating later), and what AWS is unavailable for.
    fn launch<'a>(&'a self, tenant: &'a TenantId, run: NewRun) -> Reply<'a, ()>;
}

/// What of a tenant's limits counts for a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mesh) struct LaunchLimits {
    /// How many of its workflows may run at once.
    workflows_running: u32,
}

impl LaunchLimits {
    /// Those of a tenant; of an unknown one the defaults.
    fn of(record: Option<&TenantRecord>) -> Self {
        match record {
            Some(record) => Self::from(record.limits.as_ref()),
            None => Self::from(&Limits::default()),
        }
    }
}

impl From<&Limits> for LaunchLimits {
    fn from(limits: &Limits) -> Self {
        Self {
            workflows_running: limits.workflows_running,
        }
    }
}
