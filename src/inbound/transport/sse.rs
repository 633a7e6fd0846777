//! The transport of revision 2024-11-05: an event stream leads to the client, and each message of it comes by `POST`.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use futures::stream;
use http::{HeaderMap, StatusCode, Uri};
use uuid::Uuid;

use super::http::answer::{empty, fault, overloaded};
use super::http::mcp::{accepts, not_acceptable, require_json};
use super::http::seat::Seat;
use super::http::{
    BODY_TIME_MAX, Carried, Front, Http, Inlet, KEEP_ALIVE, StreamKind, TurnedAway, event_stream,
};
use super::{Bearer, FRAME_BYTES_MAX};

/// What the routes share.
struct Sse<F: Front> {
    http: Arc<Http<F>>,
    /// Where the routes lie below the server's address.
    folder: String,
    open: Arc<Open>,
}

/// The sessions that have a stream here.
#[derive(Default)]
struct Open(Mutex<HashMap<Uuid, Entry>>);

/// How messages of a session find it.
#[derive(Clone)]
struct Entry {
    /// Whose it is.
    caller: [u8; 16],
    inlet: Inlet,
    bearer: Arc<Bearer>,
    seat: Arc<Seat>,
}

/// A session's stream. Dropped, the session ends.
struct Stream {
    carried: Carried,
    id: Uuid,
    open: Arc<Open>,
    endpoint: Option<String>,
}

/// The routes `/sse` and `/messages`. Clients reach them below `folder`, the path of the server's public address.
pub fn routes<F: Front>(http: &Arc<Http<F>>, folder: &str) -> Router {
    let sse = Arc::new(Sse {
        http: Arc::clone(http),
        folder: folder.trim_end_matches('/').to_owned(),
        open: Arc::default(),
    });
    Router::new()
        .route("/sse", get(listen::<F>))
        .route("/messages", post(tell::<F>))
        .layer(DefaultBodyLimit::disable())
        .with_state(sse)
}

/// Opens a session.
async fn listen<F: Front>(State(sse): State<Arc<Sse<F>>>, request: Request) -> Response {
    match sse.listen(request.headers()).await {
        Ok(response) | Err(response) => response,
    }
}

/// Takes a message of a session.
async fn tell<F: Front>(State(sse): State<Arc<Sse<F>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    match sse.tell(&parts.headers, &parts.uri, body).await {
        Ok(response) | Err(response) => response,
    }
}

impl<F: Front> Sse<F> {
    async fn listen(&self, headers: &HeaderMap) -> Result<Response, Response> {
        if !accepts(headers)?.events {
            return Err(not_acceptable());
        }
        let caller = self.http.front.caller(headers).await?;
        let carried = self.http.carry(&caller, StreamKind::Sse)?;
        let id = Uuid::new_v4();
        let entry = Entry {
            caller: caller.key,
            inlet: carried.inlet.clone(),
            bearer: Arc::clone(&carried.bearer),
            seat: Arc::clone(&carried.seat),
        };
        self.open.entries().insert(id, entry);
        let stream = Stream {
            carried,
            id,
            open: Arc::clone(&self.open),
            // Clients resolve it against the address of the stream.
            endpoint: Some(format!("{}/messages?session={}", self.folder, id.simple())),
        };
        let events = stream::unfold(stream, async |mut stream| {
            let bytes = stream.next().await?;
            Some((Ok::<_, Infallible>(bytes), stream))
        });
        Ok(event_stream::response(events))
    }

    async fn tell(&self, headers: &HeaderMap, uri: &Uri, body: Body) -> Result<Response, Response> {
        require_json(headers)?;
        let caller = self.http.front.caller(headers).await?;
        let session = session_named(uri);
        let session = session.and_then(|id| self.open.entries().get(&id).cloned());
        // A session of somebody else is none, as one that never was.
        let session = session.filter(|session| session.caller == caller.key);
        let session = session.ok_or_else(no_session)?;
        let _place = self.http.place()?;
        let read = self.http.bodies();
        let read = read.read(body, FRAME_BYTES_MAX, BODY_TIME_MAX).await?;
        if read.bytes.trim_ascii().is_empty() {
            let message = "the body is empty: it is one message of JSON-RPC";
            return Err(fault(StatusCode::BAD_REQUEST, "INVALID_REQUEST", message));
        }
        if session.seat.tenure().renew(caller.ends_at) {
            session.bearer.renew(caller.token);
        }
        session.seat.touch();
        match session.inlet.put(read).await {
            Ok(()) => Ok(empty(StatusCode::ACCEPTED)),
            Err(closed) if closed.is_gone => Err(no_session()),
            Err(_) => Err(overloaded(
                TurnedAway::InFlight,
                "this session has too many requests under way",
            )),
        }
    }
}

impl Open {
    fn entries(&self) -> MutexGuard<'_, HashMap<Uuid, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(endpoint) = self.endpoint.take() {
            return Some(event_stream::event("endpoint", &endpoint));
        }
        let link = &self.carried.link;
        let next = event_stream::next_or_sign(link.take(), KEEP_ALIVE, |lines| {
            event_stream::events(&lines.text)
        });
        let next = next.await;
        self.carried.inlet.settle(link);
        next
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.open.entries().remove(&self.id);
    }
}

/// The session that the address of a message names.
fn session_named(uri: &Uri) -> Option<Uuid> {
    let query = uri.query().unwrap_or_default();
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let (_, id) = pairs.find(|(name, _)| name == "session")?;
    Uuid::try_parse(&id).ok()
}

fn no_session() -> Response {
    let message = "there is no such session: open another stream at /sse";
    fault(StatusCode::NOT_FOUND, "NOT_FOUND", message)
}
