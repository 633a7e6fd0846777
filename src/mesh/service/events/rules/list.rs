//! Listing rules, each with its alerts, and the alerts that have patterns of their own.

use std::collections::HashMap;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _, stream};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{EventsRead, Operation, Report, Subject};
use crate::mesh::call::tool::Tool;
use crate::mesh::event::native_rules::NativeState;
use crate::mesh::event::rule::{Alert, Delivery, Rule, Trigger};
use crate::mesh::limit::{Cost, Direction};
use crate::mesh::service::cursor;
use crate::mesh::service::events::alerts::{AlertState, mail_state};
use crate::mesh::store::rules::Stored;
use crate::mesh::tenant::Permission;
use crate::mesh::{Error, Timestamp};

/// The most rules of one page.
const PAGE_RULES: u32 = 200;

/// How much of the answer's text the rules may take: bytes, of 60,000.
const BYTES_MAX: usize = 56_000;

/// The most subscriptions that one call asks for, how many at once, and for how long.
const ASKED_MAX: usize = 20;
const ASKED_AT_ONCE: usize = 4;
const ASKED_FOR: Duration = Duration::from_secs(3);

/// What it is expected to read: units of 4 KiB.
const EXPECTED_UNITS: f64 = 8.0;

/// Lists rules and alerts.
#[derive(Debug)]
pub struct ListRules {
    /// Where the page before ended, as it stood in the cursor.
    pub position: Option<String>,
}

/// What [`ListRules`] answers.
#[derive(Debug, Serialize)]
pub struct ListRulesAnswer {
    rules: Vec<RuleItem>,
    /// Those that are about no rule that there is.
    alerts: Vec<AlertItem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize)]
struct RuleItem {
    rule: String,
    pattern: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    workflow: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    native: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    native_state: Option<&'static str>,
    created_at: Timestamp,
    created_by: String,
    alerts: Vec<AlertItem>,
}

#[derive(Debug, Serialize)]
struct AlertItem {
    alert: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pattern: Option<Box<RawValue>>,
    method: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    state: AlertState,
    created_at: Timestamp,
    created_by: String,
}

/// Where a page ended: after a rule, or after an alert once all rules have been told.
#[derive(Debug, PartialEq, Eq)]
enum Position {
    Rules(Option<String>),
    Alerts(Option<String>),
}

impl ListRules {
    /// What a cursor of this listing is bound to.
    pub fn filters() -> [String; 1] {
        [Tool::EventsListRules.name().to_owned()]
    }
}

impl Operation for ListRules {
    const TOOL: Tool = Tool::EventsListRules;
    type Needs = EventsRead;
    type Answer = ListRulesAnswer;

    fn subject(&self) -> Subject {
        Subject::none()
    }

    fn cost(&self) -> Cost {
        Cost::of(Direction::DynamodbRead, EXPECTED_UNITS)
    }

    async fn serve<'call>(self, call: &Granted<'call, Self>) -> Result<ListRulesAnswer, Error> {
        let position = Position::read(self.position.as_deref());
        let alerts = call.rules().alerts().await?;
        let states = states(call, &alerts).await;
        let sees_addresses = call.also_holds(Permission::AlertsManage);
        let item = |alert: &Alert| AlertItem::of(alert, &states, sees_addresses);

        let mut page = Page::default();
        let mut next = None;
        if let Position::Rules(from) = &position {
            let (rules, more) = call
                .rules()
                .rules_after(from.as_deref(), PAGE_RULES)
                .await?;
            let mut after = from.clone();
            for stored in &rules {
                let rule = &stored.thing;
                let of_rule = alerts
                    .iter()
                    .filter(|alert| alert.thing.is_about(&rule.name));
                let of_rule = of_rule.map(|alert| item(&alert.thing)).collect();
                let told = RuleItem::of(rule, stored.native_state, of_rule);
                if !page.take_rule(told) {
                    next = Some(Position::Rules(after));
                    break;
                }
                after = Some(rule.name.clone());
            }
            next = next.or_else(|| more.map(|name| Position::Rules(Some(name))));
        }
        if next.is_none() {
            let from = match position {
                Position::Alerts(from) => from,
                Position::Rules(_) => None,
            };
            let own = alerts.iter().map(|alert| &alert.thing);
            next = page.take_alerts(own, from, item);
        }
        let filters = Self::filters();
        Ok(ListRulesAnswer {
            rules: page.rules,
            alerts: page.alerts,
            next_cursor: next
                .map(|next| cursor::seal(&next.text(), &filters.each_ref().map(String::as_str))),
        })
    }

    fn report(answer: &ListRulesAnswer) -> Report {
        let with_rules = answer.rules.iter().map(|rule| rule.alerts.len());
        let alerts = answer.alerts.len() + with_rules.sum::<usize>();
        Report {
            bytes: None,
            facts: vec![
                ("rules", answer.rules.len().into()),
                ("alerts", alerts.into()),
            ],
        }
    }
}

