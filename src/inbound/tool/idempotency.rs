//! A key for a call that came without one, of tools that tell a repeated call by it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use super::describe;
use crate::mesh::call::tool::Tool;

/// The argument by which tools tell a repeated call.
pub const IDEMPOTENCY_KEY: &str = "idempotency_key";

/// The same in camel case, as callers may spell it.
const IDEMPOTENCY_KEY_CAMEL: &str = "idempotencyKey";

/// Whether `tool` tells a repeated call by a key.
pub fn takes_key(tool: Tool) -> bool {
    describe(tool).is_some_and(|description| {
        let mut arguments = description.arguments.iter();
        arguments.any(|argument| argument.name == IDEMPOTENCY_KEY)
    })
}

/// `arguments`, the text of a JSON object, with `key` where `tool` takes one and was given none. What is no JSON
/// object stays as it is.
pub fn with_key(tool: Tool, arguments: &str, key: impl FnOnce() -> String) -> Cow<'_, str> {
    let text = arguments.trim();
    let (true, Some(rest)) = (takes_key(tool), text.strip_prefix('{')) else {
        return Cow::Borrowed(arguments);
    };
    let given = serde_json::from_str::<BTreeMap<Cow<'_, str>, &RawValue>>(text);
    let is_free = |given: &BTreeMap<Cow<'_, str>, &RawValue>| {
        !given.contains_key(IDEMPOTENCY_KEY) && !given.contains_key(IDEMPOTENCY_KEY_CAMEL)
    };
    let Some(given) = given.ok().filter(is_free) else {
        return Cow::Borrowed(arguments);
    };
    let comma = if given.is_empty() { "" } else { "," };
    let key = Value::from(key());
    Cow::Owned(format!("{{\"{IDEMPOTENCY_KEY}\":{key}{comma}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyed(tool: Tool, arguments: &str) -> String {
        with_key(tool, arguments, || "k\"1".to_owned()).into_owned()
    }

    #[test]
    fn a_key_is_put_in_where_there_is_none_and_nothing_else_is_touched() {
        let tool = Tool::EventsSend;
        assert_eq!(keyed(tool, "{}"), r#"{"idempotency_key":"k\"1"}"#);
        assert_eq!(
            keyed(tool, " {\"detail\": {\"x\": 1.50}}\n"),
            r#"{"idempotency_key":"k\"1","detail": {"x": 1.50}}"#
        );
        for same in [
            r#"{"idempotency_key":"a"}"#,
            r#"{"idempotencyKey":"a"}"#,
            r#"{"idempotency\u005fkey":"a"}"#,
            "[]",
            "{",
            "",
            r#"{"a":1} {"#,
        ] {
            assert_eq!(keyed(tool, same), same);
        }
        assert_eq!(keyed(Tool::KvGet, "{}"), "{}", "it takes none");
    }
}
