//! What an operation declares before it may run: its tool, its permission, its cost, its subject.

use std::future::Future;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::grant::Granted;
use super::tool::Tool;
use crate::mesh::Error;
use crate::mesh::limit::Cost;
use crate::mesh::tenant::Permission;

/// One member of the closed list of calls, with its arguments parsed.
pub trait Operation: Sized + Send {
    /// Its row in the closed list.
    const TOOL: Tool;

    /// The permission it declares; its handles do no more than that allows.
    type Needs: Needs;

    /// What it answers when it worked: one JSON object.
    type Answer: Serialize + Send;

    /// The names and keys that its event tells. Never values, bodies or secrets.
    fn subject(&self) -> Subject;

    /// What it is expected to cost; the difference to what it did cost is settled afterwards.
    fn cost(&self) -> Cost;

    /// How long it may take, where that is not as long as `usual`.
    fn time_max(&self, usual: Duration) -> Duration {
        usual
    }

    /// Does the work.
    fn serve<'call>(
        self,
        call: &Granted<'call, Self>,
    ) -> impl Future<Output = Result<Self::Answer, Error>> + Send;

    /// What the answer adds to the event: how much of the caller's data went in or out, and facts such
    /// as whether a key was found.
    fn report(answer: &Self::Answer) -> Report {
        let _ = answer;
        Report::default()
    }

    /// The resource that holds the whole, where the answer does not.
    fn link(answer: &Self::Answer) -> Option<&ResourceLink> {
        let _ = answer;
        None
    }

    /// The resources that hold the whole, where an answer leaves out more than one thing.
    fn links(answer: &Self::Answer) -> Vec<ResourceLink> {
        Self::link(answer).cloned().into_iter().collect()
    }
}

/// A resource that a client can read for what an answer does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceLink {
    /// Its address.
    pub uri: String,
    /// A name for a person.
    pub name: String,
    /// Its media type.
    pub content_type: String,
    /// Its size in bytes.
    pub size: u64,
}

/// What an answer adds to the event of its call.
#[derive(Debug, Default)]
pub struct Report {
    /// Bytes of the caller's data that went in or out.
    pub bytes: Option<u64>,
    /// Facts about the outcome, such as `found`.
    pub facts: Vec<(&'static str, Value)>,
}

/// The names and keys that an event tells: the members of its `data`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Subject(Map<String, Value>);

impl Subject {
    /// Nothing to tell.
    pub fn none() -> Self {
        Self::default()
    }

    /// With `value` under `name`.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// With `value` under `name` where there is one.
    #[must_use]
    pub fn with_some(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// As the `data` of an event.
    pub(in crate::mesh) fn into_data(self, facts: Vec<(&'static str, Value)>) -> Box<RawValue> {
        let mut members = self.0;
        members.extend(
            facts
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value)),
        );
        serde_json::value::to_raw_value(&members).unwrap_or_else(|_| RawValue::NULL.to_owned())
    }
}

/// A permission as a type, so that the compiler holds an operation to the one it declared.
pub trait Needs: Send + Sync + 'static {
    /// The permission.
    const PERMISSION: Permission;
}

/// That an operation which declared `Self` may do what needs `Permission`.
#[diagnostic::on_unimplemented(
    message = "this operation declared `{Self}` and so must not do what needs `{Permission}`",
    label = "needs `{Permission}`",
    note = "an operation does only what the one permission in its `Needs` allows"
)]
pub trait Allows<Permission>: Needs {}

macro_rules! permissions_as_types {
    ($($(#[$meta:meta])* $name:ident;)*) => {
        $(
            $(#[$meta])*
            #[derive(Debug)]
            pub enum $name {}

            impl Needs for $name {
                const PERMISSION: Permission = Permission::$name;
            }

            impl Allows<$name> for $name {}
        )*
    };
}

permissions_as_types! {
    /// Reads values.
    KvRead;
    /// Writes and deletes values.
    KvWrite;
    /// Reads and lists artifacts.
    ArtifactsRead;
    /// Writes and deletes artifacts.
    ArtifactsWrite;
    /// Reads events.
    EventsRead;
    /// Sends events.
    EventsSend;
    /// Sees the health of what the tenant uses.
    HealthRead;
    /// Makes and removes event rules.
    RulesManage;
    /// Makes and removes alerts.
    AlertsManage;
    /// Sees workflow runs.
    WorkflowRead;
    /// Starts and stops workflows.
    WorkflowRun;
    /// Sees integrations and their tools.
    IntegrationRead;
    /// Connects and disconnects integrations.
    IntegrationConnect;
    /// Registers, unregisters and approves integrations.
    IntegrationManage;
    /// Calls tools of integrations.
    ProxyCall;
}
