//! The history of an execution: what is written down of each step, in Step Functions' words.

use serde_json::{Map, Value, json};

use crate::mesh::Timestamp;

/// The most events of one execution, as AWS has it: one that would have more fails.
pub(super) const EVENTS_MAX: i64 = 25_000;

/// The most bytes of an input or output that are kept with an event; what is longer is left out of it. The
/// execution's own input and output are kept whole.
const PAYLOAD_BYTES_MAX: usize = 16 << 10;

/// From this event on payloads are left out altogether, so that one execution cannot fill the disk.
const PAYLOAD_EVENTS_MAX: i64 = 5_000;

/// One event, as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Event {
    /// Its number within the execution, from 1.
    pub(super) id: i64,
    /// When it happened.
    pub(super) time: Timestamp,
    /// What happened, such as `TaskStateEntered`.
    pub(super) kind: String,
    /// The event before it in the same branch, 0 where there is none.
    pub(super) previous: i64,
    /// The name of the member with the details, and the details; none for kinds that have none.
    pub(super) details: Option<(String, Value)>,
}

/// What an event says, before it has a number and a time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Said {
    kind: String,
    details: Option<(&'static str, Map<String, Value>)>,
}

impl Said {
    /// An event without details.
    pub(super) fn plain(kind: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            details: None,
        }
    }

    /// An event with details under the member `details`.
    pub(super) fn with(kind: impl Into<String>, details: &'static str) -> Self {
        Self {
            kind: kind.into(),
            details: Some((details, Map::new())),
        }
    }

    /// Adds a member to the details.
    #[must_use]
    pub(super) fn member(mut self, name: &str, value: impl Into<Value>) -> Self {
        if let Some((_, details)) = &mut self.details {
            details.insert(name.to_owned(), value.into());
        }
        self
    }

    /// Adds a payload (`input`, `output`, `parameters`) as JSON text.
    #[must_use]
    pub(super) fn payload(self, name: &str, value: &Value) -> Self {
        self.member(name, value.to_string())
    }

    /// Adds the name of an error and what is said of it.
    #[must_use]
    pub(super) fn error(self, error: &str, cause: &str) -> Self {
        self.member("error", error).member("cause", cause)
    }

    /// The event, once it has a number and a time.
    pub(super) fn event(self, id: i64, time: Timestamp, previous: i64) -> Event {
        let details = self.details.map(|(name, mut details)| {
            for payload in ["input", "output", "parameters"] {
                cut(&mut details, payload, id);
            }
            (name.to_owned(), Value::Object(details))
        });
        Event {
            id,
            time,
            kind: self.kind,
            previous,
            details,
        }
    }
}

fn cut(details: &mut Map<String, Value>, payload: &str, id: i64) {
    let long = |text: &str| text.len() > PAYLOAD_BYTES_MAX || id > PAYLOAD_EVENTS_MAX;
    if details
        .get(payload)
        .and_then(Value::as_str)
        .is_some_and(long)
    {
        details.remove(payload);
        if payload != "parameters" {
            details.insert(format!("{payload}Details"), json!({"truncated": true}));
        }
    }
}

impl Event {
    /// The event as GetExecutionHistory answers it.
    pub(super) fn answer(&self, with_data: bool) -> Value {
        let mut answer = json!({
            "id": self.id,
            "previousEventId": self.previous,
            "timestamp": seconds(self.time),
            "type": self.kind,
        });
        if let (Some((name, details)), Some(answer)) = (&self.details, answer.as_object_mut()) {
            let mut details = details.clone();
            if let (false, Some(details)) = (with_data, details.as_object_mut()) {
                for payload in ["input", "output", "parameters"] {
                    details.remove(payload);
                }
            }
            answer.insert(name.clone(), details);
        }
        answer
    }
}

/// A time as the JSON protocols of AWS have it: seconds since 1970 with a fraction.
pub(super) fn seconds(time: Timestamp) -> f64 {
    time.as_millis() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entered(input: &Value, id: i64) -> Value {
        Said::with("PassStateEntered", "stateEnteredEventDetails")
            .member("name", "A")
            .payload("input", input)
            .event(id, Timestamp::from_millis(1500), id - 1)
            .answer(true)
    }

    #[test]
    fn an_event_is_answered_in_step_functions_words() {
        let expected = json!({
            "id": 2,
            "previousEventId": 1,
            "timestamp": 1.5,
            "type": "PassStateEntered",
            "stateEnteredEventDetails": {"name": "A", "input": "{\"a\":1}"},
        });
        assert_eq!(entered(&json!({"a": 1}), 2), expected);
    }

    #[test]
    fn a_payload_is_kept_up_to_its_limit_and_left_out_beyond() {
        let kept = |text: usize, id: i64| {
            let answer = entered(&json!("x".repeat(text)), id);
            let details = &answer["stateEnteredEventDetails"];
            let cut = details["inputDetails"]["truncated"] == true;
            assert_ne!(details["input"].is_string(), cut);
            !cut
        };
        // Quotation marks count.
        assert!(kept(PAYLOAD_BYTES_MAX - 2, 2));
        assert!(!kept(PAYLOAD_BYTES_MAX - 1, 2));
        assert!(kept(1, PAYLOAD_EVENTS_MAX));
        assert!(!kept(1, PAYLOAD_EVENTS_MAX + 1));
    }

    #[test]
    fn data_is_left_out_where_it_is_not_wanted() {
        let event = Said::with("ExecutionFailed", "executionFailedEventDetails")
            .error("A", "b")
            .payload("input", &json!(1))
            .event(3, Timestamp::from_millis(0), 2);
        let answer = event.answer(false);
        assert_eq!(
            answer["executionFailedEventDetails"],
            json!({"error": "A", "cause": "b"})
        );
    }
}
