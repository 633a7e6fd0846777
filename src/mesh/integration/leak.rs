//! Secrets in plain where only references may stand: found by the names of fields and by formats of keys.
//!
//! It is a net, not a proof: what has neither a telling name nor a known format is not found. The names are in
//! `leak/name.rs`, the formats in `leak/format.rs`.

mod argument;
mod format;
mod name;

use std::ops::Range;

use super::definition::{Endpoint, Program, RemoteAddress};
use super::reference::{SECRET_NAME_CHARS_MAX, all_references, references};
use crate::mesh::Error;

/// How much of a field's name is repeated, in characters.
const SHOWN_CHARS_MAX: usize = 64;

/// The name that is proposed for a secret whose field has none.
const NAME_OF_THE_NAMELESS: &str = "TOKEN";

/// A secret in plain: where it stands and how it was recognized, never what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak {
    /// The field.
    pub field: Field,
    /// How it was recognized, such as `a GitHub token`.
    pub what: &'static str,
    /// Which bytes of the field's text are the secret.
    pub range: Range<usize>,
    /// A name under which the secret may be kept.
    pub name: String,
}

/// A field of a definition that takes texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// A variable of `env`.
    Variable(String),
    /// One of `headers`.
    Header(String),
    /// One of `args`, by its place.
    Argument(usize),
    /// The URL.
    Url,
    /// Another argument of a tool, by its name.
    Other(String),
}

/// A secret within one text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    what: &'static str,
    range: Range<usize>,
    /// The name that stands before it in the text, where there is one.
    name: Option<String>,
}

impl Found {
    fn new(what: &'static str, range: Range<usize>) -> Self {
        Self {
            what,
            range,
            name: None,
        }
    }
}

/// Refuses a definition that holds a secret in plain in `env`, `headers`, `args` or the URL, or what looks like
/// a reference and is none.
///
/// # Errors
/// `INVALID_PARAMETER` that names the field and never its value.
pub fn check(endpoint: &Endpoint) -> Result<(), Error> {
    check_references(endpoint)?;
    match leaks(endpoint).first() {
        Some(leak) => Err(leak.error()),
        None => Ok(()),
    }
}

/// References stand in `env`, `headers` and `args` only: a URL is shown and logged.
fn check_references(endpoint: &Endpoint) -> Result<(), Error> {
    match endpoint {
        Endpoint::Stdio(Program::Template { env, .. }) => {
            all_references("env", env.values().map(String::as_str))?;
        }
        Endpoint::Stdio(Program::Command { args, env, .. }) => {
            all_references("env", env.values().map(String::as_str))?;
            all_references("args", args.iter().map(String::as_str))?;
        }
        Endpoint::Remote(RemoteAddress { url, headers, .. }) => {
            all_references("headers", headers.values().map(String::as_str))?;
            if url.contains("${") {
                return Err(
                    Error::invalid("url", "the URL can hold no reference to a secret")
                        .fix("send the secret in a header, such as `Authorization: Bearer ${secret:NAME}`"),
                );
            }
        }
    }
    Ok(())
}

/// Refuses a text of another argument of a tool, such as a description, that holds a key of a known format.
///
/// # Errors
/// `INVALID_PARAMETER` that names `parameter` and never its value.
pub fn check_text(parameter: &str, text: &str) -> Result<(), Error> {
    match format::find(text) {
        Some(found) => Err(Leak::new(Field::Other(parameter.to_owned()), found).error()),
        None => Ok(()),
    }
}

/// Refuses a named text of another argument of a tool, such as a member of `settings`, that holds a secret by
/// its name or its format.
///
/// # Errors
/// `INVALID_PARAMETER` that names `parameter` and the member, and never its value.
pub fn check_member(parameter: &str, name: &str, text: &str) -> Result<(), Error> {
    let field = Field::Other(format!("{parameter}.{}", shown(name)));
    match in_named(name, text) {
        Some(found) => Err(Leak::new(field, found)
            .error()
            .detail("parameter", parameter)),
        None => Ok(()),
    }
}

