//! Alerts: somebody is told, by mail or by a topic of the operator's, when a rule or a pattern matches.

mod address;
pub mod raised;

use serde::Serialize;

pub use address::MailAddress;
pub use raised::{AlertsRead, AlertsSubscribe, RaisedAlerts};

use super::rules::{Change, Name};
use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{AlertsManage, EventsRead, Operation, Report, Subject};
use crate::mesh::call::tool::Tool;
use crate::mesh::event::pattern::Pattern;
use crate::mesh::event::rule::{Alert, Delivery, Trigger};
use crate::mesh::limit::{Cost, Direction};
use crate::mesh::store::mail::{Mail, MailPolicy};
use crate::mesh::store::rules::{EndsAlerts, Placed, Rules, Stored};
use crate::mesh::store::topics::{MailSubscription, SubscriptionState};
use crate::mesh::{Error, ErrorKind};

/// How often an alert is written or deleted anew while others change it.
const ROUNDS_MAX: usize = 4;

/// What an alert's row and its name among the others are expected to cost: units of the table.
const READ_UNITS: f64 = 3.0;
const WRITE_UNITS: f64 = 3.0;

/// Requests to SNS that an alert by mail is expected to take.
const MAIL_REQUESTS: f64 = 2.0;

/// The most names of topics that an error tells.
const NAMES_TOLD_MAX: usize = 50;

/// How an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// Its address has been asked and has not answered yet.
    PendingConfirmation,
    /// It tells.
    Active,
    /// Its address never answered, or has unsubscribed.
    Expired,
}

impl AlertState {
    /// The word in answers and events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PendingConfirmation => "pending_confirmation",
            Self::Active => "active",
            Self::Expired => "expired",
        }
    }

    /// How `alert` was when it was last looked at.
    pub const fn known(alert: &Alert) -> Self {
        match &alert.delivery {
            Delivery::Mail {
                subscription: None, ..
            } => Self::PendingConfirmation,
            _ => Self::Active,
        }
    }

    const fn of(subscription: &MailSubscription) -> Self {
        match subscription.state {
            SubscriptionState::Pending => Self::PendingConfirmation,
            SubscriptionState::Confirmed => Self::Active,
            SubscriptionState::Gone => Self::Expired,
        }
    }
}

/// Which events an alert is to be about.
#[derive(Debug)]
pub enum About {
    /// Those that a rule matches.
    Rule(Name),
    /// Those that match a pattern of its own.
    Pattern(Pattern),
}

/// How an alert is to tell.
#[derive(Debug)]
pub enum Method {
    /// By mail.
    Email(MailAddress),
    /// By a topic of the operator's, by its logical name.
    Sns(String),
}

/// Makes an alert.
#[derive(Debug)]
pub struct CreateAlert {
    /// Its name.
    pub name: Name,
    /// Which events.
    pub about: About,
    /// How it tells.
    pub method: Method,
}

/// What [`CreateAlert`] answers.
#[derive(Debug, Serialize)]
pub struct CreateAlertAnswer {
    alert: String,
    state: AlertState,
    change: Change,
}

impl Operation for CreateAlert {
    const TOOL: Tool = Tool::EventsCreateAlert;
    type Needs = AlertsManage;
    type Answer = CreateAlertAnswer;

    /// Names alone: neither addresses nor patterns.
    fn subject(&self) -> Subject {
        let subject = Subject::none().with("alert", self.name.as_str());
        let subject = match &self.about {
            About::Rule(rule) => subject.with("rule", rule.as_str()),
            About::Pattern(_) => subject,
        };
        match &self.method {
            Method::Email(_) => subject.with("method", "email"),
            Method::Sns(topic) => subject.with("method", "sns").with("topic", topic.as_str()),
        }
    }

    fn cost(&self) -> Cost {
        let cost = Cost::of(Direction::DynamodbWrite, WRITE_UNITS)
            .and(Direction::DynamodbRead, READ_UNITS);
        match self.method {
            Method::Email(_) => cost.and(Direction::Sns, MAIL_REQUESTS),
            Method::Sns(_) => cost,
        }
    }

    async fn serve<'call>(self, call: &Granted<'call, Self>) -> Result<CreateAlertAnswer, Error> {
        self.check_method(call)?;
        let rules = call.rules();
        self.require_rule(&rules).await?;
        let (stored, change) = self.store(call, &rules).await?;
        let state = match &stored.thing.delivery {
            Delivery::Topic { .. } => AlertState::Active,
            Delivery::Mail { .. } => match call.mail().subscribe(&stored.thing).await {
                Ok(subscription) => noted(&rules, &stored, &subscription).await,
                Err(error) => return Err(taken_back(&rules, &stored, change, error).await),
            },
        };
        Ok(CreateAlertAnswer {
            alert: stored.thing.name,
            state,
            change,
        })
    }

    fn report(answer: &CreateAlertAnswer) -> Report {
        Report {
            bytes: None,
            facts: vec![
                ("state", answer.state.name().into()),
                ("change", answer.change.name().into()),
            ],
        }
    }
}

