//! The seam to SNS: the topic of a tenant's alerts, the operator's own topics, and who gets mail.

use super::Reply;
use crate::mesh::tenant::TenantId;

/// What the name of a tenant's topic begins with; the tenant's id is the rest.
pub const TENANT_TOPIC_PREFIX: &str = "agent-mesh-alerts-";

/// The most bytes of a notice's text: SNS takes 256 KiB with the attributes.
pub const NOTICE_BYTES_MAX: usize = 128 << 10;

/// The longest subject of a notice, in characters: SNS takes 100 printable ASCII ones.
pub const SUBJECT_CHARS_MAX: usize = 99;

/// The most mail subscriptions of a tenant: SNS allows a topic 200 filter policies, and each has one.
pub const SUBSCRIPTIONS_MAX: usize = 200;

/// What is told of an event that alerts are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The subject. What SNS would not take of it is replaced, and its end cut off.
    pub subject: String,
    /// The text: at most [`NOTICE_BYTES_MAX`] bytes.
    pub text: String,
    /// The ids of the alerts that matched, for those who filter an operator's topic by them.
    pub alerts: Vec<String>,
    /// On a tenant's own topic, the addresses of those alerts; each subscription takes only notices to its
    /// own. An operator's topic has none.
    pub addresses: Vec<String>,
}

/// How a mail subscription is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionState {
    /// Its address has been asked and has not answered yet.
    Pending,
    /// It gets mail.
    Confirmed,
    /// There is none: it was never made, not confirmed within two days, or its address has unsubscribed.
    Gone,
}

/// A mail subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailSubscription {
    /// The ARN by which it is found fastest; it may stay the same from pending to confirmed.
    pub arn: Option<String>,
    /// How it is.
    pub state: SubscriptionState,
}

/// Whose mail subscription is meant. A topic has one for each address, whatever alerts are mailed there,
/// so a subscription filters notices by its address: two alerts to one address need no change of the
/// filter, which SNS takes up to 15 minutes to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mailbox<'a> {
    /// The tenant's topic.
    pub topic: &'a str,
    /// The address, always written the same way.
    pub address: &'a str,
    /// The ARN that the subscription had when it was last looked at.
    pub known: Option<&'a str>,
}

/// SNS, or what stands in for it.
pub trait Topics: Send + Sync + 'static {
    /// The ARN of the one topic of the tenant's alerts, which is made where it is missing. It is
    /// remembered, so that asking for it before each notice costs nothing.
    fn tenant_topic<'a>(&'a self, tenant: &'a TenantId) -> Reply<'a, String>;

    /// Subscribes the address to notices to it. One that is confirmed stays so, one that is pending is
    /// asked once more.
    ///
    /// # Errors
    /// `INVALID_PARAMETER` for an address that SNS does not take, `QUOTA_EXCEEDED` where the topic has
    /// as many subscriptions as it may.
    fn subscribe<'a>(
        &'a self,
        tenant: &'a TenantId,
        mailbox: Mailbox<'a>,
    ) -> Reply<'a, MailSubscription>;

    /// How the subscription of the address is.
    fn subscription<'a>(
        &'a self,
        tenant: &'a TenantId,
        mailbox: Mailbox<'a>,
    ) -> Reply<'a, MailSubscription>;

    /// Ends the subscription of the address. `false` where it is pending: SNS lets nobody end such a one;
    /// it goes by itself after two days, and whoever confirms it before gets nothing.
    fn unsubscribe<'a>(&'a self, tenant: &'a TenantId, mailbox: Mailbox<'a>) -> Reply<'a, bool>;

    /// Publishes `notice` to `topic`: the tenant's, or one of the operator's.
    ///
    /// # Errors
    /// `NOT_FOUND` where there is no such topic of the operator's, and `AWS_UNAVAILABLE` where it is the
    /// tenant's, which is made anew when it is next asked for.
    fn publish<'a>(
        &'a self,
        tenant: &'a TenantId,
        topic: &'a str,
        notice: &'a Notice,
    ) -> Reply<'a, ()>;

    /// Whether the topic is there, without publishing anything.
    fn check<'a>(&'a self, topic: &'a str) -> Reply<'a, ()>;
}
