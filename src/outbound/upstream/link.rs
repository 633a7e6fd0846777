//! A way to one server: messages out and in, whatever carries them.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::mpsc;

use crate::mesh::Error;
use crate::mesh::integration::ServiceId;
use crate::mesh::store::Reply;
use crate::mesh::tenant::TenantId;
use crate::mesh::trace::TraceParent;
use crate::mesh::upstream::{ConnectionPlan, ConnectionTarget};

/// How many messages of a server may wait to be looked at.
pub const INCOMING_QUEUE: usize = 64;

/// The largest message of which many may wait, in bytes. A larger one waits until all before it have been
/// taken, so that no more of them wait than one, and these beside it.
pub const QUEUED_BYTES_MAX: usize = 64 << 10;

/// A message to a server.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The JSON-RPC message: one line of JSON text.
    pub text: String,
    /// Its id, if it wants an answer.
    pub request_id: Option<i64>,
    /// Its method; nothing for an answer to a request of the server's.
    pub method: Option<String>,
    /// What the revision 2026-07-28 repeats in a header: the tool of a `tools/call`.
    pub name: Option<String>,
    /// When nobody waits for its answer any more.
    pub timeout: Duration,
    /// The trace that it belongs to, for links that say so in a header of their own.
    pub trace: Option<TraceParent>,
}

/// What comes from a server.
#[derive(Debug)]
pub enum Incoming {
    /// A JSON-RPC message, or an array of them: JSON text of at most `MESSAGE_BYTES_MAX` bytes.
    Message(String),
    /// A message that came on the stream that answers a request, where the link can tell.
    Related {
        /// The request's id.
        request_id: i64,
        /// The message.
        text: String,
    },
    /// The request with this id will get no answer.
    Failed {
        /// Its id.
        request_id: i64,
        /// Whether it was certainly never carried out.
        not_sent: bool,
        /// What went wrong.
        error: Error,
    },
    /// Nothing more comes.
    Closed(Error),
}

impl Incoming {
    /// Puts it in `queue` once there is room for it; whether anybody still looks at the queue.
    pub async fn enter(self, queue: &mpsc::Sender<Self>) -> bool {
        if self.bytes() <= QUEUED_BYTES_MAX {
            return queue.send(self).await.is_ok();
        }
        let Ok(mut places) = queue.reserve_many(queue.max_capacity()).await else {
            return false;
        };
        if let Some(place) = places.next() {
            place.send(self);
        }
        true
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Message(text) | Self::Related { text, .. } => text.len(),
            // What is said of a failure is short.
            Self::Failed { .. } | Self::Closed(_) => 0,
        }
    }
}

/// One way to one server. Dropped, it is closed, and a child it leads to is killed with all it has started.
pub trait Link: Send + Sync + 'static {
    /// Sends a message. What becomes of a request comes by [`Opened::incoming`]. The future may be dropped
    /// half-way: then the message is sent whole or not at all.
    ///
    /// # Errors
    /// The message was certainly not sent.
    fn send(&self, message: Outgoing) -> Reply<'_, ()>;

    /// The revision that is spoken from here on, for links that repeat it in every request but `initialize`,
    /// which never carries one. Told before `server/discover`, and again when the handshake has ended.
    fn agreed(&self, protocol_version: &str) {
        let _ = protocol_version;
    }

    /// Nobody waits for the answer to this request any more: a link that holds a stream for it lets it go.
    /// Told besides `notifications/cancelled`, which a link leaves out where ending the stream says the same.
    fn abandon(&self, request_id: i64) {
        let _ = request_id;
    }

    /// The process that it leads to.
    fn process(&self) -> Option<u32> {
        None
    }

    /// The last lines that the process wrote to its standard error, escaped and bounded.
    fn last_words(&self) -> Option<String> {
        None
    }

    /// Ends it in an orderly way, within a bounded time. Closing twice is no error.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// A link and what comes over it.
pub struct Opened {
    /// The way out.
    pub link: Arc<dyn Link>,
    /// What comes in, in order.
    pub incoming: mpsc::Receiver<Incoming>,
}

/// What opens links.
pub trait Links: Send + Sync + 'static {
    /// Opens a link for `plan`: starts its child, or makes its first connection.
    ///
    /// # Errors
    /// Why that cannot be done; nothing is left behind then.
    fn open<'a>(&'a self, plan: &'a ConnectionPlan) -> Reply<'a, Opened>;

    /// Removes what the children of an integration's connections have kept here, once none of them runs.
    fn forget<'a>(&'a self, tenant: &'a TenantId, service: &'a ServiceId) -> BoxFuture<'a, ()> {
        let _ = (tenant, service);
        Box::pin(async {})
    }

    /// Whether `target` may be reached from here at all, told without reaching it.
    ///
    /// # Errors
    /// `NOT_SUPPORTED` or `INVALID_PARAMETER`, with what to do instead.
    fn check(&self, target: &ConnectionTarget) -> Result<(), Error>;
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn message(bytes: usize) -> Incoming {
        Incoming::Message("x".repeat(bytes))
    }

    #[tokio::test]
    async fn what_waits_is_bounded_in_messages_and_in_bytes() {
        let (queue, mut taken) = mpsc::channel(INCOMING_QUEUE);
        for _ in 0..INCOMING_QUEUE {
            assert!(message(QUEUED_BYTES_MAX).enter(&queue).await);
        }
        assert!(message(1).enter(&queue).now_or_never().is_none());
        let large = message(QUEUED_BYTES_MAX + 1).enter(&queue);
        let mut large = Box::pin(large);
        for _ in 0..INCOMING_QUEUE {
            assert!(large.as_mut().now_or_never().is_none());
            taken.recv().await.unwrap();
        }
        assert!(large.await);
        // Small ones find room beside it, a second large one does not.
        assert!(message(QUEUED_BYTES_MAX).enter(&queue).await);
        let second = message(QUEUED_BYTES_MAX + 1).enter(&queue);
        let mut second = Box::pin(second);
        assert!(second.as_mut().now_or_never().is_none());
        for bytes in [QUEUED_BYTES_MAX + 1, QUEUED_BYTES_MAX] {
            assert_eq!(taken.recv().await.unwrap().bytes(), bytes);
        }
        assert!(second.await);
        drop(taken);
        assert!(!message(1).enter(&queue).await);
        assert!(!message(QUEUED_BYTES_MAX + 1).enter(&queue).await);
    }
}
