//! JSON-RPC as it is written to a server and read from one: only the envelope is looked into, the rest stays text.

use std::fmt::Write as _;

use serde::Deserialize;
use serde::de::{Deserializer as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The most messages of one batch, which servers of 2025-03-26 may send.
pub(super) const BATCH_MAX: usize = 256;

/// The code of an error that has none, or none that is a number.
const NO_CODE: i64 = -32603;

/// An error of the protocol.
#[derive(Debug)]
pub(super) struct Refusal {
    /// Its code.
    pub(super) code: i64,
    /// Its message.
    pub(super) message: String,
    /// Its data.
    pub(super) data: Option<Box<RawValue>>,
}

/// What one message says, its text borrowed.
#[derive(Debug)]
pub(super) enum Message<'a> {
    /// The result of a request of ours: the text of an object.
    Result { id: i64, result: &'a RawValue },
    /// A request of ours was refused; a server that could not read its id names none.
    Refused { id: Option<i64>, refusal: Refusal },
    /// The server asks something.
    Request {
        id: &'a RawValue,
        method: String,
        params: Option<&'a RawValue>,
    },
    /// The server tells something.
    Notification {
        method: String,
        params: Option<&'a RawValue>,
    },
    /// None of these; with the id of the request that it can only have been meant for.
    Garbage { id: Option<i64> },
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(default)]
    method: Option<String>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ErrorObject<'a> {
    #[serde(borrow, default)]
    code: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

/// Takes each message of `text`: one, or those of a batch.
pub(super) fn each<'a>(text: &'a str, take: &mut dyn FnMut(Message<'a>)) {
    if !text.trim_start().starts_with('[') {
        take(decode(text));
        return;
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = deserializer.deserialize_seq(Batch { take });
    if read.and_then(|()| deserializer.end()).is_err() {
        take(Message::Garbage { id: None });
    }
}

struct Batch<'t, 'a> {
    take: &'t mut dyn FnMut(Message<'a>),
}

impl<'de> Visitor<'de> for Batch<'_, 'de> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a batch of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        let mut count = 0;
        while let Some(message) = sequence.next_element::<&RawValue>()? {
            if count == BATCH_MAX {
                return Err(serde::de::Error::custom("too many messages"));
            }
            count += 1;
            (self.take)(decode(message.get()));
        }
        Ok(())
    }
}

/// The elements of an array, of which there may be at most `max`.
pub(super) fn elements(array: &RawValue, max: usize) -> Option<Vec<&RawValue>> {
    let mut deserializer = serde_json::Deserializer::from_str(array.get());
    deserializer.deserialize_seq(Elements { max }).ok()
}

struct Elements {
    max: usize,
}

impl<'de> Visitor<'de> for Elements {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "at most {} elements", self.max)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = sequence.next_element()? {
            if elements.len() == self.max {
                return Err(serde::de::Error::invalid_length(self.max + 1, &self));
            }
            elements.push(element);
        }
        Ok(elements)
    }
}

fn decode(text: &str) -> Message<'_> {
    let Ok(envelope) = serde_json::from_str::<Envelope<'_>>(text) else {
        return Message::Garbage { id: None };
    };
    let Envelope {
        id,
        method,
        params,
        result,
        error,
    } = envelope;
    let ours = id.and_then(own_id);
    match (method, id, result, error) {
        (Some(method), Some(id), None, None) => Message::Request { id, method, params },
        (Some(method), None, None, None) => Message::Notification { method, params },
        (None, _, _, Some(error)) => Message::Refused {
            id: ours,
            refusal: refusal(error),
        },
        (None, Some(_), Some(result), None) if result.get().starts_with('{') => match ours {
            Some(id) => Message::Result { id, result },
            None => Message::Garbage { id: None },
        },
        _ => Message::Garbage { id: ours },
    }
}

/// The id of a request of ours: a whole number, which some servers give back as text.
pub(super) fn own_id(id: &RawValue) -> Option<i64> {
    let text = id.get();
    let digits = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    digits.unwrap_or(text).parse().ok()
}

