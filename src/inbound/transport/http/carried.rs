//! A session that lasts as long as a connection does: WebSocket, and the event streams of the first revision.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::response::Response;
use tokio_util::sync::CancellationToken;

use super::super::link::Link;
use super::super::{Bearer, Limits, LineTransport};
use super::inlet::Inlet;
use super::seat::{Leave, Seat};
use super::{Caller, Front, Http, StreamKind};
use crate::inbound::session::{self, DrainTimes};

/// How long such a session takes to end. A listener cuts off what takes longer than it was told to wait.
const DRAIN_TIMES: DrainTimes = DrainTimes {
    finish: Duration::from_secs(60),
    cancel: Duration::from_millis(500),
    flush: Duration::from_secs(2),
};

/// A session, seen from its connection. Dropped, it ends.
pub(in crate::inbound::transport) struct Carried {
    /// Where messages of the client go.
    pub(in crate::inbound::transport) inlet: Inlet,
    /// Where lines for the client come from.
    pub(in crate::inbound::transport) link: Arc<Link>,
    /// The token under which requests are made.
    pub(in crate::inbound::transport) bearer: Arc<Bearer>,
    /// Its place.
    pub(in crate::inbound::transport) seat: Arc<Seat>,
    leave: Arc<OnceLock<Leave>>,
}

impl<F: Front> Http<F> {
    /// Opens a session of `caller` over a stream of `kind`.
    ///
    /// # Errors
    /// There are as many sessions as there may be.
    pub(in crate::inbound::transport) fn carry(
        &self,
        caller: &Caller,
        kind: StreamKind,
    ) -> Result<Carried, Response> {
        let seat = Arc::new(self.seat(caller, kind)?);
        let bearer = Arc::new(Bearer::new(caller.token.clone()));
        let (inlet, messages) = Inlet::new();
        let transport = LineTransport::carried(messages, Limits::default(), Arc::clone(&bearer));
        let link = transport.link();
        let leave = Arc::new(OnceLock::new());
        let shutdown = CancellationToken::new();
        let handler = self.front.session();
        let served = session::serve(handler, transport, shutdown.clone(), DRAIN_TIMES);
        let (own, left) = (Arc::clone(&seat), Arc::clone(&leave));
        tokio::spawn(async move {
            let mut served = std::pin::pin!(served);
            let why = tokio::select! {
                _ = &mut served => return,
                why = own.lost() => why,
            };
            let _ = left.set(why);
            shutdown.cancel();
            served.await;
        });
        Ok(Carried {
            inlet,
            link,
            bearer,
            seat,
            leave,
        })
    }
}

impl Carried {
    /// Why the session ends, where it was not its client who ended it.
    pub(in crate::inbound::transport) fn leave(&self) -> Option<Leave> {
        self.leave.get().copied()
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.link.leave();
    }
}
