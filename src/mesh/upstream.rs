//! The seam to other MCP servers: connections that are opened when they are needed, each of one user's alone.

mod secrets;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use secrecy::SecretString;
use serde_json::value::RawValue;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::call::request::Progress;
use super::integration::news::ConnectionChanged;
use super::integration::{ConnectionId, RemoteKind, ServiceId};
use super::store::Reply;
use super::tenant::{TenantId, UserId};
use super::trace::TraceParent;
use super::{Error, Timestamp};

pub use secrets::ConnectionSecrets;

/// How long connecting may take: starting the child or the first request, the handshake, the list of tools.
pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(30);

/// The most bytes of one message of an upstream.
pub const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// The most tools that one upstream may have.
pub const TOOLS_MAX: usize = 2000;

/// Whose connection it is. No two keys ever share a process, a session or a socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionKey {
    /// The tenant.
    pub tenant: TenantId,
    /// The user of it.
    pub user: UserId,
    /// The integration.
    pub service: ServiceId,
    /// Which of the user's connections to it.
    pub connection: ConnectionId,
}

/// A connection as it is to be: everything that is needed to open it, secrets included.
#[derive(Clone, Debug)]
pub struct ConnectionPlan {
    /// Whose it is.
    pub key: ConnectionKey,
    /// Differs whenever the definition, the settings or the credentials do: what is open as another revision
    /// ends when the calls on it have.
    pub revision: String,
    /// How the server is reached.
    pub target: ConnectionTarget,
    /// What of it must never be shown.
    pub secrets: ConnectionSecrets,
    /// Of which era the server was when it was last spoken to, so that a silent old one costs its wait once.
    pub era: Option<Era>,
    /// How many children the tenant may have at once.
    pub children_max: u32,
}

/// How a server is reached, with all references replaced by what they refer to.
#[derive(Clone, Debug)]
pub enum ConnectionTarget {
    /// A command of an admin's, from the operator's list.
    Command {
        /// An absolute path, or a name that is found in `PATH`.
        command: String,
        /// Its arguments.
        args: Vec<SecretString>,
        /// Variables of its environment.
        env: BTreeMap<String, SecretString>,
    },
    /// One of the operator's templates.
    Template {
        /// Its id.
        template: String,
        /// What fills its slots.
        slots: BTreeMap<String, String>,
        /// Variables of its environment, of those that the template allows.
        env: BTreeMap<String, SecretString>,
    },
    /// A server at an address.
    Remote {
        /// The protocol.
        kind: RemoteKind,
        /// The URL.
        url: String,
        /// Headers that every request carries.
        headers: BTreeMap<String, SecretString>,
        /// How requests are signed in, besides the headers.
        sign_in: SignIn,
    },
}

impl ConnectionTarget {
    /// The kind of server, as integrations name it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Command { .. } | Self::Template { .. } => "stdio",
            Self::Remote { kind, .. } => match kind {
                RemoteKind::Http => "http",
                RemoteKind::Sse => "sse",
                RemoteKind::Websocket => "websocket",
            },
        }
    }
}

/// How requests to a remote server are signed in.
#[derive(Clone, Debug, Default)]
pub enum SignIn {
    /// By the headers alone.
    #[default]
    Headers,
    /// By a token that these are exchanged for.
    ClientCredentials(ClientCredentials),
}

/// OAuth 2 client credentials.
#[derive(Clone, Debug)]
pub struct ClientCredentials {
    /// Where tokens are given.
    pub token_url: String,
    /// The client.
    pub client_id: SecretString,
    /// Its secret.
    pub client_secret: SecretString,
    /// What the token is to be good for.
    pub scope: Option<String>,
}

/// Which handshake a server knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Era {
    /// `initialize`: revisions up to 2025-11-25.
    Sessions,
    /// `server/discover`: 2026-07-28 and later, without sessions.
    Stateless,
}

