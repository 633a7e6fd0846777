//! Approving what a tool of an integration has become.

use serde::Serialize;

use crate::mesh::Error;
use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{IntegrationManage, Operation, Report, Subject};
use crate::mesh::call::tool::Tool;
use crate::mesh::integration::{Difference, PinHash, ServiceId};
use crate::mesh::limit::{Cost, Direction};

/// What it is expected to cost: units of the table.
const READ_UNITS: f64 = 4.0;
const WRITE_UNITS: f64 = 6.0;

/// Approves what a tool of an integration says now.
#[derive(Debug)]
pub struct IntegrationApprove {
    /// The integration.
    pub service: ServiceId,
    /// The tool, by the upstream's own name.
    pub tool: String,
    /// The only definition that is meant.
    pub hash: Option<PinHash>,
}

/// What [`IntegrationApprove`] answers.
#[derive(Debug, Serialize)]
pub struct IntegrationApproveAnswer {
    service_id: String,
    tool: String,
    hash: PinHash,
    change: &'static str,
    #[serde(skip_serializing_if = "is_empty")]
    difference: Difference,
}

fn is_empty(difference: &Difference) -> bool {
    difference.changes.is_empty()
}

impl Operation for IntegrationApprove {
    const TOOL: Tool = Tool::IntegrationApprove;
    type Needs = IntegrationManage;
    type Answer = IntegrationApproveAnswer;

    fn subject(&self) -> Subject {
        Subject::none()
            .with("service_id", self.service.as_str())
            .with("tool", self.tool.as_str())
    }

    fn cost(&self) -> Cost {
        Cost::of(Direction::DynamodbWrite, WRITE_UNITS).and(Direction::DynamodbRead, READ_UNITS)
    }

    async fn serve<'call>(
        self,
        call: &Granted<'call, Self>,
    ) -> Result<IntegrationApproveAnswer, Error> {
        let approval = call
            .integrations()
            .approve(&self.service, &self.tool, self.hash)
            .await?;
        Ok(IntegrationApproveAnswer {
            service_id: self.service.to_string(),
            tool: self.tool,
            hash: approval.hash,
            change: match approval.is_unchanged {
                true => "unchanged",
                false => "approved",
            },
            difference: approval.difference,
        })
    }

    fn report(answer: &IntegrationApproveAnswer) -> Report {
        Report {
            bytes: None,
            facts: vec![
                ("change", answer.change.into()),
                ("hash", answer.hash.to_string().into()),
            ],
        }
    }
}
