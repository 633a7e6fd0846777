//! How a running workflow of the embedded cloud calls a tool of this server.

use futures::future::BoxFuture;
use ulid::Ulid;

use crate::mesh::Error;
use crate::mesh::tenant::TenantId;

/// A tool that a state of a running workflow calls.
#[derive(Clone, Debug)]
pub struct ToolTask {
    /// Whose run it is: from the execution's name, never from what the machine computes.
    pub tenant: TenantId,
    /// The run.
    pub run_id: Ulid,
    /// The tool's name, such as `kv_set`.
    pub tool: String,
    /// Its arguments: the JSON text of an object.
    pub arguments: String,
    /// What stands for this very step of the run, the same when it is taken again after a crash: tools that
    /// take an `idempotency_key` and were given none get this one.
    pub step: String,
}

/// Calls tools for running workflows, as the user that started the run, with no more than that user might
/// do then and may do now, on the whole path of a call.
pub trait ToolCaller: Send + Sync + 'static {
    /// Calls a tool; answers the result's JSON text.
    ///
    /// # Errors
    /// What the tool failed with; its kind's code is the name of the error in the machine.
    fn call(&self, task: ToolTask) -> BoxFuture<'_, Result<String, Error>>;

    /// The only tenant whose runs may call here; nothing where any tenant's may. A process that may call for
    /// one leaves the runs of others to their own processes, since every tool would refuse them.
    fn only_tenant(&self) -> Option<TenantId>;
}
