//! Tools called by running workflows of the embedded cloud: parsed, permitted, limited and recorded like a
//! client's calls.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::server::Shared;
use super::tool::{self, CallFault, Reply, idempotency};
use crate::mesh::call::request::Request;
use crate::mesh::call::tool::Tool;
use crate::mesh::store::idempotency::{KEY_BYTES_MAX, arguments_hash};
use crate::mesh::tenant::{IdentityError, TenantId};
use crate::mesh::workflow::{ToolCaller, ToolTask};
use crate::mesh::{Error, ErrorKind};

/// The most tools that the workflows of one tenant call at once: a quarter of the calls that a tenant may
/// have in flight by default, so that its clients find room beside a backlog of runs.
const CALLS_MAX: usize = 16;

/// How often a call that a limit refused, and that had no effect therefore, is made again at the most.
const REFUSALS_MAX: u32 = 100;

/// The pause after a refusal that names none.
const PAUSE: Duration = Duration::from_millis(250);

/// The longest pause after a refusal.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The tools of this process, for its workflows. It keeps nothing alive.
pub struct RunTools {
    shared: Weak<Shared>,
    /// Of tenants whose workflows call tools at the moment.
    tenants: Mutex<HashMap<TenantId, Arc<Semaphore>>>,
}

impl RunTools {
    /// The tools that sessions over `shared` have.
    pub fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::downgrade(shared),
            tenants: Mutex::default(),
        }
    }

    /// What the workflows of `tenant` share; what nobody uses any more is forgotten.
    fn places(&self, tenant: &TenantId) -> Arc<Semaphore> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        tenants.retain(|_, places| Arc::strong_count(places) > 1);
        let places = tenants.entry(tenant.clone());
        Arc::clone(places.or_insert_with(|| Arc::new(Semaphore::new(CALLS_MAX))))
    }

    /// Calls the tool once.
    async fn attempt(&self, task: &ToolTask) -> Result<String, Error> {
        let Some(shared) = self.shared.upgrade() else {
            return Err(Error::new(
                ErrorKind::Overloaded,
                "the server is shutting down",
            ));
        };
        let tool = Tool::named(&task.tool).filter(|&tool| shared.catalog.offers(tool));
        let Some(tool) = tool else {
            return Err(not_offered(&task.tool));
        };
        let presented = shared.backplane.runs.identity(task).await?;
        let arguments = with_key(tool, task);
        let request = Request::new(presented);
        let reply = tool::call(&shared.backplane, tool, request, Some(&arguments)).await;
        result_of(reply)
    }
}

impl ToolCaller for RunTools {
    fn call(&self, task: ToolTask) -> BoxFuture<'_, Result<String, Error>> {
        async move {
            let places = self.places(&task.tenant);
            let _place = places.acquire().await;
            let mut refusals = 0;
            loop {
                match self.attempt(&task).await {
                    // Limits refuse before a tool has begun; a workflow has the time to come again.
                    Err(error) if is_refusal(error.kind()) && refusals < REFUSALS_MAX => {
                        refusals += 1;
                        tokio::time::sleep(error.wait().unwrap_or(PAUSE).min(PAUSE_MAX)).await;
                    }
                    ended => return ended,
                }
            }
        }
        .boxed()
    }

    fn only_tenant(&self) -> Option<TenantId> {
        let shared = self.shared.upgrade()?;
        shared.backplane.resolver.only_tenant().cloned()
    }
}

/// Whether a call of that outcome was refused for the moment.
fn is_refusal(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::RateLimited | ErrorKind::Overloaded)
}

fn not_offered(name: &str) -> Error {
    let shown: String = name.chars().take(64).collect();
    Error::new(
        ErrorKind::NotFound,
        format!("this server offers no tool `{shown}`"),
    )
    .fix("Use a tool of tools/list; --toolsets and --read-only narrow it, for workflows too.")
}

/// The arguments of a task, with a key for the step where the tool takes one and was given none.
fn with_key<'task>(tool: Tool, task: &'task ToolTask) -> Cow<'task, str> {
    idempotency::with_key(tool, &task.arguments, || step_key(task))
}

