//! The handle to a tenant's workflow runs: started, looked at, stopped and listed within the tenant.

use std::marker::PhantomData;
use std::time::Duration;

use serde_json::value::RawValue;
use ulid::Ulid;

use super::states::{Execution, ExecutionEvent};
use crate::mesh::call::grant::Reach;
use crate::mesh::call::operation::{Allows, WorkflowRead, WorkflowRun};
use crate::mesh::event::rule::DEPTH_MAX;
use crate::mesh::limit::Direction;
use crate::mesh::workflow::ending::End;
use crate::mesh::workflow::meter::Meter;
use crate::mesh::workflow::row::Kept;
use crate::mesh::workflow::{LaunchLimits, NewRun, Run, RunState};
use crate::mesh::{Error, ErrorKind};

/// Workflow runs of the caller's tenant, to the extent of the permission `P`. Every user of the tenant
/// sees all of them.
pub struct Runs<'call, P> {
    reach: Reach<'call>,
    permission: PhantomData<P>,
}

/// A run and what Step Functions says of its execution.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The run.
    pub run: Run,
    /// Its execution; nothing where it has none, or is no longer known.
    pub execution: Option<Execution>,
}

/// Some runs, the newest first.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The runs.
    pub runs: Vec<Run>,
    /// The run to go on after, where there may be more.
    pub next: Option<Ulid>,
}

impl<'call, P> Runs<'call, P> {
    pub(in crate::mesh) fn new(reach: Reach<'call>) -> Self {
        Self {
            reach,
            permission: PhantomData,
        }
    }

    /// An id for a new run.
    pub fn new_id(&self) -> Ulid {
        let now = self.reach.now().as_millis().max(0).unsigned_abs();
        Ulid::from_parts(now, Ulid::generate().random())
    }

    /// Starts the workflow `name` as the caller, or finds that the run `run_id` has been started.
    ///
    /// # Errors
    /// `NOT_FOUND` where the tenant has no such workflow, `QUOTA_EXCEEDED`, `TOO_LARGE`: nothing has been
    /// started then. `OUTCOME_UNKNOWN` where it may have been.
    pub async fn start(&self, run_id: Ulid, name: &str, input: &RawValue) -> Result<Run, Error>
    where
        P: Allows<WorkflowRun>,
    {
        let tenant = self.reach.tenant_id();
        let Some(machine) = self.reach.workflows().machine(tenant, name) else {
            return Err(self.reach.workflows().unknown(tenant, name).await);
        };
        let run = NewRun {
            run_id,
            workflow: name.to_owned(),
            machine,
            input: input.get().to_owned(),
            user: self.reach.user_id().clone(),
            permissions: self.reach.permissions(),
            rule: None,
            cause: self.reach.origin().cause,
            depth: self.depth()?,
        };
        let book = self.reach.runs();
        let limits = LaunchLimits::from(self.reach.limits().as_ref());
        let mut meter = Meter::default();
        let started = book.start(tenant, limits, &run, &mut meter).await;
        let outcome = match started {
            Ok(run) => Ok(run),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(self
                .reach
                .workflows()
                .unknown(tenant, name)
                .await
                .caused_by(error)),
            Err(error) => match book.rows(tenant).find(run_id, &mut meter).await {
                // Nothing is left of it, whatever became of the writes before.
                Ok(None) => Err(error.not_done()),
                Ok(Some(_)) | Err(_) => Err(may_have_started(run_id, error)),
            },
        };
        self.spend(meter);
        outcome
    }

    /// At which depth a run is that the caller starts: one that a run starts is one deeper.
    fn depth(&self) -> Result<u8, Error> {
        let origin = self.reach.origin();
        match origin.run {
            None => Ok(origin.depth),
            Some(_) if origin.depth < DEPTH_MAX => Ok(origin.depth + 1),
            Some(_) => Err(Error::new(
                ErrorKind::Conflict,
                format!("workflows have started one another {DEPTH_MAX} times over; this one starts no further one"),
            )
            .fix("Look for a workflow that starts itself, also by way of others or of rules.")
            .detail("depth_max", DEPTH_MAX)),
        }
    }

    /// The run and its execution; nothing where the tenant has no such run. What is found out about it
    /// here first is recorded.
    pub async fn look(&self, run_id: Ulid) -> Result<Option<Seen>, Error>
    where
        P: Allows<WorkflowRead>,
    {
        self.find_and_look(run_id).await
    }

    async fn find_and_look(&self, run_id: Ulid) -> Result<Option<Seen>, Error> {
        let (book, tenant) = (self.reach.runs(), self.reach.tenant_id());
        let mut meter = Meter::default();
        let found = book.rows(tenant).find(run_id, &mut meter).await;
        self.spend(meter);
        match found? {
            Some(kept) => self.look_at(kept).await.map(Some),
            None => Ok(None),
        }
    }

