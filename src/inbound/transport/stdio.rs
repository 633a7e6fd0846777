//! The process's own standard input and output.

use std::fs::File;
use std::io::{self, Read};
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::chunk::ChunkReader;
use super::{Limits, LineTransport};

/// How much a thread reads at once from an input that cannot be waited for, in bytes.
const THREAD_READ_BYTES: usize = 64 * 1024;

/// How many such reads wait for the session.
const THREAD_READS_MAX: usize = 4;

/// How long the thread waits when another process has made the input one that does not wait.
const THREAD_RETRY: Duration = Duration::from_millis(10);

type Reader = Box<dyn AsyncRead + Send + Unpin>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// The transport over standard input and output.
pub type StdioTransport = LineTransport<Reader>;

/// The session with whoever started this process. Pipes and sockets are waited for without a thread;
/// files and terminals are read by a thread that does not keep the process alive. Call it once, within a
/// runtime; nothing else may read standard input or write to standard output.
///
/// A pipe is switched to not waiting, for all who share it: with `2>&1` the log may lose lines.
pub fn stdio(limits: Limits) -> io::Result<StdioTransport> {
    let (writer, at_once) = stdout()?;
    let transport = LineTransport::new(stdin()?, writer, limits);
    Ok(match at_once {
        Some(at_once) => transport.writing_at_once(at_once),
        None => transport,
    })
}

#[cfg(unix)]
fn stdin() -> io::Result<Reader> {
    use std::os::fd::AsFd;

    reader(File::from(io::stdin().as_fd().try_clone_to_owned()?))
}

/// Where to write to, and where that never waits, a second way there.
#[cfg(unix)]
fn stdout() -> io::Result<(Writer, Option<File>)> {
    use std::os::fd::AsFd;

    let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    // Both descriptors are of one open file, so that what makes the one never wait does so for the other.
    let at_once = file.try_clone()?;
    Ok(match writer(file)? {
        Some(writer) => (writer, Some(at_once)),
        None => (Box::new(tokio::io::stdout()), None),
    })
}

#[cfg(not(unix))]
fn stdin() -> io::Result<Reader> {
    thread_reader(io::stdin())
}

#[cfg(not(unix))]
fn stdout() -> io::Result<(Writer, Option<File>)> {
    Ok((Box::new(tokio::io::stdout()), None))
}

/// Reads from whatever `file` is.
#[cfg(unix)]
fn reader(file: File) -> io::Result<Reader> {
    use std::os::unix::fs::FileTypeExt;

    use tokio::net::{UnixStream, unix::pipe};

    let kind = file.metadata()?.file_type();
    if kind.is_fifo() {
        return Ok(Box::new(pipe::Receiver::from_file(file)?));
    }
    // Node.js connects its children by sockets, not by pipes.
    if kind.is_socket()
        && let Some(socket) = socket(&file)?
    {
        return Ok(Box::new(UnixStream::from_std(socket)?));
    }
    thread_reader(file)
}

/// Writes to `file` if it is a pipe or a socket.
#[cfg(unix)]
fn writer(file: File) -> io::Result<Option<Writer>> {
    use std::os::unix::fs::FileTypeExt;

    use tokio::net::{UnixStream, unix::pipe};

    let kind = file.metadata()?.file_type();
    if kind.is_fifo() {
        return Ok(Some(Box::new(pipe::Sender::from_file(file)?)));
    }
    if kind.is_socket()
        && let Some(socket) = socket(&file)?
    {
        return Ok(Some(Box::new(UnixStream::from_std(socket)?)));
    }
    Ok(None)
}

/// The descriptor as a socket of this machine, ready for the runtime; `None` where it is one of a network.
#[cfg(unix)]
fn socket(file: &File) -> io::Result<Option<std::os::unix::net::UnixStream>> {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    let socket = UnixStream::from(OwnedFd::from(file.try_clone()?));
    if socket.local_addr().is_err() {
        return Ok(None);
    }
    socket.set_nonblocking(true)?;
    Ok(Some(socket))
}

