//! What watches calls as they begin and end, and changes nothing about them.

use std::time::Duration;

use tracing::Span;

use super::request::Request;
use super::tool::Tool;
use crate::mesh::ErrorKind;
use crate::mesh::event::Outcome;
use crate::mesh::limit::Limit;
use crate::mesh::tenant::{IdentityError, TenantId};
use crate::mesh::trace::TraceParent;

/// Watches calls. What it does is done on the path of each call, so it must neither wait nor fail.
pub trait CallObserver: Send + Sync + 'static {
    /// A call begins: where its work is recorded, if anywhere.
    fn begin(&self, request: &Request, tool: Tool) -> CallSpan;

    /// A call of a tenant has ended; told within its span.
    fn ended(&self, call: &EndedCall<'_>);

    /// A request named nobody whose call it could be; told within its span.
    fn unidentified(&self, tool: Tool, error: &IdentityError);
}

/// Where the work of a call is recorded.
pub struct CallSpan {
    /// The span that all of the work belongs to; [`Span::none`] where nothing is recorded.
    pub span: Span,
    /// What goes on from the call as its trace, where that is not just the caller's.
    pub trace: Option<TraceParent>,
}

/// How a call ended.
#[derive(Debug)]
pub struct EndedCall<'a> {
    /// What was called.
    pub tool: Tool,
    /// Whose call it was.
    pub tenant: &'a TenantId,
    /// How it ended, as its event says.
    pub outcome: Outcome,
    /// What went wrong.
    pub error: Option<ErrorKind>,
    /// What refused it, where it was not let in.
    pub refused_by: Option<RefusedBy>,
    /// How long it took from the moment its caller was known.
    pub duration: Duration,
}

/// What refused a call before it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedBy {
    /// A limit of the tenant or of the server.
    Limit(Limit),
    /// The outbox, which has no room.
    Outbox,
}

impl RefusedBy {
    /// The name of the limit.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Limit(limit) => limit.name(),
            Self::Outbox => "outbox",
        }
    }
}
