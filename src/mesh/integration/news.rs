//! What those who watch are told of a caller's integrations: that they may have changed, and whose servers listed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::Instant;
use tokio::time::sleep_until;

use super::book::IntegrationBook;
use super::direct::is_source;
use super::id::ServiceId;
use crate::mesh::channels::TenantNews;
use crate::mesh::tenant::{TenantContext, TenantId, UserId};
use crate::mesh::upstream::ConnectionKey;

/// How soon after one look at the news the next may follow: what comes in between is one.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The same after a look at which a server's tools had to be learned, which is a call of the caller's.
pub const LEARN_INTERVAL: Duration = Duration::from_secs(5);

/// How long a list of tools is waited for before its servers are asked again.
const PATIENCE: Duration = Duration::from_secs(5);

/// What somebody has of integrations may have changed: everybody's of the tenant where no user is named.
#[derive(Clone, Debug)]
pub struct IntegrationsChanged {
    pub(super) tenant: TenantId,
    pub(super) user: Option<UserId>,
}

/// A connection's server has listed its tools, or the connection broke or came back.
#[derive(Clone, Debug)]
pub struct ConnectionChanged(pub Arc<ConnectionKey>);

impl TenantNews for IntegrationsChanged {
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
}

impl TenantNews for ConnectionChanged {
    fn tenant(&self) -> &TenantId {
        &self.0.tenant
    }
}

/// What one caller is told, at most once in [`LOOK_INTERVAL`].
#[derive(Debug)]
pub struct IntegrationNews {
    tenant: TenantId,
    user: UserId,
    changes: Receiver<IntegrationsChanged>,
    connections: Receiver<ConnectionChanged>,
    heard: Heard,
    rests_until: Instant,
}

/// What was heard since the last look.
#[derive(Debug, Default)]
pub struct Heard {
    /// There is something.
    is_any: bool,
    /// More than could be told apart.
    is_all: bool,
    /// Of these integrations the caller's connections have changed.
    services: BTreeSet<ServiceId>,
}

impl IntegrationNews {
    /// What has been heard, once there is something and the last look is long enough ago; nothing any more
    /// where the process ends. Dropped while it waits, it forgets nothing.
    pub async fn next(&mut self) -> Option<Heard> {
        while !self.heard.is_any {
            tokio::select! {
                change = self.changes.recv() => self.note_change(change.map_err(lost))?,
                change = self.connections.recv() => self.note_connection(change.map_err(lost))?,
            }
        }
        sleep_until(self.rests_until).await;
        while let Some(change) = now(&mut self.changes) {
            self.note_change(change)?;
        }
        while let Some(change) = now(&mut self.connections) {
            self.note_connection(change)?;
        }
        self.rest(LOOK_INTERVAL);
        Some(std::mem::take(&mut self.heard))
    }

    /// Nothing is told for at least so long.
    pub fn rest(&mut self, time: Duration) {
        self.rests_until = self.rests_until.max(Instant::now() + time);
    }

    fn note_change(&mut self, change: Result<IntegrationsChanged, Lost>) -> Option<()> {
        match change {
            Ok(IntegrationsChanged { tenant, user }) => {
                let concerns = user.is_none_or(|user| user == self.user);
                self.heard.is_any |= tenant == self.tenant && concerns;
            }
            Err(Lost::Some) => self.heard.is_any = true,
            Err(Lost::All) => return None,
        }
        Some(())
    }

    fn note_connection(&mut self, change: Result<ConnectionChanged, Lost>) -> Option<()> {
        match change {
            Ok(ConnectionChanged(key)) if key.tenant == self.tenant && key.user == self.user => {
                self.heard.is_any = true;
                self.heard.services.insert(key.service.clone());
            }
            Ok(_) => {}
            Err(Lost::Some) => (self.heard.is_any, self.heard.is_all) = (true, true),
            Err(Lost::All) => return None,
        }
        Some(())
    }
}

/// What a receiver has missed.
enum Lost {
    Some,
    All,
}

fn lost(error: RecvError) -> Lost {
    match error {
        RecvError::Lagged(_) => Lost::Some,
        RecvError::Closed => Lost::All,
    }
}

