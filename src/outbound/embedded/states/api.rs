//! The operations of Step Functions, as their clients send them.

mod machines;
mod request;

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::asl::PAYLOAD_BYTES_MAX;
use super::definition::{Definition, Missing};
use super::disk::DiskFault;
use super::event::{Said, seconds};
use super::frame::Frame;
use super::interpreter::entered_event;
use super::name::{self, Astray, execution_arn, machine_arn, role_arn};
use super::runner::Runner;
use super::store::{self, Begun, Described, End, Listing, NewExecution};
use request::{GetExecutionHistory, ListExecutions, OneExecution, StartExecution, StopExecution};

use crate::mesh::Timestamp;
use crate::mesh::store::states::ExecutionStatus;
use crate::outbound::embedded::faults::Service;
use crate::outbound::embedded::wire::{Answer, INSUFFICIENT_STORAGE, JSON_1_0, storage_code};

/// The most entries of one page, and what is taken where none is asked for.
const PAGE_MAX: usize = 1_000;

/// What a page has where nobody says how much.
const PAGE_DEFAULT: usize = 100;

/// The most characters of an error's name that a caller gives.
const ERROR_CHARS_MAX: usize = 256;

/// The most characters of what a caller says of an error.
const CAUSE_CHARS_MAX: usize = 32_768;

/// How an operation fails.
#[derive(Debug)]
pub(super) enum Refusal {
    /// With an error of Step Functions.
    Error(&'static str, String),
    /// The disk refuses.
    Disk(DiskFault),
}

impl From<DiskFault> for Refusal {
    fn from(fault: DiskFault) -> Self {
        Self::Disk(fault)
    }
}

type Answered = Result<Value, Refusal>;

fn refusal<T>(code: &'static str, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Error(code, message.into()))
}

impl Refusal {
    fn into_answer(self) -> Answer {
        let fault = match self {
            Self::Error(code, message) => return Answer::json_error(JSON_1_0, 400, code, &message),
            Self::Disk(fault) => fault,
        };
        match fault {
            DiskFault::Busy => return Answer::throttled(Service::States),
            DiskFault::Storage(ref failure) => {
                if let Some((code, message)) = storage_code(failure.cause) {
                    return Answer::json_error(JSON_1_0, INSUFFICIENT_STORAGE, code, message);
                }
            }
            DiskFault::Locked | DiskFault::Newer | DiskFault::Broken => {}
        }
        tracing::warn!(%fault, "the executions of workflows cannot be used");
        Answer::server_error(Service::States)
    }
}

/// The operations that there are.
const OPERATIONS: [&str; 8] = [
    "StartExecution",
    "DescribeExecution",
    "StopExecution",
    "GetExecutionHistory",
    "ListExecutions",
    "DescribeStateMachine",
    "ListStateMachines",
    "ValidateStateMachineDefinition",
];

/// The operation of that name, or the empty name where there is none of it here.
pub(super) fn operation(name: &str) -> &'static str {
    OPERATIONS
        .into_iter()
        .find(|operation| *operation == name)
        .unwrap_or_default()
}

/// The answer to any operation.
pub(super) async fn answer(runner: &Arc<Runner>, operation: &str, body: &[u8]) -> Answer {
    runner.keep_looking();
    let answered = match operation {
        "StartExecution" => start(runner, body).await,
        "DescribeExecution" => describe(runner, body).await,
        "StopExecution" => stop(runner, body).await,
        "GetExecutionHistory" => history(runner, body).await,
        "ListExecutions" => list(runner, body).await,
        "DescribeStateMachine" => machines::describe_machine(runner, body).await,
        "ListStateMachines" => machines::list_machines(runner, body).await,
        "ValidateStateMachineDefinition" => machines::validate(body).await,
        _ => refusal(
            "UnknownOperationException",
            "The embedded cloud does not have this operation.",
        ),
    };
    match answered {
        Ok(answer) => Answer::ok(JSON_1_0, answer.to_string().into_bytes()),
        Err(refusal) => refusal.into_answer(),
    }
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        Refusal::Error(
            "SerializationException",
            format!("The request is malformed: {error}."),
        )
    })
}

