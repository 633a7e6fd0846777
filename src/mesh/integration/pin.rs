//! What a tool said when it was first seen: its canonical hash, and how what it says now differs from that.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::{unseen, written};

/// The members of a tool's definition that are pinned: what a model decides by.
pub const PINNED_MEMBERS: [&str; 6] = [
    "annotations",
    "description",
    "inputSchema",
    "name",
    "outputSchema",
    "title",
];

/// How deep a definition may be nested.
pub const DEPTH_MAX: usize = 64;

/// The most changes that a difference tells.
const CHANGES_MAX: usize = 12;

/// The most characters of an old or new text that a difference shows, and how many before the first that
/// differs.
const EXCERPT_CHARS_MAX: usize = 200;
const CONTEXT_CHARS: usize = 40;

/// The most characters of the place of a change.
const PATH_CHARS_MAX: usize = 120;

/// Beyond so many bytes a place is not followed further, and so many characters of a name stand in it.
const PLACE_BYTES_MAX: usize = 512;
const NAME_CHARS_MAX: usize = 64;

/// The bytes of a hash: half of them keep two definitions apart that one attacker wrote.
const HASH_BYTES: usize = 24;

/// The hash of what is pinned of a tool's definition.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PinHash([u8; HASH_BYTES]);

/// How what a tool says differs from what was pinned, for a person to read; every text in it is escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What changed, the first ones in the order of their places.
    pub changes: Vec<Change>,
    /// How many changes are left out.
    #[serde(skip_serializing_if = "is_zero")]
    pub more: usize,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Where: the names of the members, with `.` between.
    pub at: String,
    /// What was pinned, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub was: Option<String>,
    /// What is there now, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is: Option<String>,
}

/// A definition that is no JSON object, or is nested deeper than [`DEPTH_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a definition must be a JSON object of at most {DEPTH_MAX} levels")]
pub struct NotPinnable;

/// The pinned members of a definition as far as they can be read: see [`written::value`]. Of one that stands
/// there twice it is the last.
pub fn readable(definition: &RawValue) -> Map<String, Value> {
    let members = pinned(definition).unwrap_or_default().into_iter();
    let members = members.map(|(name, member)| (name.to_owned(), written::value(member)));
    members.collect()
}

impl PinHash {
    /// Of the pinned members of `definition`, whatever the order of members and the spelling of texts.
    /// Numbers count as they are written.
    ///
    /// # Errors
    /// [`NotPinnable`].
    pub fn of(definition: &RawValue) -> Result<Self, NotPinnable> {
        let mut text = String::with_capacity(definition.get().len());
        for (name, value) in pinned(definition)? {
            text.push_str(name);
            text.push(':');
            write_canonical(value, DEPTH_MAX, &mut text)?;
            text.push('\n');
        }
        let digest = Sha256::digest(text);
        let mut hash = [0; HASH_BYTES];
        hash.copy_from_slice(&digest[..HASH_BYTES]);
        Ok(Self(hash))
    }
}

impl Difference {
    /// What `now` says otherwise than `pinned`; a definition whose text was not kept differs in nothing that
    /// could be shown.
    pub fn between(pinned: Option<&RawValue>, now: &RawValue) -> Self {
        let Some(pinned) = pinned else {
            return Self::default();
        };
        let (before, after) = (leaves(pinned), leaves(now));
        let names: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
        let mut difference = Self::default();
        for name in names {
            let (was, is) = (before.get(name), after.get(name));
            if was == is {
                continue;
            }
            if difference.changes.len() == CHANGES_MAX {
                difference.more += 1;
                continue;
            }
            let (was, is) = excerpts(was.map(String::as_str), is.map(String::as_str));
            difference.changes.push(Change {
                at: unseen::excerpt(name, PATH_CHARS_MAX),
                was,
                is,
            });
        }
        difference
    }
}

impl fmt::Display for PinHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for PinHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for PinHash {
    type Err = NotPinnable;

    fn from_str(text: &str) -> Result<Self, NotPinnable> {
        let mut hash = [0; HASH_BYTES];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut hash) {
            Ok(HASH_BYTES) => Ok(Self(hash)),
            _ => Err(NotPinnable),
        }
    }
}

impl Serialize for PinHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
const fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// The members of an object in the order they stand, a name as often as it stands there: parsers differ in
/// which of two they take, so both count.
struct Members<'text>(Vec<(String, &'text RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<String, &'de RawValue>()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}

