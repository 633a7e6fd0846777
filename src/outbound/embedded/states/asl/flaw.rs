//! What is wrong with a definition: where, and what to do.

use std::fmt;

/// The most flaws that are told at once.
const FLAWS_MAX: usize = 50;

/// The most characters of a definition that a message repeats.
const QUOTED_CHARS_MAX: usize = 100;

/// One thing that is wrong with a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    /// Where: a JSON pointer into the definition, empty for all of it.
    pub(crate) path: String,
    /// What, and how to put it right.
    pub(crate) message: String,
}

impl fmt::Display for Flaw {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() {
            "the definition"
        } else {
            &self.path
        };
        write!(formatter, "{path}: {}", self.message)
    }
}

/// The flaws found so far.
#[derive(Debug, Default)]
pub(super) struct Flaws(Vec<Flaw>);

impl Flaws {
    /// Adds one, unless there are enough.
    pub(super) fn add(&mut self, path: &str, message: impl Into<String>) {
        if !self.are_enough() {
            self.0.push(Flaw {
                path: path.to_owned(),
                message: message.into(),
            });
        }
    }

    /// Whether no more are told.
    pub(super) fn are_enough(&self) -> bool {
        self.0.len() >= FLAWS_MAX
    }

    /// All of them.
    pub(super) fn into_vec(self) -> Vec<Flaw> {
        self.0
    }
}

/// The pointer to the member of that name, or the item of that number. Of a long name it has the beginning.
pub(super) fn below(path: &str, name: impl fmt::Display) -> String {
    let name = shortened(&name.to_string());
    if name.contains(['~', '/']) {
        format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"))
    } else {
        format!("{path}/{name}")
    }
}

/// A text of the definition as a message repeats it.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", shortened(text))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
