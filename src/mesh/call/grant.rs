//! What an admitted call lets its service reach, and nothing else.

use std::marker::PhantomData;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

use super::Backplane;
use super::health::Health;
use super::operation::{
    Allows, ArtifactsWrite, EventsRead, EventsSend, HealthRead, Operation, ProxyCall, RulesManage,
    Subject,
};
use super::request::{Continued, InputWay, Progress, Request};
use super::stage::{Record, Spent, held};
use super::tool::Tool;
use crate::mesh::event::{Committed, Event, LiveEvents, Outcome, Slot, Weight};
use crate::mesh::integration::IntegrationBook;
use crate::mesh::integration::waiting::WaitingCalls;
use crate::mesh::limit::{Admission, ArtifactQuota, Direction, Quota, Roster, RosterOf};
use crate::mesh::store::artifacts::{Artifacts, Change};
use crate::mesh::store::events::Events;
use crate::mesh::store::idempotency::Idempotency;
use crate::mesh::store::integrations::Integrations;
use crate::mesh::store::key::{Keyspace, Scope};
use crate::mesh::store::mail::{Mail, MailPolicy};
use crate::mesh::store::native::Native;
use crate::mesh::store::rules::Rules;
use crate::mesh::store::runs::Runs;
use crate::mesh::store::secrets::Secrets;
use crate::mesh::store::values::Values;
use crate::mesh::store::{Bucket, SecretStore, Table, Topics};
use crate::mesh::tenant::{
    Limits, Origin, Permission, PermissionSet, TenantContext, TenantId, UserId,
};
use crate::mesh::trace::TraceParent;
use crate::mesh::workflow::{RunBook, WorkflowNames};
use crate::mesh::{Clock, Error, Timestamp};

/// The parts of one admitted call that its handles borrow.
pub(in crate::mesh) struct Ground<'mesh> {
    pub(super) backplane: &'mesh Backplane,
    pub(super) context: TenantContext,
    pub(super) admission: Admission,
    pub(super) request: Request,
    pub(super) record: Mutex<Record>,
    pub(super) spent: Mutex<Spent>,
}

/// A borrowed view of one admitted call, from which this call's handles are made. The lifetime is
/// invariant: what is made from one call cannot pass for another's.
#[derive(Clone, Copy)]
pub struct Reach<'call> {
    ground: &'call Ground<'call>,
    brand: PhantomData<fn(&'call ()) -> &'call ()>,
}

/// Proof that an operation was permitted, admitted and has its place in the outbox; the only way to a
/// handle on the caller's data. There is one for each call, and it can be neither made nor copied by a
/// service.
pub struct Granted<'call, O> {
    reach: Reach<'call>,
    operation: PhantomData<fn() -> O>,
}

impl<'call, O: Operation> Granted<'call, O> {
    pub(super) fn new(ground: &'call Ground<'call>) -> Self {
        Self {
            reach: Reach {
                ground,
                brand: PhantomData,
            },
            operation: PhantomData,
        }
    }

