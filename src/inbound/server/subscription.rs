//! Watching resources: a client is told when an artifact that it watches has been stored or deleted, and
//! when an alert of its tenant was raised.
//!
//! What is told is what this process changes and raises; another process on the same data is not seen.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rmcp::model::{ResourceUpdatedNotificationParam, SubscriptionFilter};
use rmcp::service::{Peer, RequestContext, SubscriptionContext};
use rmcp::{ErrorData, RoleServer};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

use super::tool_list::ToolListNews;
use super::{Server, identity_error, invalid};
use crate::inbound::error::UNAUTHENTICATED;
use crate::mesh::Timestamp;
use crate::mesh::call::Backplane;
use crate::mesh::call::tool::{Tool, Toolset};
use crate::mesh::event::rules::AlertRaised;
use crate::mesh::service::events::AlertsSubscribe;
use crate::mesh::service::events::alerts::raised::{ADDRESS, WatchedAlerts};
use crate::mesh::service::resources::{ResourcesSubscribe, Watched};
use crate::mesh::store::artifacts::Change;
use crate::mesh::tenant::{Permission, TenantId, UserId};

/// The most resources that one session or one stream watches.
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
    watched: Vec<(String, Watch)>,
    feed: Feed,
    tools: Option<ToolListNews>,
    _place: Place,
}

impl Stream {
    fn concerned(&self, news: &News) -> Vec<String> {
        let concerned = self.watched.iter().filter(|(_, watch)| watch.is_of(news));
        concerned.map(|(uri, _)| uri.clone()).collect()
    }

    /// Whether the list of what the caller can see has changed.
    fn is_listed(&self, news: &News) -> bool {
        match news {
            News::Changed(change) => change.listed && change.is_seen_by(&self.tenant, &self.user),
            News::ManyChanged => true,
            News::Raised(_) | News::ManyRaised => false,
        }
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

/// What a client watches under one address.
#[derive(Clone, Debug)]
enum Watch {
    Artifact(Watched),
    Alerts(WatchedAlerts),
}

/// What has happened that clients may watch.
#[derive(Debug)]
enum News {
    /// An artifact was changed.
    Changed(Change),
    /// More artifacts were changed than can be told apart.
    ManyChanged,
    /// Alerts were raised, all that were at once.
    Raised(Vec<AlertRaised>),
    /// More alerts were raised than can be told apart.
    ManyRaised,
}

impl Watch {
    fn is_of(&self, news: &News) -> bool {
        match (self, news) {
            (Self::Artifact(watched), News::Changed(change)) => change.concerns(watched),
            (Self::Alerts(watched), News::Raised(alerts)) => {
                alerts.iter().any(|alert| watched.include(alert))
            }
            // Any of them may have been.
            (Self::Artifact(_), News::ManyChanged) | (Self::Alerts(_), News::ManyRaised) => true,
            _ => false,
        }
    }
}

/// What this process tells those who watch.
struct Feed {
    changes: broadcast::Receiver<Change>,
    alerts: broadcast::Receiver<AlertRaised>,
}

impl Feed {
    fn of(backplane: &Backplane, tenant: &TenantId) -> Self {
        Self {
            changes: backplane.changes.watch(tenant),
            alerts: backplane.alerts.watch(tenant),
        }
    }

    /// What happens next; nothing any more where the process ends.
    async fn next(&mut self) -> Option<News> {
        tokio::select! {
            change = self.changes.recv() => match change {
                Ok(change) => Some(News::Changed(change)),
                Err(RecvError::Lagged(_)) => Some(News::ManyChanged),
                Err(RecvError::Closed) => None,
            },
            alert = self.alerts.recv() => match alert {
                Ok(alert) => Some(News::Raised(self.with_others(alert))),
                Err(RecvError::Lagged(_)) => Some(News::ManyRaised),
                Err(RecvError::Closed) => None,
            },
        }
    }

    /// The alerts that were raised together with `first`: they are told as one piece of news.
    fn with_others(&mut self, first: AlertRaised) -> Vec<AlertRaised> {
        let mut alerts = vec![first];
        while alerts.len() < ALERTS_AT_ONCE_MAX
            && let Ok(alert) = self.alerts.try_recv()
        {
            alerts.push(alert);
        }
        alerts
    }
}

/// The most alerts that are told as one piece of news.
const ALERTS_AT_ONCE_MAX: usize = 1024;

/// What a session of the older revisions watches.
#[derive(Default)]
pub(super) struct Subscriptions {
    watched: Mutex<HashMap<String, Watch>>,
    /// Ends the task that tells the client, with the session.
    teller: Mutex<Option<DropGuard>>,
}

impl Subscriptions {
    /// Stops watching what has this address.
    pub(super) fn remove(&self, uri: &str) {
        self.watched().remove(uri);
    }

    fn watched(&self) -> std::sync::MutexGuard<'_, HashMap<String, Watch>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, uri: &str, watched: Watch) -> Result<(), ErrorData> {
        let mut held = self.watched();
        if held.len() >= WATCHED_MAX && !held.contains_key(uri) {
            return Err(invalid(&format!(
                "a session watches at most {WATCHED_MAX} resources"
            )));
        }
        held.insert(uri.to_owned(), watched);
        Ok(())
    }

    fn addresses_of(&self, news: &News) -> Vec<String> {
        let held = self.watched();
        let concerned = held.iter().filter(|(_, watch)| watch.is_of(news));
        concerned.map(|(uri, _)| uri.clone()).collect()
    }
}

impl Server {
    /// `resources/subscribe` of the older revisions. Where requests bring tokens nothing unsolicited may be
    /// sent, so there it is refused.
    pub(super) async fn subscribe_to_resource(
        &self,
        uri: &str,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let caller = self.caller(&context).await.map_err(identity_error)?;
        if self.is_untold() {
            return Err(invalid(
                "where each request has its own identity, watch resources with subscriptions/listen",
            ));
        }
        let Some(listener) = self.listener(&context) else {
            return Err(invalid(
                "this session has no stream on which it could be told: open one with GET first",
            ));
        };
        let watch = self.watch(uri, &context).await?;
        self.subscriptions.add(uri, watch)?;
        self.start_teller(caller.tenant_id(), &listener);
        Ok(())
    }

