//! A run as a row of the table, and the mark beside it that says that the run has not ended.

use ulid::Ulid;

use super::run::{NewRun, Run, RunState};
use crate::mesh::store::states::ExecutionStatus;
use crate::mesh::store::table::{EXPIRY_ATTRIBUTE, Row, VERSION_ATTRIBUTE};
use crate::mesh::tenant::PermissionSet;
use crate::mesh::{Error, Timestamp};

const CAUSE: &str = "cause";
const CLAIMED_AT: &str = "claimed_at";
const DEPTH: &str = "depth";
const ERROR: &str = "error";
const EXECUTION: &str = "execution";
const PERMISSIONS: &str = "permissions";
const RULE: &str = "rule";
const STARTED_AT: &str = "started_at";
const STATE: &str = "state";
const STOPPED_AT: &str = "stopped_at";
const USER: &str = "user";
const WORKFLOW: &str = "workflow";

const MARKED_AT: &str = "marked_at";
const UNTIL: &str = "until";
const WATCHER: &str = "watcher";

/// The word for a run that Step Functions has yet to know.
const STARTING: &str = "starting";

/// A run with what its row says beside it.
#[derive(Clone, Debug)]
pub(in crate::mesh) struct Kept {
    /// The run.
    pub(in crate::mesh) run: Run,
    /// New with each write of the row.
    pub(super) version: String,
    /// When somebody last undertook to record its end.
    pub(super) claimed_at: Option<Timestamp>,
    /// From when on the row reads as absent.
    pub(super) expires_at: Option<Timestamp>,
}

impl Kept {
    /// A run whose execution is about to be started.
    pub(super) fn starting(run: &NewRun, execution: String, now: Timestamp) -> Self {
        Self {
            run: Run {
                run_id: run.run_id,
                workflow: run.workflow.clone(),
                execution,
                state: RunState::Starting,
                started_at: now,
                stopped_at: None,
                user: run.user.clone(),
                permissions: run.permissions,
                rule: run.rule.clone(),
                cause: run.cause,
                depth: run.depth,
                error: None,
            },
            version: Ulid::generate().to_string(),
            claimed_at: None,
            expires_at: None,
        }
    }

    /// The same with a version of its own, to be changed and written.
    pub(super) fn next(&self) -> Self {
        Self {
            version: Ulid::generate().to_string(),
            ..self.clone()
        }
    }

    /// The row.
    pub(super) fn to_row(&self) -> Row {
        let run = &self.run;
        let permissions: Vec<_> = run.permissions.iter().map(|each| each.name()).collect();
        let mut row = Row::new()
            .with_text(VERSION_ATTRIBUTE, self.version.as_str())
            .with_text(WORKFLOW, run.workflow.as_str())
            .with_text(EXECUTION, run.execution.as_str())
            .with_text(STATE, run.state.name())
            .with_number(STARTED_AT, run.started_at.as_millis())
            .with_text(USER, run.user.as_str())
            .with_text(PERMISSIONS, permissions.join(" "))
            .with_number(DEPTH, run.depth.into());
        if let Some(time) = run.stopped_at {
            row = row.with_number(STOPPED_AT, time.as_millis());
        }
        if let Some(rule) = &run.rule {
            row = row.with_text(RULE, rule.as_str());
        }
        if let Some(cause) = run.cause {
            row = row.with_text(CAUSE, cause.to_string());
        }
        if let Some(error) = &run.error {
            row = row.with_text(ERROR, error.as_str());
        }
        if let Some(time) = self.claimed_at {
            row = row.with_number(CLAIMED_AT, time.as_millis());
        }
        if let Some(time) = self.expires_at {
            row = row.with_number(EXPIRY_ATTRIBUTE, time.as_seconds());
        }
        row
    }

    /// The run under `sort`, as its row has it.
    pub(in crate::mesh) fn of(sort: &str, row: &Row) -> Result<Self, Error> {
        let text = |name: &str| row.text(name).ok_or_else(|| wrong(name));
        let time = |name: &str| row.number(name).map(Timestamp::from_millis);
        let state = text(STATE)?;
        let cause = row.text(CAUSE).map(Ulid::from_string).transpose();
        Ok(Self {
            run: Run {
                run_id: Ulid::from_string(sort).map_err(|_| wrong("its key"))?,
                workflow: text(WORKFLOW)?.to_owned(),
                execution: text(EXECUTION)?.to_owned(),
                state: RunState::named(state).ok_or_else(|| wrong(STATE))?,
                started_at: time(STARTED_AT).ok_or_else(|| wrong(STARTED_AT))?,
                stopped_at: time(STOPPED_AT),
                user: text(USER)?.parse().map_err(|_| wrong(USER))?,
                permissions: PermissionSet::of_scope(text(PERMISSIONS)?),
                rule: row.text(RULE).map(str::to_owned),
                cause: cause.map_err(|_| wrong(CAUSE))?,
                depth: row
                    .number(DEPTH)
                    .and_then(|depth| u8::try_from(depth).ok())
                    .ok_or_else(|| wrong(DEPTH))?,
                error: row.text(ERROR).map(str::to_owned),
            },
            version: text(VERSION_ATTRIBUTE)?.to_owned(),
            claimed_at: time(CLAIMED_AT),
            expires_at: row.number(EXPIRY_ATTRIBUTE).map(Timestamp::from_seconds),
        })
    }
}

