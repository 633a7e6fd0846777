//! A place for a connection that lasts: how many there are, for how long they may, and why they end.

use std::sync::Arc;

use axum::response::Response;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::answer::overloaded;
use super::figures::Counted;
use super::{Caller, Front, Http, SESSION_TIME_MAX, StreamKind, TurnedAway};
use crate::mesh::{Clock, Timestamp};

/// Why a session ends that its client has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::inbound) enum Leave {
    /// The server ends.
    Shutdown,
    /// The token under which it was opened has ended.
    TokenEnded,
    /// It was idle, and others needed its place.
    GaveWay,
}

/// For how long a session may go on: as long as its token says, renewed when its client brings a newer one.
#[derive(Clone)]
pub(in crate::inbound) struct Tenure {
    ends_at: Arc<watch::Sender<Option<Timestamp>>>,
    clock: Arc<dyn Clock>,
}

/// The place of a connection that lasts. It is free again when this is dropped.
pub(in crate::inbound) struct Seat {
    tenure: Tenure,
    ending: CancellationToken,
    given_way: CancellationToken,
    touch: Box<dyn Fn() + Send + Sync>,
    _exchange: OwnedSemaphorePermit,
    _counted: Counted,
}

impl Tenure {
    fn new(ends_at: Option<Timestamp>, clock: Arc<dyn Clock>) -> Self {
        Self {
            ends_at: Arc::new(watch::Sender::new(ends_at)),
            clock,
        }
    }

    /// Goes on until `ends_at`, which must not be earlier than until now; whether it is not.
    pub(in crate::inbound) fn renew(&self, ends_at: Option<Timestamp>) -> bool {
        let mut is_taken = false;
        self.ends_at.send_if_modified(|until| {
            is_taken = match (*until, ends_at) {
                (Some(until), Some(ends_at)) => ends_at >= until,
                (_, None) => true,
                (None, Some(_)) => false,
            };
            let changes = is_taken && *until != ends_at;
            if changes {
                *until = ends_at;
            }
            changes
        });
        is_taken
    }

    /// Waits until it is over.
    async fn over(&self) {
        let mut changes = self.ends_at.subscribe();
        let last = Instant::now() + SESSION_TIME_MAX;
        loop {
            let now = self.clock.now();
            let left = changes.borrow_and_update().map(|end| end.since(now));
            let end = left.map_or(last, |left| (Instant::now() + left).min(last));
            tokio::select! {
                () = tokio::time::sleep_until(end) => return,
                _ = changes.changed() => {}
            }
        }
    }
}

impl<F: Front> Http<F> {
    /// A place for a connection of `caller` that is a stream of `kind`. Streams of sessions count with them, in all and of a tenant.
    ///
    /// # Errors
    /// There are as many as there may be.
    pub(in crate::inbound) fn seat(
        &self,
        caller: &Caller,
        kind: StreamKind,
    ) -> Result<Seat, Response> {
        let exchange = self.place()?;
        let given_way = CancellationToken::new();
        let stream = self
            .sessions
            .open(Uuid::new_v4(), &caller.share, given_way.clone())
            .map_err(|_| {
                let message = "too many sessions are open; try again shortly";
                overloaded(TurnedAway::Streams, message)
            })?;
        Ok(Seat {
            tenure: Tenure::new(caller.ends_at, Arc::clone(&self.clock)),
            ending: self.ending.clone(),
            given_way,
            touch: Box::new(move || stream.touch()),
            _exchange: exchange,
            _counted: self.figures.stream(kind),
        })
    }
}

impl Seat {
    /// The client has said something: the connection is not idle.
    pub(in crate::inbound) fn touch(&self) {
        (self.touch)();
    }

    /// For how long it lasts.
    pub(in crate::inbound) const fn tenure(&self) -> &Tenure {
        &self.tenure
    }

    /// Waits until the connection is to end.
    pub(in crate::inbound) async fn lost(&self) -> Leave {
        tokio::select! {
            () = self.ending.cancelled() => Leave::Shutdown,
            () = self.given_way.cancelled() => Leave::GaveWay,
            () = self.tenure.over() => Leave::TokenEnded,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::SystemClock;

    #[test]
    fn a_newer_token_prolongs_a_session_and_an_older_one_does_not_shorten_it() {
        let at = Timestamp::from_millis;
        let tenure = Tenure::new(Some(at(100)), Arc::new(SystemClock::new()));
        assert!(tenure.renew(Some(at(100))) && !tenure.renew(Some(at(99))));
        assert!(tenure.renew(Some(at(101))));
        assert!(tenure.renew(None) && tenure.renew(None));
        assert!(!tenure.renew(Some(at(1000))));
    }

    #[tokio::test]
    async fn a_session_is_over_when_its_token_is() {
        let tenure = Tenure::new(
            Some(Timestamp::from_millis(1)),
            Arc::new(SystemClock::new()),
        );
        tenure.over().await;
    }
}