fn machine_name(arn: &str) -> Result<&str, Refusal> {
    name::machine_of(arn).map_err(|astray| match astray {
        Astray::Invalid => Refusal::Error(
            "InvalidArn",
            format!("Invalid Arn: 'Resource type not valid: {arn}'"),
        ),
        Astray::Elsewhere => no_machine(arn),
    })
}

fn execution_names(arn: &str) -> Result<(&str, &str), Refusal> {
    name::execution_of(arn).map_err(|astray| match astray {
        Astray::Invalid => Refusal::Error(
            "InvalidArn",
            format!("Invalid Arn: 'Resource type not valid: {arn}'"),
        ),
        Astray::Elsewhere => no_execution(arn),
    })
}

fn no_machine(arn: &str) -> Refusal {
    Refusal::Error(
        "StateMachineDoesNotExist",
        format!("State Machine Does Not Exist: '{arn}'"),
    )
}

fn no_execution(arn: &str) -> Refusal {
    Refusal::Error(
        "ExecutionDoesNotExist",
        format!("Execution Does Not Exist: '{arn}'"),
    )
}

/// What the absence of a definition means to who wants to use it.
fn missing(arn: &str, missing: Missing) -> Refusal {
    match missing {
        Missing::File => no_machine(arn),
        Missing::Io(error) => Refusal::Disk(DiskFault::Storage(error.into())),
        wrong => Refusal::Error(
            "InvalidDefinition",
            format!("Invalid State Machine Definition: '{wrong}'"),
        ),
    }
}

/// Does `work` where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Refusal::Disk(DiskFault::Broken))
}

async fn start(runner: &Arc<Runner>, body: &[u8]) -> Answered {
    let request: StartExecution = parse(body)?;
    let machine = machine_name(&request.state_machine_arn)?.to_owned();
    let name = request.name.unwrap_or_else(|| Uuid::new_v4().to_string());
    if !name::is_execution_name(&name) {
        return refusal("InvalidName", format!("Invalid Name: '{name}'"));
    }
    let input = request.input.unwrap_or_else(|| "{}".to_owned());
    if input.len() > PAYLOAD_BYTES_MAX {
        return refusal(
            "ValidationException",
            format!(
                "1 validation error detected: Value at 'input' failed to satisfy constraint: Member must have length less than or equal to {PAYLOAD_BYTES_MAX}"
            ),
        );
    }
    let value: Value = serde_json::from_str(&input).map_err(|error| {
        Refusal::Error(
            "InvalidExecutionInput",
            format!("Invalid State Machine Execution Input: '{error}'"),
        )
    })?;
    if runner.is_full() {
        return refusal(
            "ExecutionLimitExceeded",
            format!("{} executions run already.", super::runner::RUNNING_MAX),
        );
    }
    let (reader, wanted) = (Arc::clone(runner), machine.clone());
    let definition = blocking(move || reader.definitions.read(&wanted))
        .await?
        .map_err(|why| missing(&request.state_machine_arn, why))?;
    let now = runner.clock.now();
    let arn = execution_arn(&machine, &name);
    let new = new_execution(machine, name, &definition, input, value, now)?;
    let started_at = match runner.begin(new).await? {
        Begun::First(_) => now,
        Begun::Again(started_at) => started_at,
        Begun::Taken => {
            return refusal(
                "ExecutionAlreadyExists",
                format!("Execution Already Exists: '{arn}'"),
            );
        }
    };
    Ok(json!({"executionArn": arn, "startDate": seconds(started_at)}))
}

