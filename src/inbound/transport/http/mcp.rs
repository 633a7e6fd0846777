//! `POST`, `GET` and `DELETE` of `/mcp`.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use futures::stream;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use rmcp::model::{
    ClientCapabilities, ClientRequest, ErrorCode, JsonRpcMessage, ProtocolVersion, RequestId,
};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::super::id::Id;
use super::super::message::{self, Message, Refusal};
use super::super::{BATCH_MESSAGES_MAX, Bearer, LineTransport, PresentedTrace};
use super::answer::{self, empty, overloaded};
use super::exchange::{Accepts, Answered, Exchange, Part};
use super::revision::{self, Era};
use super::session_id::Session;
use super::{Caller, Front, Http, KEEP_ALIVE, Share, StreamKind, TurnedAway, event_stream};
use crate::inbound::session;

/// The header that names a session.
const SESSION_HEADER: &str = "mcp-session-id";

/// One message, and its answer.
pub(super) async fn post<F: Front>(State(http): State<Arc<Http<F>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    match http.post(&parts, body).await {
        Ok(response) | Err(response) => response,
    }
}

/// A stream on which a session is told what it has not asked for.
pub(super) async fn get<F: Front>(State(http): State<Arc<Http<F>>>, request: Request) -> Response {
    match http.get(request.headers()).await {
        Ok(response) | Err(response) => response,
    }
}

/// The end of a session.
pub(super) async fn delete<F: Front>(
    State(http): State<Arc<Http<F>>>,
    request: Request,
) -> Response {
    match http.delete(request.headers()).await {
        Ok(response) | Err(response) => response,
    }
}

impl<F: Front> Http<F> {
    async fn post(&self, parts: &Parts, body: Body) -> Result<Response, Response> {
        let headers = &parts.headers;
        let accepts = accepts(headers)?;
        require_json(headers)?;
        let caller = self.front.caller(headers).await?;
        let read = self.read_body(body).await?;
        let Some(message) = message::decode(read.bytes, BATCH_MESSAGES_MAX) else {
            return Err(protocol_error(Refusal {
                id: Id::Unusable,
                code: ErrorCode::INVALID_REQUEST,
                reason: "the body is empty: it is one message of JSON-RPC".to_owned(),
            }));
        };
        let era = revision::era(headers, &message, |tool| self.front.mirrored(tool));
        let era = era.map_err(protocol_error)?;
        let session = match &era {
            Era::Stateless => None,
            Era::Session(version) => self.session(headers, &caller, version.as_ref(), &message)?,
        };
        match message {
            Message::Refused(refusal) if era == Era::Stateless => Err(stateless_error(refusal)),
            Message::Refused(refusal) => Err(protocol_error(refusal)),
            Message::Request(_) | Message::Batch(_) => {
                let bearer = Arc::new(Bearer::new(caller.token.clone()));
                let trace = parts.extensions.get::<PresentedTrace>().copied();
                let mut exchange = self.begin(message, session, bearer, trace)?;
                exchange.0.keep(read.place);
                Ok(self.answer(exchange, accepts, &caller).await)
            }
            Message::Cancelled(param) => {
                if let Some(session) = session {
                    self.sessions
                        .tell(session.nonce, None, || Message::Cancelled(param.clone()));
                }
                Ok(empty(StatusCode::ACCEPTED))
            }
            Message::Response(id, response) => {
                if let (Some(session), Some((number, id))) = (session, own_id(&id)) {
                    let mut response = Some(readdressed(*response, &id));
                    self.sessions
                        .tell(session.nonce, Some(number), || match response.take() {
                            Some(response) => Message::Response(id.clone(), Box::new(response)),
                            None => Message::Ignored("told once"),
                        });
                }
                Ok(empty(StatusCode::ACCEPTED))
            }
            Message::Initialized | Message::Progress(_) | Message::Ignored(_) => {
                Ok(empty(StatusCode::ACCEPTED))
            }
        }
    }

    /// The session that a message of the older revisions is part of; the handshake is of none, and what is
    /// none at all is refused by its transport.
    fn session(
        &self,
        headers: &HeaderMap,
        caller: &Caller,
        version: Option<&ProtocolVersion>,
        message: &Message,
    ) -> Result<Option<Session>, Response> {
        if handshake(message).is_some() {
            return Ok(None);
        }
        let Some(session) = self.named_session(headers, caller)? else {
            return Ok(None);
        };
        let agreed = &session.client.protocol_version;
        match version {
            Some(version) if version != agreed => Err(answer::fault(
                StatusCode::BAD_REQUEST,
                "INVALID_REQUEST",
                "the header mcp-protocol-version names another revision than this session agreed on",
            )),
            _ => Ok(Some(session)),
        }
    }

