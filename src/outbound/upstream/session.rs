//! One connection's client: requests out, answers in, each to the request that it is meant for.

mod call;
mod errand;
mod incoming;
mod ledger;
mod tools;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::errand::Errand;
use self::ledger::{Answer, Ledger, Turned, Waiting};
use self::tools::Tools;
use super::dialect::Dialect;
use super::link::{Link, Opened, Outgoing};
use super::message;
use super::scrub::{Scrubber, copy};
use crate::mesh::call::request::Progress;
use crate::mesh::trace::TraceParent;
use crate::mesh::upstream::{InputRequest, UpstreamFault};
use crate::mesh::{Error, ErrorKind};

/// How long sending what nobody waits for may take.
pub(super) const SEND_TIME_MAX: Duration = Duration::from_secs(10);

/// How much longer a link may wait for an answer than its caller, so that the caller's own end comes first.
const LINK_SLACK: Duration = Duration::from_secs(1);

/// A connection's client and its tasks, which end with it.
pub(super) struct Session {
    core: Arc<Core>,
    tasks: JoinSet<()>,
}

/// What the callers and the tasks of a session share.
pub(super) struct Core {
    /// Makes what the server says fit to be shown.
    pub(super) scrubber: Scrubber,
    /// The tools as they were last listed.
    pub(super) tools: Tools,
    /// What carries the messages, let go when the session ends: whoever still holds the session holds no child.
    link: Mutex<Option<Arc<dyn Link>>>,
    ledger: Ledger,
    errands: mpsc::Sender<Errand>,
    dialect: OnceLock<Dialect>,
    next_id: AtomicI64,
    closed: CancellationToken,
    end: OnceLock<Error>,
}

/// A request, and what is done while it waits.
pub(super) struct Request<'a> {
    /// The method.
    pub(super) method: &'static str,
    /// The tool, of a `tools/call`.
    pub(super) name: Option<&'a str>,
    /// When it is given up.
    pub(super) timeout: Duration,
    /// Set when nobody wants the answer any more.
    pub(super) cancelled: Option<&'a CancellationToken>,
    /// Where progress goes.
    pub(super) progress: Option<mpsc::Sender<Progress>>,
    /// Where requests for input go.
    pub(super) input: Option<mpsc::Sender<InputRequest>>,
    /// The trace that it belongs to.
    pub(super) trace: Option<TraceParent>,
}

impl Request<'_> {
    /// A request of our own.
    pub(super) fn own(method: &'static str, timeout: Duration) -> Self {
        Self {
            method,
            name: None,
            timeout,
            cancelled: None,
            progress: None,
            input: None,
            trace: None,
        }
    }

    /// Handshakes are not cancelled: the server may not know yet what that is.
    fn may_be_cancelled(&self) -> bool {
        !matches!(self.method, "initialize" | "server/discover")
    }
}

