//! Filter policies on message attributes: which subscription takes which message.
//!
//! Only what our own subscriptions need is known here, texts that must be equal; the rest of SNS's filters
//! is refused when it is set, so that none is misread.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The most attributes that a policy may name.
const NAMES_MAX: usize = 5;

/// The most values of a policy, those of its attributes multiplied.
const COMBINATIONS_MAX: usize = 150;

/// For each attribute the texts of which it must have one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct FilterPolicy(BTreeMap<String, Vec<String>>);

/// An attribute of a message: its name, and the texts that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MessageAttribute {
    name: String,
    texts: Vec<String>,
}

impl FilterPolicy {
    /// The policy that `text` is, or what SNS would find wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let policy: BTreeMap<String, Vec<String>> = serde_json::from_str(text).map_err(|_| {
            "FilterPolicy: the embedded cloud knows lists of texts for each attribute, and nothing else"
        })?;
        if policy.len() > NAMES_MAX {
            return Err("FilterPolicy: Filter policy can not have more than 5 keys");
        }
        if policy.values().any(Vec::is_empty) {
            return Err("FilterPolicy: Empty arrays are not allowed");
        }
        let combinations = policy
            .values()
            .try_fold(1_usize, |product, values| product.checked_mul(values.len()));
        if combinations.is_none_or(|combinations| combinations > COMBINATIONS_MAX) {
            return Err("FilterPolicy: Filter policy is too complex");
        }
        Ok(Self(policy))
    }

    /// The policy as JSON.
    pub(super) fn text(&self) -> String {
        serde_json::json!(self.0).to_string()
    }

    /// Whether the message has, for each attribute that the policy names, one of its texts.
    pub(super) fn matches(&self, attributes: &[MessageAttribute]) -> bool {
        self.0.iter().all(|(name, wanted)| {
            attributes.iter().any(|attribute| {
                attribute.name == *name && attribute.texts.iter().any(|text| wanted.contains(text))
            })
        })
    }
}

impl MessageAttribute {
    /// The attribute of that name, type and value, or what SNS would find wrong with it.
    pub(super) fn parse(name: &str, kind: &str, value: &str) -> Result<Self, &'static str> {
        let texts = if kind == "String.Array" {
            let values: Vec<serde_json::Value> = serde_json::from_str(value)
                .map_err(|_| "MessageAttributes: a String.Array must be a list in JSON")?;
            let texts = values.into_iter().filter_map(|value| match value {
                serde_json::Value::String(text) => Some(text),
                _ => None,
            });
            texts.collect()
        } else if kind == "String" || kind.starts_with("String.") {
            vec![value.to_owned()]
        } else {
            // No text equals a number or bytes.
            Vec::new()
        };
        Ok(Self {
            name: name.to_owned(),
            texts,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(name: &str, kind: &str, value: &str) -> MessageAttribute {
        MessageAttribute::parse(name, kind, value).unwrap()
    }

    #[test]
    fn a_message_passes_that_has_one_of_the_texts_of_each_attribute() {
        let policy = FilterPolicy::parse(r#"{"to":["a","b"],"kind":["x"]}"#).unwrap();
        let kind = attribute("kind", "String", "x");
        for (to, passes) in [
            (attribute("to", "String.Array", r#"["c","b"]"#), true),
            (attribute("to", "String", "a"), true),
            (attribute("to", "String.Array", r#"["c",1,null]"#), false),
            (attribute("to", "String", r#"["a"]"#), false),
            (attribute("to", "Number", "1"), false),
            (attribute("too", "String", "a"), false),
        ] {
            assert_eq!(
                policy.matches(&[to.clone(), kind.clone()]),
                passes,
                "{to:?}"
            );
            assert!(!policy.matches(&[to]));
        }
        assert!(MessageAttribute::parse("to", "String.Array", "a").is_err());
    }

    #[test]
    fn what_is_not_known_is_refused_and_limits_hold_at_their_edges() {
        for bad in [
            "",
            "[]",
            r#"{"to":"a"}"#,
            r#"{"to":[]}"#,
            r#"{"to":[{"prefix":"a"}]}"#,
            r#"{"to":[1]}"#,
            r#"{"$or":[{"a":["b"]}]}"#,
            r#"{"a":["x"],"b":["x"],"c":["x"],"d":["x"],"e":["x"],"f":["x"]}"#,
        ] {
            assert!(FilterPolicy::parse(bad).is_err(), "{bad}");
        }
        let values = |count: usize| {
            let list: Vec<String> = (0..count).map(|number| number.to_string()).collect();
            serde_json::json!({"to": list, "a": ["x"]}).to_string()
        };
        assert!(FilterPolicy::parse(&values(COMBINATIONS_MAX)).is_ok());
        assert!(FilterPolicy::parse(&values(COMBINATIONS_MAX + 1)).is_err());
        let policy = FilterPolicy::parse(r#"{"to": ["ü\""]}"#).unwrap();
        assert_eq!(FilterPolicy::parse(&policy.text()), Ok(policy));
    }
}
