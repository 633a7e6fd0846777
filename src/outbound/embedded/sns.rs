//! Topics and mail subscriptions: SNS's operations, and mails that are left in a folder.
//!
//! SNS speaks the query protocol: forms go in, XML comes out.

mod answer;
mod filter;
mod form;
mod mail;
mod store;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::faults::Service;
use super::folder::{Failure, Folder};
use super::wire::Answer;
use super::{ACCOUNT, REGION};
use crate::mesh::store::topics::{SUBJECT_CHARS_MAX, SUBSCRIPTIONS_MAX, TENANT_TOPIC_PREFIX};
use crate::mesh::{Clock, Error};
use answer::{element, entries, ok, refuse};
use filter::{FilterPolicy, MessageAttribute};
use form::Form;
pub(super) use mail::MailFolder;
use mail::{Mail, Recipient};
use store::{Subscription, Topic, TopicStore};

/// The largest request in bytes: a message of the largest size, each byte of it escaped.
const BODY_BYTES_MAX: usize = 1 << 20;

/// The most bytes of a message with its attributes.
const MESSAGE_BYTES_MAX: usize = 256 << 10;

/// The most requests that are at work on the disk at one time.
const AT_WORK_MAX: usize = 4;

/// The longest name of a topic here, in characters: it becomes the name of a file.
const NAME_CHARS_MAX: usize = 128;

/// The longest address, in bytes.
const ADDRESS_BYTES_MAX: usize = 254;

const OPERATIONS: [&str; 8] = [
    "CreateTopic",
    "GetTopicAttributes",
    "Subscribe",
    "Unsubscribe",
    "ListSubscriptionsByTopic",
    "GetSubscriptionAttributes",
    "SetSubscriptionAttributes",
    "Publish",
];

/// The engine of all topics.
#[derive(Debug)]
pub(super) struct Sns {
    parts: Arc<Parts>,
    free: Arc<Semaphore>,
}

#[derive(Debug)]
struct Parts {
    topics: TopicStore,
    mails: Arc<MailFolder>,
}

/// A message to the subscribers of a topic.
#[derive(Clone, Debug, Default)]
pub(super) struct Publication {
    /// The topic's ARN.
    pub(super) topic: String,
    /// The subject, if it has one.
    pub(super) subject: Option<String>,
    /// The text.
    pub(super) message: String,
    /// What filters look at: each attribute's name, type and value.
    pub(super) attributes: Vec<(String, String, String)>,
}

/// Why a request was not carried out.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The request is wrong, in SNS's own words: status, code and message.
    Request(u16, &'static str, String),
    /// The disk refuses.
    Storage(Failure),
}

impl Refusal {
    fn parameter(message: impl std::fmt::Display) -> Self {
        Self::Request(
            400,
            "InvalidParameter",
            format!("Invalid parameter: {message}"),
        )
    }

    fn not_found(what: &str) -> Self {
        Self::Request(404, "NotFound", format!("{what} does not exist"))
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        Self::Storage(error.into())
    }
}

impl Sns {
    /// The topics and the mails of `folder`.
    pub(super) fn open(folder: &Folder, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let mails = Arc::new(MailFolder::new(folder.mail_path(), clock));
        Ok(Self {
            parts: Arc::new(Parts {
                topics: TopicStore::new(folder.topics_path(), folder.lock("topics.lock")?),
                mails,
            }),
            free: Arc::new(Semaphore::new(AT_WORK_MAX)),
        })
    }

    /// The mails, for whoever sweeps them.
    pub(super) fn mails(&self) -> Arc<MailFolder> {
        Arc::clone(&self.parts.mails)
    }

