//! Runs of workflows: how they are kept, started, watched to their end, and what they may do meanwhile.

pub mod run;
pub mod task;

pub use run::{NewRun, Run, RunState};
pub use task::{ToolCaller, ToolTask};

use crate::mesh::store::Reply;
use crate::mesh::tenant::TenantId;

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