fn wrong(what: &str) -> Error {
    Error::internal(format!("the row of a run has a wrong {what}"))
}

impl RunState {
    /// The word in rows and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => STARTING,
            Self::Known(status) => status.name(),
        }
    }

    /// The state of that name.
    pub fn named(name: &str) -> Option<Self> {
        if name == STARTING {
            return Some(Self::Starting);
        }
        ExecutionStatus::ALL
            .into_iter()
            .find(|status| status.name() == name)
            .map(Self::Known)
    }

    /// Whether the run has ended.
    pub const fn has_ended(self) -> bool {
        match self {
            Self::Starting => false,
            Self::Known(status) => status.has_ended(),
        }
    }
}

/// The mark that a run has not ended, or that its end has yet to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// New with each write.
    pub(super) version: String,
    /// When it was set.
    pub(super) marked_at: Timestamp,
    /// The process that watches the run.
    pub(super) watcher: String,
    /// Until when that is said to hold.
    pub(super) until: Timestamp,
}

impl Mark {
    /// The row.
    pub(super) fn to_row(&self) -> Row {
        Row::new()
            .with_text(VERSION_ATTRIBUTE, self.version.as_str())
            .with_number(MARKED_AT, self.marked_at.as_millis())
            .with_text(WATCHER, self.watcher.as_str())
            .with_number(UNTIL, self.until.as_millis())
    }

    /// The mark that `row` holds; one that cannot be read is nobody's and of long ago.
    pub(super) fn of(row: &Row) -> Self {
        let time = |name| Timestamp::from_millis(row.number(name).unwrap_or(0));
        let text = |name| row.text(name).unwrap_or_default().to_owned();
        Self {
            version: text(VERSION_ATTRIBUTE),
            marked_at: time(MARKED_AT),
            watcher: text(WATCHER),
            until: time(UNTIL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::tenant::Permission;

    #[test]
    fn a_run_reads_back_from_its_row() {
        let run_id = Ulid::generate();
        let full = Kept {
            run: Run {
                run_id,
                workflow: "refund".to_owned(),
                execution: "arn:x".to_owned(),
                state: RunState::Known(ExecutionStatus::TimedOut),
                started_at: Timestamp::from_millis(5),
                stopped_at: Some(Timestamp::from_millis(7)),
                user: "ada".parse().unwrap(),
                permissions: PermissionSet::of(&[Permission::KvRead, Permission::WorkflowRun]),
                rule: Some("on-failure".to_owned()),
                cause: Some(Ulid(9)),
                depth: 3,
                error: Some("States.Timeout".to_owned()),
            },
            version: "v".to_owned(),
            claimed_at: Some(Timestamp::from_millis(8)),
            expires_at: Some(Timestamp::from_seconds(9)),
        };
        for kept in [
            full.clone(),
            Kept {
                run: Run {
                    state: RunState::Starting,
                    stopped_at: None,
                    rule: None,
                    cause: None,
                    error: None,
                    ..full.run
                },
                claimed_at: None,
                expires_at: None,
                ..full
            },
        ] {
            let read = Kept::of(&run_id.to_string(), &kept.to_row()).unwrap();
            assert_eq!(format!("{read:?}"), format!("{kept:?}"));
        }
    }

    #[test]
    fn a_row_that_is_no_run_is_said_to_be_wrong() {
        let run_id = Ulid::generate().to_string();
        assert!(Kept::of(&run_id, &Row::new()).is_err());
        for state in ["", "Starting", "RUNNING"] {
            assert_eq!(RunState::named(state), None);
        }
    }

    #[test]
    fn a_mark_reads_back_from_its_row() {
        let mark = Mark {
            version: "v".to_owned(),
            marked_at: Timestamp::from_millis(1),
            watcher: "w".to_owned(),
            until: Timestamp::from_millis(2),
        };
        assert_eq!(Mark::of(&mark.to_row()), mark);
    }
}
