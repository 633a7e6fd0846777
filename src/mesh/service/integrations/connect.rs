//! Connecting the caller to an integration: a real handshake and its list of tools, or nothing at all.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Server, held_back};
use crate::mesh::Error;
use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{IntegrationConnect as MayConnect, Operation, Report, Subject};
use crate::mesh::call::tool::Tool;
use crate::mesh::integration::{ConnectionId, Credentials, ServiceId, leak};
use crate::mesh::limit::{Cost, Direction};
use crate::mesh::store::integrations::Connecting;

/// What it is expected to cost: units of the table, requests to the secret store, calls of the server.
const READ_UNITS: f64 = 4.0;
const WRITE_UNITS: f64 = 4.0;
const SECRET_REQUESTS: f64 = 2.0;
const UPSTREAM_CALLS: f64 = 2.0;

/// Connects the caller to an integration.
#[derive(Debug)]
pub struct IntegrationConnect {
    /// The integration.
    pub service: ServiceId,
    /// Which of the caller's connections.
    pub connection: ConnectionId,
    /// What it signs in with; those of before where they are left out.
    pub credentials: Option<Credentials>,
    /// What fills a template's slots; those of before where they are left out.
    pub settings: Option<BTreeMap<String, String>>,
}

/// What [`IntegrationConnect`] answers.
#[derive(Debug, Serialize)]
pub struct IntegrationConnectAnswer {
    service_id: String,
    connection_id: String,
    state: &'static str,
    server: Server,
    protocol_version: String,
    tool_count: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    held_back: Vec<String>,
    #[serde(skip)]
    existed: bool,
}

impl Operation for IntegrationConnect {
    const TOOL: Tool = Tool::IntegrationConnect;
    type Needs = MayConnect;
    type Answer = IntegrationConnectAnswer;

    fn subject(&self) -> Subject {
        Subject::none()
            .with("service_id", self.service.as_str())
            .with("connection_id", self.connection.as_str())
    }

    fn cost(&self) -> Cost {
        Cost::of(Direction::DynamodbWrite, WRITE_UNITS)
            .and(Direction::DynamodbRead, READ_UNITS)
            .and(Direction::Secrets, SECRET_REQUESTS)
            .and(Direction::Upstream, UPSTREAM_CALLS)
    }

    async fn serve<'call>(
        self,
        call: &Granted<'call, Self>,
    ) -> Result<IntegrationConnectAnswer, Error> {
        for (name, text) in self.settings.iter().flatten() {
            leak::check_member("settings", name, text)?;
        }
        let (service_id, connection_id) = (self.service.to_string(), self.connection.to_string());
        let made = call
            .integrations()
            .connect(Connecting {
                service: self.service,
                connection: self.connection,
                credentials: self.credentials,
                settings: self.settings,
            })
            .await?;
        Ok(IntegrationConnectAnswer {
            service_id,
            connection_id,
            state: "connected",
            server: Server::of(&made.server),
            protocol_version: made.server.protocol_version,
            tool_count: made.tools.len(),
            held_back: held_back(&made.tools),
            existed: made.existed,
        })
    }

    fn report(answer: &IntegrationConnectAnswer) -> Report {
        Report {
            bytes: None,
            facts: vec![
                ("tools", answer.tool_count.into()),
                ("held_back", answer.held_back.len().into()),
                ("again", answer.existed.into()),
            ],
        }
    }
}
