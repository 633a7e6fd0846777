//! A session within the process, for tests and for the demonstration.

use tokio::io::{DuplexStream, ReadHalf};

use super::{Limits, LineTransport};

/// What each direction holds before its writer has to wait, in bytes. A pipe of Linux holds as much.
const PIPE_BYTES: usize = 64 * 1024;

/// The server's end of [`memory`].
pub type MemoryTransport = LineTransport<ReadHalf<DuplexStream>>;

/// A server's transport and the client's end of it, on which lines are read and written just as on the
/// pipes of a process. Call it within a runtime.
pub fn memory(limits: Limits) -> (MemoryTransport, DuplexStream) {
    let (server, client) = tokio::io::duplex(PIPE_BYTES);
    let (reader, writer) = tokio::io::split(server);
    (LineTransport::new(reader, writer, limits), client)
}
