//! How much one session may hold in memory, whatever its client does.

use crate::mesh::service::resources::READ_BYTES_MAX;

/// Bytes of one frame, its newline not counted. The largest artifact that is passed inline, 8 MiB, takes
/// 10.7 MiB in base64; 16 MiB leaves room for the rest of the request.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Requests that run, or whose answer is not yet written, at the same time.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 256;

/// Bytes of the frames of those requests, and of what their answers may take. One request is always let in,
/// so it is never smaller than a frame.
pub const BYTES_IN_FLIGHT_MAX: usize = 24 * 1024 * 1024;

/// What reading a resource may take beside its request, in bytes: the stored bytes, their text, and the
/// answer. It counts among the bytes in flight from the start, because it is too late to wait once the
/// answers are there: a client that asks for hundreds of resources and reads none would have them all held.
pub const RESOURCE_ANSWER_BYTES: usize = 3 * READ_BYTES_MAX as usize;

/// What a tool's answer may take, in bytes: the most that it hands out inline, as text and as it is.
pub const TOOL_ANSWER_BYTES: usize = 128 * 1024;

/// What the answer of another server's tool may be expected to take, in bytes: most are small, and the
/// largest of 1 MiB. So many of them fit into the bytes in flight as a tenant may have calls.
pub(super) const PROXIED_ANSWER_BYTES: usize = 384 * 1024;

/// Requests that are read while there is no room for them. Reading on behind a full house lets a
/// cancellation through that would make room; beyond this many nothing more is read.
pub const REQUESTS_PARKED_MAX: usize = 256;

/// Bytes of the frames of parked requests, after which nothing more is read.
pub const BYTES_PARKED_MAX: usize = 1024 * 1024;

/// Bytes of answers that wait for the client to read. From here on nothing is read from it.
pub const BYTES_UNREAD_MAX: usize = 4 * 1024 * 1024;

/// Messages in one batch (revision 2025-03-26 only).
pub const BATCH_MESSAGES_MAX: usize = 64;

/// How much one session may hold; the defaults are this file's constants.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one frame.
    pub frame_bytes: usize,
    /// Requests in flight.
    pub requests_in_flight: usize,
    /// Bytes of the frames in flight.
    pub bytes_in_flight: usize,
    /// Requests read ahead.
    pub requests_parked: usize,
    /// Bytes of the frames read ahead.
    pub bytes_parked: usize,
    /// Bytes of answers that the client has not read.
    pub bytes_unread: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes: FRAME_BYTES_MAX,
            requests_in_flight: REQUESTS_IN_FLIGHT_MAX,
            bytes_in_flight: BYTES_IN_FLIGHT_MAX,
            requests_parked: REQUESTS_PARKED_MAX,
            bytes_parked: BYTES_PARKED_MAX,
            bytes_unread: BYTES_UNREAD_MAX,
        }
    }
}

impl Limits {
    /// Messages that a batch may hold: all of them must fit in flight together, because a batch is
    /// answered as a whole.
    pub(super) fn batch_messages(&self) -> usize {
        BATCH_MESSAGES_MAX.min(self.requests_in_flight)
    }
}
