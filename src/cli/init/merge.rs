//! Puts this server into a client's JSON and leaves comments, order and formatting of the rest alone.

use std::fmt;

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstInputValue, CstNode, CstObject, CstRootNode};
use serde_json::{Value, json};

use super::client::Client;
use super::entry::Entry;
use crate::config::SERVER_NAME;

/// Why a client's file was not changed, and where in it the reason stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Line and column, counted from 1, where they are known.
    pub(super) place: Option<(usize, usize)>,
    /// What is wrong.
    pub(super) message: String,
}

const BYTE_ORDER_MARK: char = '\u{feff}';

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => write!(formatter, "{line}:{column}: {}", self.message),
            None => write!(formatter, " {}", self.message),
        }
    }
}

/// `text` with this server in it, or nothing where it is in it already. What somebody added to the entry
/// by hand stays: only the program, the arguments and the variables that we set are ours.
///
/// # Errors
/// The text is no JSON, or has something else where the servers or this server belong.
pub(super) fn merge(text: &str, client: Client, entry: &Entry) -> Result<Option<String>, Fault> {
    let (mark, body) = match text.strip_prefix(BYTE_ORDER_MARK) {
        Some(body) => (BYTE_ORDER_MARK.to_string(), body),
        None => (String::new(), text),
    };
    let root = CstRootNode::parse(body, &options()).map_err(|error| Fault {
        place: Some((error.line_display(), error.column_display())),
        message: format!("this is no valid JSON: {}", error.kind()),
    })?;
    let is_empty = root.value().is_none();
    let object = root
        .object_value_or_create()
        .ok_or_else(|| fault("the file holds no JSON object"))?;
    let key = client.servers_key();
    let servers = member_object(&object, key)?;
    match find(&servers, SERVER_NAME, key)? {
        None => {
            servers.append(SERVER_NAME, input(&whole(client, entry)));
        }
        Some(node) => {
            let existing = node
                .as_object()
                .ok_or_else(|| fault(format!("`{key}.{SERVER_NAME}` is no object")))?;
            update(&existing, client, entry)?;
        }
    }
    let mut merged = root.to_string();
    if is_empty && !merged.ends_with('\n') {
        merged.push('\n');
    }
    Ok((merged != body).then(|| mark + &merged))
}

/// JSON as clients accept it at most: comments and trailing commas, and none of JSON5's other liberties.
pub(in crate::cli) fn options() -> ParseOptions {
    ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}

/// The whole entry, for a client that does not have it yet.
fn whole(client: Client, entry: &Entry) -> Value {
    let mut value = json!({});
    if client.wants_type() {
        value["type"] = json!("stdio");
    }
    value["command"] = json!(entry.command);
    value["args"] = json!(entry.args);
    if !entry.env.is_empty() {
        value["env"] = json!(entry.env);
    }
    value
}

/// Brings an entry that is there up to date.
fn update(existing: &CstObject, client: Client, entry: &Entry) -> Result<(), Fault> {
    if existing.get("url").is_some() {
        return Err(fault(format!(
            "`{SERVER_NAME}` names a url there, so it is another kind of server; rename or remove it first"
        )));
    }
    if client.wants_type() {
        set(existing, "type", &json!("stdio"))?;
    }
    set(existing, "command", &json!(entry.command))?;
    if !entry.args.is_empty() || existing.get("args").is_none() {
        set(existing, "args", &json!(entry.args))?;
    }
    if entry.env.is_empty() {
        return Ok(());
    }
    let env = member_object(existing, "env")?;
    for (name, value) in &entry.env {
        set(&env, name, &json!(value))?;
    }
    Ok(())
}

/// Makes `object.key` equal to `value`; where it is equal already, not a byte changes.
fn set(object: &CstObject, key: &str, value: &Value) -> Result<(), Fault> {
    let Some(found) = find(object, key, "")? else {
        object.append(key, input(value));
        return Ok(());
    };
    let is_equal = jsonc_parser::parse_to_serde_value::<Value>(&found.to_string(), &options())
        .is_ok_and(|found| found == *value);
    if !is_equal && let Some(member) = object.get(key) {
        member.set_value(input(value));
    }
    Ok(())
}

/// The object at `key`, made where there is none.
fn member_object(object: &CstObject, key: &str) -> Result<CstObject, Fault> {
    match find(object, key, "")? {
        None => Ok(object.object_value_or_set(key)),
        Some(node) => node
            .as_object()
            .ok_or_else(|| fault(format!("`{key}` is no object"))),
    }
}

/// The value at `key`. A key that stands there twice is refused: clients read the last one, so a change
/// of the first would do nothing.
fn find(object: &CstObject, key: &str, within: &str) -> Result<Option<CstNode>, Fault> {
    let mut found = object
        .properties()
        .into_iter()
        .filter(|member| member.decoded_name().as_deref() == Some(key));
    let first = found.next();
    if found.next().is_some() {
        let within = if within.is_empty() {
            String::new()
        } else {
            format!(" in `{within}`")
        };
        return Err(fault(format!("`{key}` stands there twice{within}")));
    }
    Ok(first.and_then(|member| member.value()))
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(switch) => CstInputValue::Bool(*switch),
        Value::Number(number) => CstInputValue::Number(number.to_string()),
        Value::String(text) => CstInputValue::String(text.clone()),
        Value::Array(items) => CstInputValue::Array(items.iter().map(input).collect()),
        Value::Object(members) => CstInputValue::Object(
            members
                .iter()
                .map(|(key, value)| (key.clone(), input(value)))
                .collect(),
        ),
    }
}

fn fault(message: impl Into<String>) -> Fault {
    Fault {
        place: None,
        message: message.into(),
    }
}

#[cfg(test)]
mod tests;
