//! The seam to Step Functions: executions of state machines.

use super::Reply;
use crate::mesh::Timestamp;
use crate::mesh::tenant::TenantId;

/// The longest name of an execution, in characters of `[A-Za-z0-9_-]`.
pub const EXECUTION_NAME_MAX: usize = 80;

/// The most bytes of an execution's input or output.
pub const PAYLOAD_BYTES_MAX: usize = 256 << 10;

/// An execution that is to be started. Its name is its identity within the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewExecution {
    /// The state machine's ARN, as the operator gave it; it may name a version or an alias.
    pub machine: String,
    /// The execution's name: 1 to [`EXECUTION_NAME_MAX`] of `[A-Za-z0-9_-]`.
    pub name: String,
    /// The input: JSON text of at most [`PAYLOAD_BYTES_MAX`] bytes.
    pub input: String,
}

/// How a start ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Started {
    /// It runs, or ran already under the same name with the same input.
    Running {
        /// The ARN by which it is asked for.
        execution: String,
        /// When it began.
        started_at: Timestamp,
    },
    /// An execution of that name has been started before, with whatever input, and has ended or differs.
    AlreadyExists {
        /// The ARN by which it is asked for.
        execution: String,
    },
}

/// How an execution is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExecutionStatus {
    /// It runs.
    Running,
    /// It ended as it should.
    Succeeded,
    /// It failed.
    Failed,
    /// It took longer than its machine allows.
    TimedOut,
    /// It was stopped.
    Aborted,
}

impl ExecutionStatus {
    /// Every status.
    pub const ALL: [Self; 5] = [
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::TimedOut,
        Self::Aborted,
    ];

    /// The word in arguments, answers and rows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Aborted => "aborted",
        }
    }

    /// Whether it has ended.
    pub const fn has_ended(self) -> bool {
        !matches!(self, Self::Running)
    }
}

/// What is known of an execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// How it is.
    pub status: ExecutionStatus,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub stopped_at: Option<Timestamp>,
    /// What it put out: JSON text.
    pub output: Option<String>,
    /// The name of the error that it ended with.
    pub error: Option<String>,
    /// What is said of that error.
    pub cause: Option<String>,
}

/// One step in the history of an execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutionEvent {
    /// Its number, from 1.
    pub id: i64,
    /// When it happened.
    pub time: Timestamp,
    /// What happened, in Step Functions' words, such as `TaskStateEntered`.
    pub kind: String,
    /// The state it concerns, where it concerns one.
    pub state: Option<String>,
    /// The name of the error, where there was one.
    pub error: Option<String>,
}

/// Step Functions, or what stands in for it. ARNs come from configuration or from here; the tenant is
/// whose client and retry budget are used.
pub trait States: Send + Sync + 'static {
    /// Starts an execution, unless there is one of that name.
    ///
    /// # Errors
    /// `NOT_FOUND` where there is no such machine, `NOT_SUPPORTED` for an express one, `INVALID_PARAMETER`
    /// for an input that it does not take, and what AWS is unavailable for.
    fn start<'a>(&'a self, tenant: &'a TenantId, execution: &'a NewExecution)
    -> Reply<'a, Started>;

    /// How the execution is; nothing where there is none.
    fn describe<'a>(
        &'a self,
        tenant: &'a TenantId,
        execution: &'a str,
    ) -> Reply<'a, Option<Execution>>;

    /// Stops the execution; one that has ended stays as it is. `false` where there is none.
    fn stop<'a>(
        &'a self,
        tenant: &'a TenantId,
        execution: &'a str,
        reason: Option<&'a str>,
    ) -> Reply<'a, bool>;

    /// The newest steps of an execution, at most `limit` (1 to 1000), the newest first.
    fn history<'a>(
        &'a self,
        tenant: &'a TenantId,
        execution: &'a str,
        limit: u32,
    ) -> Reply<'a, Vec<ExecutionEvent>>;

    /// The ARN of the execution `name` of `machine`, whether or not there is one.
    fn execution(&self, machine: &str, name: &str) -> String;

    /// Whether the machine is there, without starting anything.
    fn check<'a>(&'a self, machine: &'a str) -> Reply<'a, ()>;
}
