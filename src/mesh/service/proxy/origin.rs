//! Where a result came from, written into the text of the result without touching anything else in it.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::ops::Range;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

pub use crate::mesh::integration::direct::ORIGIN;

/// Where a result came from.
#[derive(Clone, Debug, Serialize)]
pub struct Origin<'a> {
    /// The integration.
    pub service_id: &'a str,
    /// Its tool.
    pub tool: &'a str,
    /// Which of the caller's connections.
    pub connection_id: &'a str,
    /// Who the server says it is.
    pub server: &'a str,
    /// Whether this is the answer to an earlier call under the same idempotency key.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub remembered: bool,
    /// Whether the call was made again after the connection broke.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,
}

/// What is looked at in a result: some of its members, and where they stand in its text.
#[derive(Clone, Debug, Default)]
pub struct ResultShape {
    meta: Option<Range<usize>>,
    result_type: Option<String>,
    is_error: bool,
    is_empty: bool,
}

impl ResultShape {
    /// The shape of a result; nothing where the text is no JSON object.
    pub fn of(result: &RawValue) -> Option<Self> {
        let text = result.get();
        let members: Looked<'_> = serde_json::from_str(text).ok()?;
        // The borrowed text lies within the result's, so its place is the distance of the two.
        let place = |part: &RawValue| {
            let start = part.get().as_ptr().addr() - text.as_ptr().addr();
            start..start + part.get().len()
        };
        Some(Self {
            meta: members.meta.map(place),
            result_type: members
                .result_type
                .and_then(|told| serde_json::from_str(told.get()).ok()),
            is_error: members.is_error.is_some_and(|told| told.get() == "true"),
            is_empty: members.is_empty,
        })
    }

    /// Whether the tool says that it failed.
    pub fn is_error(&self) -> bool {
        self.is_error
    }

    /// Whether the server needs input first; in what words it says so.
    pub fn asks_for_input(&self) -> Option<&str> {
        let told = self.result_type.as_deref();
        told.filter(|&told| told == "input_required")
    }

    /// The text of the result that this is the shape of, with `origin` in its `_meta`, and with a
    /// `resultType` where one is wanted and missing. Every other member stays as it was, to the last
    /// character.
    pub fn marked(&self, result: &RawValue, origin: &Origin<'_>, complete: bool) -> String {
        let text = result.get();
        let mark = serde_json::to_string(origin).unwrap_or_default();
        let (head, meta, tail) = match &self.meta {
            Some(place) => (
                &text[..place.start],
                Some(&text[place.clone()]),
                &text[place.end..],
            ),
            None => (text[..text.len() - 1].trim_end(), None, "}"),
        };
        let mut marked = String::with_capacity(text.len() + mark.len() + 96);
        marked.push_str(head);
        match meta {
            Some(meta) => push_meta(&mut marked, meta, &mark),
            None => {
                let comma = if self.is_empty { "" } else { "," };
                let _ = write!(marked, "{comma}\"_meta\":{{\"{ORIGIN}\":{mark}}}");
            }
        }
        if complete && self.result_type.is_none() {
            marked.push_str(tail.trim_end().strip_suffix('}').unwrap_or_default());
            marked.push_str(",\"resultType\":\"complete\"}");
        } else {
            marked.push_str(tail);
        }
        marked
    }
}

/// Appends an upstream's own `_meta` with our mark in it. What an upstream itself wrote under our name is
/// replaced, and a `_meta` that is no object is too.
fn push_meta(marked: &mut String, meta: &str, mark: &str) {
    let names: Option<Names> = serde_json::from_str(meta).ok();
    match names {
        Some(names) if !names.is_forged => {
            marked.push_str(meta[..meta.len() - 1].trim_end());
            let comma = if names.is_empty { "" } else { "," };
            let _ = write!(marked, "{comma}\"{ORIGIN}\":{mark}}}");
        }
        _ => {
            let mut kept: Map<String, Value> = serde_json::from_str(meta).unwrap_or_default();
            let mark = serde_json::from_str(mark).unwrap_or_default();
            kept.insert(ORIGIN.to_owned(), mark);
            marked.push_str(&Value::Object(kept).to_string());
        }
    }
}

/// Some members of a result, as text. The last of several with one name counts, as everywhere.
#[derive(Default)]
struct Looked<'a> {
    meta: Option<&'a RawValue>,
    result_type: Option<&'a RawValue>,
    is_error: Option<&'a RawValue>,
    is_empty: bool,
}

