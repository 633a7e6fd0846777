//! Executions of state machines on Step Functions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_sfn::error::ProvideErrorMetadata;
use aws_sdk_sfn::operation::describe_execution::DescribeExecutionOutput;
use aws_sdk_sfn::primitives::DateTime;
use aws_sdk_sfn::types::{HistoryEvent, StateMachineType};
use futures::FutureExt;

use super::attempts::LostAnswers;
use super::clients::Connection;
use super::error::{Part, express, fault};
use crate::mesh::store::states::{
    Execution, ExecutionEvent, ExecutionStatus, NewExecution, PAYLOAD_BYTES_MAX, Started,
};
use crate::mesh::store::{Reply, States};
use crate::mesh::tenant::TenantId;
use crate::mesh::{Error, ErrorKind, Timestamp};

/// How long it is remembered that a machine is a standard one.
const TYPE_AGE_MAX: Duration = Duration::from_secs(600);

/// The most machines whose type is remembered.
const TYPES_MAX: usize = 1024;

/// The most pages of a history that are read for one answer.
const HISTORY_PAGES_MAX: usize = 10;

/// The most steps that Step Functions gives on one page.
const HISTORY_PAGE_MAX: u32 = 1000;

/// The longest reason for a stop that Step Functions takes, in characters.
const REASON_CHARS_MAX: usize = 32_768;

const NANOS_PER_MILLI: i128 = 1_000_000;

/// What an execution's ARN has in the place of `stateMachine`.
const EXECUTION: &str = ":execution:";

/// Step Functions by a [`Connection`].
#[derive(Clone, Debug)]
pub struct AwsStates {
    connection: Arc<Connection>,
    standard: Arc<Mutex<HashMap<String, Duration>>>,
}

impl AwsStates {
    /// Step Functions by `connection`.
    pub fn new(connection: Arc<Connection>) -> Self {
        Self {
            connection,
            standard: Arc::default(),
        }
    }

    async fn start_execution(
        &self,
        tenant: &TenantId,
        execution: &NewExecution,
    ) -> Result<Started, Error> {
        if execution.input.len() > PAYLOAD_BYTES_MAX {
            return Err(too_large());
        }
        let standard = self.demand_standard(tenant, &execution.machine).await;
        standard.map_err(Error::not_done)?;
        let lost = LostAnswers::default();
        let client = self.connection.states(Some(tenant)).await;
        // A start whose answer was lost is repeated under the same name with the same input, which starts
        // nothing twice.
        let answer = client
            .start_execution()
            .state_machine_arn(&execution.machine)
            .name(&execution.name)
            .input(&execution.input)
            .customize()
            .interceptor(lost.clone())
            .send()
            .await;
        match answer {
            Ok(started) if !started.execution_arn.contains(EXECUTION) => Err(express()),
            Ok(started) => Ok(Started::Running {
                execution: started.execution_arn,
                started_at: timestamp(&started.start_date),
            }),
            Err(error) if error.code() == Some("ExecutionAlreadyExists") => {
                Ok(Started::AlreadyExists {
                    execution: execution_arn(&execution.machine, &execution.name),
                })
            }
            Err(error) => Err(lost.fault(Part::States, error)),
        }
    }

    /// Refuses an express machine. It would start, and then nobody could say how it is.
    async fn demand_standard(&self, tenant: &TenantId, machine: &str) -> Result<(), Error> {
        let now = self.connection.clock().monotonic();
        let remembered = self
            .standard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(machine)
            .is_some_and(|seen| now.saturating_sub(*seen) < TYPE_AGE_MAX);
        if remembered {
            return Ok(());
        }
        match self.look(Some(tenant), machine).await {
            // Who may start a machine need not be allowed to look at it; the start will tell as well.
            Err(error) if error.kind() == ErrorKind::AwsCredentials => return Ok(()),
            looked => looked?,
        }
        let mut standard = self.standard.lock().unwrap_or_else(PoisonError::into_inner);
        if standard.len() >= TYPES_MAX {
            standard.clear();
        }
        standard.insert(machine.to_owned(), now);
        Ok(())
    }

