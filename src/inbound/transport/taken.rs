//! Sessions whose lines somebody takes, instead of a task that writes them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rmcp::model::ProtocolVersion;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::mpsc;

use super::chunk::ChunkReader;
use super::message::Message;
use super::{Bearer, Limits, LineTransport, Link};

/// An input that never says anything, of a session whose messages come by another way.
pub(crate) struct NoInput;

impl AsyncRead for NoInput {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl LineTransport<ChunkReader> {
    /// A session whose messages come over `chunks`, each with its line break, under the token of `bearer`, and
    /// whose lines are taken by whoever holds its link.
    pub(crate) fn carried(
        chunks: mpsc::Receiver<Vec<u8>>,
        limits: Limits,
        bearer: Arc<Bearer>,
    ) -> Self {
        let link = Link::new(limits, None);
        Self::over(ChunkReader::new(chunks), limits, link).borne_by(bearer)
    }
}

impl LineTransport<NoInput> {
    /// A session whose lines are taken by whoever holds its link. With `message`, what is said until it is
    /// answered; without one, all that is said until the link drains. `agreed` is what an earlier handshake
    /// agreed on.
    pub(super) fn taken(
        message: Option<Message>,
        agreed: Option<ProtocolVersion>,
        bearer: Arc<Bearer>,
        id_prefix: Option<String>,
    ) -> Self {
        let limits = Limits::default();
        let link = Link::new(limits, id_prefix);
        if let Some(version) = agreed {
            link.traffic.agree(version);
        }
        let input_ended = message.is_some();
        let queued = message.map(|message| (message, None));
        let mut transport = Self::over(NoInput, limits, link);
        transport.queued = queued.into_iter().collect();
        transport.input_ended = input_ended;
        transport.bearer = Some(bearer);
        transport
    }
}
