//! STUB.

use serde::Serialize;

use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{IntegrationManage, Operation, Subject};
use crate::mesh::call::tool::Tool;
use crate::mesh::integration::{PinHash, ServiceId};
use crate::mesh::limit::Cost;
use crate::mesh::{Error, ErrorKind};

/// IntegrationApprove.
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
pub struct IntegrationApproveAnswer {}

impl Operation for IntegrationApprove {
    const TOOL: Tool = Tool::IntegrationApprove;
    type Needs = IntegrationManage;
    type Answer = IntegrationApproveAnswer;

    fn subject(&self) -> Subject {
        Subject::none()
    }

    fn cost(&self) -> Cost {
        Cost::NONE
    }

    async fn serve<'call>(
        self,
        _: &Granted<'call, Self>,
    ) -> Result<IntegrationApproveAnswer, Error> {
        Err(Error::new(ErrorKind::NotSupported, "not yet"))
    }
}
