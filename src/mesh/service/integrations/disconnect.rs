//! STUB.

use serde::Serialize;

use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{IntegrationConnect, Operation, Subject};
use crate::mesh::call::tool::Tool;
use crate::mesh::integration::{ConnectionId, ServiceId};
use crate::mesh::limit::Cost;
use crate::mesh::{Error, ErrorKind};

/// IntegrationDisconnect.
#[derive(Debug)]
pub struct IntegrationDisconnect {
    /// The integration.
    pub service: ServiceId,
    /// Which of the caller's connections.
    pub connection: ConnectionId,
}

/// What [`IntegrationDisconnect`] answers.
#[derive(Debug, Serialize)]
pub struct IntegrationDisconnectAnswer {}

impl Operation for IntegrationDisconnect {
    const TOOL: Tool = Tool::IntegrationDisconnect;
    type Needs = IntegrationConnect;
    type Answer = IntegrationDisconnectAnswer;

    fn subject(&self) -> Subject {
        Subject::none()
    }

    fn cost(&self) -> Cost {
        Cost::NONE
    }

    async fn serve<'call>(
        self,
        _: &Granted<'call, Self>,
    ) -> Result<IntegrationDisconnectAnswer, Error> {
        Err(Error::new(ErrorKind::NotSupported, "not yet"))
    }
}
