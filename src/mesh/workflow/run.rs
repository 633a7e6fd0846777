//! One run of a workflow: its row, its name in Step Functions, who is answerable for it.

use ulid::Ulid;

use crate::mesh::Timestamp;
use crate::mesh::store::states::ExecutionStatus;
use crate::mesh::tenant::{PermissionSet, TenantId, UserId};

/// A run that is to be started.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Its id. The same id again is the same run, whoever starts it.
    pub run_id: Ulid,
    /// The workflow's logical name.
    pub workflow: String,
    /// The state machine's ARN.
    pub machine: String,
    /// The caller's own part of the input: JSON text. It reaches the machine as
    /// `{"tenant": {"tenant_id", "user_id"}, "input": <this>}`.
    pub input: String,
    /// As whom it runs.
    pub user: UserId,
    /// What that user might do when the run, or the rule behind it, was made.
    pub permissions: PermissionSet,
    /// The rule that starts it, if it is not a caller.
    pub rule: Option<String>,
    /// The event that led to it.
    pub cause: Option<Ulid>,
    /// How many events led to it: what it does is recorded at this depth.
    pub depth: u8,
}

/// How a run is, as its row has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// Its row is written and Step Functions has yet to say that it runs.
    Starting,
    /// Step Functions has said so.
    Known(ExecutionStatus),
}

/// A run of a workflow, as its row has it.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its id.
    pub run_id: Ulid,
    /// The workflow's logical name.
    pub workflow: String,
    /// The execution's ARN.
    pub execution: String,
    /// How it is.
    pub state: RunState,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ended.
    pub stopped_at: Option<Timestamp>,
    /// As whom it runs.
    pub user: UserId,
    /// What that user might do then.
    pub permissions: PermissionSet,
    /// The rule that started it.
    pub rule: Option<String>,
    /// The event that led to it.
    pub cause: Option<Ulid>,
    /// How many events led to it.
    pub depth: u8,
    /// The name of the error that it ended with.
    pub error: Option<String>,
}

/// The name of a run's execution: the tenant and the run's id.
pub fn execution_name(tenant: &TenantId, run_id: Ulid) -> String {
    format!("{tenant}-{run_id}")
}

/// The tenant and the run that an execution's name stands for; nothing where it is none of ours.
pub fn run_of(execution_name: &str) -> Option<(TenantId, Ulid)> {
    let (tenant, run_id) = execution_name.rsplit_once('-')?;
    let found = (tenant.parse().ok()?, Ulid::from_string(run_id).ok()?);
    (self::execution_name(&found.0, found.1) == execution_name).then_some(found)
}

/// The id of the run that a rule starts for an event: the same each time it is asked for, so that an event
/// that is matched again starts nothing anew. Its time is the event's.
pub fn run_of_rule(tenant: &TenantId, rule: Ulid, event_id: Ulid) -> Ulid {
    use sha2::{Digest as _, Sha256};
    let mut hash = Sha256::new();
    hash.update(tenant.as_str());
    hash.update(b"#");
    hash.update(rule.0.to_be_bytes());
    hash.update(event_id.0.to_be_bytes());
    let digest = hash.finalize();
    let mut random = [0; 16];
    random[6..].copy_from_slice(&digest[..10]);
    Ulid::from_parts(event_id.timestamp_ms(), u128::from_be_bytes(random))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executions_name_leads_back_to_its_run() {
        let run_id = Ulid::generate();
        for name in ["a", "a-b", "0123456789abcdef0123456789abcdef"] {
            let tenant: TenantId = name.parse().unwrap();
            let execution = execution_name(&tenant, run_id);
            assert!(execution.len() <= crate::mesh::store::states::EXECUTION_NAME_MAX);
            assert_eq!(run_of(&execution), Some((tenant, run_id)));
        }
        let lower = format!("acme-{}", run_id.to_string().to_lowercase());
        for other in ["", "acme", "acme-1", "-01ARZ3NDEKTSV4RRFFQ69G5FAV", &lower] {
            assert_eq!(run_of(other), None, "{other}");
        }
    }

    #[test]
    fn a_rule_starts_one_run_for_one_event_and_another_for_any_other() {
        let (acme, other): (TenantId, TenantId) =
            ("acme".parse().unwrap(), "other".parse().unwrap());
        let (rule, event) = (Ulid::generate(), Ulid::generate());
        let run = run_of_rule(&acme, rule, event);
        assert_eq!(run, run_of_rule(&acme, rule, event));
        assert_eq!(run.timestamp_ms(), event.timestamp_ms());
        assert_ne!(run, run_of_rule(&other, rule, event));
        assert_ne!(run, run_of_rule(&acme, Ulid(rule.0 + 1), event));
        assert_ne!(run, run_of_rule(&acme, rule, Ulid(event.0 + 1)));
    }
}
