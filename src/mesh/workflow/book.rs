//! The book of runs: starts each run once, whoever asks and however often, and knows how it is.
//!
//! A run is a row and, until its end is recorded, a mark beside it. Both are written before Step Functions
//! is asked, so that an execution without a row cannot be; a row whose execution never came to be is found
//! by its mark.

use std::sync::Arc;

use futures::FutureExt as _;
use serde_json::value::RawValue;

use super::meter::Meter;
use super::quota::RunQuota;
use super::row::{Kept, Mark};
use super::rows::RunRows;
use super::run::{NewRun, Run, RunState, execution_name};
use super::watch::{Watch, WatchPace};
use super::{LaunchLimits, Launcher};
use crate::mesh::event::Outbox;
use crate::mesh::store::states::{ExecutionStatus, NewExecution, PAYLOAD_BYTES_MAX, Started};
use crate::mesh::store::{Reply, States, Table};
use crate::mesh::tenant::{TenantDirectory, TenantId, UserId};
use crate::mesh::{Clock, Error, ErrorKind};

/// For how many days the row of a run is kept after its end: as long as Step Functions tells of it.
pub const KEPT_DAYS_MIN: u32 = 90;

/// What the book of runs is made of.
#[derive(Clone)]
pub struct RunBookParts {
    /// Where the rows are.
    pub table: Arc<dyn Table>,
    /// What runs the executions.
    pub states: Arc<dyn States>,
    /// Where the end of each run is recorded.
    pub outbox: Outbox,
    /// What tenants may use; an unknown one may use what is the default.
    pub tenants: Arc<dyn TenantDirectory>,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// How runs are watched.
    pub pace: WatchPace,
    /// For how many days events are kept; an ended run is kept as long, and [`KEPT_DAYS_MIN`] at least.
    pub retention_days: u32,
}

/// The book of runs. Clones are the same one.
#[derive(Clone)]
pub struct RunBook(Arc<Inner>);

struct Inner {
    parts: RunBookParts,
    watch: Watch,
}

impl RunBook {
    /// The book of the runs in `parts`. Somebody is to [watch](RunBook::watch) them.
    pub fn new(parts: RunBookParts) -> Self {
        let watch = Watch::new(parts.pace, Arc::clone(&parts.clock));
        Self(Arc::new(Inner { parts, watch }))
    }

    pub(in crate::mesh) fn parts(&self) -> &RunBookParts {
        &self.0.parts
    }

    pub(super) fn followed(&self) -> &Watch {
        &self.0.watch
    }

