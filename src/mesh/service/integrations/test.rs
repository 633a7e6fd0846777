//! Asking an integration for a sign of life, over the caller's own connection.

use std::time::Duration;

use serde::Serialize;

use super::Server;
use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{IntegrationConnect, Operation, Report, Subject};
use crate::mesh::call::tool::Tool;
use crate::mesh::integration::row::ServerSeen;
use crate::mesh::integration::{ConnectionId, ServiceId};
use crate::mesh::limit::{Cost, Direction};
use crate::mesh::{Error, ErrorKind};

/// How long a sign of life is waited for.
const PING_TIME_MAX: Duration = Duration::from_secs(10);

/// Asks an integration for a sign of life.
#[derive(Debug)]
pub struct IntegrationTest {
    /// The integration.
    pub service: ServiceId,
    /// Which of the caller's connections.
    pub connection: ConnectionId,
}

/// What [`IntegrationTest`] answers.
#[derive(Debug, Serialize)]
pub struct IntegrationTestAnswer {
    service_id: String,
    connection_id: String,
    state: &'static str,
    latency_ms: f64,
    server: Server,
    protocol_version: String,
    tool_count: usize,
}

impl Operation for IntegrationTest {
    const TOOL: Tool = Tool::IntegrationTest;
    type Needs = IntegrationConnect;
    type Answer = IntegrationTestAnswer;

    fn subject(&self) -> Subject {
        Subject::none()
            .with("service_id", self.service.as_str())
            .with("connection_id", self.connection.as_str())
    }

    fn cost(&self) -> Cost {
        Cost::of(Direction::Upstream, 1.0)
    }

    async fn serve<'call>(
        self,
        call: &Granted<'call, Self>,
    ) -> Result<IntegrationTestAnswer, Error> {
        let integrations = call.integrations();
        let mut reached = integrations.reach(&self.service, &self.connection).await?;
        let mut pinged = ping(&self.service, &*reached.upstream).await;
        if pinged.is_err() {
            // What broke since it was last used is opened anew, as a call of a tool would do.
            reached = integrations.reconnect(&reached).await?;
            pinged = ping(&self.service, &*reached.upstream).await;
        }
        let latency = pinged?;
        let server = ServerSeen::of(&reached.upstream.identity());
        Ok(IntegrationTestAnswer {
            service_id: self.service.to_string(),
            connection_id: self.connection.to_string(),
            state: "connected",
            latency_ms: (latency.as_secs_f64() * 1e6).round() / 1e3,
            server: Server::of(&server),
            protocol_version: server.protocol_version,
            tool_count: reached.tools.len(),
        })
    }

    fn report(answer: &IntegrationTestAnswer) -> Report {
        Report {
            bytes: None,
            facts: vec![("latency_ms", answer.latency_ms.into())],
        }
    }
}

async fn ping(
    service: &ServiceId,
    upstream: &dyn crate::mesh::upstream::Upstream,
) -> Result<Duration, Error> {
    match tokio::time::timeout(PING_TIME_MAX, upstream.ping()).await {
        Ok(answered) => answered,
        Err(_) => Err(Error::new(
            ErrorKind::UpstreamUnavailable,
            format!(
                "`{service}` gave no sign of life within {} s",
                PING_TIME_MAX.as_secs()
            ),
        )
        .fix("Disconnect and connect again, or ask whoever runs that server.")),
    }
}