    /// The caller's values.
    pub fn values(&self, scope: Scope) -> Values<'call, O::Needs> {
        Values::new(self.reach, scope)
    }

    /// The caller's artifacts.
    pub fn artifacts(&self, scope: Scope) -> Artifacts<'call, O::Needs> {
        Artifacts::new(self.reach, scope)
    }

    /// The tenant's events.
    pub fn events(&self) -> Events<'call, O::Needs> {
        Events::new(self.reach)
    }

    /// The tenant's rules and alerts.
    pub fn rules(&self) -> Rules<'call, O::Needs> {
        Rules::new(self.reach)
    }

    /// The tenant's integrations, and the caller's connections to them.
    pub fn integrations(&self) -> Integrations<'call, O::Needs> {
        Integrations::new(self.reach, O::TOOL)
    }

    /// The tenant's rules on the bus itself, where the backend has such.
    pub fn native_rules(&self) -> Option<Native<'call>>
    where
        O::Needs: Allows<RulesManage>,
    {
        let bus = self.reach.ground.backplane.bus_rules.as_deref()?;
        Some(Native::new(self.reach, bus))
    }

    /// How many rules on the bus itself a tenant may have.
    pub fn native_rules_max(&self) -> u32 {
        self.reach.ground.backplane.native_rules_max
    }

    /// The mail of the tenant's alerts.
    pub fn mail(&self) -> Mail<'call, O::Needs> {
        Mail::new(self.reach)
    }

    /// The tenant's events, for what a rule that is made would have matched; only where the caller may
    /// read them.
    pub fn events_besides(&self) -> Option<Events<'call, EventsRead>>
    where
        O::Needs: Allows<RulesManage>,
    {
        self.also_holds(Permission::EventsRead)
            .then(|| Events::new(self.reach))
    }

    /// Where alerts may be mailed to.
    pub fn mail_policy(&self) -> &'call MailPolicy {
        &self.reach.ground.backplane.mail
    }

    /// The topics that the operator has given the tenant, by their logical names.
    pub fn alert_topics(&self) -> impl Iterator<Item = &'call str> {
        let topics = &self.reach.ground.context.tenant().alert_topics;
        topics.keys().map(String::as_str)
    }

    /// Refuses a workflow that the tenant does not have; `parameter` named it.
    ///
    /// # Errors
    /// `NOT_FOUND`, and where the machines cannot be listed.
    pub async fn require_workflow(&self, parameter: &str, name: &str) -> Result<(), Error> {
        let (names, tenant) = (self.reach.workflows(), self.reach.tenant_id());
        if names.all(tenant).await?.iter().any(|known| known == name) {
            return Ok(());
        }
        Err(names
            .unknown(tenant, name)
            .await
            .detail("parameter", parameter))
    }

    /// What the caller may do.
    pub fn permissions(&self) -> PermissionSet {
        self.reach.ground.context.permissions()
    }

    /// The tenant's workflow runs.
    pub fn runs(&self) -> Runs<'call, O::Needs> {
        Runs::new(self.reach)
    }

    /// The secrets of the caller and of its tenant.
    pub fn secrets(&self) -> Secrets<'call, O::Needs> {
        Secrets::new(self.reach)
    }

    /// Whether the caller wants to be told how far the work is.
    pub fn tells_progress(&self) -> bool {
        self.reach.ground.request.progress.is_some()
    }

    /// The state of the parts that the tenant uses.
    pub fn health(&self) -> Health<'call>
    where
        O::Needs: Allows<HealthRead>,
    {
        {
            let ground = self.reach.ground;
            Health::new(ground.backplane, ground.context.tenant_id())
        }
    }

    /// Waits up to `patience` for this process's own events of the tenant to be in the history, and
    /// answers whether they are.
    pub async fn settled(&self, patience: Duration) -> bool
    where
        O::Needs: Allows<EventsRead>,
    {
        self.reach.settled(patience).await
    }

    /// Whether the caller also holds `permission`: widens what a tool shows, never what it does.
    pub fn also_holds(&self, permission: Permission) -> bool {
        self.reach.ground.context.permissions().contains(permission)
    }

    /// The caller.
    pub fn user_id(&self) -> &'call UserId {
        self.reach.ground.context.user_id()
    }

    /// The wall clock.
    pub fn now(&self) -> Timestamp {
        self.reach.now()
    }

    /// Time that only goes forward, for measuring how long something takes.
    pub fn monotonic(&self) -> Duration {
        self.reach.clock().monotonic()
    }

    /// The trace that the call belongs to.
    pub fn trace(&self) -> Option<TraceParent> {
        self.reach.ground.request.trace
    }

    /// Where reports of progress go that somebody else makes, if the caller asked for them.
    pub fn progress_reports(&self) -> Option<mpsc::Sender<Progress>> {
        self.reach.ground.request.progress.clone()
    }

    /// How the caller can be asked for input.
    pub fn input(&self) -> &'call InputWay {
        &self.reach.ground.request.input
    }

    /// What the caller answers to an earlier call that ended with requests for input.
    pub fn continued(&self) -> Option<&'call Continued> {
        self.reach.ground.request.continued.as_ref()
    }

    /// Set when the caller no longer wants the answer, for work that tells others so.
    pub fn cancellation(&self) -> CancellationToken {
        self.reach.ground.request.cancelled.clone()
    }

    /// The id of the call.
    pub fn request_id(&self) -> Ulid {
        self.reach.request_id()
    }

    /// The artifacts of the caller, for a result that is too large for an answer; only where the caller
    /// may write such.
    pub fn artifacts_besides(&self) -> Option<Artifacts<'call, ArtifactsWrite>>
    where
        O::Needs: Allows<ProxyCall>,
    {
        self.also_holds(Permission::ArtifactsWrite)
            .then(|| Artifacts::new(self.reach, Scope::User))
    }

    /// The calls that wait for input of their callers.
    pub fn waiting_calls(&self) -> WaitingCalls<'call>
    where
        O::Needs: Allows<ProxyCall>,
    {
        let backplane = self.reach.ground.backplane;
        let context = &self.reach.ground.context;
        backplane
            .waiting_calls
            .of(context.tenant_id(), context.user_id())
    }

    /// Ends when the caller no longer wants the answer.
    pub(super) fn cancelled(&self) -> tokio_util::sync::WaitForCancellationFuture<'call> {
        self.reach.ground.request.cancelled.cancelled()
    }

    /// Tells the caller how far the work is, where it asked to be told.
    pub fn progress(&self, done: f64, total: Option<f64>, message: &str) {
        self.reach
            .ground
            .request
            .report_progress(done, total, message);
    }

    /// Ids for `count` new events of the moment `now`, in order.
    pub fn event_ids(&self, now: Timestamp, count: usize) -> Vec<Ulid>
    where
        O::Needs: Allows<EventsSend>,
    {
        let ids = &self.reach.ground.backplane.event_ids;
        (0..count).map(|_| ids.next(now)).collect()
    }

    /// An event of the caller's own, to be given to [`Granted::record`].
    pub fn event(&self, event_id: Ulid, detail_type: String, data: Box<RawValue>) -> Event
    where
        O::Needs: Allows<EventsSend>,
    {
        let ground = self.reach.ground;
        let now = self.now();
        let mut event = ground
            .request
            .event(&ground.context, O::TOOL, event_id, now);
        event.detail_type = detail_type.into();
        event.data = data;
        event
    }

    /// Records the caller's `events`, all or none. They are the record of this call.
    pub fn record(&self, events: &[Event]) -> Result<Receipt<'call>, Error>
    where
        O::Needs: Allows<EventsSend>,
    {
        let ground = self.reach.ground;
        let committed = held(&ground.record).commit_sent(events)?;
        Ok(Receipt {
            backplane: ground.backplane,
            committed,
        })
    }

    /// The rows under which answers to idempotency keys are remembered.
    pub fn idempotency(&self) -> Idempotency<'call> {
        Idempotency::new(self.reach, O::TOOL)
    }
}

