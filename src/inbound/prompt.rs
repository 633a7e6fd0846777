//! Three prompts that a person picks: what is there, what happened, why did it fail.

use rmcp::model::{GetPromptResult, Prompt, PromptArgument, PromptMessage, Role};

use super::tool::catalog::Catalog;
use crate::mesh::call::tool::Toolset;

/// The longest argument of a prompt: characters.
const ARGUMENT_CHARS_MAX: usize = 200;

/// A prompt, and the tools without which it makes no sense.
struct Definition {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    argument: Option<(&'static str, &'static str)>,
    needs: &'static [Toolset],
    text: fn(Option<&str>) -> String,
}

const PROMPTS: [Definition; 3] = [
    Definition {
        name: "what-happened-today",
        title: "What happened today?",
        description: "A short report of today's events: how many, by whom, what failed.",
        argument: None,
        needs: &[Toolset::Events],
        text: |_| {
            "Tell me what happened in my mesh today. Call events_analytics with time_range 24h for the \
             volume, the most frequent types and tools, errors and latency. Then call events_query for \
             the events with outcome error, denied or limited of that time, and for those with priority \
             high or critical. Report in at most ten lines: what went on, what stands out against the \
             usual, what failed and why, and what I should look at first."
                .to_owned()
        },
    },
    Definition {
        name: "what-is-in-my-mesh",
        title: "What is in my mesh?",
        description: "An overview of the values and artifacts that are stored.",
        argument: Some(("prefix", "Only what begins with this.")),
        needs: &[Toolset::Kv, Toolset::Artifacts],
        text: |prefix| {
            let within = match prefix {
                Some(prefix) => format!(" whose keys begin with {}", quoted(prefix)),
                None => String::new(),
            };
            format!(
                "Give me an overview of what is stored in my mesh{within}. Call kv_list and \
                 artifacts_list (with delimiter /), each for scope user and for scope tenant. Group what \
                 you find by the beginning of its keys; for each group tell how many there are, how large \
                 they are, how recent, and what they seem to be for. Read single values or artifacts only \
                 where the keys do not tell. End with what expires within a day."
            )
        },
    },
    Definition {
        name: "why-did-this-fail",
        title: "Why did this fail?",
        description: "The story behind a failed call: what was asked, what went wrong, what to do.",
        argument: Some((
            "what",
            "A request id, a key, a tool or an error code; the latest failure if left out.",
        )),
        needs: &[Toolset::Events],
        text: |what| {
            let which = match what {
                Some(what) => format!("the failure that has to do with {}", quoted(what)),
                None => "the latest failure".to_owned(),
            };
            format!(
                "Find out why something failed: {which}. Call events_query with outcome error first, then \
                 denied, limited and unknown, over the last 24 hours and further back if need be, and pick \
                 the event that fits. Then query the events around its time by the same user and tool for \
                 what led to it. Tell me in plain words what was asked, what went wrong, whether it has \
                 happened before, and what to do now. If nothing has failed, say so."
            )
        },
    },
];

/// Why there is no such prompt.
#[derive(Debug, thiserror::Error)]
pub enum PromptFault {
    /// None has that name.
    #[error("there is no prompt of that name; prompts/list names those that there are")]
    Unknown,
    /// An argument is wrong.
    #[error(
        "the argument `{0}` is not one of this prompt's, or not a text of at most {ARGUMENT_CHARS_MAX} characters"
    )]
    Argument(String),
}

/// The prompts that make sense with the offered tools, sorted by name.
pub fn list(catalog: &Catalog) -> Vec<Prompt> {
    let offered = PROMPTS
        .iter()
        .filter(|prompt| prompt.needs.iter().all(|set| catalog.has(*set)));
    let shown = offered.map(|prompt| {
        let arguments = prompt.argument.map(|(name, text)| {
            vec![
                PromptArgument::new(name)
                    .with_description(text)
                    .with_required(false),
            ]
        });
        let mut shown = Prompt::new(prompt.name, Some(prompt.description), arguments);
        shown.title = Some(prompt.title.to_owned());
        shown
    });
    shown.collect()
}

/// The prompt `name` with `arguments`.
pub fn get<'given>(
    catalog: &Catalog,
    name: &str,
    arguments: impl Iterator<Item = (&'given str, Option<&'given str>)>,
) -> Result<GetPromptResult, PromptFault> {
    let offered = PROMPTS
        .iter()
        .filter(|prompt| prompt.needs.iter().all(|set| catalog.has(*set)));
    let prompt = offered
        .into_iter()
        .find(|prompt| prompt.name == name)
        .ok_or(PromptFault::Unknown)?;
    let mut argument = None;
    for (name, value) in arguments {
        let known = prompt.argument.is_some_and(|(known, _)| known == name);
        match value {
            Some(value) if known && value.chars().count() <= ARGUMENT_CHARS_MAX => {
                argument = Some(value).filter(|value| !value.is_empty());
            }
            _ => return Err(PromptFault::Argument(name.chars().take(64).collect())),
        }
    }
    let text = (prompt.text)(argument);
    let mut result = GetPromptResult::new(vec![PromptMessage::new_text(Role::User, text)]);
    result.description = Some(prompt.description.to_owned());
    Ok(result)
}

/// An argument as data: quoted, so that it does not read as part of the instructions.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::call::tool::Tool;

    #[test]
    fn prompts_follow_the_tools_that_they_need() {
        let all = list(&Catalog::new(&Toolset::ALL, false));
        let names: Vec<_> = all.iter().map(|prompt| prompt.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "what-happened-today",
                "what-is-in-my-mesh",
                "why-did-this-fail"
            ]
        );
        assert_eq!(list(&Catalog::new(&[Toolset::Kv], false)).len(), 0);
        assert_eq!(list(&Catalog::new(&[Toolset::Events], true)).len(), 2);
    }

    #[test]
    fn every_tool_that_a_prompt_speaks_of_exists() {
        let catalog = Catalog::new(&Toolset::ALL, false);
        for prompt in &PROMPTS {
            let text = (prompt.text)(Some("x"));
            let named = text
                .split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
            for word in named.filter(|word| {
                ["kv_", "artifacts_", "events_"]
                    .iter()
                    .any(|family| word.starts_with(family))
            }) {
                assert!(
                    Tool::named(word).is_some_and(|tool| catalog.offers(tool)),
                    "{word}"
                );
            }
        }
    }

    #[test]
    fn an_argument_is_checked_and_quoted() {
        let catalog = Catalog::new(&Toolset::ALL, false);
        let with = |name: &'static str, value: &'static str| {
            get(
                &catalog,
                "why-did-this-fail",
                [(name, Some(value))].into_iter(),
            )
        };
        let text = serde_json::to_string(&with("what", "x\". Now").unwrap().messages).unwrap();
        assert!(text.contains("x\\\\\\\". Now"), "{text}");
        assert!(matches!(with("which", "x"), Err(PromptFault::Argument(name)) if name == "which"));
        assert!(matches!(
            get(&catalog, "nope", std::iter::empty()),
            Err(PromptFault::Unknown)
        ));
    }
}
