//! The process's own standard input and output.

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;

use super::{Limits, LineTransport};

/// How much a thread reads at once from an input that cannot be waited for, in bytes.
const THREAD_READ_BYTES: usize = 64 * 1024;

/// How many such reads wait for the session.
const THREAD_READS_MAX: usize = 4;

type Reader = Box<dyn AsyncRead + Send + Unpin>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// The transport over standard input and output.
pub type StdioTransport = LineTransport<Reader>;

/// The session with whoever started this process. Pipes and sockets are waited for without a thread;
/// files and terminals are read by a thread that does not keep the process alive. Call it once, within a
/// runtime; nothing else may read standard input or write to standard output.
pub fn stdio(limits: Limits) -> io::Result<StdioTransport> {
    Ok(LineTransport::new(input()?, output()?, limits))
}

#[cfg(unix)]
fn input() -> io::Result<Reader> {
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileTypeExt;

    use tokio::net::{UnixStream, unix::pipe};

    let descriptor = io::stdin().as_fd().try_clone_to_owned()?;
    let file = std::fs::File::from(descriptor);
    let kind = file.metadata()?.file_type();
    if kind.is_fifo() {
        return Ok(Box::new(pipe::Receiver::from_file(file)?));
    }
    // Node.js connects its children by sockets, not by pipes.
    if kind.is_socket()
        && let Ok(socket) = socket(file)
    {
        return Ok(Box::new(UnixStream::from_std(socket)?));
    }
    thread_input()
}

#[cfg(unix)]
fn output() -> io::Result<Writer> {
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileTypeExt;

    use tokio::net::{UnixStream, unix::pipe};

    let descriptor = io::stdout().as_fd().try_clone_to_owned()?;
    let file = std::fs::File::from(descriptor);
    let kind = file.metadata()?.file_type();
    if kind.is_fifo() {
        return Ok(Box::new(pipe::Sender::from_file(file)?));
    }
    if kind.is_socket()
        && let Ok(socket) = socket(file)
    {
        return Ok(Box::new(UnixStream::from_std(socket)?));
    }
    Ok(Box::new(tokio::io::stdout()))
}

/// The descriptor as a socket of the machine's own, ready for the runtime.
#[cfg(unix)]
fn socket(file: std::fs::File) -> io::Result<std::os::unix::net::UnixStream> {
    let socket = std::os::unix::net::UnixStream::from(std::os::fd::OwnedFd::from(file));
    // A socket of another family has no address of this one.
    socket.local_addr()?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(not(unix))]
fn input() -> io::Result<Reader> {
    thread_input()
}

#[cfg(not(unix))]
fn output() -> io::Result<Writer> {
    Ok(Box::new(tokio::io::stdout()))
}

/// Reads in a thread of its own. The runtime's threads for blocking work would be waited for at the end
/// of the process, and a terminal that nobody types at never returns.
fn thread_input() -> io::Result<Reader> {
    let (sender, receiver) = mpsc::channel(THREAD_READS_MAX);
    thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || {
            let mut stdin = io::stdin().lock();
            let mut chunk = vec![0; THREAD_READ_BYTES];
            loop {
                let bytes = match stdin.read(&mut chunk) {
                    Ok(0) => return,
                    Ok(count) => chunk.get(..count).map(<[u8]>::to_vec),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(_) => return,
                };
                if bytes.is_none_or(|bytes| sender.blocking_send(bytes).is_err()) {
                    return;
                }
            }
        })?;
    Ok(Box::new(ThreadInput {
        receiver,
        chunk: Vec::new(),
        read: 0,
    }))
}

/// The reading end of the thread's channel.
struct ThreadInput {
    receiver: mpsc::Receiver<Vec<u8>>,
    chunk: Vec<u8>,
    read: usize,
}

impl AsyncRead for ThreadInput {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.read == this.chunk.len() {
            match this.receiver.poll_recv(context) {
                Poll::Ready(Some(chunk)) => this.chunk = chunk,
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
            this.read = 0;
        }
        let rest = this.chunk.get(this.read..).unwrap_or_default();
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(rest.get(..count).unwrap_or_default());
        this.read += count;
        Poll::Ready(Ok(()))
    }
}
