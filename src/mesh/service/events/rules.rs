//! Rules: events of the tenant that match a pattern start a workflow and raise alerts.

mod delete;
mod list;
pub mod preview;

use serde::Serialize;

pub use delete::{DeleteRule, DeleteRuleAnswer};
pub use list::{ListRules, ListRulesAnswer};

use self::preview::Preview;
use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{Operation, Report, RulesManage, Subject};
use crate::mesh::call::tool::Tool;
use crate::mesh::event::native_rules::NativeState;
use crate::mesh::event::pattern::Pattern;
use crate::mesh::event::rule::{NAME_CHARS_MAX, Rule};
use crate::mesh::limit::{Cost, Direction};
use crate::mesh::store::native::Native;
use crate::mesh::store::rules::{Placed, Rules, Stored};
use crate::mesh::tenant::Permission;
use crate::mesh::{Error, ErrorKind};

/// The longest description of a rule: characters, as many as EventBridge takes.
pub const DESCRIPTION_CHARS_MAX: usize = 512;

/// How often a rule is written anew while others write one of the same name.
const ROUNDS_MAX: usize = 4;

/// The name of a rule or an alert: 1 to [`NAME_CHARS_MAX`] of `[A-Za-z0-9._-]`, the first a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// Parses the argument `parameter`.
    ///
    /// # Errors
    /// `INVALID_PARAMETER` that names it.
    pub fn parse(parameter: &str, text: String) -> Result<Self, Error> {
        let fits = (1..=NAME_CHARS_MAX).contains(&text.len())
            && text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if fits {
            return Ok(Self(text));
        }
        let message = format!(
            "`{parameter}` must have 1 to {NAME_CHARS_MAX} of A-Z, a-z, 0-9 and . _ -, the first a letter \
             or digit"
        );
        Err(Error::invalid(parameter, message).fix("Use a name such as `failed-orders`."))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The pattern that the argument `pattern` is.
///
/// # Errors
/// `INVALID_PARAMETER` that says what is wrong where.
pub fn parse_pattern(text: &str) -> Result<Pattern, Error> {
    Pattern::parse_callers(text).map_err(|fault| {
        Error::invalid("pattern", format!("`pattern` is none: {fault}")).fix(
            "Write it as EventBridge does, such as {\"detail-type\": [\"Order.Failed\"], \"detail\": \
             {\"total\": [{\"numeric\": [\">\", 100]}]}}.",
        )
    })
}

/// Makes a rule, or sets one of the same pattern to what is given.
#[derive(Debug)]
pub struct CreateRule {
    /// Its name.
    pub name: Name,
    /// Which events.
    pub pattern: Pattern,
    /// What its maker says of it.
    pub description: Option<String>,
    /// Whether it is in force.
    pub enabled: bool,
    /// The workflow that it starts.
    pub workflow: Option<String>,
    /// Only say what it would have matched.
    pub dry_run: bool,
    /// Make it a real rule on the bus.
    pub native: bool,
}

/// What a call does to the rule of its name, or would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It is new.
    Created,
    /// It is there with the same pattern and other settings, which become those that are given.
    Updated,
    /// It is there as it is given.
    Unchanged,
    /// The name is another rule's.
    Conflict,
}

impl Change {
    /// The word in answers and events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
            Self::Conflict => "conflict",
        }
    }
}

/// What [`CreateRule`] answers.
#[derive(Debug, Serialize)]
pub struct CreateRuleAnswer {
    rule: String,
    enabled: bool,
    change: Change,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    preview: Preview,
}

impl Operation for CreateRule {
    const TOOL: Tool = Tool::EventsCreateRule;
    type Needs = RulesManage;
    type Answer = CreateRuleAnswer;

    fn subject(&self) -> Subject {
        Subject::none()
            .with("rule", self.name.as_str())
            .with("enabled", self.enabled)
            .with("native", self.native)
            .with("dry_run", self.dry_run)
            .with_some("workflow", self.workflow.as_deref())
    }

    fn cost(&self) -> Cost {
        let mut cost = Cost::of(Direction::DynamodbRead, preview::EXPECTED_UNITS);
        if self.native {
            cost = cost.and(Direction::Eventbridge, NATIVE_REQUESTS);
        }
        match self.dry_run {
            true => cost,
            false => cost.and(Direction::DynamodbWrite, ROW_UNITS),
        }
    }

    async fn serve<'call>(self, call: &Granted<'call, Self>) -> Result<CreateRuleAnswer, Error> {
        self.check_workflow(call).await?;
        let rules = call.rules();
        let native = self.native_rules(call, &rules).await?;
        let mut found = rules.rule(self.name.as_str()).await?;
        if !self.dry_run && finish_removal(call, found.as_ref()).await? {
            found = None;
        }
        let mut change = self.change_of(found.as_ref());
        if change == Change::Conflict && !self.dry_run {
            return Err(self.conflict());
        }
        let preview = preview::of(call, &self.pattern).await?;
        if !self.dry_run {
            change = self.store(call, &rules, found).await?;
            if let Some(native) = &native {
                native
                    .create(self.name.as_str(), change == Change::Created)
                    .await?;
            }
        }
        Ok(CreateRuleAnswer {
            rule: self.name.as_str().to_owned(),
            enabled: self.enabled,
            change,
            dry_run: self.dry_run,
            preview,
        })
    }

    fn report(answer: &CreateRuleAnswer) -> Report {
        Report {
            bytes: None,
            facts: vec![
                ("change", answer.change.name().into()),
                ("matched", answer.preview.matched.into()),
                ("examined", answer.preview.examined.into()),
            ],
        }
    }
}

/// What a rule's row and its name among the others are expected to cost: write units.
const ROW_UNITS: f64 = 4.0;

