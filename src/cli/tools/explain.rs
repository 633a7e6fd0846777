//! A tool, explained to a person.

use serde_json::Value;

use super::super::Output;
use super::super::output::Paint;
use crate::inbound::tool::description::{Description, Property};

/// How wide the text is laid out: columns.
const WIDTH: usize = 92;

/// The longest name or kind that still lines the next column up.
const COLUMN_MAX: usize = 26;

/// Prints what a tool does, what it takes and what it answers.
pub(super) fn explain(tool: &Description, output: &mut Output) {
    let name = Paint::Strong.on(tool.tool.name());
    output.line(format!("{name}: {}\n", tool.title));
    for line in wrapped(tool.text, WIDTH) {
        output.line(line);
    }
    let permission = tool.tool.permission().name();
    output.line(format!("\nIt needs the permission {permission}."));
    if !tool.arguments.is_empty() {
        output.line(format!(
            "\n{} (* must be given)",
            Paint::Strong.on("Arguments")
        ));
        properties(&tool.arguments, output);
    }
    if !tool.one_of.is_empty() {
        let sets: Vec<_> = tool.one_of.iter().map(|names| names.join(" + ")).collect();
        output.line(format!(
            "  one of these must be given: {}",
            sets.join(", or ")
        ));
    }
    output.line(format!("\n{}", Paint::Strong.on("Answer")));
    properties(&tool.results, output);
}

fn properties(properties: &[Property], output: &mut Output) {
    let rows: Vec<(String, String, String)> = properties.iter().map(row).collect();
    let width = |column: fn(&(String, String, String)) -> &String| {
        let widths = rows.iter().map(|row| column(row).chars().count());
        widths.max().unwrap_or(0).min(COLUMN_MAX)
    };
    let (name_width, kind_width) = (width(|row| &row.0), width(|row| &row.1));
    for (name, kind, text) in &rows {
        let indent = name_width + kind_width + 6;
        let text = wrapped(text, WIDTH.saturating_sub(indent)).join(&format!("\n{:indent$}", ""));
        let line = format!("  {name:name_width$}  {kind:kind_width$}  {text}");
        output.line(line.trim_end());
    }
}

/// Name, kind and text of one argument or member.
fn row(property: &Property) -> (String, String, String) {
    let star = if property.required { "*" } else { "" };
    let mut text = property.text.to_owned();
    if let Some(default) = property.schema.get("default") {
        let default = default
            .as_str()
            .map_or_else(|| default.to_string(), str::to_owned);
        text = format!("{text} [default: {default}]");
    }
    (
        format!("{}{star}", property.name),
        kind(&property.schema),
        text.trim().to_owned(),
    )
}

/// What a schema admits, in few words.
fn kind(schema: &Value) -> String {
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        return words.join("|");
    }
    let name = match schema["type"].as_str() {
        Some("string") => "text",
        Some("integer") => "whole number",
        Some("number") => "number",
        Some("boolean") => "true or false",
        Some("array") => "list",
        Some("object") => "object",
        _ => "any JSON",
    };
    match (schema["minimum"].as_f64(), schema["maximum"].as_f64()) {
        (Some(least), Some(most)) => format!("{name} {least} to {most}"),
        _ => name.to_owned(),
    }
}

/// `text` in lines of at most `width` columns, broken between words.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_is_as_wide_as_it_may_be_and_no_wider() {
        assert_eq!(wrapped("ab cd ef", 5), ["ab cd", "ef"]);
        assert_eq!(wrapped("ab cd ef", 4), ["ab", "cd", "ef"]);
        assert_eq!(wrapped("abcdef g", 3), ["abcdef", "g"]);
        assert_eq!(wrapped("", 3), [""]);
    }

    #[test]
    fn a_schema_is_told_in_few_words() {
        for (schema, expected) in [
            (json!({}), "any JSON"),
            (json!({"type": "string"}), "text"),
            (json!({"type": "string", "enum": ["a", "b"]}), "a|b"),
            (
                json!({"type": "integer", "minimum": 1, "maximum": 9}),
                "whole number 1 to 9",
            ),
            (json!({"type": "number", "minimum": 0}), "number"),
        ] {
            assert_eq!(kind(&schema), expected);
        }
    }
}
