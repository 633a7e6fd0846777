//! STUB.

use secrecy::SecretString;
use serde::Serialize;
use std::collections::BTreeMap;

use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{IntegrationConnect as MayConnect, Operation, Subject};
use crate::mesh::call::tool::Tool;
use crate::mesh::integration::{ConnectionId, ServiceId};
use crate::mesh::limit::Cost;
use crate::mesh::{Error, ErrorKind};

/// IntegrationConnect.
#[derive(Debug)]
pub struct IntegrationConnect {
    /// The integration.
    pub service: ServiceId,
    /// Which of the caller's connections.
    pub connection: ConnectionId,
    /// What it signs in with; those of before where they are left out.
    pub credentials: Option<BTreeMap<String, SecretString>>,
    /// What fills a template's slots; those of before where they are left out.
    pub settings: Option<BTreeMap<String, String>>,
}

/// What [`IntegrationConnect`] answers.
#[derive(Debug, Serialize)]
pub struct IntegrationConnectAnswer {}

impl Operation for IntegrationConnect {
    const TOOL: Tool = Tool::IntegrationConnect;
    type Needs = MayConnect;
    type Answer = IntegrationConnectAnswer;

    fn subject(&self) -> Subject {
        Subject::none()
    }

    fn cost(&self) -> Cost {
        Cost::NONE
    }

    async fn serve<'call>(
        self,
        _: &Granted<'call, Self>,
    ) -> Result<IntegrationConnectAnswer, Error> {
        Err(Error::new(ErrorKind::NotSupported, "not yet"))
    }
}
