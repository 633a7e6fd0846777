//! Holds a value to a JSON schema, as far as the tools' schemas go; a keyword it does not know is a failure.

use serde_json::{Map, Value};

/// What `value` breaks of `schema`, each with its place; nothing where it holds.
pub(crate) fn breaches(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, value, "$", &mut found);
    found
}

fn check(schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let schema = schema
        .as_object()
        .unwrap_or_else(|| panic!("{at}: a schema is an object"));
    for (keyword, rule) in schema {
        match keyword.as_str() {
            "type" => hold(
                is_of_type(rule, value),
                at,
                format!("is not of type {rule}"),
                found,
            ),
            "enum" => hold(
                list(rule).contains(value),
                at,
                format!("is none of {rule}"),
                found,
            ),
            "properties" => properties(rule, value, at, found),
            "required" => required(rule, value, at, found),
            "additionalProperties" => additional(schema, rule, value, at, found),
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(rule, item, &format!("{at}[{index}]"), found);
                }
            }
            "minItems" => bound(
                length(value).map(|length| length >= number(rule)),
                at,
                keyword,
                found,
            ),
            "maxItems" => bound(
                length(value).map(|length| length <= number(rule)),
                at,
                keyword,
                found,
            ),
            "minimum" => bound(
                value.as_f64().map(|held| held >= number(rule)),
                at,
                keyword,
                found,
            ),
            "maximum" => bound(
                value.as_f64().map(|held| held <= number(rule)),
                at,
                keyword,
                found,
            ),
            "anyOf" => {
                let any = list(rule)
                    .iter()
                    .any(|schema| breaches(schema, value).is_empty());
                hold(any, at, format!("holds none of {rule}"), found);
            }
            "description" | "default" | "title" => {}
            other => panic!("{at}: this validator does not know the keyword `{other}`"),
        }
    }
}

fn hold(holds: bool, at: &str, breach: String, found: &mut Vec<String>) {
    if !holds {
        found.push(format!("{at} {breach}"));
    }
}

/// A bound counts only for values of its kind.
fn bound(holds: Option<bool>, at: &str, keyword: &str, found: &mut Vec<String>) {
    hold(
        holds.unwrap_or(true),
        at,
        format!("breaks its {keyword}"),
        found,
    );
}

fn properties(rule: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    for (name, schema) in rule.as_object().expect("properties are an object") {
        if let Some(member) = value.get(name) {
            check(schema, member, &format!("{at}.{name}"), found);
        }
    }
}

fn required(rule: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    for name in list(rule) {
        let name = name.as_str().expect("a name is a text");
        let lacks = value
            .as_object()
            .is_some_and(|members| !members.contains_key(name));
        hold(!lacks, at, format!("lacks `{name}`"), found);
    }
}

fn additional(
    schema: &Map<String, Value>,
    rule: &Value,
    value: &Value,
    at: &str,
    found: &mut Vec<String>,
) {
    let known = |name: &str| {
        schema
            .get("properties")
            .is_some_and(|known| known.get(name).is_some())
    };
    for (name, member) in value
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| !known(name))
    {
        match rule {
            Value::Bool(allowed) => hold(*allowed, at, format!("has `{name}` besides"), found),
            rule => check(rule, member, &format!("{at}.{name}"), found),
        }
    }
}

fn is_of_type(rule: &Value, value: &Value) -> bool {
    match rule.as_str().expect("one type") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        other => panic!("this validator does not know the type `{other}`"),
    }
}

fn list(rule: &Value) -> &[Value] {
    rule.as_array().expect("a list")
}

fn number(rule: &Value) -> f64 {
    rule.as_f64().expect("a number")
}

fn length(value: &Value) -> Option<f64> {
    value.as_array().map(|items| items.len() as f64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_keyword_finds_what_breaks_it() {
        let schema = json!({
            "type": "object", "additionalProperties": false, "required": ["a"],
            "properties": {
                "a": {"type": "integer", "minimum": 1, "maximum": 2},
                "b": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"enum": ["x", "y"]}},
                "c": {"type": "object", "additionalProperties": {"type": "string"}},
                "d": {"anyOf": [{"type": "string"}, {"type": "boolean"}]},
            },
        });
        let holds = json!({"a": 2.0, "b": ["x", "y"], "c": {"k": "v"}, "d": true});
        assert_eq!(breaches(&schema, &holds), Vec::<String>::new());
        let cases = [
            (json!([]), 1),
            (json!({}), 1),
            (json!({"a": 0}), 1),
            (json!({"a": 3}), 1),
            (json!({"a": 1.5}), 1),
            (json!({"a": "1"}), 1),
            (json!({"a": 1, "z": 0}), 1),
            (json!({"a": 1, "b": []}), 1),
            (json!({"a": 1, "b": ["x", "z", "w"]}), 3),
            (json!({"a": 1, "c": {"k": 5}}), 1),
            (json!({"a": 1, "d": 5}), 1),
        ];
        for (broken, count) in cases {
            assert_eq!(breaches(&schema, &broken).len(), count, "{broken}");
        }
    }
}
