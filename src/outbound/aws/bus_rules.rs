//! Native rules on EventBridge: real rules of the bus, each with the one target that the operator allows.

use std::sync::Arc;

use aws_sdk_eventbridge::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_eventbridge::operation::put_rule::PutRuleError;
use aws_sdk_eventbridge::types::{InputTransformer, RuleState, Target};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use futures::FutureExt;
use serde_json::{Value, json};

use super::clients::Connection;
use super::error::{Part, fault, of_code};
use crate::mesh::event::pattern::bus_name_prefix;
use crate::mesh::store::bus_rules::{BusRule, ListedRule};
use crate::mesh::store::{BusRules, Reply};
use crate::mesh::tenant::TenantId;
use crate::mesh::{Error, ErrorKind};

/// The id of the one target of a rule.
const TARGET_ID: &str = "workflow";

/// What a rule says of itself to whoever looks at the bus.
const DESCRIPTION: &str =
    "Made by agent-mesh for one tenant; what is changed here by hand is undone.";

/// The most pages of rules that are read; each holds 100.
const PAGES_MAX: usize = 20;

/// The most pages of targets of one rule.
const TARGET_PAGES_MAX: usize = 4;

/// The longest reason of EventBridge's that is told, in characters.
const REASON_CHARS_MAX: usize = 200;

/// What AWS says of a rule, or of a bus, that is not there.
const ABSENT: &str = "ResourceNotFoundException";

/// What of an event a target is told, and where it stands in the event.
const INPUT_PATHS: [(&str, &str); 5] = [
    ("event_id", "$.id"),
    ("time", "$.time"),
    ("detail_type", "$.detail-type"),
    ("source", "$.source"),
    ("detail", "$.detail"),
];

/// The rules of the bus of a [`Connection`].
#[derive(Clone, Debug)]
pub struct AwsBusRules {
    connection: Arc<Connection>,
    role: Option<Arc<str>>,
}

impl AwsBusRules {
    /// The rules of the bus that `connection` names; EventBridge takes the role `role`, an ARN, to start
    /// what a rule names. Without one no rule can be made.
    pub fn new(connection: Arc<Connection>, role: Option<&str>) -> Self {
        Self {
            connection,
            role: role.map(Arc::from),
        }
    }

    fn bus(&self) -> &str {
        &self.connection.settings().bus
    }

    async fn put_rule(&self, tenant: &TenantId, rule: &BusRule) -> Result<(), Error> {
        check(tenant, rule)?;
        let target = self.target(tenant, rule)?;
        let client = self.connection.eventbridge().await;
        // Without a target the rule does nothing, so it is no harm that it is there first; it must be.
        client
            .put_rule()
            .name(&rule.name)
            .event_bus_name(self.bus())
            .event_pattern(&rule.pattern)
            .description(DESCRIPTION)
            .state(if rule.enabled {
                RuleState::Enabled
            } else {
                RuleState::Disabled
            })
            .send()
            .await
            .map_err(refusal)?;
        let answer = client
            .put_targets()
            .rule(&rule.name)
            .event_bus_name(self.bus())
            .targets(target)
            .send()
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) if is_absent(&error) => return Err(removed_meanwhile().caused_by(error)),
            Err(error) => return Err(rule_fault(error)),
        };
        match answer.failed_entries.unwrap_or_default().first() {
            None => Ok(()),
            Some(entry) => Err(entry_fault(entry.error_code(), entry.error_message())),
        }
    }

    fn target(&self, tenant: &TenantId, rule: &BusRule) -> Result<Target, Error> {
        let role = self.role.as_deref().ok_or_else(|| {
            Error::new(
                ErrorKind::NotSupported,
                "this server has no role with which the bus could start a workflow",
            )
            .fix("leave `native` out, or have the operator set AGENT_MESH_EVENTS_ROLE_ARN")
        })?;
        let transformer = INPUT_PATHS
            .iter()
            .fold(InputTransformer::builder(), |builder, (name, path)| {
                builder.input_paths_map(*name, *path)
            });
        let incomplete = |error| Error::internal("a target is incomplete").caused_by(error);
        Target::builder()
            .id(TARGET_ID)
            .arn(&rule.target)
            .role_arn(role)
            .input_transformer(
                transformer
                    .input_template(input_template(tenant, rule))
                    .build()
                    .map_err(incomplete)?,
            )
            .build()
            .map_err(incomplete)
    }

    async fn remove_rule(&self, tenant: &TenantId, name: &str) -> Result<(), Error> {
        check_name(tenant, name)?;
        let Some(targets) = self.targets(name).await? else {
            return Ok(());
        };
        let client = self.connection.eventbridge().await;
        if !targets.is_empty() {
            let answer = client
                .remove_targets()
                .rule(name)
                .event_bus_name(self.bus())
                .set_ids(Some(targets))
                .send()
                .await;
            match answer {
                Ok(answer) => {
                    let failed = answer.failed_entries.unwrap_or_default();
                    let stays = |code: Option<&str>| code != Some(ABSENT);
                    if let Some(entry) = failed.iter().find(|entry| stays(entry.error_code())) {
                        return Err(entry_fault(entry.error_code(), entry.error_message()));
                    }
                }
                Err(error) if is_absent(&error) => return Ok(()),
                Err(error) => return Err(rule_fault(error)),
            }
        }
        let answer = client
            .delete_rule()
            .name(name)
            .event_bus_name(self.bus())
            .send()
            .await;
        match answer {
            Ok(_) => Ok(()),
            Err(error) if is_absent(&error) => Ok(()),
            Err(error) => Err(rule_fault(error)),
        }
    }

    /// The ids of all targets of a rule, those too that a person has added; none where there is no such rule.
    async fn targets(&self, name: &str) -> Result<Option<Vec<String>>, Error> {
        let client = self.connection.eventbridge().await;
        let mut ids = Vec::new();
        let mut next = None;
        for _ in 0..TARGET_PAGES_MAX {
            let answer = client
                .list_targets_by_rule()
                .rule(name)
                .event_bus_name(self.bus())
                .set_next_token(next)
                .send()
                .await;
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) if is_absent(&error) => return Ok(None),
                Err(error) => return Err(rule_fault(error)),
            };
            let targets = answer.targets.unwrap_or_default();
            ids.extend(targets.into_iter().map(|target| target.id));
            next = answer.next_token;
            if next.is_none() {
                return Ok(Some(ids));
            }
        }
        Err(Error::internal(
            "a rule has more targets than a rule can have",
        ))
    }

    async fn list_rules(&self, tenant: &TenantId) -> Result<Vec<ListedRule>, Error> {
        let client = self.connection.eventbridge().await;
        let prefix = bus_name_prefix(tenant);
        let mut rules = Vec::new();
        let mut next = None;
        for _ in 0..PAGES_MAX {
            let answer = client
                .list_rules()
                .event_bus_name(self.bus())
                .name_prefix(&prefix)
                .set_next_token(next)
                .send()
                .await
                .map_err(rule_fault)?;
            for rule in answer.rules.unwrap_or_default() {
                // Whatever the bus answers, it is the tenant's own alone that is looked at.
                let Some(name) = rule.name.filter(|name| name.starts_with(&prefix)) else {
                    continue;
                };
                rules.push(ListedRule {
                    name,
                    pattern: rule.event_pattern.unwrap_or_default(),
                    enabled: rule.state != Some(RuleState::Disabled),
                });
            }
            next = answer.next_token;
            if next.is_none() {
                return Ok(rules);
            }
        }
        Err(Error::internal("a bus has more rules than a bus can have"))
    }
}

