//! What comes in over a link, on its way to the link's owner, until the link is closed.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::link::{INCOMING_QUEUE, Incoming};
use super::failure::Failure;
use crate::mesh::Error;

/// Where a link's tasks put what comes in, and how they learn that nobody wants it any more.
pub(super) struct Outlet {
    sender: mpsc::Sender<Incoming>,
    /// Set when the link is closed, by whichever side.
    pub(super) closing: CancellationToken,
}

impl Outlet {
    pub(super) fn new() -> (Self, mpsc::Receiver<Incoming>) {
        let (sender, incoming) = mpsc::channel(INCOMING_QUEUE);
        let closing = CancellationToken::new();
        (Self { sender, closing }, incoming)
    }

    /// Waits where the owner is slow, so that a server cannot make the queue grow.
    pub(super) async fn tell(&self, incoming: Incoming) {
        tokio::select! {
            biased;
            () = self.closing.cancelled() => {}
            _ = incoming.enter(&self.sender) => {}
        }
    }

    /// Says that nothing more comes, which ends the link's tasks; once.
    pub(super) async fn end(&self, error: Error) {
        self.tell(Incoming::Closed(error)).await;
        self.closing.cancel();
    }

    /// Says that a request will get no answer, and that nothing more comes where that is so.
    pub(super) async fn failed(&self, request_id: Option<i64>, failure: Failure) {
        let Failure {
            error,
            not_sent,
            closes,
        } = failure;
        let last = closes.then(|| Error::new(error.kind(), error.message()));
        if let Some(request_id) = request_id {
            self.tell(Incoming::Failed {
                request_id,
                not_sent,
                error,
            })
            .await;
        }
        if let Some(error) = last {
            self.end(error).await;
        }
    }
}
