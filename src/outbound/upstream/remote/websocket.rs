//! WebSocket: one connection, over which each text is a message.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{SplitSink, SplitStream};
use futures::{FutureExt, SinkExt, StreamExt};
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderValue, SEC_WEBSOCKET_PROTOCOL, USER_AGENT};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Bytes, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::super::link::{Incoming, Link, Opened, Outgoing};
use super::egress::Gate;
use super::failure::{Failure, unavailable, unconnected};
use super::oauth::Token;
use super::outlet::Outlet;
use super::server::{RemoteServer, TCP_CONNECT_TIME_MAX};
use super::tls;
use crate::mesh::store::Reply;
use crate::mesh::upstream::MESSAGE_BYTES_MAX;
use crate::mesh::{Error, ErrorKind};

/// How long connecting, TLS and the handshake may take together.
pub(super) const OPEN_TIME_MAX: Duration = Duration::from_secs(20);

/// How long one of a name's addresses may take to answer before the next one is tried.
const ADDRESS_TIME_MAX: Duration = Duration::from_secs(3);

/// How long nothing may come before the server is asked whether it is there; twice that is the end.
pub(super) const PING_AFTER: Duration = Duration::from_secs(30);

/// How long a server may take to take in a message.
pub(super) const WRITE_TIME_MAX: Duration = Duration::from_secs(30);

/// How many messages may wait to be written.
pub(super) const OUTGOING_QUEUE: usize = 16;

/// How long saying goodbye may take.
const FAREWELL_TIME_MAX: Duration = Duration::from_secs(2);

/// What is read and written at once, in bytes. It is kept for each connection.
const BUFFER_BYTES: usize = 16 << 10;

/// The protocol within the protocol.
const SUBPROTOCOL: HeaderValue = HeaderValue::from_static("mcp");

/// A connection, with or without TLS.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Socket for S {}

pub(super) type WebSocket = WebSocketStream<Box<dyn Socket>>;

/// A link by WebSocket.
struct WebSocketLink {
    outgoing: mpsc::Sender<Message>,
    outlet: Arc<Outlet>,
}

/// Why there is no connection.
enum Unopened {
    /// The server wants another token.
    Unauthorized(Failure),
    Failed(Failure),
}

/// Connects to `server` through `gate`.
///
/// # Errors
/// What the server did instead.
pub(super) async fn open(
    gate: &Gate,
    tls: &ClientConfig,
    server: RemoteServer,
) -> Result<Opened, Error> {
    let opened = timeout(OPEN_TIME_MAX, connect(gate, tls, &server)).await;
    let socket = opened
        .unwrap_or_else(|_| Err(Failure::timed_out()))
        .map_err(|failure| failure.error)?;
    Ok(over(socket, PING_AFTER))
}

/// A link over `socket`; nothing may come for `ping_after` before the server is asked whether it is there.
pub(super) fn over(socket: WebSocket, ping_after: Duration) -> Opened {
    let (sink, stream) = socket.split();
    let (outlet, incoming) = Outlet::new();
    let outlet = Arc::new(outlet);
    let (outgoing, queue) = mpsc::channel(OUTGOING_QUEUE);
    tokio::spawn(write(Arc::clone(&outlet), sink, queue));
    // Held weakly, so that the queue ends with the link.
    let pings = outgoing.downgrade();
    tokio::spawn(read(Arc::clone(&outlet), stream, pings, ping_after));
    Opened {
        link: Arc::new(WebSocketLink { outgoing, outlet }),
        incoming,
    }
}

/// A connection; a second try where the token has been refused.
async fn connect(
    gate: &Gate,
    tls: &ClientConfig,
    server: &RemoteServer,
) -> Result<WebSocket, Failure> {
    let token = server.token(None).await?;
    let number = token.as_ref().map(|token| token.number);
    match handshake(gate, tls, server, token).await {
        Ok(socket) => Ok(socket),
        Err(Unopened::Failed(failure)) => Err(failure),
        Err(Unopened::Unauthorized(failure)) => {
            let Some(token) = server.token(number).await? else {
                return Err(failure);
            };
            let second = handshake(gate, tls, server, Some(token)).await;
            second.map_err(|(Unopened::Unauthorized(failure) | Unopened::Failed(failure))| failure)
        }
    }
}

async fn handshake(
    gate: &Gate,
    tls: &ClientConfig,
    server: &RemoteServer,
    token: Option<Token>,
) -> Result<WebSocket, Unopened> {
    let request = request(server, token).map_err(Unopened::Failed)?;
    let socket = dial(gate, tls, server.url())
        .await
        .map_err(Unopened::Failed)?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX))
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_write_buffer_size(2 * MESSAGE_BYTES_MAX);
    match client_async_with_config(request, socket, Some(config)).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(response)) => {
            let failure = Failure::of_status(response.status(), response.headers());
            Err(match response.status().as_u16() {
                401 => Unopened::Unauthorized(failure),
                _ => Unopened::Failed(failure),
            })
        }
        Err(error) => {
            let error = Error::new(
                ErrorKind::UpstreamError,
                "The server opens no WebSocket for MCP.",
            )
            .caused_by(error);
            Err(Unopened::Failed(Failure::before(error)))
        }
    }
}

