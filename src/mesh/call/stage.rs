//! The stages of a call as types: each is made only from the one before it, and only the last can answer.

mod authorize;

use std::marker::PhantomData;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ulid::Ulid;

use super::grant::{Granted, Ground};
use super::observer::{EndedCall, RefusedBy};
use super::operation::{Needs, Operation, Report, Subject};
use super::request::Request;
use super::tool::{Effect, Tool};
use super::{Backplane, EventReads};
use crate::mesh::event::{Committed, Event, Outcome, Slot, Weight};
use crate::mesh::limit::{Admission, Cost, Direction};
use crate::mesh::policy::Permit;
use crate::mesh::tenant::{Permission, TenantContext};
use crate::mesh::{Error, ErrorKind};

/// A call whose caller is known.
pub struct Arrived<'mesh> {
    backplane: &'mesh Backplane,
    request: Request,
    context: TenantContext,
    started: Duration,
}

/// A call that was judged by the caller's permissions and its own arguments. It holds the operation, if
/// it may be done, and does not give it away yet.
pub struct Judged<'mesh, O> {
    arrived: Arrived<'mesh>,
    subject: Subject,
    verdict: Result<O, Error>,
}

/// A call that the operator's policy does not stand against, as far as it may be done at all.
pub struct Authorized<'mesh, O> {
    arrived: Arrived<'mesh>,
    subject: Subject,
    verdict: Result<(O, Permit), Error>,
}

/// A call for which there is room.
pub struct Admitted<'mesh, O> {
    authorized: Authorized<'mesh, O>,
    admission: Admission,
}

/// A call that has its place in the outbox, so that its event cannot be lost for want of one.
pub struct Reserved<'mesh, O> {
    admitted: Admitted<'mesh, O>,
    slot: Slot,
}

/// A call whose work may be done: it was permitted and admitted, and if it changes something, the intent
/// is recorded. It ends only by being published.
pub struct Begun<'mesh, O> {
    ground: Ground<'mesh>,
    started: Duration,
    subject: Subject,
    operation: PhantomData<fn() -> O>,
}

/// What a caller is told. It exists only where the call's event does.
#[derive(Debug)]
#[must_use = "somebody waits for it"]
pub struct Answer<T> {
    request_id: Ulid,
    result: Result<T, Error>,
}

impl<T> Answer<T> {
    /// The request that is answered.
    pub fn request_id(&self) -> Ulid {
        self.request_id
    }

    /// What it is answered.
    pub fn result(&self) -> &Result<T, Error> {
        &self.result
    }

    /// What it is answered.
    pub fn into_result(self) -> Result<T, Error> {
        self.result
    }
}

impl<'mesh> Arrived<'mesh> {
    pub(super) fn new(
        backplane: &'mesh Backplane,
        request: Request,
        context: TenantContext,
    ) -> Self {
        let started = backplane.clock.monotonic();
        Self {
            backplane,
            request,
            context,
            started,
        }
    }

    /// Judges the operation by the caller's permissions, and before them by its own arguments only where
    /// the caller holds the permission: who may not call a tool learns nothing else of it.
    pub(super) fn permit<O: Operation>(self, operation: Result<O, Error>) -> Judged<'mesh, O> {
        let subject = operation
            .as_ref()
            .map_or_else(|_| Subject::none(), Operation::subject);
        let verdict = match self.context.permissions().contains(O::Needs::PERMISSION) {
            true => operation,
            false => Err(denied(&self.context, O::Needs::PERMISSION)),
        };
        Judged {
            arrived: self,
            subject,
            verdict,
        }
    }
}

/// The failure that the caller lacks the permission that is `needed`. Where only the token's scope leaves it out, `scope` of the
/// details says so: the same user may get another token.
pub(in crate::mesh) fn denied(context: &TenantContext, needed: Permission) -> Error {
    let permission = needed.name();
    if context.origin().run.is_some() {
        let message = format!(
            "the user of this run lacks the permission `{permission}`, or did when it was started"
        );
        return Error::new(ErrorKind::PermissionDenied, message)
            .fix("Let somebody start it who has the permission; a rule starts it as whoever made the rule.")
            .detail("permission", permission);
    }
    let error =
        |message| Error::new(ErrorKind::PermissionDenied, message).detail("permission", permission);
    if context.scope_lacks(needed) {
        let message = format!("the scope of the token lacks the permission `{permission}`");
        return error(message)
            .fix("Sign in again, and ask for the scope of that name too.")
            .detail("scope", permission);
    }
    let role = context.role().name();
    error(format!(
        "the role `{role}` lacks the permission `{permission}`"
    ))
    .fix("Ask an administrator of the tenant for a role that has it.")
}

