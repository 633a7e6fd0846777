//! How a definition is read: all of it, with everything that is wrong told at once.

mod choice;
mod failure;
mod graph;
mod members;
mod parameters;
mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::flaw::{Flaw, Flaws, below, quoted};
use super::machine::{Flow, Machine};
use super::{DEFINITION_BYTES_MAX, FLOW_DEPTH_MAX, NAME_CHARS_MAX, SECONDS_MAX, document};
use members::Members;

/// The one version of the language.
const VERSION: &str = "1.0";

/// What reads a definition.
#[derive(Debug, Default)]
struct Reader {
    flaws: Flaws,
    /// The names of all states so far.
    names: BTreeSet<String>,
}

impl Machine {
    /// Reads a definition. What it says that the interpreter does not do is a flaw, too.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, Vec<Flaw>> {
        let mut reader = Reader::default();
        let machine = reader.machine(text);
        let flaws = reader.flaws.into_vec();
        match machine {
            Some(machine) if flaws.is_empty() => Ok(machine),
            _ => Err(flaws),
        }
    }
}

impl Reader {
    fn machine(&mut self, text: &str) -> Option<Machine> {
        if text.len() > DEFINITION_BYTES_MAX {
            let message = format!(
                "it has {} bytes, more than {DEFINITION_BYTES_MAX}: split it into several machines",
                text.len()
            );
            self.flaws.add("", message);
            return None;
        }
        let document = match document::parse(text) {
            Ok(document) => document,
            Err(error) => {
                self.flaws.add("", format!("it is no JSON: {error}"));
                return None;
            }
        };
        let mut members = Members::of(&document, "", &mut self.flaws)?;
        let comment = members.text("Comment", &mut self.flaws);
        self.query_language(&mut members);
        if let Some(version) = members.text("Version", &mut self.flaws)
            && version != VERSION
        {
            let message = format!("the only version is {VERSION}");
            self.flaws.add(&members.path("Version"), message);
        }
        let timeout_seconds = members.whole("TimeoutSeconds", 1..=SECONDS_MAX, &mut self.flaws);
        let flow = self.flow(&mut members, FLOW_DEPTH_MAX);
        members.finish("a state machine", &mut self.flaws);
        Some(Machine {
            comment: comment.map(str::to_owned),
            timeout_seconds,
            flow: flow?,
        })
    }

    /// Refuses every language of queries but JSONPath.
    fn query_language(&mut self, members: &mut Members<'_>) {
        if let Some(language) = members.text("QueryLanguage", &mut self.flaws)
            && language != "JSONPath"
        {
            let message = format!(
                "{} is not supported: write it with JSONPath (InputPath, Parameters, ResultSelector, ResultPath, OutputPath)",
                quoted(language)
            );
            self.flaws.add(&members.path("QueryLanguage"), message);
        }
    }

    /// Reads `StartAt` and `States`.
    fn flow(&mut self, members: &mut Members<'_>, depth_left: usize) -> Option<Flow> {
        let start_at = members.required_text("StartAt", &mut self.flaws);
        let states = members.required("States", &mut self.flaws)?;
        let at = members.path("States");
        let Value::Object(definitions) = states else {
            self.flaws
                .add(&at, "it must be an object of states by name");
            return None;
        };
        let Some(depth_left) = depth_left.checked_sub(1) else {
            let message =
                format!("more than {FLOW_DEPTH_MAX} Parallel and Map states lie in each other");
            self.flaws.add(&at, message);
            return None;
        };
        if definitions.is_empty() {
            self.flaws.add(&at, "there must be a state at least");
        }
        let mut states = BTreeMap::new();
        for (name, definition) in definitions {
            let at = below(&at, name);
            self.name(name, &at);
            if let Some(state) = self.state(name, definition, &at, depth_left) {
                states.insert(name.clone(), state);
            }
        }
        let start = start_at.map(|start_at| (members.path("StartAt"), start_at));
        graph::check(definitions, &at, start.as_ref(), &mut self.flaws);
        Some(Flow {
            start_at: start_at?.to_owned(),
            states,
        })
    }

    fn name(&mut self, name: &str, at: &str) {
        let length = name.chars().count();
        if !(1..=NAME_CHARS_MAX).contains(&length) {
            let message =
                format!("the name of a state has 1 to {NAME_CHARS_MAX} characters, not {length}");
            self.flaws.add(at, message);
        }
        if !self.names.insert(name.to_owned()) {
            let message = "another state has this name: names are unique in the whole machine";
            self.flaws.add(at, message);
        }
    }
}
