//! The seam to SNS: the topic of a tenant's alerts, the operator's own topics, and who gets mail.

use super::Reply;
use crate::mesh::tenant::TenantId;

/// The most bytes of a notice: SNS takes 256 KiB with its attributes.
pub const NOTICE_BYTES_MAX: usize = 128 << 10;

/// What is told of an event that an alert is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The subject: at most 100 printable ASCII characters, as SNS allows.
    pub subject: String,
    /// The text: at most [`NOTICE_BYTES_MAX`] bytes.
    pub text: String,
    /// The ids of the alerts that it is about; each mail subscription takes only those with its own.
    pub alerts: Vec<String>,
}

/// How a mail subscription is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionState {
    /// Its address has been asked and has not answered yet.
    Pending,
    /// It gets mail.
    Confirmed,
    /// It was never confirmed in time, or its address has unsubscribed.
    Gone,
}

/// A mail subscription. SNS has no ARN for one that is pending, so it is found again by its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailSubscription {
    /// The ARN, where it is confirmed.
    pub arn: Option<String>,
    /// How it is.
    pub state: SubscriptionState,
}

/// SNS, or what stands in for it.
pub trait Topics: Send + Sync + 'static {
    /// The ARN of the one topic of the tenant's alerts, which is made where it is missing.
    fn tenant_topic<'a>(&'a self, tenant: &'a TenantId) -> Reply<'a, String>;

    /// Subscribes `address` to the tenant's topic, for notices about `alert` alone. Doing it again changes
    /// nothing.
    fn subscribe<'a>(
        &'a self,
        tenant: &'a TenantId,
        topic: &'a str,
        address: &'a str,
        alert: &'a str,
    ) -> Reply<'a, MailSubscription>;

    /// How a subscription is, by its ARN.
    fn subscription<'a>(
        &'a self,
        tenant: &'a TenantId,
        subscription: &'a str,
    ) -> Reply<'a, MailSubscription>;

    /// Ends a subscription; one that is gone is no error.
    fn unsubscribe<'a>(&'a self, tenant: &'a TenantId, subscription: &'a str) -> Reply<'a, ()>;

    /// Publishes `notice` to `topic`.
    fn publish<'a>(
        &'a self,
        tenant: &'a TenantId,
        topic: &'a str,
        notice: &'a Notice,
    ) -> Reply<'a, ()>;
}