/// What a page holds so far, within its bytes.
#[derive(Default)]
struct Page {
    rules: Vec<RuleItem>,
    alerts: Vec<AlertItem>,
    bytes: usize,
}

impl Page {
    /// Takes `rule` if there is room, or if it is the first thing of the page.
    fn take_rule(&mut self, rule: RuleItem) -> bool {
        let fits = self.has_room(&rule);
        if fits {
            self.rules.push(rule);
        }
        fits
    }

    /// Takes the alerts with patterns of their own, after `from`; answers where to go on.
    fn take_alerts<'alert>(
        &mut self,
        alerts: impl Iterator<Item = &'alert Alert>,
        from: Option<String>,
        item: impl Fn(&Alert) -> AlertItem,
    ) -> Option<Position> {
        let mut after = from;
        let own = alerts.filter(|alert| matches!(alert.trigger, Trigger::Pattern(_)));
        for alert in own {
            if after.as_ref().is_some_and(|after| alert.name <= *after) {
                continue;
            }
            let told = item(alert);
            if !self.has_room(&told) {
                return Some(Position::Alerts(after));
            }
            self.alerts.push(told);
            after = Some(alert.name.clone());
        }
        None
    }

    fn has_room(&mut self, item: &impl Serialize) -> bool {
        let bytes = serde_json::to_string(item).map_or(0, |text| text.len() + 1);
        let is_first = self.rules.is_empty() && self.alerts.is_empty();
        if self.bytes + bytes > BYTES_MAX && !is_first {
            return false;
        }
        self.bytes += bytes;
        true
    }
}

impl RuleItem {
    fn of(rule: &Rule, native_state: Option<NativeState>, alerts: Vec<AlertItem>) -> Self {
        Self {
            rule: rule.name.clone(),
            pattern: RawValue::from_string(rule.pattern.clone()).ok(),
            description: rule.description.clone(),
            enabled: rule.enabled,
            workflow: rule.workflow.clone(),
            native: rule.native,
            native_state: native_state.map(NativeState::name),
            created_at: rule.created_at,
            created_by: rule.created_by.to_string(),
            alerts,
        }
    }
}

impl AlertItem {
    /// An alert as it is told; its address only to who `sees_addresses`.
    fn of(alert: &Alert, states: &HashMap<String, AlertState>, sees_addresses: bool) -> Self {
        let (rule, pattern) = match &alert.trigger {
            Trigger::Rule(rule) => (Some(rule.clone()), None),
            Trigger::Pattern(pattern) => (None, RawValue::from_string(pattern.clone()).ok()),
        };
        let (email, topic) = match &alert.delivery {
            Delivery::Mail { address, .. } => (sees_addresses.then(|| address.clone()), None),
            Delivery::Topic { name } => (None, Some(name.clone())),
        };
        let state = states.get(&alert.name).copied();
        Self {
            alert: alert.name.clone(),
            rule,
            pattern,
            method: alert.delivery.method(),
            email,
            topic,
            state: state.unwrap_or_else(|| AlertState::known(alert)),
            created_at: alert.created_at,
            created_by: alert.created_by.to_string(),
        }
    }
}

/// How mail subscriptions are, as far as they can be asked for in time; what is not asked is told as it
/// was last known. Those that are not known to be confirmed come first.
async fn states(
    call: &Granted<'_, ListRules>,
    alerts: &[Stored<Alert>],
) -> HashMap<String, AlertState> {
    let mut mailed: Vec<_> = alerts
        .iter()
        .filter(|alert| matches!(alert.thing.delivery, Delivery::Mail { .. }))
        .collect();
    mailed.sort_by_key(|alert| AlertState::known(&alert.thing) == AlertState::Active);
    mailed.truncate(ASKED_MAX);
    let (rules, mail) = (call.rules(), call.mail());
    let questions: Vec<_> = mailed
        .into_iter()
        .map(|alert| mail_state(&rules, &mail, alert).map(|state| (&alert.thing.name, state)))
        .collect();
    let asked = stream::iter(questions)
        .buffer_unordered(ASKED_AT_ONCE)
        .take_until(tokio::time::sleep(ASKED_FOR));
    let mut asked = std::pin::pin!(asked);
    let mut states = HashMap::new();
    while let Some((name, state)) = asked.next().await {
        match state {
            Ok(state) => {
                states.insert(name.clone(), state);
            }
            Err(error) => tracing::warn!(?error, "how a mail subscription is could not be asked"),
        }
    }
    states
}

impl Position {
    fn text(&self) -> String {
        match self {
            Self::Rules(after) => format!("rules:{}", after.as_deref().unwrap_or_default()),
            Self::Alerts(after) => format!("alerts:{}", after.as_deref().unwrap_or_default()),
        }
    }

    fn read(text: Option<&str>) -> Self {
        let some = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        match text.and_then(|text| text.split_once(':')) {
            Some(("alerts", name)) => Self::Alerts(some(name)),
            Some((_, name)) => Self::Rules(some(name)),
            None => Self::Rules(None),
        }
    }
}
