//! The members of one object of a definition: asked for by name, so that none stays unread.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::super::flaw::{Flaws, below, quoted};
use super::super::path::{Path, ReferencePath};
use super::super::template::{bad_path, refuse_token};

/// How alike a name must be to be suggested, from 0 to 1.
const LIKENESS_MIN: f64 = 0.85;

/// The longest name, in bytes, that is compared with those that are known.
const SUGGESTED_BYTES_MAX: usize = 64;

/// The members of an object.
#[derive(Debug)]
pub(super) struct Members<'d> {
    members: &'d Map<String, Value>,
    at: String,
    /// The names that have been asked for.
    known: Vec<&'static str>,
}

impl<'d> Members<'d> {
    /// Those of a value, which must be an object.
    pub(super) fn of(value: &'d Value, at: &str, flaws: &mut Flaws) -> Option<Self> {
        let Value::Object(members) = value else {
            flaws.add(at, "it must be an object");
            return None;
        };
        Some(Self {
            members,
            at: at.to_owned(),
            known: Vec::new(),
        })
    }

    /// The place of a member.
    pub(super) fn path(&self, name: &str) -> String {
        below(&self.at, name)
    }

    /// The place of the object.
    pub(super) fn at(&self) -> &str {
        &self.at
    }

    /// The names of all members.
    pub(super) fn names(&self) -> impl Iterator<Item = &'d str> {
        self.members.keys().map(String::as_str)
    }

    /// A member.
    pub(super) fn get(&mut self, name: &'static str) -> Option<&'d Value> {
        self.known.push(name);
        self.members.get(name)
    }

    /// A member whose name is not known beforehand.
    pub(super) fn value(&self, name: &str) -> Option<&'d Value> {
        self.members.get(name)
    }

    /// A member that must be there.
    pub(super) fn required(&mut self, name: &'static str, flaws: &mut Flaws) -> Option<&'d Value> {
        let member = self.get(name);
        if member.is_none() {
            flaws.add(&self.at, format!("'{name}' is missing"));
        }
        member
    }

    /// A text.
    pub(super) fn text(&mut self, name: &'static str, flaws: &mut Flaws) -> Option<&'d str> {
        let value = self.get(name)?;
        let text = value.as_str();
        if text.is_none() {
            flaws.add(&self.path(name), "it must be a text");
        }
        text
    }

    /// A text that must be there.
    pub(super) fn required_text(
        &mut self,
        name: &'static str,
        flaws: &mut Flaws,
    ) -> Option<&'d str> {
        self.required(name, flaws)?;
        self.text(name, flaws)
    }

    /// A whole number.
    pub(super) fn whole(
        &mut self,
        name: &'static str,
        range: RangeInclusive<u64>,
        flaws: &mut Flaws,
    ) -> Option<u64> {
        let number = self.get(name)?.as_u64();
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let message = format!(
                "it must be a whole number from {} to {}",
                range.start(),
                range.end()
            );
            flaws.add(&self.path(name), message);
        }
        number
    }

    /// An array with an item at least.
    pub(super) fn list(&mut self, name: &'static str, flaws: &mut Flaws) -> Option<&'d [Value]> {
        match self.get(name)? {
            Value::Array(items) if !items.is_empty() => Some(items),
            _ => {
                flaws.add(
                    &self.path(name),
                    "it must be an array with an item at least",
                );
                None
            }
        }
    }

    /// A path, or `null`; the whole where it is left out.
    pub(super) fn path_or_null(&mut self, name: &'static str, flaws: &mut Flaws) -> Option<Path> {
        match self.get(name) {
            None => Some(Path::whole()),
            Some(Value::Null) => None,
            Some(Value::String(text)) => {
                let path = Path::parse(text).map_err(|why| bad_path(text, &why));
                let path = path.and_then(|path| refuse_token(&path).map(|()| path));
                path.map_err(|message| flaws.add(&self.path(name), message))
                    .ok()
            }
            Some(_) => {
                flaws.add(&self.path(name), "it must be a path or null");
                None
            }
        }
    }

    /// A path that a result can be written to, or `null`; the whole where it is left out.
    pub(super) fn result_path(&mut self, flaws: &mut Flaws) -> Option<ReferencePath> {
        const NAME: &str = "ResultPath";
        match self.get(NAME) {
            None => Some(ReferencePath::whole()),
            Some(Value::Null) => None,
            Some(Value::String(text)) => ReferencePath::parse_writable(text)
                .map_err(|why| flaws.add(&self.path(NAME), bad_path(text, &why)))
                .ok(),
            Some(_) => {
                flaws.add(&self.path(NAME), "it must be a path or null");
                None
            }
        }
    }

    /// A path that names one place.
    pub(super) fn reference(
        &mut self,
        name: &'static str,
        flaws: &mut Flaws,
    ) -> Option<ReferencePath> {
        let text = self.text(name, flaws)?;
        let path = ReferencePath::parse(text).map_err(|why| bad_path(text, &why));
        let path = path.and_then(|path| refuse_token(path.path()).map(|()| path));
        path.map_err(|message| flaws.add(&self.path(name), message))
            .ok()
    }

    /// Whether both are there, which is a flaw.
    pub(super) fn both(&mut self, one: &'static str, other: &'static str, flaws: &mut Flaws) {
        if self.get(one).is_some() && self.get(other).is_some() {
            flaws.add(
                &self.at,
                format!("'{one}' and '{other}' exclude each other: keep one of the two"),
            );
        }
    }

    /// Tells every member that has not been asked for. `what` is what the object is.
    pub(super) fn finish(self, what: &str, flaws: &mut Flaws) {
        for name in self.members.keys() {
            if !self.known.contains(&name.as_str()) && !flaws.are_enough() {
                flaws.add(&self.path(name), self.unknown(name, what));
            }
        }
    }

    fn unknown(&self, name: &str, what: &str) -> String {
        match name {
            "Assign" => {
                return "variables are not supported: carry the value in the state's output with 'ResultPath'"
                    .to_owned();
            }
            "Arguments" | "Output" | "Items" | "Condition" => {
                return format!(
                    "'{name}' belongs to JSONata, which is not supported: write it with JSONPath"
                );
            }
            "ItemReader"
            | "ItemBatcher"
            | "ResultWriter"
            | "Label"
            | "ToleratedFailureCount"
            | "ToleratedFailureCountPath"
            | "ToleratedFailurePercentage"
            | "ToleratedFailurePercentagePath" => {
                return format!(
                    "'{name}' belongs to distributed maps, which are not supported: take the items from the input, and catch errors within 'ItemProcessor'"
                );
            }
            "Credentials" => {
                return "'Credentials' is not supported: a task acts as the user that started the run"
                    .to_owned();
            }
            _ => {}
        }
        let likeness = |known: &&str| match name.len() {
            ..=SUGGESTED_BYTES_MAX => strsim::jaro_winkler(name, known),
            _ => 0.0,
        };
        let nearest = self
            .known
            .iter()
            .filter(|known| likeness(known) >= LIKENESS_MIN)
            .max_by(|left, right| likeness(left).total_cmp(&likeness(right)));
        match nearest {
            Some(nearest) => {
                format!(
                    "{what} has no member {}; is '{nearest}' meant?",
                    quoted(name)
                )
            }
            None => format!("{what} has no member {}: take it out", quoted(name)),
        }
    }
}
