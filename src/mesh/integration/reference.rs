//! References to secrets in texts of a definition: `${secret:NAME}` and `${credential:FIELD}`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use secrecy::{ExposeSecret as _, SecretString};

use crate::mesh::{Error, ErrorKind};

/// What stands for the folder that a child of the connection may write to and finds again. Who starts the
/// child replaces it: here it is a text like any other.
pub const FOLDER: &str = "${folder}";

/// The longest name of a secret or a field, in characters.
pub const SECRET_NAME_CHARS_MAX: usize = 64;

/// The most different references of one definition.
pub const REFERENCES_MAX: usize = 64;

/// The most bytes of one text after its references have been replaced.
pub const EXPANDED_BYTES_MAX: usize = 64 << 10;

/// How much of what is no reference is repeated to who wrote it, in characters.
const SHOWN_CHARS_MAX: usize = 40;

/// The name of a secret that a user or a tenant keeps, or of a field of credentials: 1 to 64 of
/// `[A-Za-z0-9._-]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretName(String);

/// Why a text is no name of a secret; says what one may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 64 of A-Z, a-z, 0-9 and . _ -")]
pub struct InvalidSecretName;

/// What a text refers to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// A secret by its name: the caller's own, else the tenant's.
    Secret(SecretName),
    /// A field of what the connection was given to sign in with.
    Credential(SecretName),
}

/// What a text looks like a reference with and is none; it shows the beginning of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no reference")]
pub struct InvalidReference(String);

/// Where a text is used once its references have been replaced, which decides what it may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// The value of a header: no control character.
    Header,
    /// A variable of a child's environment, or one of its arguments: no NUL.
    Process,
}

/// What references stand for. Filled before texts are expanded; shows names only.
#[derive(Clone, Debug, Default)]
pub struct Referents(BTreeMap<Reference, SecretString>);

impl SecretName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SecretName {
    type Err = InvalidSecretName;

    fn from_str(text: &str) -> Result<Self, InvalidSecretName> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let fits = (1..=SECRET_NAME_CHARS_MAX).contains(&text.len()) && text.bytes().all(allowed);
        match fits {
            true => Ok(Self(text.to_owned())),
            false => Err(InvalidSecretName),
        }
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Reference {
    /// What stands between the braces.
    fn parse(inside: &str) -> Option<Self> {
        let (kind, name) = inside.split_once(':')?;
        let name = name.parse().ok()?;
        match kind {
            "secret" => Some(Self::Secret(name)),
            "credential" => Some(Self::Credential(name)),
            _ => None,
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(name) => write!(formatter, "${{secret:{name}}}"),
            Self::Credential(name) => write!(formatter, "${{credential:{name}}}"),
        }
    }
}

impl InvalidReference {
    fn new(text: &str) -> Self {
        let end = text.find('}').map_or(text.len(), |end| end + 1);
        let shown = text.get(..end).unwrap_or(text);
        let mut told: String = shown
            .chars()
            .take(SHOWN_CHARS_MAX)
            .flat_map(char::escape_debug)
            .collect();
        if shown.chars().count() > SHOWN_CHARS_MAX {
            told.push_str("...");
        }
        Self(told)
    }

    /// The failure for who wrote it into the argument `parameter`.
    pub fn into_error(self, parameter: &str) -> Error {
        Error::invalid(parameter, self.to_string()).fix(
            "write ${secret:NAME} or ${credential:FIELD}, names being 1 to 64 of A-Z, a-z, 0-9 and . _ -; \
             $${ stands for the characters ${",
        )
    }
}

/// A part of a text.
enum Piece<'text> {
    Plain(&'text str),
    Reference(Reference),
}

/// The parts of `text`: `$${` is the two characters `${`, any other `${` begins a reference.
fn pieces(text: &str) -> Result<Vec<Piece<'_>>, InvalidReference> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, found) = rest.split_at(at);
        if let Some(kept) = before.strip_suffix('$') {
            pieces.push(Piece::Plain(kept));
            let (escaped, after) = found.split_at("${".len());
            pieces.push(Piece::Plain(escaped));
            rest = after;
            continue;
        }
        pieces.push(Piece::Plain(before));
        if let Some(after) = found.strip_prefix(FOLDER) {
            pieces.push(Piece::Plain(FOLDER));
            rest = after;
            continue;
        }
        let inside = found
            .strip_prefix("${")
            .and_then(|rest| rest.split_once('}'));
        let reference = inside.and_then(|(inside, after)| Some((Reference::parse(inside)?, after)));
        let Some((reference, after)) = reference else {
            return Err(InvalidReference::new(found));
        };
        pieces.push(Piece::Reference(reference));
        rest = after;
    }
    pieces.push(Piece::Plain(rest));
    Ok(pieces)
}

