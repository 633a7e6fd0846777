//! Topics and mail subscriptions on SNS.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_sns::error::ProvideErrorMetadata;
use aws_sdk_sns::types::MessageAttributeValue;
use futures::FutureExt;
use serde_json::json;

use super::attempts::LostAnswers;
use super::clients::Connection;
use super::error::{Part, fault};
use crate::mesh::store::topics::{
    MailSubscription, Mailbox, NOTICE_BYTES_MAX, Notice, SUBJECT_CHARS_MAX, SubscriptionState,
    TENANT_TOPIC_PREFIX,
};
use crate::mesh::store::{Reply, Topics};
use crate::mesh::tenant::TenantId;
use crate::mesh::{Error, ErrorKind};

/// The attribute of a notice that mail subscriptions filter by: the addresses that it is for.
pub const ADDRESSES_ATTRIBUTE: &str = "to";

/// The attribute of a notice that holds the ids of its alerts.
pub const ALERTS_ATTRIBUTE: &str = "alerts";

/// The most addresses, and the most ids of alerts, that one message carries: all of its attributes and its
/// text must stay within 256 KiB.
const LIST_MAX: usize = 100;

/// The most tenants whose topic is remembered.
const TOPICS_MAX: usize = 4096;

/// The most pages of subscriptions that are looked through for an address; each holds 100.
const PAGES_MAX: usize = 10;

const FILTER_POLICY: &str = "FilterPolicy";
const MAIL: &str = "email";

/// SNS by a [`Connection`].
#[derive(Clone, Debug)]
pub struct AwsTopics {
    connection: Arc<Connection>,
    known: Arc<Mutex<HashMap<TenantId, String>>>,
}

impl AwsTopics {
    /// SNS by `connection`.
    pub fn new(connection: Arc<Connection>) -> Self {
        Self {
            connection,
            known: Arc::default(),
        }
    }

    async fn own_topic(&self, tenant: &TenantId) -> Result<String, Error> {
        if let Some(topic) = self.known().get(tenant) {
            return Ok(topic.clone());
        }
        let client = self.connection.sns(Some(tenant)).await;
        // Making it again changes nothing, so neither a race nor a lost answer makes a second one.
        let made = client
            .create_topic()
            .name(format!("{TENANT_TOPIC_PREFIX}{tenant}"))
            .send()
            .await
            .map_err(|error| fault(Part::Topics, error))?;
        let topic = made.topic_arn.ok_or_else(unreadable)?;
        let mut known = self.known();
        if known.len() >= TOPICS_MAX {
            known.clear();
        }
        known.insert(tenant.clone(), topic.clone());
        Ok(topic)
    }

    async fn subscribe_mail(
        &self,
        tenant: &TenantId,
        mailbox: Mailbox<'_>,
    ) -> Result<MailSubscription, Error> {
        let client = self.connection.sns(Some(tenant)).await;
        let lost = LostAnswers::default();
        let policy = filter_policy(mailbox.address);
        let subscribe = client
            .subscribe()
            .topic_arn(mailbox.topic)
            .protocol(MAIL)
            .endpoint(mailbox.address)
            .return_subscription_arn(true);
        let with_policy = subscribe.clone().attributes(FILTER_POLICY, &policy);
        let with_policy = with_policy.customize().interceptor(lost.clone());
        let arn = match with_policy.send().await {
            Ok(subscribed) => subscribed.subscription_arn,
            Err(error) if is_of_other_attributes(&error) => {
                // Somebody subscribed the address by hand: it gets the filter that it should have.
                let found = subscribe.send().await;
                let arn = found
                    .map_err(|error| fault(Part::Topics, error))?
                    .subscription_arn;
                client
                    .set_subscription_attributes()
                    .set_subscription_arn(arn.clone())
                    .attribute_name(FILTER_POLICY)
                    .attribute_value(&policy)
                    .send()
                    .await
                    .map_err(|error| fault(Part::Topics, error))?;
                arn
            }
            Err(error) => {
                if is_not_found(&error) {
                    self.forget(mailbox.topic);
                }
                return Err(lost.fault(Part::Topics, error));
            }
        };
        let Some(arn) = arn.filter(|arn| is_arn(arn)) else {
            return Ok(pending(None));
        };
        match self.state(tenant, &arn).await? {
            // It has just been made and is not seen everywhere yet.
            None => Ok(pending(Some(arn))),
            Some(state) => Ok(MailSubscription {
                arn: Some(arn),
                state,
            }),
        }
    }

    async fn look_at(
        &self,
        tenant: &TenantId,
        mailbox: Mailbox<'_>,
    ) -> Result<MailSubscription, Error> {
        if let Some(arn) = mailbox.known
            && let Some(state) = self.state(tenant, arn).await?
        {
            return Ok(MailSubscription {
                arn: Some(arn.to_owned()),
                state,
            });
        }
        // It may have been made anew since, under another ARN.
        self.search(tenant, mailbox).await
    }

