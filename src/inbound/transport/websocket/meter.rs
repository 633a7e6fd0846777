//! What a message takes of the budget of all bodies while it comes in.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;

use super::super::http::body::{BodyBudget, units};

/// Messages up to this size take nothing of the budget, in bytes: every connection has room for one.
pub(super) const FREE_BYTES: usize = 64 * 1024;

/// Counts what has come of a message that is not whole yet.
#[derive(Clone)]
pub(super) struct Meter(Arc<Mutex<Count>>);

struct Count {
    budget: BodyBudget,
    /// Bytes that have come since the last whole message.
    bytes: usize,
    place: Option<OwnedSemaphorePermit>,
}

/// A connection whose reading is counted.
pub(super) struct Metered<S> {
    inner: S,
    meter: Meter,
}

impl Meter {
    pub(super) fn new(budget: BodyBudget) -> Self {
        Self(Arc::new(Mutex::new(Count {
            budget,
            bytes: 0,
            place: None,
        })))
    }

    /// A message is whole: what it takes goes with it.
    pub(super) fn take(&self) -> Option<OwnedSemaphorePermit> {
        let mut count = self.count();
        count.bytes = 0;
        count.place.take()
    }

    /// So many bytes were none of a message.
    pub(super) fn leave_out(&self, bytes: usize) {
        let mut count = self.count();
        count.bytes = count.bytes.saturating_sub(bytes);
    }

    /// So many bytes more have come; whether there is room for them.
    fn add(&self, bytes: usize) -> bool {
        let mut count = self.count();
        count.bytes += bytes;
        if count.bytes <= FREE_BYTES {
            return true;
        }
        let held = count.place.as_ref();
        let held = held.map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = units(count.bytes).saturating_sub(held);
        match count.budget.take(missing) {
            Ok(None) => true,
            Ok(Some(more)) => {
                match &mut count.place {
                    Some(place) => place.merge(more),
                    None => count.place = Some(more),
                }
                true
            }
            Err(_) => false,
        }
    }

    fn count(&self) -> MutexGuard<'_, Count> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Metered<S> {
    pub(super) const fn new(inner: S, meter: Meter) -> Self {
        Self { inner, meter }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    /// What there is no room for fails as [`io::ErrorKind::OutOfMemory`].
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        let bytes = buffer.filled().len() - before;
        match read {
            Poll::Ready(Ok(())) if !self.meter.add(bytes) => {
                Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()))
            }
            read => read,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_message_takes_of_the_budget_until_it_is_dealt_with() {
        let budget = BodyBudget::new(2 * FREE_BYTES);
        let meter = Meter::new(budget.clone());
        assert!(meter.add(FREE_BYTES) && meter.take().is_none());
        assert!(meter.add(2 * FREE_BYTES));
        let place = meter.take().unwrap();
        let other = Meter::new(budget);
        assert!(other.add(FREE_BYTES) && !other.add(1));
        drop(place);
        assert!(other.add(1));
    }

    #[tokio::test]
    async fn reading_fails_where_there_is_no_room() {
        let (mut client, server) = tokio::io::duplex(4096);
        // One unit too little for a message that is one byte too large to be free.
        let meter = Meter::new(BodyBudget::new(FREE_BYTES));
        let mut server = Metered::new(server, meter);
        let writing = tokio::spawn(async move {
            client.write_all(&[b'x'; FREE_BYTES]).await?;
            client.write_all(b"y").await
        });
        let mut text = vec![0; FREE_BYTES];
        server.read_exact(&mut text).await.unwrap();
        let error = server.read(&mut text).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        writing.await.unwrap().unwrap();
    }
}
