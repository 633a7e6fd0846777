//! An open connection as callers hold it: it outlives what it stands for, and then says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::value::RawValue;
use tokio::time::Instant;
use tracing::{Instrument as _, Span};

use crate::mesh::store::Reply;
use crate::mesh::upstream::{
    ConnectionTarget, ServerIdentity, Upstream, UpstreamCall, UpstreamFault, UpstreamTool,
};
use crate::mesh::{Clock, Timestamp};
use crate::outbound::upstream::session::Core;
use crate::telemetry::metrics::UpstreamMetrics;
use crate::telemetry::trace;

/// The kind of server that is a child process.
const CHILD: &str = "stdio";

/// A connection that was opened.
pub(super) struct Connection {
    core: Arc<Core>,
    identity: ServerIdentity,
    process: Option<u32>,
    kind: &'static str,
    metrics: UpstreamMetrics,
    clock: Arc<dyn Clock>,
    opened: Instant,
    used_at: AtomicI64,
    used_ms: AtomicU64,
    has_answered: AtomicBool,
}

impl Connection {
    pub(super) fn new(
        core: Arc<Core>,
        identity: ServerIdentity,
        clock: Arc<dyn Clock>,
        target: &ConnectionTarget,
        metrics: UpstreamMetrics,
    ) -> Self {
        let used_at = AtomicI64::new(clock.now().as_millis());
        Self {
            process: core.link().and_then(|link| link.process()),
            core,
            identity,
            kind: target.kind(),
            metrics,
            clock,
            opened: Instant::now(),
            used_at,
            used_ms: AtomicU64::new(0),
            has_answered: AtomicBool::new(false),
        }
    }

    /// What the session's callers share.
    pub(super) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// The child's process id.
    pub(super) fn process(&self) -> Option<u32> {
        self.process
    }

    /// The kind of server that it leads to.
    pub(super) const fn kind(&self) -> &'static str {
        self.kind
    }

    /// Whether it leads to a child process.
    pub(super) fn is_child(&self) -> bool {
        self.kind == CHILD
    }

    /// When it was opened.
    pub(super) fn opened(&self) -> Instant {
        self.opened
    }

    /// Whether it has proved to be of use: a call was answered on it, or it has lasted for as long as `time`.
    pub(super) fn has_settled(&self, time: Duration) -> bool {
        self.has_answered.load(Ordering::Relaxed) || self.opened.elapsed() >= time
    }

    /// When it was last used, by the wall clock.
    pub(super) fn used_at(&self) -> Timestamp {
        Timestamp::from_millis(self.used_at.load(Ordering::Relaxed))
    }

    /// When it was last used.
    pub(super) fn used(&self) -> Instant {
        self.opened + Duration::from_millis(self.used_ms.load(Ordering::Relaxed))
    }

    /// It is used now.
    pub(super) fn touch(&self) {
        let now = self.clock.now().as_millis();
        self.used_at.store(now, Ordering::Relaxed);
        let since = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.used_ms.fetch_max(since, Ordering::Relaxed);
    }
}

impl Upstream for Connection {
    fn identity(&self) -> ServerIdentity {
        self.identity.clone()
    }

    fn tools(&self) -> Reply<'_, Arc<Vec<UpstreamTool>>> {
        self.core.current_tools().boxed()
    }

    fn tools_generation(&self) -> u64 {
        self.core.tools.generation()
    }

    fn call<'a>(
        &'a self,
        mut call: UpstreamCall<'a>,
    ) -> BoxFuture<'a, Result<Box<RawValue>, UpstreamFault>> {
        let span = trace::upstream_span(self.kind, call.trace);
        call.trace = trace::context_of(&span).or(call.trace);
        async move {
            self.touch();
            let answer = self.core.call(call).await;
            self.touch();
            if matches!(answer, Ok(_) | Err(UpstreamFault::Refused { .. })) {
                self.has_answered.store(true, Ordering::Relaxed);
            }
            let outcome = outcome(&answer);
            self.metrics.called(self.kind, outcome);
            trace::end_span(&Span::current(), outcome, answer.is_ok());
            answer
        }
        .instrument(span)
        .boxed()
    }

    fn ping(&self) -> Reply<'_, Duration> {
        self.touch();
        self.core.ping().boxed()
    }
}

/// How a call ended, in one word.
fn outcome(answer: &Result<Box<RawValue>, UpstreamFault>) -> &'static str {
    match answer {
        Ok(_) => "ok",
        Err(UpstreamFault::NotSent(_)) => "not_sent",
        Err(UpstreamFault::Lost(_)) => "lost",
        Err(UpstreamFault::TimedOut) => "timed_out",
        Err(UpstreamFault::Cancelled) => "cancelled",
        Err(UpstreamFault::Refused { .. }) => "refused",
        Err(UpstreamFault::Garbage(_)) => "garbage",
    }
}
