//! A Task state: one call, within its time.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Branch, Halt, Interpreter};
use crate::outbound::embedded::REGION;
use crate::outbound::embedded::states::asl::{self, Resource, State, StateError, Task};
use crate::outbound::embedded::states::event::Said;
use crate::outbound::embedded::states::work::Work;

/// How long a task may take that says nothing of it. Calls of tools end earlier by themselves.
const TIME_MAX_DEFAULT: Duration = Duration::from_secs(300);

impl Interpreter {
    /// Calls what the task is for; its result.
    pub(super) async fn task(
        &self,
        state: &State,
        task: &Task,
        branch: &mut Branch<'_>,
    ) -> Result<Value, Halt> {
        let selected = self.select(state, branch)?;
        let context = branch.context_now();
        let limits = Limits::of(
            task.timeout(&selected, &context)?,
            task.heartbeat(&selected, &context)?,
        );
        let arguments = self.evaluate(branch, |scope| state.arguments(selected, scope))?;
        let kind = ResourceName::of(&task.resource);
        let scheduled = kind
            .said("TaskScheduled", "taskScheduledEventDetails")
            .member("region", REGION)
            .payload("parameters", &arguments);
        let scheduled = self.journal.say(scheduled, branch.frame.last)?;
        let started = kind.said("TaskStarted", "taskStartedEventDetails");
        branch.frame.last = self.journal.say(started, scheduled)?;
        // Where the execution stands is on the disk before the call, so that a crash comes back to it.
        self.journal.settle().await;
        let step = self.step(branch, &arguments);
        let work = self.worker.work(Work {
            execution: self.name.clone(),
            resource: task.resource.clone(),
            arguments,
            step,
        });
        let done = match tokio::time::timeout(limits.time_max, work).await {
            Ok(done) => done,
            Err(_) => Err(limits.error()),
        };
        let said = match &done {
            Ok(result) => kind
                .said("TaskSucceeded", "taskSucceededEventDetails")
                .payload("output", result),
            Err(error) if error.is(asl::error::TIMEOUT) => kind
                .said("TaskTimedOut", "taskTimedOutEventDetails")
                .error(&error.error, &error.cause),
            Err(error) => kind
                .said("TaskFailed", "taskFailedEventDetails")
                .error(&error.error, &error.cause),
        };
        branch.frame.last = self.journal.say(said, branch.frame.last)?;
        let result = done?;
        asl::fit(&result, "the result of the task")?;
        Ok(result)
    }
}

/// How long a task may take, and what it fails with then. No task sends heartbeats here, so one that has to
/// has as long as one heartbeat.
struct Limits {
    time_max: Duration,
    name: &'static str,
}

impl Limits {
    fn of(timeout: Option<Duration>, heartbeat: Option<Duration>) -> Self {
        let timeout = timeout.unwrap_or(TIME_MAX_DEFAULT);
        match heartbeat {
            Some(heartbeat) if heartbeat < timeout => Self {
                time_max: heartbeat,
                name: asl::error::HEARTBEAT_TIMEOUT,
            },
            _ => Self {
                time_max: timeout,
                name: asl::error::TIMEOUT,
            },
        }
    }

    fn error(&self) -> StateError {
        let seconds = self.time_max.as_secs();
        StateError::new(
            self.name,
            format!("The task took longer than the {seconds} s that it has."),
        )
    }
}

/// What is called, as events name it.
struct ResourceName {
    service: String,
    action: String,
}

impl ResourceName {
    fn of(resource: &Resource) -> Self {
        let arn = resource.arn();
        let name = arn.rsplit(":::").next().unwrap_or_default();
        let (service, action) = name.split_once(':').unwrap_or((name, ""));
        Self {
            service: service.to_owned(),
            action: action.to_owned(),
        }
    }

    fn said(&self, kind: &str, details: &'static str) -> Said {
        Said::with(kind, details)
            .member("resourceType", json!(self.service))
            .member("resource", json!(self.action))
    }
}