impl<'mesh, O: Operation> Authorized<'mesh, O> {
    /// Takes a place and the expected cost from the tenant's limits. A call that will be refused anyway
    /// counts as a request and costs nothing else.
    ///
    /// # Errors
    /// The answer to a call that a limit refuses.
    pub fn admit(self) -> Result<Admitted<'mesh, O>, Answer<O::Answer>> {
        let Arrived {
            backplane, context, ..
        } = &self.arrived;
        let verdict = self.verdict.as_ref();
        let cost = verdict.map_or(Cost::NONE, |(operation, _)| operation.cost());
        let now = backplane.clock.monotonic();
        match backplane
            .limiter
            .admit(context.tenant_id(), context.limits(), &cost, now)
        {
            Ok(admission) => Ok(Admitted {
                authorized: self,
                admission,
            }),
            Err(refusal) => {
                let by = RefusedBy::Limit(refusal.limit);
                Err(self.arrived.refuse(O::TOOL, by, refusal.into()))
            }
        }
    }
}

impl Arrived<'_> {
    /// Answers a call that a limit refused. Its event is one with others of the same second, so that a
    /// flood of refused calls costs next to nothing.
    fn refuse<T>(self, tool: Tool, by: RefusedBy, error: Error) -> Answer<T> {
        let mut event = self.backplane.event_of(&self.request, &self.context, tool);
        event.outcome = Outcome::Limited;
        event.error_code = Some(error.kind().code().into());
        self.backplane.rollup.note_refused(event.into());
        if let Some(observer) = &self.backplane.observer {
            let now = self.backplane.clock.monotonic();
            observer.ended(&EndedCall {
                tool,
                tenant: self.context.tenant_id(),
                outcome: Outcome::Limited,
                error: Some(error.kind()),
                refused_by: Some(by),
                duration: now.saturating_sub(self.started),
            });
        }
        Answer {
            request_id: self.request.id,
            result: Err(error),
        }
    }
}

impl<'mesh, O: Operation> Admitted<'mesh, O> {
    /// Takes a place in the outbox, where the audit log is able to record the call as well.
    pub(super) fn reserve(self) -> Result<Reserved<'mesh, O>, Answer<O::Answer>> {
        let weight = match O::TOOL.effect() {
            _ if O::TOOL.is_way_out() => Weight::Relief,
            Effect::Read => Weight::Read,
            Effect::Mutation | Effect::Events => Weight::Mutation,
            Effect::Health => Weight::Health,
        };
        let Arrived {
            backplane, context, ..
        } = &self.authorized.arrived;
        let reserved = match backplane.audit.ready() {
            Ok(()) => backplane.outbox.reserve(context.tenant_id(), weight),
            Err(error) => Err(error),
        };
        match reserved {
            Ok(slot) => Ok(Reserved {
                admitted: self,
                slot,
            }),
            Err(error) => {
                let arrived = self.authorized.arrived;
                Err(arrived.refuse(O::TOOL, RefusedBy::Outbox, error))
            }
        }
    }
}

impl<'mesh, O: Operation> Reserved<'mesh, O> {
    /// Hands out the operation if it may be done, and first records the intent if it changes something.
    /// What may not be done is answered here, and its event recorded.
    pub(super) fn begin(self) -> Result<(Begun<'mesh, O>, O), Answer<O::Answer>> {
        let Reserved {
            admitted:
                Admitted {
                    authorized,
                    admission,
                },
            mut slot,
        } = self;
        let Authorized {
            arrived,
            subject,
            verdict,
        } = authorized;
        let Arrived {
            backplane,
            request,
            context,
            started,
        } = arrived;
        let operation = verdict.and_then(|(operation, _permit)| {
            if O::TOOL.effect() == Effect::Mutation {
                let mut intent = backplane.event_of(&request, &context, O::TOOL);
                intent.data = subject.clone().into_data(Vec::new());
                slot.intend(&intent)?;
            }
            Ok(operation)
        });
        let record = Mutex::new(Record { slot: Some(slot) });
        let spent = Mutex::default();
        let ground = Ground {
            backplane,
            context,
            admission,
            request,
            record,
            spent,
        };
        let begun = Begun {
            ground,
            started,
            subject,
            operation: PhantomData,
        };
        match operation {
            Ok(operation) => Ok((begun, operation)),
            Err(error) => Err(begun.publish(Err(error))),
        }
    }
}

