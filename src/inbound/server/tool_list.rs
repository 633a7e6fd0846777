//! Telling clients that their list of tools has changed: sessions of the older revisions, and streams.

use std::sync::{Arc, Mutex, PoisonError};

use rmcp::RoleServer;
use rmcp::service::{Peer, RequestContext};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Server, Unasked};
use crate::mesh::call::request::Request;
use crate::mesh::call::tool::Toolset;
use crate::mesh::integration::news::{Heard, IntegrationNews, LEARN_INTERVAL};
use crate::mesh::service::integrations::{Detail, McpListTools};
use crate::mesh::tenant::{Presented, TenantContext};

/// What a session knows of the tools of integrated servers that its client was shown.
pub(super) struct ShownTools {
    /// The fingerprint of those in the list that the client was given last; none where it has asked for none.
    shown: watch::Sender<Option<u64>>,
    /// Ends the task that tells the client, with the session.
    teller: Mutex<Option<DropGuard>>,
}

impl Default for ShownTools {
    fn default() -> Self {
        Self {
            shown: watch::Sender::new(None),
            teller: Mutex::default(),
        }
    }
}

impl ShownTools {
    /// The client has been given the list with this fingerprint.
    pub(super) fn show(&self, fingerprint: u64) {
        self.shown.send_if_modified(|shown| {
            let before = shown.replace(fingerprint);
            before != Some(fingerprint)
        });
    }
}

/// What a stream is told of a list of tools. It is looked at in a task of its own, so that nothing else that the
/// stream tells breaks a look off.
pub(super) struct ToolListNews {
    changes: mpsc::Receiver<()>,
    /// Ends the task, with the stream.
    _looker: DropGuard,
}

impl ToolListNews {
    /// Waits until the list is another one than was told; `false` where the process ends. Dropped while it
    /// waits, it forgets nothing.
    pub(super) async fn changed(&mut self) -> bool {
        self.changes.recv().await.is_some()
    }
}

impl Server {
    /// Whether lists of tools change here.
    pub(super) fn has_changing_tools(&self) -> bool {
        self.shared.catalog.has(Toolset::Integrations)
    }

    /// A session of the older revisions is told from now on, once. Where requests bring tokens nothing
    /// unsolicited is sent.
    pub(super) fn start_tool_list_teller(
        &self,
        caller: &TenantContext,
        context: &RequestContext<RoleServer>,
    ) {
        if !self.has_changing_tools() || super::is_stateless(context) {
            return;
        }
        let Some(listener) = self.listener(context) else {
            return;
        };
        let teller = &self.shown_tools.teller;
        let mut teller = teller.lock().unwrap_or_else(PoisonError::into_inner);
        if teller.is_some() {
            return;
        }
        let stop = CancellationToken::new();
        *teller = Some(stop.clone().drop_guard());
        let news = self.shared.backplane.integrations.watch(caller);
        let shown = self.shown_tools.shown.subscribe();
        // The session's end drops what is not held here.
        let server = Self {
            shown_tools: Arc::default(),
            ..self.clone()
        };
        let presented = self.request(context, None).presented;
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = server.tell_of_tools(&presented, news, shown, &listener) => {}
            }
        });
    }

    async fn tell_of_tools(
        &self,
        presented: &Presented,
        mut news: IntegrationNews,
        mut shown: watch::Receiver<Option<u64>>,
        peer: &Peer<RoleServer>,
    ) {
        let mut told = None;
        loop {
            let heard = tokio::select! {
                heard = news.next() => heard,
                // What changed while a list was made was heard before the client had it.
                is_shown = shown.changed() => is_shown.ok().map(|()| Heard::default()),
            };
            let Some(heard) = heard else { return };
            let Some(now) = self.look(presented, &mut news, &heard).await else {
                continue;
            };
            if shown.has_changed().unwrap_or_default() {
                told = None;
            }
            let before = told.or(*shown.borrow_and_update());
            if before.is_some_and(|before| before != now) {
                if peer.notify_tool_list_changed().await.is_err() {
                    return;
                }
                told = Some(now);
            }
        }
    }

    /// What a stream is told of the list of tools of whoever makes the request.
    pub(super) async fn tool_list_news(
        &self,
        caller: &TenantContext,
        context: &RequestContext<RoleServer>,
    ) -> ToolListNews {
        let news = self.shared.backplane.integrations.watch(caller);
        let shown = match self.unasked {
            Unasked::Told => *self.shown_tools.shown.borrow(),
            Unasked::Untold | Unasked::Streamed(_) => None,
        };
        let told = match shown {
            Some(shown) => shown,
            None => self.fingerprint(caller).await.unwrap_or_default(),
        };
        let presented = self.request(context, None).presented;
        let (sender, changes) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let looker = stop.clone().drop_guard();
        let server = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = server.look_on(&presented, news, told, &sender) => {}
            }
        });
        ToolListNews {
            changes,
            _looker: looker,
        }
    }

    async fn look_on(
        &self,
        presented: &Presented,
        mut news: IntegrationNews,
        mut told: u64,
        changes: &mpsc::Sender<()>,
    ) {
        while let Some(heard) = news.next().await {
            let now = self.look(presented, &mut news, &heard).await;
            let Some(now) = now.filter(|now| *now != told) else {
                continue;
            };
            told = now;
            if changes.send(()).await.is_err() {
                return;
            }
        }
    }

    /// The fingerprint of the tools of integrated servers that are listed now to whoever presents this; nothing
    /// where that is not known. What servers have listed anew is learned first, by a call as any other.
    async fn look(
        &self,
        presented: &Presented,
        news: &mut IntegrationNews,
        heard: &Heard,
    ) -> Option<u64> {
        let backplane = &self.shared.backplane;
        let now = backplane.clock.now();
        let caller = backplane.resolver.resolve(presented, now).await.ok()?;
        let book = &backplane.integrations;
        for service in book.unlearned(&caller, heard).await {
            news.rest(LEARN_INTERVAL);
            let look = McpListTools {
                service: Some(service),
                query: None,
                detail: Detail::Name,
                limit: 1,
                position: None,
            };
            let learned = backplane.call(Request::new(presented.clone()), Ok(look));
            if let Err(error) = learned.await {
                tracing::debug!(%error, "the tools of a server could not be looked at");
            }
        }
        self.fingerprint(&caller).await
    }

    async fn fingerprint(&self, caller: &TenantContext) -> Option<u64> {
        let tools = self.direct_tools(caller).await?;
        Some(tools.fingerprint())
    }
}
