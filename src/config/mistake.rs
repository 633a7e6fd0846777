//! What is wrong with a configuration: every mistake by name, with the nearest name that would be right.

use std::fmt;
use std::path::{Path, PathBuf};

/// The farthest that two names may be apart, as a share of the longer one, to be taken for each other.
const NEAR_SHARE: usize = 3;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// What is wrong, as the operator wrote it: a variable, a flag or a key.
    pub name: String,
    /// The file and line it stands in, where it stands in one.
    pub place: Option<Place>,
    /// What is wrong with it, and what would be right.
    pub message: String,
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// The line, counted from 1; 0 where it is the file as a whole.
    pub line: usize,
}

/// All mistakes of one configuration: at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<Mistake>);

/// Collects mistakes, so that all of them are told at once.
#[derive(Debug, Default)]
pub(crate) struct Mistakes(Vec<Mistake>);

impl Place {
    /// Line `line` of `path`.
    pub fn new(path: &Path, line: usize) -> Self {
        Self {
            path: path.to_owned(),
            line,
        }
    }
}

impl ConfigErrors {
    /// Every mistake: first those of flags and variables, then those of files from the top down.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.0
    }
}

impl Mistakes {
    /// One more mistake, of a flag, a variable or the whole.
    pub(crate) fn add(&mut self, name: impl Into<String>, message: impl Into<String>) {
        self.0.push(Mistake {
            name: name.into(),
            place: None,
            message: message.into(),
        });
    }

    /// One more mistake, in a file.
    pub(crate) fn add_at(
        &mut self,
        place: Place,
        name: impl Into<String>,
        message: impl Into<String>,
    ) {
        self.0.push(Mistake {
            name: name.into(),
            place: Some(place),
            message: message.into(),
        });
    }

    /// Those of a part, such as a further file.
    pub(crate) fn append(&mut self, errors: ConfigErrors) {
        self.0.extend(errors.0);
    }

    /// `value`, unless there were mistakes. It is there unless one of them kept it from being made.
    pub(crate) fn demand<T>(mut self, value: Option<T>) -> Result<T, ConfigErrors> {
        match value {
            Some(value) => self.unless(value),
            None => {
                if self.0.is_empty() {
                    self.add("settings", "a default does not pass its own check");
                }
                Err(self.sorted())
            }
        }
    }

    /// `value`, unless there were mistakes.
    pub(crate) fn unless<T>(self, value: T) -> Result<T, ConfigErrors> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            Err(self.sorted())
        }
    }

    fn sorted(mut self) -> ConfigErrors {
        self.0.sort_by(|left, right| key(left).cmp(&key(right)));
        ConfigErrors(self.0)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(formatter, "{}", self.path.display()),
            line => write!(formatter, "{}:{line}", self.path.display()),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(formatter, "{place}: {}: {}", self.name, self.message),
            None => write!(formatter, "{}: {}", self.name, self.message),
        }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        let word = if count == 1 { "mistake" } else { "mistakes" };
        write!(formatter, "{count} {word} in the configuration:")?;
        for mistake in &self.0 {
            write!(formatter, "\n  {mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// The name among `known` that `name` was most likely meant to be.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::osa_distance(name, candidate), candidate))
        .filter(|(distance, candidate)| {
            *distance <= (name.len().max(candidate.len()) / NEAR_SHARE).max(1)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// "; did you mean `x`?" where there is a near name, else nothing.
pub(crate) fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

/// The order in which mistakes are told; the sort keeps the order of those without a place.
fn key(mistake: &Mistake) -> Option<(&Path, usize)> {
    let place = mistake.place.as_ref()?;
    Some((&place.path, place.line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_found_and_a_far_one_is_not() {
        let known = ["kv_table", "artifacts_bucket", "event_bus"];
        assert_eq!(nearest("kv_tabel", known), Some("kv_table"));
        assert_eq!(nearest("event_buss", known), Some("event_bus"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(did_you_mean("x", ["y"]), "; did you mean `y`?");
        assert_eq!(did_you_mean("xx", ["yy"]), "");
    }

    #[test]
    fn mistakes_without_a_place_come_first_and_lines_from_the_top_down() {
        let mut mistakes = Mistakes::default();
        mistakes.add_at(Place::new(Path::new("f"), 9), "b", "second");
        mistakes.add_at(Place::new(Path::new("f"), 2), "a", "first");
        mistakes.add("AGENT_MESH_X", "wrong");
        let errors = mistakes.unless(()).unwrap_err();
        assert_eq!(
            errors.to_string(),
            "3 mistakes in the configuration:\n  AGENT_MESH_X: wrong\n  f:2: a: first\n  f:9: b: second"
        );
    }
}
