//! What a person is told of a definition before it is started: every flaw with its place, and what of it runs
//! in the embedded cloud only.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::value::RawValue;

use super::asl::Flaw;
use super::definition::{self, Definitions, Missing};
use crate::outbound::embedded::folder::WORKFLOWS_FOLDER;

/// The definitions in a data folder, which need not be there.
#[derive(Debug)]
pub struct WorkflowFiles(Definitions);

/// What there is to be told of a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// It can be started.
    Sound {
        /// How many states it has.
        states: usize,
        /// Its states that call tools of this server, which Step Functions cannot.
        embedded_only: Vec<ToolState>,
    },
    /// It cannot; each flaw.
    Flawed(Vec<FlawFound>),
    /// It cannot even be read; why.
    Unreadable(String),
    /// There is no such file.
    Missing,
}

/// A state that calls a tool of this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolState {
    /// The state's name.
    pub state: String,
    /// The tool's.
    pub tool: String,
    /// Its line in the text, from 1.
    pub line: Option<usize>,
}

/// Something that is wrong with a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlawFound {
    /// The line in the text, from 1, where the place is in it.
    pub line: Option<usize>,
    /// The place: a JSON pointer, empty for all of it.
    pub place: String,
    /// What is wrong, and how to put it right.
    pub message: String,
}

impl WorkflowFiles {
    /// The definitions in the data folder `data_dir`.
    pub fn of(data_dir: &Path) -> Self {
        Self(Definitions::new(data_dir.join(WORKFLOWS_FOLDER)))
    }

    /// Where they lie.
    pub fn folder(&self) -> &Path {
        self.0.folder()
    }

    /// Their names, in order.
    ///
    /// # Errors
    /// Where the folder is there and cannot be read.
    pub fn names(&self) -> std::io::Result<Vec<String>> {
        let listed = self.0.list()?;
        Ok(listed.into_iter().map(|(name, _)| name).collect())
    }

    /// The file of the definition `name`, whether or not there is one.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder().join(format!("{name}{}", definition::SUFFIX))
    }

    /// Checks the definition `name`.
    pub fn check(&self, name: &str) -> Checked {
        self.checked(self.0.text(name).map(|(text, _)| text))
    }

    /// Checks the file at `path`, wherever that is.
    pub fn check_file(&self, path: &Path) -> Checked {
        self.checked(definition::read_text(path).map(|(text, _)| text))
    }

    fn checked(&self, text: Result<String, Missing>) -> Checked {
        let text = match text {
            Ok(text) => text,
            Err(Missing::File) => return Checked::Missing,
            Err(why) => return Checked::Unreadable(why.to_string()),
        };
        match self.0.parse(text.clone()) {
            Ok(definition) => {
                let machine = &definition.machine;
                let tools = machine.embedded_only().into_iter();
                let tools = tools.map(|(state, tool)| ToolState {
                    line: definition::pointer_to_state(&text, &state.name)
                        .and_then(|pointer| line_of(&text, &pointer)),
                    state: state.name.clone(),
                    tool: tool.to_owned(),
                });
                let mut embedded_only: Vec<ToolState> = tools.collect();
                embedded_only.sort_by_key(|state| state.line);
                Checked::Sound {
                    states: machine.states().len(),
                    embedded_only,
                }
            }
            Err(Missing::Flaws(flaws)) => {
                let found = |flaw: Flaw| FlawFound {
                    line: line_of(&text, &flaw.path),
                    place: flaw.path,
                    message: flaw.message,
                };
                let mut flaws: Vec<FlawFound> = flaws.into_iter().map(found).collect();
                // The machine has its states by name; a person reads the file from its top.
                flaws.sort_by_key(|flaw| flaw.line);
                Checked::Flawed(flaws)
            }
            Err(why) => Checked::Unreadable(why.to_string()),
        }
    }
}

