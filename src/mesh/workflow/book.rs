//! The book of runs: starts each run once, whoever asks and however often, and knows how it is.
//!
//! A run is a row and, until its end is recorded, a mark beside it. Both are written before Step Functions
//! is asked, so that an execution without a row cannot be; a row whose execution never came to be is found
//! by its mark.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use serde_json::value::RawValue;
use ulid::Ulid;

use super::meter::Meter;
use super::quota::RunQuota;
use super::row::{Kept, Mark};
use super::run::{NewRun, Run, RunState, execution_name};
use super::{LaunchLimits, Launcher};
use crate::mesh::event::Outbox;
use crate::mesh::store::key::{Keyspace, RowKey};
use crate::mesh::store::states::{ExecutionStatus, NewExecution, PAYLOAD_BYTES_MAX, Started};
use crate::mesh::store::table::{Condition, Row, WriteOutcome};
use crate::mesh::store::{Reply, States, Table};
use crate::mesh::tenant::{TenantDirectory, TenantId, UserId};
use crate::mesh::{Clock, Error, ErrorKind};

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

/// For how many days the row of a run is kept after its end: as long as Step Functions tells of it.
pub const KEPT_DAYS_MIN: u32 = 90;

/// How often a run is looked at, as the backend bears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchPace {
    /// How long after its start a run is first looked at.
    pub first: Duration,
    /// The longest time between two looks; each is half as long again as the one before.
    pub longest: Duration,
    /// For how long a process that watches a run says so. It says so again in time, and when it has not,
    /// another one takes over.
    pub lease: Duration,
}

impl WatchPace {
    /// For the embedded cloud, where a look costs microseconds.
    pub const EMBEDDED: Self = Self {
        first: Duration::from_millis(4),
        longest: Duration::from_millis(250),
        lease: Duration::from_secs(6),
    };

    /// For Step Functions on AWS, which allows a few requests a second for the whole account.
    pub const AWS: Self = Self {
        first: Duration::from_secs(1),
        longest: Duration::from_secs(30),
        lease: Duration::from_secs(120),
    };
}

/// The book of runs. Clones are the same one.
#[derive(Clone)]
pub struct RunBook(Arc<RunBookParts>);

impl RunBook {
    /// The book of the runs in `parts`.
    pub fn new(parts: RunBookParts) -> Self {
        Self(Arc::new(parts))
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
        let kept = match self.find(tenant, run.run_id, meter).await? {
            Some(kept) => kept,
            None => self.enter(tenant, limits, run, meter).await?,
        };
        match kept.run.state {
            RunState::Starting => self.begin(tenant, limits, run, input, kept, meter).await,
            RunState::Known(_) => Ok(kept.run),
        }
    }

    /// The run, as its row has it.
    pub(in crate::mesh) async fn find(
        &self,
        tenant: &TenantId,
        run_id: Ulid,
        meter: &mut Meter,
    ) -> Result<Option<Kept>, Error> {
        let name = run_id.to_string();
        let key = Keyspace::of(tenant).run(&name);
        let answer = self.0.table.get(&key, true).await?;
        meter.read(answer.units);
        let now = self.0.clock.now();
        let live = answer.value.filter(|row| !row.is_expired(now));
        live.map(|row| Kept::of(&name, &row)).transpose()
    }

