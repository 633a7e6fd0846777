//! Messages that go to a server by a request each: so many at once, and each for its time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::failure::{Failure, unavailable};
use super::outlet::Outlet;
use crate::mesh::{Error, ErrorKind};

/// How many messages may be on their way to a server at once, those that wait for their answer included.
pub(super) const SENDS_MAX: usize = 256;

/// The places of a link's messages.
pub(super) struct Sends(Arc<Semaphore>);

impl Sends {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(SENDS_MAX)))
    }

    /// A place for one more message over the link of `outlet`.
    ///
    /// # Errors
    /// The link is closed, or as many are on their way as may be.
    pub(super) fn begin(&self, outlet: &Outlet) -> Result<OwnedSemaphorePermit, Error> {
        if outlet.closing.is_cancelled() {
            return Err(unavailable("The connection to the server is closed."));
        }
        let full = |_| {
            Error::new(
                ErrorKind::Overloaded,
                format!("{SENDS_MAX} messages are already on their way to the server."),
            )
        };
        self.0.clone().try_acquire_owned().map_err(full)
    }
}

/// What becomes of `work` in `time`; nothing is told any more once the link of `outlet` is closed.
pub(super) async fn within(
    outlet: &Outlet,
    time: Duration,
    work: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    tokio::select! {
        biased;
        () = outlet.closing.cancelled() => Ok(()),
        done = timeout(time, work) => done.unwrap_or_else(|_| Err(Failure::timed_out())),
    }
}
