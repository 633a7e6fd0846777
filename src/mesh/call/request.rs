//! One request as it arrives: who says it is calling, and how to reach the caller while it waits.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

use super::operation::Subject;
use super::tool::Tool;
use crate::mesh::Timestamp;
use crate::mesh::event::{Event, Outcome, Priority};
use crate::mesh::tenant::{ContextType, Presented, TenantContext};

/// One request, before anything is known of it but what it says.
#[derive(Debug)]
pub struct Request {
    /// Made here; in the answer, the event and the log.
    pub id: Ulid,
    /// The identity that came with it.
    pub presented: Presented,
    /// The caller's trace, 32 hex digits.
    pub trace_id: Option<String>,
    /// Set when the caller no longer wants the answer.
    pub cancelled: CancellationToken,
    /// Where progress goes, if the caller asked for it. Reports that do not fit are dropped.
    pub progress: Option<mpsc::Sender<Progress>>,
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
            trace_id: None,
            cancelled: CancellationToken::new(),
            progress: None,
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
            trace_id: self.trace_id.clone(),
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
