//! How a secret may come back from who was given it: as it is, and as programs and protocols write texts.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The shortest piece of base64 that is looked for: shorter ones come about by chance.
const BASE64_CHARS_MIN: usize = 8;

/// What writers of percent signs leave as it is: letters and digits alone, what RFC 3986 calls unreserved, that
/// and slashes, and what JavaScript has for parts of a URL and for whole ones.
const LEFT_AS_THEY_ARE: [&AsciiSet; 5] = [NON_ALPHANUMERIC, UNRESERVED, PATHS, MARKS, WHOLE_URLS];

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const PATHS: &AsciiSet = &UNRESERVED.remove(b'/');
const MARKS: &AsciiSet = &UNRESERVED
    .remove(b'!')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*');
const WHOLE_URLS: &AsciiSet = &MARKS
    .remove(b';')
    .remove(b'/')
    .remove(b'?')
    .remove(b':')
    .remove(b'@')
    .remove(b'&')
    .remove(b'=')
    .remove(b'+')
    .remove(b'$')
    .remove(b',')
    .remove(b'#');

/// Every spelling of `secret` that is looked for.
pub(super) fn all(secret: &str) -> Vec<String> {
    let mut spellings = vec![
        secret.to_owned(),
        json(secret, false),
        json(secret, true),
        form_urlencoded::byte_serialize(secret.as_bytes()).collect(),
    ];
    for left in LEFT_AS_THEY_ARE {
        spellings.push(utf8_percent_encode(secret, left).to_string());
    }
    for before in 0..3 {
        let piece = base64(secret, before);
        if piece.len() >= BASE64_CHARS_MIN {
            spellings.push(piece.replace('+', "-").replace('/', "_"));
            spellings.push(piece);
        }
    }
    spellings
}

/// As it stands within JSON text, `ascii` for writers that escape everything else.
fn json(secret: &str, ascii: bool) -> String {
    let quoted = serde_json::Value::from(secret).to_string();
    let inside = quoted.get(1..quoted.len() - 1).unwrap_or_default();
    if !ascii {
        return inside.to_owned();
    }
    let mut escaped = String::with_capacity(inside.len());
    for unit in inside.encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() => escaped.push(char::from(byte)),
            _ => {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        }
    }
    escaped
}

/// What is the same in the base64 of every text that has the secret `before` bytes after a multiple of three,
/// whatever stands around it.
fn base64(secret: &str, before: usize) -> String {
    let mut bytes = vec![0; before];
    bytes.extend_from_slice(secret.as_bytes());
    let encoded = STANDARD_NO_PAD.encode(&bytes);
    // A character that has bits of what stands before or behind is not the secret's own.
    let start = (before * 8).div_ceil(6);
    let end = encoded.len() - usize::from(!bytes.len().is_multiple_of(3));
    encoded.get(start..end).unwrap_or_default().to_owned()
}
