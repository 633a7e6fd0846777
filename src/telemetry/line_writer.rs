//! Writes log lines from a thread of its own: a client that never reads our stderr must not stop us.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// The most lines that wait to be written.
const LINES_MAX: usize = 1024;
/// The most bytes that wait to be written; one longer line still passes where nothing else waits.
const BYTES_MAX: usize = 4 << 20;
/// How long the end of the process waits for the last lines to be written.
const FINISH_WAIT: Duration = Duration::from_millis(500);

/// Hands lines to the thread that writes them; a line that finds the queue full is dropped and counted.
#[derive(Clone, Debug)]
pub struct LineWriter {
    queue: Arc<Queue>,
}

#[derive(Debug)]
struct Queue {
    lines: Mutex<Option<SyncSender<Vec<u8>>>>,
    waiting_bytes: AtomicUsize,
    dropped: AtomicU64,
    finished: Mutex<Receiver<()>>,
}

impl LineWriter {
    /// Starts the thread that writes to `target`.
    pub fn start(target: impl Write + Send + 'static) -> Self {
        let (lines, received) = sync_channel(LINES_MAX);
        let (done, finished) = sync_channel(1);
        let queue = Arc::new(Queue {
            lines: Mutex::new(Some(lines)),
            waiting_bytes: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            finished: Mutex::new(finished),
        });
        let counted = Arc::clone(&queue);
        let started = thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || {
                write_all(&received, target, &counted);
                let _ = done.send(());
            });
        if started.is_err() {
            // Without a thread nothing can be logged; the server itself can go on.
            *queue.lines.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        Self { queue }
    }

    /// Takes no further line, and waits a moment for those that were taken to be written.
    pub fn finish(&self) {
        *self
            .queue
            .lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
        let finished = self
            .queue
            .finished
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // After a timeout nobody reads our stderr, so there is nobody to tell either.
        let _ = finished.recv_timeout(FINISH_WAIT);
    }
}

impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let lines = self
            .queue
            .lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let waiting = &self.queue.waiting_bytes;
        let before = waiting.fetch_add(line.len(), Ordering::Relaxed);
        let sent = (before == 0 || before + line.len() <= BYTES_MAX)
            && lines
                .as_ref()
                .is_some_and(|lines| lines.try_send(line.to_vec()).is_ok());
        if !sent {
            waiting.fetch_sub(line.len(), Ordering::Relaxed);
            self.queue.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'writer> MakeWriter<'writer> for LineWriter {
    type Writer = Self;

    fn make_writer(&'writer self) -> Self {
        self.clone()
    }
}

/// Writes what is received until nobody can send any more. A target that refuses a line may take the next.
fn write_all(received: &Receiver<Vec<u8>>, mut target: impl Write, queue: &Queue) {
    while let Ok(line) = received.recv() {
        let _ = target.write_all(&line);
        let waiting = queue.waiting_bytes.fetch_sub(line.len(), Ordering::Relaxed) - line.len();
        if waiting == 0 {
            let dropped = queue.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                tracing::warn!(
                    lines = dropped,
                    "log lines were dropped, because nobody read them"
                );
            }
        }
    }
    let _ = target.flush();
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// A target that writes nothing until it is let.
    struct Gate {
        open: Receiver<()>,
        is_open: bool,
        written: Sender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            if !self.is_open {
                self.is_open = self.open.recv().is_ok();
            }
            let _ = self.written.send(line.to_vec());
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gate() -> (LineWriter, Sender<()>, Receiver<Vec<u8>>) {
        let (opener, open) = channel();
        let (written, lines) = channel();
        let target = Gate {
            open,
            is_open: false,
            written,
        };
        (LineWriter::start(target), opener, lines)
    }

    #[test]
    fn lines_are_written_in_order_before_the_end() {
        let (mut writer, opener, lines) = gate();
        opener.send(()).unwrap();
        for number in 0..100 {
            writer.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        writer.finish();
        let written: Vec<Vec<u8>> = lines.try_iter().collect();
        let expected: Vec<Vec<u8>> = (0..100)
            .map(|number| format!("{number}\n").into())
            .collect();
        assert_eq!(written, expected);
    }

    #[test]
    fn nobody_waits_for_a_reader_that_does_not_read() {
        let (mut writer, opener, lines) = gate();
        let more = LINES_MAX + 100;
        for _ in 0..more {
            writer.write_all(b"line\n").unwrap();
        }
        let dropped = writer.queue.dropped.load(Ordering::Relaxed);
        // The thread may hold one line already, which then waits in no queue.
        assert!((99..=100).contains(&dropped), "{dropped}");
        opener.send(()).unwrap();
        writer.finish();
        let written = lines.try_iter().count() as u64;
        assert_eq!(written + dropped, more as u64);
    }

    #[test]
    fn what_waits_is_bounded_in_bytes_too() {
        let (mut writer, opener, lines) = gate();
        let half = vec![b'x'; BYTES_MAX / 2];
        for _ in 0..2 {
            writer.write_all(&half).unwrap();
        }
        writer.write_all(b"x").unwrap();
        assert_eq!(writer.queue.dropped.load(Ordering::Relaxed), 1);
        opener.send(()).unwrap();
        writer.finish();
        assert_eq!(lines.try_iter().count(), 2);
    }
}
