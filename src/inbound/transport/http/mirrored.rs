//! Arguments that a tool has its callers repeat in headers (`x-mcp-header`), held against the message.

use http::HeaderMap;
use rmcp::model::ClientRequest;
use serde_json::Value;

use super::super::RawArguments;
use super::super::message::Incoming;
use super::revision::{decoded, one};

/// What the names of such headers begin with.
const PREFIX: &str = "mcp-param-";

/// An argument that is repeated in a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirrored {
    /// The header's name after `Mcp-Param-`.
    pub header: String,
    /// The members that lead from the arguments to the value.
    pub path: Vec<String>,
}

/// The name of the tool that `incoming` calls, where it calls one.
pub(super) fn tool(incoming: &Incoming) -> Option<&str> {
    match &incoming.request {
        ClientRequest::CallToolRequest(request) => Some(&request.params.name),
        _ => None,
    }
}

/// Whether the headers say of `mirrored` what the call's arguments say.
pub(super) fn agree(
    headers: &HeaderMap,
    incoming: &Incoming,
    mirrored: &[Mirrored],
) -> Result<(), String> {
    if mirrored.is_empty() {
        return Ok(());
    }
    let arguments = arguments(incoming);
    for Mirrored { header, path } in mirrored {
        let name = format!("{PREFIX}{}", header.to_ascii_lowercase());
        let said = one(headers, &name)?;
        let said = said.map(|text| decoded(&name, text)).transpose()?;
        let value = path
            .iter()
            .try_fold(&arguments, |value, key| value.get(key));
        let meant = value.and_then(text);
        match (said, meant) {
            (None, None) => {}
            (Some(said), Some(meant)) if said == meant => {}
            (None, Some(_)) => return Err(format!("the header {name} is missing")),
            (Some(_), _) => {
                return Err(format!(
                    "the header {name} says something else than the arguments"
                ));
            }
        }
    }
    Ok(())
}

/// The arguments as JSON; nothing where they are none, which whoever is called says.
fn arguments(incoming: &Incoming) -> Value {
    let ClientRequest::CallToolRequest(request) = &incoming.request else {
        return Value::Null;
    };
    let raw = request.extensions.get::<RawArguments>();
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_default()
}

/// A value as a header has it, where it can be in one.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use serde_json::json;

    use super::super::super::message::{self, Message};
    use super::*;

    fn checked(arguments: &Value, headers: &[(&str, &str)]) -> Result<(), String> {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {"name": "find", "arguments": arguments}});
        let Some(Message::Request(incoming)) = message::decode(message.to_string().into(), 1)
        else {
            panic!("a request");
        };
        assert_eq!(tool(&incoming), Some("find"));
        let pairs = headers.iter();
        let pairs = pairs.map(|(name, value)| {
            let name: HeaderName = name.parse().unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        });
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(name, value);
        }
        let mirrored = [
            Mirrored {
                header: "Region".to_owned(),
                path: vec!["region".to_owned()],
            },
            Mirrored {
                header: "Count".to_owned(),
                path: vec!["deep".to_owned(), "count".to_owned()],
            },
        ];
        agree(&map, &incoming, &mirrored)
    }

    #[test]
    fn headers_repeat_what_the_arguments_say() {
        for (arguments, headers) in [
            (json!({}), vec![]),
            (json!({"region": null, "deep": {}}), vec![]),
            (json!({"region": "eu"}), vec![("mcp-param-region", "eu")]),
            (
                json!({"region": "é", "deep": {"count": 7}}),
                vec![
                    ("mcp-param-region", "=?base64?w6k=?="),
                    ("mcp-param-count", "7"),
                ],
            ),
            (
                json!({"region": "=?base64?x"}),
                vec![("mcp-param-region", "=?base64?x")],
            ),
        ] {
            assert_eq!(checked(&arguments, &headers), Ok(()), "{arguments}");
        }
    }

    #[test]
    fn headers_that_say_something_else_are_refused() {
        let eu = json!({"region": "eu"});
        for (arguments, headers) in [
            (&eu, vec![]),
            (&eu, vec![("mcp-param-region", "EU")]),
            (
                &eu,
                vec![("mcp-param-region", "eu"), ("mcp-param-region", "eu")],
            ),
            (&eu, vec![("mcp-param-region", "=?base64?!!?=")]),
            (
                &eu,
                vec![("mcp-param-region", "eu"), ("mcp-param-count", "1")],
            ),
            (&json!({"region": []}), vec![("mcp-param-region", "[]")]),
        ] {
            assert!(checked(arguments, &headers).is_err(), "{headers:?}");
        }
    }
}
