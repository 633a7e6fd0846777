//! Quotas: what a tenant may have at once, as opposed to how often it may call.

use crate::mesh::tenant::Limits;
use crate::mesh::{Error, ErrorKind};

/// Something of which a tenant may have only so much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quota {
    /// Bytes of all artifacts together.
    ArtifactBytes,
    /// Artifacts.
    ArtifactObjects,
    /// Event rules.
    Rules,
    /// Alerts.
    Alerts,
    /// Integrated servers.
    Integrations,
    /// Child processes of integrated servers.
    Children,
    /// Workflows that run.
    WorkflowsRunning,
}

impl Quota {
    /// Every quota.
    pub const ALL: [Self; 7] = [
        Self::ArtifactBytes,
        Self::ArtifactObjects,
        Self::Rules,
        Self::Alerts,
        Self::Integrations,
        Self::Children,
        Self::WorkflowsRunning,
    ];

    /// The name in `tenants.toml`, in errors and in documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ArtifactBytes => "artifact_bytes",
            Self::ArtifactObjects => "artifact_objects",
            Self::Rules => "rules",
            Self::Alerts => "alerts",
            Self::Integrations => "integrations",
            Self::Children => "children",
            Self::WorkflowsRunning => "workflows_running",
        }
    }

    /// How much of it `limits` allow.
    pub fn allowed(self, limits: &Limits) -> u64 {
        match self {
            Self::ArtifactBytes => limits.artifact_bytes,
            Self::ArtifactObjects => limits.artifact_objects,
            Self::Rules => limits.rules.into(),
            Self::Alerts => limits.alerts.into(),
            Self::Integrations => limits.integrations.into(),
            Self::Children => limits.children.into(),
            Self::WorkflowsRunning => limits.workflows_running.into(),
        }
    }

    /// Whether a tenant that has `used` may have `more`. What frees something is always allowed, also
    /// above a quota that was lowered.
    ///
    /// # Errors
    /// `QUOTA_EXCEEDED` where it may not.
    pub fn check(self, limits: &Limits, used: u64, more: u64) -> Result<(), Error> {
        let allowed = self.allowed(limits);
        if more == 0 || used.checked_add(more).is_some_and(|sum| sum <= allowed) {
            Ok(())
        } else {
            Err(self.exceeded(allowed, used, more))
        }
    }

    /// The refusal of `more` to a tenant that has `used` of `allowed`.
    pub fn exceeded(self, allowed: u64, used: u64, more: u64) -> Error {
        let name = self.name();
        let what = match self {
            Self::ArtifactBytes => "bytes of artifacts",
            Self::ArtifactObjects => "artifacts",
            Self::Rules => "rules",
            Self::Alerts => "alerts",
            Self::Integrations => "integrations",
            Self::Children => "running children of integrations",
            Self::WorkflowsRunning => "running workflows",
        };
        let free = match self {
            Self::ArtifactBytes | Self::ArtifactObjects => "Delete artifacts (artifacts_delete)",
            Self::Rules => "Delete a rule (events_delete_rule)",
            Self::Alerts => "Delete an alert (events_delete_alert)",
            Self::Integrations => "Unregister an integration (integration_unregister)",
            Self::Children => "Disconnect an integration (integration_disconnect)",
            Self::WorkflowsRunning => {
                "Wait for a workflow to end or stop one (workflow_list, workflow_stop)"
            }
        };
        Error::new(
            ErrorKind::QuotaExceeded,
            format!(
                "This needs {more} more {what}; the tenant has {used} of the {allowed} that its quota \
                 `{name}` allows."
            ),
        )
        .fix(format!(
            "{free}, or ask whoever runs the server to raise the quota `{name}`."
        ))
        .detail("quota", name)
        .detail("allowed", allowed)
        .detail("used", used)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_quota_admits_up_to_its_edge_and_not_one_more() {
        let limits = Limits::default();
        for quota in Quota::ALL {
            let allowed = quota.allowed(&limits);
            assert!(quota.check(&limits, 0, allowed).is_ok(), "{quota:?}");
            assert!(quota.check(&limits, allowed - 1, 1).is_ok(), "{quota:?}");
            let error = quota.check(&limits, allowed, 1).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
            assert_eq!(
                Value::from(error.details().clone()),
                json!({"quota": quota.name(), "allowed": allowed, "used": allowed})
            );
            assert!(
                error
                    .fix_text()
                    .is_some_and(|fix| fix.contains(quota.name()))
            );
        }
    }

    #[test]
    fn sums_that_overflow_are_refused_and_what_takes_nothing_is_not() {
        let limits = Limits::default();
        assert!(Quota::ArtifactBytes.check(&limits, u64::MAX, 1).is_err());
        assert!(Quota::ArtifactBytes.check(&limits, u64::MAX, 0).is_ok());
        let none = Limits { rules: 0, ..limits };
        assert!(Quota::Rules.check(&none, 0, 1).is_err());
    }
}
