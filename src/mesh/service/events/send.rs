//! Sending events: up to ten at once, all or none, accepted when they are in the outbox.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use ulid::Ulid;

use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{EventsSend as MaySend, Operation, Report, Subject};
use crate::mesh::call::tool::{RESERVED_DETAIL_TYPES, Tool};
use crate::mesh::event::{Event, Outcome, Priority};
use crate::mesh::limit::{Cost, Direction};
use crate::mesh::store::idempotency::{self, Begun, Claim};
use crate::mesh::{Error, ErrorKind, Timestamp};

/// The most events in one call.
pub const EVENTS_MAX: usize = 10;

/// The largest detail of one event: bytes of its JSON text.
pub const DETAIL_BYTES_MAX: usize = 200_000;

/// The most characters of a detail type or a source.
pub const NAME_CHARS_MAX: usize = 128;

/// The most tags of one event.
pub const TAGS_MAX: usize = 20;

/// The longest name or value of a tag: bytes.
pub const TAG_BYTES_MAX: usize = 256;

/// How long `wait` waits for the bus.
const BUS_PATIENCE: Duration = Duration::from_secs(10);

/// How often a call tries to take over a key whose holder gave no sign of life.
const TAKE_OVERS_MAX: usize = 3;

/// Sends events.
#[derive(Debug)]
pub struct EventsSend {
    /// What happened: 1 to [`EVENTS_MAX`].
    pub events: Vec<NewEvent>,
    /// Whether the caller gave a list, and is answered one.
    pub as_list: bool,
    /// A call with the same key has its effect once.
    pub idempotency_key: Option<String>,
    /// Answer only when the bus has taken them.
    pub wait: bool,
}

/// One event of a caller's.
#[derive(Debug)]
pub struct NewEvent {
    /// What happened.
    pub detail_type: String,
    /// What there is to know of it: one JSON object.
    pub detail: Box<RawValue>,
    /// What the caller calls its source.
    pub source: Option<String>,
    /// How urgent it is.
    pub priority: Priority,
    /// The caller's labels.
    pub tags: Option<BTreeMap<String, String>>,
}

impl NewEvent {
    /// Refuses what the contract does not allow; `at` is what stands before an argument's name in
    /// messages, such as `events[3].`.
    pub fn check(&self, at: &str) -> Result<(), Error> {
        check_detail_type(&format!("{at}detail_type"), &self.detail_type)?;
        if let Some(source) = &self.source {
            check_name(&format!("{at}source"), source)?;
        }
        let size = self.detail.get().len();
        if !self.detail.get().starts_with('{') {
            let parameter = format!("{at}detail");
            return Err(Error::invalid(
                &parameter,
                format!("`{parameter}` must be a JSON object"),
            ));
        }
        if size > DETAIL_BYTES_MAX {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "`{at}detail` has {size} bytes of JSON; an event's may have {DETAIL_BYTES_MAX}"
                ),
            )
            .fix("Store the bulk with artifacts_put and send its key.")
            .detail("limit", DETAIL_BYTES_MAX)
            .detail("size", size));
        }
        check_tags(&format!("{at}tags"), self.tags.as_ref())
    }
}

fn check_detail_type(parameter: &str, detail_type: &str) -> Result<(), Error> {
    check_name(parameter, detail_type)?;
    match RESERVED_DETAIL_TYPES
        .into_iter()
        .find(|prefix| detail_type.starts_with(prefix))
    {
        Some(prefix) => Err(Error::invalid(
            parameter,
            format!(
                "`{parameter}` begins with `{prefix}`, which is kept for the server's own events"
            ),
        )
        .fix("Choose a name of your own, such as `Order.Failed`.")),
        None => Ok(()),
    }
}

fn check_name(parameter: &str, name: &str) -> Result<(), Error> {
    let length = name.chars().count();
    if (1..=NAME_CHARS_MAX).contains(&length) && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Error::invalid(
        parameter,
        format!(
            "`{parameter}` must have 1 to {NAME_CHARS_MAX} characters and no control characters"
        ),
    ))
}