/// The line on which the value at a JSON pointer begins, or the nearest one around it that there is.
fn line_of(text: &str, pointer: &str) -> Option<usize> {
    let mut value: &RawValue = serde_json::from_str(text).ok()?;
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        match step(value, &part) {
            Some(below) => value = below,
            None => break,
        }
    }
    Some(line_at(text, value.get()))
}

/// What `value` has under the name, or at the place, `part`.
fn step<'a>(value: &'a RawValue, part: &str) -> Option<&'a RawValue> {
    if value.get().starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
        return items.get(part.parse::<usize>().ok()?).copied();
    }
    let members: HashMap<String, &RawValue> = serde_json::from_str(value.get()).ok()?;
    members.get(part).copied()
}

/// The line of `part`, which is a piece of `text`.
fn line_at(text: &str, part: &str) -> usize {
    let offset = part.as_ptr().addr().saturating_sub(text.as_ptr().addr());
    let before = text.as_bytes().get(..offset).unwrap_or_default();
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NESTED: &str = r#"{
  "StartAt": "Each",
  "States": {
    "Each": {
      "Type": "Map",
      "ItemProcessor": {
        "StartAt": "Save",
        "States": {
          "Save": {
            "Type": "Task",
            "Resource": "arn:aws:states:::agent-mesh:kv_set",
            "End": true
          }
        }
      },
      "End": true
    }
  }
}"#;

    fn checked(text: &str) -> Checked {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.asl.json");
        std::fs::write(&path, text).unwrap();
        WorkflowFiles::of(folder.path()).check_file(&path)
    }

    #[test]
    fn states_that_call_tools_are_told_with_their_lines() {
        let expected = Checked::Sound {
            states: 2,
            embedded_only: vec![ToolState {
                state: "Save".to_owned(),
                tool: "kv_set".to_owned(),
                line: Some(9),
            }],
        };
        assert_eq!(checked(NESTED), expected);
    }

    #[test]
    fn flaws_are_told_with_their_lines() {
        let Checked::Flawed(flaws) = checked(&NESTED.replace("\"Task\"", "\"Tisk\"")) else {
            panic!("it is wrong");
        };
        assert!(flaws.iter().any(|flaw| flaw.line == Some(10)), "{flaws:?}");
        let Checked::Flawed(flaws) = checked(&NESTED.replace("kv_set", "kv_sett")) else {
            panic!("there is no such tool");
        };
        assert_eq!(flaws.len(), 1);
        assert!(flaws[0].message.contains("kv_sett"), "{flaws:?}");
        assert_eq!(flaws[0].line, Some(11), "{flaws:?}");
        let place = "/States/Each/ItemProcessor/States/Save/Resource";
        assert_eq!(flaws[0].place, place);
        let several = NESTED
            .replace("kv_set", "kv_sett")
            .replace("\"End\": true\n    }", "\"Next\": \"Nowhere\"\n    }")
            .replace(
                "\"ItemProcessor\"",
                "\"ItemsPath\": \"x\", \"ItemProcessor\"",
            );
        let Checked::Flawed(flaws) = checked(&several) else {
            panic!("it is wrong in three ways");
        };
        let lines: Vec<Option<usize>> = flaws.iter().map(|flaw| flaw.line).collect();
        assert_eq!(lines, [Some(6), Some(11), Some(16)], "{flaws:?}");
        let Checked::Flawed(flaws) = checked("{\n  \"StartAt\": ") else {
            panic!("it is no JSON");
        };
        assert_eq!(flaws.len(), 1);
    }

    #[test]
    fn what_cannot_be_read_is_told_apart_from_what_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let files = WorkflowFiles::of(folder.path());
        assert_eq!(files.check("none"), Checked::Missing);
        assert_eq!(files.check("../none"), Checked::Missing);
        assert_eq!(files.names().unwrap(), Vec::<String>::new());
        let path = folder.path().join("x");
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(matches!(files.check_file(&path), Checked::Unreadable(_)));
    }
}
