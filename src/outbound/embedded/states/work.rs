//! What a Task state asks for, and who does it.

use futures::future::BoxFuture;
use serde_json::Value;

use super::asl::{Resource, StateResult};

/// A task under way.
#[derive(Clone, Debug)]
pub(super) struct Work {
    /// The name of the execution, which says whose it is.
    pub(super) execution: String,
    /// What is called.
    pub(super) resource: Resource,
    /// With what.
    pub(super) arguments: Value,
    /// What stands for this very step: the same when it is taken again.
    pub(super) step: String,
}

/// Does the work of Task states.
pub(super) trait Worker: Send + Sync + 'static {
    /// Does `work`; its result, or the error that the state ends with.
    fn work(&self, work: Work) -> BoxFuture<'_, StateResult<Value>>;
}