    async fn look(&self, tenant: Option<&TenantId>, machine: &str) -> Result<(), Error> {
        let client = self.connection.states(tenant).await;
        let found = client
            .describe_state_machine()
            .state_machine_arn(machine)
            .send()
            .await
            .map_err(|error| fault(Part::States, error))?;
        if found.r#type == StateMachineType::Express {
            return Err(express());
        }
        Ok(())
    }

    async fn describe_execution(
        &self,
        tenant: &TenantId,
        execution: &str,
    ) -> Result<Option<Execution>, Error> {
        let client = self.connection.states(Some(tenant)).await;
        let answer = client
            .describe_execution()
            .execution_arn(execution)
            .send()
            .await;
        match answer {
            Ok(found) => read(found).map(Some),
            Err(error) if is_unknown(&error) => Ok(None),
            Err(error) => Err(fault(Part::States, error)),
        }
    }

    async fn stop_execution(
        &self,
        tenant: &TenantId,
        execution: &str,
        reason: Option<&str>,
    ) -> Result<bool, Error> {
        let client = self.connection.states(Some(tenant)).await;
        let lost = LostAnswers::default();
        let cause = reason.map(|reason| reason.chars().take(REASON_CHARS_MAX).collect());
        let answer = client
            .stop_execution()
            .execution_arn(execution)
            .set_cause(cause)
            .customize()
            .interceptor(lost.clone())
            .send()
            .await;
        match answer {
            Ok(_) => Ok(true),
            Err(error) if is_unknown(&error) => Ok(false),
            // One that has ended by itself meanwhile is not to be stopped any more.
            Err(error) if error.code() == Some("ValidationException") => {
                let told = lost.fault(Part::States, error);
                match self.describe_execution(tenant, execution).await? {
                    Some(found) if found.status.has_ended() => Ok(true),
                    _ => Err(told),
                }
            }
            Err(error) => Err(lost.fault(Part::States, error)),
        }
    }

    async fn read_history(
        &self,
        tenant: &TenantId,
        execution: &str,
        limit: u32,
    ) -> Result<Vec<ExecutionEvent>, Error> {
        let client = self.connection.states(Some(tenant)).await;
        let wanted = limit.clamp(1, HISTORY_PAGE_MAX);
        let page = i32::try_from(wanted).unwrap_or(i32::MAX);
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        let mut steps: Vec<ExecutionEvent> = Vec::new();
        let mut next = None;
        for _ in 0..HISTORY_PAGES_MAX {
            let answer = client
                .get_execution_history()
                .execution_arn(execution)
                .reverse_order(true)
                .max_results(page)
                .include_execution_data(false)
                .set_next_token(next)
                .send()
                .await;
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) if is_unknown(&error) => return Ok(Vec::new()),
                Err(error) => return Err(fault(Part::States, error)),
            };
            steps.extend(answer.events.into_iter().map(step));
            next = answer.next_token;
            if steps.len() >= wanted || next.is_none() {
                break;
            }
        }
        steps.truncate(wanted);
        Ok(steps)
    }
}

impl States for AwsStates {
    fn start<'a>(
        &'a self,
        tenant: &'a TenantId,
        execution: &'a NewExecution,
    ) -> Reply<'a, Started> {
        self.start_execution(tenant, execution).boxed()
    }

    fn describe<'a>(
        &'a self,
        tenant: &'a TenantId,
        execution: &'a str,
    ) -> Reply<'a, Option<Execution>> {
        self.describe_execution(tenant, execution).boxed()
    }

    fn stop<'a>(
        &'a self,
        tenant: &'a TenantId,
        execution: &'a str,
        reason: Option<&'a str>,
    ) -> Reply<'a, bool> {
        self.stop_execution(tenant, execution, reason).boxed()
    }

    fn history<'a>(
        &'a self,
        tenant: &'a TenantId,
        execution: &'a str,
        limit: u32,
    ) -> Reply<'a, Vec<ExecutionEvent>> {
        self.read_history(tenant, execution, limit).boxed()
    }

    fn execution(&self, machine: &str, name: &str) -> String {
        execution_arn(machine, name)
    }

    fn check<'a>(&'a self, machine: &'a str) -> Reply<'a, ()> {
        self.look(None, machine).boxed()
    }
}

