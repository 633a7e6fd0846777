//! Starting a workflow, once for each idempotency key.

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use ulid::Ulid;

use super::START_WRITES;
use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{Operation, Report, Subject, WorkflowRun as MayRun};
use crate::mesh::call::tool::Tool;
use crate::mesh::limit::{Cost, Direction};
use crate::mesh::store::idempotency::{self, Begun, Claim};
use crate::mesh::workflow::Run;
use crate::mesh::workflow::book::is_refusal;
use crate::mesh::{Error, ErrorKind, Timestamp};

/// How often a call tries to take over a key whose holder gave no sign of life.
const TAKE_OVERS_MAX: usize = 3;

/// Starts a workflow.
#[derive(Debug)]
pub struct WorkflowStart {
    /// Its logical name.
    pub name: String,
    /// The caller's part of the input, as the caller wrote it.
    pub input: Box<RawValue>,
    /// Calls with the same key start one run.
    pub idempotency_key: Option<String>,
}

/// What [`WorkflowStart`] answers.
#[derive(Debug, Serialize)]
pub struct WorkflowStartAnswer {
    run_id: Ulid,
    name: String,
    status: &'static str,
    started_at: Timestamp,
}

impl WorkflowStartAnswer {
    /// The run that was started.
    pub fn run_id(&self) -> Ulid {
        self.run_id
    }

    fn of(run: Run) -> Self {
        Self {
            run_id: run.run_id,
            status: run.state.name(),
            name: run.workflow,
            started_at: run.started_at,
        }
    }
}

impl Operation for WorkflowStart {
    const TOOL: Tool = Tool::WorkflowStart;
    type Needs = MayRun;
    type Answer = WorkflowStartAnswer;

    fn subject(&self) -> Subject {
        Subject::none().with("name", self.name.as_str())
    }

    fn cost(&self) -> Cost {
        let of_key = match self.idempotency_key {
            Some(_) => 2.0,
            None => 0.0,
        };
        Cost::of(Direction::States, 1.0)
            .and(Direction::DynamodbWrite, START_WRITES + of_key)
            .and(Direction::DynamodbRead, 1.0)
    }

    async fn serve<'call>(self, call: &Granted<'call, Self>) -> Result<WorkflowStartAnswer, Error> {
        let runs = call.runs();
        let run_id = runs.new_id();
        let Some(key) = &self.idempotency_key else {
            let run = runs.start(run_id, &self.name, &self.input).await?;
            return Ok(WorkflowStartAnswer::of(run));
        };
        let (run_id, claim) = self.hold(call, key, run_id).await?;
        let started = runs.start(run_id, &self.name, &self.input).await;
        if let Some(claim) = claim {
            settle(call, claim, &started).await;
        }
        started.map(WorkflowStartAnswer::of)
    }

    fn report(answer: &WorkflowStartAnswer) -> Report {
        Report {
            bytes: None,
            facts: vec![("run_id", answer.run_id.to_string().into())],
        }
    }
}

impl WorkflowStart {
    /// The run that the call's key stands for, and the key where this call is to settle it. A call under a
    /// key that has been settled asks for the very same run again, and so finds it as it is now.
    async fn hold<'call>(
        &self,
        call: &Granted<'call, Self>,
        key: &str,
        run_id: Ulid,
    ) -> Result<(Ulid, Option<Claim<'call>>), Error> {
        let idempotency = call.idempotency();
        let arguments = idempotency::arguments_hash(&self.fingerprint());
        // Whoever is slower to take over an abandoned key looks again, once for each that was faster.
        for _ in 0..TAKE_OVERS_MAX {
            let begun = idempotency
                .begin(key, &arguments, &run_id.to_string(), idempotency::PATIENCE)
                .await?;
            match begun {
                Begun::First(claim) => return Ok((run_id, Some(claim))),
                Begun::Done { result } => return Ok((remembered(&result)?, None)),
                Begun::Running => break,
                Begun::OtherArguments => return Err(idempotency::other_arguments()),
                Begun::Abandoned(abandoned) => {
                    if let Some(claim) = idempotency.take_over(&abandoned).await? {
                        return Ok((remembered(claim.promise())?, Some(claim)));
                    }
                }
            }
        }
        Err(idempotency::still_running())
    }

    /// What makes a call the same call again: the workflow and its input, however that is laid out.
    fn fingerprint(&self) -> String {
        let input = serde_json::from_str::<Value>(self.input.get());
        let input = input.map_or_else(|_| self.input.get().to_owned(), canonical);
        format!("{}\n{input}", self.name)
    }
}

/// The text of a value whose members are in the order of their names.
fn canonical(mut value: Value) -> String {
    value.sort_all_objects();
    value.to_string()
}

fn remembered(run_id: &str) -> Result<Ulid, Error> {
    Ulid::from_string(run_id)
        .map_err(|cause| Error::internal("a remembered run is none").caused_by(cause))
}

/// Settles the key of a call whose run was started, was refused, or may have been started.
async fn settle<'call>(
    call: &Granted<'call, WorkflowStart>,
    claim: Claim<'call>,
    started: &Result<Run, Error>,
) {
    let idempotency = call.idempotency();
    let settled = match started {
        Ok(run) => {
            let result = run.run_id.to_string();
            idempotency.finish(claim, &result).await.map(drop)
        }
        Err(error) if is_refusal(error) || error.kind() == ErrorKind::QuotaExceeded => {
            idempotency.release(claim).await
        }
        Err(_) => idempotency.abandon(claim).await,
    };
    if let Err(error) = settled {
        tracing::warn!(%error, "an idempotency key is not settled");
    }
}
