//! The messages of dashboards, over a WebSocket: what a person looks at, asked for and told as it happens.
//!
//! Each message is one JSON object with an `id` and a `type`, and is answered by one with the same `id`. What
//! reaches a tenant's data takes the path of a call under the token of the connection.

mod message;
mod subscription;
mod work;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::get;
use futures::FutureExt;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::front::MeshFront;
use super::server::{RequestHead, Shared};
use super::transport::http::body::ReadBody;
use super::transport::http::seat::{Leave, Seat};
use super::transport::http::{Front, Http, StreamKind};
use super::transport::websocket::{Conversation, Farewell, Handshake, talk};
use super::transport::{FRAME_BYTES_MAX, PresentedIdentity};
use message::{Fault, Message, answered};

/// The subprotocol.
const SUBPROTOCOL: &str = "dashboard";

/// The most messages of one connection that are being answered at once. Beyond that nothing is read from it.
pub const IN_FLIGHT_MAX: u32 = 16;

/// The most subscriptions of one connection.
pub const SUBSCRIPTIONS_MAX: usize = 8;

/// How many messages wait for a client to read them. What would be more waits where it comes from.
const QUEUED_MAX: usize = 16;

/// The route `/dashboard`.
pub fn routes(http: &Arc<Http<MeshFront>>) -> Router {
    Router::new()
        .route("/dashboard", get(open))
        .with_state(Arc::clone(http))
}

async fn open(State(http): State<Arc<Http<MeshFront>>>, request: Request) -> Response {
    match begin(&http, request).await {
        Ok(response) | Err(response) => response,
    }
}

async fn begin(http: &Http<MeshFront>, request: Request) -> Result<Response, Response> {
    let handshake = Handshake::of(request, SUBPROTOCOL)?;
    let caller = http.front.caller(handshake.headers()).await?;
    let seat = Arc::new(http.seat(&caller, StreamKind::Dashboard)?);
    let shared = Arc::clone(http.front.shared());
    let dashboard = Dashboard::new(shared, caller.token, seat);
    let bodies = http.bodies().clone();
    Ok(handshake.accept(|upgrade| talk(upgrade, bodies, FRAME_BYTES_MAX, dashboard)))
}

/// One connection. Dropped, what it has under way is cancelled.
struct Dashboard {
    desk: Arc<Desk>,
    seat: Arc<Seat>,
    outgoing: tokio::sync::Mutex<mpsc::Receiver<String>>,
    in_flight: Arc<Semaphore>,
    _cancel: DropGuard,
}

/// What the messages of one connection share.
struct Desk {
    shared: Arc<Shared>,
    token: Option<String>,
    outgoing: mpsc::Sender<String>,
    subscriptions: Mutex<HashMap<String, DropGuard>>,
    numbers: AtomicU64,
    cancelled: CancellationToken,
    /// Cancelled when the caller is nobody any more.
    expelled: CancellationToken,
}

impl Dashboard {
    fn new(shared: Arc<Shared>, token: Option<String>, seat: Arc<Seat>) -> Self {
        let (sender, outgoing) = mpsc::channel(QUEUED_MAX);
        let cancelled = CancellationToken::new();
        let desk = Desk {
            shared,
            token,
            outgoing: sender,
            subscriptions: Mutex::default(),
            numbers: AtomicU64::new(0),
            cancelled: cancelled.clone(),
            expelled: CancellationToken::new(),
        };
        Self {
            desk: Arc::new(desk),
            seat,
            outgoing: tokio::sync::Mutex::new(outgoing),
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT_MAX as usize)),
            _cancel: cancelled.drop_guard(),
        }
    }

    /// Waits until the connection is to end and all that is under way has been answered.
    async fn over(&self) -> Farewell {
        let leave = tokio::select! {
            leave = self.seat.lost() => leave,
            () = self.desk.expelled.cancelled() => Leave::TokenEnded,
        };
        let _ = self.in_flight.acquire_many(IN_FLIGHT_MAX).await;
        Farewell::of(leave)
    }
}

impl Conversation for Dashboard {
    async fn hear(&self, message: ReadBody) -> Result<(), Farewell> {
        self.seat.touch();
        let Ok(place) = Arc::clone(&self.in_flight).acquire_owned().await else {
            return Err(Farewell::DONE);
        };
        let is_ending = self.seat.lost().now_or_never().is_some();
        let desk = Arc::clone(&self.desk);
        tokio::spawn(async move {
            let ReadBody {
                bytes,
                place: budget,
            } = message;
            let answer = match Message::read(&bytes) {
                Ok(message) if is_ending => message.answer(Err(Fault::shutting_down())),
                Ok(message) => {
                    let cancelled = desk.cancelled.clone();
                    tokio::select! {
                        () = cancelled.cancelled() => return,
                        outcome = desk.work(&message) => message.answer(outcome),
                    }
                }
                Err(fault) => answered(None, "", Err(fault)),
            };
            drop((bytes, budget));
            let _ = desk.outgoing.send(answer).await;
            drop(place);
        });
        Ok(())
    }

    async fn say(&self) -> Result<Vec<u8>, Farewell> {
        let mut outgoing = self.outgoing.lock().await;
        tokio::select! {
            biased;
            line = outgoing.recv() => line.map(String::into_bytes).ok_or(Farewell::DONE),
            farewell = self.over() => Err(farewell),
        }
    }
}

impl Desk {
    /// What a request of this connection brings besides what it asks for.
    fn head(&self) -> RequestHead {
        RequestHead {
            identity: PresentedIdentity {
                token: self.token.clone(),
                foreign: false,
            },
            trace: None,
            cancelled: self.cancelled.child_token(),
        }
    }

    fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn subscriptions(&self) -> MutexGuard<'_, HashMap<String, DropGuard>> {
        self.subscriptions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