    /// The session that the header names. One that is another caller's is none, as one that never was.
    fn named_session(
        &self,
        headers: &HeaderMap,
        caller: &Caller,
    ) -> Result<Option<Session>, Response> {
        let mut values = headers.get_all(SESSION_HEADER).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        let id = value.to_str().ok().filter(|_| values.next().is_none());
        let session = id.and_then(|id| self.keys.open(&caller.key, id));
        let session = session.filter(|session| !self.ended.contains(session.nonce));
        session.map(Some).ok_or_else(|| {
            answer::fault(
                StatusCode::NOT_FOUND,
                "NOT_FOUND",
                "there is no such session: send initialize again",
            )
        })
    }

    fn begin(
        &self,
        message: Message,
        session: Option<Session>,
        bearer: Arc<Bearer>,
        trace: Option<PresentedTrace>,
    ) -> Result<(Exchange, Option<ClientCapabilities>), Response> {
        let place = self.place()?;
        let handshake = handshake(&message).cloned();
        let number = self.sessions.next_number();
        let handler = session
            .as_ref()
            .and_then(|session| self.sessions.handler(session.nonce));
        let handler = match handler {
            Some(handler) => self.front.again(&handler),
            None => self.front.handler(),
        };
        let nonce = session.as_ref().map(|session| session.nonce);
        let part = match session {
            Some(session) => Part {
                client: Some(session.client),
                id_prefix: Some(format!("a{number}")),
                trace,
            },
            None => Part {
                trace,
                ..Part::default()
            },
        };
        let mut exchange = Exchange::begin(handler, message, part, bearer, &self.ending);
        exchange.keep(place);
        if let Some(nonce) = nonce {
            let entered = self.sessions.enter(nonce, number, exchange.link());
            let reason = "this session has too many requests under way";
            exchange.keep(entered.ok_or_else(|| overloaded(TurnedAway::InFlight, reason))?);
        }
        Ok((exchange, handshake))
    }

    /// A place among what is under way.
    pub(in crate::inbound) fn place(&self) -> Result<OwnedSemaphorePermit, Response> {
        Arc::clone(&self.exchanges)
            .try_acquire_owned()
            .map_err(|_| overloaded(TurnedAway::InFlight, "too many requests are under way"))
    }

    async fn answer(
        &self,
        (exchange, handshake): (Exchange, Option<ClientCapabilities>),
        accepts: Accepts,
        caller: &Caller,
    ) -> Response {
        let Answered {
            mut response,
            agreed,
            out_of_scope,
        } = exchange.respond(accepts).await;
        if let Some(permission) = out_of_scope {
            return self.front.out_of_scope(permission).into();
        }
        response
            .extensions_mut()
            .insert(Share(Arc::clone(&caller.share)));
        if let (Some(client), Some(version)) = (handshake, agreed) {
            let id = self.keys.seal(&caller.key, &client, version);
            let id = id.and_then(|id| HeaderValue::try_from(id).ok());
            if let Some(id) = id {
                response.headers_mut().insert(SESSION_HEADER, id);
            }
        }
        response
    }

    async fn get(&self, headers: &HeaderMap) -> Result<Response, Response> {
        if !accepts(headers)?.events {
            return Err(not_acceptable());
        }
        let caller = self.front.caller(headers).await?;
        let Some(session) = self.named_session(headers, &caller)? else {
            return Err(answer::fault(
                StatusCode::METHOD_NOT_ALLOWED,
                "NOT_SUPPORTED",
                "only sessions of the revisions before 2026-07-28 have a stream; name yours in mcp-session-id",
            ));
        };
        let place = self.place()?;
        let end = self.ending.child_token();
        let stream = self
            .sessions
            .open(session.nonce, &caller.share, end.clone());
        let stream = stream.map_err(|_| {
            let message = "too many sessions have a stream open; try again shortly";
            overloaded(TurnedAway::Streams, message)
        })?;
        let counted = self.figures.stream(StreamKind::Events);
        let bearer = Arc::new(Bearer::new(caller.token.clone()));
        let agreed = session.client.protocol_version.clone();
        let transport = LineTransport::taken(None, Some(agreed), bearer, None);
        let link = transport.link();
        let handler = self.front.handler();
        let service = session::begin(handler, transport, Some(session.client), end.clone());
        stream.attach(self.front.streaming(service.peer().clone()));
        let time = self.time_left(&caller);
        let held = (service, stream, place, counted);
        let deadline = Instant::now() + time;
        let events = stream::unfold((held, link, deadline), async |(held, link, deadline)| {
            let end = held.1.end().clone();
            let next = event_stream::next_or_sign(link.take(), KEEP_ALIVE, |lines| {
                event_stream::events(&lines.text)
            });
            let bytes = tokio::select! {
                bytes = next => bytes?,
                () = end.cancelled() => return None,
                () = tokio::time::sleep_until(deadline) => return None,
            };
            Some((Ok::<_, Infallible>(bytes), (held, link, deadline)))
        });
        Ok(event_stream::response(events))
    }