    async fn look_at(&self, kept: Kept) -> Result<Seen, Error> {
        let (book, tenant) = (self.reach.runs(), self.reach.tenant_id());
        self.reach.spend(Direction::States, 1.0);
        let described = book.parts().states.describe(tenant, &kept.run.execution);
        let execution = described.await?;
        let run = self.note(&kept, execution.as_ref()).await;
        Ok(Seen { run, execution })
    }

    /// Records what `execution` says of a run and its row does not say yet; answers the run as it is. It
    /// is our own business and charged to nobody, and where it cannot be done now the watcher will do it.
    async fn note(&self, kept: &Kept, execution: Option<&Execution>) -> Run {
        if kept.run.state.has_ended() {
            return kept.run.clone();
        }
        let (book, tenant) = (self.reach.runs(), self.reach.tenant_id());
        let now = self.reach.now();
        let mut uncharged = Meter::default();
        let end = match execution {
            Some(execution) => End::of(execution, now),
            None if book.may_still_begin(kept, now) => return kept.run.clone(),
            None => Some(End::without_execution(kept, now)),
        };
        let noted = match end.clone() {
            None => {
                let noted = book.note_running(tenant, kept, &mut uncharged).await;
                noted.map(|kept| kept.run)
            }
            Some(end) => {
                let ended = book.end(tenant, kept, end, &mut uncharged).await;
                ended.map(|ended| ended.run)
            }
        };
        noted.unwrap_or_else(|error| {
            tracing::debug!(run_id = %kept.run.run_id, ?error, "how a run is could not be recorded");
            match end {
                Some(end) => end.applied_to(&kept.run),
                None => kept.run.clone(),
            }
        })
    }

    /// The newest steps of a run's execution, at most `limit`, the newest first.
    pub async fn steps(&self, run: &Run, limit: u32) -> Result<Vec<ExecutionEvent>, Error>
    where
        P: Allows<WorkflowRead>,
    {
        self.reach.spend(Direction::States, 1.0);
        let states = &self.reach.runs().parts().states;
        states
            .history(self.reach.tenant_id(), &run.execution, limit)
            .await
    }

    /// How long to wait between two looks, after having waited `last`.
    pub fn pause(&self, last: Duration) -> Duration {
        self.reach.runs().parts().pace.after(last)
    }

    /// Stops a run; answers how it is then. One that has ended stays as it is.
    ///
    /// # Errors
    /// `CONFLICT` where its execution has yet to begin.
    pub async fn stop(&self, run_id: Ulid, reason: Option<&str>) -> Result<Option<Seen>, Error>
    where
        P: Allows<WorkflowRun>,
    {
        let Some(seen) = self.find_and_look(run_id).await? else {
            return Ok(None);
        };
        if seen.run.state.has_ended() {
            return Ok(Some(seen));
        }
        let (book, tenant) = (self.reach.runs(), self.reach.tenant_id());
        self.reach.spend(Direction::States, 1.0);
        let stopped = book
            .parts()
            .states
            .stop(tenant, &seen.run.execution, reason);
        if !stopped.await? && seen.run.state == RunState::Starting {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "the run {run_id} is about to begin, and nothing is there to be stopped yet"
                ),
            )
            .fix("Ask workflow_status how it is, and try again in a few seconds."));
        }
        self.find_and_look(run_id).await
    }

    /// At most `limit` runs that are older than `after`, the newest first.
    pub async fn page(&self, after: Option<Ulid>, limit: u32) -> Result<Listed, Error>
    where
        P: Allows<WorkflowRead>,
    {
        let rows = self.reach.runs().rows(self.reach.tenant_id());
        let mut meter = Meter::default();
        let page = rows.page(after, limit, &mut meter).await;
        self.spend(meter);
        let page = page?;
        Ok(Listed {
            runs: page.runs.into_iter().map(|kept| kept.run).collect(),
            next: page.next,
        })
    }

    fn spend(&self, meter: Meter) {
        let Meter {
            reads,
            writes,
            states,
        } = meter;
        self.reach.spend(Direction::DynamodbRead, reads);
        self.reach.spend(Direction::DynamodbWrite, writes);
        self.reach.spend(Direction::States, states);
    }
}

/// That nobody knows whether the run has been started, and what to do about it.
fn may_have_started(run_id: Ulid, error: Error) -> Error {
    Error::new(
        ErrorKind::OutcomeUnknown,
        format!("the start of the run {run_id} was not answered; it may have begun"),
    )
    .fix(format!(
        "Ask workflow_status for {run_id}; if it has not begun within three minutes it is recorded as failed. \
         With an `idempotency_key` the same call again finds this run and completes its start."
    ))
    .detail("run_id", run_id.to_string())
    .caused_by(error)
}
