//! What is done about a record: the workflows that its rules start, and the alerts that it raises.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use serde::Serialize;
use serde_json::value::RawValue;
use ulid::Ulid;

use super::RuleParts;
use super::alarm::Alarm;
use super::book::Lookup;
use super::journal::{Journal, RuleNotes, public_message};
use crate::mesh::event::outbox::Outbox;
use crate::mesh::event::record::Event;
use crate::mesh::event::rule::{DEPTH_MAX, Rule};
use crate::mesh::store::Table;
use crate::mesh::tenant::{TenantDirectory, TenantId};
use crate::mesh::workflow::NewRun;
use crate::mesh::workflow::run::run_of_rule;
use crate::mesh::{Clock, Error, ErrorKind, Timestamp};

/// How long one action may take before it is given up, to be tried again.
pub(super) const ACTION_TIME_MAX: Duration = Duration::from_secs(10);

/// The most workflows that are started at once for one record.
const STARTS_MAX: usize = 8;

/// What has been done about a record, so that it is not done again when the rest is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::mesh::event) enum Step {
    /// The rule's workflow was started, or never will be.
    Started(Ulid),
    /// That the chain ends here was noted.
    Cut,
    /// The alert counts for the day, so it may be delivered.
    Counted(Ulid),
    /// The alert is over the limit of the day.
    Limited(Ulid),
    /// The alert was delivered, or never will be.
    Delivered(Ulid),
    /// The alert can never be delivered.
    Undeliverable(Ulid),
    /// That the alert was raised is recorded.
    Recorded(Ulid),
}

/// What has been done about a record.
pub(in crate::mesh::event) type Steps = HashSet<Step>;

/// Does what a tenant's rules and alerts say about its records.
pub(in crate::mesh::event) struct Actions {
    parts: RuleParts,
    alarm: Alarm,
    journal: Arc<Journal>,
}

/// What a workflow learns of the event that has started it.
#[derive(Serialize)]
struct RuleInput<'a> {
    event_id: Ulid,
    time: Timestamp,
    rule: &'a str,
    detail_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    detail: &'a RawValue,
}

impl Actions {
    pub(in crate::mesh::event) fn new(
        parts: RuleParts,
        outbox: Outbox,
        table: Arc<dyn Table>,
        tenants: Arc<dyn TenantDirectory>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let journal = Arc::new(Journal::new(clock.clone()));
        let alarm = Alarm::new(&parts, outbox, table, tenants, clock, journal.clone());
        Self {
            parts,
            alarm,
            journal,
        }
    }

    /// Whether something may come of `tenant`'s records, and whether its rules are to be
    /// [renewed](Self::renew) soon.
    pub(in crate::mesh::event) fn wants(&self, tenant: &TenantId) -> (bool, bool) {
        match self.parts.book.lookup(tenant) {
            Lookup::Fresh(rules, is_due) => (!rules.is_idle(), is_due),
            Lookup::Stale => (true, false),
        }
    }

    /// Reads the tenant's rules before the copy is too old.
    pub(in crate::mesh::event) async fn renew(&self, tenant: &TenantId) {
        if let Err(error) = self.parts.book.renew(tenant).await {
            tracing::debug!(%tenant, ?error, "rules cannot be renewed yet");
        }
    }

    /// What the rules of `tenant` have been through.
    pub(in crate::mesh::event) fn notes(&self, tenant: &TenantId) -> RuleNotes {
        self.journal.of(tenant)
    }

    /// Does what there is to do about `event`, but for `steps`; what was done is added to them.
    ///
    /// # Errors
    /// What is worth trying again, of what could not be done; everything else has been.
    pub(in crate::mesh::event) async fn act(
        &self,
        event: &Event,
        steps: &mut Steps,
    ) -> Result<(), Error> {
        let tenant = &event.tenant_id;
        let done = self.try_act(event, steps).await;
        if let Err(error) = &done {
            self.journal.failed(tenant, error);
        }
        done
    }

    /// Everything was done about a record of `tenant` that had failed before.
    pub(in crate::mesh::event) fn recovered(&self, tenant: &TenantId) {
        self.journal.recovered(tenant);
    }

    async fn try_act(&self, event: &Event, steps: &mut Steps) -> Result<(), Error> {
        let tenant = &event.tenant_id;
        let rules = in_time(self.parts.book.of(tenant)).await?;
        if rules.is_idle() {
            return Ok(());
        }
        let matches = match rules.matching(event).await {
            Ok(matches) => matches,
            Err(error) => {
                tracing::error!(%tenant, event_id = %event.event_id, ?error, "an event cannot be matched");
                self.journal.refused(tenant, public_message(&error));
                return Ok(());
            }
        };
        let started = self.start_all(event, &matches.rules, steps).await;
        let raised = self.alarm.raise_all(event, &matches.alerts, steps).await;
        started.and(raised)
    }