/// The pinned members of a definition, by name; one that is `null` counts as left out.
pub(super) fn pinned(definition: &RawValue) -> Result<Vec<(&'static str, &RawValue)>, NotPinnable> {
    let members: Members<'_> = serde_json::from_str(definition.get()).map_err(|_| NotPinnable)?;
    let mut found = Vec::with_capacity(PINNED_MEMBERS.len());
    for name in PINNED_MEMBERS {
        let of_name = members.0.iter().filter(|(held, _)| held == name);
        found.extend(of_name.map(|(_, value)| (name, *value)));
    }
    found.retain(|(_, value)| value.get() != "null");
    Ok(found)
}

/// Writes `value` with the members of objects in the order of their names, texts in one spelling and
/// numbers as they are.
fn write_canonical(value: &RawValue, depth: usize, into: &mut String) -> Result<(), NotPinnable> {
    let text = value.get();
    let rest = depth.checked_sub(1).ok_or(NotPinnable)?;
    match text.as_bytes().first() {
        Some(b'{') => {
            let Members(mut members) = serde_json::from_str(text).map_err(|_| NotPinnable)?;
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
            into.push('{');
            for (name, member) in members {
                push_text(&name, into);
                into.push(':');
                write_canonical(member, rest, into)?;
                into.push(',');
            }
            into.push('}');
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| NotPinnable)?;
            into.push('[');
            for item in items {
                write_canonical(item, rest, into)?;
                into.push(',');
            }
            into.push(']');
        }
        Some(b'"') => match serde_json::from_str::<String>(text) {
            Ok(decoded) => push_text(&decoded, into),
            // A lone surrogate is no text; it counts as it is written.
            Err(_) => into.push_str(text),
        },
        _ => into.push_str(text),
    }
    Ok(())
}

fn push_text(text: &str, into: &mut String) {
    into.push_str(&serde_json::to_string(text).unwrap_or_default());
}

/// Every value of the pinned members that holds no others, by its place.
fn leaves(definition: &RawValue) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (name, value) in pinned(definition).unwrap_or_default() {
        gather(name.to_owned(), value, DEPTH_MAX, &mut found);
    }
    found
}

fn gather(at: String, value: &RawValue, depth: usize, into: &mut BTreeMap<String, String>) {
    let text = value.get();
    let mut put = |text: String| {
        into.entry(at.clone())
            .and_modify(|held| {
                held.push_str(", and again ");
                held.push_str(&text);
            })
            .or_insert(text);
    };
    let rest = depth.saturating_sub(1);
    if depth == 0 || at.len() > PLACE_BYTES_MAX {
        return put(text.to_owned());
    }
    match text.as_bytes().first() {
        Some(b'{') if text.len() > 2 => match serde_json::from_str::<Members<'_>>(text) {
            Ok(Members(members)) if !members.is_empty() => {
                for (name, member) in members {
                    let name: String = name.chars().take(NAME_CHARS_MAX).collect();
                    gather(format!("{at}.{name}"), member, rest, into);
                }
            }
            _ => put(text.to_owned()),
        },
        Some(b'[') => match serde_json::from_str::<Vec<&RawValue>>(text) {
            Ok(items) if !items.is_empty() => {
                for (position, item) in items.into_iter().enumerate() {
                    gather(format!("{at}.{position}"), item, rest, into);
                }
            }
            _ => put(text.to_owned()),
        },
        Some(b'"') => put(serde_json::from_str(text).unwrap_or_else(|_| text.to_owned())),
        _ => put(text.to_owned()),
    }
}

/// Both texts from shortly before the first character in which they differ.
fn excerpts(was: Option<&str>, is: Option<&str>) -> (Option<String>, Option<String>) {
    let skipped = match (was, is) {
        (Some(was), Some(is)) => {
            let same = was
                .chars()
                .zip(is.chars())
                .take_while(|(one, other)| one == other);
            same.count().saturating_sub(CONTEXT_CHARS)
        }
        _ => 0,
    };
    let shown = |text: &str| {
        let rest: String = text.chars().skip(skipped).collect();
        let rest = unseen::excerpt(&rest, EXCERPT_CHARS_MAX);
        match skipped {
            0 => rest,
            _ => format!("…{rest}"),
        }
    };
    (was.map(shown), is.map(shown))
}

#[cfg(test)]
mod tests;
