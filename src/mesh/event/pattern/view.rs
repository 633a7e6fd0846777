//! An event as its tenant's patterns see it.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::mesh::Error;
use crate::mesh::event::history::ReportedEvent;
use crate::mesh::event::{Event, Outcome, Priority};

/// How deep what an event holds is looked into; deeper objects and lists are empty to a pattern.
pub const VIEW_DEPTH_MAX: usize = 100;

/// The members of an event that patterns see, wherever it comes from.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'event> {
    /// What its sender calls its source.
    pub source: Option<&'event str>,
    /// What happened.
    pub detail_type: &'event str,
    /// What there is to know of it.
    pub detail: &'event RawValue,
    /// The tool.
    pub tool: &'event str,
    /// How it ended.
    pub outcome: Outcome,
    /// How urgent it is.
    pub priority: Priority,
    /// Who did it.
    pub user_id: &'event str,
    /// Its sender's labels.
    pub tags: Option<&'event BTreeMap<String, String>>,
}

impl<'event> Seen<'event> {
    /// The members of a record.
    pub fn of(event: &'event Event) -> Self {
        Self {
            source: event.source.as_deref(),
            detail_type: &event.detail_type,
            detail: &event.data,
            tool: &event.tool,
            outcome: event.outcome,
            priority: event.priority,
            user_id: event.user_id.as_str(),
            tags: event.tags.as_ref(),
        }
    }

    /// The members of an event of the history, unless its detail was too large to be told with it.
    pub fn of_reported(event: &'event ReportedEvent) -> Option<Self> {
        Some(Self {
            source: event.source.as_deref(),
            detail_type: &event.detail_type,
            detail: event.detail.as_deref()?,
            tool: &event.tool,
            outcome: event.outcome,
            priority: event.priority,
            user_id: &event.user_id,
            tags: event.tags.as_ref(),
        })
    }
}

/// The event in a caller's terms: [`CALLERS_MEMBERS`](super::CALLERS_MEMBERS), `source` and `tags` only where
/// its sender gave them. It holds nothing of whose event it is: a tenant's patterns see that tenant's events
/// alone.
pub fn view(event: &Event) -> Result<Value, Error> {
    view_of(&Seen::of(event))
}

/// The same, of an event wherever it comes from.
pub fn view_of(event: &Seen<'_>) -> Result<Value, Error> {
    let mut members = Map::new();
    if let Some(source) = event.source {
        members.insert("source".to_owned(), source.into());
    }
    members.insert("detail-type".to_owned(), event.detail_type.into());
    let mut detail = serde_json::Deserializer::from_str(event.detail.get());
    let detail = Shallow(VIEW_DEPTH_MAX)
        .deserialize(&mut detail)
        .map_err(|cause| Error::internal("an event's data is no JSON").caused_by(cause))?;
    members.insert("detail".to_owned(), detail);
    members.insert("tool".to_owned(), event.tool.into());
    members.insert("outcome".to_owned(), word(&event.outcome)?);
    members.insert("priority".to_owned(), word(&event.priority)?);
    members.insert("user_id".to_owned(), event.user_id.into());
    if let Some(tags) = event.tags {
        let tags = tags
            .iter()
            .map(|(name, tag)| (name.clone(), tag.as_str().into()));
        members.insert("tags".to_owned(), Value::Object(tags.collect()));
    }
    Ok(Value::Object(members))
}

fn word(value: &impl serde::Serialize) -> Result<Value, Error> {
    serde_json::to_value(value)
        .map_err(|cause| Error::internal("an event's member is no JSON").caused_by(cause))
}

/// Reads JSON to so many levels; of what is deeper only that it is there.
#[derive(Clone, Copy)]
struct Shallow(usize);

impl<'de> DeserializeSeed<'de> for Shallow {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.0 > 0 {
            return deserializer.deserialize_any(self);
        }
        let text: &RawValue = serde::Deserialize::deserialize(deserializer)?;
        match text.get().as_bytes() {
            [b'{' | b'[', ..] => Ok(Value::Object(Map::new())),
            _ => serde_json::from_str(text.get()).map_err(serde::de::Error::custom),
        }
    }
}

impl<'de> Visitor<'de> for Shallow {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = access.next_element_seed(Self(self.0 - 1))? {
            elements.push(element);
        }
        Ok(Value::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = access.next_key()? {
            members.insert(name, access.next_value_seed(Self(self.0 - 1))?);
        }
        Ok(Value::Object(members))
    }
}
