//! Messages that come one by one, on their way into a session that lasts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::super::link::Link;
use super::body::{ReadBody, units};

/// How many messages wait that a session does not read yet. What it does not read its client has to wait with.
const MESSAGES_WAITING_MAX: usize = 1;

/// How long a message waits at most for a session to read it: longer than any call may take.
const WAIT_MAX: Duration = Duration::from_secs(75);

/// A session's way in. Clones are the same one.
#[derive(Clone)]
pub(in crate::inbound::transport) struct Inlet {
    sender: mpsc::Sender<Vec<u8>>,
    /// What the messages that are being dealt with take of the budget of all bodies.
    held: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

/// The session takes no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::inbound::transport) struct Closed {
    /// Whether it never will again.
    pub(in crate::inbound::transport) is_gone: bool,
}

impl Inlet {
    /// A way in, and what comes by it: each message with its line break.
    pub(super) fn new() -> (Self, mpsc::Receiver<Vec<u8>>) {
        let (sender, receiver) = mpsc::channel(MESSAGES_WAITING_MAX);
        let held = Arc::default();
        (Self { sender, held }, receiver)
    }

    /// Hands a message over, once the session reads it. A line break within JSON is white space, and would be the
    /// end of the message to the session.
    ///
    /// # Errors
    /// The session has ended, or deals with what came before for longer than anything takes.
    pub(in crate::inbound::transport) async fn put(
        &self,
        mut message: ReadBody,
    ) -> Result<(), Closed> {
        for byte in &mut message.bytes {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        message.bytes.push(b'\n');
        let place = tokio::time::timeout(WAIT_MAX, self.sender.reserve()).await;
        let place = place.map_err(|_| Closed { is_gone: false })?;
        let place = place.map_err(|_| Closed { is_gone: true })?;
        if let Some(more) = message.place {
            let mut held = self.held();
            match held.as_mut() {
                Some(held) => held.merge(more),
                None => *held = Some(more),
            }
        }
        place.send(message.bytes);
        Ok(())
    }

    /// Gives back what of the budget the messages take that `link` has done with.
    pub(in crate::inbound::transport) fn settle(&self, link: &Link) {
        let mut held = self.held();
        let Some(permit) = held.as_mut() else {
            return;
        };
        // What still waits is not in flight yet.
        if self.sender.capacity() < MESSAGES_WAITING_MAX {
            return;
        }
        let done = permit
            .num_permits()
            .saturating_sub(units(link.traffic.bytes()));
        drop(permit.split(done));
        if permit.num_permits() == 0 {
            *held = None;
        }
    }

    fn held(&self) -> MutexGuard<'_, Option<OwnedSemaphorePermit>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