fn check_tags(parameter: &str, tags: Option<&BTreeMap<String, String>>) -> Result<(), Error> {
    let Some(tags) = tags else { return Ok(()) };
    let fits = |text: &String| !text.is_empty() && text.len() <= TAG_BYTES_MAX;
    if tags.len() <= TAGS_MAX && tags.iter().all(|(name, value)| fits(name) && fits(value)) {
        return Ok(());
    }
    Err(Error::invalid(
        parameter,
        format!(
            "`{parameter}` may hold {TAGS_MAX} tags, each name and value a text of 1 to \
             {TAG_BYTES_MAX} bytes"
        ),
    ))
}

/// What [`EventsSend`] answers: the members of one event, or a list where a list was sent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EventsSendAnswer {
    /// To a list.
    Many {
        /// In the order they were sent.
        events: Vec<Accepted>,
        /// Whether the bus has taken them, where the caller waited for that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        published: Option<bool>,
    },
    /// To a single event.
    One {
        /// The event.
        #[serde(flatten)]
        event: Accepted,
        /// Whether the bus has taken it, where the caller waited for that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        published: Option<bool>,
    },
}

/// An event that is in the outbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Accepted {
    event_id: Ulid,
    accepted_at: Timestamp,
}

impl Operation for EventsSend {
    const TOOL: Tool = Tool::EventsSend;
    type Needs = MaySend;
    type Answer = EventsSendAnswer;

    fn subject(&self) -> Subject {
        let types: Vec<_> = self
            .events
            .iter()
            .map(|event| event.detail_type.clone())
            .collect();
        Subject::none().with("detail_types", types)
    }

    fn cost(&self) -> Cost {
        let cost = Cost::of(Direction::Eventbridge, self.events.len() as f64);
        match self.idempotency_key {
            Some(_) => cost.and(Direction::DynamodbWrite, 2.0),
            None => cost,
        }
    }

    async fn serve<'call>(self, call: &Granted<'call, Self>) -> Result<EventsSendAnswer, Error> {
        let now = call.now();
        let ids = call.event_ids(now, self.events.len());
        let mut accepted: Vec<_> = ids
            .into_iter()
            .map(|event_id| Accepted {
                event_id,
                accepted_at: now,
            })
            .collect();
        let mut held = None;
        if let Some(key) = &self.idempotency_key {
            let taken = self.hold(call, key, &accepted).await;
            match taken.map_err(Error::not_done)? {
                Held::Answered(earlier) => {
                    // Whether the bus has them is known to the first call alone.
                    return Ok(self.answer(earlier, None));
                }
                Held::First(claim) => held = Some((claim, false)),
                Held::Again(claim) => {
                    accepted = remembered(claim.promise())?;
                    held = Some((claim, true));
                }
            }
        }
        let recorded = call.record(&self.recorded(call, &accepted));
        if let Some((claim, again)) = held {
            settle(call, claim, again, recorded.is_ok()).await;
        }
        let receipt = recorded?;
        let published = if self.wait {
            Some(receipt.published(BUS_PATIENCE).await)
        } else {
            None
        };
        Ok(self.answer(accepted, published))
    }

    fn report(answer: &EventsSendAnswer) -> Report {
        let count = match answer {
            EventsSendAnswer::Many { events, .. } => events.len(),
            EventsSendAnswer::One { .. } => 1,
        };
        Report {
            bytes: None,
            facts: vec![("events", count.into())],
        }
    }
}

