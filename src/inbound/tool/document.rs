//! The tool part of API.md, written from the table of tools.

use std::fmt::Write as _;

use serde_json::Value;

use super::describe;
use super::description::{Description, Property};
use crate::mesh::call::tool::{Effect, Tool};

/// Every tool: what it does, what it needs and records, its arguments and the members of its result.
pub fn markdown() -> String {
    let mut text = String::from("| tool | permission | event | does |\n|---|---|---|---|\n");
    for description in described() {
        let tool = description.tool;
        let _ = writeln!(
            text,
            "| [`{name}`](#{name}) | `{permission}` | `{event}` | {title} |",
            name = tool.name(),
            permission = tool.permission().name(),
            event = tool.detail_type(),
            title = description.title,
        );
    }
    for description in described() {
        section(&mut text, &description);
    }
    text
}

fn described() -> impl Iterator<Item = Description> {
    Tool::ALL.into_iter().filter_map(describe)
}

fn section(text: &mut String, description: &Description) {
    let _ = write!(
        text,
        "\n### {}\n\n{}\n\n",
        description.tool.name(),
        description.text
    );
    let effect = match description.tool.effect() {
        Effect::Read => "Only reads.",
        Effect::Mutation if description.idempotent => {
            "Changes data; the same call again changes nothing more."
        }
        Effect::Mutation => "Changes data.",
        Effect::Events => "Adds events, which are their own record.",
        Effect::Health => "Only reads, and answers when parts are down.",
    };
    let _ = writeln!(text, "{effect}\n");
    if description.arguments.is_empty() {
        text.push_str("It takes no arguments.\n");
    } else {
        text.push_str("| argument | type | meaning |\n|---|---|---|\n");
        for argument in &description.arguments {
            let mark = if argument.required { " *" } else { "" };
            let _ = writeln!(
                text,
                "| `{}`{mark} | {} | {} |",
                argument.name,
                kind(argument),
                argument.text.replace('|', "\\|")
            );
        }
    }
    if !description.one_of.is_empty() {
        let sets = description.one_of.iter().map(|names| {
            names
                .iter()
                .map(|name| format!("`{name}`"))
                .collect::<Vec<_>>()
                .join(" with ")
        });
        let _ = writeln!(
            text,
            "\nGive one of: {}.",
            sets.collect::<Vec<_>>().join("; ")
        );
    }
    if description.results.is_empty() {
        text.push_str("\nReturns what the integrated server answers, unchanged.\n");
        return;
    }
    let results = description
        .results
        .iter()
        .map(|result| format!("`{}`", result.name));
    let _ = writeln!(
        text,
        "\nReturns {}.",
        results.collect::<Vec<_>>().join(", ")
    );
}

/// The type of an argument in words: its words where it is one of several, its bounds, its default.
fn kind(property: &Property) -> String {
    let schema = &property.schema;
    let mut kind = match (
        schema.get("enum").and_then(Value::as_array),
        schema.get("type"),
    ) {
        (Some(words), _) => words
            .iter()
            .map(|word| format!("`{word}`"))
            .collect::<Vec<_>>()
            .join(" or "),
        (None, Some(name)) => name.as_str().unwrap_or_default().to_owned(),
        (None, None) => "any JSON".to_owned(),
    };
    if let (Some(least), Some(most)) = (schema.get("minimum"), schema.get("maximum")) {
        let _ = write!(kind, " {least} to {most}");
    }
    if let Some(default) = schema.get("default") {
        let _ = write!(kind, ", default `{default}`");
    }
    kind
}