impl Session {
    /// A session over `opened`, before any handshake.
    pub(super) fn new(opened: Opened, scrubber: Scrubber, calls_max: usize) -> Self {
        let (errands, run) = mpsc::channel(errand::QUEUE);
        let core = Arc::new(Core {
            link: Mutex::new(Some(opened.link)),
            scrubber,
            tools: Tools::new(),
            ledger: Ledger::new(calls_max),
            errands,
            dialect: OnceLock::new(),
            next_id: AtomicI64::new(1),
            closed: CancellationToken::new(),
            end: OnceLock::new(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(incoming::read(core.clone(), opened.incoming));
        tasks.spawn(errand::run(core.clone(), run));
        Self { core, tasks }
    }

    /// What callers share.
    pub(super) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Lists the tools anew from here on whenever the server says that they changed.
    pub(super) fn follow_tools(&mut self) {
        self.tasks.spawn(tools::follow(self.core.clone()));
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.core.end_with(Error::new(
            ErrorKind::UpstreamUnavailable,
            "the connection was ended",
        ));
    }
}

impl Core {
    /// What was agreed on; before that, the newest.
    pub(super) fn dialect(&self) -> Dialect {
        self.dialect.get().copied().unwrap_or(Dialect::STATELESS)
    }

    /// The handshake has ended in this.
    pub(super) fn agree(&self, dialect: Dialect) {
        let _ = self.dialect.set(dialect);
        self.propose(dialect.revision);
    }

    /// What is spoken until something is agreed on.
    pub(super) fn propose(&self, revision: &str) {
        if let Some(link) = self.link() {
            link.agreed(revision);
        }
    }

    /// What carries the messages, while the session lasts.
    pub(super) fn link(&self) -> Option<Arc<dyn Link>> {
        self.held_link().clone()
    }

    fn held_link(&self) -> MutexGuard<'_, Option<Arc<dyn Link>>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Set once nothing can be sent any more.
    pub(super) fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    /// Calls that wait for their answer.
    pub(super) fn calls(&self) -> usize {
        self.ledger.calls()
    }

    /// Ends the session unless a request waits. Whether it has ended.
    pub(super) fn end_if_idle(&self) -> bool {
        let is_idle = self.ledger.close_if_idle();
        if is_idle {
            self.end_with(Error::new(
                ErrorKind::UpstreamUnavailable,
                "the connection was not used and has been ended",
            ));
        }
        is_idle
    }

    /// Nothing is sent and nothing is waited for any more; the first reason given is the one that is told.
    pub(super) fn end_with(&self, error: Error) {
        let _ = self.end.set(error);
        self.ledger.close();
        let link = self.held_link().take();
        drop(link);
        self.closed.cancel();
    }

    /// Why the session has ended.
    pub(super) fn end(&self) -> Error {
        match self.end.get() {
            Some(error) => copy(error),
            None => Error::new(ErrorKind::UpstreamUnavailable, "the connection has ended"),
        }
    }

    /// Sends a request whose parameters are made by `params` from its id, and gives back its result.
    pub(super) async fn request(
        &self,
        request: Request<'_>,
        params: impl FnOnce(i64) -> String,
    ) -> Result<Box<RawValue>, UpstreamFault> {
        let is_call = request.name.is_some();
        let (mut departure, answered) = self.enter(&request, is_call, false)?;
        let text = message::request(departure.id, request.method, &params(departure.id));
        let outgoing = self.outgoing(departure.id, &request, text);
        let link = self
            .link()
            .ok_or_else(|| UpstreamFault::NotSent(self.end()))?;
        let sent = link.send(outgoing);
        let answer = self.wait(&request, sent, answered).await;
        departure.is_waiting = matches!(
            answer,
            Err(UpstreamFault::TimedOut | UpstreamFault::Cancelled)
        );
        answer
    }

    /// Sends a request that lasts as long as the connection.
    pub(super) async fn lasting(
        &self,
        method: &'static str,
        params: String,
    ) -> Result<Lasting<'_>, UpstreamFault> {
        let request = Request::own(method, Duration::MAX);
        let (departure, answered) = self.enter(&request, false, true)?;
        let text = message::request(departure.id, method, &params);
        let link = self
            .link()
            .ok_or_else(|| UpstreamFault::NotSent(self.end()))?;
        let sent = link.send(self.outgoing(departure.id, &request, text));
        sent.await.map_err(UpstreamFault::NotSent)?;
        Ok(Lasting {
            answered,
            _departure: departure,
        })
    }

    fn enter(
        &self,
        request: &Request<'_>,
        is_call: bool,
        is_lasting: bool,
    ) -> Result<(Departure<'_>, oneshot::Receiver<Answer>), UpstreamFault> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting {
            answer,
            is_call,
            is_lasting,
            progress: request.progress.clone(),
            input: request.input.clone(),
        };
        let entered = self.ledger.enter(id, waiting);
        entered.map_err(|turned| {
            UpstreamFault::NotSent(match turned {
                Turned::Closed => self.end(),
                Turned::Full => Error::new(
                    ErrorKind::Overloaded,
                    "too many calls of this connection are in flight",
                )
                .fix("Wait for calls to end, or send fewer at once."),
            })
        })?;
        let departure = Departure {
            core: self,
            id,
            is_waiting: true,
            is_told: request.may_be_cancelled(),
        };
        Ok((departure, answered))
    }

    fn outgoing(&self, id: i64, request: &Request<'_>, text: String) -> Outgoing {
        Outgoing {
            text,
            request_id: Some(id),
            method: Some(request.method.to_owned()),
            name: request.name.map(str::to_owned),
            timeout: request.timeout.saturating_add(LINK_SLACK),
            trace: request.trace,
        }
    }

    async fn wait(
        &self,
        request: &Request<'_>,
        sent: impl Future<Output = Result<(), Error>>,
        mut answered: oneshot::Receiver<Answer>,
    ) -> Result<Box<RawValue>, UpstreamFault> {
        let never = CancellationToken::new();
        let cancelled = request.cancelled.unwrap_or(&never);
        let mut cancelled = std::pin::pin!(cancelled.cancelled());
        let mut sent = std::pin::pin!(sent);
        let mut deadline = std::pin::pin!(tokio::time::sleep(request.timeout));
        let mut is_sent = false;
        loop {
            tokio::select! {
                biased;
                done = &mut sent, if !is_sent => {
                    done.map_err(UpstreamFault::NotSent)?;
                    is_sent = true;
                }
                answer = &mut answered => return self.resolve(answer.ok()),
                () = &mut cancelled => return Err(UpstreamFault::Cancelled),
                () = &mut deadline => return Err(UpstreamFault::TimedOut),
            }
        }
    }

    fn resolve(&self, answer: Option<Answer>) -> Result<Box<RawValue>, UpstreamFault> {
        Err(match answer {
            Some(Answer::Result(result)) => return Ok(result),
            Some(Answer::Refused(refusal)) => UpstreamFault::Refused {
                code: refusal.code,
                message: self.scrubber.clean(&refusal.message),
                data: refusal.data.and_then(|data| self.scrubber.clean_json(data)),
            },
            Some(Answer::Failed {
                not_sent: true,
                error,
            }) => UpstreamFault::NotSent(error),
            Some(Answer::Failed { error, .. }) => match error.kind() {
                ErrorKind::TooLarge | ErrorKind::UpstreamError => UpstreamFault::Garbage(error),
                _ => UpstreamFault::Lost(error),
            },
            Some(Answer::Garbage) => UpstreamFault::Garbage(Error::new(
                ErrorKind::UpstreamError,
                "the server answered with what is neither a result nor an error",
            )),
            None => UpstreamFault::Lost(self.end()),
        })
    }

    /// What went wrong with a request of our own, as an error for the connection's user.
    pub(super) fn told(&self, method: &str, fault: UpstreamFault) -> Error {
        match fault {
            UpstreamFault::NotSent(error)
            | UpstreamFault::Lost(error)
            | UpstreamFault::Garbage(error) => error,
            UpstreamFault::TimedOut | UpstreamFault::Cancelled => Error::new(
                ErrorKind::UpstreamUnavailable,
                format!("the server did not answer {method} in time"),
            ),
            UpstreamFault::Refused { code, message, .. } => Error::new(
                ErrorKind::UpstreamError,
                format!(
                    "the server refused {method} with error {code}: {}",
                    self.scrubber.show(&message)
                ),
            ),
        }
    }
}

/// A request that lasts as long as the connection; dropped, it is cancelled.
pub(super) struct Lasting<'a> {
    answered: oneshot::Receiver<Answer>,
    _departure: Departure<'a>,
}

impl Lasting<'_> {
    /// It has ended, in whatever way.
    pub(super) async fn ended(&mut self) {
        let _ = (&mut self.answered).await;
    }
}

/// Takes a request out of the ledger when its caller goes, and tells the server if the answer is no longer
/// wanted.
struct Departure<'a> {
    core: &'a Core,
    id: i64,
    is_waiting: bool,
    is_told: bool,
}

impl Drop for Departure<'_> {
    fn drop(&mut self) {
        let was_there = self.core.ledger.take(self.id).is_some();
        if self.is_waiting && was_there {
            if self.is_told {
                self.core.run(Errand::cancel(self.id));
            }
            if let Some(link) = self.core.link() {
                link.abandon(self.id);
            }
        }
    }
}
