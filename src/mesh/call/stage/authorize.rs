//! The stage between what a role permits and what the limits admit: the operator's policy.

use super::{Arrived, Authorized, Judged};
use crate::mesh::Error;
use crate::mesh::call::operation::{Needs as _, Operation, Subject};
use crate::mesh::policy::{Permit, Question};
use crate::mesh::trace::TraceParent;

impl<'mesh, O: Operation> Judged<'mesh, O> {
    /// Asks the operator's policy service, where there is one, about a call that may be done otherwise.
    pub(in crate::mesh::call) async fn authorize(self) -> Authorized<'mesh, O> {
        let Self {
            arrived,
            subject,
            verdict,
        } = self;
        let verdict = match verdict {
            Ok(operation) => arrived
                .permitted::<O>(&subject)
                .await
                .map(|permit| (operation, permit)),
            Err(error) => Err(error),
        };
        Authorized {
            arrived,
            subject,
            verdict,
        }
    }
}

impl Arrived<'_> {
    async fn permitted<O: Operation>(&self, subject: &Subject) -> Result<Permit, Error> {
        let question = || Question {
            tenant_id: self.context.tenant_id().clone(),
            user_id: self.context.user_id().clone(),
            role: self.context.role().name(),
            tool: O::TOOL.name(),
            permission: O::Needs::PERMISSION.name(),
            arguments_sha256: self.request.arguments_hash(subject),
            subject: subject.clone(),
            request_id: self.request.id,
            trace_id: self.request.trace.map(TraceParent::trace_id),
        };
        let policy = &self.backplane.policy;
        policy.permit(&self.request.cancelled, question).await
    }
}