    /// What has the address `uri`, where the caller may watch it.
    async fn watch(
        &self,
        uri: &str,
        context: &RequestContext<RoleServer>,
    ) -> Result<Watch, ErrorData> {
        if uri == ADDRESS && self.shared.catalog.offers(Tool::AlertsSubscribe) {
            let (watched, _) = self.run(context, AlertsSubscribe).await?;
            return Ok(Watch::Alerts(watched));
        }
        let address = self.artifact_address(uri)?;
        let (watched, _) = self.run(context, ResourcesSubscribe { address }).await?;
        Ok(Watch::Artifact(watched))
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
        let mut feed = Feed::of(&self.shared.backplane, tenant);
        let peer = peer.clone();
        tokio::spawn(async move {
            loop {
                let news = tokio::select! {
                    () = stop.cancelled() => return,
                    news = feed.next() => news,
                };
                let (Some(news), Some(subscriptions)) = (news, subscriptions.upgrade()) else {
                    return;
                };
                let addresses = subscriptions.addresses_of(&news);
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
        filter.tools_list_changed = Some(self.has_changing_tools());
        filter.resources_list_changed = Some(self.shared.catalog.has(Toolset::Artifacts));
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
        // What is watched by its address is judged by itself; that a list has changed is told to those who
        // may list.
        let hears_of_lists = requested.resources_list_changed == Some(true);
        if hears_of_lists && !caller.permissions().contains(Permission::ArtifactsRead) {
            return Err(invalid(
                "watching the list of artifacts needs the permission `artifacts.read`",
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
        let feed = Feed::of(&self.shared.backplane, &tenant);
        let hears_of_tools =
            requested.tools_list_changed == Some(true) && self.has_changing_tools();
        let tools = match hears_of_tools {
            true => Some(self.tool_list_news(&caller, context).await),
            false => None,
        };
        let mut watched = Vec::with_capacity(wanted.len());
        for uri in wanted {
            watched.push((uri.clone(), self.watch(uri, context).await?));
        }
        context.extensions.insert(Prepared::new(Stream {
            tenant,
            user: caller.user_id().clone(),
            ends_at: caller.ends_at(),
            watched,
            feed,
            tools,
            _place: place,
        }));
        Ok(())
    }

    /// `subscriptions/listen`: tells of changes until the client cancels, the session ends, or the identity
    /// under which it was asked for ends.
    pub(super) async fn listen_to_changes(
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
            let news = tokio::select! {
                () = subscription.cancelled() => return Ok(()),
                () = identity_end(&self.shared.backplane, stream.ends_at) => {
                    return Err(ErrorData::new(
                        UNAUTHENTICATED,
                        "the identity of this stream has ended; listen again with a new token",
                        None,
                    ));
                }
                is_changed = tools_changed(&mut stream.tools) => {
                    let sink = subscription.sink();
                    match is_changed && sink.notify_tool_list_changed().await.is_ok() {
                        true => continue,
                        false => return Ok(()),
                    }
                }
                news = stream.feed.next() => news,
            };
            let Some(news) = news else { return Ok(()) };
            let sink = subscription.sink();
            for uri in stream.concerned(&news) {
                if sink.notify_resource_updated(uri).await.is_err() {
                    return Ok(());
                }
            }
            if stream.is_listed(&news) && accepted.resources_list_changed == Some(true) {
                let _ = sink.notify_resource_list_changed().await;
            }
        }
    }
}

/// Waits until the list of tools has changed, where that is to be told.
async fn tools_changed(tools: &mut Option<ToolListNews>) -> bool {
    match tools {
        Some(tools) => tools.changed().await,
        None => std::future::pending().await,
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
