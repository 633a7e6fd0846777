//! One client from its first byte to its last: serving, surviving what handlers do, ending in time.

mod guard;
#[cfg(test)]
pub(crate) mod probe;
#[cfg(test)]
mod tests;

use std::time::Duration;

use rmcp::RoleServer;
use rmcp::model::InitializeRequestParams;
use rmcp::service::{QuitReason, RunningService, Service, serve_directly_with_ct};
use tokio::io::AsyncRead;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::transport::LineTransport;
pub use guard::Gatekeeper;
use guard::Guarded;

/// How long a session takes to end, once it is to end.
#[derive(Clone, Copy, Debug)]
pub struct DrainTimes {
    /// For what is in flight to finish by itself.
    pub finish: Duration,
    /// For handlers to notice, after that, that they are cancelled, and to say so.
    pub cancel: Duration,
    /// For the client to read the last answers.
    pub flush: Duration,
}

/// 1.5 s to finish, and everything within the 2 s that a process has to end.
impl Default for DrainTimes {
    fn default() -> Self {
        Self {
            finish: Duration::from_millis(1500),
            cancel: Duration::from_millis(200),
            flush: Duration::from_millis(150),
        }
    }
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// The client closed its end of the input or of the output.
    ClientLeft,
    /// The process was asked to end.
    Shutdown,
    /// The service loop broke; the log says how.
    Fault,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Why.
    pub cause: EndCause,
    /// Requests that had not ended when their time was up.
    pub unfinished: usize,
}

/// Has `handler` serve what comes over `transport`, and returns what is under way: dropped, it is cancelled. `client` is
/// what an earlier handshake said. Streams end when `ending` is cancelled.
pub(crate) fn begin<H, R>(
    handler: H,
    transport: LineTransport<R>,
    client: Option<InitializeRequestParams>,
    ending: CancellationToken,
) -> RunningService<RoleServer, impl Service<RoleServer>>
where
    H: Gatekeeper,
    R: AsyncRead + Send + Unpin + 'static,
{
    let service = Guarded::new(handler, ending);
    serve_directly_with_ct(service, transport, client, CancellationToken::new())
}

/// Serves one client until it leaves or `shutdown` is cancelled, and returns when everything in flight
/// has been answered or its time is up. Handlers that still run then have been cancelled; they belong to
/// the runtime and end with it.
///
/// All revisions of the protocol are served, the stateless one included. A handler that panics is answered
/// for, with -32603 and an id under which the log has its words.
pub async fn serve<H, R>(
    handler: H,
    transport: LineTransport<R>,
    shutdown: CancellationToken,
    times: DrainTimes,
) -> Ended
where
    H: Gatekeeper,
    R: AsyncRead + Send + Unpin + 'static,
{
    let link = transport.link();
    let draining = CancellationToken::new();
    let cancelled = CancellationToken::new();
    let service = Guarded::new(handler, draining.clone());
    // Not `serve_server`: its handshake ends the process on a message that it does not expect. The
    // transport does what it would do.
    let running = serve_directly_with_ct(service, transport, None, cancelled.clone());
    let mut running = std::pin::pin!(running.waiting());

    let mut ended = None;
    let cause = tokio::select! {
        biased;
        () = shutdown.cancelled() => EndCause::Shutdown,
        () = link.input_ended() => EndCause::ClientLeft,
        result = &mut running => {
            ended = Some(result);
            EndCause::ClientLeft
        }
    };
    draining.cancel();
    if cause == EndCause::Shutdown {
        link.drain();
    }
    if ended.is_none() {
        ended = timeout(times.finish, &mut running).await.ok();
    }
    if ended.is_none() {
        cancelled.cancel();
        ended = timeout(times.cancel, &mut running).await.ok();
    }
    let unfinished = link.abandon();
    let _ = timeout(times.flush, link.flushed()).await;
    let cause = match ended {
        None | Some(Ok(QuitReason::Closed | QuitReason::Cancelled)) => cause,
        Some(reason) => {
            tracing::error!(?reason, "the service loop broke");
            EndCause::Fault
        }
    };
    Ended { cause, unfinished }
}