/// Whether an object has members, and whether one of them has our name.
struct Names {
    is_empty: bool,
    is_forged: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for Looked<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Looked<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut looked = Looked {
                    is_empty: true,
                    ..Looked::default()
                };
                while let Some(name) = map.next_key::<Cow<'de, str>>()? {
                    looked.is_empty = false;
                    let place = match &*name {
                        "_meta" => &mut looked.meta,
                        "resultType" => &mut looked.result_type,
                        "isError" => &mut looked.is_error,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    *place = Some(map.next_value()?);
                }
                Ok(looked)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Names;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut names = Names {
                    is_empty: true,
                    is_forged: false,
                };
                while let Some((name, IgnoredAny)) = map.next_entry::<Cow<'de, str>, _>()? {
                    names.is_empty = false;
                    names.is_forged |= name == ORIGIN;
                }
                Ok(names)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn marked(text: &str, complete: bool) -> String {
        let result = RawValue::from_string(text.to_owned()).unwrap();
        let origin = Origin {
            service_id: "files",
            tool: "read",
            connection_id: "default",
            server: "fs",
            remembered: false,
            repeated: false,
        };
        ResultShape::of(&result)
            .unwrap()
            .marked(&result, &origin, complete)
    }

    const MARK: &str = r#""com.agent-mesh/origin":{"service_id":"files","tool":"read","connection_id":"default","server":"fs"}"#;

    #[test]
    fn all_but_the_mark_stays_as_it_was_to_the_last_character() {
        for (text, expected) in [
            ("{}", format!(r#"{{"_meta":{{{MARK}}}}}"#)),
            (
                r#"{ "content" : [ 1.50, {"type":"hologram","x":1e400} ] }"#,
                format!(
                    r#"{{ "content" : [ 1.50, {{"type":"hologram","x":1e400}} ],"_meta":{{{MARK}}}}}"#
                ),
            ),
            (
                r#"{"_meta":{},"isError":true}"#,
                format!(r#"{{"_meta":{{{MARK}}},"isError":true}}"#),
            ),
            (
                r#"{"_meta":{"a": 1.0 },"content":[]}"#,
                format!(r#"{{"_meta":{{"a": 1.0,{MARK}}},"content":[]}}"#),
            ),
        ] {
            assert_eq!(marked(text, false), expected);
        }
    }

    #[test]
    fn an_origin_that_an_upstream_made_up_is_replaced() {
        let forged = r#"{"_meta":{"com.agent-mesh/origin":{"service_id":"bank"},"b":2}}"#;
        let value: Value = serde_json::from_str(&marked(forged, false)).unwrap();
        assert_eq!(value["_meta"][ORIGIN]["service_id"], "files");
        assert_eq!(value["_meta"]["b"], 2);
        // Also where its name is spelled with escapes, and where `_meta` is no object.
        let escaped = r#"{"_meta":{"com.agent-mesh\/origin":1}}"#;
        let text = marked(escaped, false);
        assert_eq!(text.matches("origin").count(), 1, "{text}");
        let value: Value = serde_json::from_str(&marked(r#"{"_meta":7}"#, false)).unwrap();
        assert_eq!(value["_meta"][ORIGIN]["tool"], "read");
    }

    #[test]
    fn a_result_is_called_complete_where_that_is_wanted_and_nothing_is_said() {
        for text in ["{}", r#"{"_meta":{} }"#, r#"{"content":[]}"#] {
            let value: Value = serde_json::from_str(&marked(text, true)).unwrap();
            assert_eq!(value["resultType"], "complete", "{text}");
        }
        let asked = r#"{"resultType":"input_required"}"#;
        let value: Value = serde_json::from_str(&marked(asked, true)).unwrap();
        assert_eq!(value["resultType"], "input_required");
    }

    #[test]
    fn what_is_no_object_has_no_shape() {
        for text in ["[]", "1", "null", "\"{}\""] {
            let result = RawValue::from_string(text.to_owned()).unwrap();
            assert!(ResultShape::of(&result).is_none(), "{text}");
        }
        let text = json!({"isError": true, "content": []}).to_string();
        let result = RawValue::from_string(text).unwrap();
        assert!(ResultShape::of(&result).unwrap().is_error());
    }
}
