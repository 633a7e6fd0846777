//! STUB.

use serde::Serialize;

use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{IntegrationManage, Operation, Subject};
use crate::mesh::call::tool::Tool;
use crate::mesh::integration::ServiceId;
use crate::mesh::limit::Cost;
use crate::mesh::{Error, ErrorKind};

/// IntegrationUnregister.
#[derive(Debug)]
pub struct IntegrationUnregister {
    /// The integration.
    pub service: ServiceId,
}

/// What [`IntegrationUnregister`] answers.
#[derive(Debug, Serialize)]
pub struct IntegrationUnregisterAnswer {}

impl Operation for IntegrationUnregister {
    const TOOL: Tool = Tool::IntegrationUnregister;
    type Needs = IntegrationManage;
    type Answer = IntegrationUnregisterAnswer;

    fn subject(&self) -> Subject {
        Subject::none()
    }

    fn cost(&self) -> Cost {
        Cost::NONE
    }

    async fn serve<'call>(
        self,
        _: &Granted<'call, Self>,
    ) -> Result<IntegrationUnregisterAnswer, Error> {
        Err(Error::new(ErrorKind::NotSupported, "not yet"))
    }
}
