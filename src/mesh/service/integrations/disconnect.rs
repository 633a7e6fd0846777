//! Ending the caller's connection to an integration.

use serde::Serialize;

use crate::mesh::Error;
use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{IntegrationConnect, Operation, Report, Subject};
use crate::mesh::call::tool::Tool;
use crate::mesh::integration::{ConnectionId, ServiceId};
use crate::mesh::limit::{Cost, Direction};

/// What it is expected to cost: units of the table, requests to the secret store.
const READ_UNITS: f64 = 1.0;
const WRITE_UNITS: f64 = 3.0;

/// Ends the caller's connection to an integration.
#[derive(Debug)]
pub struct IntegrationDisconnect {
    /// The integration.
    pub service: ServiceId,
    /// Which of the caller's connections.
    pub connection: ConnectionId,
}

/// What [`IntegrationDisconnect`] answers.
#[derive(Debug, Serialize)]
pub struct IntegrationDisconnectAnswer {
    service_id: String,
    connection_id: String,
    existed: bool,
}

impl Operation for IntegrationDisconnect {
    const TOOL: Tool = Tool::IntegrationDisconnect;
    type Needs = IntegrationConnect;
    type Answer = IntegrationDisconnectAnswer;

    fn subject(&self) -> Subject {
        Subject::none()
            .with("service_id", self.service.as_str())
            .with("connection_id", self.connection.as_str())
    }

    fn cost(&self) -> Cost {
        Cost::of(Direction::DynamodbWrite, WRITE_UNITS).and(Direction::DynamodbRead, READ_UNITS)
    }

    async fn serve<'call>(
        self,
        call: &Granted<'call, Self>,
    ) -> Result<IntegrationDisconnectAnswer, Error> {
        let (service, connection) = (&self.service, &self.connection);
        let existed = call.integrations().disconnect(service, connection).await?;
        Ok(IntegrationDisconnectAnswer {
            service_id: service.to_string(),
            connection_id: connection.to_string(),
            existed,
        })
    }

    fn report(answer: &IntegrationDisconnectAnswer) -> Report {
        Report {
            bytes: None,
            facts: vec![("existed", answer.existed.into())],
        }
    }
}