/// An execution that stands in the first state of its machine.
fn new_execution(
    machine: String,
    name: String,
    definition: &Definition,
    input: String,
    value: Value,
    now: Timestamp,
) -> Result<NewExecution, Refusal> {
    let flow = &definition.machine.flow;
    let Some(first) = flow.states.get(&flow.start_at) else {
        return refusal("InvalidDefinition", "Invalid State Machine Definition");
    };
    let started = Said::with("ExecutionStarted", "executionStartedEventDetails")
        .member("input", input.as_str())
        .member("roleArn", role_arn(&machine));
    let events = vec![
        started.event(1, now, 0),
        entered_event(first, &value).event(2, now, 1),
    ];
    let deadline = definition.machine.timeout_seconds;
    Ok(NewExecution {
        machine,
        name,
        definition: definition.hash,
        definition_text: definition.text.to_string(),
        input,
        seed: *Uuid::new_v4().as_bytes(),
        started_at: now,
        deadline: deadline.map(|seconds| now.plus(std::time::Duration::from_secs(seconds))),
        owner: None,
        frame: Frame {
            state: flow.start_at.clone(),
            input: value,
            entered_ms: now.as_millis(),
            entered: 2,
            last: 2,
            begun: false,
            retries: Vec::new(),
            due_ms: None,
            output: None,
        },
        events,
    })
}

async fn describe(runner: &Arc<Runner>, body: &[u8]) -> Answered {
    let request: OneExecution = parse(body)?;
    let (machine, name) = execution_names(&request.execution_arn)?;
    let (machine, name) = (machine.to_owned(), name.to_owned());
    let described = runner
        .disk
        .read(move |connection| store::describe(connection, &machine, &name))
        .await?
        .flatten()
        .ok_or_else(|| no_execution(&request.execution_arn))?;
    let mut answer = summary(&described);
    let mut insert = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            answer.insert(name.to_owned(), value);
        }
    };
    insert("input", Some(described.input.into()));
    insert("inputDetails", Some(json!({"included": true})));
    let has_output = described.output.is_some();
    insert("output", described.output.map(Value::from));
    insert(
        "outputDetails",
        has_output.then(|| json!({"included": true})),
    );
    insert("error", described.error.map(Value::from));
    insert("cause", described.cause.map(Value::from));
    Ok(Value::Object(answer))
}

/// What listings tell of an execution too.
fn summary(described: &Described) -> Map<String, Value> {
    let mut summary = Map::new();
    let mut insert = |name: &str, value: Value| summary.insert(name.to_owned(), value);
    let (machine, name) = (&described.machine, &described.name);
    insert("executionArn", execution_arn(machine, name).into());
    insert("stateMachineArn", machine_arn(machine).into());
    insert("name", name.as_str().into());
    insert("status", status_name(described.status).into());
    insert("startDate", seconds(described.started_at).into());
    if let Some(stopped_at) = described.stopped_at {
        insert("stopDate", seconds(stopped_at).into());
    }
    insert("redriveCount", 0.into());
    summary
}

fn status_name(status: ExecutionStatus) -> String {
    status.name().to_ascii_uppercase()
}

async fn stop(runner: &Arc<Runner>, body: &[u8]) -> Answered {
    let request: StopExecution = parse(body)?;
    let (machine, name) = execution_names(&request.execution_arn)?;
    let (machine, name) = (machine.to_owned(), name.to_owned());
    let error = cut(request.error, ERROR_CHARS_MAX, "error")?;
    let cause = cut(request.cause, CAUSE_CHARS_MAX, "cause")?;
    if !runner.disk.exists() {
        return Err(no_execution(&request.execution_arn));
    }
    let mut said = Said::with("ExecutionAborted", "executionAbortedEventDetails");
    for (name, text) in [("error", &error), ("cause", &cause)] {
        if let Some(text) = text {
            said = said.member(name, text.as_str());
        }
    }
    let end = End {
        status: ExecutionStatus::Aborted,
        output: None,
        error,
        cause,
    };
    let now = runner.clock.now();
    let stopped = runner
        .disk
        .write(move |connection| {
            let event = |id| said.event(id, now, id - 1);
            Ok(store::stop(connection, &machine, &name, &end, event, now)?)
        })
        .await?;
    let Some((id, stopped_at)) = stopped else {
        return Err(no_execution(&request.execution_arn));
    };
    runner.cancel(id);
    Ok(json!({"stopDate": seconds(stopped_at)}))
}