impl CreateAlert {
    /// Refuses what the operator does not provide for.
    fn check_method(&self, call: &Granted<'_, Self>) -> Result<(), Error> {
        match &self.method {
            Method::Email(address) => check_domain(address, call.mail_policy()),
            Method::Sns(topic) if call.alert_topics().any(|name| name == topic) => Ok(()),
            Method::Sns(topic) => {
                let known: Vec<_> = call.alert_topics().collect();
                Err(unknown_topic(topic, &known))
            }
        }
    }

    async fn require_rule(&self, rules: &Rules<'_, AlertsManage>) -> Result<(), Error> {
        let About::Rule(rule) = &self.about else {
            return Ok(());
        };
        match rules.has_rule(rule.as_str()).await? {
            Some(false) => return Ok(()),
            Some(true) => {
                let message = "a native rule raises no alerts: its events go past this server";
                return Err(Error::invalid("rule", message)
                    .fix("Make an ordinary rule, or give a `pattern` instead of `rule`."));
            }
            None => {}
        }
        Err(Error::new(
            ErrorKind::NotFound,
            format!("there is no rule `{}`", rule.as_str()),
        )
        .fix("Make it first with events_create_rule, or give a `pattern` instead of `rule`."))
    }

    /// Writes the alert, or finds it as it is to be.
    async fn store<'call>(
        &self,
        call: &Granted<'call, Self>,
        rules: &Rules<'call, AlertsManage>,
    ) -> Result<(Stored<Alert>, Change), Error> {
        let name = self.name.as_str();
        for _ in 0..ROUNDS_MAX {
            if let Some(held) = rules.alert(name).await? {
                return match self.is(&held.thing) {
                    true => Ok((held, Change::Unchanged)),
                    false => Err(self.conflict()),
                };
            }
            let alert = Alert {
                name: name.to_owned(),
                id: rules.new_id(),
                trigger: self.trigger(),
                delivery: self.delivery(),
                created_at: call.now(),
                created_by: call.user_id().clone(),
            };
            rules.enter_alert(&alert).await?;
            if !matches!(rules.add_alert(&alert).await?, Placed::Done) {
                continue;
            }
            rules.announce();
            let Some(stored) = rules.alert(name).await? else {
                continue;
            };
            // Whoever deletes the rule deletes its alerts after it: one of the two sees the other.
            if let Err(error) = self.require_rule(rules).await {
                rules.delete_alert(&stored).await?;
                rules.announce();
                return Err(error);
            }
            return Ok((stored, Change::Created));
        }
        Err(changing(name))
    }

    fn trigger(&self) -> Trigger {
        match &self.about {
            About::Rule(rule) => Trigger::Rule(rule.as_str().to_owned()),
            About::Pattern(pattern) => Trigger::Pattern(pattern.canonical()),
        }
    }

    fn delivery(&self) -> Delivery {
        match &self.method {
            Method::Email(address) => Delivery::Mail {
                address: address.as_str().to_owned(),
                subscription: None,
            },
            Method::Sns(topic) => Delivery::Topic {
                name: topic.clone(),
            },
        }
    }

    /// Whether `held` is what is to be made.
    fn is(&self, held: &Alert) -> bool {
        let tells_the_same = match (&held.delivery, &self.method) {
            (Delivery::Mail { address, .. }, Method::Email(wanted)) => address == wanted.as_str(),
            (Delivery::Topic { name }, Method::Sns(topic)) => name == topic,
            _ => false,
        };
        tells_the_same && held.trigger == self.trigger()
    }

    fn conflict(&self) -> Error {
        let name = self.name.as_str();
        Error::new(
            ErrorKind::Conflict,
            format!("there is an alert `{name}` that is about something else or tells another way"),
        )
        .fix("Choose another name, or delete that alert with events_delete_alert first.")
        .detail("alert", name)
    }
}

/// Deletes an alert.
#[derive(Debug)]
pub struct DeleteAlert {
    /// Which.
    pub name: Name,
}

/// What [`DeleteAlert`] answers.
#[derive(Debug, Serialize)]
pub struct DeleteAlertAnswer {
    alert: String,
    existed: bool,
}

impl Operation for DeleteAlert {
    const TOOL: Tool = Tool::EventsDeleteAlert;
    type Needs = AlertsManage;
    type Answer = DeleteAlertAnswer;

    fn subject(&self) -> Subject {
        Subject::none().with("alert", self.name.as_str())
    }

    fn cost(&self) -> Cost {
        Cost::of(Direction::DynamodbWrite, WRITE_UNITS).and(Direction::DynamodbRead, READ_UNITS)
    }