/// That events were recorded, and the means to wait for the bus to take them.
pub struct Receipt<'call> {
    backplane: &'call Backplane,
    committed: Committed,
}

impl Receipt<'_> {
    /// Waits up to `patience` for the bus; whether it has taken them.
    pub async fn published(self, patience: Duration) -> bool {
        self.backplane
            .publisher
            .published(&self.committed, patience)
            .await
    }
}

impl<'call> Reach<'call> {
    pub(in crate::mesh) fn keyspace(self) -> Keyspace {
        Keyspace::of(self.ground.context.tenant_id())
    }

    pub(in crate::mesh) fn user_id(self) -> &'call UserId {
        self.ground.context.user_id()
    }

    pub(in crate::mesh) fn request_id(self) -> Ulid {
        self.ground.request.id
    }

    pub(in crate::mesh) fn tenant_id(self) -> &'call TenantId {
        self.ground.context.tenant_id()
    }

    pub(in crate::mesh) fn live_events(self) -> &'call LiveEvents {
        self.ground.backplane.outbox.live()
    }

    pub(in crate::mesh) fn permissions(self) -> PermissionSet {
        self.ground.context.permissions()
    }

    pub(in crate::mesh) fn limits(self) -> &'call Arc<Limits> {
        self.ground.context.limits()
    }

    pub(in crate::mesh) fn origin(self) -> Origin {
        self.ground.context.origin()
    }

    pub(in crate::mesh) fn runs(self) -> &'call RunBook {
        &self.ground.backplane.runs
    }

    pub(in crate::mesh) fn workflows(self) -> &'call WorkflowNames {
        &self.ground.backplane.workflows
    }

    pub(in crate::mesh) fn now(self) -> Timestamp {
        self.ground.backplane.clock.now()
    }

    pub(in crate::mesh) fn table(self) -> &'call Arc<dyn Table> {
        &self.ground.backplane.table
    }

    pub(in crate::mesh) fn bucket(self) -> &'call Arc<dyn Bucket> {
        &self.ground.backplane.bucket
    }

    pub(in crate::mesh) fn clock(self) -> &'call Arc<dyn Clock> {
        &self.ground.backplane.clock
    }

    pub(in crate::mesh) fn event_shards(self) -> u16 {
        self.ground.context.tenant().event_shards
    }

    /// Tells whoever watches artifacts that one has changed.
    pub(in crate::mesh) fn announce(self, change: Change) {
        self.ground.backplane.changes.announce(change);
    }

    pub(in crate::mesh) fn secret_store(self) -> &'call dyn SecretStore {
        &*self.ground.backplane.secrets
    }

    pub(in crate::mesh) fn topics(self) -> &'call dyn Topics {
        &*self.ground.backplane.topics
    }

    pub(in crate::mesh) fn integrations(self) -> &'call IntegrationBook {
        &self.ground.backplane.integrations
    }

    /// Whether who calls is told by tokens, so that what one admin registers others run here.
    pub(in crate::mesh) fn serves_many(self) -> bool {
        self.ground.backplane.serves_many
    }

    /// Room for one more event of this call, which [`Self::note`] fills.
    pub(in crate::mesh) fn reserve_note(self) -> Result<Slot, Error> {
        let outbox = &self.ground.backplane.outbox;
        outbox.reserve(self.tenant_id(), Weight::Mutation)
    }

    /// Records what this call has found besides doing its work.
    pub(in crate::mesh) fn note(
        self,
        slot: Slot,
        tool: Tool,
        detail_type: &'static str,
        data: Subject,
    ) -> Result<(), Error> {
        let Ground {
            backplane,
            request,
            context,
            ..
        } = self.ground;
        let mut event = backplane.event_of(request, context, tool);
        event.detail_type = detail_type.into();
        event.outcome = Outcome::Ok;
        event.data = data.into_data(Vec::new());
        slot.commit(&[event]).map(drop)
    }

    /// From now on this process matches records with the tenant's rules as they are.
    pub(in crate::mesh) fn rules_changed(self) {
        self.ground.backplane.rules.changed(self.tenant_id());
    }

    pub(in crate::mesh) fn roster(self, of: RosterOf) -> Roster {
        let limits = self.ground.context.limits();
        let allowed = match of {
            RosterOf::Rules => Quota::Rules.allowed(limits),
            RosterOf::Alerts => Quota::Alerts.allowed(limits),
            RosterOf::Integrations => Quota::Integrations.allowed(limits),
            RosterOf::NativeRules => self.ground.backplane.native_rules_max.into(),
        };
        Roster::new(Arc::clone(self.table()), self.keyspace(), of, allowed)
    }

    pub(in crate::mesh) async fn settled(self, patience: Duration) -> bool {
        self.ground
            .backplane
            .publisher
            .stored(self.tenant_id(), patience)
            .await
    }

    pub(in crate::mesh) fn artifact_quota(self) -> ArtifactQuota {
        let Backplane { table, bucket, .. } = self.ground.backplane;
        ArtifactQuota::new(
            Arc::clone(table),
            Arc::clone(bucket),
            self.keyspace(),
            Arc::clone(self.ground.context.limits()),
        )
    }

    /// Notes what a request to AWS did cost. All of a call's together replace what was expected of it.
    pub(in crate::mesh) fn spend(self, direction: Direction, units: f64) {
        held(&self.ground.spent).add(direction, units);
    }
}
