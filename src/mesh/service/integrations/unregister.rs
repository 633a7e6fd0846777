//! Removing an integration, with the connections of all its users.

use serde::Serialize;

use crate::mesh::Error;
use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{IntegrationManage, Operation, Report, Subject};
use crate::mesh::call::tool::Tool;
use crate::mesh::integration::ServiceId;
use crate::mesh::limit::{Cost, Direction};

/// What it is expected to cost: units of the table, requests to the secret store.
const READ_UNITS: f64 = 4.0;
const WRITE_UNITS: f64 = 8.0;

/// Removes an integration.
#[derive(Debug)]
pub struct IntegrationUnregister {
    /// The integration.
    pub service: ServiceId,
}

/// What [`IntegrationUnregister`] answers.
#[derive(Debug, Serialize)]
pub struct IntegrationUnregisterAnswer {
    service_id: String,
    existed: bool,
    connections_ended: u64,
}

impl Operation for IntegrationUnregister {
    const TOOL: Tool = Tool::IntegrationUnregister;
    type Needs = IntegrationManage;
    type Answer = IntegrationUnregisterAnswer;

    fn subject(&self) -> Subject {
        Subject::none().with("service_id", self.service.as_str())
    }

    fn cost(&self) -> Cost {
        Cost::of(Direction::DynamodbWrite, WRITE_UNITS).and(Direction::DynamodbRead, READ_UNITS)
    }

    async fn serve<'call>(
        self,
        call: &Granted<'call, Self>,
    ) -> Result<IntegrationUnregisterAnswer, Error> {
        let ended = call.integrations().remove(&self.service).await?;
        Ok(IntegrationUnregisterAnswer {
            service_id: self.service.to_string(),
            existed: ended.is_some(),
            connections_ended: ended.unwrap_or_default(),
        })
    }

    fn report(answer: &IntegrationUnregisterAnswer) -> Report {
        Report {
            bytes: None,
            facts: vec![
                ("existed", answer.existed.into()),
                ("connections_ended", answer.connections_ended.into()),
            ],
        }
    }
}
