//! Arguments: JSON text to typed values, once, with an error that names the argument and what to do.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::mesh::store::key::Scope;
use crate::mesh::{Error, Timestamp};

/// The most arguments that are looked at, known or not.
const ARGUMENTS_MAX: usize = 64;

/// Where older dashboards say who is calling; never believed.
const LEGACY_CONTEXT: &str = "_context";

/// From this likeness on (Jaro-Winkler, 0 to 1) an unknown argument is taken for a mistyped known one.
const LIKENESS_MIN: f64 = 0.8;

/// The arguments of one call that have not been asked for yet.
#[derive(Debug)]
pub struct Arguments<'text> {
    given: Vec<(String, &'text RawValue)>,
    known: Vec<&'static str>,
    /// What stands before a name in messages, such as `events[3].`.
    at: String,
}

/// What an argument may be.
pub trait Argument: Sized {
    /// What it must be, in words: `must be ...`.
    const EXPECTED: &'static str;

    /// Reads it, if it is that.
    fn read(text: &RawValue) -> Option<Self>;
}

impl<'text> Arguments<'text> {
    /// The members of the JSON object `text`; no text is no arguments.
    ///
    /// An older dashboard's `_context` is passed over: whether it may be there has been decided when the
    /// caller was resolved.
    pub fn of(text: Option<&'text str>) -> Result<Self, Error> {
        let mut arguments = Self::within(text.unwrap_or("{}"), String::new())?;
        arguments.given.retain(|(name, _)| name != LEGACY_CONTEXT);
        Ok(arguments)
    }

    /// The members of an object inside the arguments, whose names stand behind `at` in messages.
    pub fn within(text: &'text str, at: String) -> Result<Self, Error> {
        let empty = Self {
            given: Vec::new(),
            known: Vec::new(),
            at,
        };
        let given = serde_json::from_str::<Members<'text>>(text);
        match given {
            Ok(Members(given)) => Ok(Self { given, ..empty }),
            Err(error) => {
                let name = match empty.at.trim_end_matches('.') {
                    "" => "arguments",
                    at => at,
                };
                Err(Error::invalid(
                    name,
                    format!("`{name}` must be one JSON object: {error}"),
                ))
            }
        }
    }

    /// The argument `name`, which must be given.
    pub fn required<T: Argument>(&mut self, name: &'static str) -> Result<T, Error> {
        match self.optional(name)? {
            Some(value) => Ok(value),
            None => Err(self.missing::<T>(name)),
        }
    }

    /// The argument `name`; one that is `null` counts as left out.
    pub fn optional<T: Argument>(&mut self, name: &'static str) -> Result<Option<T>, Error> {
        match self.take(name)?.filter(|text| text.get() != "null") {
            None => Ok(None),
            Some(text) => T::read(text).map(Some).ok_or_else(|| {
                self.wrong(
                    name,
                    format!("must be {}, not {}", T::EXPECTED, shown(text)),
                )
            }),
        }
    }

    /// The argument `name` or, where it is left out, `default`.
    pub fn or<T: Argument>(&mut self, name: &'static str, default: T) -> Result<T, Error> {
        Ok(self.optional(name)?.unwrap_or(default))
    }