/// Requests about rules of the bus itself that making one is expected to take.
const NATIVE_REQUESTS: f64 = 3.0;

impl CreateRule {
    /// A workflow runs as the rule's maker, who must therefore be one who may start it.
    async fn check_workflow(&self, call: &Granted<'_, Self>) -> Result<(), Error> {
        let Some(workflow) = &self.workflow else {
            return Ok(());
        };
        if !call.also_holds(Permission::WorkflowRun) {
            let permission = Permission::WorkflowRun.name();
            let message =
                format!("a rule that starts a workflow needs the permission `{permission}`");
            return Err(Error::new(ErrorKind::PermissionDenied, message)
                .fix("Leave `workflow` out, or ask an administrator of the tenant.")
                .detail("permission", permission));
        }
        call.require_workflow("workflow", workflow).await
    }

    /// The way to the bus for a rule that is to be one of the bus itself, and what crashes have left there
    /// put right.
    async fn native_rules<'call>(
        &self,
        call: &Granted<'call, Self>,
        rules: &Rules<'call, RulesManage>,
    ) -> Result<Option<Native<'call>>, Error> {
        if !self.native {
            return Ok(None);
        }
        let offered = call.native_rules().filter(|_| call.native_rules_max() > 0);
        let native = offered.ok_or_else(native_is_not_offered)?;
        native.check(&self.rule(call, rules, None))?;
        if !self.dry_run {
            let repaired = native.repair().await?;
            tracing::debug!(?repaired, "the native rules of a tenant were looked after");
        }
        Ok(Some(native))
    }

    /// What this call does where `found` is there.
    fn change_of(&self, found: Option<&Stored<Rule>>) -> Change {
        let Some(Stored { thing: held, .. }) = found else {
            return Change::Created;
        };
        if held.native != self.native || self.pattern.canonical() != held.pattern {
            return Change::Conflict;
        }
        let is_same = held.enabled == self.enabled
            && held.workflow == self.workflow
            && held.description == self.description;
        match is_same {
            true => Change::Unchanged,
            false => Change::Updated,
        }
    }

    async fn store<'call>(
        &self,
        call: &Granted<'call, Self>,
        rules: &Rules<'call, RulesManage>,
        mut found: Option<Stored<Rule>>,
    ) -> Result<Change, Error> {
        for _ in 0..ROUNDS_MAX {
            let change = self.change_of(found.as_ref());
            let placed = match (&found, change) {
                (_, Change::Conflict) => return Err(self.conflict()),
                (Some(_), Change::Unchanged) => return Ok(change),
                (Some(before), _) => {
                    let rule = self.rule(call, rules, Some(&before.thing));
                    rules.replace_rule(before, &rule).await?
                }
                (None, _) => {
                    let rule = self.rule(call, rules, None);
                    rules.enter_rule(&rule).await?;
                    rules.add_rule(&rule).await?
                }
            };
            match placed {
                Placed::Done => {
                    rules.announce();
                    return Ok(change);
                }
                Placed::Other(current) => found = current,
            }
        }
        Err(Error::new(
            ErrorKind::Overloaded,
            format!(
                "the rule `{}` is being changed by others",
                self.name.as_str()
            ),
        )
        .fix("Repeat the call."))
    }

    /// The rule as it is to be. Who sets it is its maker from now on: nobody makes a rule act for another.
    fn rule<'call>(
        &self,
        call: &Granted<'call, Self>,
        rules: &Rules<'call, RulesManage>,
        before: Option<&Rule>,
    ) -> Rule {
        Rule {
            name: self.name.as_str().to_owned(),
            id: before.map_or_else(|| rules.new_id(), |rule| rule.id),
            pattern: self.pattern.canonical(),
            description: self.description.clone(),
            enabled: self.enabled,
            workflow: self.workflow.clone(),
            native: self.native,
            created_at: before.map_or_else(|| call.now(), |rule| rule.created_at),
            created_by: call.user_id().clone(),
            permissions: call.permissions(),
        }
    }

    fn conflict(&self) -> Error {
        let name = self.name.as_str();
        Error::new(
            ErrorKind::Conflict,
            format!("there is a rule `{name}` with another pattern"),
        )
        .fix(
            "Choose another name, or delete that rule with events_delete_rule (and its alerts with it); \
             events_list_rules shows it.",
        )
        .detail("rule", name)
    }
}

/// Refuses a description that is too long or holds control characters.
///
/// # Errors
/// `INVALID_PARAMETER` that names it.
pub fn check_description(text: &str) -> Result<(), Error> {
    let length = text.chars().count();
    if (1..=DESCRIPTION_CHARS_MAX).contains(&length) && !text.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Error::invalid(
        "description",
        format!(
            "`description` must have 1 to {DESCRIPTION_CHARS_MAX} characters and no control characters"
        ),
    ))
}

/// Carries to its end the removal of a rule of the bus itself that was broken off; whether it was one.
async fn finish_removal(
    call: &Granted<'_, CreateRule>,
    found: Option<&Stored<Rule>>,
) -> Result<bool, Error> {
    let Some(stored) = found.filter(|stored| stored.native_state == Some(NativeState::Leaving))
    else {
        return Ok(false);
    };
    let native = call.native_rules().ok_or_else(native_is_not_offered)?;
    native.remove(&stored.thing.name).await
}

/// That rules of the bus itself cannot be had here.
fn native_is_not_offered() -> Error {
    Error::new(
        ErrorKind::NotSupported,
        "this server makes no rules of the bus itself",
    )
    .fix(
        "Leave `native` out: an ordinary rule sees every event of this server. On AWS whoever runs the \
         server may allow native rules with AGENT_MESH_NATIVE_RULES_MAX.",
    )
    .detail("parameter", "native")
}
