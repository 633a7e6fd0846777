//! The link over a child's pipes: a message a line, both ways bounded.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::DropGuard;

use super::lines::{Line, Lines};
use super::process::{Fate, Input, Process};
use super::words::LastWords;
use crate::mesh::store::Reply;
use crate::mesh::upstream::MESSAGE_BYTES_MAX;
use crate::mesh::{Error, ErrorKind};
use crate::outbound::upstream::link::{INCOMING_QUEUE, Incoming, Link, Opened, Outgoing};

/// How many messages to a child may wait until it reads them.
const OUTGOING_QUEUE: usize = 16;

/// How much is read of a child at once, in bytes.
const READ_BYTES: usize = 64 << 10;

/// How long a child has to end by itself after its input has ended.
const CLOSE_TIME_MAX: Duration = Duration::from_millis(500);

/// How long the end of everything that a child has started is waited for.
const END_TIME_MAX: Duration = Duration::from_secs(4);

/// How long it is waited to learn how a child has ended that says no more.
const FATE_TIME_MAX: Duration = Duration::from_millis(500);

/// How long it is waited for the last of a child's standard error.
const WORDS_TIME_MAX: Duration = Duration::from_millis(100);

/// A way to a child.
struct ChildLink {
    id: u32,
    outgoing: Mutex<Option<mpsc::Sender<Outgoing>>>,
    words: Arc<LastWords>,
    fate: watch::Receiver<Fate>,
    /// Dropped with the link, and earlier by closing it.
    leash: Mutex<Option<DropGuard>>,
}

/// The link to `process`.
pub(super) fn link(process: Process, words: Arc<LastWords>) -> Opened {
    let (outgoing, queue) = mpsc::channel(OUTGOING_QUEUE);
    let (tell, incoming) = mpsc::channel(INCOMING_QUEUE);
    let (heard, all_heard) = watch::channel(false);
    tokio::spawn(write(process.input, queue, tell.clone()));
    let kept = Arc::clone(&words);
    let mut errors = process.errors;
    tokio::spawn(async move {
        let mut buffer = vec![0; READ_BYTES / 8];
        while let Ok(read @ 1..) = errors.read(&mut buffer).await {
            kept.push(&buffer[..read]);
        }
        heard.send_replace(true);
    });
    let reader = Reader {
        tell,
        words: Arc::clone(&words),
        fate: process.fate.clone(),
        all_heard,
    };
    tokio::spawn(reader.run(process.output));
    let link = ChildLink {
        id: process.id,
        outgoing: Mutex::new(Some(outgoing)),
        words,
        fate: process.fate,
        leash: Mutex::new(Some(process.leash)),
    };
    Opened {
        link: Arc::new(link),
        incoming,
    }
}

impl Link for ChildLink {
    fn send(&self, message: Outgoing) -> Reply<'_, ()> {
        Box::pin(async move {
            let outgoing = lock(&self.outgoing).clone();
            let Some(outgoing) = outgoing else {
                return Err(unavailable("the connection to the server is closed"));
            };
            match timeout(message.timeout, outgoing.reserve()).await {
                Ok(Ok(place)) => {
                    place.send(message);
                    Ok(())
                }
                Ok(Err(_)) => Err(unavailable("the server's process takes no more messages")),
                Err(_) => Err(unavailable(
                    "the server's process does not read its messages",
                )),
            }
        })
    }

    fn process(&self) -> Option<u32> {
        Some(self.id)
    }

    fn last_words(&self) -> Option<String> {
        self.words.shown()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // The writer ends with what is queued, and the child's input with the writer.
            lock(&self.outgoing).take();
            let mut fate = self.fate.clone();
            let ended = fate.wait_for(|fate| *fate != Fate::Running);
            let _ = timeout(CLOSE_TIME_MAX, ended).await;
            lock(&self.leash).take();
            let gone = fate.wait_for(|fate| matches!(fate, Fate::Gone(_)));
            let _ = timeout(END_TIME_MAX, gone).await;
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unavailable(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::UpstreamUnavailable, message).not_done()
}

