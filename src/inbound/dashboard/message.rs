//! What a dashboard says and is answered, as JSON text.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use ulid::Ulid;

use crate::inbound::error::tool_error;
use crate::mesh::Error;
use crate::mesh::tenant::IdentityError;

/// The longest id of a message that is repeated in its answer, in bytes of JSON.
const ID_BYTES_MAX: usize = 128;

/// A message of a client. Members that its type does not have are left aside.
#[derive(Debug, Deserialize)]
pub(super) struct Message<'text> {
    #[serde(borrow)]
    id: &'text RawValue,
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'text, str>,
    /// `mcp_call`: the tool.
    #[serde(default, borrow)]
    pub(super) tool: Option<Cow<'text, str>>,
    /// `mcp_call`: its arguments.
    #[serde(default, borrow)]
    pub(super) arguments: Option<&'text RawValue>,
    /// `subscribe_events`: which events.
    #[serde(default, borrow)]
    pub(super) filter: Option<&'text RawValue>,
    /// `unsubscribe_events`: which subscription; all where there is none.
    #[serde(default, borrow)]
    pub(super) subscription: Option<Cow<'text, str>>,
    /// `context_switch`: the tenant that is wanted.
    #[serde(default, borrow)]
    pub(super) tenant: Option<Cow<'text, str>>,
    /// `context_switch`: the organization that is wanted.
    #[serde(default, borrow)]
    pub(super) org_id: Option<Cow<'text, str>>,
}

/// Why a message is answered with an error.
#[derive(Debug)]
pub(super) struct Fault(Value);

/// What a message is answered with: the members of the answer besides `id` and `type`, the text of a JSON object
/// without its braces.
pub(super) type Members = String;

impl<'text> Message<'text> {
    /// Reads a message.
    pub(super) fn read(bytes: &'text [u8]) -> Result<Self, Fault> {
        let message: Self = serde_json::from_slice(bytes)
            .map_err(|error| Fault::invalid(&format!("the message cannot be read: {error}")))?;
        let id = message.id.get();
        let is_one = id.starts_with('"') || id.starts_with('-') || is_digit(id.as_bytes().first());
        match is_one && id.len() <= ID_BYTES_MAX {
            true => Ok(message),
            false => Err(Fault::invalid(&format!(
                "the id is a text or a number of at most {ID_BYTES_MAX} bytes"
            ))),
        }
    }

    /// The answer to it.
    pub(super) fn answer(&self, outcome: Result<Members, Fault>) -> String {
        answered(Some(self.id), &self.kind, outcome)
    }
}

fn is_digit(byte: Option<&u8>) -> bool {
    byte.is_some_and(u8::is_ascii_digit)
}

/// An answer to the message `id` of type `kind`.
pub(super) fn answered(
    id: Option<&RawValue>,
    kind: &str,
    outcome: Result<Members, Fault>,
) -> String {
    let id = id.map_or(String::new(), |id| format!("\"id\":{},", id.get()));
    let mut text = match outcome {
        Ok(members) => {
            let kind = Value::from(format!("{kind}_result"));
            let comma = if members.is_empty() { "" } else { "," };
            format!("{{{id}\"type\":{kind}{comma}{members}}}")
        }
        Err(Fault(error)) => format!("{{{id}\"type\":\"error\",\"error\":{error}}}"),
    };
    // Line breaks between the tokens of JSON that is passed on would be ends of messages.
    if text.contains(['\n', '\r']) {
        text = text.replace(['\n', '\r'], " ");
    }
    text
}

impl Fault {
    fn new(code: &str, message: &str, fix: &str) -> Self {
        Self(json!({ "code": code, "message": message, "fix": fix, "retryable": false }))
    }

    /// It is no message.
    pub(super) fn invalid(message: &str) -> Self {
        Self::new(
            "INVALID_MESSAGE",
            message,
            "Send one JSON object with an `id` and a `type`.",
        )
    }