    /// The operation that a request asks for, or the empty name where there is none of it here.
    pub(super) fn operation(body: &[u8]) -> &'static str {
        let action = form_urlencoded::parse(body).find(|(name, _)| name == "Action");
        action
            .and_then(|(_, action)| OPERATIONS.into_iter().find(|known| *known == action))
            .unwrap_or_default()
    }

    /// The answer to a request. The disk is touched on a thread for blocking work.
    pub(super) async fn answer(&self, operation: &'static str, body: Bytes) -> Answer {
        if body.len() > BODY_BYTES_MAX {
            return refuse(Refusal::parameter("the request is larger than 1 MiB"));
        }
        let Ok(permit) = Arc::clone(&self.free).acquire_owned().await else {
            return Answer::server_error(Service::Sns);
        };
        let parts = Arc::clone(&self.parts);
        let work = move || {
            let done = parts.carry_out(operation, &Form::parse(&body));
            drop(permit);
            done
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(result)) => ok(operation, &result),
            Ok(Err(refusal)) => refuse(refusal),
            Err(error) => {
                tracing::error!(%error, operation, "a request to SNS broke down");
                Answer::server_error(Service::Sns)
            }
        }
    }

    /// Publishes as `Publish` does; for the other services of this cloud. It blocks.
    pub(super) fn publish(&self, publication: &Publication) -> Result<String, Refusal> {
        self.parts.publish(publication)
    }
}

impl Parts {
    /// The inner part of the answer, as XML.
    fn carry_out(&self, operation: &str, form: &Form) -> Result<String, Refusal> {
        match operation {
            "CreateTopic" => self.create_topic(form),
            "GetTopicAttributes" => self.topic_attributes(form),
            "Subscribe" => self.subscribe(form),
            "Unsubscribe" => self.unsubscribe(form),
            "ListSubscriptionsByTopic" => self.list(form),
            "GetSubscriptionAttributes" => self.subscription_attributes(form),
            "SetSubscriptionAttributes" => self.set_subscription_attributes(form),
            "Publish" => self
                .publish(&Publication::read(form))
                .map(|id| element("MessageId", &id)),
            _ => Err(Refusal::Request(
                400,
                "InvalidAction",
                "The embedded cloud does not have this operation.".to_owned(),
            )),
        }
    }

    fn create_topic(&self, form: &Form) -> Result<String, Refusal> {
        let name = form.get("Name").unwrap_or_default();
        if !is_name(name) {
            return Err(Refusal::parameter("Topic Name"));
        }
        self.topics.change(name, true, |_| Ok(()))?;
        Ok(element("TopicArn", &topic_arn(name)))
    }

    fn topic_attributes(&self, form: &Form) -> Result<String, Refusal> {
        let name = topic_name(form.get("TopicArn"))?;
        let topic = self.topic(name)?;
        let confirmed = topic.subscriptions.len().to_string();
        Ok(entries(&[
            ("TopicArn", &topic_arn(name)),
            ("Owner", ACCOUNT),
            ("SubscriptionsConfirmed", &confirmed),
            ("SubscriptionsPending", "0"),
            ("SubscriptionsDeleted", "0"),
        ]))
    }

    fn subscribe(&self, form: &Form) -> Result<String, Refusal> {
        let name = topic_name(form.get("TopicArn"))?;
        if form.get("Protocol") != Some("email") {
            return Err(Refusal::parameter(
                "the embedded cloud has subscriptions by email only",
            ));
        }
        let address = form.get("Endpoint").unwrap_or_default();
        if !is_address(address) {
            return Err(Refusal::parameter("Email address"));
        }
        let policy = match form.attribute("FilterPolicy") {
            Some(text) => Some(FilterPolicy::parse(text).map_err(Refusal::parameter)?),
            None => None,
        };
        let may_create = !name.starts_with(TENANT_TOPIC_PREFIX);
        let id = self.topics.change(name, may_create, |topic| {
            let mut known = topic.subscriptions.iter();
            let found = known.find(|subscription| subscription.endpoint == address);
            if let Some(found) = found {
                // Only what the request names must be the same.
                if policy.is_some() && policy != found.filter_policy {
                    return Err(Refusal::parameter(
                        "Attributes Reason: Subscription already exists with different attributes",
                    ));
                }
                return Ok(found.id.clone());
            }
            if topic.subscriptions.len() >= SUBSCRIPTIONS_MAX {
                return Err(Refusal::Request(
                    403,
                    "FilterPolicyLimitExceeded",
                    "The topic has as many filter policies as it may.".to_owned(),
                ));
            }
            let id = Uuid::new_v4().to_string();
            topic.subscriptions.push(Subscription {
                id: id.clone(),
                endpoint: address.to_owned(),
                filter_policy: policy.clone(),
            });
            Ok(id)
        })?;
        Ok(element("SubscriptionArn", &subscription_arn(name, &id)))
    }

