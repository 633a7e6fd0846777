//! Answers to bytes: one task writes what has gathered since its last write.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

use super::flight::Flight;

/// A buffer that grew beyond this is given back after use, in bytes.
const BUFFER_KEPT_BYTES: usize = 256 * 1024;

/// Lines on their way to the client.
#[derive(Default)]
pub(super) struct Output {
    state: Mutex<State>,
    /// Wakes the writer.
    filled: Notify,
    /// Wakes whoever waits for bytes to be written.
    emptied: Notify,
}

#[derive(Default)]
struct State {
    buffer: Vec<u8>,
    /// What is kept until the bytes before a position are written.
    held: VecDeque<(u64, Arc<Flight>)>,
    enqueued: u64,
    written: u64,
    closing: bool,
    failed: bool,
}

impl Output {
    /// Appends what `write` writes and a line break. `held` is dropped when the bytes are written, or
    /// can no longer be. Returns the position after the line.
    pub(super) fn line(
        &self,
        held: impl IntoIterator<Item = Arc<Flight>>,
        write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<u64> {
        let mut state = self.state();
        if state.failed || state.closing {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let before = state.buffer.len();
        if let Err(error) = write(&mut state.buffer) {
            state.buffer.truncate(before);
            return Err(error);
        }
        state.buffer.push(b'\n');
        let bytes = state.buffer.len() - before;
        state.enqueued += u64::try_from(bytes).unwrap_or_default();
        let end = state.enqueued;
        state
            .held
            .extend(held.into_iter().map(|flight| (end, flight)));
        let wake = before == 0;
        drop(state);
        if wake {
            self.filled.notify_one();
        }
        Ok(end)
    }

    /// Bytes that are not written yet.
    pub(super) fn unread(&self) -> usize {
        let state = self.state();
        usize::try_from(state.enqueued - state.written).unwrap_or(usize::MAX)
    }

    /// Whether the client can no longer be written to.
    pub(super) fn has_failed(&self) -> bool {
        self.state().failed
    }

    /// Waits until at most `bytes` are not yet written, or nothing can be written any more.
    pub(super) async fn below(&self, bytes: usize) -> io::Result<()> {
        self.until(|state| state.enqueued - state.written <= bytes as u64)
            .await
    }

    /// Waits until everything before `position` is written.
    pub(super) async fn written(&self, position: u64) -> io::Result<()> {
        self.until(|state| state.written >= position).await
    }

    /// Lets the writer end after what is there. Later lines are refused.
    pub(super) fn close(&self) {
        self.state().closing = true;
        self.filled.notify_one();
    }

    /// Writes until [`Self::close`] or an error.
    pub(super) async fn run(&self, mut writer: impl AsyncWrite + Unpin) {
        let result = self.write_all(&mut writer).await;
        if let Err(error) = result {
            tracing::debug!(error = %error.kind(), "the client's end of the output is closed");
        }
        self.fail();
    }

    async fn write_all(&self, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let mut batch = Vec::new();
        loop {
            let closing = {
                let mut state = self.state();
                std::mem::swap(&mut state.buffer, &mut batch);
                state.closing
            };
            if batch.is_empty() {
                writer.flush().await?;
                if closing {
                    return writer.shutdown().await;
                }
                self.filled.notified().await;
                continue;
            }
            let mut rest = batch.as_slice();
            while !rest.is_empty() {
                let count = writer.write(rest).await?;
                if count == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                rest = rest.get(count..).unwrap_or_default();
                self.advance(count);
            }
            batch.clear();
            if batch.capacity() > BUFFER_KEPT_BYTES {
                batch = Vec::new();
            }
        }
    }

    fn advance(&self, count: usize) {
        let mut done = Vec::new();
        {
            let mut state = self.state();
            state.written += u64::try_from(count).unwrap_or_default();
            while let Some((end, _)) = state.held.front()
                && *end <= state.written
            {
                done.extend(state.held.pop_front());
            }
        }
        // A flight tells the session that it has ended, so no lock is held meanwhile.
        drop(done);
        self.emptied.notify_waiters();
    }

    fn fail(&self) {
        let held = {
            let mut state = self.state();
            state.failed = true;
            state.buffer = Vec::new();
            state.written = state.enqueued;
            std::mem::take(&mut state.held)
        };
        drop(held);
        self.emptied.notify_waiters();
    }

    async fn until(&self, reached: impl Fn(&State) -> bool) -> io::Result<()> {
        loop {
            let mut emptied = std::pin::pin!(self.emptied.notified());
            emptied.as_mut().enable();
            {
                let state = self.state();
                if state.failed {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
                if reached(&state) {
                    return Ok(());
                }
            }
            emptied.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
