//! Answers to bytes: one task writes what has gathered since its last write.
//!
//! A lone answer, beside which nothing is under way, is written by whoever brings it where that is possible
//! without waiting: to have the task woken for it takes longer than to write it.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

use super::flight::Flight;

/// A buffer that grew beyond this is given back after use, in bytes.
const BUFFER_KEPT_BYTES: usize = 256 * 1024;

/// Another way to where the writer writes, which never waits: what it cannot take now it answers with
/// [`io::ErrorKind::WouldBlock`].
pub(super) type AtOnce = Box<dyn Write + Send>;

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The answer to a request, or to a batch of them.
    Answer,
    /// An answer, after which no other line is to be expected soon.
    LoneAnswer,
    /// A request of ours, or a notification.
    Message,
}

/// Lines that were taken to be sent on.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Lines {
    /// Whole lines, each with its line break.
    pub(crate) text: Vec<u8>,
    /// Where among them the first answer begins, in bytes.
    pub(crate) answer_start: Option<usize>,
}

/// Lines on their way to the client.
#[derive(Default)]
pub(super) struct Output {
    state: Mutex<State>,
    at_once: OnceLock<Mutex<AtOnce>>,
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
    /// Where the first answer begins.
    answer_start: Option<u64>,
    /// Whether the task writes what was in the buffer before.
    is_writing: bool,
    closing: bool,
    failed: bool,
}

impl State {
    /// `count` more bytes are written; answers what was held for them.
    fn advance(&mut self, count: usize) -> Vec<Arc<Flight>> {
        self.written += u64::try_from(count).unwrap_or_default();
        let mut done = Vec::new();
        while let Some((end, _)) = self.held.front()
            && *end <= self.written
        {
            done.extend(self.held.pop_front().map(|(_, flight)| flight));
        }
        done
    }
}

impl Output {
    /// From now on lone lines are written by `at_once`.
    pub(super) fn write_lone_lines(&self, at_once: AtOnce) {
        let _ = self.at_once.set(Mutex::new(at_once));
    }

    /// Appends what `write` writes and a line break. `held` is dropped when the bytes are written, or
    /// can no longer be. Returns the position after the line.
    pub(super) fn line(
        &self,
        held: impl IntoIterator<Item = Arc<Flight>>,
        kind: Kind,
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
        if kind != Kind::Message && state.answer_start.is_none() {
            state.answer_start = Some(state.enqueued);
        }
        state.enqueued += u64::try_from(bytes).unwrap_or_default();
        let end = state.enqueued;
        state
            .held
            .extend(held.into_iter().map(|flight| (end, flight)));
        let is_first = before == 0;
        let done = match is_first && kind == Kind::LoneAnswer && !state.is_writing {
            true => self.write_at_once(&mut state),
            false => None,
        };
        let wake = is_first && !state.buffer.is_empty();
        drop(state);
        if let Some(done) = done {
            self.release(done);
        }
        if wake {
            self.filled.notify_one();
        }
        Ok(end)
    }