/// Who an upstream says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerIdentity {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The revision that was agreed on.
    pub protocol_version: String,
    /// The handshake that it knows.
    pub era: Era,
}

/// A tool of an upstream, as it was told, to the last member.
#[derive(Clone, Debug)]
pub struct UpstreamTool {
    /// Its name.
    pub name: String,
    /// Its definition: the text of a JSON object.
    pub definition: Arc<RawValue>,
}

/// How a connection is, for `integration_list`, health and `integrations ps`.
#[derive(Clone, Debug)]
pub struct ConnectionState {
    /// Whose it is.
    pub key: ConnectionKey,
    /// As what it was opened.
    pub revision: String,
    /// The kind of server that it leads to: [`ConnectionTarget::kind`].
    pub kind: &'static str,
    /// How it is.
    pub phase: Phase,
    /// The child's process id.
    pub process: Option<u32>,
    /// When it was opened.
    pub since: Timestamp,
    /// When it was last used.
    pub used_at: Timestamp,
    /// How often it was opened again after it broke.
    pub restarts: u32,
    /// Calls in flight.
    pub in_flight: u32,
    /// What went wrong last, in the caller's terms.
    pub fault: Option<String>,
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// It is being opened.
    Connecting,
    /// It can be used.
    Connected,
    /// It broke, and is opened again at the next use, not before its backoff ends. Its tools stay listed.
    Degraded,
    /// It broke too often: the circuit breaker is open, and its tools are no longer listed.
    Down,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 4] = [
        Self::Connecting,
        Self::Connected,
        Self::Degraded,
        Self::Down,
    ];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}

/// A call of an upstream's tool.
#[derive(Debug)]
pub struct UpstreamCall<'a> {
    /// The tool, by the upstream's own name.
    pub tool: &'a str,
    /// Its arguments: the text of a JSON object.
    pub arguments: Option<&'a RawValue>,
    /// What a stateless client gave to an upstream's requests for input: further members of `params`
    /// (`inputResponses`, `requestState`), the text of a JSON object.
    pub continued: Option<&'a RawValue>,
    /// When it is given up, and cancelled at the upstream.
    pub timeout: Duration,
    /// The trace that it belongs to, passed on as `traceparent`.
    pub trace: Option<TraceParent>,
    /// Where the upstream's progress goes.
    pub progress: Option<mpsc::Sender<Progress>>,
    /// Where its requests for input go while the call runs; refused where there is nowhere.
    pub input: Option<mpsc::Sender<InputRequest>>,
    /// Set when the caller no longer wants the answer.
    pub cancelled: CancellationToken,
}

/// What an upstream asks of its client while a call runs: `elicitation/create`, `sampling/createMessage` or
/// `roots/list`.
#[derive(Debug)]
pub struct InputRequest {
    /// The method.
    pub method: String,
    /// Its parameters.
    pub params: Option<Box<RawValue>>,
    /// Where the result goes; dropped, the upstream is told that there is none.
    pub answer: oneshot::Sender<Box<RawValue>>,
}

/// Why a call of an upstream gave no result.
#[derive(Debug)]
pub enum UpstreamFault {
    /// It was certainly not carried out: the request was never sent.
    NotSent(Error),
    /// The connection broke after the request was sent: it may have been carried out.
    Lost(Error),
    /// The time was over, and the upstream was told so: it may have been carried out.
    TimedOut,
    /// The caller cancelled it, and the upstream was told so.
    Cancelled,
    /// The upstream answered with an error of the protocol.
    Refused {
        /// Its code.
        code: i64,
        /// Its message.
        message: String,
        /// Its data.
        data: Option<Box<RawValue>>,
    },
    /// The upstream answered with what is no result, or was too large to be taken.
    Garbage(Error),
}