impl BusRules for AwsBusRules {
    fn put<'a>(&'a self, tenant: &'a TenantId, rule: &'a BusRule) -> Reply<'a, ()> {
        self.put_rule(tenant, rule).boxed()
    }

    fn remove<'a>(&'a self, tenant: &'a TenantId, name: &'a str) -> Reply<'a, ()> {
        self.remove_rule(tenant, name).boxed()
    }

    fn list<'a>(&'a self, tenant: &'a TenantId) -> Reply<'a, Vec<ListedRule>> {
        self.list_rules(tenant).boxed()
    }
}

/// The last look before a rule goes onto a bus that many share: it is the tenant's by its name, and takes
/// events of the tenant's source alone.
fn check(tenant: &TenantId, rule: &BusRule) -> Result<(), Error> {
    check_name(tenant, &rule.name)?;
    let pattern: Value = serde_json::from_str(&rule.pattern)
        .map_err(|error| Error::internal("a rule's pattern is no JSON").caused_by(error))?;
    let source = format!("agent-mesh.{tenant}");
    if pattern.get("source") == Some(&json!([source])) {
        Ok(())
    } else {
        Err(Error::internal(
            "a rule's pattern is not held to its tenant's source",
        ))
    }
}

fn check_name(tenant: &TenantId, name: &str) -> Result<(), Error> {
    match name.strip_prefix(&bus_name_prefix(tenant)) {
        Some(rest) if !rest.is_empty() => Ok(()),
        _ => Err(Error::internal("a rule's name is not its tenant's")),
    }
}

/// The input of the target, in which EventBridge replaces each `<name>` by what the event has there. Ids and
/// names hold neither quotation marks nor angle brackets.
fn input_template(tenant: &TenantId, rule: &BusRule) -> String {
    let told = json!({"tenant_id": tenant, "user_id": rule.user});
    let name = json!(rule.rule);
    format!(
        "{{\"tenant\":{told},\"input\":{{\"event_id\":<event_id>,\"time\":<time>,\"rule\":{name},\
         \"detail_type\":<detail_type>,\"source\":<source>,\"detail\":<detail>}}}}"
    )
}

fn is_absent<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    error
        .as_service_error()
        .is_some_and(|error| error.code() == Some(ABSENT))
}