    fn unsubscribe(&self, form: &Form) -> Result<String, Refusal> {
        let (name, id) = subscription_name(form.get("SubscriptionArn"))?;
        let removed = self.topics.change(name, false, |topic| {
            topic
                .subscriptions
                .retain(|subscription| subscription.id != id);
            Ok(())
        });
        match removed {
            // What is gone already needs no removal.
            Ok(()) | Err(Refusal::Request(404, ..)) => Ok(String::new()),
            Err(refusal) => Err(refusal),
        }
    }

    fn list(&self, form: &Form) -> Result<String, Refusal> {
        let name = topic_name(form.get("TopicArn"))?;
        let arn = topic_arn(name);
        // A topic has no more than fit on two pages of SNS, so there is always only one.
        let members: String = self
            .topic(name)?
            .subscriptions
            .iter()
            .map(|subscription| {
                let inner = [
                    element("TopicArn", &arn),
                    element("Protocol", "email"),
                    element("SubscriptionArn", &subscription_arn(name, &subscription.id)),
                    element("Owner", ACCOUNT),
                    element("Endpoint", &subscription.endpoint),
                ];
                format!("<member>{}</member>", inner.concat())
            })
            .collect();
        Ok(format!("<Subscriptions>{members}</Subscriptions>"))
    }

    fn subscription_attributes(&self, form: &Form) -> Result<String, Refusal> {
        let (name, id) = subscription_name(form.get("SubscriptionArn"))?;
        let topic = self.topic(name)?;
        let mut known = topic.subscriptions.iter();
        let found = known.find(|subscription| subscription.id == id);
        let found = found.ok_or_else(|| Refusal::not_found("Subscription"))?;
        let (arn, topic) = (subscription_arn(name, id), topic_arn(name));
        let policy = found.filter_policy.as_ref().map(FilterPolicy::text);
        let mut attributes = vec![
            ("SubscriptionArn", arn.as_str()),
            ("TopicArn", &topic),
            ("Owner", ACCOUNT),
            ("Protocol", "email"),
            ("Endpoint", &found.endpoint),
            ("PendingConfirmation", "false"),
            ("ConfirmationWasAuthenticated", "true"),
            ("RawMessageDelivery", "false"),
        ];
        if let Some(policy) = &policy {
            attributes.push(("FilterPolicyScope", "MessageAttributes"));
            attributes.push(("FilterPolicy", policy));
        }
        Ok(entries(&attributes))
    }

    fn set_subscription_attributes(&self, form: &Form) -> Result<String, Refusal> {
        let (name, id) = subscription_name(form.get("SubscriptionArn"))?;
        if form.get("AttributeName") != Some("FilterPolicy") {
            return Err(Refusal::parameter("AttributeName"));
        }
        let policy = match form.get("AttributeValue") {
            None | Some("" | "{}") => None,
            Some(text) => Some(FilterPolicy::parse(text).map_err(Refusal::parameter)?),
        };
        self.topics.change(name, false, |topic| {
            let mut found = topic.subscriptions.iter_mut();
            let found = found.find(|subscription| subscription.id == id);
            let found = found.ok_or_else(|| Refusal::not_found("Subscription"))?;
            found.filter_policy.clone_from(&policy);
            Ok(())
        })?;
        Ok(String::new())
    }

    fn publish(&self, publication: &Publication) -> Result<String, Refusal> {
        let name = published_name(&publication.topic)?;
        let topic = self.topic(name)?;
        publication.check()?;
        let attributes = publication
            .attributes
            .iter()
            .map(|(name, kind, value)| MessageAttribute::parse(name, kind, value))
            .collect::<Result<Vec<_>, _>>()
            .map_err(Refusal::parameter)?;
        let id = Uuid::new_v4().to_string();
        let matching = topic.subscriptions.iter().filter(|subscription| {
            let policy = subscription.filter_policy.as_ref();
            policy.is_none_or(|policy| policy.matches(&attributes))
        });
        let mut recipients: Vec<Recipient<'_>> = matching
            .map(|subscription| Recipient::Address(&subscription.endpoint))
            .collect();
        // Whoever listens to an operator's topic in AWS is not here: a person may read it in the folder.
        if !name.starts_with(TENANT_TOPIC_PREFIX) {
            recipients.push(Recipient::Topic(name));
        }
        for recipient in recipients {
            self.mails.leave(&Mail {
                recipient,
                subject: publication.subject.as_deref().unwrap_or(name),
                text: &publication.message,
                message_id: &id,
            })?;
        }
        Ok(id)
    }