    /// The whole number `name` between `least` and `most`, or `default`.
    pub fn number(
        &mut self,
        name: &'static str,
        default: u32,
        least: u32,
        most: u32,
    ) -> Result<u32, Error> {
        let number: i64 = self.or(name, i64::from(default))?;
        u32::try_from(number)
            .ok()
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| self.wrong(name, format!("is {number}; it may be {least} to {most}")))
    }

    /// The argument `name` as JSON text, also where it is `null`; it must be given.
    pub fn json(&mut self, name: &'static str) -> Result<&'text RawValue, Error> {
        self.take(name)?
            .ok_or_else(|| self.missing::<AnyJson>(name))
    }

    /// The argument `name` as JSON text, also where it is `null`, if it is given.
    pub fn given_json(&mut self, name: &'static str) -> Result<Option<&'text RawValue>, Error> {
        self.take(name)
    }

    /// The argument `name` as JSON text, if it is given and not `null`.
    pub fn optional_json(&mut self, name: &'static str) -> Result<Option<&'text RawValue>, Error> {
        Ok(self.take(name)?.filter(|text| text.get() != "null"))
    }

    /// An error about the argument `name`.
    pub fn wrong(&self, name: &str, what: String) -> Error {
        let name = format!("{}{name}", self.at);
        Error::invalid(&name, format!("`{name}` {what}"))
    }

    /// Refuses what has not been asked for.
    pub fn finish(self) -> Result<(), Error> {
        let Some((unknown, _)) = self.given.first() else {
            return Ok(());
        };
        let likeness = |known: &&&str| strsim::jaro_winkler(known, unknown);
        let nearest = self
            .known
            .iter()
            .max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
        let fix = match nearest.filter(|known| likeness(known) >= LIKENESS_MIN) {
            Some(known) => format!("Did you mean `{known}`?"),
            None if self.known.is_empty() => "This tool takes no arguments.".to_owned(),
            None => format!("It takes {}.", self.known.join(", ")),
        };
        let shown: String = unknown.chars().take(64).collect();
        Err(self
            .wrong(&shown, "is not an argument of this tool".to_owned())
            .fix(fix))
    }

    /// Takes the argument `name`, also in camel case; given in both spellings it is refused.
    fn take(&mut self, name: &'static str) -> Result<Option<&'text RawValue>, Error> {
        if !self.known.contains(&name) {
            self.known.push(name);
        }
        let mut found = None;
        while let Some(position) = self
            .given
            .iter()
            .position(|(given, _)| is_spelling(name, given))
        {
            if found.is_some() {
                return Err(self.wrong(name, "is given twice".to_owned()));
            }
            found = Some(self.given.swap_remove(position).1);
        }
        Ok(found)
    }

    fn missing<T: Argument>(&self, name: &str) -> Error {
        self.missing_json(name, T::EXPECTED)
    }

    /// That the argument `name`, which must be `expected`, is not given.
    pub fn missing_json(&self, name: &str, expected: &str) -> Error {
        self.wrong(name, "is missing".to_owned())
            .fix(format!("Give `{name}`: {expected}."))
    }
}

/// Whether the arguments name a caller, which nothing in them may.
pub fn name_a_caller(text: &str) -> bool {
    // The search spares the parser on all but a few calls.
    (text.contains(LEGACY_CONTEXT) || text.contains("\\u"))
        && serde_json::from_str::<Members<'_>>(text)
            .is_ok_and(|Members(given)| given.iter().any(|(name, _)| name == LEGACY_CONTEXT))
}

/// Whether `given` is `name`, or `name` in camel case.
fn is_spelling(name: &str, given: &str) -> bool {
    if name == given {
        return true;
    }
    let mut given = given.chars();
    let mut raise = false;
    for character in name.chars() {
        if character == '_' {
            raise = true;
            continue;
        }
        let expected = if raise {
            character.to_ascii_uppercase()
        } else {
            character
        };
        if given.next() != Some(expected) {
            return false;
        }
        raise = false;
    }
    given.next().is_none()
}

/// The beginning of a wrong argument, for a message.
fn shown(text: &RawValue) -> String {
    const CHARS_MAX: usize = 40;
    let text = text.get();
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The members of an object in the order they were given, each name once.
struct Members<'text>(Vec<(String, &'text RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members: Vec<(String, &'de RawValue)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    if members.iter().any(|(held, _)| *held == name) {
                        return Err(serde::de::Error::custom(format!("`{name}` is given twice")));
                    }
                    if members.len() == ARGUMENTS_MAX {
                        return Err(serde::de::Error::custom("it has too many members"));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}

fn parse<'text, T: Deserialize<'text>>(text: &'text RawValue) -> Option<T> {
    serde_json::from_str(text.get()).ok()
}

/// Any JSON value at all.
struct AnyJson;

impl Argument for AnyJson {
    const EXPECTED: &'static str = "any JSON value";

    fn read(_: &RawValue) -> Option<Self> {
        Some(Self)
    }
}

impl Argument for String {
    const EXPECTED: &'static str = "a text";

    fn read(text: &RawValue) -> Option<Self> {
        parse(text)
    }
}

impl Argument for bool {
    const EXPECTED: &'static str = "true or false";

    fn read(text: &RawValue) -> Option<Self> {
        parse(text)
    }
}

impl Argument for i64 {
    const EXPECTED: &'static str = "a whole number";

    fn read(text: &RawValue) -> Option<Self> {
        // JavaScript clients write a whole number as 5 or as 5.0, and mean the same.
        parse(text).or_else(|| {
            let number: f64 = parse(text)?;
            (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as Self)
        })
    }
}

impl Argument for f64 {
    const EXPECTED: &'static str = "a number";

    fn read(text: &RawValue) -> Option<Self> {
        parse(text)
    }
}

impl Argument for Scope {
    const EXPECTED: &'static str = "\"user\" or \"tenant\"";

    fn read(text: &RawValue) -> Option<Self> {
        match parse::<String>(text)?.as_str() {
            "user" => Some(Self::User),
            "tenant" => Some(Self::Tenant),
            _ => None,
        }
    }
}

impl Argument for Timestamp {
    const EXPECTED: &'static str = "a time in RFC 3339, such as \"2026-01-31T12:00:00Z\"";

    fn read(text: &RawValue) -> Option<Self> {
        parse(text)
    }
}

impl Argument for Vec<String> {
    const EXPECTED: &'static str = "a list of texts";

    fn read(text: &RawValue) -> Option<Self> {
        parse(text)
    }
}

impl Argument for BTreeMap<String, String> {
    const EXPECTED: &'static str = "an object whose values are texts";

    fn read(text: &RawValue) -> Option<Self> {
        parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_is_taken_in_either_spelling_but_not_in_both() {
        let text = r#"{"maxKeys": 5}"#;
        assert_eq!(
            Arguments::of(Some(text))
                .unwrap()
                .number("max_keys", 1, 1, 9)
                .unwrap(),
            5
        );
        let text = r#"{"maxKeys": 5, "max_keys": 5}"#;
        let error = Arguments::of(Some(text))
            .unwrap()
            .number("max_keys", 1, 1, 9)
            .unwrap_err();
        assert_eq!(error.details()["parameter"], "max_keys");
    }

    #[test]
    fn what_is_missing_wrong_or_unknown_is_named() {
        let text = r#"{"key": 7, "limti": 3}"#;
        let mut arguments = Arguments::of(Some(text)).unwrap();
        let wrong = arguments.required::<String>("key").unwrap_err();
        assert_eq!(wrong.message(), "`key` must be a text, not 7");
        let missing = arguments.required::<bool>("flag").unwrap_err();
        assert_eq!(missing.message(), "`flag` is missing");
        arguments.number("limit", 1, 1, 9).unwrap();
        let unknown = arguments.finish().unwrap_err();
        assert_eq!(unknown.details()["parameter"], "limti");
        assert_eq!(unknown.fix_text(), Some("Did you mean `limit`?"));
    }

    #[test]
    fn a_number_is_held_to_its_ends() {
        for (text, fits) in [
            ("1", true),
            ("9", true),
            ("9.0", true),
            ("0", false),
            ("10", false),
            ("1.5", false),
        ] {
            let given = format!(r#"{{"limit": {text}}}"#);
            let number = Arguments::of(Some(&given))
                .unwrap()
                .number("limit", 5, 1, 9);
            assert_eq!(number.is_ok(), fits, "{text}");
        }
    }

    #[test]
    fn null_is_left_out_where_a_value_is_optional_and_json_where_any_is_taken() {
        let text = r#"{"scope": null, "value": null}"#;
        let mut arguments = Arguments::of(Some(text)).unwrap();
        assert_eq!(arguments.optional::<Scope>("scope").unwrap(), None);
        assert_eq!(arguments.json("value").unwrap().get(), "null");
        assert!(arguments.finish().is_ok());
    }

    #[test]
    fn a_caller_named_among_the_arguments_is_seen_and_passed_over() {
        let text = r#"{"key": "_context", "_context": {"userId": "eve"}}"#;
        assert!(name_a_caller(r#"{"\u005fcontext": {}}"#));
        assert!(name_a_caller(text) && !name_a_caller(r#"{"key": "_context"}"#));
        let mut arguments = Arguments::of(Some(text)).unwrap();
        assert_eq!(arguments.required::<String>("key").unwrap(), "_context");
        assert!(arguments.finish().is_ok());
    }

    #[test]
    fn arguments_that_are_no_object_or_repeat_a_name_are_refused() {
        for text in ["[]", "5", "\"a\"", r#"{"a": 1, "a": 2}"#] {
            let error = Arguments::of(Some(text)).unwrap_err();
            assert_eq!(error.details()["parameter"], "arguments", "{text}");
        }
        assert!(Arguments::of(None).is_ok());
    }
}
