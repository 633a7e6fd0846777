//! Calling a tool of an integration through the caller's own connection.

use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{Operation, ProxyCall, Subject};
use crate::mesh::call::tool::Tool;
use crate::mesh::integration::{ConnectionId, ServiceId};
use crate::mesh::limit::{Cost, Direction};
use crate::mesh::{Error, ErrorKind};

/// How long a call of an upstream's tool may take at most.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(55);

/// How long it may take where the caller does not say.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// Calls a tool of an integration.
#[derive(Debug)]
pub struct McpProxy {
    /// The integration.
    pub service: ServiceId,
    /// The tool, by the upstream's own name.
    pub tool: String,
    /// Its arguments: the text of a JSON object.
    pub arguments: Option<Box<RawValue>>,
    /// Which of the caller's connections.
    pub connection: ConnectionId,
    /// When it is given up.
    pub timeout: Duration,
    /// Under which the first answer is remembered.
    pub idempotency_key: Option<String>,
}

/// What [`McpProxy`] answers: the upstream's own result.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct McpProxyAnswer {
    result: Box<RawValue>,
}

impl Operation for McpProxy {
    const TOOL: Tool = Tool::McpProxy;
    type Needs = ProxyCall;
    type Answer = McpProxyAnswer;

    fn subject(&self) -> Subject {
        Subject::none()
            .with("service_id", self.service.as_str())
            .with("tool", self.tool.as_str())
            .with("connection_id", self.connection.as_str())
    }

    fn cost(&self) -> Cost {
        Cost::of(Direction::Upstream, 1.0)
    }

    async fn serve<'call>(self, call: &Granted<'call, Self>) -> Result<McpProxyAnswer, Error> {
        let _ = call.integrations();
        Err(Error::new(
            ErrorKind::NotSupported,
            "this server does not call integrations yet",
        )
        .fix("Wait for the next version."))
    }
}
