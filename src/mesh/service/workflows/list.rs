//! Listing runs, the newest first, also those that rules have started.

use serde::Serialize;
use ulid::Ulid;

use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{Operation, Report, Subject, WorkflowRead};
use crate::mesh::call::tool::Tool;
use crate::mesh::limit::{Cost, Direction};
use crate::mesh::service::cursor;
use crate::mesh::tenant::UserId;
use crate::mesh::workflow::{Run, RunState};
use crate::mesh::{Error, Timestamp};

/// The most runs on one page.
pub const LIMIT_MAX: u32 = 200;

/// The most rows that are read at once where a filter may leave most of them out.
const ROWS_MAX: u32 = 500;

/// The most pages of the table that one listing reads.
const PAGES_MAX: usize = 4;

/// Lists runs.
#[derive(Debug)]
pub struct WorkflowList {
    /// Only those of this workflow.
    pub name: Option<String>,
    /// Only those that are so, as their rows have it.
    pub status: Option<RunState>,
    /// How many at most: 1 to [`LIMIT_MAX`].
    pub limit: u32,
    /// The run to go on after, as it stood in the cursor.
    pub after: Option<String>,
}

/// What [`WorkflowList`] answers.
#[derive(Debug, Serialize)]
pub struct WorkflowListAnswer {
    runs: Vec<Item>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize)]
struct Item {
    run_id: Ulid,
    name: String,
    status: &'static str,
    started_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    user_id: UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
}

impl From<Run> for Item {
    fn from(run: Run) -> Self {
        Self {
            run_id: run.run_id,
            status: run.state.name(),
            name: run.workflow,
            started_at: run.started_at,
            stopped_at: run.stopped_at,
            error: run.error,
            user_id: run.user,
            rule: run.rule,
        }
    }
}

impl WorkflowList {
    /// What a cursor of this listing is bound to.
    pub fn filters(&self) -> Vec<String> {
        vec![
            Tool::WorkflowList.name().to_owned(),
            self.name.clone().unwrap_or_default(),
            self.status
                .map(RunState::name)
                .unwrap_or_default()
                .to_owned(),
        ]
    }

    fn fits(&self, run: &Run) -> bool {
        self.name.as_ref().is_none_or(|name| *name == run.workflow)
            && self.status.is_none_or(|status| status == run.state)
    }
}

impl Operation for WorkflowList {
    const TOOL: Tool = Tool::WorkflowList;
    type Needs = WorkflowRead;
    type Answer = WorkflowListAnswer;

    fn subject(&self) -> Subject {
        Subject::none()
            .with_some("name", self.name.as_deref())
            .with_some("status", self.status.map(RunState::name))
    }

    fn cost(&self) -> Cost {
        Cost::of(Direction::DynamodbRead, f64::from(self.limit.div_ceil(10)))
    }

    async fn serve<'call>(self, call: &Granted<'call, Self>) -> Result<WorkflowListAnswer, Error> {
        let runs = call.runs();
        let limit = self.limit as usize;
        let filtered = self.name.is_some() || self.status.is_some();
        let mut after = self.after.as_deref().and_then(|run| run.parse().ok());
        let mut found: Vec<Run> = Vec::new();
        for _ in 0..PAGES_MAX {
            let wanted = self.limit - u32::try_from(found.len()).unwrap_or(self.limit);
            let rows = if filtered { ROWS_MAX } else { wanted };
            let page = runs.page(after, rows).await?;
            after = page.next;
            for run in page.runs.into_iter().filter(|run| self.fits(run)) {
                if found.len() == limit {
                    after = found.last().map(|run| run.run_id);
                    break;
                }
                found.push(run);
            }
            if found.len() == limit || after.is_none() {
                break;
            }
        }
        let filters = self.filters();
        let filters: Vec<_> = filters.iter().map(String::as_str).collect();
        Ok(WorkflowListAnswer {
            next_cursor: after.map(|run_id| cursor::seal(&run_id.to_string(), &filters)),
            runs: found.into_iter().map(Item::from).collect(),
        })
    }

    fn report(answer: &WorkflowListAnswer) -> Report {
        Report {
            bytes: None,
            facts: vec![("runs", answer.runs.len().into())],
        }
    }
}
