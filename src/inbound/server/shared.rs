//! What every way in has of the mesh: a request is made, run and refused alike, whatever has carried it.

use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

use super::Shared;
use crate::inbound::error::{cursor_error, identity_error, method_error, no_resource};
use crate::inbound::sign_in::{ScopeSlot, missing_scope};
use crate::inbound::tool::argument::name_a_caller;
use crate::inbound::transport::{PresentedIdentity, PresentedTrace};
use crate::mesh::Error;
use crate::mesh::call::operation::Operation;
use crate::mesh::call::request::Request;
use crate::mesh::call::tool::Toolset;
use crate::mesh::service::address::InvalidAddress;
use crate::mesh::service::cursor::InvalidCursor;
use crate::mesh::tenant::{IdentityError, Presented, TenantContext, Token};
use crate::mesh::trace::{TRACEPARENT, TraceParent};

/// What a request brings besides what it asks for.
#[derive(Clone, Debug, Default)]
pub(in crate::inbound) struct RequestHead {
    /// The identity that came with it, from where its transport keeps it and nowhere else.
    pub(in crate::inbound) identity: PresentedIdentity,
    /// The caller's trace.
    pub(in crate::inbound) trace: Option<TraceParent>,
    /// Set when the caller no longer wants the answer.
    pub(in crate::inbound) cancelled: CancellationToken,
}

/// Why a method that is no tool has no answer.
#[derive(Debug)]
pub(in crate::inbound) enum MethodFault {
    /// It has no tenant.
    Identity(IdentityError),
    /// Its cursor does not fit.
    Cursor(InvalidCursor),
    /// It names no resource.
    Address(InvalidAddress),
    /// Its call failed.
    Failed(Error, Ulid),
}

impl RequestHead {
    /// That of a message of the protocol.
    pub(super) fn of(context: &RequestContext<RoleServer>) -> Self {
        let identity = context.extensions.get::<PresentedIdentity>();
        Self {
            identity: identity.cloned().unwrap_or_default(),
            trace: trace(context),
            cancelled: context.ct.clone(),
        }
    }

    /// The request as the mesh sees it. Arguments of ours are looked at for callers whom they name.
    pub(in crate::inbound) fn into_request(self, arguments: Option<&str>) -> Request {
        let named = arguments.is_some_and(name_a_caller);
        let mut request = Request::new(Presented {
            token: self.identity.token.map(Token::new),
            foreign: self.identity.foreign || named,
            run: None,
        });
        request.cancelled = self.cancelled;
        request.trace = self.trace;
        request
    }
}

impl MethodFault {
    /// As the protocol says it. What the scope of the caller's token leaves out is left with the request of
    /// `context`.
    pub(super) fn told(self, context: &RequestContext<RoleServer>) -> ErrorData {
        match self {
            Self::Identity(error) => identity_error(error),
            Self::Cursor(error) => cursor_error(error),
            Self::Address(error) => no_resource(error),
            Self::Failed(error, request_id) => {
                ScopeSlot::note(&context.extensions, missing_scope(&error));
                method_error(&error, request_id)
            }
        }
    }
}

impl Shared {
    /// Runs an operation that is no tool's.
    pub(in crate::inbound) async fn run<O: Operation>(
        &self,
        head: &RequestHead,
        operation: O,
    ) -> Result<(O::Answer, Ulid), MethodFault> {
        let request = head.clone().into_request(None);
        let answer = self.backplane.call(request, Ok(operation)).await;
        let answer = answer.map_err(MethodFault::Identity)?;
        let request_id = answer.request_id();
        match answer.into_result() {
            Ok(answer) => Ok((answer, request_id)),
            Err(error) => Err(MethodFault::Failed(error, request_id)),
        }
    }

    /// Whose request it is.
    pub(in crate::inbound) async fn caller(
        &self,
        head: &RequestHead,
    ) -> Result<TenantContext, IdentityError> {
        let presented = head.clone().into_request(None).presented;
        let now = self.backplane.clock.now();
        self.backplane.resolver.resolve(&presented, now).await
    }

    /// Whether anything here has an address: artifacts have, values that are too large for an answer, and
    /// the alerts that were raised.
    pub(in crate::inbound) fn has_resources(&self) -> bool {
        let families = [Toolset::Artifacts, Toolset::Kv, Toolset::Events];
        families.into_iter().any(|family| self.catalog.has(family))
    }
}

/// The caller's trace: what the message says of it, else what its transport does.
fn trace(context: &RequestContext<RoleServer>) -> Option<TraceParent> {
    let parent = context.meta.get(TRACEPARENT).and_then(|text| text.as_str());
    let carried = || context.extensions.get::<PresentedTrace>();
    parent
        .and_then(|text| text.parse().ok())
        .or_else(|| carried().map(|carried| carried.0))
}