fn request(server: &RemoteServer, token: Option<Token>) -> Result<Request, Failure> {
    let request = server.url().as_str().into_client_request();
    let mut request = request.map_err(|error| {
        let error = Error::invalid("url", "The url is none for a WebSocket.").caused_by(error);
        Failure::before(error)
    })?;
    let headers = request.headers_mut();
    for (name, value) in server.headers() {
        headers.insert(name, value.clone());
    }
    if let Some(token) = token {
        headers.insert(AUTHORIZATION, token.header);
    }
    let agent = concat!("use_aws_mcp/", env!("CARGO_PKG_VERSION"));
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    headers.insert(SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL);
    Ok(request)
}

/// A connection to one of the addresses that the gate lets through.
async fn dial(gate: &Gate, tls: &ClientConfig, url: &Url) -> Result<Box<dyn Socket>, Failure> {
    let before = |error: Error| Failure::before(error);
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err(before(Error::invalid("url", "The url names no host.")));
    };
    let work = async {
        let addresses = gate.addresses(host).await.map_err(unconnected)?;
        let tcp = first(&addresses, port).await?;
        // Each message is written at once: waiting for more to write would only delay it.
        tcp.set_nodelay(true).map_err(unconnected)?;
        if url.scheme() == "ws" {
            return Ok(Box::new(tcp) as Box<dyn Socket>);
        }
        let bare = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let name = ServerName::try_from(bare).map_err(unconnected)?;
        let connector = TlsConnector::from(Arc::new(tls::own(tls)));
        let encrypted = connector.connect(name, tcp).await.map_err(unconnected)?;
        Ok(Box::new(encrypted) as Box<dyn Socket>)
    };
    let dialled = timeout(TCP_CONNECT_TIME_MAX, work).await;
    dialled
        .unwrap_or_else(|_| Err(not_answering()))
        .map_err(before)
}

/// A connection to the first of `addresses` that answers; one that does not must not keep the others waiting.
async fn first(addresses: &[IpAddr], port: u16) -> Result<TcpStream, Error> {
    let mut failed = None;
    for &address in addresses {
        let connecting = TcpStream::connect(SocketAddr::new(address, port));
        match timeout(ADDRESS_TIME_MAX, connecting).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => failed = Some(unconnected(error)),
            Err(_) => {}
        }
    }
    Err(failed.unwrap_or_else(not_answering))
}

fn not_answering() -> Error {
    unavailable("The server cannot be connected to: it does not answer.")
}

/// Passes on what comes, asks a silent server whether it is there, and says when it is not.
async fn read(
    outlet: Arc<Outlet>,
    mut stream: SplitStream<WebSocket>,
    outgoing: mpsc::WeakSender<Message>,
    ping_after: Duration,
) {
    let mut asked = false;
    loop {
        let next = tokio::select! {
            biased;
            () = outlet.closing.cancelled() => return,
            next = timeout(ping_after, stream.next()) => next,
        };
        let failure = match next {
            Err(_) if !asked => {
                asked = true;
                // A full queue is being written, or the writer gives up by itself.
                if let Some(outgoing) = outgoing.upgrade() {
                    let _ = outgoing.try_send(Message::Ping(Bytes::new()));
                }
                continue;
            }
            Err(_) => Failure::after(unavailable("The server no longer answers.")),
            Ok(Some(Ok(Message::Text(text)))) => {
                asked = false;
                outlet
                    .tell(Incoming::Message(text.as_str().to_owned()))
                    .await;
                continue;
            }
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)))) => {
                asked = false;
                continue;
            }
            Ok(Some(Ok(Message::Binary(_)))) => Failure::garbage("sent what is no text"),
            Ok(Some(Ok(Message::Close(_))) | None) => {
                Failure::after(unavailable("The server has closed the connection."))
            }
            Ok(Some(Err(tungstenite::Error::Capacity(_)))) => Failure::too_large(),
            Ok(Some(Err(error))) => Failure::after(Failure::broken_off().error.caused_by(error)),
        };
        return outlet.end(failure.error).await;
    }
}

/// Writes what is sent, each message whole.
async fn write(
    outlet: Arc<Outlet>,
    mut sink: SplitSink<WebSocket, Message>,
    mut queue: mpsc::Receiver<Message>,
) {
    loop {
        let message = tokio::select! {
            biased;
            () = outlet.closing.cancelled() => return,
            message = queue.recv() => message,
        };
        let Some(message) = message else { return };
        let is_last = message.is_close();
        let written = tokio::select! {
            biased;
            () = outlet.closing.cancelled() => return,
            written = timeout(WRITE_TIME_MAX, sink.send(message)) => written,
        };
        match written {
            Ok(Ok(())) if is_last => return outlet.closing.cancel(),
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let error = Failure::broken_off().error.caused_by(error);
                return outlet.end(error).await;
            }
            Err(_) => {
                return outlet
                    .end(unavailable("The server takes no more messages."))
                    .await;
            }
        }
    }
}

impl Link for WebSocketLink {
    fn send(&self, message: Outgoing) -> Reply<'_, ()> {
        async move {
            let closed = || unavailable("The connection to the server is closed.");
            let place = tokio::select! {
                biased;
                () = self.outlet.closing.cancelled() => return Err(closed()),
                place = timeout(message.timeout, self.outgoing.reserve()) => place,
            };
            let place = place.map_err(|_| Failure::timed_out().error)?;
            place
                .map_err(|_| closed())?
                .send(Message::text(message.text));
            Ok(())
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            if self.outgoing.try_send(Message::Close(None)).is_ok() {
                let _ = timeout(FAREWELL_TIME_MAX, self.outlet.closing.cancelled()).await;
            }
            self.outlet.closing.cancel();
        }
        .boxed()
    }
}

impl Drop for WebSocketLink {
    fn drop(&mut self) {
        self.outlet.closing.cancel();
    }
}