/// Every secret in plain of a definition: the first of each field.
pub fn leaks(endpoint: &Endpoint) -> Vec<Leak> {
    let mut leaks = match endpoint {
        Endpoint::Stdio(Program::Template { env, .. }) => named(env, Field::Variable),
        Endpoint::Stdio(Program::Command { args, env, .. }) => {
            let mut leaks = named(env, Field::Variable);
            leaks.extend(argument::leaks(args));
            leaks
        }
        Endpoint::Remote(RemoteAddress { url, headers, .. }) => {
            let mut leaks = named(headers, Field::Header);
            leaks.extend(argument::in_url(url).map(|found| Leak::new(Field::Url, found)));
            leaks
        }
    };
    // A secret access key of AWS has no format of its own: it is known by the key's id beside it.
    if leaks.iter().any(|leak| leak.what == format::AWS_KEY_ID) {
        leaks.extend(beside_aws_key(endpoint, &leaks));
    }
    leaks
}

fn named<'a>(
    texts: impl IntoIterator<Item = (&'a String, &'a String)>,
    field: fn(String) -> Field,
) -> Vec<Leak> {
    let found = texts.into_iter().filter_map(|(name, text)| {
        let found = in_named(name, text)?;
        Some(Leak::new(field(name.clone()), found))
    });
    found.collect()
}

/// A secret in a text that has a name: by its format, else by the name.
fn in_named(name: &str, text: &str) -> Option<Found> {
    if let Some(found) = format::find(text) {
        return Some(found);
    }
    let is_secret = name::is_of_a_secret(name) && !name::allows(name, text) && !refers(text);
    is_secret.then(|| Found::new(name::BY_ITS_NAME, 0..text.len()))
}

/// Whether a text is, or holds, a reference; or what looks like one, which is refused for that.
fn refers(text: &str) -> bool {
    references(text).map_or(true, |found| !found.is_empty())
}

fn beside_aws_key(endpoint: &Endpoint, known: &[Leak]) -> Vec<Leak> {
    let Endpoint::Stdio(Program::Command { args, env, .. }) = endpoint else {
        return Vec::new();
    };
    let variables = env
        .iter()
        .map(|(name, text)| (Field::Variable(name.clone()), text));
    let arguments = args.iter().enumerate();
    let arguments = arguments.map(|(at, text)| (Field::Argument(at), text));
    variables
        .chain(arguments)
        .filter(|(field, _)| known.iter().all(|leak| leak.field != *field))
        .filter_map(|(field, text)| Some(Leak::new(field, format::aws_secret(text)?)))
        .collect()
}

impl Leak {
    fn new(field: Field, found: Found) -> Self {
        let own = match &field {
            Field::Variable(name) | Field::Header(name) => Some(name.clone()),
            Field::Argument(_) | Field::Url | Field::Other(_) => None,
        };
        let name = found.name.or(own).unwrap_or_default();
        Self {
            name: proposed(&name),
            field,
            what: found.what,
            range: found.range,
        }
    }

    /// The failure for who wrote it: what is where, and the way that keeps it out of a conversation.
    pub fn error(&self) -> Error {
        let (parameter, place) = match &self.field {
            Field::Variable(name) => ("env", format!("the variable `{}` of `env`", shown(name))),
            Field::Header(name) => ("headers", format!("the header `{}`", shown(name))),
            Field::Argument(at) => ("args", format!("`args[{at}]`")),
            Field::Url => ("url", "`url`".to_owned()),
            Field::Other(name) => (name.as_str(), format!("`{name}`")),
        };
        let (name, what) = (&self.name, self.what);
        let error = Error::invalid(
            parameter,
            format!("{place} holds a secret in plain: {what}"),
        );
        let keep = format!("keep it with `use_aws_mcp secrets set {name}`");
        error.fix(match &self.field {
            Field::Url => format!(
                "{keep}, leave it out of the URL and send it in a header as `${{secret:{name}}}`"
            ),
            Field::Variable(_) | Field::Header(_) | Field::Argument(_) => {
                format!("{keep} and write `${{secret:{name}}}` in its place")
            }
            Field::Other(_) => format!(
                "leave it out; {keep} and refer to it as `${{secret:{name}}}` in env, headers or args of the integration"
            ),
        })
    }
}

/// `name` as the name of a secret.
fn proposed(name: &str) -> String {
    let name: String = name
        .trim_start_matches('-')
        .chars()
        .filter(|&character| character.is_ascii_alphanumeric() || "._-".contains(character))
        .take(SECRET_NAME_CHARS_MAX)
        .collect();
    match name.is_empty() {
        true => NAME_OF_THE_NAMELESS.to_owned(),
        false => name,
    }
}

/// `name` as it can be repeated.
fn shown(name: &str) -> String {
    let start = name.chars().take(SHOWN_CHARS_MAX);
    start.flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests;
