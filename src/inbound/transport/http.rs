//! Streamable HTTP: one listener; each message comes by a request of its own and is answered by its response.
//!
//! A request goes through the same decoding, the same checks and the same service loop as a line of a session over
//! pipes. Between requests there is nothing: what a session of the older revisions has agreed on stands in its id,
//! which any process with the same keys opens, and only a stream that is open takes memory.

mod answer;
mod body;
mod event_stream;
mod exchange;
mod gate;
mod listener;
mod mcp;
mod revision;
mod session_id;
mod sessions;
#[cfg(test)]
mod tests;
mod tls;

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::post;
use http::{HeaderMap, HeaderValue, StatusCode};
use rmcp::{ErrorData, Peer, RoleServer};
use secrecy::SecretSlice;
use tokio_util::sync::CancellationToken;

use crate::inbound::session::Gatekeeper;
use crate::mesh::Timestamp;
use body::BodyBudget;
use sessions::Sessions;

pub use gate::{Cors, Gate, InvalidOrigin, Origin};
pub use listener::{Drain, Listener, ListenerSettings};
pub use session_id::SessionKeys;
pub use tls::{TlsError, TlsFiles};

/// The most messages that are being answered at once over one listener, streams that last included.
pub const EXCHANGES_MAX: usize = 8192;

/// The most bytes that the bodies of requests take that have been read and not yet been answered, over all.
pub const BODIES_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How long the body of a request may take to come.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(30);

/// After how long a stream that says nothing says that it is still there. Below the idle time of every common
/// load balancer, of which 60 s is the shortest.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How long a session of the older revisions may be gone on with.
pub const SESSION_TIME_MAX: Duration = Duration::from_hours(24);

/// What stands behind a listener.
pub trait Front: Send + Sync + 'static {
    /// What answers.
    type Handler: Gatekeeper;

    /// Who makes a request that brings `token`.
    fn caller(&self, token: Option<&str>) -> impl Future<Output = Result<Caller, Refused>> + Send;

    /// What answers one request that is not part of a session with an open stream.
    fn handler(&self) -> Self::Handler;

    /// What answers on a session's stream, and its requests while that is open; `stream` leads to the client.
    fn streaming(&self, stream: Peer<RoleServer>) -> Self::Handler;

    /// The same handler again, for another request of the same session.
    fn again(&self, handler: &Self::Handler) -> Self::Handler;
}

/// Who makes a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Stands for the caller: equal for equal ones only, and tells nobody who it is.
    pub key: [u8; 16],
    /// Who shares with the caller what there is of streams: the tenant.
    pub share: Arc<str>,
    /// From when on the caller is nobody any more.
    pub ends_at: Option<Timestamp>,
}

/// Why a request is not let in.
#[derive(Clone, Debug)]
pub struct Refused {
    /// 401, or 403 where signing in again would not help.
    pub status: StatusCode,
    /// What `WWW-Authenticate` says.
    pub challenge: Option<HeaderValue>,
    /// What the body says.
    pub error: ErrorData,
}

/// What a listener serves, and how.
#[derive(Debug)]
pub struct HttpSettings {
    /// The address and port.
    pub bind: SocketAddr,
    /// Who may ask, by `Host` and `Origin`.
    pub gate: Gate,
    /// What web pages may do.
    pub cors: Option<Cors>,
    /// The certificate and its key; plain HTTP without.
    pub tls: Option<TlsFiles>,
    /// The keys that seal the ids of sessions, the first one for new ones.
    pub keys: Vec<SecretSlice<u8>>,
    /// The most connections.
    pub connections_max: usize,
    /// The most sessions with an open stream.
    pub streams_max: usize,
}

/// What the routes share.
pub(crate) struct Http<F: Front> {
    front: F,
    keys: SessionKeys,
    sessions: Arc<Sessions<F::Handler>>,
    bodies: BodyBudget,
    exchanges: Arc<tokio::sync::Semaphore>,
    clock: Arc<dyn crate::mesh::Clock>,
    /// Cancelled when streams are to end.
    ending: CancellationToken,
}

impl<F: Front> Http<F> {
    /// What answers at `/mcp`, until `ending` is cancelled.
    pub(crate) fn new(
        front: F,
        keys: SessionKeys,
        streams_max: usize,
        clock: Arc<dyn crate::mesh::Clock>,
        ending: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            front,
            keys,
            sessions: Sessions::new(streams_max),
            bodies: BodyBudget::new(BODIES_BYTES_MAX),
            exchanges: Arc::new(tokio::sync::Semaphore::new(EXCHANGES_MAX)),
            clock,
            ending,
        })
    }

    /// The route `/mcp`.
    pub(crate) fn routes(self: &Arc<Self>) -> Router {
        let route = post(mcp::post::<F>)
            .get(mcp::get::<F>)
            .delete(mcp::delete::<F>);
        Router::new()
            .route("/mcp", route)
            // Bodies are bounded where they are read.
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(self))
    }

    /// Who makes a request with these headers, and under which token.
    pub(crate) async fn caller(
        &self,
        headers: &HeaderMap,
    ) -> Result<(Caller, Option<String>), Refused> {
        let token = gate::bearer(headers)?;
        let caller = self.front.caller(token).await?;
        Ok((caller, token.map(str::to_owned)))
    }
}

/// Whether an address is this machine's own.
fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
