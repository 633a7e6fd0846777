//! The operator's templates: a program with slots, each of which takes what its pattern allows and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use crate::mesh::Error;

/// The longest value of a slot, in bytes.
pub const SLOT_VALUE_BYTES_MAX: usize = 4096;

/// The longest pattern of a slot, in bytes.
pub const SLOT_PATTERN_BYTES_MAX: usize = 1024;

/// The most memory that the compiled pattern of a slot may take, in bytes.
const PATTERN_MEMORY_BYTES_MAX: usize = 1 << 20;

/// Where a child may connect to over TCP if its template does not say: https.
pub const DEFAULT_PORTS: [u16; 1] = [443];

/// All templates, by id.
pub type Templates = Arc<BTreeMap<String, Template>>;

/// A program that the operator lets tenants run.
#[derive(Clone, Debug)]
pub struct Template {
    /// The program: an absolute path.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<ArgumentPattern>,
    /// What may fill its slots, by name.
    pub slots: BTreeMap<String, Slot>,
    /// The variables that a connection may set in its environment.
    pub env: BTreeSet<String>,
    /// What it may read besides the system's folders, its own program and its working folder.
    pub paths: Vec<PathBuf>,
    /// What it may also write.
    pub writable: Vec<PathBuf>,
    /// The TCP ports that it may connect to.
    pub ports: Vec<u16>,
}

/// An argument: texts and slots that together make one argument, whatever fills the slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgumentPattern(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Slot(String),
}

/// What may fill a slot.
#[derive(Clone, Debug)]
pub enum Slot {
    /// What the pattern matches from its first character to its last.
    Pattern(Regex),
    /// One of these words.
    Words(Vec<String>),
}

impl ArgumentPattern {
    /// The argument that `text` describes: `{slot}` is a slot, `{{` and `}}` are braces.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains('\0') {
            return Err("an argument holds no zero byte".to_owned());
        }
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            literal.push_str(before);
            let doubled = ["{{", "}}"].into_iter().find(|pair| from.starts_with(pair));
            if let Some(pair) = doubled {
                literal.push_str(&pair[..1]);
                rest = &from[2..];
                continue;
            }
            let name = from
                .strip_prefix('{')
                .and_then(|from| from.split_once('}'))
                .map(|(name, _)| name)
                .filter(|name| is_slot_name(name))
                .ok_or("a slot is written as {name}, its name of a-z, 0-9 and _; a brace itself as {{ or }}")?;
            if !literal.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut literal)));
            }
            pieces.push(Piece::Slot(name.to_owned()));
            rest = &from[name.len() + 2..];
        }
        literal.push_str(rest);
        if !literal.is_empty() || pieces.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self(pieces))
    }

    /// The slots in it.
    pub fn slots(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Slot(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// The argument with its slots filled.
    fn filled(&self, values: &BTreeMap<String, String>) -> Result<String, Error> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(literal) => text.push_str(literal),
                Piece::Slot(name) => text.push_str(values.get(name).ok_or_else(|| missing(name))?),
            }
        }
        Ok(text)
    }
}

impl Slot {
    /// A slot that takes what `pattern` matches as a whole.
    ///
    /// # Errors
    /// What is wrong with the pattern.
    pub fn pattern(pattern: &str) -> Result<Self, String> {
        if pattern.len() > SLOT_PATTERN_BYTES_MAX {
            return Err(format!(
                "a pattern has at most {SLOT_PATTERN_BYTES_MAX} bytes"
            ));
        }
        // By itself first: one that closes a bracket of ours would not be anchored.
        Regex::new(pattern).map_err(|error| no_pattern(&error))?;
        RegexBuilder::new(&format!(r"\A(?:{pattern})\z"))
            .size_limit(PATTERN_MEMORY_BYTES_MAX)
            .dfa_size_limit(PATTERN_MEMORY_BYTES_MAX)
            .build()
            .map(Self::Pattern)
            .map_err(|error| no_pattern(&error))
    }

    /// Why `value` does not fit the slot `name`.
    fn check(&self, name: &str, value: &str) -> Result<(), Error> {
        let parameter = format!("settings.{name}");
        let refuse = |message: String| Err(Error::invalid(&parameter, message));
        if value.len() > SLOT_VALUE_BYTES_MAX {
            return refuse(format!("must be at most {SLOT_VALUE_BYTES_MAX} bytes"));
        }
        if value.starts_with('-') {
            return refuse(
                "must not begin with -, so that it cannot be taken for an option".to_owned(),
            );
        }
        if value.chars().any(char::is_control) {
            return refuse("must hold no control characters".to_owned());
        }
        match self {
            Self::Pattern(pattern) if !pattern.is_match(value) => {
                refuse("must match the pattern that the operator has set for it".to_owned())
            }
            Self::Words(words) if !words.iter().any(|word| word == value) => {
                refuse(format!("must be one of {}", words.join(", ")))
            }
            Self::Pattern(_) | Self::Words(_) => Ok(()),
        }
    }
}