    /// How the subscription is; none where there is no such one.
    async fn state(
        &self,
        tenant: &TenantId,
        subscription: &str,
    ) -> Result<Option<SubscriptionState>, Error> {
        let client = self.connection.sns(Some(tenant)).await;
        let answer = client
            .get_subscription_attributes()
            .subscription_arn(subscription)
            .send()
            .await;
        match answer {
            Ok(found) => {
                let attributes = found.attributes.unwrap_or_default();
                let is_pending = attributes
                    .get("PendingConfirmation")
                    .is_some_and(|value| value == "true");
                Ok(Some(if is_pending {
                    SubscriptionState::Pending
                } else {
                    SubscriptionState::Confirmed
                }))
            }
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(fault(Part::Topics, error)),
        }
    }

    /// The subscription of the address, found in the list of the topic.
    async fn search(
        &self,
        tenant: &TenantId,
        mailbox: Mailbox<'_>,
    ) -> Result<MailSubscription, Error> {
        let client = self.connection.sns(Some(tenant)).await;
        let mut next = None;
        for _ in 0..PAGES_MAX {
            let answer = client
                .list_subscriptions_by_topic()
                .topic_arn(mailbox.topic)
                .set_next_token(next)
                .send()
                .await;
            let page = match answer {
                Ok(page) => page,
                Err(error) if is_not_found(&error) => break,
                Err(error) => return Err(fault(Part::Topics, error)),
            };
            let found =
                page.subscriptions
                    .unwrap_or_default()
                    .into_iter()
                    .find(|one| {
                        one.protocol.as_deref() == Some(MAIL)
                            && one.endpoint.as_deref().is_some_and(|endpoint| {
                                endpoint.eq_ignore_ascii_case(mailbox.address)
                            })
                            && one.subscription_arn.as_deref() != Some("Deleted")
                    });
            if let Some(found) = found {
                return Ok(match found.subscription_arn.filter(|arn| is_arn(arn)) {
                    Some(arn) => MailSubscription {
                        arn: Some(arn),
                        state: SubscriptionState::Confirmed,
                    },
                    None => pending(None),
                });
            }
            next = page.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                break;
            }
        }
        Ok(MailSubscription {
            arn: None,
            state: SubscriptionState::Gone,
        })
    }

    async fn end(&self, tenant: &TenantId, mailbox: Mailbox<'_>) -> Result<bool, Error> {
        let found = self.look_at(tenant, mailbox).await?;
        let arn = match (found.state, found.arn) {
            (SubscriptionState::Pending, _) => return Ok(false),
            (SubscriptionState::Gone, _) | (_, None) => return Ok(true),
            (SubscriptionState::Confirmed, Some(arn)) => arn,
        };
        let client = self.connection.sns(Some(tenant)).await;
        let lost = LostAnswers::default();
        let unsubscribe = client.unsubscribe().subscription_arn(arn).customize();
        match unsubscribe.interceptor(lost.clone()).send().await {
            Ok(_) => Ok(true),
            Err(error) if is_not_found(&error) => Ok(true),
            Err(error) => Err(lost.fault(Part::Topics, error)),
        }
    }

    async fn publish_notice(
        &self,
        tenant: &TenantId,
        topic: &str,
        notice: &Notice,
    ) -> Result<(), Error> {
        if notice.text.len() > NOTICE_BYTES_MAX {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("a notice is at most {} KiB", NOTICE_BYTES_MAX >> 10),
            )
            .detail("limit", NOTICE_BYTES_MAX)
            .fix("shorten it"));
        }
        let client = self.connection.sns(Some(tenant)).await;
        let alerts = notice.alerts.get(..LIST_MAX).unwrap_or(&notice.alerts);
        // An operator's topic has no addresses, and still gets the notice once.
        let nobody: &[String] = &[];
        let chunks = notice.addresses.chunks(LIST_MAX);
        let once = notice.addresses.is_empty().then_some(nobody);
        let lost = LostAnswers::default();
        for (part, addresses) in chunks.chain(once).enumerate() {
            let mut attributes = HashMap::new();
            for (name, list) in [(ALERTS_ATTRIBUTE, alerts), (ADDRESSES_ATTRIBUTE, addresses)] {
                if !list.is_empty() {
                    attributes.insert(name.to_owned(), text_list(list)?);
                }
            }
            let answer = client
                .publish()
                .topic_arn(topic)
                .subject(subject(&notice.subject))
                .message(&notice.text)
                .set_message_attributes(Some(attributes))
                .customize()
                .interceptor(lost.clone())
                .send()
                .await;
            if let Err(error) = answer {
                let is_gone = is_not_found(&error);
                if is_gone {
                    self.forget(topic);
                }
                let error = lost.fault(Part::Topics, error);
                let error = match is_gone && !is_of_a_tenant(topic) {
                    true => no_topic(error),
                    false => error,
                };
                // Some have it already.
                return Err(if part > 0 { error.maybe_done() } else { error });
            }
        }
        Ok(())
    }

    async fn look(&self, topic: &str) -> Result<(), Error> {
        let client = self.connection.sns(None).await;
        client
            .get_topic_attributes()
            .topic_arn(topic)
            .send()
            .await
            .map(drop)
            .map_err(|error| fault(Part::Topics, error))
    }

    /// The topic is gone: the tenant whose it was gets another one when it next asks.
    fn forget(&self, topic: &str) {
        self.known().retain(|_, known| known != topic);
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<TenantId, String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Topics for AwsTopics {
    fn tenant_topic<'a>(&'a self, tenant: &'a TenantId) -> Reply<'a, String> {
        self.own_topic(tenant).boxed()
    }

    fn subscribe<'a>(
        &'a self,
        tenant: &'a TenantId,
        mailbox: Mailbox<'a>,
    ) -> Reply<'a, MailSubscription> {
        self.subscribe_mail(tenant, mailbox).boxed()
    }

    fn subscription<'a>(
        &'a self,
        tenant: &'a TenantId,
        mailbox: Mailbox<'a>,
    ) -> Reply<'a, MailSubscription> {
        self.look_at(tenant, mailbox).boxed()
    }

    fn unsubscribe<'a>(&'a self, tenant: &'a TenantId, mailbox: Mailbox<'a>) -> Reply<'a, bool> {
        self.end(tenant, mailbox).boxed()
    }

    fn publish<'a>(
        &'a self,
        tenant: &'a TenantId,
        topic: &'a str,
        notice: &'a Notice,
    ) -> Reply<'a, ()> {
        self.publish_notice(tenant, topic, notice).boxed()
    }

    fn check<'a>(&'a self, topic: &'a str) -> Reply<'a, ()> {
        self.look(topic).boxed()
    }
}