/// The key of a step: no other step of any run has it.
fn step_key(task: &ToolTask) -> String {
    let key = format!("{}/{}", task.run_id, task.step);
    match key.len() <= KEY_BYTES_MAX {
        true => key,
        false => format!("{}/{}", task.run_id, arguments_hash(&task.step)),
    }
}

/// The result's text, or the error that it tells.
fn result_of(reply: Result<Reply, CallFault>) -> Result<String, Error> {
    match reply {
        Ok(reply) if reply.is_error => Err(reply
            .upstream_error()
            .unwrap_or_else(|| error_of(&reply.shown()))),
        Ok(reply) => Ok(reply.shown().into_owned()),
        Err(CallFault::Cursor(error)) => Err(Error::invalid("cursor", error.to_string())),
        Err(CallFault::Identity(error)) => Err(refused(&error)),
    }
}

/// A run that may not call at all, for instance since its tenant is suspended.
fn refused(error: &IdentityError) -> Error {
    Error::new(ErrorKind::PermissionDenied, error.to_string()).fix(error.fix())
}

/// The error that stands in the result of a tool that failed.
fn error_of(result: &str) -> Error {
    let told: Value = serde_json::from_str(result).unwrap_or_default();
    let told = &told["error"];
    let text = |name: &str| told[name].as_str();
    let kind = ErrorKind::ALL
        .into_iter()
        .find(|kind| text("code") == Some(kind.code()))
        .unwrap_or(ErrorKind::Internal);
    let message = text("message").unwrap_or("a tool failed without a word");
    let mut error = Error::new(kind, message);
    if let Some(fix) = text("fix") {
        error = error.fix(fix);
    }
    if let Some(wait) = told["retry_after_ms"].as_u64() {
        error = error.retry_after(Duration::from_millis(wait));
    }
    if let Some(details) = told["details"].as_object() {
        for (name, value) in details {
            error = error.detail(name, value.clone());
        }
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(tool: &str, arguments: &str, step: &str) -> ToolTask {
        ToolTask {
            tenant: "acme".parse().unwrap(),
            run_id: ulid::Ulid(1),
            tool: tool.to_owned(),
            arguments: arguments.to_owned(),
            step: step.to_owned(),
        }
    }

    #[test]
    fn a_step_is_the_idempotency_key_where_a_tool_takes_one_and_was_given_none() {
        let key = format!("{}/s1", ulid::Ulid(1));
        for (given, expected) in [
            ("{}", format!(r#"{{"idempotency_key":"{key}"}}"#)),
            (
                r#" {"name": "a", "input": 1.50} "#,
                format!(r#"{{"idempotency_key":"{key}","name": "a", "input": 1.50}}"#),
            ),
        ] {
            let task = task("workflow_start", given, "s1");
            assert_eq!(with_key(Tool::WorkflowStart, &task), expected, "{given}");
        }
        for given in [
            r#"{"idempotency_key":"mine"}"#,
            r#"{"idempotencyKey":"x"}"#,
            "[",
            "1",
        ] {
            let task = task("workflow_start", given, "s1");
            assert_eq!(with_key(Tool::WorkflowStart, &task), given);
        }
        let get = task("kv_get", "{}", "s1");
        assert_eq!(with_key(Tool::KvGet, &get), "{}");
    }

    #[test]
    fn the_key_of_a_long_step_fits_and_differs_from_that_of_another() {
        let long = |end: char| step_key(&task("x", "{}", &format!("{}{end}", "s".repeat(300))));
        assert!(long('a').len() <= KEY_BYTES_MAX);
        assert_ne!(long('a'), long('b'));
    }

    #[test]
    fn a_failed_tool_is_the_error_that_it_tells() {
        let error = error_of(
            r#"{"error":{"code":"CONFLICT","message":"no","fix":"do","retry_after_ms":5,"details":{"a":1}}}"#,
        );
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert_eq!((error.message(), error.fix_text()), ("no", Some("do")));
        assert_eq!(error.wait(), Some(Duration::from_millis(5)));
        assert_eq!(error.details()["a"], 1);
        assert_eq!(error_of("{}").kind(), ErrorKind::Internal);
    }
}
