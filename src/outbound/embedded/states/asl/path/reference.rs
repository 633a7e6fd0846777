//! Paths that name one place, to be read or written.

use serde_json::{Map, Value};

use super::super::context::Context;
use super::super::error::{RESULT_PATH_MATCH_FAILURE, StateError, StateResult};
use super::super::meter::Meter;
use super::{Found, Path, Root, Segment, Selector};

/// A path of names and indexes only.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ReferencePath(Path);

impl ReferencePath {
    /// `$`.
    pub(in super::super) fn whole() -> Self {
        Self(Path::whole())
    }

    /// Reads a reference path.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub(in super::super) fn parse(text: &str) -> Result<Self, String> {
        let path = Path::parse(text)?;
        let is_reference = path.segments.iter().all(|segment| match segment.selector {
            Selector::Name(_) => !segment.descends,
            Selector::Index(index) => !segment.descends && index >= 0,
            _ => false,
        });
        if !is_reference {
            return Err(
                "it must name one place: names and indexes from 0, without '..', '*', ',', ':' or '?'"
                    .to_owned(),
            );
        }
        Ok(Self(path))
    }

    /// Reads a reference path into the input, where something can be written.
    pub(in super::super) fn parse_writable(text: &str) -> Result<Self, String> {
        let path = Self::parse(text)?;
        if path.0.root == Root::Context {
            return Err("nothing can be written to the context object: begin with one '$'".into());
        }
        Ok(path)
    }

    /// The path.
    pub(in super::super) fn path(&self) -> &Path {
        &self.0
    }

    /// What is there; nothing where there is nothing.
    pub(in super::super) fn find<'v>(
        &self,
        input: &'v Value,
        context: &'v Context,
    ) -> StateResult<Option<&'v Value>> {
        let found = self.0.find(input, context, &mut Meter::new())?;
        Ok(match found {
            Some(Found::One(value)) => Some(value),
            _ => None,
        })
    }

    /// Puts `value` there in `document`; objects on the way are made where they are missing.
    ///
    /// # Errors
    /// `States.ResultPathMatchFailure` where something else is in the way.
    pub(in super::super) fn put(&self, document: &mut Value, value: Value) -> StateResult<()> {
        let mut place = document;
        for segment in &self.0.segments {
            place = self.enter(segment, place)?;
        }
        *place = value;
        Ok(())
    }

    fn enter<'v>(&self, segment: &Segment, place: &'v mut Value) -> StateResult<&'v mut Value> {
        let name = match (&segment.selector, place) {
            (Selector::Name(name), Value::Object(members)) => {
                return Ok(members
                    .entry(name.as_str())
                    .or_insert_with(|| Value::Object(Map::new())));
            }
            (Selector::Index(index), Value::Array(items)) => {
                let length = items.len();
                return usize::try_from(*index)
                    .ok()
                    .and_then(|index| items.get_mut(index))
                    .ok_or_else(|| {
                        self.no_match(&format!(
                            "an array there has {length} items, none at {index}"
                        ))
                    });
            }
            (Selector::Name(name), _) => format!("the parent of '{name}' is no object"),
            (Selector::Index(index), _) => format!("the parent of [{index}] is no array"),
            _ => "it names no one place".to_owned(),
        };
        Err(self.no_match(&name))
    }

    fn no_match(&self, why: &str) -> StateError {
        StateError::new(
            RESULT_PATH_MATCH_FAILURE,
            format!(
                "nothing can be put at '{}' of the input: {why}",
                self.0.text
            ),
        )
    }
}
