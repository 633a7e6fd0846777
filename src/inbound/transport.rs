//! Bytes to framed JSON-RPC messages and back; transports differ only here.
//!
//! Every transport is a [`LineTransport`] over something that reads and writes, or, where messages come and go
//! one by one as over HTTP, over nothing. It lies under the service
//! loop of `rmcp` and answers by itself whatever that loop would drop or die of.

mod batch;
mod chunk;
mod envelope;
mod flight;
mod frame;
pub mod http;
mod id;
mod limits;
mod link;
mod memory;
mod message;
mod output;
mod parameters;
mod request;
mod scan;
pub mod sse;
mod stdio;
pub(in crate::inbound) mod surrogate;
mod taken;
#[cfg(test)]
mod tests;
pub mod websocket;

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rmcp::RoleServer;
use rmcp::model::{
    CancelledNotification, ClientJsonRpcMessage, ClientNotification, ClientRequest, ErrorCode,
    Extensions, GetExtensions, GetMeta, InitializedNotification, ProgressNotification,
    ProtocolVersion, RequestId, RequestMetaObject, ServerJsonRpcMessage,
};
use rmcp::transport::Transport;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::task::JoinHandle;

use batch::Batch;
use frame::{Frame, Frames};
use id::Id;
use link::SHUTTING_DOWN;
use message::{Incoming, Message, Refusal};

pub use limits::{
    BATCH_MESSAGES_MAX, BYTES_IN_FLIGHT_MAX, BYTES_PARKED_MAX, BYTES_UNREAD_MAX, FRAME_BYTES_MAX,
    Limits, REQUESTS_IN_FLIGHT_MAX, REQUESTS_PARKED_MAX, RESOURCE_ANSWER_BYTES, TOOL_ANSWER_BYTES,
};
pub(crate) use link::Link;
pub use memory::{MemoryTransport, memory};
pub use request::{Bearer, PresentedIdentity, PresentedTrace, RawArguments, ReplySlot};
pub use stdio::{StdioTransport, stdio};

/// How long closing waits for the client to read the last answers.
const CLOSE_TIME_MAX: Duration = Duration::from_millis(500);

/// One session's messages, a line each.
pub struct LineTransport<R> {
    reader: R,
    frames: Frames,
    limits: Limits,
    /// What stood behind the first message of a batch.
    queued: VecDeque<(Message, Option<Arc<Batch>>)>,
    /// Requests that wait for room.
    parked: VecDeque<(Box<Incoming>, Option<Arc<Batch>>)>,
    parked_bytes: usize,
    input_ended: bool,
    /// Whether the end of a flight wakes the reading side.
    is_armed: bool,
    link: Arc<Link>,
    /// The task that writes; none where somebody takes the lines.
    writer: Option<JoinHandle<()>>,
    /// The token under which requests are made, where the connection brings it.
    bearer: Option<Arc<Bearer>>,
    /// The trace that requests are part of which name none.
    trace: Option<PresentedTrace>,
}

impl<R: AsyncRead + Send + Unpin> LineTransport<R> {
    /// A session over `reader` and `writer`. Call it within a runtime: it starts the task that writes.
    pub fn new(
        reader: R,
        writer: impl AsyncWrite + Send + Unpin + 'static,
        limits: Limits,
    ) -> Self {
        let link = Link::new(limits, None);
        let (output, traffic) = (Arc::clone(&link.output), Arc::clone(&link.traffic));
        let writer = tokio::spawn(async move {
            output.run(writer).await;
            traffic.wake();
        });
        let mut transport = Self::over(reader, limits, link);
        transport.writer = Some(writer);
        transport
    }

    fn over(reader: R, limits: Limits, link: Arc<Link>) -> Self {
        Self {
            reader,
            frames: Frames::new(limits.frame_bytes),
            limits,
            queued: VecDeque::new(),
            parked: VecDeque::new(),
            parked_bytes: 0,
            input_ended: false,
            is_armed: false,
            link,
            writer: None,
            bearer: None,
            trace: None,
        }
    }