impl Template {
    /// Whether `values` may fill its slots and `env` may stand in its environment. A slot that nothing fills
    /// yet is no fault here.
    ///
    /// # Errors
    /// `INVALID_PARAMETER`, naming the setting.
    pub fn check<'a>(
        &self,
        values: &BTreeMap<String, String>,
        env: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), Error> {
        for (name, value) in values {
            let Some(slot) = self.slots.get(name) else {
                let known: Vec<&str> = self.slots.keys().map(String::as_str).collect();
                let known = if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                };
                return Err(Error::invalid(
                    &format!("settings.{name}"),
                    format!("the template has no such setting; it has {known}"),
                ));
            };
            slot.check(name, value)?;
        }
        match env.into_iter().find(|name| !self.env.contains(*name)) {
            Some(name) => Err(Error::invalid(
                &format!("env.{name}"),
                "the template does not let this variable be set",
            )
            .fix("Leave it out, or ask the operator to list it in the template's `env`.")),
            None => Ok(()),
        }
    }

    /// The arguments of its program, with `values` in the slots.
    ///
    /// # Errors
    /// As [`Template::check`], and where a slot is not filled.
    pub fn arguments(&self, values: &BTreeMap<String, String>) -> Result<Vec<String>, Error> {
        self.check(values, [])?;
        if let Some(name) = self.slots.keys().find(|name| !values.contains_key(*name)) {
            return Err(missing(name));
        }
        self.args.iter().map(|arg| arg.filled(values)).collect()
    }
}

/// Whether a slot may have this name: 1 to 32 of `[a-z0-9_]`.
pub fn is_slot_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=32).contains(&text.len()) && text.bytes().all(allowed)
}

/// What is wrong with a pattern; the library draws a picture over several lines, of which the last one says it.
fn no_pattern(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    let reason = last.strip_prefix("error: ").unwrap_or(last);
    format!("it is no regular expression: {reason}")
}

fn missing(name: &str) -> Error {
    Error::invalid(
        &format!("settings.{name}"),
        "the template needs this setting",
    )
    .fix(format!("Give it as `settings.{name}` when you connect."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(args: &[&str], slots: &[(&str, Slot)]) -> Template {
        Template {
            program: "/usr/bin/server".into(),
            args: args
                .iter()
                .map(|arg| ArgumentPattern::parse(arg).unwrap())
                .collect(),
            slots: slots
                .iter()
                .map(|(name, slot)| ((*name).to_owned(), slot.clone()))
                .collect(),
            env: BTreeSet::from(["TOKEN".to_owned()]),
            paths: Vec::new(),
            writable: Vec::new(),
            ports: DEFAULT_PORTS.to_vec(),
        }
    }

    fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn a_slot_stays_within_its_argument_whatever_fills_it() {
        let any = Slot::pattern(".*").unwrap();
        let template = template(&["--root={root}", "{root}", "{{x}}", ""], &[("root", any)]);
        let args = template
            .arguments(&values(&[("root", "a b; $(c) 'd' {root}")]))
            .unwrap();
        let value = "a b; $(c) 'd' {root}";
        assert_eq!(args, [&format!("--root={value}"), value, "{x}", ""]);
    }

    #[test]
    fn a_value_is_refused_that_is_an_option_too_long_or_holds_control_characters() {
        let any = Slot::pattern("(?s).*").unwrap();
        let template = template(&["{root}"], &[("root", any)]);
        let check = |value: &str| template.check(&values(&[("root", value)]), []);
        for good in ["", "a-b", "ä", &"x".repeat(SLOT_VALUE_BYTES_MAX)] {
            check(good).unwrap();
        }
        let long = "x".repeat(SLOT_VALUE_BYTES_MAX + 1);
        for bad in ["-", "--eval=x", "a\nb", "a\0b", "\u{7f}", "\u{9b}", &long] {
            let error = check(bad).unwrap_err();
            assert_eq!(error.details()["parameter"], "settings.root", "{bad:?}");
        }
    }

    #[test]
    fn a_pattern_matches_the_whole_value_and_cannot_escape_its_anchors() {
        let slot = Slot::pattern("a|b").unwrap();
        slot.check("x", "a").unwrap();
        for bad in ["ab", "xa", "a\u{a0}", ""] {
            slot.check("x", bad).unwrap_err();
        }
        for bad in [
            "a)|(?:.*",
            "(",
            "[",
            &"x".repeat(SLOT_PATTERN_BYTES_MAX + 1),
        ] {
            Slot::pattern(bad).unwrap_err();
        }
        Slot::pattern(&"x".repeat(SLOT_PATTERN_BYTES_MAX)).unwrap();
        Slot::pattern("(?:x{1000}){1000}").unwrap_err();
    }

    #[test]
    fn what_is_missing_or_unknown_is_named() {
        let words = Slot::Words(vec!["eu".to_owned(), "us".to_owned()]);
        let template = template(&["{region}"], &[("region", words)]);
        template.check(&values(&[]), ["TOKEN"]).unwrap();
        let named = |error: Error| error.details()["parameter"].as_str().unwrap().to_owned();
        let refused = template.arguments(&values(&[])).unwrap_err();
        assert_eq!(named(refused), "settings.region");
        let refused = template
            .check(&values(&[("regoin", "eu")]), [])
            .unwrap_err();
        assert_eq!(named(refused), "settings.regoin");
        let refused = template
            .check(&values(&[("region", "cn")]), [])
            .unwrap_err();
        assert!(refused.message().contains("eu, us"), "{refused}");
        let refused = template.check(&values(&[]), ["NODE_OPTIONS"]).unwrap_err();
        assert_eq!(named(refused), "env.NODE_OPTIONS");
    }

    #[test]
    fn braces_that_are_no_slot_are_a_mistake() {
        for bad in ["{", "}", "{}", "{A}", "{a b}", "a}b", "{a", "\0"] {
            ArgumentPattern::parse(bad).unwrap_err();
        }
        let pattern = ArgumentPattern::parse("{a}{b}x{{{c}}}").unwrap();
        assert_eq!(pattern.slots().collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