    /// How long a stream of `caller` may last: until its token ends.
    fn time_left(&self, caller: &Caller) -> std::time::Duration {
        let most = super::SESSION_TIME_MAX;
        let now = self.clock.now();
        caller.ends_at.map_or(most, |end| end.since(now).min(most))
    }

    async fn delete(&self, headers: &HeaderMap) -> Result<Response, Response> {
        let caller = self.front.caller(headers).await?;
        match self.named_session(headers, &caller)? {
            Some(session) => {
                self.sessions.end(session.nonce);
                self.ended.insert(session.nonce);
                Ok(empty(StatusCode::NO_CONTENT))
            }
            None => Err(answer::fault(
                StatusCode::BAD_REQUEST,
                "INVALID_REQUEST",
                "name the session that is to end in mcp-session-id",
            )),
        }
    }
}

/// What a client says of itself in a handshake, where this is one.
fn handshake(message: &Message) -> Option<&ClientCapabilities> {
    match message {
        Message::Request(incoming) => match &incoming.request {
            ClientRequest::InitializeRequest(request) => Some(&request.params.capabilities),
            _ => None,
        },
        _ => None,
    }
}

/// The exchange and the number of a request of ours, by the id that the client got for it.
fn own_id(id: &RequestId) -> Option<(u64, RequestId)> {
    let RequestId::String(text) = id else {
        return None;
    };
    let (exchange, number) = text.strip_prefix('a')?.split_once('-')?;
    Some((
        exchange.parse().ok()?,
        RequestId::Number(number.parse().ok()?),
    ))
}

/// The answer to a request of ours, under the id that we know it by.
fn readdressed(
    message: rmcp::model::ClientJsonRpcMessage,
    id: &RequestId,
) -> rmcp::model::ClientJsonRpcMessage {
    match message {
        JsonRpcMessage::Response(mut response) => {
            response.id = id.clone();
            JsonRpcMessage::Response(response)
        }
        JsonRpcMessage::Error(mut error) => {
            error.id = Some(id.clone());
            JsonRpcMessage::Error(error)
        }
        message => message,
    }
}

/// A message that is refused before anything could answer it.
fn protocol_error(refusal: Refusal) -> Response {
    refused_as(StatusCode::BAD_REQUEST, &refusal)
}

/// The same in the stateless revision, which tells by the status that there is no such method.
fn stateless_error(refusal: Refusal) -> Response {
    match refusal.code {
        ErrorCode::METHOD_NOT_FOUND => refused_as(StatusCode::NOT_FOUND, &refusal),
        _ => protocol_error(refusal),
    }
}

fn refused_as(status: StatusCode, refusal: &Refusal) -> Response {
    tracing::debug!(code = refusal.code.0, "a message is refused");
    let text = super::super::link::refusal_text(refusal);
    answer::json_text(status, text)
}

/// What the client takes. Who does not say takes anything.
pub(in crate::inbound) fn accepts(headers: &HeaderMap) -> Result<Accepts, Response> {
    let mut accepts = Accepts {
        json: false,
        events: false,
    };
    let mut said = false;
    for value in headers.get_all(ACCEPT) {
        said = true;
        for range in value.to_str().unwrap_or_default().split(',') {
            let media = range.split(';').next().unwrap_or_default().trim();
            match media.to_ascii_lowercase().as_str() {
                "*/*" => (accepts.json, accepts.events) = (true, true),
                "application/json" | "application/*" => accepts.json = true,
                "text/event-stream" | "text/*" => accepts.events = true,
                _ => {}
            }
        }
    }
    if !said {
        (accepts.json, accepts.events) = (true, true);
    }
    match accepts.json || accepts.events {
        true => Ok(accepts),
        false => Err(not_acceptable()),
    }
}

/// The client takes nothing that there is.
pub(in crate::inbound) fn not_acceptable() -> Response {
    answer::fault(
        StatusCode::NOT_ACCEPTABLE,
        "NOT_ACCEPTABLE",
        "say Accept: application/json, text/event-stream",
    )
}

/// A web page can send `text/plain` to any address without being asked; JSON it cannot.
pub(in crate::inbound) fn require_json(headers: &HeaderMap) -> Result<(), Response> {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let media = value.and_then(|value| value.split(';').next());
    match media.is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json")) {
        true => Ok(()),
        false => Err(answer::fault(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UNSUPPORTED_MEDIA_TYPE",
            "the body is one message of JSON-RPC: say Content-Type: application/json",
        )),
    }
}
