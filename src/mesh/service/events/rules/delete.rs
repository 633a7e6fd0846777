//! Deleting a rule, and the alerts that are about it.

use serde::Serialize;

use super::{Name, native_is_not_offered};
use crate::mesh::Error;
use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{Operation, Report, RulesManage, Subject};
use crate::mesh::call::tool::Tool;
use crate::mesh::limit::{Cost, Direction};
use crate::mesh::service::events::alerts::end;

/// What it is expected to cost: units of the table.
const EXPECTED_READ_UNITS: f64 = 4.0;
const EXPECTED_WRITE_UNITS: f64 = 4.0;

/// Deletes a rule.
#[derive(Debug)]
pub struct DeleteRule {
    /// Which.
    pub name: Name,
}

/// What [`DeleteRule`] answers.
#[derive(Debug, Serialize)]
pub struct DeleteRuleAnswer {
    rule: String,
    existed: bool,
    alerts_deleted: Vec<String>,
}

impl Operation for DeleteRule {
    const TOOL: Tool = Tool::EventsDeleteRule;
    type Needs = RulesManage;
    type Answer = DeleteRuleAnswer;

    fn subject(&self) -> Subject {
        Subject::none().with("rule", self.name.as_str())
    }

    fn cost(&self) -> Cost {
        Cost::of(Direction::DynamodbWrite, EXPECTED_WRITE_UNITS)
            .and(Direction::DynamodbRead, EXPECTED_READ_UNITS)
    }

    /// The alerts go first, so that a call that breaks off leaves a rule that can be deleted again rather
    /// than alerts that a new rule of the name would bring back. Those that were made meanwhile go after
    /// it: whoever makes one looks for its rule once more when it is there.
    async fn serve<'call>(self, call: &Granted<'call, Self>) -> Result<DeleteRuleAnswer, Error> {
        let rules = call.rules();
        let name = self.name.as_str();
        let mut alerts_deleted = self.end_alerts(call).await?;
        let existed = match rules.rule(name).await? {
            Some(rule) if rule.thing.native => {
                let native = call.native_rules().ok_or_else(native_is_not_offered)?;
                native.remove(name).await?
            }
            _ => rules.delete_rule(name).await?.is_some(),
        };
        if existed {
            rules.announce();
            alerts_deleted.extend(self.end_alerts(call).await?);
        }
        Ok(DeleteRuleAnswer {
            rule: name.to_owned(),
            existed,
            alerts_deleted,
        })
    }

    fn report(answer: &DeleteRuleAnswer) -> Report {
        Report {
            bytes: None,
            facts: vec![
                ("existed", answer.existed.into()),
                ("alerts_deleted", answer.alerts_deleted.len().into()),
            ],
        }
    }
}

impl DeleteRule {
    /// Ends every alert that is about the rule; answers their names.
    async fn end_alerts(&self, call: &Granted<'_, Self>) -> Result<Vec<String>, Error> {
        let (rules, mail) = (call.rules(), call.mail());
        let mut ended = Vec::new();
        for alert in rules.alerts_of_rule(self.name.as_str()).await? {
            if end(&rules, &mail, &alert).await? {
                ended.push(alert.thing.name);
            }
        }
        if !ended.is_empty() {
            rules.announce();
        }
        Ok(ended)
    }
}