/// The failure of a target among others, which comes in an answer of success.
fn entry_fault(code: Option<&str>, message: Option<&str>) -> Error {
    let (code, message) = (code.unwrap_or_default(), message.unwrap_or_default());
    let error = match code {
        ABSENT => removed_meanwhile(),
        _ => own_fault(code).unwrap_or_else(|| of_code(Part::Bus, code, message, 400, None)),
    };
    error.caused_by(format!("{code}: {message}"))
}

/// The failure of a call about rules.
fn rule_fault<E>(error: SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let code = error
        .as_service_error()
        .and_then(ProvideErrorMetadata::code);
    match code.and_then(own_fault) {
        Some(own) => own.caused_by(error),
        None => fault(Part::Bus, error),
    }
}

/// The failure that a code stands for where it is about a rule; elsewhere some of them mean other things.
fn own_fault(code: &str) -> Option<Error> {
    Some(match code {
        "LimitExceededException" => Error::new(
            ErrorKind::QuotaExceeded,
            "the event bus has no room for another native rule, or for another one with wildcards",
        )
        .fix(
            "leave `native` out: a rule that is not native needs no room on the bus; or delete native rules",
        ),
        "ConcurrentModificationException" => Error::new(
            ErrorKind::AwsUnavailable,
            "the rule is being changed by somebody else at this moment",
        )
        .fix("try again"),
        "ManagedRuleException" => Error::new(
            ErrorKind::Conflict,
            "a rule of this name is on the bus and managed by a service of AWS",
        )
        .fix("choose another name"),
        _ => return None,
    })
}

/// The failure of putting a rule; EventBridge may not take its pattern.
fn refusal(error: SdkError<PutRuleError, HttpResponse>) -> Error {
    let invalid = error
        .as_service_error()
        .is_some_and(PutRuleError::is_invalid_event_pattern_exception);
    if !invalid {
        return rule_fault(error);
    }
    let message = error
        .as_service_error()
        .and_then(ProvideErrorMetadata::message);
    let reason = message
        .and_then(|message| message.split_once("Reason: "))
        .map(|(_, reason)| reason.chars().take(REASON_CHARS_MAX).collect::<String>())
        .filter(|reason| !reason.contains("arn:"));
    let told = match reason {
        Some(reason) => format!("EventBridge does not take the pattern: {reason}"),
        None => "EventBridge does not take the pattern".to_owned(),
    };
    Error::invalid("pattern", told)
        .fix("make the pattern simpler, with fewer wildcards, or leave `native` out")
        .caused_by(error)
}

fn removed_meanwhile() -> Error {
    Error::new(
        ErrorKind::AwsUnavailable,
        "the rule was taken off the bus while it was being made",
    )
    .fix("try again")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> BusRule {
        BusRule {
            name: "agent-mesh.acme.late".to_owned(),
            pattern: r#"{"detail-type":["Order.Late"],"source":["agent-mesh.acme"]}"#.to_owned(),
            target: "arn:aws:states:us-west-2:000000000000:stateMachine:refund".to_owned(),
            rule: "late".to_owned(),
            user: "ada".parse().unwrap(),
            enabled: true,
        }
    }

    #[test]
    fn the_input_is_that_of_any_workflow_that_a_rule_starts() {
        let template = input_template(&"acme".parse().unwrap(), &rule());
        let text = INPUT_PATHS.iter().fold(template, |text, (name, _)| {
            text.replace(&format!("<{name}>"), &format!("\"the {name}\""))
        });
        let input: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            input,
            json!({
                "tenant": {"tenant_id": "acme", "user_id": "ada"},
                "input": {
                    "event_id": "the event_id",
                    "time": "the time",
                    "rule": "late",
                    "detail_type": "the detail_type",
                    "source": "the source",
                    "detail": "the detail",
                },
            })
        );
    }

    #[test]
    fn a_rule_of_another_tenants_name_or_source_goes_onto_no_bus() {
        let acme: TenantId = "acme".parse().unwrap();
        check(&acme, &rule()).unwrap();
        for (name, pattern) in [
            (
                "agent-mesh.acme-2.late",
                r#"{"source":["agent-mesh.acme"]}"#,
            ),
            ("agent-mesh.acme.", r#"{"source":["agent-mesh.acme"]}"#),
            ("late", r#"{"source":["agent-mesh.acme"]}"#),
            (
                "agent-mesh.acme.late",
                r#"{"source":["agent-mesh.acme-2"]}"#,
            ),
            (
                "agent-mesh.acme.late",
                r#"{"source":[{"prefix":"agent-mesh.acme"}]}"#,
            ),
            (
                "agent-mesh.acme.late",
                r#"{"source":["agent-mesh.acme","x"]}"#,
            ),
            (
                "agent-mesh.acme.late",
                r#"{"detail":{"source":["agent-mesh.acme"]}}"#,
            ),
            ("agent-mesh.acme.late", "[]"),
            ("agent-mesh.acme.late", ""),
        ] {
            let wrong = BusRule {
                name: name.to_owned(),
                pattern: pattern.to_owned(),
                ..rule()
            };
            let error = check(&acme, &wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Internal, "{name} {pattern}");
        }
    }
}
