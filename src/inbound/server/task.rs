//! Tasks of the 2026-07-28 revision: a client that knows them gets one for `workflow_start`.
//!
//! A task is a workflow run under another name: its id is the run's, to look at it is the call
//! `workflow_status`, to cancel it is `workflow_stop`, with their permissions, limits and events. So a task
//! belongs to the tenant whose run it is, and is known to every process. Clients that do not say that they know tasks
//! see nothing of them.

use rmcp::model::*;
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use ulid::Ulid;

use super::{Server, is_stateless};
use crate::inbound::tool::Reply;
use crate::inbound::transport::ReplySlot;
use crate::mesh::call::tool::Tool;
use crate::mesh::service::workflows::{WorkflowStatus, WorkflowStop};

/// How long a task can be asked for at least, from its creation: milliseconds.
const TIME_TO_LIVE_MS: u64 = 90 * 24 * 3600 * 1000;

/// How often a client should ask how a task is: milliseconds.
const POLL_INTERVAL_MS: u64 = 2_000;

/// What a task shows of an answer about a run.
#[derive(Deserialize)]
struct Run<'a> {
    run_id: &'a str,
    name: String,
    status: &'a str,
    started_at: &'a str,
    stopped_at: Option<&'a str>,
}

impl Run<'_> {
    fn task(&self) -> Task {
        let status = match self.status {
            "starting" | "running" => TaskStatus::Working,
            "aborted" => TaskStatus::Cancelled,
            _ => TaskStatus::Completed,
        };
        let updated_at = self.stopped_at.unwrap_or(self.started_at);
        Task::new(self.run_id, status, self.started_at, updated_at)
            .with_status_message(format!("{}: {}", self.name, self.status))
            .with_ttl_ms(TIME_TO_LIVE_MS)
            .with_poll_interval_ms(POLL_INTERVAL_MS)
    }
}

impl Server {
    /// Whether anything here becomes a task.
    pub(super) fn has_tasks(&self) -> bool {
        let catalog = &self.shared.catalog;
        catalog.offers(Tool::WorkflowStart) && catalog.offers(Tool::WorkflowStatus)
    }

    /// The task that a started workflow becomes, where the client knows tasks.
    pub(super) fn started_task(
        &self,
        tool: Tool,
        reply: &Reply,
        context: &RequestContext<RoleServer>,
    ) -> Option<CreateTaskResult> {
        let is_wanted = tool == Tool::WorkflowStart
            && !reply.is_error
            && self.has_tasks()
            && is_stateless(context)
            && context
                .client_capabilities()
                .is_some_and(|capabilities| capabilities.supports_tasks());
        if !is_wanted {
            return None;
        }
        let run: Run<'_> = serde_json::from_str(&reply.result).ok()?;
        Some(CreateTaskResult::new(run.task()))
    }

    /// How a task is, with its result once it has ended.
    pub(super) async fn task(
        &self,
        task_id: &str,
        context: &RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        let run_id = self.run_of::<GetTaskMethod>(task_id, context).await?;
        let look = WorkflowStatus {
            run_id,
            wait: Default::default(),
            history: false,
        };
        let answer = self.run(context, look).await.map_err(not_found)?.0;
        let answer = serde_json::to_string(&answer).map_err(unreadable)?;
        let run: Run<'_> = serde_json::from_str(&answer).map_err(unreadable)?;
        let task = run.task();
        if task.status != TaskStatus::Completed {
            let payload = match task.status {
                TaskStatus::Cancelled => TaskPayload::Cancelled,
                _ => TaskPayload::Working,
            };
            return Ok(GetTaskResult::new(DetailedTask::new(task, payload)));
        }
        let result = Reply::of_result(answer.clone(), run.status != "succeeded");
        completed(task, &result.to_json(true), context)
    }

    /// Stops the run behind a task.
    pub(super) async fn stop_task(
        &self,
        task_id: &str,
        context: &RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let run_id = self.run_of::<CancelTaskMethod>(task_id, context).await?;
        let stop = WorkflowStop {
            run_id,
            reason: Some("its task was cancelled".to_owned()),
        };
        self.run(context, stop).await.map_err(not_found).map(drop)
    }

    /// Refuses input for a task: none of ours asks for any.
    pub(super) async fn refuse_input(
        &self,
        context: &RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.require_tasks::<UpdateTaskMethod>(context)?;
        self.require_caller(context).await?;
        let message = "no task of this server asks for input";
        Err(ErrorData::invalid_params(message, None))
    }

    /// The run behind a task. An id that is none of ours is as unknown as a run that is not there.
    async fn run_of<M: ConstString>(
        &self,
        task_id: &str,
        context: &RequestContext<RoleServer>,
    ) -> Result<Ulid, ErrorData> {
        self.require_tasks::<M>(context)?;
        match Ulid::from_string(task_id) {
            Ok(run_id) if run_id.to_string() == task_id => Ok(run_id),
            _ => {
                self.require_caller(context).await?;
                Err(unknown_task())
            }
        }
    }

    fn require_tasks<M: ConstString>(
        &self,
        context: &RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        match self.has_tasks() && is_stateless(context) {
            true => Ok(()),
            false => Err(ErrorData::method_not_found::<M>()),
        }
    }
}

/// A task with its result, exact to the digit where the transport takes text.
fn completed(
    task: Task,
    result: &str,
    context: &RequestContext<RoleServer>,
) -> Result<GetTaskResult, ErrorData> {
    let Some(slot) = ReplySlot::of(&context.extensions) else {
        let result = serde_json::from_str(result).map_err(unreadable)?;
        let payload = TaskPayload::Completed { result };
        return Ok(GetTaskResult::new(DetailedTask::new(task, payload)));
    };
    let result: &RawValue = serde_json::from_str(result).map_err(unreadable)?;
    let Value::Object(members) = json!(task) else {
        return Err(unreadable("a task is an object"));
    };
    let mut text = String::from("{\"resultType\":\"complete\"");
    for (name, value) in members {
        text.push_str(&format!(",{}:{value}", Value::String(name)));
    }
    slot.fill(format!("{text},\"result\":{result}}}"));
    // It is not looked at.
    Ok(GetTaskResult::new(DetailedTask::new(
        task,
        TaskPayload::Working,
    )))
}

fn unknown_task() -> ErrorData {
    ErrorData::invalid_params("there is no such task", None)
}

/// For a task, what is not there is a wrong parameter.
fn not_found(error: ErrorData) -> ErrorData {
    match error.code {
        ErrorCode::RESOURCE_NOT_FOUND => unknown_task(),
        _ => error,
    }
}

fn unreadable(error: impl std::fmt::Display) -> ErrorData {
    tracing::error!(%error, "a run does not fit what is told of a task");
    ErrorData::internal_error("an internal error", None)
}
