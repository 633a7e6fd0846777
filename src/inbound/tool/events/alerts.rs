//! `events_create_alert` and `events_delete_alert`: what a client sees of them, and their arguments.

use serde_json::json;
use serde_json::value::RawValue;

use super::rules::{logical_name, pattern};
use crate::inbound::tool::argument::{Argument, Arguments};
use crate::inbound::tool::description::{Description, flag, optional, required, result, text};
use crate::mesh::Error;
use crate::mesh::call::tool::Tool;
use crate::mesh::service::events::alerts::{About, MailAddress, Method};
use crate::mesh::service::events::rules::Name;
use crate::mesh::service::events::{CreateAlert, DeleteAlert};

/// `events_create_alert`.
pub fn describe_create() -> Description {
    Description {
        tool: Tool::EventsCreateAlert,
        title: "Create an alert",
        text: "Tell somebody when events match a rule, or a pattern of the alert's own: by mail to one \
               address, or by a topic that the operator has set up. Each alert is also an event, and in \
               the resource mesh://alerts. Mail goes out once the address has confirmed: until then the \
               state is pending_confirmation, and events_list_rules shows how it is. To start work rather \
               than tell people, give the rule a workflow (events_create_rule). The same call again \
               changes nothing; another alert of the name is a CONFLICT.",
        arguments: vec![
            required(
                "name",
                text(),
                "1 to 64 of A-Z, a-z, 0-9 and . _ -, the first a letter or digit.",
            ),
            optional(
                "rule",
                text(),
                "The rule that it is about; it ends with it.",
            ),
            optional(
                "pattern",
                json!({"type": "object"}),
                "Instead of `rule`: which events, as for events_create_rule.",
            ),
            required(
                "method",
                json!({"type": "string", "enum": ["email", "sns"]}),
                "How it tells.",
            ),
            optional("email", text(), "With method email: the address."),
            optional("topic", text(), "With method sns: the name of the topic."),
        ],
        one_of: vec![&["rule"], &["pattern"]],
        results: vec![
            result("alert", text()),
            result("state", text()),
            result("change", text()),
        ],
        destructive: false,
        idempotent: true,
    }
}

/// `events_delete_alert`.
pub fn describe_delete() -> Description {
    Description {
        tool: Tool::EventsDeleteAlert,
        title: "Delete an alert",
        text: "Delete an alert and end its mail. Its rule stays. Deleting what is not there is no error and \
               answers `existed: false`.",
        arguments: vec![required("name", text(), "The alert.")],
        one_of: Vec::new(),
        results: vec![result("alert", text()), result("existed", flag())],
        destructive: true,
        idempotent: true,
    }
}

/// The word of `method`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Email,
    Sns,
}

impl Argument for Word {
    const EXPECTED: &'static str = "\"email\" or \"sns\"";

    fn read(text: &RawValue) -> Option<Self> {
        match text.get() {
            "\"email\"" => Some(Self::Email),
            "\"sns\"" => Some(Self::Sns),
            _ => None,
        }
    }
}

/// The arguments of `events_create_alert`.
pub fn create(text: Option<&str>) -> Result<CreateAlert, Error> {
    let mut arguments = Arguments::of(text)?;
    let name = Name::parse("name", arguments.required("name")?)?;
    let about = about(&mut arguments)?;
    let method = method(&mut arguments)?;
    arguments.finish()?;
    Ok(CreateAlert {
        name,
        about,
        method,
    })
}

fn about(arguments: &mut Arguments<'_>) -> Result<About, Error> {
    let rule: Option<String> = arguments.optional("rule")?;
    let pattern = pattern(arguments)?;
    match (rule, pattern) {
        (Some(rule), None) => Name::parse("rule", rule).map(About::Rule),
        (None, Some(pattern)) => Ok(About::Pattern(pattern)),
        (None, None) => Err(arguments
            .wrong("rule", "and `pattern` are both missing".to_owned())
            .fix("Give the rule that the alert is about, or a pattern of its own.")),
        (Some(_), Some(_)) => Err(arguments
            .wrong("pattern", "cannot hold together with `rule`".to_owned())
            .fix("Give one of them.")),
    }
}

fn method(arguments: &mut Arguments<'_>) -> Result<Method, Error> {
    let word: Word = arguments.required("method")?;
    let email: Option<String> = arguments.optional("email")?;
    let topic = logical_name(arguments, "topic")?;
    let superfluous = |name: &str, method: &str| {
        arguments
            .wrong(name, format!("has no meaning with method `{method}`"))
            .fix("Leave it out, or choose the other method.")
    };
    match (word, email, topic) {
        (Word::Email, _, Some(_)) => Err(superfluous("topic", "email")),
        (Word::Sns, Some(_), _) => Err(superfluous("email", "sns")),
        (Word::Email, Some(email), None) => MailAddress::parse("email", &email).map(Method::Email),
        (Word::Sns, None, Some(topic)) => Ok(Method::Sns(topic)),
        (Word::Email, None, None) => Err(arguments
            .wrong("email", "is missing".to_owned())
            .fix("Give the address to tell, such as ops@example.com.")),
        (Word::Sns, None, None) => Err(arguments
            .wrong("topic", "is missing".to_owned())
            .fix("Give the name of a topic that the operator has set up.")),
    }
}

/// The arguments of `events_delete_alert`.
pub fn delete(text: Option<&str>) -> Result<DeleteAlert, Error> {
    let mut arguments = Arguments::of(text)?;
    let call = DeleteAlert {
        name: Name::parse("name", arguments.required("name")?)?,
    };
    arguments.finish()?;
    Ok(call)
}
