//! Tasks that live as long as the process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent_mesh::mesh::Clock;
use rmcp::ErrorData;
use rmcp::model::{
    DetailedTask, InputRequests, InputResponses, JsonObject, Task, TaskPayload, TaskStatus,
};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

/// The most tasks that one process starts: a run of the suite needs a few dozen.
const TASKS_MAX: usize = 4096;

/// For how long a client may rely on a task.
const TIME_TO_LIVE: Duration = Duration::from_hours(1);

/// How often a client is asked to look.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// All tasks of this process.
#[derive(Clone)]
pub(crate) struct Tasks {
    entries: Arc<Mutex<HashMap<String, Entry>>>,
    clock: Arc<dyn Clock>,
}

struct Entry {
    task: Task,
    payload: TaskPayload,
    changed: Arc<Notify>,
    cancel: CancellationToken,
}

/// How a task ends.
pub(crate) enum Outcome {
    /// With the result of its tool.
    Done(JsonObject),
    /// With an error of the protocol.
    Broken(ErrorData),
}

/// A task, to itself.
pub(crate) struct Running {
    tasks: Tasks,
    id: String,
}

impl Tasks {
    /// None yet. They have their times by `clock`.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            entries: Arc::default(),
            clock,
        }
    }

    /// Starts `work` as a task, which can be asked for from now on.
    pub(crate) fn start<F>(&self, work: impl FnOnce(Running) -> F) -> Result<Task, ErrorData>
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let id = Ulid::generate().to_string();
        let now = self.clock.now().to_string();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let task = Task::new(&id, TaskStatus::Working, &now, &now)
            .with_ttl_ms(millis(TIME_TO_LIVE))
            .with_poll_interval_ms(millis(POLL_INTERVAL));
        let cancel = CancellationToken::new();
        let entry = Entry {
            task: task.clone(),
            payload: TaskPayload::Working,
            changed: Arc::default(),
            cancel: cancel.clone(),
        };
        {
            let mut entries = self.entries();
            if entries.len() >= TASKS_MAX {
                return Err(ErrorData::internal_error("there are too many tasks", None));
            }
            entries.insert(id.clone(), entry);
        }
        let work = work(Running {
            tasks: self.clone(),
            id: id.clone(),
        });
        let tasks = self.clone();
        tokio::spawn(async move {
            let payload = tokio::select! {
                outcome = work => payload(outcome),
                () = cancel.cancelled() => TaskPayload::Cancelled,
            };
            tasks.set(&id, payload);
        });
        Ok(task)
    }

    /// What has become of a task.
    pub(crate) fn get(&self, id: &str) -> Result<DetailedTask, ErrorData> {
        let entries = self.entries();
        let entry = entries.get(id).ok_or_else(unknown)?;
        Ok(DetailedTask::new(entry.task.clone(), entry.payload.clone()))
    }

    /// Takes answers to what a task has asked for; others are left aside.
    pub(crate) fn answer(&self, id: &str, responses: InputResponses) -> Result<(), ErrorData> {
        let mut entries = self.entries();
        let entry = entries.get_mut(id).ok_or_else(unknown)?;
        if let TaskPayload::InputRequired { input_requests } = &mut entry.payload {
            input_requests.retain(|key, _| !responses.contains_key(key));
            if input_requests.is_empty() {
                entry.payload = TaskPayload::Working;
                entry.changed.notify_one();
            }
        }
        Ok(())
    }

    /// Asks a task to end; one that has ended stays as it is.
    pub(crate) fn cancel(&self, id: &str) -> Result<(), ErrorData> {
        let entries = self.entries();
        let entry = entries.get(id).ok_or_else(unknown)?;
        entry.cancel.cancel();
        Ok(())
    }

    fn set(&self, id: &str, payload: TaskPayload) {
        let now = self.clock.now().to_string();
        if let Some(entry) = self.entries().get_mut(id) {
            entry.payload = payload;
            entry.task.last_updated_at = now;
        }
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    /// Asks the client, and waits until it has answered all.
    pub(crate) async fn ask(&self, input_requests: InputRequests) {
        let changed = {
            let entries = self.tasks.entries();
            entries
                .get(&self.id)
                .map(|entry| Arc::clone(&entry.changed))
        };
        self.tasks
            .set(&self.id, TaskPayload::InputRequired { input_requests });
        if let Some(changed) = changed {
            changed.notified().await;
        }
    }
}

fn payload(outcome: Outcome) -> TaskPayload {
    match outcome {
        Outcome::Done(result) => TaskPayload::Completed { result },
        Outcome::Broken(error) => {
            let error = match json!(error) {
                Value::Object(error) => error,
                _ => JsonObject::new(),
            };
            TaskPayload::Failed { error }
        }
    }
}

fn unknown() -> ErrorData {
    ErrorData::invalid_params("there is no such task", None)
}
