//! Watching a tenant's events as this process records them.

use super::query::narrow;
use crate::mesh::Error;
use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{EventsRead, Operation, Subject};
use crate::mesh::call::tool::Tool;
use crate::mesh::event::history::Filter;
use crate::mesh::event::live::EventFeed;
use crate::mesh::limit::Cost;

/// Begins to watch the events that fit: a query of what is still to come.
#[derive(Debug)]
pub struct EventsWatch {
    /// Which.
    pub filter: Filter,
}

impl Operation for EventsWatch {
    const TOOL: Tool = Tool::EventsQuery;
    type Needs = EventsRead;
    type Answer = EventFeed;

    fn subject(&self) -> Subject {
        let user = self.filter.user_id.as_ref();
        Subject::none()
            .with("live", true)
            .with_some("detail_type", self.filter.detail_type.clone())
            .with_some("tool", self.filter.tool.clone())
            .with_some("user_id", user.map(ToString::to_string))
    }

    fn cost(&self) -> Cost {
        Cost::NONE
    }

    async fn serve<'call>(mut self, call: &Granted<'call, Self>) -> Result<EventFeed, Error> {
        narrow(&mut self.filter, call)?;
        Ok(call.events().watch(self.filter))
    }
}
