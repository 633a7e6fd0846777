//! One request as it arrives: who says it is calling, and how to reach the caller while it waits.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

use super::arguments::ArgumentsHash;
use super::operation::Subject;
use super::tool::Tool;
use crate::mesh::Timestamp;
use crate::mesh::event::{Event, Outcome, Priority};
use crate::mesh::tenant::{ContextType, Presented, TenantContext};
use crate::mesh::trace::TraceParent;
use crate::mesh::upstream::InputRequest;

/// One request, before anything is known of it but what it says.
#[derive(Debug)]
pub struct Request {
    /// Made here; in the answer, the event and the log.
    pub id: Ulid,
    /// The identity that came with it.
    pub presented: Presented,
    /// The hash of the arguments as they came in, where anybody wants to know it.
    pub arguments: Option<ArgumentsHash>,
    /// The trace that it belongs to: the caller's, or where calls are traced this one's span of it.
    pub trace: Option<TraceParent>,
    /// Set when the caller no longer wants the answer.
    pub cancelled: CancellationToken,
    /// Where progress goes, if the caller asked for it. Reports that do not fit are dropped.
    pub progress: Option<mpsc::Sender<Progress>>,
    /// How the caller can be asked for input while its call runs.
    pub input: InputWay,
    /// What the caller answers to an earlier call that ended with requests for input: the members
    /// `inputResponses` and `requestState` of its parameters.
    pub continued: Option<Continued>,
}

/// How a caller can be asked for input, by an integrated server that needs it to go on with a call.
#[derive(Clone, Debug, Default)]
pub enum InputWay {
    /// Not at all.
    #[default]
    Refused,
    /// While its call runs: requests go this way, and their answers come back by each.
    Asked {
        /// The way.
        requests: mpsc::Sender<InputRequest>,
        /// What it can be asked.
        methods: InputMethods,
    },
    /// By the answer to its call, which it makes again with what it was asked for.
    Returned {
        /// What it can be asked.
        methods: InputMethods,
    },
}

/// What a caller can be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InputMethods {
    /// `elicitation/create`.
    pub elicitation: bool,
    /// `sampling/createMessage`.
    pub sampling: bool,
    /// `roots/list`.
    pub roots: bool,
}

/// What a caller answers to an earlier call that ended with requests for input.
#[derive(Clone, Debug)]
pub struct Continued {
    /// The answers, by the names that the requests had.
    pub responses: serde_json::Map<String, serde_json::Value>,
    /// What the earlier answer gave it to bring along.
    pub state: Option<String>,
}

impl InputMethods {
    /// Whether the method `name` is among them.
    pub fn has(self, name: &str) -> bool {
        match name {
            "elicitation/create" => self.elicitation,
            "sampling/createMessage" => self.sampling,
            "roots/list" => self.roots,
            _ => false,
        }
    }
}

/// How far a call is.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// How much is done.
    pub done: f64,
    /// How much there is, where that is known.
    pub total: Option<f64>,
    /// What is being done.
    pub message: String,
}

impl Request {
    /// A request of a caller who says no more than its transport does.
    pub fn new(presented: Presented) -> Self {
        Self {
            id: Ulid::generate(),
            presented,
            arguments: None,
            trace: None,
            cancelled: CancellationToken::new(),
            progress: None,
            input: InputWay::Refused,
            continued: None,
        }
    }

    pub(super) fn report_progress(&self, done: f64, total: Option<f64>, message: &str) {
        if let Some(progress) = &self.progress {
            let _ = progress.try_send(Progress {
                done,
                total,
                message: message.to_owned(),
            });
        }
    }

    /// What tells the arguments of this call, which is about `subject`, from those of others.
    pub(super) fn arguments_hash(&self, subject: &Subject) -> ArgumentsHash {
        self.arguments.unwrap_or_else(|| {
            let subject = serde_json::to_string(subject);
            ArgumentsHash::of(subject.as_deref().unwrap_or("{}"))
        })
    }

    /// The event of this request, with the outcome still unknown.
    pub(super) fn event(
        &self,
        context: &TenantContext,
        tool: Tool,
        event_id: Ulid,
        now: Timestamp,
    ) -> Event {
        let org_id = match context.context_type() {
            ContextType::Personal => None,
            ContextType::Organization { org_id } => Some(org_id.to_string()),
        };
        Event {
            event_id,
            time: now,
            detail_type: tool.detail_type().into(),
            tenant_id: context.tenant_id().clone(),
            user_id: context.user_id().clone(),
            org_id,
            tool: tool.name().into(),
            outcome: Outcome::Unknown,
            error_code: None,
            count: None,
            request_id: self.id,
            trace_id: self.trace.map(TraceParent::trace_id),
            duration_ms: 0.0,
            bytes: None,
            source: None,
            priority: Priority::Medium,
            tags: None,
            cause: context.origin().cause,
            depth: context.origin().depth,
            data: Subject::none().into_data(Vec::new()),
        }
    }
}