    /// Sets the mark, takes from the quota, writes the row.
    async fn enter(
        &self,
        tenant: &TenantId,
        limits: LaunchLimits,
        run: &NewRun,
        meter: &mut Meter,
    ) -> Result<Kept, Error> {
        let Self(parts) = self;
        let now = parts.clock.now();
        let keys = Keyspace::of(tenant);
        let name = run.run_id.to_string();
        let mark = self.mark();
        let absent = Condition::Absent { now };
        let is_ours = self
            .put(&keys.running(&name), mark.to_row(), absent.clone(), meter)
            .await?
            .is_ok();
        let quota = RunQuota::new(&parts.table, &keys, limits.workflows_running);
        if let Err(refused) = quota.take(run.run_id, now, meter).await {
            // Somebody else may have started the same run meanwhile, and then needs the mark.
            if let Some(kept) = self.find(tenant, run.run_id, meter).await? {
                return Ok(kept);
            }
            if is_ours {
                self.unmark(&keys.running(&name), &mark, meter).await?;
            }
            return Err(refused);
        }
        let execution = parts
            .states
            .execution(&run.machine, &execution_name(tenant, run.run_id));
        let kept = Kept::starting(run, execution, now);
        match self
            .put(&keys.run(&name), kept.to_row(), absent, meter)
            .await?
        {
            Ok(()) => {
                if !is_ours {
                    // Whoever set it may be about to remove it, which this prevents.
                    let row = self.mark().to_row();
                    let _ = self
                        .put(&keys.running(&name), row, Condition::Always, meter)
                        .await?;
                }
                Ok(kept)
            }
            Err(current) => {
                quota.give_back(meter).await?;
                Kept::of(&name, &current.unwrap_or_default())
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
        match self.0.states.start(tenant, &execution).await {
            Ok(Started::Running {
                execution,
                started_at,
            }) => {
                running.run.execution = execution;
                running.run.started_at = started_at;
            }
            Ok(Started::AlreadyExists { execution }) => running.run.execution = execution,
            Err(error) => {
                if is_refusal(error.kind()) {
                    self.withdraw(tenant, limits, &kept, meter).await?;
                }
                return Err(error);
            }
        }
        running.run.state = RunState::Known(ExecutionStatus::Running);
        match self.replace(tenant, &kept, &running, meter).await {
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
        let Self(parts) = self;
        let keys = Keyspace::of(tenant);
        let name = kept.run.run_id.to_string();
        let condition = Condition::Version {
            version: kept.version.clone(),
            now: parts.clock.now(),
        };
        let deleted = parts.table.delete(&keys.run(&name), condition).await?;
        meter.written(deleted.units);
        if let WriteOutcome::Done { .. } = deleted.value {
            let quota = RunQuota::new(&parts.table, &keys, limits.workflows_running);
            quota.give_back(meter).await?;
            let mark = parts
                .table
                .delete(&keys.running(&name), Condition::Always)
                .await?;
            meter.written(mark.units);
        }
        Ok(())
    }

    /// Writes `next` in place of `kept`; answers what is there where somebody else has written.
    pub(super) async fn replace(
        &self,
        tenant: &TenantId,
        kept: &Kept,
        next: &Kept,
        meter: &mut Meter,
    ) -> Result<Result<(), Option<Kept>>, Error> {
        let name = kept.run.run_id.to_string();
        let condition = Condition::Version {
            version: kept.version.clone(),
            now: self.0.clock.now(),
        };
        let key = Keyspace::of(tenant).run(&name);
        match self.put(&key, next.to_row(), condition, meter).await? {
            Ok(()) => Ok(Ok(())),
            Err(current) => {
                let current = current.map(|row| Kept::of(&name, &row));
                Ok(Err(current.transpose()?))
            }
        }
    }

    /// Puts a row under a condition; where that does not hold, answers what is there.
    pub(super) async fn put(
        &self,
        key: &RowKey,
        row: Row,
        condition: Condition,
        meter: &mut Meter,
    ) -> Result<Result<(), Option<Row>>, Error> {
        let answer = self.0.table.put(key, row, condition).await?;
        meter.written(answer.units);
        Ok(match answer.value {
            WriteOutcome::Done { .. } => Ok(()),
            WriteOutcome::ConditionFailed { current } => Err(current),
        })
    }

    /// Removes the mark unless somebody else has set it anew.
    async fn unmark(&self, key: &RowKey, mark: &Mark, meter: &mut Meter) -> Result<(), Error> {
        let condition = Condition::Version {
            version: mark.version.clone(),
            now: self.0.clock.now(),
        };
        let deleted = self.0.table.delete(key, condition).await?;
        meter.written(deleted.units);
        Ok(())
    }

    /// A mark by which this process says that it watches a run.
    fn mark(&self) -> Mark {
        let now = self.0.clock.now();
        Mark {
            version: Ulid::generate().to_string(),
            marked_at: now,
            watcher: self.0.outbox.writer().to_string(),
            until: now.plus(self.0.pace.lease),
        }
    }
}

impl Launcher for RunBook {
    fn launch<'a>(&'a self, tenant: &'a TenantId, run: NewRun) -> Reply<'a, ()> {
        async move {
            let limits = LaunchLimits::of(self.0.tenants.find(tenant).as_deref());
            let mut uncharged = Meter::default();
            let started = self.start(tenant, limits, &run, &mut uncharged);
            started.await.map(drop)
        }
        .boxed()
    }
}

/// Whether an error of a start says that nothing was started.
fn is_refusal(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::NotFound
            | ErrorKind::NotSupported
            | ErrorKind::InvalidParameter
            | ErrorKind::TooLarge
            | ErrorKind::PermissionDenied
            | ErrorKind::AwsCredentials
    )
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
