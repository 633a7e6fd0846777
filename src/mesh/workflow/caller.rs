//! Running workflows as callers: a run is known by its row, and may call until it has ended.

use std::sync::Arc;

use super::book::RunBook;
use super::meter::Meter;
use super::task::ToolTask;
use crate::mesh::tenant::{Presented, RunIdentity};
use crate::mesh::{Error, ErrorKind};

impl RunBook {
    /// What a task of a run presents as its identity: the run's user, with what that user might do when
    /// it was started.
    ///
    /// # Errors
    /// `NOT_FOUND` where the tenant has no such run, `CONFLICT` where it has ended; the table's.
    pub async fn identity(&self, task: &ToolTask) -> Result<Presented, Error> {
        let mut uncharged = Meter::default();
        let rows = self.rows(&task.tenant);
        let Some(kept) = rows.find(task.run_id, &mut uncharged).await? else {
            let message = format!("there is no run {}", task.run_id);
            return Err(Error::new(ErrorKind::NotFound, message));
        };
        if kept.run.state.has_ended() {
            let message = format!(
                "the run {} has ended, and calls nothing any more",
                task.run_id
            );
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        Ok(Presented {
            run: Some(Arc::new(RunIdentity::of(&task.tenant, &kept.run))),
            ..Presented::default()
        })
    }
}