    /// The rows of a tenant.
    pub(in crate::mesh) fn rows(&self, tenant: &TenantId) -> RunRows<'_> {
        RunRows::new(&self.0.parts.table, &self.0.parts.clock, tenant)
    }

    /// Starts `run`, or finds that it has been started.
    ///
    /// # Errors
    /// `TOO_LARGE` for the input, `QUOTA_EXCEEDED`, `NOT_FOUND` where there is no such machine: nothing is
    /// left of the run then. What AWS is unavailable for: then the run may have been started, and the same
    /// call again finds it.
    pub(in crate::mesh) async fn start(
        &self,
        tenant: &TenantId,
        limits: LaunchLimits,
        run: &NewRun,
        meter: &mut Meter,
    ) -> Result<Run, Error> {
        let input = wrapped_input(tenant, &run.user, &run.input)?;
        let kept = match self.rows(tenant).find(run.run_id, meter).await? {
            Some(kept) => self.take_up(tenant, kept, meter).await?,
            None => self.enter(tenant, limits, run, meter).await?,
        };
        if kept.run.state != RunState::Starting {
            return Ok(kept.run);
        }
        // Also where the start fails: what became of it is found out in time.
        self.follow(tenant, run.run_id);
        self.begin(tenant, limits, run, input, kept, meter).await
    }

    /// Says of a run that was entered before and has not begun that it is tried again now, so that nobody
    /// takes it for one that never began.
    async fn take_up(
        &self,
        tenant: &TenantId,
        kept: Kept,
        meter: &mut Meter,
    ) -> Result<Kept, Error> {
        if kept.run.state != RunState::Starting {
            return Ok(kept);
        }
        let mut next = kept.next();
        next.run.started_at = self.0.parts.clock.now();
        match self.rows(tenant).replace(&kept, &next, meter).await? {
            Ok(()) => Ok(next),
            Err(Some(current)) => Ok(current),
            Err(None) => Err(Error::internal("the row of a run is gone")),
        }
    }

    /// Sets the mark, takes from the quota, writes the row.
    async fn enter(
        &self,
        tenant: &TenantId,
        limits: LaunchLimits,
        run: &NewRun,
        meter: &mut Meter,
    ) -> Result<Kept, Error> {
        let parts = &self.0.parts;
        let now = parts.clock.now();
        let rows = self.rows(tenant);
        let mark = self.mark();
        let is_ours = rows.mark(run.run_id, &mark, meter).await?;
        let quota = RunQuota::new(&parts.table, rows.keys(), limits.workflows_running);
        if let Err(refused) = quota.take(run.run_id, now, meter).await {
            // Somebody else may have started the same run meanwhile, and then needs the mark.
            if let Some(kept) = rows.find(run.run_id, meter).await? {
                return Ok(kept);
            }
            if is_ours {
                rows.unmark(run.run_id, Some(&mark), meter).await?;
            }
            return Err(refused);
        }
        let execution = execution_name(tenant, run.run_id);
        let execution = parts.states.execution(&run.machine, &execution);
        let kept = Kept::starting(run, execution, now);
        match rows.enter(&kept, meter).await? {
            Ok(()) => {
                if !is_ours {
                    // Whoever set it may be about to remove it, which this prevents.
                    rows.mark_anew(run.run_id, &self.mark(), meter).await?;
                }
                Ok(kept)
            }
            Err(current) => {
                quota.give_back(meter).await?;
                if is_ours && current.run.state.has_ended() {
                    rows.unmark(run.run_id, Some(&mark), meter).await?;
                }
                Ok(current)
            }
        }
    }

    /// Has the execution started and notes that it runs.
    async fn begin(
        &self,
        tenant: &TenantId,
        limits: LaunchLimits,
        run: &NewRun,
        input: String,
        kept: Kept,
        meter: &mut Meter,
    ) -> Result<Run, Error> {
        let execution = NewExecution {
            machine: run.machine.clone(),
            name: execution_name(tenant, run.run_id),
            input,
        };
        meter.asked();
        let mut running = kept.next();
        match self.0.parts.states.start(tenant, &execution).await {
            Ok(Started::Running {
                execution,
                started_at,
            }) => {
                running.run.execution = execution;
                running.run.started_at = started_at;
            }
            Ok(Started::AlreadyExists { execution }) => running.run.execution = execution,
            Err(error) => {
                if is_refusal(&error) {
                    self.withdraw(tenant, limits, &kept, meter).await?;
                }
                return Err(error);
            }
        }
        running.run.state = RunState::Known(ExecutionStatus::Running);
        match self.rows(tenant).replace(&kept, &running, meter).await {
            Ok(Ok(())) => Ok(running.run),
            // Somebody else has seen it run, or end.
            Ok(Err(Some(current))) => Ok(current.run),
            Ok(Err(None)) => Err(Error::internal("the row of a run that was started is gone")),
            Err(error) => {
                tracing::warn!(%tenant, run_id = %run.run_id, ?error, "a run was started; its row says so later");
                Ok(running.run)
            }
        }
    }

    /// Removes what was entered of a run that cannot be started.
    async fn withdraw(
        &self,
        tenant: &TenantId,
        limits: LaunchLimits,
        kept: &Kept,
        meter: &mut Meter,
    ) -> Result<(), Error> {
        let rows = self.rows(tenant);
        if rows.remove(kept, meter).await? {
            let quota = RunQuota::new(&self.0.parts.table, rows.keys(), limits.workflows_running);
            quota.give_back(meter).await?;
            rows.unmark(kept.run.run_id, None, meter).await?;
        }
        Ok(())
    }

    /// A mark by which this process says that it watches a run.
    pub(super) fn mark(&self) -> Mark {
        let parts = &self.0.parts;
        let now = parts.clock.now();
        Mark::new(parts.outbox.writer(), now, now.plus(parts.pace.lease))
    }
}

impl Launcher for RunBook {
    fn launch<'a>(&'a self, tenant: &'a TenantId, run: NewRun) -> Reply<'a, ()> {
        async move {
            let record = self.0.parts.tenants.find(tenant);
            let limits = LaunchLimits::of(record.as_deref());
            let mut uncharged = Meter::default();
            let started = self.start(tenant, limits, &run, &mut uncharged);
            started.await.map(drop)
        }
        .boxed()
    }
}

/// Whether an error of a start says that nothing was started.
pub(in crate::mesh) fn is_refusal(error: &Error) -> bool {
    let by_kind = matches!(
        error.kind(),
        ErrorKind::NotFound
            | ErrorKind::NotSupported
            | ErrorKind::InvalidParameter
            | ErrorKind::TooLarge
            | ErrorKind::PermissionDenied
            | ErrorKind::AwsCredentials
    );
    error.is_known_not_done() || (by_kind && !error.may_be_done())
}

/// The input as the machine gets it: the tenant wrapped around the caller's own.
fn wrapped_input(tenant: &TenantId, user: &UserId, input: &str) -> Result<String, Error> {
    let input: &RawValue = serde_json::from_str(input)
        .map_err(|cause| Error::invalid("input", "`input` is no JSON").caused_by(cause))?;
    // Neither id can hold a character that JSON escapes.
    let wrapped =
        format!(r#"{{"tenant":{{"tenant_id":"{tenant}","user_id":"{user}"}},"input":{input}}}"#);
    if wrapped.len() > PAYLOAD_BYTES_MAX {
        return Err(Error::new(
            ErrorKind::TooLarge,
            format!(
                "the input has {} bytes as the workflow gets it; it may have {PAYLOAD_BYTES_MAX}",
                wrapped.len()
            ),
        )
        .fix("Store what is large as an artifact (artifacts_put) and pass its key.")
        .detail("limit_bytes", PAYLOAD_BYTES_MAX));
    }
    Ok(wrapped)
}

#[cfg(test)]
mod tests;
