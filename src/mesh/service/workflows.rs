//! Workflows: started, watched, stopped and listed within the tenant, whoever of it started them.

pub mod list;
pub mod start;
pub mod status;
pub mod stop;

pub use list::WorkflowList;
pub use start::WorkflowStart;
pub use status::WorkflowStatus;
pub use stop::WorkflowStop;

use serde_json::value::RawValue;
use ulid::Ulid;

use crate::mesh::{Error, ErrorKind};

/// Write units of the table that a start is expected to take: mark, quota, row, and the row again.
const START_WRITES: f64 = 4.0;

/// Where one is: that there is no such run, or that it is another tenant's.
fn no_such_run(run_id: Ulid) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no run {run_id}"))
        .fix("Take a `run_id` from workflow_start or workflow_list.")
}

/// Text that Step Functions says is JSON.
fn json(text: String) -> Result<Box<RawValue>, Error> {
    RawValue::from_string(text)
        .map_err(|cause| Error::internal("what a workflow put out is no JSON").caused_by(cause))
}
