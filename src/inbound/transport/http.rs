//! Streamable HTTP: one listener; each message comes by a request of its own and is answered by its response.
//!
//! A request goes through the same decoding, the same checks and the same service loop as a line of a session over
//! pipes. Between requests there is nothing: what a session of the older revisions has agreed on stands in its id,
//! which any process with the same keys opens, and only a stream that is open takes memory.

pub(in crate::inbound) mod answer;
pub(in crate::inbound) mod body;
mod carried;
mod ended;
pub(in crate::inbound) mod event_stream;
mod exchange;
mod figures;
mod gate;
mod inlet;
mod listener;
pub(in crate::inbound) mod mcp;
mod mirrored;
mod revision;
pub(in crate::inbound) mod seat;
mod session_id;
mod sessions;
#[cfg(test)]
pub(crate) mod tests;
mod tls;

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::response::Response;
use axum::routing::post;
use http::HeaderMap;
use rmcp::model::ErrorCode;
use rmcp::{Peer, RoleServer};
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};

use super::FRAME_BYTES_MAX;
use crate::inbound::session::Gatekeeper;
use crate::inbound::sign_in::Challenge;
use crate::mesh::Timestamp;
use crate::mesh::tenant::Permission;
use body::{BodyBudget, ReadBody};
use ended::EndedSessions;
use sessions::Sessions;

pub(super) use carried::Carried;
pub(super) use inlet::Inlet;
pub(in crate::inbound) use listener::Lasting;

pub use figures::{Figures, StreamKind, TurnedAway};
pub use gate::{Cors, Gate, InvalidOrigin, Origin};
pub use listener::{Drain, Listener, ListenerSettings, SILENCE_MAX};
pub use mirrored::Mirrored;
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

/// From which size on answers are compressed, in bytes: below it takes longer than it saves.
const COMPRESSED_BYTES_LEAST: u64 = 8 * 1024;

/// What stands behind a listener.
pub trait Front: Send + Sync + 'static {
    /// What answers.
    type Handler: Gatekeeper;

    /// Who makes a request with these headers.
    fn caller(&self, headers: &HeaderMap) -> impl Future<Output = Result<Caller, Refused>> + Send;

    /// What a request is told whose token's scope leaves `permission` out.
    fn out_of_scope(&self, permission: Permission) -> Refused;

    /// The arguments of a tool that its callers repeat in headers; none but where it says so in its schema.
    fn mirrored(&self, _tool: &str) -> Vec<Mirrored> {
        Vec::new()
    }

    /// What answers one request that is not part of a session with an open stream.
    fn handler(&self) -> Self::Handler;

    /// What answers a session that lasts as long as its connection, and tells its client what concerns it.
    fn session(&self) -> Self::Handler;

    /// What answers on a session's stream, and its requests while that is open; `stream` leads to the client.
    fn streaming(&self, stream: Peer<RoleServer>) -> Self::Handler;

    /// The same handler again, for another request of the same session.
    fn again(&self, handler: &Self::Handler) -> Self::Handler;
}

/// Who makes a request.
#[derive(Clone)]
pub struct Caller {
    /// The token that the request brought; none where its caller is anonymous.
    pub token: Option<String>,
    /// Stands for the caller: equal for equal ones only, and tells nobody who it is.
    pub key: [u8; 16],
    /// Who shares with the caller what there is of streams: the tenant.
    pub share: Arc<str>,
    /// From when on the caller is nobody any more.
    pub ends_at: Option<Timestamp>,
}

/// Whose request was answered, in the extensions of a response: [`Caller::share`].
#[derive(Clone, Debug)]
pub struct Share(pub Arc<str>);

/// Why a request is not let in.
#[derive(Clone, Debug)]
pub struct Refused {
    /// What HTTP says.
    pub challenge: Challenge,
    /// What the body says.
    pub code: ErrorCode,
}

/// What the routes share.
pub struct Http<F: Front> {
    pub(crate) front: F,
    keys: SessionKeys,
    sessions: Arc<Sessions<F::Handler>>,
    ended: EndedSessions,
    bodies: BodyBudget,
    exchanges: Arc<tokio::sync::Semaphore>,
    figures: Arc<Figures>,
    clock: Arc<dyn crate::mesh::Clock>,
    /// Cancelled when streams are to end.
    ending: CancellationToken,
}

impl<F: Front> Http<F> {
    /// What answers at `/mcp`, until `ending` is cancelled. Streams are counted in `figures`.
    pub fn new(
        front: F,
        keys: SessionKeys,
        streams_max: usize,
        clock: Arc<dyn crate::mesh::Clock>,
        ending: CancellationToken,
        figures: Arc<Figures>,
    ) -> Arc<Self> {
        Arc::new(Self {
            front,
            keys,
            sessions: Sessions::new(streams_max),
            ended: EndedSessions::new(),
            bodies: BodyBudget::new(BODIES_BYTES_MAX),
            exchanges: Arc::new(tokio::sync::Semaphore::new(EXCHANGES_MAX)),
            figures,
            clock,
            ending,
        })
    }

    /// Reads the body of a request, as long as a message may be, out of what all bodies share.
    ///
    /// # Errors
    /// The response that says why it was not read.
    pub(in crate::inbound) async fn read_body(&self, body: Body) -> Result<ReadBody, Response> {
        let read = self.bodies.read(body, FRAME_BYTES_MAX, BODY_TIME_MAX);
        read.await.map_err(Response::from)
    }

    /// What the bodies of all requests, and the messages of connections that last, take together.
    pub(in crate::inbound) const fn bodies(&self) -> &BodyBudget {
        &self.bodies
    }

    /// The route `/mcp`.
    pub fn routes(self: &Arc<Self>) -> Router {
        let route = post(mcp::post::<F>)
            .get(mcp::get::<F>)
            .delete(mcp::delete::<F>);
        Router::new()
            .route("/mcp", route)
            // Bodies are bounded where they are read.
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(self))
    }
}

/// Whether an address is this machine's own.
fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Puts what every route has before `routes`: the gate, what browsers ask, and compression. What is no route is
/// guarded as well.
pub fn guarded(routes: Router, gate: Gate, cors: Option<&Cors>) -> Router {
    let compression = CompressionLayer::new().compress_when(
        SizeAbove::new(COMPRESSED_BYTES_LEAST).and(NotForContentType::new("text/event-stream")),
    );
    let mut routes = routes.layer(compression);
    if let Some(cors) = cors {
        routes = routes.layer(cors.layer());
    }
    routes.layer(middleware::from_fn_with_state(Arc::new(gate), gate::guard))
}
