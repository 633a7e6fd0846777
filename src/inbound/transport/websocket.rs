//! WebSocket: one connection lasts as long as its session, and each text on it is a message, both ways.
//!
//! A web page cannot set headers of a WebSocket, so that a token may come as a subprotocol of its own:
//! `bearer.<the token in base64url>`. It is never part of the address, which ends up in logs.

mod handshake;
mod meter;
mod talk;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::get;

use super::FRAME_BYTES_MAX;
use super::http::body::ReadBody;
use super::http::seat::Leave;
use super::http::{Carried, Front, Http, StreamKind};

pub(in crate::inbound) use handshake::Handshake;
pub(in crate::inbound) use talk::{Conversation, Farewell, talk};

/// The subprotocol of sessions.
const SUBPROTOCOL: &str = "mcp";

/// How much longer than a frame a message may be and still be answered as a line that is too long, in bytes; what is
/// longer ends the connection, since it is not read.
const SLACK_BYTES: usize = 4096;

/// The route `/ws`.
pub fn routes<F: Front>(http: &Arc<Http<F>>) -> Router {
    Router::new()
        .route("/ws", get(open::<F>))
        .with_state(Arc::clone(http))
}

async fn open<F: Front>(State(http): State<Arc<Http<F>>>, request: Request) -> Response {
    match begin(&http, request).await {
        Ok(response) | Err(response) => response,
    }
}

async fn begin<F: Front>(http: &Http<F>, request: Request) -> Result<Response, Response> {
    let handshake = Handshake::of(request, SUBPROTOCOL)?;
    let caller = http.front.caller(handshake.headers()).await?;
    let carried = http.carry(&caller, StreamKind::Websocket)?;
    let bodies = http.bodies().clone();
    Ok(handshake.accept(|upgrade| talk(upgrade, bodies, FRAME_BYTES_MAX + SLACK_BYTES, carried)))
}

impl Conversation for Carried {
    async fn hear(&self, message: ReadBody) -> Result<(), Farewell> {
        self.seat.touch();
        self.settle();
        let put = self.inlet.put(message).await;
        put.map_err(|_| self.farewell())
    }

    async fn say(&self) -> Result<Vec<u8>, Farewell> {
        let lines = self.link.take().await;
        lines.map(|lines| lines.text).ok_or(self.farewell())
    }

    fn settle(&self) {
        self.inlet.settle(&self.link);
    }
}

impl Carried {
    fn farewell(&self) -> Farewell {
        self.leave().map_or(Farewell::DONE, Farewell::of)
    }
}

impl Farewell {
    /// What a client is told of why its connection ends.
    pub(in crate::inbound) const fn of(leave: Leave) -> Self {
        match leave {
            Leave::Shutdown => Self::SHUTDOWN,
            Leave::TokenEnded => Self::TOKEN_ENDED,
            Leave::GaveWay => Self::GAVE_WAY,
        }
    }
}