    /// Writes as much of the buffer as goes without waiting. What was held for it is to be released.
    fn write_at_once(&self, state: &mut State) -> Option<Vec<Arc<Flight>>> {
        let at_once = self.at_once.get()?;
        let mut at_once = at_once.lock().unwrap_or_else(PoisonError::into_inner);
        // A fault is the task's to find, which tries the same again.
        let count = at_once.write(&state.buffer).ok()?;
        state.buffer.drain(..count);
        if state.buffer.capacity() > BUFFER_KEPT_BYTES {
            state.buffer.shrink_to_fit();
        }
        Some(state.advance(count))
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

    /// Takes the lines that have gathered, as one who sends them on by himself: they count as written. Waits for
    /// the first; nothing where no more can come. Instead of [`Self::run`], and dropped while it waits it loses
    /// nothing.
    pub(super) async fn take(&self) -> Option<Lines> {
        loop {
            {
                let mut state = self.state();
                if !state.buffer.is_empty() {
                    let start = state.written;
                    let text = std::mem::take(&mut state.buffer);
                    let answer = state.answer_start.filter(|answer| *answer >= start);
                    let answer_start = answer.and_then(|at| usize::try_from(at - start).ok());
                    let done = state.advance(text.len());
                    drop(state);
                    self.release(done);
                    return Some(Lines { text, answer_start });
                }
                if state.closing || state.failed {
                    return None;
                }
            }
            self.filled.notified().await;
        }
    }

    /// Nobody takes the lines any more.
    pub(super) fn abandon(&self) {
        self.fail();
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
                state.is_writing = !batch.is_empty();
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
        let done = self.state().advance(count);
        self.release(done);
    }

    /// Lets go of what was held for bytes that are written. A flight tells the session that it has ended,
    /// so no lock is held meanwhile.
    fn release(&self, done: Vec<Arc<Flight>>) {
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, duplex};

    use super::*;

    /// What was written at once, and how much may be written so each time.
    #[derive(Clone, Default)]
    struct Bounded(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Bounded {
        fn of(bytes: usize) -> Self {
            Self(Arc::new(Mutex::new((Vec::new(), bytes))))
        }

        fn taken(&self) -> Vec<u8> {
            self.0.lock().unwrap().0.clone()
        }
    }

    impl Write for Bounded {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (taken, most) = &mut *self.0.lock().unwrap();
            let count = bytes.len().min(*most);
            taken.extend(&bytes[..count]);
            match count {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                count => Ok(count),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn say(output: &Output, is_lone: bool, text: &str) {
        let kind = match is_lone {
            true => Kind::LoneAnswer,
            false => Kind::Message,
        };
        let write = |line: &mut Vec<u8>| {
            line.extend(text.as_bytes());
            Ok(())
        };
        output.line([], kind, write).unwrap();
    }

    #[tokio::test]
    async fn a_lone_line_is_written_at_once_and_another_is_not() {
        let (output, bounded) = (Output::default(), Bounded::of(100));
        output.write_lone_lines(Box::new(bounded.clone()));
        say(&output, true, "one");
        assert_eq!((output.unread(), bounded.taken()), (0, b"one\n".to_vec()));
        say(&output, false, "two");
        // Lines stay in order.
        say(&output, true, "three");
        assert_eq!((output.unread(), bounded.taken()), (10, b"one\n".to_vec()));
    }

    #[tokio::test]
    async fn what_does_not_go_at_once_is_the_tasks_to_write() {
        for most in [0, 2] {
            let (output, bounded) = (Arc::new(Output::default()), Bounded::of(most));
            output.write_lone_lines(Box::new(bounded.clone()));
            let (writer, mut reader) = duplex(64);
            let running = Arc::clone(&output);
            let task = tokio::spawn(async move { running.run(writer).await });
            say(&output, true, "lone");
            output.below(0).await.unwrap();
            output.close();
            task.await.unwrap();
            let mut text = bounded.taken();
            assert_eq!(text.len(), most);
            reader.read_to_end(&mut text).await.unwrap();
            assert_eq!(text, b"lone\n");
        }
    }

    #[tokio::test]
    async fn nothing_is_written_at_once_into_what_the_task_writes() {
        let (output, bounded) = (Arc::new(Output::default()), Bounded::of(100));
        output.write_lone_lines(Box::new(bounded.clone()));
        let (writer, mut reader) = duplex(4);
        let running = Arc::clone(&output);
        tokio::spawn(async move { running.run(writer).await });
        say(&output, false, "longer than the pipe");
        while output.unread() == 21 {
            tokio::task::yield_now().await;
        }
        say(&output, true, "lone");
        assert_eq!(bounded.taken(), b"");
        let mut text = [0; 26];
        reader.read_exact(&mut text).await.unwrap();
        assert_eq!(&text, b"longer than the pipe\nlone\n");
    }
}
