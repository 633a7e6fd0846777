//! Patterns of events, as EventBridge has them: parsed and checked once, matched often.
//!
//! The grammar is EventBridge's. An object names members that must all fit, a list names values of which
//! one must fit, and `$or` takes one of several objects. What holds for EventBridge holds here:
//!
//! - A list in an event fits where one of its elements does. Of a list of objects, all that is asked below
//!   it must fit one and the same element.
//! - `exists` asks for a value that is no object: an empty list or object is as good as nothing. Where
//!   nothing but absence is asked of a list of objects, all of its elements must lack the member.
//! - Numbers are the same where they are equal (`300`, `300.0`, `3e2`). A text is never a number.
//! - A dot in a member's name is part of the name, and also leads into objects: `a.b` finds `{"a.b": 1}`
//!   and `{"a": {"b": 1}}`.
//!
//! What EventBridge takes and then reads in a way that nobody means is refused: a member that is named
//! twice, one that is constrained inside and outside of `$or`, and a `$or` that is none. Matching costs time
//! in proportion to the event for each comparison, and never more stack than the bounds below allow. Of a
//! large event and a large pattern that is tens of milliseconds, so [`Pattern::fits`] takes them aside.

mod address;
mod compile;
mod condition;
mod evaluate;
mod fault;
mod fold;
mod json;
mod native;
mod number;
mod pace;
mod view;
mod wildcard;

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use self::compile::Compiler;
use self::evaluate::Object;
use self::fault::Place;
use self::json::Json;

pub use fault::PatternFault;
pub use native::{
    BUS_NAME_CHARS_MAX, NATIVE_MEMBERS, NATIVE_WILDCARDS_MAX, bus_name, bus_name_prefix,
};
pub use pace::Viewed;
pub use view::{Seen, VIEW_DEPTH_MAX, view, view_of};

/// The longest pattern, in UTF-16 code units, which is how EventBridge counts characters.
pub const CHARS_MAX: usize = 2048;

/// How deep objects, and the objects of `$or`, may lie in each other.
pub const DEPTH_MAX: usize = 64;

/// The most values in one list.
pub const VALUES_MAX: usize = 512;

/// The most `*` in one pattern.
pub const WILDCARDS_MAX: usize = 64;

/// The most combinations that the lists of all `$or` may have, as EventBridge counts them: the product of
/// their lengths.
pub const COMBINATIONS_MAX: usize = 1000;

/// The most members that a pattern may come to when its `$or` are worked out.
pub const MEMBERS_MAX: usize = 1024;

/// The most comparisons, of names and values, that a pattern may come to when its `$or` are worked out: what it
/// takes to find out that a part of an event does not fit.
pub const COST_MAX: usize = 2048;

/// The most dots in the name of a member, and the longest name with a dot, in bytes: each may lead somewhere.
pub const DOTS_MAX: usize = 8;
/// See [`DOTS_MAX`].
pub const DOTTED_BYTES_MAX: usize = 256;

/// The members of an event that a caller's pattern may speak of; see [`view`].
pub const CALLERS_MEMBERS: [&str; 8] = [
    "source",
    "detail-type",
    "detail",
    "tool",
    "outcome",
    "priority",
    "user_id",
    "tags",
];

/// Another spelling of `detail-type`, as the arguments and results of tools have it.
const DETAIL_TYPE_SPELLING: &str = "detail_type";

/// A pattern, checked and ready to match; a copy of it is the same one.
#[derive(Clone)]
pub struct Pattern(Arc<Content>);

struct Content {
    root: Object,
    json: Json,
    canonical: String,
    size: PatternSize,
    cost: usize,
}

/// How large a pattern is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PatternSize {
    /// Members with a list of values.
    pub conditions: usize,
    /// Values and operators in all lists.
    pub values: usize,
    /// `*` in all wildcards.
    pub wildcards: usize,
}

impl Pattern {
    /// The pattern that `text` is: one JSON object, as EventBridge takes it.
    pub fn parse(text: &str) -> Result<Self, PatternFault> {
        Self::of(Json::parse(text)?)
    }

    /// As [`Pattern::parse`], for a pattern in a caller's terms: of the event it may speak of
    /// [`CALLERS_MEMBERS`] alone, and `detail_type` is `detail-type`.
    pub fn parse_callers(text: &str) -> Result<Self, PatternFault> {
        let mut json = Json::parse(text)?;
        callers_terms(&mut json, &Place::ROOT)?;
        Self::of(json)
    }

    fn of(json: Json) -> Result<Self, PatternFault> {
        let mut compiler = Compiler::default();
        let root = compiler.pattern(&json)?;
        let size = compiler.size();
        let cost = root.cost();
        if cost > COST_MAX {
            return Err(PatternFault::whole(format!(
                "worked out, this pattern comes to {cost} comparisons, more than {COST_MAX}; make several rules of it"
            )));
        }
        let canonical = json.canonical();
        // Numbers may be longer than they were written, and what is kept must be a pattern again.
        json::check_length(&canonical)?;
        Ok(Self(Arc::new(Content {
            root,
            json,
            canonical,
            size,
            cost,
        })))
    }

    /// Whether `event`, one JSON object, fits.
    pub fn matches(&self, event: &Value) -> bool {
        event
            .as_object()
            .is_some_and(|members| self.0.root.matches(members))
    }

    /// How large it is.
    pub fn size(&self) -> PatternSize {
        self.0.size
    }

    /// The pattern as JSON without blanks, its members in the order of their names. Two patterns that are
    /// written alike but for blanks and that order have the same one.
    pub fn canonical(&self) -> String {
        self.0.canonical.clone()
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Pattern({})", self.0.canonical)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.canonical == other.0.canonical
    }
}

/// Checks and spells the members at the top of a caller's pattern, those in the branches of `$or` too.
fn callers_terms(json: &mut Json, place: &Place<'_>) -> Result<(), PatternFault> {
    // Whatever else it is, the compiler says.
    let Json::Object(members) = json else {
        return Ok(());
    };
    for (name, value) in members {
        if name == compile::OR {
            if let Json::List(branches) = value {
                let place = place.member(compile::OR);
                for (index, branch) in branches.iter_mut().enumerate() {
                    callers_terms(branch, &place.element(index))?;
                }
            }
        } else if name == DETAIL_TYPE_SPELLING {
            "detail-type".clone_into(name);
        } else if !CALLERS_MEMBERS.contains(&name.as_str()) {
            return Err(place.member(name).fault(unknown_member(name)));
        }
    }
    Ok(())
}

fn unknown_member(name: &str) -> String {
    let known = CALLERS_MEMBERS.join(", ");
    let nested = CALLERS_MEMBERS.iter().find(|known| {
        name.strip_prefix(*known)
            .is_some_and(|rest| rest.starts_with('.'))
    });
    match nested {
        Some(outer) => format!(
            "a pattern speaks of {known} and $or; nest what is below \"{outer}\": {{\"{outer}\": {{...}}}}"
        ),
        None => format!(
            "a pattern speaks of {known} and $or; what your own events hold is below \"detail\""
        ),
    }
}

#[cfg(test)]
mod tests;