fn now<News: Clone>(receiver: &mut Receiver<News>) -> Option<Result<News, Lost>> {
    match receiver.try_recv() {
        Ok(news) => Some(Ok(news)),
        Err(TryRecvError::Empty) => None,
        Err(TryRecvError::Lagged(_)) => Some(Err(Lost::Some)),
        Err(TryRecvError::Closed) => Some(Err(Lost::All)),
    }
}

impl IntegrationBook {
    /// What `caller` is told of its integrations from now on.
    pub fn watch(&self, caller: &TenantContext) -> IntegrationNews {
        IntegrationNews {
            tenant: caller.tenant_id().clone(),
            user: caller.user_id().clone(),
            changes: self.changes().watch(caller.tenant_id()),
            connections: self.upstreams().watch(caller.tenant_id()),
            heard: Heard::default(),
            rests_until: Instant::now(),
        }
    }

    /// The integrations, of those that `heard` names, of whose tools some are listed directly to `caller` and
    /// whose servers have listed what nobody has looked at yet.
    pub async fn unlearned(&self, caller: &TenantContext, heard: &Heard) -> Vec<ServiceId> {
        if !heard.is_all && heard.services.is_empty() {
            return Vec::new();
        }
        let view = self.view_within(caller.tenant_id(), caller.user_id(), PATIENCE);
        let Some(view) = view.await else {
            return Vec::new();
        };
        let named = |service: &ServiceId| heard.is_all || heard.services.contains(service);
        let own = view.connections();
        let own = own.filter(|owned| is_source(owned) && named(&owned.row.service));
        let unlearned = own.filter(|owned| {
            let open = self.upstreams().open(&owned.key, &owned.revision);
            let list = open.and_then(|upstream| upstream.tools().now_or_never()?.ok());
            list.is_some_and(|list| {
                owned.known(&list).is_none()
                    && owned.listing(&list).tools_for_row() != owned.row.tools
            })
        });
        unlearned.map(|owned| owned.row.service.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::channels::{Channels, WAITING_MAX};
    use crate::mesh::integration::ConnectionId;

    fn news(
        changes: &Channels<IntegrationsChanged>,
        connections: &Channels<ConnectionChanged>,
    ) -> IntegrationNews {
        let tenant: TenantId = "acme".parse().unwrap();
        IntegrationNews {
            user: "ada".parse().unwrap(),
            changes: changes.watch(&tenant),
            connections: connections.watch(&tenant),
            tenant,
            heard: Heard::default(),
            rests_until: Instant::now(),
        }
    }

    fn of(user: Option<&str>) -> IntegrationsChanged {
        IntegrationsChanged {
            tenant: "acme".parse().unwrap(),
            user: user.map(|user| user.parse().unwrap()),
        }
    }

    fn at(user: &str, service: &str) -> ConnectionChanged {
        ConnectionChanged(Arc::new(ConnectionKey {
            tenant: "acme".parse().unwrap(),
            user: user.parse().unwrap(),
            service: service.parse().unwrap(),
            connection: ConnectionId::default(),
        }))
    }

    #[tokio::test]
    async fn what_concerns_others_is_not_heard_and_a_flood_is_one_piece_of_news() {
        let (changes, connections) = (Channels::default(), Channels::default());
        let mut news = news(&changes, &connections);
        changes.announce(of(Some("bob")));
        connections.announce(at("bob", "files"));
        assert!(news.next().now_or_never().is_none());
        for _ in 0..WAITING_MAX {
            changes.announce(of(None));
        }
        connections.announce(at("ada", "files"));
        let began = Instant::now();
        let heard = news.next().await.unwrap();
        assert!(!heard.is_all);
        assert!(
            heard
                .services
                .contains("files".parse::<ServiceId>().as_ref().unwrap())
        );
        changes.announce(of(Some("ada")));
        changes.announce(of(Some("ada")));
        news.next().await.unwrap();
        assert!(began.elapsed() >= LOOK_INTERVAL);
        assert!(news.next().now_or_never().is_none(), "both were one");
    }

    #[tokio::test]
    async fn who_falls_behind_hears_that_anything_may_have_happened() {
        let (changes, connections) = (Channels::default(), Channels::default());
        let mut news = news(&changes, &connections);
        for _ in 0..=WAITING_MAX {
            connections.announce(at("bob", "files"));
        }
        assert!(news.next().await.unwrap().is_all);
    }
}