/// All connections of this process to other servers.
pub trait Upstreams: Send + Sync + 'static {
    /// The connection of `plan`: the one that is open under its key and revision, else a new one. Callers
    /// who come while it is being opened wait for the same one. One that was tried out as this revision takes
    /// the place. What is open there as another revision gets no more calls from here on, and ends when it has
    /// answered those that it has.
    ///
    /// The answer comes within [`CONNECT_TIME_MAX`] and what ending a connection takes.
    ///
    /// # Errors
    /// `UPSTREAM_UNAVAILABLE` with what the server last said, `QUOTA_EXCEEDED`, `OVERLOADED`,
    /// `NOT_SUPPORTED` where it may not be opened at all; nothing is kept then.
    fn connect(&self, plan: ConnectionPlan) -> Reply<'_, Arc<dyn Upstream>>;

    /// A new connection beside what is open under the plan's key, which is left as it is: nobody else gets the new
    /// one before it takes over.
    ///
    /// # Errors
    /// As [`Self::connect`].
    fn try_out(&self, plan: ConnectionPlan) -> Reply<'_, Arc<dyn Upstream>>;

    /// The connection that was tried out as `revision` takes the place under `key`. What was there ends when it has
    /// answered the calls that it has.
    fn take_over(&self, key: &ConnectionKey, revision: &str);

    /// Ends what there is under `key` as `revision` and nothing else: at once what is being opened or idle, else when
    /// it has answered the calls that it has, which is not waited for.
    fn retire<'a>(&'a self, key: &'a ConnectionKey, revision: &'a str) -> BoxFuture<'a, ()>;

    /// The connection that is open under `key` and `revision`. While it is [`Phase::Degraded`] this is the one
    /// that broke: it still tells its tools, and its calls are [`UpstreamFault::NotSent`].
    fn open(&self, key: &ConnectionKey, revision: &str) -> Option<Arc<dyn Upstream>>;

    /// Ends all that there is under `key`, at once: each connection, its child and all that the child has started.
    fn disconnect<'a>(&'a self, key: &'a ConnectionKey) -> BoxFuture<'a, ()>;

    /// Ends all connections to an integration, of all users of the tenant, and removes what their children have kept
    /// on this machine.
    fn forget<'a>(&'a self, tenant: &'a TenantId, service: &'a ServiceId) -> BoxFuture<'a, ()>;

    /// Every connection of `tenant`; of all tenants where none is named.
    fn states(&self, tenant: Option<&TenantId>) -> Vec<ConnectionState>;

    /// What is told of the connections of `tenant` from now on: that a server has listed its tools anew, that a
    /// connection broke, and that it is there again.
    fn watch(&self, tenant: &TenantId) -> broadcast::Receiver<ConnectionChanged>;

    /// Whether `target` may be reached from here at all, before anything is stored or started: the
    /// operator's list of commands, the templates and their slots, the rules of egress.
    ///
    /// # Errors
    /// `NOT_SUPPORTED` or `INVALID_PARAMETER` with what to do instead.
    fn check(&self, target: &ConnectionTarget) -> Result<(), Error>;

    /// Ends all connections, within `time`.
    fn close(&self, time: Duration) -> BoxFuture<'_, ()>;
}

/// One open connection.
pub trait Upstream: Send + Sync + 'static {
    /// Who the server says it is.
    fn identity(&self) -> ServerIdentity;

    /// Its tools as they were last listed: listed anew after the server said that they changed.
    ///
    /// # Errors
    /// What the server did instead of listing them.
    fn tools(&self) -> Reply<'_, Arc<Vec<UpstreamTool>>>;

    /// Rises whenever its tools have been listed anew.
    fn tools_generation(&self) -> u64;

    /// Calls a tool and gives back the whole result as the server wrote it.
    ///
    /// # Errors
    /// See [`UpstreamFault`].
    fn call<'a>(
        &'a self,
        call: UpstreamCall<'a>,
    ) -> BoxFuture<'a, Result<Box<RawValue>, UpstreamFault>>;

    /// A round trip.
    ///
    /// # Errors
    /// `UPSTREAM_UNAVAILABLE`.
    fn ping(&self) -> Reply<'_, Duration>;
}