    /// Has requests that name no trace be part of `trace`.
    #[must_use]
    pub(crate) fn traced_by(mut self, trace: Option<PresentedTrace>) -> Self {
        self.trace = trace;
        self
    }

    /// Has every request made under the token of `bearer`, whatever it says of itself.
    #[must_use]
    pub(crate) fn borne_by(mut self, bearer: Arc<Bearer>) -> Self {
        self.bearer = Some(bearer);
        self
    }

    /// Has lone answers written by `at_once`, another way to where the writer writes, which must never wait.
    #[must_use]
    pub(crate) fn writing_at_once(self, at_once: impl io::Write + Send + 'static) -> Self {
        self.link.output.write_lone_lines(Box::new(at_once));
        self
    }

    /// What the session needs to end this transport.
    pub(crate) fn link(&self) -> Arc<Link> {
        Arc::clone(&self.link)
    }

    /// Whether another message may be looked at now.
    fn may_look(&self) -> bool {
        self.parked.len() < self.limits.requests_parked
            && self.parked_bytes <= self.limits.bytes_parked
            && self.link.output.unread() <= self.limits.bytes_unread
            && !self.link.traffic.is_initializing()
    }

    /// The next message that has been read, of a batch or of a line.
    fn look(&mut self) -> Option<(Message, Option<Arc<Batch>>)> {
        if let Some(queued) = self.queued.pop_front() {
            return Some(queued);
        }
        if let Some(message) = self.link.take_injected() {
            return Some((message, None));
        }
        loop {
            let message = match self.frames.next(self.input_ended)? {
                Frame::Line(line) => message::decode(line, self.limits.batch_messages()),
                Frame::TooLong(scan) => Some(Message::Refused(Refusal::too_long(
                    *scan,
                    self.limits.frame_bytes,
                ))),
            };
            if let Some(message) = message {
                return Some((message, None));
            }
        }
    }

    /// Deals with a message, and returns what the service loop is to see of it.
    fn take(
        &mut self,
        message: Message,
        batch: Option<Arc<Batch>>,
    ) -> Option<ClientJsonRpcMessage> {
        let message = match message {
            Message::Request(incoming) => return self.take_request(incoming, batch),
            Message::Refused(mut refusal) => {
                // An id found in a broken line may be another one than was meant, and must not end a
                // request that is still being answered.
                if matches!(&refusal.id, Id::Usable(id) if self.is_in_use(id)) {
                    refusal.id = Id::Unusable;
                }
                self.link.refuse(&refusal, batch.as_ref());
                return None;
            }
            Message::Batch(messages) => {
                self.take_batch(messages);
                return None;
            }
            Message::Cancelled(param) => {
                let id = param.request_id.clone();
                id.is_some_and(|id| self.cancel(&id)).then(|| {
                    ClientJsonRpcMessage::notification(ClientNotification::CancelledNotification(
                        CancelledNotification::new(param),
                    ))
                })
            }
            Message::Initialized => self.link.traffic.take_agreement().then(|| {
                ClientJsonRpcMessage::notification(ClientNotification::InitializedNotification(
                    InitializedNotification {
                        method: Default::default(),
                        extensions: Extensions::new(),
                    },
                ))
            }),
            Message::Progress(param) => self.link.traffic.has_asked().then(|| {
                ClientJsonRpcMessage::notification(ClientNotification::ProgressNotification(
                    ProgressNotification::new(param),
                ))
            }),
            Message::Response(id, response) => self.link.traffic.asked(&id).then_some(*response),
            Message::Ignored(reason) => {
                tracing::debug!(reason, "a message is ignored");
                None
            }
        };
        self.link.skip(batch.as_ref());
        message
    }