fn refusal(error: &RawValue) -> Refusal {
    let Ok(object) = serde_json::from_str::<ErrorObject<'_>>(error.get()) else {
        return Refusal {
            code: NO_CODE,
            message: plain(error),
            data: None,
        };
    };
    let code = object.code.and_then(|code| code.get().parse().ok());
    Refusal {
        code: code.unwrap_or(NO_CODE),
        message: object.message.map(plain).unwrap_or_default(),
        data: object.data.map(ToOwned::to_owned),
    }
}

/// The text of a JSON string; of anything else, and of one with half a surrogate, as it is written.
fn plain(value: &RawValue) -> String {
    serde_json::from_str(value.get()).unwrap_or_else(|_| value.get().to_owned())
}

/// A request as it is sent. `params` is the text of an object.
pub(super) fn request(id: i64, method: &str, params: &str) -> String {
    one_line(format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#
    ))
}

/// A notification as it is sent. `params` is the text of an object.
pub(super) fn notification(method: &str, params: &str) -> String {
    one_line(format!(
        r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#
    ))
}

/// An answer to a request of the server's, whose id goes back as it came.
pub(super) fn answer(id: &RawValue, result: &str) -> String {
    one_line(format!(
        r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#,
        id.get()
    ))
}

/// A refusal of a request of the server's.
pub(super) fn refuse(id: &RawValue, code: i64, message: &str) -> String {
    one_line(format!(
        r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":{code},"message":{}}}}}"#,
        id.get(),
        quoted(message)
    ))
}

/// `text` as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The members of `params`, written one after the other.
#[derive(Debug)]
pub(super) struct Object(String);

impl Object {
    /// Without members.
    pub(super) fn new() -> Self {
        Self(String::from("{"))
    }

    /// One member more; `value` is JSON text.
    pub(super) fn member(mut self, name: &str, value: &str) -> Self {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        // Writing into a text cannot fail.
        let _ = write!(self.0, "{}:{value}", quoted(name));
        self
    }

    /// The members of `more`, the text of an object, but those of `taken`. What is no object adds none.
    pub(super) fn members(self, more: &RawValue, taken: &[&str]) -> Self {
        let more: Option<indexed::Members<'_>> = serde_json::from_str(more.get()).ok();
        let more = more.map(|members| members.0).unwrap_or_default();
        more.into_iter()
            .filter(|(name, _)| !taken.contains(&name.as_str()))
            .fold(self, |object, (name, value)| {
                object.member(&name, value.get())
            })
    }

    /// The text.
    pub(super) fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// JSON text has line breaks only between its tokens, where a space says the same.
fn one_line(text: String) -> String {
    match text.contains(['\n', '\r']) {
        true => text.replace(['\n', '\r'], " "),
        false => text,
    }
}

/// Decodes `text` into `T`, where it is that.
pub(super) fn read<'a, T: Deserialize<'a>>(text: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(text?.get()).ok()
}

mod indexed {
    //! The members of an object, in order.

    use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
    use serde_json::value::RawValue;