    /// A member is missing or wrong.
    pub(super) fn parameter(name: &str, message: &str) -> Self {
        let mut fault = Self::new("INVALID_PARAMETER", message, "See API.md, Dashboard.");
        fault.0["details"] = json!({ "parameter": name });
        fault
    }

    /// There is no such type of message.
    pub(super) fn unknown_type() -> Self {
        Self::new(
            "UNKNOWN_TYPE",
            "there is no message of this type",
            "The types are health_check, server_info, list_tools, mcp_call, subscribe_events, \
             unsubscribe_events, request_metrics and context_switch.",
        )
    }

    /// There is no such thing.
    pub(super) fn not_found(message: &str, fix: &str) -> Self {
        Self::new("NOT_FOUND", message, fix)
    }

    /// The operator does not offer what it takes.
    pub(super) fn not_offered() -> Self {
        Self::new(
            "NOT_SUPPORTED",
            "this server does not offer that",
            "The operator chooses what is offered with AGENT_MESH_TOOLSETS and AGENT_MESH_READ_ONLY.",
        )
    }

    /// The token does not allow it.
    pub(super) fn not_allowed(message: &str, fix: &str) -> Self {
        Self::new("PERMISSION_DENIED", message, fix)
    }

    /// There is too much of it.
    pub(super) fn quota(message: &str, fix: &str) -> Self {
        Self::new("QUOTA_EXCEEDED", message, fix)
    }

    /// The server takes no more.
    pub(super) fn shutting_down() -> Self {
        let mut fault = Self::new(
            "SHUTTING_DOWN",
            "the server is shutting down",
            "Connect again; another server may answer.",
        );
        fault.0["retryable"] = Value::Bool(true);
        fault
    }

    /// The caller is nobody.
    pub(super) fn identity(error: IdentityError) -> Self {
        let code = match error {
            IdentityError::Suspended => "TENANT_SUSPENDED",
            IdentityError::KeysUnavailable => "UNAVAILABLE",
            _ => "UNAUTHENTICATED",
        };
        let mut fault = Self::new(code, &error.to_string(), error.fix());
        fault.0["retryable"] = Value::Bool(matches!(error, IdentityError::KeysUnavailable));
        fault
    }

    /// A call failed.
    pub(super) fn failed(error: &Error, request_id: Ulid) -> Self {
        let mut body = tool_error(error, request_id);
        Self(body["error"].take())
    }

    /// A tool failed, whose result this is.
    pub(super) fn of_result(result: &str) -> Self {
        let body: Value = serde_json::from_str(result).unwrap_or_default();
        match body.get("error") {
            Some(error) => Self(error.clone()),
            None => Self::new("INTERNAL", "the tool failed", "Try again."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_an_id_that_its_answer_repeats_to_the_letter() {
        for id in ["1", "-7", "\"a\"", "1.50", "18446744073709551616"] {
            let text = format!(r#"{{"type":"ping","id":{id},"more":[1]}}"#);
            let message = Message::read(text.as_bytes()).unwrap();
            let answer = message.answer(Ok("\"a\":1".to_owned()));
            let expected = format!(r#"{{"id":{id},"type":"ping_result","a":1}}"#);
            assert_eq!(answer, expected);
        }
        let long = format!("\"{}\"", "x".repeat(ID_BYTES_MAX - 2));
        let with = |id: &str| format!(r#"{{"id":{id},"type":"x"}}"#);
        assert!(Message::read(with(&long).as_bytes()).is_ok());
        let longer = format!("\"{}\"", "x".repeat(ID_BYTES_MAX - 1));
        for id in [longer.as_str(), "null", "true", "{}", "[]"] {
            assert!(Message::read(with(id).as_bytes()).is_err(), "{id}");
        }
        for text in ["", "[]", "{}", r#"{"id":1}"#, r#"{"type":"x"}"#, "\u{7f}"] {
            assert!(Message::read(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn an_answer_is_one_line() {
        let message = Message::read(br#"{"id":1,"type":"x"}"#).unwrap();
        let answer = message.answer(Ok("\"a\":{\n}".to_owned()));
        assert!(!answer.contains('\n'));
    }
}
