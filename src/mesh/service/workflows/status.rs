//! How a run is: at once, or when it has ended, with its newest steps.

use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::Instant;
use ulid::Ulid;

use super::{json, no_such_run};
use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{Operation, Report, Subject, WorkflowRead};
use crate::mesh::call::tool::Tool;
use crate::mesh::limit::{Cost, Direction};
use crate::mesh::store::runs::{Runs, Seen};
use crate::mesh::store::states::ExecutionEvent;
use crate::mesh::{Error, Timestamp};

/// The longest wait for a run's end, in milliseconds: shorter than any call may take.
pub const WAIT_MS_MAX: u32 = 55_000;

/// The most steps that are told.
pub const STEPS_MAX: u32 = 50;

/// The largest output that an answer holds: bytes, of 60,000.
const OUTPUT_BYTES_MAX: usize = 40_000;

/// The most bytes of what is said of an error.
const CAUSE_BYTES_MAX: usize = 4_000;

/// The longest pause between two looks while a caller waits.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Tells how a run is.
#[derive(Debug)]
pub struct WorkflowStatus {
    /// Which.
    pub run_id: Ulid,
    /// How long to wait for its end: at most [`WAIT_MS_MAX`].
    pub wait: Duration,
    /// Whether its newest steps are wanted.
    pub history: bool,
}

/// What [`WorkflowStatus`] answers.
#[derive(Debug, Serialize)]
pub struct WorkflowStatusAnswer {
    run_id: Ulid,
    name: String,
    status: &'static str,
    started_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_bytes: Option<usize>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<Vec<Step>>,
}

#[derive(Debug, Serialize)]
struct Step {
    id: i64,
    time: Timestamp,
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl From<ExecutionEvent> for Step {
    fn from(event: ExecutionEvent) -> Self {
        Self {
            id: event.id,
            time: event.time,
            kind: event.kind,
            state: event.state,
            error: event.error,
        }
    }
}

/// What to do about an output that no answer holds.
const OUTPUT_FIX: &str =
    "Have the workflow store what is large as an artifact and put out its key.";

impl WorkflowStatusAnswer {
    fn of(seen: Seen, steps: Option<Vec<ExecutionEvent>>) -> Result<Self, Error> {
        let Seen { run, execution } = seen;
        let mut answer = Self {
            run_id: run.run_id,
            name: run.workflow,
            status: run.state.name(),
            started_at: run.started_at,
            stopped_at: run.stopped_at,
            rule: run.rule,
            output: None,
            output_bytes: None,
            truncated: false,
            fix: None,
            error: run.error,
            cause: None,
            history: steps.map(|steps| steps.into_iter().map(Step::from).collect()),
        };
        let Some(execution) = execution else {
            return Ok(answer);
        };
        answer.cause = execution
            .cause
            .map(|cause| shortened(cause, CAUSE_BYTES_MAX));
        match execution.output {
            Some(output) if output.len() > OUTPUT_BYTES_MAX => {
                answer.truncated = true;
                answer.output_bytes = Some(output.len());
                answer.fix = Some(OUTPUT_FIX);
            }
            output => answer.output = output.map(json).transpose()?,
        }
        Ok(answer)
    }
}

fn shortened(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
        text.push('…');
    }
    text
}

impl Operation for WorkflowStatus {
    const TOOL: Tool = Tool::WorkflowStatus;
    type Needs = WorkflowRead;
    type Answer = WorkflowStatusAnswer;

    fn subject(&self) -> Subject {
        Subject::none().with("run_id", self.run_id.to_string())
    }

    fn cost(&self) -> Cost {
        let of_history = match self.history {
            true => 1.0,
            false => 0.0,
        };
        Cost::of(Direction::States, 1.0 + of_history).and(Direction::DynamodbRead, 1.0)
    }

    async fn serve<'call>(
        self,
        call: &Granted<'call, Self>,
    ) -> Result<WorkflowStatusAnswer, Error> {
        let runs = call.runs();
        let seen = self.wait_for_end(call, &runs).await?;
        let steps = match self.history {
            true => Some(runs.steps(&seen.run, STEPS_MAX).await?),
            false => None,
        };
        WorkflowStatusAnswer::of(seen, steps)
    }

    fn report(answer: &WorkflowStatusAnswer) -> Report {
        Report {
            bytes: answer
                .output
                .as_ref()
                .map(|output| output.get().len() as u64),
            facts: vec![
                ("name", answer.name.as_str().into()),
                ("status", answer.status.into()),
            ],
        }
    }
}

impl WorkflowStatus {
    /// Looks at the run until it has ended or the wait is over, and tells each change meanwhile.
    async fn wait_for_end<'call>(
        &self,
        call: &Granted<'call, Self>,
        runs: &Runs<'call, WorkflowRead>,
    ) -> Result<Seen, Error> {
        let deadline = Instant::now() + self.wait;
        let mut changes = Changes::default();
        let mut pause = Duration::ZERO;
        loop {
            let Some(seen) = runs.look(self.run_id).await? else {
                return Err(no_such_run(self.run_id));
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if call.tells_progress() && !self.wait.is_zero() {
                changes.tell(call, runs, &seen).await;
            }
            if seen.run.state.has_ended() || left.is_zero() {
                return Ok(seen);
            }
            pause = runs.pause(pause).min(PAUSE_MAX);
            tokio::time::sleep(pause.min(left)).await;
        }
    }
}

/// What a waiting caller has been told.
#[derive(Default)]
struct Changes {
    told: u32,
    last: String,
}

impl Changes {
    /// Tells the caller how the run is and which state it is in, where that has changed.
    async fn tell<'call>(
        &mut self,
        call: &Granted<'call, WorkflowStatus>,
        runs: &Runs<'call, WorkflowRead>,
        seen: &Seen,
    ) {
        let status = seen.run.state.name();
        let state = match seen.run.state.has_ended() {
            true => None,
            false => newest_state(runs, seen).await,
        };
        let message = match state {
            Some(state) => format!("{status}: {state}"),
            None => status.to_owned(),
        };
        if message != self.last {
            self.told += 1;
            call.progress(f64::from(self.told), None, &message);
            self.last = message;
        }
    }
}

/// The state that an execution entered last. That it cannot be found out ends no wait.
async fn newest_state<'call>(runs: &Runs<'call, WorkflowRead>, seen: &Seen) -> Option<String> {
    /// Between two states there are a few steps that belong to neither.
    const STEPS: u32 = 10;
    seen.execution.as_ref()?;
    let steps = runs.steps(&seen.run, STEPS).await.ok()?;
    steps.into_iter().find_map(|step| step.state)
}