    /// The topic of that name. An operator's is there as soon as somebody names it; a tenant's is made.
    fn topic(&self, name: &str) -> Result<Topic, Refusal> {
        match self.topics.read(name)? {
            Some(topic) => Ok(topic),
            None if !name.starts_with(TENANT_TOPIC_PREFIX) => Ok(Topic::default()),
            None => Err(Refusal::not_found("Topic")),
        }
    }
}

impl Publication {
    fn read(form: &Form) -> Self {
        Self {
            topic: form.get("TopicArn").unwrap_or_default().to_owned(),
            subject: form.get("Subject").map(str::to_owned),
            message: form.get("Message").unwrap_or_default().to_owned(),
            attributes: form.message_attributes(),
        }
    }

    fn check(&self) -> Result<(), Refusal> {
        if self.message.is_empty() {
            return Err(Refusal::parameter("Empty message"));
        }
        let attributes = self.attributes.iter();
        let sizes = attributes.map(|(name, kind, value)| name.len() + kind.len() + value.len());
        if self.message.len() + sizes.sum::<usize>() > MESSAGE_BYTES_MAX {
            return Err(Refusal::parameter("Message too long"));
        }
        let is_subject = |text: &str| {
            (1..=SUBJECT_CHARS_MAX).contains(&text.len())
                && !text.starts_with(' ')
                && text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
        };
        match &self.subject {
            Some(subject) if !is_subject(subject) => Err(Refusal::parameter("Subject")),
            _ => Ok(()),
        }
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

/// Whether mail can be sent to `text`, and nothing in it can become another header.
fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return false;
    };
    let allowed = |byte: u8| byte.is_ascii_graphic() && !b"\"(),:;<>[\\]@".contains(&byte);
    text.len() <= ADDRESS_BYTES_MAX
        && !local.is_empty()
        && !domain.is_empty()
        && local.bytes().chain(domain.bytes()).all(allowed)
}

fn topic_arn(name: &str) -> String {
    format!("arn:aws:sns:{REGION}:{ACCOUNT}:{name}")
}

fn subscription_arn(topic: &str, id: &str) -> String {
    format!("{}:{id}", topic_arn(topic))
}

/// The name of a topic of this cloud.
fn topic_name(arn: Option<&str>) -> Result<&str, Refusal> {
    let name = arn
        .unwrap_or_default()
        .strip_prefix(&topic_arn(""))
        .ok_or_else(|| Refusal::not_found("Topic"))?;
    if is_name(name) {
        Ok(name)
    } else {
        Err(Refusal::parameter("TopicArn"))
    }
}

/// The name of a topic that can be published to: one of this cloud, or an operator's in any account and region,
/// since settings that hold in AWS hold here, too.
fn published_name(arn: &str) -> Result<&str, Refusal> {
    let elsewhere = || {
        let parts: Vec<&str> = arn.split(':').collect();
        let ["arn", _, "sns", _, _, name] = parts[..] else {
            return None;
        };
        (is_name(name) && !name.starts_with(TENANT_TOPIC_PREFIX)).then_some(name)
    };
    match elsewhere() {
        Some(name) => Ok(name),
        None => topic_name(Some(arn)),
    }
}

/// The name of a topic of this cloud, and the id of a subscription to it.
fn subscription_name(arn: Option<&str>) -> Result<(&str, &str), Refusal> {
    let (topic, id) = arn
        .and_then(|arn| arn.rsplit_once(':'))
        .ok_or_else(|| Refusal::parameter("SubscriptionArn"))?;
    match topic_name(Some(topic)) {
        Ok(name) => Ok((name, id)),
        Err(Refusal::Request(404, ..)) => Err(Refusal::not_found("Subscription")),
        Err(refusal) => Err(refusal),
    }
}