    fn take_request(
        &mut self,
        incoming: Box<Incoming>,
        batch: Option<Arc<Batch>>,
    ) -> Option<ClientJsonRpcMessage> {
        if let Err((code, reason)) = self.check(&incoming, batch.is_some()) {
            let refusal = Refusal {
                id: Id::Usable(incoming.id),
                code,
                reason: reason.to_owned(),
            };
            self.link.refuse(&refusal, batch.as_ref());
            return None;
        }
        if matches!(incoming.request, ClientRequest::InitializeRequest(_)) {
            self.link.traffic.begin_initialize(incoming.id.clone());
        }
        if self.parked.is_empty() && self.link.traffic.has_room(incoming.weight()) {
            return Some(self.enter(*incoming, batch));
        }
        self.parked_bytes += incoming.bytes;
        self.parked.push_back((incoming, batch));
        None
    }

    /// Whether a request may run at all.
    fn check(&self, incoming: &Incoming, in_batch: bool) -> Result<(), (ErrorCode, &'static str)> {
        let traffic = &self.link.traffic;
        if traffic.is_draining() {
            return Err((SHUTTING_DOWN, "the server is shutting down"));
        }
        // The refusal bears the id of the request that is still in flight, as the refused one does. That
        // one's own answer follows.
        if self.is_in_use(&incoming.id) {
            let reason = "a request with this id is in flight or was cancelled just now";
            return Err((ErrorCode::INVALID_REQUEST, reason));
        }
        let needs_session = match &incoming.request {
            ClientRequest::InitializeRequest(_) if in_batch => {
                let reason = "initialize cannot be part of a batch";
                return Err((ErrorCode::INVALID_REQUEST, reason));
            }
            ClientRequest::InitializeRequest(_)
            | ClientRequest::DiscoverRequest(_)
            | ClientRequest::PingRequest(_) => false,
            request => !is_self_contained(request.get_meta()),
        };
        if needs_session && traffic.version().is_none() {
            let reason = "no session: send initialize first, or name the protocol version and the client's capabilities in _meta";
            return Err((ErrorCode::INVALID_REQUEST, reason));
        }
        Ok(())
    }

    /// Whether a request with this id waits, is in flight or was cancelled not long ago.
    fn is_in_use(&self, id: &RequestId) -> bool {
        self.link.traffic.knows(id) || self.parked.iter().any(|(parked, _)| parked.id == *id)
    }

    /// Counts a request in and makes it ready for the service loop.
    fn enter(&mut self, incoming: Incoming, batch: Option<Arc<Batch>>) -> ClientJsonRpcMessage {
        let weight = incoming.weight();
        let Incoming {
            id, mut request, ..
        } = incoming;
        let flight = self.link.traffic.enter(id.clone(), weight, batch);
        let extensions = request.extensions_mut();
        extensions.insert(ReplySlot::new(flight));
        if let Some(trace) = self.trace {
            extensions.insert(trace);
        }
        if let Some(bearer) = &self.bearer {
            extensions.insert(bearer.identity());
            extensions.insert(self.link.scope().clone());
        }
        ClientJsonRpcMessage::request(request, id)
    }

    /// Whether the service loop is to be told of this cancellation.
    fn cancel(&mut self, id: &RequestId) -> bool {
        if let Some(index) = self.parked.iter().position(|(parked, _)| parked.id == *id) {
            if let Some((incoming, batch)) = self.parked.remove(index) {
                self.parked_bytes -= incoming.bytes;
                self.link.skip(batch.as_ref());
            }
            return false;
        }
        match self.link.traffic.cancel(id) {
            Some(running) => {
                self.link.skip(running.batch.as_ref());
                true
            }
            None => false,
        }
    }

    /// A parked request that there is room for now.
    fn unpark(&mut self) -> Option<ClientJsonRpcMessage> {
        loop {
            let (incoming, _) = self.parked.front()?;
            let is_draining = self.link.traffic.is_draining();
            if !is_draining && !self.link.traffic.has_room(incoming.weight()) {
                return None;
            }
            let (incoming, batch) = self.parked.pop_front()?;
            self.parked_bytes -= incoming.bytes;
            if !is_draining {
                return Some(self.enter(*incoming, batch));
            }
            // An initialize that waited would otherwise hold everything back for ever.
            self.link.traffic.answer(&incoming.id);
            let refusal = Refusal {
                id: Id::Usable(incoming.id),
                code: SHUTTING_DOWN,
                reason: "the server is shutting down".to_owned(),
            };
            self.link.refuse(&refusal, batch.as_ref());
        }
    }

