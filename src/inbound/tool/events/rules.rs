//! `events_create_rule`, `events_list_rules`, `events_delete_rule`: what a client sees of them, and their arguments.

use serde_json::json;

use crate::inbound::tool::argument::Arguments;
use crate::inbound::tool::description::{
    Description, cursor, flag, optional, required, result, text,
};
use crate::inbound::tool::{CallFault, opened};
use crate::mesh::Error;
use crate::mesh::call::tool::Tool;
use crate::mesh::event::pattern::Pattern;
use crate::mesh::service::events::rules::{Name, check_description, parse_pattern};
use crate::mesh::service::events::{CreateRule, DeleteRule, ListRules};

/// The longest pattern that is looked at, with its blanks: bytes.
const PATTERN_BYTES_MAX: usize = 64 << 10;

/// The longest name of a workflow or topic: bytes.
const LOGICAL_NAME_BYTES_MAX: usize = 80;

/// `events_create_rule`.
pub fn describe_create() -> Description {
    Description {
        tool: Tool::EventsCreateRule,
        title: "Create a rule",
        text: "Make events that match a pattern start a workflow and raise the alerts that are made for the \
               rule (events_create_alert). `preview` tells how many of the newest events (10,000 at most, \
               those that you may read) it would have matched: use `dry_run` to try a pattern first. The \
               pattern is EventBridge's over {source, detail-type, detail, tool, outcome, priority, user_id, \
               tags}, and sees your tenant's events alone. It is in force within 5 s. The workflow gets the \
               event, runs as you, and starts once for each event. The same name and pattern again sets \
               enabled, description and workflow to what is given; another pattern is a CONFLICT.",
        arguments: vec![
            required(
                "name",
                text(),
                "1 to 64 of A-Z, a-z, 0-9 and . _ -, the first a letter or digit.",
            ),
            required(
                "pattern",
                json!({"type": "object"}),
                "Such as {\"detail-type\": [\"Order.Failed\"], \"detail\": {\"total\": [{\"numeric\": [\">\", 9]}]}}.",
            ),
            optional(
                "description",
                text(),
                "What it is for; 512 characters at most.",
            ),
            optional(
                "enabled",
                json!({"type": "boolean", "default": true}),
                "Whether it acts.",
            ),
            optional("workflow", text(), "The workflow to start, by its name."),
            optional("dry_run", flag(), "Only preview; nothing is stored."),
            optional(
                "native",
                flag(),
                "Make it a rule of the bus itself, for events that other producers put there (AWS only).",
            ),
        ],
        one_of: Vec::new(),
        results: vec![
            result("rule", text()),
            result("enabled", flag()),
            result("change", text()),
            result("dry_run", flag()),
            result("preview", json!({"type": "object"})),
        ],
        destructive: true,
        idempotent: true,
    }
}

/// `events_list_rules`.
pub fn describe_list() -> Description {
    let objects = || json!({"type": "array", "items": {"type": "object"}});
    Description {
        tool: Tool::EventsListRules,
        title: "List rules",
        text: "List the tenant's rules with their patterns, workflows and alerts, and in `alerts` those that \
               have patterns of their own. An alert's state is active, pending_confirmation (its address \
               has yet to confirm) or expired. Addresses are shown to those who may manage alerts. What was \
               raised is read as the resource mesh://alerts. Returns a page, and `next_cursor` if there is \
               more.",
        arguments: vec![cursor()],
        one_of: Vec::new(),
        results: vec![
            result("rules", objects()),
            result("alerts", objects()),
            result("next_cursor", text()),
        ],
        destructive: false,
        idempotent: true,
    }
}

/// `events_delete_rule`.
pub fn describe_delete() -> Description {
    Description {
        tool: Tool::EventsDeleteRule,
        title: "Delete a rule",
        text: "Delete a rule and the alerts that were made for it, whose mail ends. Workflows that it has \
               started go on. To keep it and stop it, call events_create_rule with `enabled: false`. \
               Deleting what is not there is no error and answers `existed: false`.",
        arguments: vec![required("name", text(), "The rule.")],
        one_of: Vec::new(),
        results: vec![
            result("rule", text()),
            result("existed", flag()),
            result("alerts_deleted", json!({"type": "array", "items": text()})),
        ],
        destructive: true,
        idempotent: true,
    }
}

/// The arguments of `events_create_rule`.
pub fn create(text: Option<&str>) -> Result<CreateRule, Error> {
    let mut arguments = Arguments::of(text)?;
    let name = Name::parse("name", arguments.required("name")?)?;
    let Some(pattern) = pattern(&mut arguments)? else {
        return Err(arguments.missing_json("pattern", "an object"));
    };
    let call = CreateRule {
        name,
        pattern,
        description: arguments.optional("description")?,
        enabled: arguments.or("enabled", true)?,
        workflow: logical_name(&mut arguments, "workflow")?,
        dry_run: arguments.or("dry_run", false)?,
        native: arguments.or("native", false)?,
    };
    arguments.finish()?;
    if let Some(description) = &call.description {
        check_description(description)?;
    }
    Ok(call)
}

/// The arguments of `events_list_rules`.
///
/// # Errors
///
/// A cursor that does not fit is a fault of the protocol, anything else the tool's.
pub fn list(text: Option<&str>) -> Result<Result<ListRules, Error>, CallFault> {
    let parse = || {
        let mut arguments = Arguments::of(text)?;
        let call = ListRules {
            position: arguments.optional("cursor")?,
        };
        arguments.finish()?;
        Ok(call)
    };
    opened(parse(), |call: &mut ListRules| {
        (&mut call.position, ListRules::filters().to_vec())
    })
}

/// The arguments of `events_delete_rule`.
pub fn delete(text: Option<&str>) -> Result<DeleteRule, Error> {
    let mut arguments = Arguments::of(text)?;
    let call = DeleteRule {
        name: Name::parse("name", arguments.required("name")?)?,
    };
    arguments.finish()?;
    Ok(call)
}

/// The argument `pattern`: an object, or the JSON text of one, as many clients write it.
pub(super) fn pattern(arguments: &mut Arguments<'_>) -> Result<Option<Pattern>, Error> {
    let Some(given) = arguments.optional_json("pattern")? else {
        return Ok(None);
    };
    let text = match given.get().starts_with('"') {
        true => serde_json::from_str(given.get()).map_err(|error| {
            arguments.wrong("pattern", format!("is a text that cannot be read: {error}"))
        })?,
        false => given.get().to_owned(),
    };
    if text.len() > PATTERN_BYTES_MAX {
        let what = format!(
            "has {} bytes; {PATTERN_BYTES_MAX} are looked at",
            text.len()
        );
        return Err(arguments.wrong("pattern", what));
    }
    parse_pattern(&text).map(Some)
}

/// The name of something that the operator has configured: never its ARN.
pub(super) fn logical_name(
    arguments: &mut Arguments<'_>,
    name: &'static str,
) -> Result<Option<String>, Error> {
    let value: Option<String> = arguments.optional(name)?;
    let fits = |value: &String| {
        (1..=LOGICAL_NAME_BYTES_MAX).contains(&value.len())
            && value
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    match value {
        Some(value) if !fits(&value) => {
            let what = format!(
                "must have 1 to {LOGICAL_NAME_BYTES_MAX} of A-Z, a-z, 0-9 and . _ -; it is a name that \
                 the operator has given, not an ARN"
            );
            Err(arguments.wrong(name, what))
        }
        value => Ok(value),
    }
}