    async fn start_all(
        &self,
        event: &Event,
        rules: &[&Rule],
        steps: &mut Steps,
    ) -> Result<(), Error> {
        let due = rules.iter().filter_map(|rule| {
            let workflow = rule.workflow.as_deref()?;
            let is_due = !steps.contains(&Step::Started(rule.id));
            is_due.then_some((*rule, workflow))
        });
        let due: Vec<(&Rule, &str)> = due.collect();
        if let Some((rule, _)) = due.first()
            && event.depth >= DEPTH_MAX
        {
            if steps.insert(Step::Cut) {
                self.cut(event, rule);
            }
            return Ok(());
        }
        let mut left = Ok(());
        for some in due.chunks(STARTS_MAX) {
            let starts = some
                .iter()
                .map(|(rule, workflow)| self.start(event, rule, workflow));
            for ((rule, _), started) in some.iter().zip(join_all(starts).await) {
                match started {
                    Ok(()) => {
                        steps.insert(Step::Started(rule.id));
                    }
                    Err(error) => left = left.and(Err(error)),
                }
            }
        }
        left
    }

    /// Starts the workflow of a rule; done is also where it can never be started.
    async fn start(&self, event: &Event, rule: &Rule, workflow: &str) -> Result<(), Error> {
        let tenant = &event.tenant_id;
        let launched = match self.parts.workflows.machine(tenant, workflow) {
            Some(machine) => {
                let run = new_run(event, rule, workflow, machine)?;
                in_time(self.parts.launcher.launch(tenant, run)).await
            }
            None => Err(Error::new(
                ErrorKind::NotFound,
                format!("there is no workflow `{workflow}`"),
            )),
        };
        let event_id = event.event_id;
        match launched {
            Ok(()) => {
                tracing::debug!(%tenant, rule = rule.name, workflow, %event_id, "a rule has started a workflow");
                self.journal.started(tenant);
                Ok(())
            }
            Err(error) if is_final(error.kind()) => {
                tracing::error!(%tenant, rule = rule.name, workflow, %event_id, ?error, "a rule cannot start its workflow");
                let message = public_message(&error);
                let what = format!(
                    "the rule `{}` could not start `{workflow}`: {message}",
                    rule.name
                );
                self.journal.refused(tenant, what);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn cut(&self, event: &Event, rule: &Rule) {
        let tenant = &event.tenant_id;
        tracing::warn!(%tenant, rule = rule.name, event_id = %event.event_id, "a chain of rules and workflows is cut");
        let what = format!(
            "a chain of rules and workflows that start each other was cut after {DEPTH_MAX} steps at the rule `{}`",
            rule.name
        );
        self.journal.cut(tenant, what);
    }
}

fn new_run(event: &Event, rule: &Rule, workflow: &str, machine: String) -> Result<NewRun, Error> {
    let input = RuleInput {
        event_id: event.event_id,
        time: event.time,
        rule: &rule.name,
        detail_type: &event.detail_type,
        source: event.source.as_deref(),
        detail: &event.data,
    };
    let input = serde_json::to_string(&input)
        .map_err(|cause| Error::internal("a workflow's input is no JSON").caused_by(cause))?;
    Ok(NewRun {
        run_id: run_of_rule(&event.tenant_id, rule.id, event.event_id),
        workflow: workflow.to_owned(),
        machine,
        input,
        user: rule.created_by.clone(),
        permissions: rule.permissions,
        rule: Some(rule.name.clone()),
        cause: Some(event.event_id),
        depth: event.depth.saturating_add(1),
    })
}

/// Whether an action that failed so fails however often it is tried.
pub(super) fn is_final(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::NotFound
            | ErrorKind::NotSupported
            | ErrorKind::InvalidParameter
            | ErrorKind::TooLarge
    )
}

/// What `action` answers, in [`ACTION_TIME_MAX`].
pub(super) async fn in_time<T>(action: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match tokio::time::timeout(ACTION_TIME_MAX, action).await {
        Ok(answer) => answer,
        Err(_) => {
            let message = format!("no answer within {} s", ACTION_TIME_MAX.as_secs());
            Err(Error::new(ErrorKind::Timeout, message))
        }
    }
}
