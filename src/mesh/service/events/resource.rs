//! Events as resources: an event that is too large for an answer is read by its address.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use ulid::Ulid;

use super::query::PATIENCE;
use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{EventsRead, Operation, Report, Subject};
use crate::mesh::call::tool::Tool;
use crate::mesh::event::history::ReportedEvent;
use crate::mesh::limit::{Cost, Direction};
use crate::mesh::service::address::{InvalidAddress, RANGE, cut, parse_range, range_text};
use crate::mesh::store::bucket::ByteRange;
use crate::mesh::tenant::Permission;
use crate::mesh::{Error, ErrorKind};

/// The media type of events.
pub const EVENT_TYPE: &str = "application/json";

/// What the address of every event begins with.
const ROOT: &str = "mesh://events/";

/// The address of an event; a range is one of bytes of its JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventAddress {
    /// Which.
    pub event_id: Ulid,
    /// The part that is wanted, in bytes.
    pub range: Option<ByteRange>,
}

impl EventAddress {
    /// The address of the whole event.
    pub fn new(event_id: Ulid) -> Self {
        Self {
            event_id,
            range: None,
        }
    }
}

impl fmt::Display for EventAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{ROOT}{}", self.event_id)?;
        match self.range {
            None => Ok(()),
            Some(range) => write!(formatter, "{RANGE}{}", range_text(range)),
        }
    }
}

impl FromStr for EventAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let rest = text.strip_prefix(ROOT).ok_or(InvalidAddress)?;
        let (id, range) = match rest.split_once(RANGE) {
            Some((id, range)) => (id, Some(parse_range(range).ok_or(InvalidAddress)?)),
            None => (rest, None),
        };
        Ok(Self {
            event_id: id.parse().map_err(|_| InvalidAddress)?,
            range,
        })
    }
}

/// Reads one event, or a part of its JSON text.
#[derive(Debug)]
pub struct EventRead {
    /// Which.
    pub address: EventAddress,
}

/// What [`EventRead`] answers.
#[derive(Debug, Serialize)]
pub struct EventReadAnswer {
    /// The bytes asked for, of the event's JSON text.
    #[serde(skip)]
    pub body: Vec<u8>,
}

impl Operation for EventRead {
    const TOOL: Tool = Tool::EventRead;
    type Needs = EventsRead;
    type Answer = EventReadAnswer;

    fn subject(&self) -> Subject {
        Subject::none().with("event_id", self.address.event_id.to_string())
    }

    fn cost(&self) -> Cost {
        Cost::of(Direction::DynamodbRead, 1.0)
    }

    async fn serve<'call>(self, call: &Granted<'call, Self>) -> Result<EventReadAnswer, Error> {
        let EventAddress { event_id, range } = self.address;
        call.settled(PATIENCE).await;
        let event = call.events().event(event_id).await?;
        let is_shown = |event: &ReportedEvent| {
            event.user_id == call.user_id().as_str() || call.also_holds(Permission::EventsReadAll)
        };
        // Another user's event is none at all to those who may not see it.
        let Some(event) = event.filter(is_shown) else {
            return Err(Error::new(ErrorKind::NotFound, "there is no such event")
                .fix("Find the events that there are with events_query."));
        };
        let mut body = serde_json::to_vec(&event)
            .map_err(|error| Error::internal("an event is no JSON").caused_by(error))?;
        if let Some(range) = range {
            body = cut(body, range)
                .ok_or_else(|| Error::invalid("uri", "the range lies outside the event"))?;
        }
        Ok(EventReadAnswer { body })
    }

    fn report(answer: &EventReadAnswer) -> Report {
        Report {
            bytes: Some(answer.body.len() as u64),
            facts: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_and_nothing_else_is_one() {
        let mut address = EventAddress::new(Ulid::from_parts(1_800_000_000_000, 7));
        assert_eq!(address.to_string().parse(), Ok(address));
        address.range = Some(ByteRange::From(5, None));
        assert_eq!(address.to_string().parse(), Ok(address));
        let whole = EventAddress::new(address.event_id).to_string();
        for text in [
            "mesh://events/",
            "mesh://events/none",
            "mesh://artifacts/user/a",
            &format!("{whole}/"),
            &format!("{whole}?range=9-1"),
            &format!("{whole}#x"),
        ] {
            assert_eq!(text.parse::<EventAddress>(), Err(InvalidAddress), "{text}");
        }
    }
}