    /// The members, their values borrowed.
    pub(super) struct Members<'a>(pub(super) Vec<(String, &'a RawValue)>);

    impl<'de> Deserialize<'de> for Members<'de> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_map(Collect)
        }
    }

    struct Collect;

    impl<'de> Visitor<'de> for Collect {
        type Value = Members<'de>;

        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = map.next_entry()? {
                members.push(member);
            }
            Ok(Members(members))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    fn shown(text: &str) -> Vec<String> {
        let mut seen = Vec::new();
        each(text, &mut |message| {
            seen.push(match message {
                Message::Result { id, result } => format!("result {id} {}", result.get()),
                Message::Refused { id, refusal } => {
                    format!("refused {id:?} {} {}", refusal.code, refusal.message)
                }
                Message::Request { id, method, .. } => format!("request {} {method}", id.get()),
                Message::Notification { method, .. } => format!("notification {method}"),
                Message::Garbage { id } => format!("garbage {id:?}"),
            });
        });
        seen
    }

    #[test]
    fn a_result_keeps_its_text_to_the_last_blank_and_surrogate() {
        let text = r#"{"result": {"a" : 1.50, "b":"\ud800", "a": 2} ,"error":null,"id":"7"}"#;
        assert_eq!(
            shown(text),
            [r#"result 7 {"a" : 1.50, "b":"\ud800", "a": 2}"#]
        );
    }

    #[test]
    fn what_a_message_is_can_be_told_from_its_envelope() {
        for (text, expected) in [
            (r#"{"id":1,"result":{}}"#, "result 1 {}"),
            (
                r#"{"id":1,"error":{"code":-32601,"message":"no"}}"#,
                "refused Some(1) -32601 no",
            ),
            (
                r#"{"id":null,"error":{"code":"x","message":5}}"#,
                "refused None -32603 5",
            ),
            (r#"{"id":2,"error":"bad"}"#, "refused Some(2) -32603 bad"),
            (
                r#"{"id":3,"error":{"code":1,"message":"\udc00"}}"#,
                r#"refused Some(3) 1 "\udc00""#,
            ),
            (r#"{"id":"a","method":"ping"}"#, r#"request "a" ping"#),
            (
                r#"{"method":"notifications/x"}"#,
                "notification notifications/x",
            ),
            (r#"{"id":4}"#, "garbage Some(4)"),
            (r#"{"id":4,"result":[1]}"#, "garbage Some(4)"),
            (r#"{"id":4,"result":null}"#, "garbage Some(4)"),
            (r#"{"id":4,"method":"x","result":{}}"#, "garbage Some(4)"),
            (r#"{"id":1.5,"result":{}}"#, "garbage None"),
            ("Listening on port 3000", "garbage None"),
            ("", "garbage None"),
            ("7", "garbage None"),
            (r#"{"id":1,"result":{}"#, "garbage None"),
        ] {
            assert_eq!(shown(text), [expected], "{text}");
        }
    }

    #[test]
    fn a_batch_is_taken_apart_up_to_its_bound() {
        let text = r#" [{"id":1,"result":{}},{"method":"m"}]"#;
        assert_eq!(shown(text), ["result 1 {}", "notification m"]);
        let of = |count: usize| format!("[{}]", vec![r#"{"method":"m"}"#; count].join(","));
        assert_eq!(shown(&of(BATCH_MAX)), vec!["notification m"; BATCH_MAX]);
        let over = shown(&of(BATCH_MAX + 1));
        assert_eq!(over.len(), BATCH_MAX + 1);
        assert_eq!(over.last().unwrap(), "garbage None");
        assert_eq!(shown(&"[".repeat(100_000)), ["garbage None"]);
    }

    #[test]
    fn what_is_sent_is_one_line_and_cannot_be_overwritten_by_what_it_carries() {
        let params = Object::new()
            .member("name", &quoted("a\"b\n"))
            .members(
                &raw(r#"{"name":"other","requestState":"s"}"#),
                &["name", "_meta"],
            )
            .member("arguments", "{\r\n \"x\" : 1}")
            .end();
        let text = request(5, "tools/call", &params);
        assert!(!text.contains(['\n', '\r']), "{text}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            value["params"],
            serde_json::json!({"name": "a\"b\n", "requestState": "s", "arguments": {"x": 1}})
        );
        assert_eq!(
            refuse(&raw("\"i\""), -1, "no"),
            r#"{"jsonrpc":"2.0","id":"i","error":{"code":-1,"message":"no"}}"#
        );
    }

    #[test]
    fn deep_nesting_in_a_result_is_carried_and_not_followed() {
        let deep = format!("{{\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        let text = format!(r#"{{"id":1,"result":{deep}}}"#);
        assert_eq!(shown(&text).len(), 1);
        assert!(shown(&text)[0].starts_with("result 1"));
    }
}
