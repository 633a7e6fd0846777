//! Watching artifacts: a client is told when one that it watches has been stored or deleted.
//!
//! What is told is what this process changes; another process on the same data is not seen.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rmcp::model::{ResourceUpdatedNotificationParam, SubscriptionFilter};
use rmcp::service::{Peer, RequestContext, SubscriptionContext};
use rmcp::{ErrorData, RoleServer};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

use super::{Server, identity_error, invalid};
use crate::inbound::error::UNAUTHENTICATED;
use crate::mesh::Timestamp;
use crate::mesh::call::Backplane;
use crate::mesh::service::resources::{ResourcesSubscribe, Watched};
use crate::mesh::store::artifacts::Change;
use crate::mesh::tenant::{Permission, TenantId, UserId};

/// The most artifacts that one session or one stream watches.
const WATCHED_MAX: usize = 100;

/// The most streams of one tenant, and of all, that one process serves at once: a stream holds its place among
/// the requests in flight for as long as it lasts.
const STREAMS_PER_TENANT_MAX: usize = 8;
const STREAMS_MAX: usize = 64;

/// The streams that are open, by tenant.
#[derive(Debug, Default)]
pub struct Streams(Arc<Mutex<HashMap<TenantId, usize>>>);

/// A stream's place; free again when it is dropped.
struct Place {
    streams: Arc<Mutex<HashMap<TenantId, usize>>>,
    tenant: TenantId,
}

impl Streams {
    fn take(&self, tenant: &TenantId) -> Result<Place, ErrorData> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_tenant = open.get(tenant).copied().unwrap_or_default();
        if of_tenant >= STREAMS_PER_TENANT_MAX || open.values().sum::<usize>() >= STREAMS_MAX {
            return Err(invalid(&format!(
                "too many streams are open: a tenant may have {STREAMS_PER_TENANT_MAX}; end one first"
            )));
        }
        open.insert(tenant.clone(), of_tenant + 1);
        Ok(Place {
            streams: Arc::clone(&self.0),
            tenant: tenant.clone(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        match open.get_mut(&self.tenant) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(open.remove(&self.tenant)),
        }
    }
}

/// A stream that may be acknowledged.
struct Stream {
    tenant: TenantId,
    user: UserId,
    ends_at: Option<Timestamp>,
    watched: Vec<(String, Watched)>,
    changes: Receiver<Change>,
    _place: Place,
}

impl Stream {
    fn concerned(&self, change: &Change) -> Vec<String> {
        let watched = self.watched.iter();
        let concerned = watched.filter(|(_, artifact)| change.concerns(artifact));
        concerned.map(|(uri, _)| uri.clone()).collect()
    }

    fn is_listed(&self, change: &Change) -> bool {
        change.listed && change.is_seen_by(&self.tenant, &self.user)
    }

    fn addresses(&self) -> Vec<String> {
        self.watched.iter().map(|(uri, _)| uri.clone()).collect()
    }
}

/// A stream on its way to the method that serves it, in the extensions of its request.
#[derive(Clone)]
struct Prepared(Arc<Mutex<Option<Stream>>>);

impl Prepared {
    fn new(stream: Stream) -> Self {
        Self(Arc::new(Mutex::new(Some(stream))))
    }

    fn take(&self) -> Option<Stream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What a session of the older revisions watches.
#[derive(Default)]
pub(super) struct Subscriptions {
    watched: Mutex<HashMap<String, Watched>>,
    /// Ends the task that tells the client, with the session.
    teller: Mutex<Option<DropGuard>>,
}

impl Subscriptions {
    /// Stops watching what has this address.
    pub(super) fn remove(&self, uri: &str) {
        self.watched().remove(uri);
    }

    fn watched(&self) -> std::sync::MutexGuard<'_, HashMap<String, Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, uri: &str, watched: Watched) -> Result<(), ErrorData> {
        let mut held = self.watched();
        if held.len() >= WATCHED_MAX && !held.contains_key(uri) {
            return Err(invalid(&format!(
                "a session watches at most {WATCHED_MAX} resources"
            )));
        }
        held.insert(uri.to_owned(), watched);
        Ok(())
    }

    fn addresses_of(&self, change: &Change) -> Vec<String> {
        let held = self.watched();
        let concerned = held.iter().filter(|(_, watched)| change.concerns(watched));
        concerned.map(|(uri, _)| uri.clone()).collect()
    }
}

impl Server {
    /// `resources/subscribe` of the older revisions. Where requests bring tokens nothing unsolicited may be
    /// sent, so there it is refused.
    pub(super) async fn subscribe_to_artifact(
        &self,
        uri: &str,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let caller = self.caller(&context).await.map_err(identity_error)?;
        if self.shared.by_token {
            return Err(invalid(
                "where each request has its own identity, watch resources with subscriptions/listen",
            ));
        }
        let address = self.artifact_address(uri)?;
        let (watched, _) = self.run(&context, ResourcesSubscribe { address }).await?;
        self.subscriptions.add(uri, watched)?;
        self.start_teller(caller.tenant_id(), &context.peer);
        Ok(())
    }