    /// Whether nothing more can come and everything is answered.
    fn has_ended(&self) -> bool {
        (self.input_ended || self.link.traffic.is_draining())
            && self.parked.is_empty()
            && self.queued.is_empty()
            && self.link.traffic.is_idle()
            && self.link.output.unread() == 0
    }

    /// Whether more bytes may be read. Behind a parked request no long line is gathered as well.
    fn may_read(&self) -> bool {
        !self.input_ended
            && self.may_look()
            && (self.parked.is_empty() || self.frames.gathered() <= self.limits.bytes_parked)
    }

    /// Waits for bytes to read, or for whatever kept the transport from reading.
    async fn wait(&mut self) {
        let may_read = self.may_read();
        let traffic = &self.link.traffic;
        let unread = self.link.output.unread();
        let most_unread = match self.input_ended || traffic.is_draining() {
            true => 0,
            false => self.limits.bytes_unread,
        };
        tokio::select! {
            biased;
            () = traffic.changed() => {}
            _ = self.link.output.below(most_unread), if unread > most_unread => {}
            result = self.reader.read_buf(self.frames.space()), if may_read => {
                if let Err(error) = &result {
                    tracing::debug!(error = %error.kind(), "the input cannot be read any more");
                }
                if matches!(result, Ok(0) | Err(_)) {
                    self.input_ended = true;
                    self.link.input_ended.cancel();
                }
            }
        }
    }

    /// The next message for the service loop; `None` when the session is over. It may be dropped at any
    /// point where it waits.
    async fn next(&mut self) -> Option<ClientJsonRpcMessage> {
        loop {
            if self.link.output.has_failed() {
                self.link.input_ended.cancel();
                return None;
            }
            if let Some(message) = self.unpark() {
                return Some(message);
            }
            if self.may_look() {
                if let Some((message, batch)) = self.look() {
                    match self.take(message, batch) {
                        Some(message) => return Some(message),
                        None => continue,
                    }
                }
                if self.has_ended() {
                    return None;
                }
            }
            // Only what waits for a flight to end asks to be woken by one, and then looks once more,
            // because it may have ended just before.
            let awaits_flight =
                !self.parked.is_empty() || self.input_ended || self.link.traffic.is_draining();
            if awaits_flight != self.is_armed {
                self.is_armed = awaits_flight;
                self.link.traffic.await_end_of_flight(awaits_flight);
                continue;
            }
            self.wait().await;
        }
    }
}

impl<R: AsyncRead + Send + Unpin> Transport<RoleServer> for LineTransport<R> {
    type Error = io::Error;

    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = Result<(), io::Error>> + Send + 'static {
        let position = self.link.send(message);
        let output = Arc::clone(&self.link.output);
        async move {
            match position? {
                Some(position) => output.written(position).await,
                None => Ok(()),
            }
        }
    }

    fn receive(&mut self) -> impl Future<Output = Option<ClientJsonRpcMessage>> + Send {
        self.next()
    }

    async fn close(&mut self) -> Result<(), io::Error> {
        self.link.abandon();
        let Some(writer) = &mut self.writer else {
            return Ok(());
        };
        let closed = tokio::time::timeout(CLOSE_TIME_MAX, writer).await;
        closed
            .map(|_| ())
            .map_err(|_| io::ErrorKind::TimedOut.into())
    }
}

impl<R> Drop for LineTransport<R> {
    fn drop(&mut self) {
        self.link.output.close();
        if let Some(writer) = &self.writer {
            writer.abort();
        }
    }
}

/// Whether a request needs no session, because it says by itself what `initialize` would have said.
fn is_self_contained(meta: &RequestMetaObject) -> bool {
    // From 2026-07-28 on a request that says too little gets a better answer from its handler.
    let version = meta.protocol_version();
    version.is_some_and(|version| !version.has_initialize())
        || meta
            .missing_required_keys(&ProtocolVersion::V_2026_07_28)
            .is_empty()
}
