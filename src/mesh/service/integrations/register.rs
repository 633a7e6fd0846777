//! STUB.

use serde::Serialize;

use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{IntegrationManage, Operation, Subject};
use crate::mesh::call::tool::Tool;
use crate::mesh::integration::Definition;
use crate::mesh::limit::Cost;
use crate::mesh::{Error, ErrorKind};

/// IntegrationRegister.
#[derive(Debug)]
pub struct IntegrationRegister {
    /// What is registered.
    pub definition: Definition,
}

/// What [`IntegrationRegister`] answers.
#[derive(Debug, Serialize)]
pub struct IntegrationRegisterAnswer {}

impl Operation for IntegrationRegister {
    const TOOL: Tool = Tool::IntegrationRegister;
    type Needs = IntegrationManage;
    type Answer = IntegrationRegisterAnswer;

    fn subject(&self) -> Subject {
        Subject::none()
    }

    fn cost(&self) -> Cost {
        Cost::NONE
    }

    async fn serve<'call>(
        self,
        _: &Granted<'call, Self>,
    ) -> Result<IntegrationRegisterAnswer, Error> {
        Err(Error::new(ErrorKind::NotSupported, "not yet"))
    }
}
