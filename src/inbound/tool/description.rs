//! What a client sees of a tool: title, description, annotations and schemas.

use serde_json::{Map, Value, json};

use crate::mesh::call::tool::{Effect, Tool};

/// What a client sees of one tool, besides what the closed list says of it.
#[derive(Clone, Debug)]
pub struct Description {
    /// The tool.
    pub tool: Tool,
    /// A name for a person.
    pub title: &'static str,
    /// What it does, when to use it, when not, what comes back.
    pub text: &'static str,
    /// Its arguments, in the order of reading.
    pub arguments: Vec<Property>,
    /// Sets of arguments of which one must be given, besides those that are required.
    pub one_of: Vec<&'static [&'static str]>,
    /// The members of its result; none where the result is another server's.
    pub results: Vec<Property>,
    /// Whether it may destroy something.
    pub destructive: bool,
    /// Whether the same call again changes nothing more.
    pub idempotent: bool,
}

/// One argument, or one member of a result.
#[derive(Clone, Debug)]
pub struct Property {
    /// Its name.
    pub name: &'static str,
    /// Whether an argument must be given.
    pub required: bool,
    /// Its JSON schema, without the description.
    pub schema: Value,
    /// What it means.
    pub text: &'static str,
}

/// An argument that must be given.
pub fn required(name: &'static str, schema: Value, text: &'static str) -> Property {
    Property {
        name,
        required: true,
        schema,
        text,
    }
}

/// An argument that may be left out, or a member of a result.
pub fn optional(name: &'static str, schema: Value, text: &'static str) -> Property {
    Property {
        name,
        required: false,
        schema,
        text,
    }
}

/// A member of a result that says all with its name.
pub fn result(name: &'static str, schema: Value) -> Property {
    Property {
        name,
        required: false,
        schema,
        text: "",
    }
}

/// The schema of a text.
pub fn text() -> Value {
    json!({"type": "string"})
}

/// The schema of a whole number within bounds, with its default.
pub fn number(least: u32, most: u32, default: u32) -> Value {
    json!({"type": "integer", "minimum": least, "maximum": most, "default": default})
}

/// The schema of a whole number that is not negative.
pub fn count() -> Value {
    json!({"type": "integer"})
}

/// The schema of true or false.
pub fn flag() -> Value {
    json!({"type": "boolean"})
}

/// The schema of one of several words, the first being the default.
pub fn one_of(words: &[&str]) -> Value {
    json!({"type": "string", "enum": words, "default": words.first()})
}

/// The schema of an object whose values are texts.
pub fn texts_by_name() -> Value {
    json!({"type": "object", "additionalProperties": {"type": "string"}})
}

/// The argument `scope`.
pub fn scope() -> Property {
    optional(
        "scope",
        one_of(&["user", "tenant"]),
        "Whose: private to you, or shared by the tenant.",
    )
}

/// The argument `cursor`.
pub fn cursor() -> Property {
    optional("cursor", text(), "`next_cursor` of the page before.")
}

impl Description {
    /// The tool as `tools/list` shows it.
    pub fn to_json(&self) -> Value {
        let reads = matches!(self.tool.effect(), Effect::Read | Effect::Health);
        let mut shown = json!({
            "name": self.tool.name(),
            "title": self.title,
            "description": self.text,
            "inputSchema": self.input_schema(),
            "annotations": {
                "title": self.title,
                "readOnlyHint": reads,
                "destructiveHint": self.destructive,
                "idempotentHint": self.idempotent,
                "openWorldHint": self.tool.reaches_outside(),
            },
        });
        // What passes on the result of another server cannot say what is in it.
        if !self.results.is_empty() {
            shown["outputSchema"] = self.output_schema();
        }
        shown
    }

    fn input_schema(&self) -> Value {
        let required: Vec<_> = self
            .arguments
            .iter()
            .filter(|argument| argument.required)
            .map(|argument| argument.name)
            .collect();
        let mut schema = json!({
            "type": "object",
            "properties": properties(&self.arguments),
            "additionalProperties": false,
        });
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        if !self.one_of.is_empty() {
            let sets: Vec<_> = self
                .one_of
                .iter()
                .map(|names| json!({"required": names}))
                .collect();
            schema["anyOf"] = json!(sets);
        }
        schema
    }

    /// The result, or `{"error": ...}`: clients hold failed results to this schema too, so nothing in it
    /// is required.
    fn output_schema(&self) -> Value {
        let mut members = properties(&self.results);
        let failure = json!({
            "type": "object",
            "properties": {
                "code": text(),
                "message": text(),
                "fix": text(),
                "retryable": flag(),
                "retry_after_ms": count(),
                "request_id": text(),
                "details": {"type": "object"},
            },
            "required": ["code", "message"],
        });
        let error = match members.shift_remove("error") {
            Some(own) => json!({"anyOf": [failure, own]}),
            None => failure,
        };
        members.insert("error".to_owned(), error);
        json!({"type": "object", "properties": members})
    }
}

fn properties(properties: &[Property]) -> Map<String, Value> {
    let described = |property: &Property| {
        let mut schema = property.schema.clone();
        if !property.text.is_empty() {
            schema["description"] = json!(property.text);
        }
        (property.name.to_owned(), schema)
    };
    properties.iter().map(described).collect()
}
