//! The handle to the mail of a tenant's alerts: which addresses are subscribed to its one topic.

use std::marker::PhantomData;

use super::Topics;
use super::rules::EndsAlerts;
use super::topics::{MailSubscription, Mailbox, SubscriptionState};
use crate::mesh::Error;
use crate::mesh::call::grant::Reach;
use crate::mesh::call::operation::{AlertsManage, Allows, EventsRead};
use crate::mesh::event::rule::{Alert, Delivery};
use crate::mesh::limit::Direction;

/// Where the alerts of a tenant may be mailed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MailPolicy {
    /// Anywhere: mails are files in the data folder.
    Anywhere,
    /// To these domains, in lower case, without their subdomains; nowhere if there are none.
    Domains(Vec<String>),
}

/// Mail subscriptions of the caller's tenant, to the extent of the permission `P`.
pub struct Mail<'call, P> {
    reach: Reach<'call>,
    permission: PhantomData<P>,
}

impl<'call, P> Mail<'call, P> {
    pub(in crate::mesh) fn new(reach: Reach<'call>) -> Self {
        Self {
            reach,
            permission: PhantomData,
        }
    }

    /// Subscribes the address of `alert`. One that gets mail goes on so, one that has not answered is
    /// asked once more.
    ///
    /// # Errors
    /// What SNS says.
    pub async fn subscribe(&self, alert: &Alert) -> Result<MailSubscription, Error>
    where
        P: Allows<AlertsManage>,
    {
        self.subscribe_again(alert).await
    }

    /// Ends the subscription of the address of `alert`.
    ///
    /// # Errors
    /// What SNS says.
    pub async fn unsubscribe(&self, alert: &Alert) -> Result<(), Error>
    where
        P: EndsAlerts,
    {
        let topic = self.topic().await?;
        let Some(mailbox) = mailbox(alert, &topic) else {
            return Ok(());
        };
        self.spend(1.0);
        let tenant = self.reach.tenant_id();
        // One that is pending cannot be ended, and gets nothing.
        self.topics().unsubscribe(tenant, mailbox).await.map(drop)
    }

    /// Subscribes the address of `alert` anew, whose subscription was ended on behalf of another alert.
    ///
    /// # Errors
    /// What SNS says.
    pub async fn restore(&self, alert: &Alert) -> Result<MailSubscription, Error>
    where
        P: EndsAlerts,
    {
        self.subscribe_again(alert).await
    }

    /// How the subscription of the address of `alert` is.
    ///
    /// # Errors
    /// What SNS says.
    pub async fn subscription(&self, alert: &Alert) -> Result<MailSubscription, Error>
    where
        P: Allows<EventsRead>,
    {
        let topic = self.topic().await?;
        let Some(mailbox) = mailbox(alert, &topic) else {
            return Ok(GONE);
        };
        self.spend(1.0);
        let tenant = self.reach.tenant_id();
        self.topics().subscription(tenant, mailbox).await
    }

    async fn subscribe_again(&self, alert: &Alert) -> Result<MailSubscription, Error> {
        let topic = self.topic().await?;
        let Some(mailbox) = mailbox(alert, &topic) else {
            return Ok(GONE);
        };
        self.spend(1.0);
        let tenant = self.reach.tenant_id();
        self.topics().subscribe(tenant, mailbox).await
    }

    /// The tenant's topic; it is remembered, so that it costs nothing but the first time.
    async fn topic(&self) -> Result<String, Error> {
        self.topics().tenant_topic(self.reach.tenant_id()).await
    }

    fn topics(&self) -> &'call dyn Topics {
        self.reach.topics()
    }

    fn spend(&self, requests: f64) {
        self.reach.spend(Direction::Sns, requests);
    }
}

/// The mailbox of `alert`, where it tells by mail.
fn mailbox<'a>(alert: &'a Alert, topic: &'a str) -> Option<Mailbox<'a>> {
    let Delivery::Mail {
        address,
        subscription,
    } = &alert.delivery
    else {
        return None;
    };
    Some(Mailbox {
        topic,
        address,
        known: subscription.as_deref(),
    })
}

/// What is said of a subscription that is not there.
const GONE: MailSubscription = MailSubscription {
    arn: None,
    state: SubscriptionState::Gone,
};