/// Writes what is queued until there is nobody to queue or to read it.
async fn write(
    mut input: Input,
    mut queue: mpsc::Receiver<Outgoing>,
    tell: mpsc::Sender<Incoming>,
) {
    while let Some(message) = queue.recv().await {
        let text = message.text.len();
        let mut line = message.text.into_bytes();
        line.push(b'\n');
        let mut written = 0;
        while written < line.len() {
            match input.write(&line[written..]).await {
                Ok(count @ 1..) => written += count,
                Ok(0) | Err(_) => break,
            }
        }
        if written == line.len() {
            continue;
        }
        queue.close();
        // Without its last byte it is no JSON, so it cannot have been carried out.
        fail(&tell, message.request_id, written < text).await;
        while let Some(message) = queue.recv().await {
            fail(&tell, message.request_id, true).await;
        }
    }
}

async fn fail(tell: &mpsc::Sender<Incoming>, request_id: Option<i64>, not_sent: bool) {
    if let Some(request_id) = request_id {
        let error = Error::new(
            ErrorKind::UpstreamUnavailable,
            "the server's process has closed its input",
        );
        let failed = Incoming::Failed {
            request_id,
            not_sent,
            error,
        };
        // Nobody listens any more where this fails.
        let _ = tell.send(failed).await;
    }
}

/// What reads a child's standard output.
struct Reader {
    tell: mpsc::Sender<Incoming>,
    words: Arc<LastWords>,
    fate: watch::Receiver<Fate>,
    all_heard: watch::Receiver<bool>,
}

impl Reader {
    async fn run(mut self, mut output: impl AsyncRead + Unpin) {
        let mut lines = Lines::new(MESSAGE_BYTES_MAX);
        let mut buffer = vec![0; READ_BYTES];
        let why = loop {
            let read = tokio::select! {
                read = output.read(&mut buffer) => read,
                () = self.tell.closed() => return,
            };
            let Ok(read @ 1..) = read else {
                break None;
            };
            let mut rest = &buffer[..read];
            while let Some(line) = lines.next(&mut rest) {
                if self.pass_on(line).await.is_err() {
                    return;
                }
            }
            if lines.is_endless() {
                break Some("writes a line that does not end");
            }
        };
        let error = self.farewell(why).await;
        let _ = self.tell.send(Incoming::Closed(error)).await;
    }

    /// Fails where nobody listens any more.
    async fn pass_on(&self, line: Line) -> Result<(), ()> {
        match line {
            Line::Whole(bytes) => match String::from_utf8(bytes) {
                Ok(text) if text.trim_start().starts_with(['{', '[']) => {
                    let entered = Incoming::Message(text).enter(&self.tell).await;
                    entered.then_some(()).ok_or(())
                }
                Ok(text) => {
                    // Programs that log to the wrong stream are many, and what they say may help.
                    self.words.push(text.as_bytes());
                    self.words.push(b"\n");
                    Ok(())
                }
                Err(_) => {
                    tracing::warn!(
                        "a line of an integration's process is no UTF-8, and was skipped"
                    );
                    Ok(())
                }
            },
            Line::TooLong { answers } => {
                tracing::warn!(
                    bytes_max = MESSAGE_BYTES_MAX,
                    "a line of an integration's process is too long, and was skipped"
                );
                let Some(request_id) = answers else {
                    return Ok(());
                };
                let error = Error::new(
                    ErrorKind::TooLarge,
                    format!(
                        "the server's answer is larger than {} MiB",
                        MESSAGE_BYTES_MAX >> 20
                    ),
                );
                let failed = Incoming::Failed {
                    request_id,
                    not_sent: false,
                    error,
                };
                self.tell.send(failed).await.map_err(drop)
            }
        }
    }

    /// How it ended, with its last words.
    async fn farewell(&mut self, why: Option<&str>) -> Error {
        let how = match why {
            Some(why) => why.to_owned(),
            None => {
                let ended = self.fate.wait_for(|fate| *fate != Fate::Running);
                let _ = timeout(FATE_TIME_MAX, ended).await;
                let ended = self.fate.borrow().ended();
                ended.map_or_else(
                    || "has closed its output".to_owned(),
                    |ended| ended.to_string(),
                )
            }
        };
        let _ = timeout(WORDS_TIME_MAX, self.all_heard.wait_for(|heard| *heard)).await;
        let message = match self.words.shown() {
            Some(words) => format!("the server's process {how}; it last wrote:\n{words}"),
            None => format!("the server's process {how}"),
        };
        Error::new(ErrorKind::UpstreamUnavailable, message)
    }
}