/// The ARN of an execution. That of a version or an alias bears the machine's own name all the same.
fn execution_arn(machine: &str, name: &str) -> String {
    match machine.split_once(":stateMachine:") {
        Some((scope, rest)) => {
            let machine = rest.split(':').next().unwrap_or(rest);
            format!("{scope}{EXECUTION}{machine}:{name}")
        }
        None => format!("{machine}:{name}"),
    }
}

/// Whether AWS knows no such execution; a name that it could never have given counts as unknown too.
fn is_unknown(error: &impl ProvideErrorMetadata) -> bool {
    matches!(
        error.code(),
        Some("ExecutionDoesNotExist" | "InvalidArn" | "ResourceNotFound")
    )
}

fn too_large() -> Error {
    Error::new(
        ErrorKind::TooLarge,
        format!(
            "the input is larger than the {} KiB that a workflow takes",
            PAYLOAD_BYTES_MAX >> 10
        ),
    )
    .detail("limit", PAYLOAD_BYTES_MAX)
    .fix("store large content as an artifact and pass its key")
}

fn read(found: DescribeExecutionOutput) -> Result<Execution, Error> {
    let status = match found.status.as_str() {
        // What is redriven goes on where it failed.
        "RUNNING" | "PENDING_REDRIVE" => ExecutionStatus::Running,
        "SUCCEEDED" => ExecutionStatus::Succeeded,
        "FAILED" => ExecutionStatus::Failed,
        "TIMED_OUT" => ExecutionStatus::TimedOut,
        "ABORTED" => ExecutionStatus::Aborted,
        other => {
            return Err(Error::internal(format!(
                "Step Functions knows a status that we do not: {other}"
            )));
        }
    };
    Ok(Execution {
        status,
        started_at: timestamp(&found.start_date),
        stopped_at: found.stop_date.as_ref().map(timestamp),
        // Emulators put out the error as well.
        output: found
            .output
            .filter(|_| status == ExecutionStatus::Succeeded),
        error: found.error.filter(|text| !text.is_empty()),
        cause: found.cause.filter(|text| !text.is_empty()),
    })
}

/// Times come as fractions of seconds in binary, so that the last millisecond must be rounded.
fn timestamp(time: &DateTime) -> Timestamp {
    let millis = (time.as_nanos() + NANOS_PER_MILLI / 2).div_euclid(NANOS_PER_MILLI);
    Timestamp::from_millis(i64::try_from(millis).unwrap_or_default())
}

fn step(event: HistoryEvent) -> ExecutionEvent {
    let state = match (
        &event.state_entered_event_details,
        &event.state_exited_event_details,
    ) {
        (Some(entered), _) => Some(entered.name.clone()),
        (None, Some(exited)) => Some(exited.name.clone()),
        (None, None) => None,
    };
    ExecutionEvent {
        id: event.id,
        time: timestamp(&event.timestamp),
        kind: event.r#type.as_str().to_owned(),
        error: error_of(&event),
        state,
    }
}

/// The name of the error that a step tells of; each kind of step has a place of its own for it.
fn error_of(event: &HistoryEvent) -> Option<String> {
    macro_rules! first {
        ($($details:ident),* $(,)?) => {
            None$(.or(event.$details.as_ref().and_then(|details| details.error.as_ref())))*
        };
    }
    let error: Option<&String> = first![
        task_failed_event_details,
        task_timed_out_event_details,
        task_start_failed_event_details,
        task_submit_failed_event_details,
        execution_failed_event_details,
        execution_aborted_event_details,
        execution_timed_out_event_details,
        lambda_function_failed_event_details,
        lambda_function_timed_out_event_details,
        lambda_function_start_failed_event_details,
        lambda_function_schedule_failed_event_details,
        activity_failed_event_details,
        activity_timed_out_event_details,
        activity_schedule_failed_event_details,
        map_run_failed_event_details,
        evaluation_failed_event_details,
    ];
    error.filter(|text| !text.is_empty()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_execution_bears_the_machines_name_without_version_or_alias() {
        let machine = "arn:aws:states:us-west-2:123456789012:stateMachine:refund";
        for machine in [
            machine.to_owned(),
            format!("{machine}:7"),
            format!("{machine}:PROD"),
        ] {
            assert_eq!(
                execution_arn(&machine, "run-1"),
                "arn:aws:states:us-west-2:123456789012:execution:refund:run-1"
            );
        }
    }
}
