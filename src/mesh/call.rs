//! The path of a call: who calls, may they, is there room, is it recorded, then the work, its event, the answer.

pub mod arguments;
pub mod grant;
pub mod health;
pub mod observer;
pub mod operation;
pub mod request;
pub mod sequence;
pub mod stage;
pub mod tool;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tracing::Instrument as _;

use crate::mesh::audit::Audit;
use crate::mesh::channels::Channels;
use crate::mesh::error::READ_FIRST;
use crate::mesh::event::rules::{AlertRaised, RuleBook};
use crate::mesh::event::{Event, EventReads, Outbox, Publisher, Rollup};
use crate::mesh::integration::IntegrationBook;
use crate::mesh::integration::waiting::WaitingTable;
use crate::mesh::limit::Limiter;
use crate::mesh::policy::Policy;
use crate::mesh::store::artifacts::Change;
use crate::mesh::store::mail::MailPolicy;
use crate::mesh::store::{Bucket, Bus, BusRules, SecretStore, Table, Topics};
use crate::mesh::tenant::{IdentityError, Resolver, TenantContext};
use crate::mesh::workflow::{RunBook, WorkflowNames};
use crate::mesh::{Clock, Error, ErrorKind};

use arguments::ArgumentsHash;
use grant::Granted;
use observer::{CallObserver, CallSpan};
use operation::Operation;
use request::Request;
use sequence::IdSequence;
pub use stage::Answer;
use stage::Arrived;
use tool::{Effect, Tool};

/// How long a call may take before it is given up.
pub const CALL_TIME_MAX: Duration = Duration::from_secs(60);

/// Everything that calls share, whoever makes them.
pub struct Backplane {
    /// Who is calling.
    pub resolver: Resolver,
    /// What the operator's policy service says of it.
    pub policy: Policy,
    /// What they may use.
    pub limiter: Limiter,
    /// Where what happens is recorded before anyone is told.
    pub outbox: Outbox,
    /// What brings it from there to the history and the bus.
    pub publisher: Publisher,
    /// What is recorded of many calls at once: refusals, and reads where the operator wants it so.
    pub rollup: Rollup,
    /// What an auditor is told of.
    pub audit: Audit,
    /// Whether the process serves many tenants, so that figures of the whole are none of a caller's.
    pub serves_many: bool,
    /// Whether each read is an event of its own.
    pub event_reads: EventReads,
    /// The table.
    pub table: Arc<dyn Table>,
    /// The bucket.
    pub bucket: Arc<dyn Bucket>,
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// The runs of workflows.
    pub runs: RunBook,
    /// Which state machines tenants mean.
    pub workflows: WorkflowNames,
    /// What this process changes among the artifacts, for those who watch them.
    pub changes: Channels<Change>,
    /// The integrations of the tenants that call, and the connections to them.
    pub integrations: IntegrationBook,
    /// The rules and alerts that are in force.
    pub rules: Arc<RuleBook>,
    /// The rules of the bus itself, where the backend has such.
    pub bus_rules: Option<Arc<dyn BusRules>>,
    /// How many of those a tenant may have.
    pub native_rules_max: u32,
    /// The secret store.
    pub secrets: Arc<dyn SecretStore>,
    /// SNS, for alerts.
    pub topics: Arc<dyn Topics>,
    /// Where alerts may be mailed to.
    pub mail: MailPolicy,
    /// What this process's publisher raises, for those who watch.
    pub alerts: Arc<Channels<AlertRaised>>,
    /// Calls of integrated servers that wait for input of their callers.
    pub waiting_calls: WaitingTable,
    /// Ids of events.
    pub event_ids: IdSequence,
    /// What watches calls, where anything does.
    pub observer: Option<Arc<dyn CallObserver>>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// How long a call may take; [`CALL_TIME_MAX`] but in tests.
    pub call_time_max: Duration,
}

