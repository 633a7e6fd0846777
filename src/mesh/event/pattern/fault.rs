//! What is wrong with a pattern, and where in it.

use std::fmt;

/// What is wrong with a pattern; the message says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternFault {
    path: String,
    message: String,
}

impl PatternFault {
    /// A fault of the pattern as a whole.
    pub(super) fn whole(message: impl Into<String>) -> Self {
        Self {
            path: String::new(),
            message: message.into(),
        }
    }

    /// Where it is, such as `detail.amount[0].numeric`; empty where it is the pattern as a whole.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong, and what to do about it.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for PatternFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            formatter.write_str(&self.message)
        } else {
            write!(formatter, "{}: {}", self.path, self.message)
        }
    }
}

impl std::error::Error for PatternFault {}

/// A place in a pattern; it points to the one that it is in.
pub(super) struct Place<'a> {
    outer: Option<&'a Place<'a>>,
    step: Step<'a>,
}

enum Step<'a> {
    Top,
    Member(&'a str),
    Element(usize),
}

impl Place<'static> {
    /// The pattern as a whole.
    pub(super) const ROOT: Self = Place {
        outer: None,
        step: Step::Top,
    };
}

impl<'a> Place<'a> {
    /// The member `name` of what is here.
    pub(super) fn member(&'a self, name: &'a str) -> Self {
        Place {
            outer: Some(self),
            step: Step::Member(name),
        }
    }

    /// The element `index` of what is here.
    pub(super) fn element(&'a self, index: usize) -> Self {
        Place {
            outer: Some(self),
            step: Step::Element(index),
        }
    }

    /// That what is here is wrong.
    pub(super) fn fault(&self, message: impl Into<String>) -> PatternFault {
        PatternFault {
            path: self.to_string(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(outer) = self.outer {
            outer.fmt(formatter)?;
        }
        match self.step {
            Step::Top => Ok(()),
            Step::Element(index) => write!(formatter, "[{index}]"),
            Step::Member(name) if is_plain(name) => {
                let inside = self
                    .outer
                    .is_some_and(|outer| !matches!(outer.step, Step::Top));
                let dot = if inside { "." } else { "" };
                write!(formatter, "{dot}{name}")
            }
            // Blanks, dots, and letters that look like others show as what they are.
            Step::Member(name) => write!(formatter, "[\"{}\"]", name.escape_default()),
        }
    }
}

fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-$".contains(&byte);
    !name.is_empty() && name.bytes().all(plain)
}