    fn start_teller(&self, tenant: &TenantId, peer: &Peer<RoleServer>) {
        let mut teller = self
            .subscriptions
            .teller
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if teller.is_some() {
            return;
        }
        let stop = CancellationToken::new();
        *teller = Some(stop.clone().drop_guard());
        let subscriptions = Arc::downgrade(&self.subscriptions);
        let mut changes = self.shared.backplane.changes.watch(tenant);
        let peer = peer.clone();
        tokio::spawn(async move {
            loop {
                let change = tokio::select! {
                    () = stop.cancelled() => return,
                    change = changes.recv() => change,
                };
                let Some(subscriptions) = subscriptions.upgrade() else {
                    return;
                };
                let addresses = match change {
                    Ok(change) => subscriptions.addresses_of(&change),
                    // Too many changes at once to tell which: any of them may have changed.
                    Err(RecvError::Lagged(_)) => subscriptions.watched().keys().cloned().collect(),
                    Err(RecvError::Closed) => return,
                };
                drop(subscriptions);
                for uri in addresses {
                    let told = ResourceUpdatedNotificationParam::new(uri);
                    if peer.notify_resource_updated(told).await.is_err() {
                        return;
                    }
                }
            }
        });
    }

    /// What `subscriptions/listen` may ask for.
    pub(super) fn acceptable_filter(&self, requested: &SubscriptionFilter) -> SubscriptionFilter {
        let mut filter = SubscriptionFilter::new();
        filter.resources_list_changed = Some(true);
        filter.resource_subscriptions = requested.resource_subscriptions.clone();
        filter
    }

    /// All that may refuse a stream, before it is acknowledged: the identity, the permission, the limits and
    /// the calls by which the caller is shown to see what it wants to watch.
    pub(super) async fn prepare_stream(
        &self,
        requested: &SubscriptionFilter,
        context: &mut RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let caller = self.caller(context).await.map_err(identity_error)?;
        if !caller.permissions().contains(Permission::ArtifactsRead) {
            return Err(invalid(
                "watching artifacts needs the permission `artifacts.read`",
            ));
        }
        let wanted = requested.resource_subscriptions.as_deref();
        let wanted = wanted.unwrap_or_default();
        if wanted.len() > WATCHED_MAX {
            return Err(invalid(&format!(
                "a stream watches at most {WATCHED_MAX} resources"
            )));
        }
        let tenant = caller.tenant_id().clone();
        let place = self.shared.streams.take(&tenant)?;
        // Changes are heard from here on, so that none is missed once the stream is acknowledged.
        let changes = self.shared.backplane.changes.watch(&tenant);
        let mut watched = Vec::with_capacity(wanted.len());
        for uri in wanted {
            let address = self.artifact_address(uri)?;
            let (artifact, _) = self.run(context, ResourcesSubscribe { address }).await?;
            watched.push((uri.clone(), artifact));
        }
        context.extensions.insert(Prepared::new(Stream {
            tenant,
            user: caller.user_id().clone(),
            ends_at: caller.ends_at(),
            watched,
            changes,
            _place: place,
        }));
        Ok(())
    }

    /// `subscriptions/listen`: tells of changes until the client cancels, the session ends, or the identity
    /// under which it was asked for ends.
    pub(super) async fn listen_to_artifacts(
        &self,
        subscription: SubscriptionContext,
    ) -> Result<(), ErrorData> {
        let prepared = subscription.request_context().extensions.get::<Prepared>();
        let Some(mut stream) = prepared.and_then(Prepared::take) else {
            tracing::error!("a stream was acknowledged without being prepared");
            return Err(ErrorData::internal_error("an internal error", None));
        };
        let accepted = subscription.accepted();
        loop {
            let change = tokio::select! {
                () = subscription.cancelled() => return Ok(()),
                () = identity_end(&self.shared.backplane, stream.ends_at) => {
                    return Err(ErrorData::new(
                        UNAUTHENTICATED,
                        "the identity of this stream has ended; listen again with a new token",
                        None,
                    ));
                }
                change = stream.changes.recv() => change,
            };
            let (told, listed) = match change {
                Ok(change) => (stream.concerned(&change), stream.is_listed(&change)),
                // Too many changes at once to tell which: any of them may have changed.
                Err(RecvError::Lagged(_)) => (stream.addresses(), true),
                Err(RecvError::Closed) => return Ok(()),
            };
            let sink = subscription.sink();
            for uri in told {
                if sink.notify_resource_updated(uri).await.is_err() {
                    return Ok(());
                }
            }
            if listed && accepted.resources_list_changed == Some(true) {
                let _ = sink.notify_resource_list_changed().await;
            }
        }
    }
}

/// Ends when the identity does, by the wall clock, which may jump: so it is looked at again and again.
async fn identity_end(backplane: &Backplane, ends_at: Option<Timestamp>) {
    const LOOK: std::time::Duration = std::time::Duration::from_secs(1);
    let Some(ends_at) = ends_at else {
        return std::future::pending().await;
    };
    while backplane.clock.now() < ends_at {
        tokio::time::sleep(LOOK.min(ends_at.since(backplane.clock.now()))).await;
    }
}