    async fn serve<'call>(self, call: &Granted<'call, Self>) -> Result<DeleteAlertAnswer, Error> {
        let (rules, mail) = (call.rules(), call.mail());
        let name = self.name.as_str();
        for _ in 0..ROUNDS_MAX {
            let found = rules.alert(name).await?;
            let existed = found.is_some();
            let is_gone = match found {
                Some(alert) => end(&rules, &mail, &alert).await?,
                None => true,
            };
            if is_gone {
                if existed {
                    rules.announce();
                }
                return Ok(DeleteAlertAnswer {
                    alert: name.to_owned(),
                    existed,
                });
            }
        }
        Err(changing(name))
    }

    fn report(answer: &DeleteAlertAnswer) -> Report {
        Report {
            bytes: None,
            facts: vec![("existed", answer.existed.into())],
        }
    }
}

/// Takes an alert back whose address could not be subscribed, so that the call can be repeated.
async fn taken_back(
    rules: &Rules<'_, AlertsManage>,
    stored: &Stored<Alert>,
    change: Change,
    error: Error,
) -> Error {
    if change == Change::Created {
        if let Err(left) = rules.delete_alert(stored).await {
            tracing::warn!(error = ?left, "an alert without a subscription stays: made again, it gets one");
        }
        rules.announce();
    }
    error
}

/// Ends an alert: first its mail, then its row, so that a call that breaks off leaves a row with which it
/// can be repeated. Whether it is gone.
///
/// An address has one subscription, whatever alerts are mailed there: it ends with the last of them. One
/// that comes to be meanwhile finds it ended, and is subscribed anew.
pub(super) async fn end<P: EndsAlerts>(
    rules: &Rules<'_, P>,
    mail: &Mail<'_, P>,
    alert: &Stored<Alert>,
) -> Result<bool, Error> {
    let is_last = alert.thing.is_mailed() && rules.fellows_of(&alert.thing).await?.is_empty();
    if is_last {
        mail.unsubscribe(&alert.thing).await?;
    }
    let is_gone = rules.delete_alert(alert).await?;
    if is_last && let Some(fellow) = rules.fellows_of(&alert.thing).await?.first() {
        mail.restore(&fellow.thing).await?;
    }
    Ok(is_gone)
}

/// How the mail subscription of `alert` is, which is noted where it has changed.
pub(super) async fn mail_state(
    rules: &Rules<'_, EventsRead>,
    mail: &Mail<'_, EventsRead>,
    alert: &Stored<Alert>,
) -> Result<AlertState, Error> {
    let subscription = mail.subscription(&alert.thing).await?;
    Ok(noted(rules, alert, &subscription).await)
}

/// The state that `subscription` says, which is kept with the alert: a subscription that was confirmed is
/// known as such afterwards, also while SNS cannot be asked.
async fn noted<P>(
    rules: &Rules<'_, P>,
    alert: &Stored<Alert>,
    subscription: &MailSubscription,
) -> AlertState {
    let known = match subscription.state {
        SubscriptionState::Confirmed => subscription.arn.clone(),
        SubscriptionState::Pending | SubscriptionState::Gone => None,
    };
    if let Err(error) = rules.note_subscription(alert, known).await {
        tracing::debug!(?error, "how a subscription is could not be noted");
    }
    AlertState::of(subscription)
}

/// That the operator has given the tenant no topic of this name.
fn unknown_topic(name: &str, known: &[&str]) -> Error {
    let fix = match known {
        [] => "Use method `email`, or ask whoever runs the server to set up a topic with \
               AGENT_MESH_ALERT_TOPICS."
            .to_owned(),
        known => {
            let told = known[..known.len().min(NAMES_TOLD_MAX)].join(", ");
            format!("Use one of: {told}.")
        }
    };
    Error::new(ErrorKind::NotFound, format!("there is no topic `{name}`"))
        .fix(fix)
        .detail("parameter", "topic")
}

/// Refuses an address to which the operator sends no mail.
fn check_domain(address: &MailAddress, policy: &MailPolicy) -> Result<(), Error> {
    let MailPolicy::Domains(domains) = policy else {
        return Ok(());
    };
    if domains.is_empty() {
        return Err(Error::new(
            ErrorKind::NotSupported,
            "this server sends no mail: no domain is allowed",
        )
        .fix(
            "Use method `sns` with a topic of the operator's, or ask whoever runs the server to name your \
             domain in AGENT_MESH_ALERT_DOMAINS.",
        )
        .detail("parameter", "method"));
    }
    if domains.iter().any(|domain| domain == address.domain()) {
        return Ok(());
    }
    Err(Error::invalid(
        "email",
        format!("this server sends no mail to `{}`", address.domain()),
    )
    .fix(format!(
        "Use an address at {}, or ask whoever runs the server to add the domain to AGENT_MESH_ALERT_DOMAINS.",
        domains.join(", ")
    )))
}

fn changing(name: &str) -> Error {
    Error::new(
        ErrorKind::Overloaded,
        format!("the alert `{name}` is being changed by others"),
    )
    .fix("Repeat the call.")
}
