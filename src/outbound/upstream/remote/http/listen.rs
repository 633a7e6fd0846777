//! The stream by which a server of the older kind says what no request asked for.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::Channel;
use super::exchange::{Bookmark, follow, get};

/// How long the stream may take to be opened.
const OPEN_TIME_MAX: Duration = Duration::from_secs(10);

/// Listens until the link is closed or the server has no such stream, which it need not have.
pub(super) async fn listen(channel: Arc<Channel>) {
    if channel.is_stateless() {
        return;
    }
    let work = async {
        let opened = timeout(OPEN_TIME_MAX, get(&channel, None)).await;
        let events = match opened {
            Ok(Ok(Some(events))) => events,
            Ok(Err(failure)) => return Err(failure),
            Ok(Ok(None)) | Err(_) => return Ok(()),
        };
        follow(&channel, events, None, Bookmark::default()).await
    };
    let ended = tokio::select! {
        biased;
        () = channel.outlet.closing.cancelled() => return,
        ended = work => ended,
    };
    // That there is no such stream any more is no loss to what was asked; that there is no session is.
    if let Err(failure) = ended
        && failure.closes
    {
        channel.outlet.failed(None, failure).await;
    }
}