impl Backplane {
    /// Runs one operation as whoever `request` presents, from the question who that is to the answer.
    /// Arguments that could not be parsed come along as the error that they are, so that they too are
    /// charged, recorded and answered as a call.
    ///
    /// # Errors
    ///
    /// Without a tenant there is no call: the caller gets an error of the protocol and the log a line.
    pub async fn call<O: Operation>(
        &self,
        mut request: Request,
        operation: Result<O, Error>,
    ) -> Result<Answer<O::Answer>, IdentityError> {
        let Some(observer) = &self.observer else {
            return self.walk(request, operation).await;
        };
        let CallSpan { span, trace } = observer.begin(&request, O::TOOL);
        request.trace = trace.or(request.trace);
        let walked = async {
            let walked = self.walk(request, operation).await;
            if let Err(error) = &walked {
                observer.unidentified(O::TOOL, error);
            }
            walked
        };
        walked.instrument(span).await
    }

    /// The path itself.
    async fn walk<O: Operation>(
        &self,
        request: Request,
        operation: Result<O, Error>,
    ) -> Result<Answer<O::Answer>, IdentityError> {
        let now = self.clock.now();
        let context = match self.resolver.resolve(&request.presented, now).await {
            Ok(context) => context,
            Err(error) => {
                let tool = Some(O::TOOL);
                self.audit.refused_identity(error, tool, request.id, now);
                return Err(error);
            }
        };
        self.runs.note_active(context.tenant_id());
        let arrived = Arrived::new(self, request, context);

        let authorized = arrived.permit(operation).authorize().await;
        let admitted = match authorized.admit() {
            Ok(admitted) => admitted,
            Err(refused) => return Ok(refused),
        };
        let reserved = match admitted.reserve() {
            Ok(reserved) => reserved,
            Err(refused) => return Ok(refused),
        };
        let (begun, operation) = match reserved.begin() {
            Ok(begun) => begun,
            Err(answered) => return Ok(answered),
        };

        let outcome = self.serve(&begun.grant(), operation).await;
        Ok(begun.publish(outcome))
    }

    /// Has `request` carry the hash of its arguments, a JSON object, where anybody wants to know it. A call that
    /// comes without is known by the names and keys that its event tells.
    pub fn note_arguments<T: AsRef<str>>(&self, request: &mut Request, text: impl FnOnce() -> T) {
        if self.policy.is_on() || self.audit.is_on() {
            request.arguments = Some(ArgumentsHash::of(text().as_ref()));
        }
    }

    /// The event of a call, with the outcome still unknown.
    fn event_of(&self, request: &Request, context: &TenantContext, tool: Tool) -> Event {
        let now = self.clock.now();
        request.event(context, tool, self.event_ids.next(now), now)
    }

    /// Does the work of an operation within its time, unless the caller gives up or it panics.
    async fn serve<O: Operation>(
        &self,
        granted: &Granted<'_, O>,
        operation: O,
    ) -> Result<O::Answer, Error> {
        let time_max = operation.time_max(self.call_time_max);
        let work = AssertUnwindSafe(operation.serve(granted)).catch_unwind();
        tokio::select! {
            biased;
            () = granted.cancelled() => Err(Error::new(ErrorKind::Cancelled, "the caller cancelled the call")),
            () = tokio::time::sleep(time_max) => Err(timed_out::<O>(time_max)),
            outcome = work => outcome.unwrap_or_else(|panic| Err(panicked(&*panic))),
        }
    }
}

fn timed_out<O: Operation>(limit: Duration) -> Error {
    let error = Error::new(
        ErrorKind::Timeout,
        format!("no answer within {} s", limit.as_secs()),
    );
    match O::TOOL.effect() {
        Effect::Mutation => error.fix(READ_FIRST),
        Effect::Read | Effect::Events | Effect::Health => {
            error.fix("Try again, with less at once.")
        }
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message");
    Error::internal(format!("the service panicked: {message}"))
}