/// What `text` refers to, in order.
///
/// # Errors
/// Something that looks like a reference is none.
pub fn references(text: &str) -> Result<Vec<Reference>, InvalidReference> {
    let found = pieces(text)?.into_iter().filter_map(|piece| match piece {
        Piece::Reference(reference) => Some(reference),
        Piece::Plain(_) => None,
    });
    Ok(found.collect())
}

/// What all of `texts` refer to.
///
/// # Errors
/// `INVALID_PARAMETER` that names `parameter`: something that looks like a reference is none, or there are
/// more than [`REFERENCES_MAX`].
pub fn all_references<'text>(
    parameter: &str,
    texts: impl IntoIterator<Item = &'text str>,
) -> Result<BTreeSet<Reference>, Error> {
    let mut all = BTreeSet::new();
    for text in texts {
        all.extend(references(text).map_err(|invalid| invalid.into_error(parameter))?);
        if all.len() > REFERENCES_MAX {
            return Err(Error::invalid(
                parameter,
                format!("there are more than {REFERENCES_MAX} different references"),
            )
            .fix("keep what belongs together in one secret"));
        }
    }
    Ok(all)
}

/// `text` with its references replaced by what they stand for.
///
/// # Errors
/// `INVALID_PARAMETER` for what is no reference and for what `place` cannot hold, `NOT_FOUND` for a
/// reference that stands for nothing, `TOO_LARGE`. No message holds any of the text but names.
pub fn expand(text: &str, referents: &Referents, place: Place) -> Result<SecretString, Error> {
    let pieces = pieces(text).map_err(|invalid| invalid.into_error(place.parameter()))?;
    let mut parts = Vec::with_capacity(pieces.len());
    for piece in &pieces {
        parts.push(match piece {
            Piece::Plain(text) => *text,
            Piece::Reference(reference) => {
                let found = referents.0.get(reference);
                let found = found.ok_or_else(|| unresolved(reference))?.expose_secret();
                if place.refuses(found) {
                    return Err(unfit(place, Some(reference)));
                }
                found
            }
        });
    }
    if parts.iter().map(|part| part.len()).sum::<usize>() > EXPANDED_BYTES_MAX {
        return Err(Error::new(
            ErrorKind::TooLarge,
            format!(
                "a text is over {} KiB once its references are replaced",
                EXPANDED_BYTES_MAX >> 10
            ),
        )
        .detail("limit", EXPANDED_BYTES_MAX)
        .fix("refer to fewer or smaller secrets in one text"));
    }
    if place.refuses(text) {
        return Err(unfit(place, None));
    }
    // Made in one piece of its final size, so that no shorter copy of it is left behind.
    Ok(SecretString::from(parts.concat()))
}

impl Place {
    const fn parameter(self) -> &'static str {
        match self {
            Self::Header => "headers",
            Self::Process => "env",
        }
    }

    fn refuses(self, text: &str) -> bool {
        match self {
            Self::Header => text.chars().any(char::is_control),
            Self::Process => text.contains('\0'),
        }
    }
}

impl Referents {
    /// With what `reference` stands for.
    pub fn insert(&mut self, reference: Reference, text: SecretString) {
        self.0.insert(reference, text);
    }

    /// Every text that was filled in: what must be scrubbed from what an upstream says.
    pub fn texts(&self) -> impl Iterator<Item = &SecretString> {
        self.0.values()
    }
}

/// The failure that nothing is kept under a reference.
pub(in crate::mesh) fn unresolved(reference: &Reference) -> Error {
    let error = match reference {
        Reference::Secret(name) => {
            let error = Error::new(ErrorKind::NotFound, format!("there is no secret `{name}`"));
            error.fix(format!(
                "run `use_aws_mcp secrets set {name}`, with `--scope tenant` for one that all users share"
            ))
        }
        Reference::Credential(name) => Error::new(
            ErrorKind::NotFound,
            format!("the connection was given no credential `{name}`"),
        )
        .fix(format!(
            "call integration_connect with credentials that have the member `{name}`"
        )),
    };
    error.detail("reference", reference.to_string())
}

fn unfit(place: Place, reference: Option<&Reference>) -> Error {
    let what = match place {
        Place::Header => "control characters, such as the end of a line, which no header can hold",
        Place::Process => "the character NUL, which no variable and no argument can hold",
    };
    match reference {
        None => Error::invalid(place.parameter(), format!("a text has {what}")).fix("remove them"),
        Some(reference) => Error::invalid(
            place.parameter(),
            format!("what {reference} stands for has {what}"),
        )
        .fix("set it again without them"),
    }
}

#[cfg(test)]
mod tests;