/// What a call with an idempotency key is to do.
enum Held<'call> {
    /// Nothing: an earlier one has recorded these.
    Answered(Vec<Accepted>),
    /// To record what it has promised.
    First(Claim<'call>),
    /// To record what an earlier call promised that was broken off. Recorded again under the same ids it
    /// is at worst delivered twice, which is what is promised.
    Again(Claim<'call>),
}

fn remembered(result: &str) -> Result<Vec<Accepted>, Error> {
    serde_json::from_str(result)
        .map_err(|error| Error::internal("a remembered answer is unreadable").caused_by(error))
}

/// Settles the key of a call whose events are recorded, or not.
async fn settle<'call>(
    call: &Granted<'call, EventsSend>,
    claim: Claim<'call>,
    again: bool,
    is_recorded: bool,
) {
    let idempotency = call.idempotency();
    let settled = match (is_recorded, again) {
        (true, _) => {
            let result = claim.promise().to_owned();
            idempotency.finish(claim, &result).await.map(drop)
        }
        (false, false) => idempotency.release(claim).await,
        (false, true) => idempotency.abandon(claim).await,
    };
    if let Err(error) = settled {
        tracing::warn!(%error, is_recorded, "an idempotency key is not settled");
    }
}

impl EventsSend {
    /// Takes the call's idempotency key, or finds what an earlier call under it has recorded.
    async fn hold<'call>(
        &self,
        call: &Granted<'call, Self>,
        key: &str,
        accepted: &[Accepted],
    ) -> Result<Held<'call>, Error> {
        let idempotency = call.idempotency();
        let arguments = idempotency::arguments_hash(&self.fingerprint());
        let promise = serde_json::to_string(accepted)
            .map_err(|error| Error::internal("an answer is no JSON").caused_by(error))?;
        // Whoever is slower to take over an abandoned key looks again, once for each that was faster.
        for _ in 0..TAKE_OVERS_MAX {
            let begun = idempotency
                .begin(key, &arguments, &promise, idempotency::PATIENCE)
                .await?;
            match begun {
                Begun::First(claim) => return Ok(Held::First(claim)),
                Begun::Done { result } => return Ok(Held::Answered(remembered(&result)?)),
                Begun::Running => break,
                Begun::OtherArguments => return Err(idempotency::other_arguments()),
                Begun::Abandoned(abandoned) => {
                    if let Some(claim) = idempotency.take_over(&abandoned).await? {
                        return Ok(Held::Again(claim));
                    }
                }
            }
        }
        Err(idempotency::still_running())
    }

    /// What makes a call the same call again: its events, however their members are ordered, and nothing
    /// of how the answer is wanted.
    fn fingerprint(&self) -> String {
        let event = |event: &NewEvent| {
            let NewEvent {
                detail_type,
                detail,
                source,
                priority,
                tags,
            } = event;
            format!(
                "{detail_type:?}{:?}{source:?}{priority:?}{tags:?}",
                detail.get()
            )
        };
        self.events.iter().map(event).collect()
    }

    fn recorded(&self, call: &Granted<'_, Self>, accepted: &[Accepted]) -> Vec<Event> {
        let recorded = |(sent, accepted): (&NewEvent, &Accepted)| {
            let mut event = call.event(
                accepted.event_id,
                sent.detail_type.clone(),
                sent.detail.clone(),
            );
            event.time = accepted.accepted_at;
            event.outcome = Outcome::Ok;
            event.bytes = Some(sent.detail.get().len() as u64);
            event.source.clone_from(&sent.source);
            event.priority = sent.priority;
            event.tags.clone_from(&sent.tags);
            event
        };
        self.events.iter().zip(accepted).map(recorded).collect()
    }

    fn answer(&self, accepted: Vec<Accepted>, published: Option<bool>) -> EventsSendAnswer {
        match (self.as_list, accepted) {
            (false, accepted) if accepted.len() == 1 => EventsSendAnswer::One {
                event: accepted[0].clone(),
                published,
            },
            (_, events) => EventsSendAnswer::Many { events, published },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_name_is_refused_and_a_like_one_is_not() {
        for reserved in ["KV.Set", "KV.", "Mesh.X", "Workflow.Succeeded"] {
            assert!(
                check_detail_type("detail_type", reserved).is_err(),
                "{reserved}"
            );
        }
        for free in ["KVX.Set", "kv.Set", "Order.Failed", "Meshed"] {
            assert!(check_detail_type("detail_type", free).is_ok(), "{free}");
        }
    }
}
