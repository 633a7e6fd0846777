//! Streamable HTTP: a request for each message, answered by JSON or by a stream of events.

mod answer;
mod exchange;
mod listen;
mod parameters;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderValue};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::super::link::{Link, Opened, Outgoing};
use super::failure::Failure;
use super::headers;
use super::outlet::Outlet;
use super::sends::{Sends, within};
use super::server::RemoteServer;
use crate::mesh::Error;
use crate::mesh::store::Reply;
use parameters::ParameterHeaders;

/// How long a message without an answer may take to be accepted.
pub(super) const NOTIFICATION_TIME_MAX: Duration = Duration::from_secs(10);

/// How long telling a server that its session is over may take.
const FAREWELL_TIME_MAX: Duration = Duration::from_secs(2);

/// The longest id of a session, in bytes.
const SESSION_ID_BYTES_MAX: usize = 1024;

/// A link by streamable HTTP.
struct StreamableHttp {
    channel: Arc<Channel>,
}

/// What the tasks of a link share.
pub(super) struct Channel {
    server: RemoteServer,
    outlet: Outlet,
    sends: Sends,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    session: Option<HeaderValue>,
    version: Option<String>,
    /// Ends the exchange of a request.
    requests: HashMap<i64, CancellationToken>,
    parameters: ParameterHeaders,
}

/// A link to `server`. Nothing is sent before the first message.
pub(super) fn open(server: RemoteServer) -> Opened {
    let (outlet, incoming) = Outlet::new();
    let channel = Channel {
        server,
        outlet,
        sends: Sends::new(),
        state: Mutex::default(),
    };
    let link = StreamableHttp {
        channel: Arc::new(channel),
    };
    Opened {
        link: Arc::new(link),
        incoming,
    }
}

impl Link for StreamableHttp {
    fn send(&self, message: Outgoing) -> Reply<'_, ()> {
        self.channel.clone().send(message).boxed()
    }

    fn agreed(&self, protocol_version: &str) {
        self.channel.state().version = Some(protocol_version.to_owned());
    }

    fn abandon(&self, request_id: i64) {
        self.channel.cancel(request_id);
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.channel.close().boxed()
    }
}

impl Drop for StreamableHttp {
    fn drop(&mut self) {
        self.channel.outlet.closing.cancel();
    }
}

impl Channel {
    async fn send(self: Arc<Self>, message: Outgoing) -> Result<(), Error> {
        let slot = self.sends.begin(&self.outlet)?;
        let method = message.method.as_deref();
        if method == Some("notifications/cancelled") && self.is_stateless() {
            // Without sessions the end of the request is what cancels it: see `abandon`.
            return Ok(());
        }
        if method == Some("notifications/initialized") {
            // What comes next must not overtake it.
            return self.initialized(message, slot).await;
        }
        let cancelled = match message.request_id {
            Some(id) => self.register(id),
            None => CancellationToken::new(),
        };
        tokio::spawn(async move { self.carry(message, cancelled, slot).await });
        Ok(())
    }

    /// Carries a message and what is answered, and tells what became of it.
    async fn carry(
        self: &Arc<Self>,
        message: Outgoing,
        cancelled: CancellationToken,
        slot: OwnedSemaphorePermit,
    ) {
        let request_id = message.request_id;
        let time = match request_id {
            Some(_) => message.timeout,
            None => NOTIFICATION_TIME_MAX,
        };
        let work = async {
            tokio::select! {
                biased;
                () = cancelled.cancelled() => Ok(()),
                outcome = exchange::exchange(self, message) => outcome,
            }
        };
        let outcome = within(&self.outlet, time, work).await;
        if let Some(id) = request_id {
            self.state().requests.remove(&id);
        }
        drop(slot);
        if let Err(failure) = outcome {
            self.outlet.failed(request_id, failure).await;
        }
    }

    async fn initialized(
        self: Arc<Self>,
        message: Outgoing,
        slot: OwnedSemaphorePermit,
    ) -> Result<(), Error> {
        let work = exchange::exchange(&self, message);
        let exchanged = within(&self.outlet, NOTIFICATION_TIME_MAX, work).await;
        drop(slot);
        match exchanged {
            Ok(()) => {
                tokio::spawn(listen::listen(self));
                Ok(())
            }
            Err(failure) if failure.not_sent && !failure.closes => Err(failure.error),
            Err(failure) => {
                self.outlet.failed(None, failure).await;
                Ok(())
            }
        }
    }

    fn register(&self, request_id: i64) -> CancellationToken {
        let cancelled = CancellationToken::new();
        let mut state = self.state();
        state.requests.insert(request_id, cancelled.clone());
        cancelled
    }

    /// Ends the exchange of a request; what it would still be answered is dropped.
    fn cancel(&self, request_id: i64) {
        if let Some(cancelled) = self.state().requests.remove(&request_id) {
            cancelled.cancel();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of it is one assignment: there is no half of one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stateless(&self) -> bool {
        let version = self.state().version.clone();
        version.is_some_and(|version| headers::is_stateless(&version))
    }

    /// The headers that tie a request to the session, and the session if there is one.
    fn session(&self, headers: &mut HeaderMap) -> bool {
        let session = self.state().session.clone();
        let has_one = session.is_some();
        if let Some(session) = session {
            headers.insert(headers::SESSION_ID, session);
        }
        has_one
    }

    /// What it means that the server does not know the session any more, which then needs no end.
    fn session_ended(&self) -> Failure {
        self.state().session = None;
        Failure::session_ended()
    }

    /// Keeps the session that an answer to `initialize` opens.
    fn keep_session(&self, headers: &HeaderMap) {
        let session = headers.get(headers::SESSION_ID);
        let fits = |session: &&HeaderValue| session.len() <= SESSION_ID_BYTES_MAX;
        self.state().session = session.filter(fits).cloned();
    }

    async fn close(&self) {
        self.outlet.closing.cancel();
        let mut headers = HeaderMap::new();
        if let Some(version) = &self.state().version {
            headers::put_version(&mut headers, version);
        }
        if !self.session(&mut headers) {
            return;
        }
        self.state().session = None;
        let farewell = || {
            let url = self.server.url().clone();
            self.server
                .request(Method::DELETE, url)
                .headers(headers.clone())
        };
        // Not every server lets its sessions be ended; it forgets them by itself then.
        let _ = timeout(FAREWELL_TIME_MAX, self.server.send(farewell)).await;
    }
}
