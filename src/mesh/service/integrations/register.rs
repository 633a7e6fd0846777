//! Registering an integration: what it is and how it is reached, never a secret.

use serde::Serialize;

use crate::mesh::Error;
use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{IntegrationManage, Operation, Report, Subject};
use crate::mesh::call::tool::Tool;
use crate::mesh::integration::{Definition, leak};
use crate::mesh::limit::{Cost, Direction};
use crate::mesh::store::integrations::Defined;

/// The most bytes of a definition as it is kept.
const DEFINITION_BYTES_MAX: usize = 64 << 10;

/// What it is expected to cost: units of the table.
const READ_UNITS: f64 = 2.0;
const WRITE_UNITS: f64 = 5.0;

/// Registers an integration.
#[derive(Debug)]
pub struct IntegrationRegister {
    /// What is registered.
    pub definition: Definition,
    /// Where it is registered already, the tools that are listed directly stay those that they are.
    pub keeps_direct_tools: bool,
}

/// What [`IntegrationRegister`] answers.
#[derive(Debug, Serialize)]
pub struct IntegrationRegisterAnswer {
    service_id: String,
    state: &'static str,
    change: &'static str,
}

impl Operation for IntegrationRegister {
    const TOOL: Tool = Tool::IntegrationRegister;
    type Needs = IntegrationManage;
    type Answer = IntegrationRegisterAnswer;

    fn subject(&self) -> Subject {
        Subject::none()
            .with("service_id", self.definition.service.as_str())
            .with("server_type", self.definition.endpoint.server_type())
            .with("auth_method", self.definition.auth.name())
    }

    fn cost(&self) -> Cost {
        Cost::of(Direction::DynamodbWrite, WRITE_UNITS).and(Direction::DynamodbRead, READ_UNITS)
    }

    async fn serve<'call>(
        self,
        call: &Granted<'call, Self>,
    ) -> Result<IntegrationRegisterAnswer, Error> {
        let definition = &self.definition;
        check(definition)?;
        let integrations = call.integrations();
        let defined = integrations.define(definition, self.keeps_direct_tools);
        let change = match defined.await? {
            Defined::Created => "created",
            Defined::Updated => "updated",
            Defined::Unchanged => "unchanged",
        };
        Ok(IntegrationRegisterAnswer {
            service_id: definition.service.to_string(),
            state: "registered",
            change,
        })
    }

    fn report(answer: &IntegrationRegisterAnswer) -> Report {
        Report {
            bytes: None,
            facts: vec![("change", answer.change.into())],
        }
    }
}

/// Refuses a definition that holds a secret, or is too large to be kept.
fn check(definition: &Definition) -> Result<(), Error> {
    leak::check(&definition.endpoint)?;
    let described = [
        ("name", Some(&definition.name)),
        ("description", definition.description.as_ref()),
        ("category", definition.category.as_ref()),
    ];
    for (parameter, text) in described {
        if let Some(text) = text {
            leak::check_text(parameter, text)?;
        }
    }
    for text in &definition.capabilities {
        leak::check_text("capabilities", text)?;
    }
    let bytes = serde_json::to_string(definition).map_or(0, |text| text.len());
    if bytes > DEFINITION_BYTES_MAX {
        let message = format!("the whole has {bytes} bytes; it may have {DEFINITION_BYTES_MAX}");
        return Err(Error::invalid("env", message).fix("Give less, or refer to secrets by name."));
    }
    Ok(())
}