impl<'mesh, O: Operation> Begun<'mesh, O> {
    /// The service's way to what is the caller's, for as long as the call lasts.
    pub fn grant(&self) -> Granted<'_, O> {
        Granted::new(&self.ground)
    }

    /// Settles the cost, records the event and makes the answer.
    pub fn publish(self, outcome: Result<O::Answer, Error>) -> Answer<O::Answer> {
        let Ground {
            backplane,
            context,
            mut admission,
            request,
            record,
            spent,
        } = self.ground;
        let now = backplane.clock.monotonic();
        for (direction, units) in held(&spent).of(outcome.is_ok()) {
            admission.settle(direction, units, now);
        }
        let mut event = backplane.event_of(&request, &context, O::TOOL);
        let duration = now.saturating_sub(self.started);
        event.duration_ms = milliseconds(duration);
        let report = match &outcome {
            Ok(answer) => {
                event.outcome = Outcome::Ok;
                O::report(answer)
            }
            Err(error) => {
                event.outcome = failed_outcome(O::TOOL.effect(), error);
                event.error_code = Some(error.kind().code().into());
                log(&request, O::TOOL, error);
                Report::default()
            }
        };
        event.bytes = report.bytes;
        let audit = &backplane.audit;
        let arguments = audit.is_on().then(|| request.arguments_hash(&self.subject));
        event.data = self.subject.into_data(report.facts);
        audit.call(&event, context.role(), arguments);
        if let Some(observer) = &backplane.observer {
            observer.ended(&EndedCall {
                tool: O::TOOL,
                tenant: context.tenant_id(),
                outcome: event.outcome,
                error: outcome.as_ref().err().map(Error::kind),
                refused_by: None,
                duration,
            });
        }
        let mut record = held(&record);
        if record.is_open() {
            if is_rolled_up(backplane, O::TOOL, event.outcome) {
                backplane.rollup.note_read(event.into());
            } else if let Err(error) = record.commit(&[event]) {
                // What was done is not undone by its record: the intent, where there was one, stands in
                // the outbox and is published as unknown.
                tracing::error!(request_id = %request.id, ?error, "the event of a call could not be recorded");
            }
        }
        drop(record);
        Answer {
            request_id: request.id,
            result: outcome,
        }
    }
}

fn is_rolled_up(backplane: &Backplane, tool: Tool, outcome: Outcome) -> bool {
    backplane.event_reads == EventReads::Rollup
        && tool.effect() == Effect::Read
        && outcome == Outcome::Ok
}

/// What is known of a failed call. A change whose answer was lost, or that was broken off, may have
/// happened.
fn failed_outcome(effect: Effect, error: &Error) -> Outcome {
    match effect {
        _ if error.kind() == ErrorKind::PermissionDenied => Outcome::Denied,
        Effect::Mutation | Effect::Events if error.may_be_done() => Outcome::Unknown,
        _ => Outcome::Error,
    }
}

fn log(request: &Request, tool: Tool, error: &Error) {
    let (request_id, tool) = (request.id, tool.name());
    match error.kind() {
        ErrorKind::Internal => tracing::error!(%request_id, tool, ?error, "a call failed"),
        ErrorKind::AwsCredentials | ErrorKind::AwsUnavailable | ErrorKind::AwsThrottled => {
            tracing::warn!(%request_id, tool, ?error, "a call failed");
        }
        // Its words repeat what was given, which is the tenant's own.
        ErrorKind::InvalidParameter => {
            let parameter = error
                .details()
                .get("parameter")
                .and_then(serde_json::Value::as_str);
            tracing::debug!(%request_id, tool, parameter, "a call with wrong arguments");
        }
        _ => tracing::debug!(%request_id, tool, ?error, "a call failed"),
    }
}

/// `duration` in milliseconds with three digits.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// The place of a call in the outbox, until its event is there.
pub(in crate::mesh) struct Record {
    slot: Option<Slot>,
}

impl Record {
    fn is_open(&self) -> bool {
        self.slot.is_some()
    }

    /// Records `events`, all or none, as the record of the call.
    fn commit(&mut self, events: &[Event]) -> Result<Committed, Error> {
        let slot = self
            .slot
            .take()
            .ok_or_else(|| Error::internal("a call was recorded twice"))?;
        slot.commit(events)
    }

    /// Records a caller's own `events`, which may need more room than the record of a call.
    pub(super) fn commit_sent(&mut self, events: &[Event]) -> Result<Committed, Error> {
        if let Some(slot) = &mut self.slot {
            let bytes = events
                .iter()
                .map(|event| event.data.get().len() as u64 + EVENT_OVERHEAD_BYTES);
            slot.enlarge(bytes.sum())?;
        }
        self.commit(events)
    }
}

/// What the record of an event takes at the most beside its data: bytes. Tags are the most of it.
const EVENT_OVERHEAD_BYTES: u64 = 16 * 1024;

/// What the requests of one call to AWS have cost so far.
#[derive(Debug, Default)]
pub(in crate::mesh) struct Spent([Option<f64>; Direction::ALL.len()]);

impl Spent {
    pub(super) fn add(&mut self, direction: Direction, units: f64) {
        *self.0[direction as usize].get_or_insert(0.0) += units;
    }

    /// What is to be settled. A call that `worked` and told of no use of the table had none; one that
    /// failed may have had some that was not told, and pays what was expected of it.
    fn of(&self, worked: bool) -> impl Iterator<Item = (Direction, f64)> {
        let metered = |direction| {
            matches!(
                direction,
                Direction::DynamodbRead | Direction::DynamodbWrite
            )
        };
        Direction::ALL
            .into_iter()
            .zip(self.0)
            .filter_map(move |(direction, units)| match units {
                Some(units) => Some((direction, units)),
                None if worked && metered(direction) => Some((direction, 0.0)),
                None => None,
            })
    }
}

/// The lock's content, also after a panic while it was held: what it guards is whole at every step.
pub(super) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
