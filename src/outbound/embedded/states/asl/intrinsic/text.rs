//! The functions of texts, and how texts are escaped.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use md5::Md5;
use serde_json::Value;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::super::error::StateResult;
use super::super::meter::Meter;
use super::TEXT_CHARS_MAX;
use super::evaluate::Arguments;

/// Base64 with or without its padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A part of a template.
enum Piece {
    /// A character as such.
    Character(char),
    /// `{}`.
    Placeholder,
}

/// The parts of a template.
fn pieces(template: &str) -> impl Iterator<Item = Result<Piece, String>> + '_ {
    let mut characters = template.chars().peekable();
    std::iter::from_fn(move || {
        Some(match characters.next()? {
            '\\' => match characters.next() {
                Some(escaped @ ('\'' | '{' | '}' | '\\')) => Ok(Piece::Character(escaped)),
                _ => Err("a backslash in a template must stand before one of ' { } \\".to_owned()),
            },
            '{' if characters.next_if_eq(&'}').is_some() => Ok(Piece::Placeholder),
            brace @ ('{' | '}') => Err(format!(
                "a '{brace}' in a template that is no part of '{{}}' must follow a backslash"
            )),
            other => Ok(Piece::Character(other)),
        })
    })
}

/// How many values a template takes.
pub(super) fn placeholders(template: &str) -> Result<usize, String> {
    let mut count = 0;
    for piece in pieces(template) {
        if matches!(piece?, Piece::Placeholder) {
            count += 1;
        }
    }
    Ok(count)
}

/// A quoted text without its backslashes.
pub(super) fn unescaped(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut characters = raw.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.extend(characters.next()),
            other => text.push(other),
        }
    }
    text
}

/// The template with the values in their places.
pub(super) fn format(arguments: &Arguments, meter: &mut Meter) -> StateResult<Value> {
    let template = arguments.text(0)?;
    let mut text = String::new();
    let mut used = 0;
    for piece in pieces(template) {
        match piece.map_err(|why| arguments.fail(why))? {
            Piece::Character(character) => text.push(character),
            Piece::Placeholder => {
                used += 1;
                if used >= arguments.count() {
                    return Err(arguments.fail("the template has more '{}' than values follow it"));
                }
                let shown = match arguments.get(used) {
                    Value::String(value) => value.clone(),
                    Value::Array(_) | Value::Object(_) => {
                        return Err(arguments.fail(format!(
                            "argument {} must be a text, a number, true, false or null: use States.JsonToString",
                            used + 1
                        )));
                    }
                    scalar => scalar.to_string(),
                };
                meter.make(shown.len())?;
                text.push_str(&shown);
            }
        }
    }
    if used + 1 != arguments.count() {
        return Err(arguments.fail("the template has fewer '{}' than values follow it"));
    }
    Ok(text.into())
}

/// The JSON that a text holds.
pub(super) fn to_json(arguments: &Arguments) -> StateResult<Value> {
    serde_json::from_str(arguments.text(0)?)
        .map_err(|error| arguments.fail(format!("the text is no JSON: {error}")))
}

/// The JSON text of a value.
pub(super) fn of_json(arguments: &Arguments, meter: &mut Meter) -> StateResult<Value> {
    let text = arguments.get(0).to_string();
    meter.make(text.len())?;
    Ok(text.into())
}

/// What is between the delimiters, each a character; what is empty is left out.
pub(super) fn split(arguments: &Arguments, meter: &mut Meter) -> StateResult<Value> {
    let (text, delimiters) = (arguments.text(0)?, arguments.text(1)?);
    // Every character is compared with each delimiter.
    meter.step(text.len().saturating_mul(delimiters.len()) / 8)?;
    meter.make(text.len())?;
    let parts = text.split(|character| delimiters.contains(character));
    Ok(parts.filter(|part| !part.is_empty()).collect())
}

fn limited(arguments: &Arguments) -> StateResult<&str> {
    let text = arguments.text(0)?;
    if text.chars().nth(TEXT_CHARS_MAX).is_some() {
        return Err(arguments.fail(format!(
            "the text has more than {TEXT_CHARS_MAX} characters"
        )));
    }
    Ok(text)
}

/// A text in Base64.
pub(super) fn base64_encode(arguments: &Arguments) -> StateResult<Value> {
    Ok(STANDARD.encode(limited(arguments)?).into())
}

/// The text that Base64 stands for. Blanks between its characters mean nothing.
pub(super) fn base64_decode(arguments: &Arguments) -> StateResult<Value> {
    let mut encoded = limited(arguments)?.to_owned();
    encoded.retain(|character| !character.is_ascii_whitespace());
    let bytes = LENIENT
        .decode(encoded)
        .map_err(|error| arguments.fail(format!("the text is no Base64: {error}")))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| arguments.fail("what is decoded is no text in UTF-8"))?;
    Ok(text.into())
}

/// The digest of a text, in hexadecimal.
pub(super) fn hash(arguments: &Arguments) -> StateResult<Value> {
    let data = limited(arguments)?.as_bytes();
    let digest = match arguments.text(1)? {
        "MD5" => hexadecimal(&Md5::digest(data)),
        "SHA-1" => hexadecimal(&Sha1::digest(data)),
        "SHA-256" => hexadecimal(&Sha256::digest(data)),
        "SHA-384" => hexadecimal(&Sha384::digest(data)),
        "SHA-512" => hexadecimal(&Sha512::digest(data)),
        other => {
            return Err(arguments.fail(format!(
                "'{}' is no algorithm: take MD5, SHA-1, SHA-256, SHA-384 or SHA-512",
                other.chars().take(20).collect::<String>()
            )));
        }
    };
    Ok(digest.into())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
