//! The work of Task states: tools of this server, the table, the bus and topics; each for the tenant whose run
//! it is and no other.
//!
//! On AWS the role of a machine decides what it may touch. Here nobody has a role, so the run's tenant, which
//! the execution's name says, decides: a machine reaches the tenant's shared values and partitions of its own
//! under the tenant's, sends events under the tenant's source alone, and publishes to no other tenant's topic.

mod request;

use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::{Map, Value, json};

use super::asl::{DynamoDbAction, PAYLOAD_BYTES_MAX, Resource, StateError, StateResult, error};
use super::work::{Work, Worker};
use crate::mesh::workflow::run::run_of;
use crate::mesh::workflow::{ToolCaller, ToolTask};
use crate::mesh::{Error, ErrorKind};
use crate::outbound::embedded::connector::Engines;
use crate::outbound::embedded::sns::Refusal;
use crate::outbound::embedded::wire::Answer;

/// What does the work, as far as it has been told.
#[derive(Default)]
pub(super) struct Integrations {
    engines: OnceLock<Weak<Engines>>,
    tools: OnceLock<Arc<dyn ToolCaller>>,
    table: String,
}

impl std::fmt::Debug for Integrations {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Integrations")
            .field("tools", &self.tools.get().is_some())
            .finish_non_exhaustive()
    }
}

impl Integrations {
    /// Work on the table of that name.
    pub(super) fn new(table: String) -> Self {
        Self {
            table,
            ..Self::default()
        }
    }

    /// The engines that answer.
    pub(super) fn set_engines(&self, engines: Weak<Engines>) {
        // They are joined once, where the cloud is opened.
        let _ = self.engines.set(engines);
    }

    /// Who calls tools; `false` where that is known already.
    pub(super) fn set_tools(&self, tools: Arc<dyn ToolCaller>) -> bool {
        self.tools.set(tools).is_ok()
    }

    async fn call_tool(&self, tool: &str, work: Work) -> StateResult<Value> {
        let (tenant, run_id) = run_of(&work.execution).ok_or_else(nobodys)?;
        let tools = self.tools.get().ok_or_else(|| {
            let cause = "This process runs no tools; start the workflow through the server.";
            StateError::new(ErrorKind::NotSupported.code(), cause)
        })?;
        let task = ToolTask {
            tenant,
            run_id,
            tool: tool.to_owned(),
            arguments: work.arguments.to_string(),
            step: work.step,
        };
        let result = tools.call(task).await.map_err(|error| told(&error))?;
        serde_json::from_str(&result)
            .map_err(|_| StateError::new(error::RUNTIME, "The tool's result is no JSON."))
    }

    fn engines(&self) -> StateResult<Arc<Engines>> {
        self.engines
            .get()
            .and_then(Weak::upgrade)
            .ok_or_else(|| StateError::new(error::TASK_FAILED, "The server is shutting down."))
    }

    async fn use_table(&self, action: DynamoDbAction, work: Work) -> StateResult<Value> {
        let (tenant, _) = run_of(&work.execution).ok_or_else(nobodys)?;
        request::check_item(&tenant, &self.table, action, &work.arguments)?;
        let operation = request::table_operation(action);
        let body = Bytes::from(work.arguments.to_string());
        let answer = self.engines()?.dynamodb.answer(operation, body).await;
        read(&answer, "DynamoDB")
    }

    async fn put_events(&self, work: Work) -> StateResult<Value> {
        let (tenant, _) = run_of(&work.execution).ok_or_else(nobodys)?;
        let body = request::events(&tenant, work.arguments)?.to_string();
        let answer = self
            .engines()?
            .eventbridge
            .answer("PutEvents", body.as_bytes());
        let taken = read(&answer, "EventBridge")?;
        if taken["FailedEntryCount"] != 0 {
            return Err(StateError::new(
                "EventBridge.FailedEntry",
                taken.to_string(),
            ));
        }
        Ok(taken)
    }

    async fn publish(&self, work: Work) -> StateResult<Value> {
        let (tenant, _) = run_of(&work.execution).ok_or_else(nobodys)?;
        let publication = request::publication(&tenant, &work.arguments)?;
        let engines = self.engines()?;
        let published =
            tokio::task::spawn_blocking(move || engines.sns.publish(&publication)).await;
        match published {
            Ok(Ok(id)) => Ok(json!({"MessageId": id})),
            Ok(Err(Refusal::Request(_, code, message))) => {
                Err(StateError::new(format!("SNS.{code}Exception"), message))
            }
            Ok(Err(Refusal::Storage(failure))) => {
                tracing::warn!(%failure, "a workflow could not publish");
                Err(StateError::new(
                    "SNS.InternalErrorException",
                    "The topic cannot be written.",
                ))
            }
            Err(_) => Err(StateError::new(
                "SNS.InternalErrorException",
                "The topic broke down.",
            )),
        }
    }
}

impl Worker for Integrations {
    fn work(&self, work: Work) -> BoxFuture<'_, StateResult<Value>> {
        async move {
            match work.resource.clone() {
                Resource::Tool(tool) => self.call_tool(&tool, work).await,
                Resource::DynamoDb(action) => self.use_table(action, work).await,
                Resource::PutEvents => self.put_events(work).await,
                Resource::Publish => self.publish(work).await,
            }
        }
        .boxed()
    }
}

/// The execution was not started through the server, so it is nobody's.
fn nobodys() -> StateError {
    StateError::new(
        error::PERMISSIONS,
        "The execution's name is none of a run of a workflow, so it can do nothing for anybody; start it by \
         workflow_start or a rule.",
    )
}

/// What a machine sees of an error: its code as the name, and what a caller would read.
fn told(error: &Error) -> StateError {
    let code = error.kind().code();
    let cause = match (error.kind(), error.fix_text()) {
        (ErrorKind::Internal, _) => "A fault of the server; its log says more.".to_owned(),
        (_, Some(fix)) => format!("{}; {fix}", error.message()),
        (_, None) => error.message().to_owned(),
    };
    StateError::new(code, cause)
}

/// What a service answered, or its error with the service's name before it.
fn read(answer: &Answer, service: &str) -> StateResult<Value> {
    if answer.body.len() > 4 * PAYLOAD_BYTES_MAX {
        return Err(StateError::new(
            error::DATA_LIMIT_EXCEEDED,
            format!("The answer is larger than {PAYLOAD_BYTES_MAX} bytes."),
        ));
    }
    let body: Value =
        serde_json::from_slice(&answer.body).unwrap_or_else(|_| Value::Object(Map::new()));
    if answer.status < 300 {
        return Ok(body);
    }
    let code = body["__type"].as_str().unwrap_or("InternalServerError");
    let code = code.rsplit('#').next().unwrap_or(code);
    let message = body["message"]
        .as_str()
        .or_else(|| body["Message"].as_str());
    Err(StateError::new(
        format!("{service}.{code}"),
        message.unwrap_or("The service failed."),
    ))
}

#[cfg(test)]
mod tests;
