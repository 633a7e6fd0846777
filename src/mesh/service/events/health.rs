//! The health of what a tenant uses: each part by itself, and none of them can fail the check.

use serde::Serialize;

use crate::mesh::Error;
use crate::mesh::call::grant::Granted;
use crate::mesh::call::health::{PartHealth, Status};
use crate::mesh::call::operation::{HealthRead, Operation, Report, Subject};
use crate::mesh::call::tool::Tool;
use crate::mesh::limit::Cost;

/// Checks the parts.
#[derive(Debug)]
pub struct EventsHealthCheck {
    /// Tell of every part, not only of those that are not healthy.
    pub verbose: bool,
}

/// What [`EventsHealthCheck`] answers.
#[derive(Debug, Serialize)]
pub struct EventsHealthCheckAnswer {
    status: Status,
    parts: Vec<PartHealth>,
}

impl Operation for EventsHealthCheck {
    const TOOL: Tool = Tool::EventsHealthCheck;
    type Needs = HealthRead;
    type Answer = EventsHealthCheckAnswer;

    fn subject(&self) -> Subject {
        Subject::none()
    }

    fn cost(&self) -> Cost {
        Cost::NONE
    }

    async fn serve<'call>(
        self,
        call: &Granted<'call, Self>,
    ) -> Result<EventsHealthCheckAnswer, Error> {
        let mut parts = call.health().check().await;
        let status = parts
            .iter()
            .map(|part| part.status)
            .max()
            .unwrap_or(Status::Healthy);
        if !self.verbose {
            for part in parts
                .iter_mut()
                .filter(|part| part.status == Status::Healthy)
            {
                part.message = None;
                part.details = None;
            }
        }
        Ok(EventsHealthCheckAnswer { status, parts })
    }

    fn report(answer: &EventsHealthCheckAnswer) -> Report {
        Report {
            bytes: None,
            facts: vec![("status", answer.status.name().into())],
        }
    }
}
