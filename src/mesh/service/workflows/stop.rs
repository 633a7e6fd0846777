//! Stopping a run.

use serde::Serialize;
use ulid::Ulid;

use super::no_such_run;
use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{Operation, Report, Subject, WorkflowRun as MayRun};
use crate::mesh::call::tool::Tool;
use crate::mesh::limit::{Cost, Direction};
use crate::mesh::{Error, Timestamp};

/// The longest reason: characters.
pub const REASON_CHARS_MAX: usize = 1024;

/// Stops a run.
#[derive(Debug)]
pub struct WorkflowStop {
    /// Which.
    pub run_id: Ulid,
    /// Why, for whoever looks at it later.
    pub reason: Option<String>,
}

/// What [`WorkflowStop`] answers.
#[derive(Debug, Serialize)]
pub struct WorkflowStopAnswer {
    run_id: Ulid,
    name: String,
    status: &'static str,
    started_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped_at: Option<Timestamp>,
}

impl Operation for WorkflowStop {
    const TOOL: Tool = Tool::WorkflowStop;
    type Needs = MayRun;
    type Answer = WorkflowStopAnswer;

    fn subject(&self) -> Subject {
        Subject::none().with("run_id", self.run_id.to_string())
    }

    fn cost(&self) -> Cost {
        Cost::of(Direction::States, 3.0).and(Direction::DynamodbRead, 2.0)
    }

    async fn serve<'call>(self, call: &Granted<'call, Self>) -> Result<WorkflowStopAnswer, Error> {
        let runs = call.runs();
        let Some(seen) = runs.stop(self.run_id, self.reason.as_deref()).await? else {
            return Err(no_such_run(self.run_id));
        };
        Ok(WorkflowStopAnswer {
            run_id: seen.run.run_id,
            status: seen.run.state.name(),
            name: seen.run.workflow,
            started_at: seen.run.started_at,
            stopped_at: seen.run.stopped_at,
        })
    }

    fn report(answer: &WorkflowStopAnswer) -> Report {
        Report {
            bytes: None,
            facts: vec![
                ("name", answer.name.as_str().into()),
                ("status", answer.status.into()),
            ],
        }
    }
}
