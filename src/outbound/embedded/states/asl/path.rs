//! Paths into an input or the context object: JSONPath as Step Functions reads it.
//!
//! It is Jayway's dialect: names may hold hyphens and be escaped with backslashes, a filter on an object
//! tests that object, and a definite path gives a value where any other gives a list. Evaluation is paid
//! for with a [`Meter`], which no library for JSONPath offers.

mod filter;
mod parse;
mod reference;
#[cfg(test)]
mod tests;
mod walk;

use serde_json::Value;

pub(crate) use reference::ReferencePath;

use super::context::Context;
use super::cursor::Cursor;
use super::error::{StateError, StateResult};
use super::meter::Meter;
use filter::Test;

/// The most steps of one path.
const SEGMENTS_MAX: usize = 64;

/// A path.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Path {
    text: String,
    root: Root,
    segments: Vec<Segment>,
}

/// What a path begins at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Root {
    /// `$`: the input.
    Input,
    /// `$$`: the context object.
    Context,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq)]
struct Segment {
    /// Whether it is taken from every node below (`..`), too.
    descends: bool,
    selector: Selector,
}

/// What one step selects.
#[derive(Clone, Debug, PartialEq)]
enum Selector {
    /// The member of that name.
    Name(String),
    /// The item at that place; from the end where it is negative.
    Index(i64),
    /// The items at those places.
    Indexes(Vec<i64>),
    /// The items from one place to before another.
    Slice(Option<i64>, Option<i64>),
    /// Every member or item.
    Each,
    /// Those that pass a test.
    Filter(Test),
}

/// What a path leads to.
#[derive(Debug)]
pub(super) enum Found<'v> {
    /// A definite path's one value.
    One(&'v Value),
    /// Any other path's values.
    List(Vec<&'v Value>),
}

impl Path {
    /// `$`, the whole input.
    pub(super) fn whole() -> Self {
        Self {
            text: "$".to_owned(),
            root: Root::Input,
            segments: Vec::new(),
        }
    }

    /// Reads a path.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut cursor = Cursor::new(text);
        let path = Self::read(&mut cursor)?;
        if !cursor.is_at_end() {
            return Err(cursor.expected("'.' or '[' or the end; write other names as ['name']"));
        }
        Ok(path)
    }

    /// Reads a path that something else may follow.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self, String> {
        parse::path(cursor)
    }

    /// The path as it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is `$`.
    pub(super) fn is_whole(&self) -> bool {
        self.root == Root::Input && self.segments.is_empty()
    }

    /// The names that it begins with where it begins in the context object.
    pub(super) fn context_names(&self) -> Option<Vec<&str>> {
        let names = self.segments.iter().map_while(|segment| match segment {
            Segment {
                descends: false,
                selector: Selector::Name(name),
            } => Some(name.as_str()),
            _ => None,
        });
        (self.root == Root::Context).then(|| names.collect())
    }

    /// What it leads to; nothing where a value that it goes through is not there.
    pub(super) fn find<'v>(
        &self,
        input: &'v Value,
        context: &'v Context,
        meter: &mut Meter,
    ) -> StateResult<Option<Found<'v>>> {
        let root = match self.root {
            Root::Input => input,
            Root::Context => context.value(),
        };
        walk::find(&self.segments, root, meter)
    }

    /// A copy of what it leads to, a list where it is not definite; nothing where it leads nowhere.
    pub(super) fn value(
        &self,
        input: &Value,
        context: &Context,
        meter: &mut Meter,
    ) -> StateResult<Option<Value>> {
        let Some(found) = self.find(input, context, meter)? else {
            return Ok(None);
        };
        match found {
            Found::One(value) => meter.copy(value).map(Some),
            Found::List(values) => {
                let copies = values.into_iter().map(|value| meter.copy(value));
                copies
                    .collect::<StateResult<_>>()
                    .map(|list| Some(Value::Array(list)))
            }
        }
    }

    /// What is said where it leads nowhere, as the error of that name.
    pub(super) fn leads_nowhere(&self, error: &str, member: &str) -> StateError {
        let place = match self.root {
            Root::Input => "the input",
            Root::Context => "the context object",
        };
        let text = &self.text;
        StateError::new(
            error,
            format!("the path '{text}' of '{member}' leads to nothing in {place}"),
        )
    }
}

impl Segment {
    fn is_definite(&self) -> bool {
        !self.descends && matches!(self.selector, Selector::Name(_) | Selector::Index(_))
    }
}
