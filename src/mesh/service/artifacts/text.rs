//! How much of an artifact fits into an answer, as text or as base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// How much of the answer's JSON text the content may take: bytes, of 60,000.
pub const INLINE_BYTES_MAX: usize = 52_000;

/// Content inside an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Inline {
    /// As it is.
    Text(String),
    /// In base64.
    Base64(String),
    /// Not at all.
    Nothing,
}

impl Inline {
    /// As much of `body` as fits when written in JSON, and whether that is all; nothing where it is no
    /// UTF-8. A character that the end of `body` cuts in two is left out.
    pub fn text(body: &[u8]) -> Option<(Self, bool)> {
        let text = match std::str::from_utf8(body) {
            Ok(text) => text,
            Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => {
                std::str::from_utf8(&body[..error.valid_up_to()]).ok()?
            }
            Err(_) => return None,
        };
        let end = fitting(text, INLINE_BYTES_MAX);
        Some((Self::Text(text[..end].to_owned()), end == body.len()))
    }

    /// As much of `body` as fits in base64, and whether that is all.
    pub fn base64(body: &[u8]) -> (Self, bool) {
        let end = body.len().min(INLINE_BYTES_MAX / 4 * 3);
        (
            Self::Base64(STANDARD.encode(&body[..end])),
            end == body.len(),
        )
    }
}

/// Whether content of this media type is text, so that a model can read it as it is.
pub fn is_text_type(content_type: &str) -> bool {
    let essence = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let text = [
        "application/json",
        "application/xml",
        "application/javascript",
        "application/yaml",
    ];
    essence.starts_with("text/")
        || essence.ends_with("+json")
        || essence.ends_with("+xml")
        || essence.ends_with("+yaml")
        || text.contains(&essence.as_str())
}

/// The end of the longest beginning of `text` that takes at most `budget` bytes inside a JSON string.
fn fitting(text: &str, budget: usize) -> usize {
    let mut used = 0;
    for (position, character) in text.char_indices() {
        used += match character {
            '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
            character if u32::from(character) < 0x20 => 6,
            character => character.len_utf8(),
        };
        if used > budget {
            return position;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_where_its_json_would_be_too_long() {
        let exact = "a".repeat(INLINE_BYTES_MAX);
        assert_eq!(
            Inline::text(exact.as_bytes()),
            Some((Inline::Text(exact.clone()), true))
        );
        let (_, whole) = Inline::text(format!("{exact}b").as_bytes()).unwrap();
        assert!(!whole);
        let (Inline::Text(quotes), false) =
            Inline::text("\"".repeat(INLINE_BYTES_MAX).as_bytes()).unwrap()
        else {
            panic!("quotes take two bytes each");
        };
        assert_eq!(quotes.len(), INLINE_BYTES_MAX / 2);
    }

    #[test]
    fn a_character_cut_in_two_is_left_out_and_other_bytes_are_no_text() {
        assert_eq!(
            Inline::text(b"a\xc3"),
            Some((Inline::Text("a".to_owned()), false))
        );
        assert_eq!(Inline::text(b"a\xff"), None);
        assert_eq!(Inline::text(b"\xc3"), None);
        assert_eq!(Inline::text(b""), Some((Inline::Text(String::new()), true)));
    }

    #[test]
    fn base64_is_cut_at_whole_groups() {
        let (Inline::Base64(text), false) = Inline::base64(&vec![7; INLINE_BYTES_MAX]) else {
            panic!("too long for one answer");
        };
        assert!(text.len() <= INLINE_BYTES_MAX && !text.ends_with('='));
    }
}
