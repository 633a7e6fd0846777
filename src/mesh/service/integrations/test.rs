//! STUB.

use serde::Serialize;

use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{IntegrationConnect, Operation, Subject};
use crate::mesh::call::tool::Tool;
use crate::mesh::integration::{ConnectionId, ServiceId};
use crate::mesh::limit::Cost;
use crate::mesh::{Error, ErrorKind};

/// IntegrationTest.
#[derive(Debug)]
pub struct IntegrationTest {
    /// The integration.
    pub service: ServiceId,
    /// Which of the caller's connections.
    pub connection: ConnectionId,
}

/// What [`IntegrationTest`] answers.
#[derive(Debug, Serialize)]
pub struct IntegrationTestAnswer {}

impl Operation for IntegrationTest {
    const TOOL: Tool = Tool::IntegrationTest;
    type Needs = IntegrationConnect;
    type Answer = IntegrationTestAnswer;

    fn subject(&self) -> Subject {
        Subject::none()
    }

    fn cost(&self) -> Cost {
        Cost::NONE
    }

    async fn serve<'call>(self, _: &Granted<'call, Self>) -> Result<IntegrationTestAnswer, Error> {
        Err(Error::new(ErrorKind::NotSupported, "not yet"))
    }
}