fn pending(arn: Option<String>) -> MailSubscription {
    MailSubscription {
        arn,
        state: SubscriptionState::Pending,
    }
}

/// SNS has words in the place of an ARN that it does not tell, `pending confirmation` among them.
fn is_arn(text: &str) -> bool {
    text.starts_with("arn:")
}

/// Notices to `address` and no others.
fn filter_policy(address: &str) -> String {
    json!({ADDRESSES_ATTRIBUTE: [address]}).to_string()
}

/// A list of texts as an attribute.
fn text_list(texts: &[String]) -> Result<MessageAttributeValue, Error> {
    MessageAttributeValue::builder()
        .data_type("String.Array")
        .string_value(json!(texts).to_string())
        .build()
        .map_err(|error| {
            Error::internal("an attribute of a notice could not be made").caused_by(error)
        })
}

/// `text` as SNS takes a subject: printable ASCII that does not begin with a space.
fn subject(text: &str) -> String {
    let printable: String = text
        .trim()
        .chars()
        .map(|character| match character {
            ' '..='~' => character,
            character if character.is_whitespace() || character.is_control() => ' ',
            _ => '?',
        })
        .take(SUBJECT_CHARS_MAX)
        .collect();
    match printable.trim() {
        "" => "agent-mesh".to_owned(),
        subject => subject.to_owned(),
    }
}

/// Emulators append `Exception` to the code.
fn is_not_found(error: &impl ProvideErrorMetadata) -> bool {
    matches!(error.code(), Some("NotFound" | "NotFoundException"))
}

/// Whether the topic is one that is made for a tenant, and not the operator's.
fn is_of_a_tenant(topic: &str) -> bool {
    let name = topic.rsplit(':').next().unwrap_or_default();
    name.starts_with(TENANT_TOPIC_PREFIX)
}

/// Nobody makes an operator's topic anew: to wait for it would hold up what comes after.
fn no_topic(cause: Error) -> Error {
    Error::new(
        ErrorKind::NotFound,
        "the topic that the operator has set up is not there",
    )
    .fix("ask the operator of the server to look at the alert topics in its settings")
    .caused_by(cause)
}

fn is_of_other_attributes(error: &impl ProvideErrorMetadata) -> bool {
    error
        .message()
        .is_some_and(|message| message.contains("already exists with different attributes"))
}

fn unreadable() -> Error {
    Error::new(
        ErrorKind::AwsUnavailable,
        "the notification service gave an answer that cannot be read",
    )
    .fix("try again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_what_sns_takes() {
        let long = "x".repeat(SUBJECT_CHARS_MAX + 1);
        for (text, expected) in [
            ("order failed", "order failed"),
            (
                "  two\r\nBcc: eve@example.com ",
                "two  Bcc: eve@example.com",
            ),
            ("grün 🦀", "gr?n ?"),
            ("\u{7f}", "agent-mesh"),
            ("", "agent-mesh"),
            (long.as_str(), &long[1..]),
        ] {
            let made = subject(text);
            assert_eq!(made, expected, "{text:?}");
            assert!(made.len() < 100 && made.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
        }
    }

    #[test]
    fn the_filter_lets_nothing_of_an_address_become_its_own() {
        let policy = filter_policy("\"]},{\"x\":[\"@example.com");
        let read: serde_json::Value = serde_json::from_str(&policy).unwrap();
        assert_eq!(read, json!({"to": ["\"]},{\"x\":[\"@example.com"]}));
    }
}
