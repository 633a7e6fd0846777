//! One message and all that is said until it is answered, as one response.

use std::any::Any;
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Bytes;
use axum::response::Response;
use futures::stream;
use http::StatusCode;
use rmcp::model::{ErrorCode, InitializeRequestParams, ProtocolVersion};
use tokio_util::sync::CancellationToken;

use super::super::link::Link;
use super::super::message::Message;
use super::super::output::Lines;
use super::super::{Bearer, LineTransport, PresentedTrace};
use super::answer::{self, json_text};
use super::{KEEP_ALIVE, TurnedAway, event_stream};
use crate::inbound::error::{SHUTTING_DOWN, TENANT_SUSPENDED, UNAUTHENTICATED};
use crate::inbound::session::{self, Gatekeeper};
use crate::mesh::tenant::Permission;

/// What the client takes, by its `Accept`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::inbound) struct Accepts {
    pub(super) json: bool,
    pub(in crate::inbound) events: bool,
}

/// How the exchange is part of a session.
#[derive(Default)]
pub(super) struct Part {
    /// What the handshake said, where there was one.
    pub(super) client: Option<InitializeRequestParams>,
    /// What the ids of our own requests begin with.
    pub(super) id_prefix: Option<String>,
    /// The trace that it belongs to, where the message names none.
    pub(super) trace: Option<PresentedTrace>,
}

/// A message that is being answered. Dropped before that, its client has gone: a request of the stateless revision
/// is cancelled then; one of a session goes on, as its revisions want it, and its answer is nobody's.
pub(super) struct Exchange {
    link: Arc<Link>,
    /// Cancels what is under way when it is dropped.
    service: Option<Box<dyn Any + Send>>,
    is_stateless: bool,
    is_answered: bool,
    /// What is given back when the exchange ends.
    places: Vec<Box<dyn Any + Send>>,
}

/// What an exchange answers with.
pub(super) struct Answered {
    pub(super) response: Response,
    /// The revision that a handshake has agreed on.
    pub(super) agreed: Option<ProtocolVersion>,
    /// What the scope of the caller's token leaves out, where that is why the request was refused.
    pub(super) out_of_scope: Option<Permission>,
}

impl Exchange {
    /// Has `handler` deal with `message`. Streams end when `ending` is cancelled.
    pub(super) fn begin<H: Gatekeeper>(
        handler: H,
        message: Message,
        part: Part,
        bearer: Arc<Bearer>,
        ending: &CancellationToken,
    ) -> Self {
        let is_stateless = part.client.is_none();
        let agreed = part.client.as_ref();
        let agreed = agreed.map(|client| client.protocol_version.clone());
        let transport = LineTransport::taken(Some(message), agreed, bearer, part.id_prefix)
            .traced_by(part.trace);
        let link = transport.link();
        let service = session::begin(handler, transport, part.client, ending.clone());
        Self {
            link,
            service: Some(Box::new(service)),
            is_stateless,
            is_answered: false,
            places: Vec::new(),
        }
    }

    /// What further messages of the client are handed to.
    pub(super) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// Keeps `place` until the exchange ends.
    pub(super) fn keep(&mut self, place: impl Any + Send) {
        self.places.push(Box::new(place));
    }

    /// The response: JSON where the answer is all that is said, a stream where more is, or where it takes its
    /// time.
    pub(super) async fn respond(mut self, accepts: Accepts) -> Answered {
        if !accepts.events {
            return self.answer_alone().await;
        }
        let first = tokio::time::timeout(KEEP_ALIVE, self.link.take()).await;
        let response = match first {
            Ok(None) => answer::empty(StatusCode::ACCEPTED),
            Ok(Some(lines)) if lines.answer_start == Some(0) && accepts.json => {
                self.is_answered = true;
                self.json(lines.text)
            }
            Ok(Some(lines)) => return self.stream(Some(lines)),
            Err(_) => return self.stream(None),
        };
        self.answered(response)
    }

    /// For a client that takes no streams: the answer, without what was said before it.
    async fn answer_alone(mut self) -> Answered {
        let response = loop {
            let Some(Lines { text, answer_start }) = self.link.take().await else {
                break answer::empty(StatusCode::ACCEPTED);
            };
            if let Some(start) = answer_start {
                self.is_answered = true;
                break self.json(text.get(start..).unwrap_or_default().to_vec());
            }
        };
        self.answered(response)
    }

    fn answered(&self, response: Response) -> Answered {
        Answered {
            response,
            agreed: self.link.traffic.version(),
            out_of_scope: self.link.scope().missing(),
        }
    }

    fn json(&self, mut text: Vec<u8>) -> Response {
        text.pop_if(|byte| *byte == b'\n');
        let response = json_text(self.status(), text);
        match self.link.first_error() {
            Some(SHUTTING_DOWN) => TurnedAway::Draining.mark(response),
            _ => response,
        }
    }

    /// What HTTP says of an error. To the older revisions an error of a handler is an answer as any other.
    fn status(&self) -> StatusCode {
        let Some(code) = self.link.first_error() else {
            return StatusCode::OK;
        };
        match code {
            UNAUTHENTICATED => StatusCode::UNAUTHORIZED,
            TENANT_SUSPENDED => StatusCode::FORBIDDEN,
            SHUTTING_DOWN => StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::PARSE_ERROR | ErrorCode::INVALID_REQUEST => StatusCode::BAD_REQUEST,
            ErrorCode::METHOD_NOT_FOUND if self.is_stateless => StatusCode::NOT_FOUND,
            ErrorCode::UNSUPPORTED_PROTOCOL_VERSION
            | ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY
            | ErrorCode::HEADER_MISMATCH
                if self.is_stateless =>
            {
                StatusCode::BAD_REQUEST
            }
            _ => StatusCode::OK,
        }
    }

    fn stream(self, first: Option<Lines>) -> Answered {
        let agreed = self.link.traffic.version();
        let first = match first {
            Some(lines) => Next::Lines(lines),
            None => Next::Sign,
        };
        let events = stream::unfold((self, Some(first)), async |(mut exchange, mut first)| {
            if exchange.is_answered {
                return None;
            }
            let bytes = match first.take() {
                Some(Next::Lines(lines)) => exchange.events(&lines),
                Some(Next::Sign) => {
                    event_stream::next_or_sign(
                        std::future::pending::<Option<Bytes>>(),
                        std::time::Duration::ZERO,
                        |bytes| bytes,
                    )
                    .await?
                }
                None => {
                    let link = Arc::clone(&exchange.link);
                    event_stream::next_or_sign(link.take(), KEEP_ALIVE, |lines| {
                        exchange.events(&lines)
                    })
                    .await?
                }
            };
            Some((Ok::<_, Infallible>(bytes), (exchange, None)))
        });
        Answered {
            response: event_stream::response(events),
            agreed,
            out_of_scope: None,
        }
    }

    fn events(&mut self, lines: &Lines) -> Bytes {
        self.is_answered |= lines.answer_start.is_some();
        event_stream::events(&lines.text)
    }
}

/// What a stream begins with.
enum Next {
    Lines(Lines),
    Sign,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.is_answered || self.is_stateless {
            return;
        }
        let (Some(service), link) = (self.service.take(), Arc::clone(&self.link)) else {
            return;
        };
        let places = std::mem::take(&mut self.places);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                while let Some(lines) = link.take().await {
                    if lines.answer_start.is_some() {
                        break;
                    }
                }
                drop((service, places));
            });
        }
    }
}