/// Reads in a thread of its own. The runtime's threads for blocking work would be waited for at the end
/// of the process, and a terminal that nobody types at never returns.
fn thread_reader(mut input: impl Read + Send + 'static) -> io::Result<Reader> {
    let (sender, receiver) = mpsc::channel(THREAD_READS_MAX);
    thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || {
            let mut buffer = vec![0; THREAD_READ_BYTES];
            loop {
                let chunk = match input.read(&mut buffer) {
                    Ok(0) => return,
                    Ok(count) => buffer.get(..count).unwrap_or_default().to_vec(),
                    Err(error) => match error.kind() {
                        io::ErrorKind::Interrupted => continue,
                        io::ErrorKind::WouldBlock if !sender.is_closed() => {
                            thread::sleep(THREAD_RETRY);
                            continue;
                        }
                        _ => return,
                    },
                };
                if sender.blocking_send(chunk).is_err() {
                    return;
                }
            }
        })?;
    Ok(Box::new(ChunkReader::new(receiver)))
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::io::Write;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn read_all(mut reader: Reader) -> String {
        let mut text = String::new();
        let read = reader.read_to_string(&mut text);
        tokio::time::timeout(Duration::from_secs(5), read)
            .await
            .unwrap()
            .unwrap();
        text
    }

    #[tokio::test]
    async fn pipes_sockets_and_files_are_read_to_their_end() {
        let long = "x".repeat(200_000);
        let (pipe, mut into_pipe) = io::pipe().unwrap();
        let (socket, mut into_socket) = UnixStream::pair().unwrap();
        let text = long.clone();
        let feeding = thread::spawn(move || {
            into_pipe.write_all(text.as_bytes()).unwrap();
            into_socket.write_all(text.as_bytes()).unwrap();
        });
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(long.as_bytes()).unwrap();
        io::Seek::rewind(&mut file).unwrap();

        let pipe = reader(File::from(OwnedFd::from(pipe))).unwrap();
        assert_eq!(read_all(pipe).await, long);
        let socket = reader(File::from(OwnedFd::from(socket))).unwrap();
        assert_eq!(read_all(socket).await, long);
        assert_eq!(read_all(reader(file).unwrap()).await, long);
        feeding.join().unwrap();
    }

    #[tokio::test]
    async fn pipes_and_sockets_are_written_without_a_thread_and_files_are_not() {
        let (mut from_pipe, pipe) = io::pipe().unwrap();
        let (mut from_socket, socket) = UnixStream::pair().unwrap();
        let reading = thread::spawn(move || {
            let (mut piped, mut sent) = (String::new(), String::new());
            from_pipe.read_to_string(&mut piped).unwrap();
            from_socket.read_to_string(&mut sent).unwrap();
            (piped, sent)
        });
        for file in [
            File::from(OwnedFd::from(pipe)),
            File::from(OwnedFd::from(socket)),
        ] {
            let mut writer = writer(file).unwrap().unwrap();
            writer.write_all(&[b'y'; 200_000]).await.unwrap();
        }
        let (piped, sent) = reading.join().unwrap();
        assert_eq!((piped.len(), sent.len()), (200_000, 200_000));
        assert!(writer(tempfile::tempfile().unwrap()).unwrap().is_none());
    }

    #[tokio::test]
    async fn an_input_that_does_not_wait_is_asked_again() {
        struct Hesitant(Vec<io::Result<&'static [u8]>>);
        impl Read for Hesitant {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let chunk = self.0.pop().unwrap_or(Ok(b""))?;
                buffer[..chunk.len()].copy_from_slice(chunk);
                Ok(chunk.len())
            }
        }
        let input = Hesitant(vec![
            Ok(b"two"),
            Err(io::ErrorKind::Interrupted.into()),
            Ok(b"one "),
            Err(io::ErrorKind::WouldBlock.into()),
        ]);
        assert_eq!(read_all(thread_reader(input).unwrap()).await, "one two");
    }
}
