//! How a state fails: names of errors, what is said of them, and what catches which.

use std::fmt;

use serde_json::{Value, json};

/// The wildcard for every error but those that end an execution whatever is caught.
pub(crate) const ALL: &str = "States.ALL";
/// A branch of a Parallel state failed.
pub(crate) const BRANCH_FAILED: &str = "States.BranchFailed";
/// An input or output grew beyond [`super::PAYLOAD_BYTES_MAX`].
pub(crate) const DATA_LIMIT_EXCEEDED: &str = "States.DataLimitExceeded";
/// A Task gave no sign of life for longer than its `HeartbeatSeconds`.
pub(crate) const HEARTBEAT_TIMEOUT: &str = "States.HeartbeatTimeout";
/// An intrinsic function was given what it does not take.
pub(crate) const INTRINSIC_FAILURE: &str = "States.IntrinsicFailure";
/// No rule of a Choice applied and it has no `Default`.
pub(crate) const NO_CHOICE_MATCHED: &str = "States.NoChoiceMatched";
/// A path in a template found nothing.
pub(crate) const PARAMETER_PATH_FAILURE: &str = "States.ParameterPathFailure";
/// A state may not do what it is to do.
pub(crate) const PERMISSIONS: &str = "States.Permissions";
/// A result cannot be put where `ResultPath` says.
pub(crate) const RESULT_PATH_MATCH_FAILURE: &str = "States.ResultPathMatchFailure";
/// The machine and its data do not fit together.
pub(crate) const RUNTIME: &str = "States.Runtime";
/// The wildcard for every error of a task but a timeout.
pub(crate) const TASK_FAILED: &str = "States.TaskFailed";
/// A Task, or the whole machine, took longer than its `TimeoutSeconds`.
pub(crate) const TIMEOUT: &str = "States.Timeout";

/// What an evaluation answers.
pub(crate) type StateResult<T> = Result<T, StateError>;

/// Why a state failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StateError {
    /// The error's name, such as `States.Runtime`.
    pub(crate) error: String,
    /// What is said of it.
    pub(crate) cause: String,
}

impl StateError {
    /// An error of that name.
    pub(crate) fn new(error: impl Into<String>, cause: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            cause: cause.into(),
        }
    }

    /// The machine and its data do not fit together.
    pub(super) fn runtime(cause: impl Into<String>) -> Self {
        Self::new(RUNTIME, cause)
    }

    /// What a Catcher hands to the state that it leads to.
    pub(crate) fn output(&self) -> Value {
        json!({"Error": self.error, "Cause": self.cause})
    }

    /// Whether a name in `ErrorEquals` stands for this error. Nothing stands for `States.Runtime`, which
    /// always ends the execution.
    pub(crate) fn is(&self, name: &str) -> bool {
        if self.error == RUNTIME {
            return false;
        }
        match name {
            ALL => self.error != DATA_LIMIT_EXCEEDED,
            TASK_FAILED => self.is(ALL) && !self.is(TIMEOUT),
            // A Task that fell silent has also taken too long.
            TIMEOUT => self.error == TIMEOUT || self.error == HEARTBEAT_TIMEOUT,
            _ => self.error == name,
        }
    }
}

impl fmt::Display for StateError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.error, self.cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_for(error: &str) -> Vec<&'static str> {
        let error = StateError::new(error, "");
        let names = [
            ALL,
            TASK_FAILED,
            TIMEOUT,
            HEARTBEAT_TIMEOUT,
            RUNTIME,
            "Custom",
        ];
        names.into_iter().filter(|name| error.is(name)).collect()
    }

    #[test]
    fn wildcards_stand_for_what_is_documented() {
        assert_eq!(names_for("Custom"), [ALL, TASK_FAILED, "Custom"]);
        assert_eq!(names_for("custom"), [ALL, TASK_FAILED]);
        assert_eq!(names_for(TIMEOUT), [ALL, TIMEOUT]);
        assert_eq!(
            names_for(HEARTBEAT_TIMEOUT),
            [ALL, TIMEOUT, HEARTBEAT_TIMEOUT]
        );
        assert_eq!(names_for(PARAMETER_PATH_FAILURE), [ALL, TASK_FAILED]);
        assert_eq!(names_for(RUNTIME), [""; 0]);
        assert_eq!(names_for(DATA_LIMIT_EXCEEDED), [""; 0]);
        assert!(StateError::new(DATA_LIMIT_EXCEEDED, "").is(DATA_LIMIT_EXCEEDED));
    }
}