fn cut(text: Option<String>, most: usize, member: &str) -> Result<Option<String>, Refusal> {
    match text {
        Some(text) if text.chars().count() > most => refusal(
            "ValidationException",
            format!(
                "1 validation error detected: Value at '{member}' failed to satisfy constraint: Member must have length less than or equal to {most}"
            ),
        ),
        text => Ok(text),
    }
}

/// The limit of a page and where it begins.
fn page(limit: Option<usize>, token: Option<&str>) -> Result<(usize, Option<i64>), Refusal> {
    let limit = match limit {
        None | Some(0) => PAGE_DEFAULT,
        Some(limit) if limit <= PAGE_MAX => limit,
        Some(_) => {
            return refusal(
                "ValidationException",
                format!(
                    "1 validation error detected: Value at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to {PAGE_MAX}"
                ),
            );
        }
    };
    let from = token.map(str::parse).transpose();
    match from {
        Ok(from) => Ok((limit, from)),
        Err(_) => refusal("InvalidToken", "Invalid Token"),
    }
}

async fn history(runner: &Arc<Runner>, body: &[u8]) -> Answered {
    let request: GetExecutionHistory = parse(body)?;
    let (machine, name) = execution_names(&request.execution_arn)?;
    let (machine, name) = (machine.to_owned(), name.to_owned());
    let (limit, after) = page(request.max_results, request.next_token.as_deref())?;
    let newest_first = request.reverse_order.unwrap_or_default();
    let with_data = request.include_execution_data.unwrap_or(true);
    let mut events = runner
        .disk
        .read(move |connection| {
            store::history(connection, &machine, &name, newest_first, after, limit + 1)
        })
        .await?
        .flatten()
        .ok_or_else(|| no_execution(&request.execution_arn))?;
    let has_more = events.len() > limit;
    events.truncate(limit);
    let next = events.last().filter(|_| has_more).map(|last| last.id);
    let events: Vec<Value> = events.iter().map(|event| event.answer(with_data)).collect();
    Ok(with_token(json!({"events": events}), next))
}

fn with_token(mut answer: Value, next: Option<i64>) -> Value {
    if let (Some(next), Some(answer)) = (next, answer.as_object_mut()) {
        answer.insert("nextToken".to_owned(), next.to_string().into());
    }
    answer
}

async fn list(runner: &Arc<Runner>, body: &[u8]) -> Answered {
    let request: ListExecutions = parse(body)?;
    let Some(arn) = request.state_machine_arn else {
        return refusal(
            "ValidationException",
            "The embedded cloud lists the executions of a stateMachineArn.",
        );
    };
    let machine = machine_name(&arn)?.to_owned();
    let status = match &request.status_filter {
        None => None,
        Some(wanted) => Some(status_of(wanted)?),
    };
    let (limit, before) = page(request.max_results, request.next_token.as_deref())?;
    let listing = Listing {
        machine: Some(machine.clone()),
        status,
        before,
        limit: limit + 1,
    };
    let mut found = runner
        .disk
        .read(move |connection| store::list(connection, &listing))
        .await?
        .unwrap_or_default();
    if found.is_empty() {
        let reader = Arc::clone(runner);
        if let Err(why) = blocking(move || reader.definitions.text(&machine)).await? {
            return Err(missing(&arn, why));
        }
    }
    let has_more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| has_more).map(|(id, _)| *id);
    let executions: Vec<_> = found
        .iter()
        .map(|(_, described)| summary(described))
        .collect();
    Ok(with_token(json!({"executions": executions}), next))
}

fn status_of(name: &str) -> Result<ExecutionStatus, Refusal> {
    ExecutionStatus::ALL
        .into_iter()
        .find(|status| status_name(*status) == name)
        .ok_or_else(|| {
            Refusal::Error(
                "ValidationException",
                format!("1 validation error detected: Value '{name}' at 'statusFilter' failed to satisfy constraint"),
            )
        })
}
