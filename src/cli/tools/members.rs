//! Arguments from the command line to one JSON object, exact to the digit.

use std::collections::BTreeMap;

use serde_json::value::{RawValue, to_raw_value};

use crate::inbound::tool::description::Property;

/// The text of a JSON object: `whole`, and over it each of `members`: a `key=value`, or an object. A value is taken as JSON
/// where it is JSON and `known` does not say that a text is wanted; else it is a text.
///
/// # Errors
/// What is wrong, for the person who typed it.
pub(super) fn object(
    whole: Option<&str>,
    members: &[String],
    known: &[Property],
) -> Result<String, String> {
    let mut object: BTreeMap<String, Box<RawValue>> = match whole {
        Some(text) => whole_object("--arguments", text)?,
        None => BTreeMap::new(),
    };
    for member in members {
        // No argument's name begins so: it is all of them, as `--arguments` has them.
        if member.starts_with('{') {
            object.append(&mut whole_object("what begins with {", member)?);
            continue;
        }
        let (name, text) = member
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| format!("`{member}` is not of the form KEY=VALUE"))?;
        object.insert(name.to_owned(), value(text, is_text(name, known))?);
    }
    serde_json::to_string(&object).map_err(|error| format!("the arguments are no JSON: {error}"))
}

fn whole_object(what: &str, text: &str) -> Result<BTreeMap<String, Box<RawValue>>, String> {
    serde_json::from_str(text).map_err(|error| format!("{what} is not one JSON object: {error}"))
}

fn value(text: &str, is_text: bool) -> Result<Box<RawValue>, String> {
    let parsed = RawValue::from_string(text.to_owned());
    match parsed {
        Ok(value) if !is_text => Ok(value),
        _ => to_raw_value(text).map_err(|error| format!("`{text}` is no text: {error}")),
    }
}

/// Whether the argument of this name is a text and nothing else.
fn is_text(name: &str, known: &[Property]) -> bool {
    let property = known.iter().find(|property| property.name == name);
    property.is_some_and(|property| property.schema["type"] == "string")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::inbound::tool::description::{optional, required, text};

    fn known() -> Vec<Property> {
        vec![
            required("key", text(), ""),
            required("value", json!({}), ""),
            optional("limit", json!({"type": "integer"}), ""),
        ]
    }

    fn object_of(whole: Option<&str>, members: &[&str]) -> Result<String, String> {
        let members: Vec<String> = members.iter().map(|&member| member.to_owned()).collect();
        object(whole, &members, &known())
    }

    #[test]
    fn a_value_is_json_unless_a_text_is_wanted_or_it_is_none() {
        for (members, expected) in [
            (
                &["key=12", "value=12", "limit=5"][..],
                r#"{"key":"12","limit":5,"value":12}"#,
            ),
            (
                &["value=12345678901234567890.10"],
                r#"{"value":12345678901234567890.10}"#,
            ),
            (&["value=plain words"], r#"{"value":"plain words"}"#),
            (&["value={\"a\":[1]}"], r#"{"value":{"a":[1]}}"#),
            (
                &["{\"key\": \"a=b\", \"limit\": 5}", "limit=6"],
                r#"{"key":"a=b","limit":6}"#,
            ),
            (&["key=a=b", "value="], r#"{"key":"a=b","value":""}"#),
            (&["limit=many"], r#"{"limit":"many"}"#),
            (&[], "{}"),
        ] {
            assert_eq!(object_of(None, members).unwrap(), expected, "{members:?}");
        }
    }

    #[test]
    fn single_arguments_win_over_the_whole_and_digits_stay() {
        let whole = r#"{"value": 1.000, "key": "a"}"#;
        assert_eq!(
            object_of(Some(whole), &["key=b"]).unwrap(),
            r#"{"key":"b","value":1.000}"#
        );
    }

    #[test]
    fn what_is_no_member_and_no_object_is_told() {
        for (whole, members, word) in [
            (None, &["key"][..], "KEY=VALUE"),
            (None, &["=x"], "KEY=VALUE"),
            (Some("[1]"), &[], "--arguments"),
            (Some("{"), &[], "--arguments"),
            (None, &["{\"a\": }"], "not one JSON object"),
        ] {
            let message = object_of(whole, members).unwrap_err();
            assert!(message.contains(word), "{message}");
        }
    }
}
