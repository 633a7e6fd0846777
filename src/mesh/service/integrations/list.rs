//! STUB.

use serde::Serialize;

use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{IntegrationRead, Operation, Subject};
use crate::mesh::call::tool::Tool;
use crate::mesh::integration::ServiceId;
use crate::mesh::limit::Cost;
use crate::mesh::{Error, ErrorKind};

/// IntegrationList.
#[derive(Debug)]
pub struct IntegrationList {
    /// Only this one.
    pub service: Option<ServiceId>,
    /// Where the page before ended, as it stood in the cursor.
    pub position: Option<String>,
}

/// What [`IntegrationList`] answers.
#[derive(Debug, Serialize)]
pub struct IntegrationListAnswer {}

impl Operation for IntegrationList {
    const TOOL: Tool = Tool::IntegrationList;
    type Needs = IntegrationRead;
    type Answer = IntegrationListAnswer;

    fn subject(&self) -> Subject {
        Subject::none()
    }

    fn cost(&self) -> Cost {
        Cost::NONE
    }

    async fn serve<'call>(self, _: &Granted<'call, Self>) -> Result<IntegrationListAnswer, Error> {
        Err(Error::new(ErrorKind::NotSupported, "not yet"))
    }
}

impl IntegrationList {
    /// What a cursor of this listing is bound to.
    pub fn filters(&self) -> Vec<String> {
        Vec::new()
    }
}
