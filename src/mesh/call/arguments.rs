//! The hash of a call's arguments: the same for the same JSON however it is written, and exact to the digit.

use std::fmt;
use std::ops::Range;

use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::mesh::store::idempotency::hex;

/// How deep members are put in order; what is nested deeper counts as it is written.
pub const CANONICAL_DEPTH_MAX: usize = 32;

/// The SHA-256 of the canonical JSON of a call's arguments: RFC 8785, but that numbers stand as they were
/// written, since two that differ only beyond what a double holds are not the same call.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ArgumentsHash([u8; 32]);

impl ArgumentsHash {
    /// Of the JSON object `text`; what is no JSON counts as it is written.
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(canonical(text)).into())
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ArgumentsHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for ArgumentsHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ArgumentsHash({self})")
    }
}

impl Serialize for ArgumentsHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The JSON `text` with members in the order of their names (by UTF-16 code units), no blanks, texts in one
/// spelling and numbers as they are written.
pub fn canonical(text: &str) -> Vec<u8> {
    let mut writer = Writer {
        text,
        at: 0,
        out: Vec::with_capacity(text.len()),
    };
    let written = writer.value(CANONICAL_DEPTH_MAX).map(|()| writer.blanks());
    match written {
        Some(()) if writer.at == text.len() => writer.out,
        _ => text.as_bytes().to_vec(),
    }
}

/// Walks JSON once and writes it anew.
struct Writer<'text> {
    text: &'text str,
    at: usize,
    out: Vec<u8>,
}

impl<'text> Writer<'text> {
    fn value(&mut self, depth: usize) -> Option<()> {
        self.blanks();
        match self.peek()? {
            b'{' | b'[' if depth == 0 => self.verbatim(),
            b'{' => self.object(depth - 1),
            b'[' => self.list(depth - 1),
            b'"' => {
                let text = self.string()?;
                self.out.extend_from_slice(one_spelling(text).as_bytes());
                Some(())
            }
            _ => self.scalar(),
        }
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        let start = self.out.len();
        let mut members: Vec<(String, Range<usize>)> = Vec::new();
        self.between(b'{', b'}', |writer| {
            let from = writer.out.len();
            let name = writer.string()?;
            let spelled = one_spelling(name);
            writer.out.extend_from_slice(spelled.as_bytes());
            writer.take(b':')?;
            writer.out.push(b':');
            writer.value(depth)?;
            let name = serde_json::from_str(name).unwrap_or_else(|_| name.to_owned());
            members.push((name, from..writer.out.len()));
            Some(())
        })?;
        let in_order = |one: &(String, _), other: &(String, _)| {
            one.0.encode_utf16().le(other.0.encode_utf16())
        };
        if !members.is_sorted_by(in_order) {
            members.sort_by(|one, other| one.0.encode_utf16().cmp(other.0.encode_utf16()));
            let mut ordered = Vec::with_capacity(self.out.len() - start);
            for (_, range) in members {
                ordered.push(if ordered.is_empty() { b'{' } else { b',' });
                ordered.extend_from_slice(self.out.get(range)?);
            }
            ordered.push(b'}');
            self.out.truncate(start);
            self.out.append(&mut ordered);
        }
        Some(())
    }

    fn list(&mut self, depth: usize) -> Option<()> {
        self.between(b'[', b']', |writer| writer.value(depth))
    }

    /// Items between `open` and `close`, with commas between them.
    fn between(
        &mut self,
        open: u8,
        close: u8,
        mut item: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        self.take(open)?;
        self.out.push(open);
        self.blanks();
        if self.peek()? != close {
            loop {
                self.blanks();
                item(self)?;
                self.blanks();
                if self.peek()? != b',' {
                    break;
                }
                self.at += 1;
                self.out.push(b',');
            }
        }
        self.take(close)?;
        self.out.push(close);
        Some(())
    }

    /// The text that begins here, with its quotes.
    fn string(&mut self) -> Option<&'text str> {
        let start = self.at;
        self.take(b'"')?;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        self.text.get(start..self.at)
    }

    /// A number or a word, as it is.
    fn scalar(&mut self) -> Option<()> {
        let rest = self.text.get(self.at..)?;
        let length = rest
            .bytes()
            .take_while(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte))
            .count();
        let scalar = rest.get(..length).filter(|scalar| !scalar.is_empty())?;
        self.out.extend_from_slice(scalar.as_bytes());
        self.at += length;
        Some(())
    }

    /// An object or a list, as it is.
    fn verbatim(&mut self) -> Option<()> {
        let start = self.at;
        let mut open = 0_usize;
        loop {
            match self.peek()? {
                b'{' | b'[' => open += 1,
                b'}' | b']' => open -= 1,
                b'"' => {
                    self.string()?;
                    continue;
                }
                _ => {}
            }
            self.at += 1;
            if open == 0 {
                break;
            }
        }
        let whole = self.text.get(start..self.at)?;
        self.out.extend_from_slice(whole.as_bytes());
        Some(())
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        self.blanks();
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(|byte| b" \t\r\n".contains(&byte)) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
}

/// A text with its quotes, spelled as RFC 8785 has it. A lone surrogate is no text and stays as it is.
fn one_spelling(quoted: &str) -> std::borrow::Cow<'_, str> {
    if !quoted.contains('\\') {
        return quoted.into();
    }
    let text: Option<String> = serde_json::from_str(quoted).ok();
    match text.and_then(|text| serde_json::to_string(&text).ok()) {
        Some(spelled) => spelled.into(),
        None => quoted.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> String {
        String::from_utf8(canonical(text)).unwrap()
    }

    #[test]
    fn the_same_json_has_the_same_hash_however_it_is_written() {
        let one = r#"{"b":[1,2,{"z":null,"a":true}],"a":"\u00e9\/x"}"#;
        let other = " { \"a\" : \"é/x\" ,\r\n\t\"b\":[ 1 , 2 , {\"a\":true, \"z\":null} ] } ";
        assert_eq!(ArgumentsHash::of(one), ArgumentsHash::of(other));
        assert_eq!(of(other), r#"{"a":"é/x","b":[1,2,{"a":true,"z":null}]}"#);
    }

    #[test]
    fn what_differs_has_another_hash() {
        let texts = [
            r#"{"a":9007199254740993}"#,
            r#"{"a":9007199254740992}"#,
            r#"{"a":"9007199254740992"}"#,
            r#"{"a":1}"#,
            r#"{"a":1.0}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"a":2,"a":1}"#,
            r#"{"a":[1,2]}"#,
            r#"{"a":[2,1]}"#,
            r#"{"a":"\ud800"}"#,
            r#"{"a":"\ud801"}"#,
            "{}",
            "{",
            "",
        ];
        for (index, text) in texts.iter().enumerate() {
            for other in &texts[..index] {
                assert_ne!(
                    ArgumentsHash::of(text),
                    ArgumentsHash::of(other),
                    "{text} {other}"
                );
            }
        }
    }

    #[test]
    fn members_are_ordered_and_texts_spelled_as_rfc_8785_has_them() {
        // The example of its section 3.2.3.
        let text = r#"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One","\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}"#;
        let names: Vec<char> =
            serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&of(text))
                .unwrap()
                .keys()
                .map(|name| name.chars().next().unwrap())
                .collect();
        assert_eq!(names, ['\r', '1', '\u{80}', 'ö', '€', '😀', '\u{fb33}']);
        assert_eq!(
            of(r#"["\u000a\u001F\u0022\u005c\u0041\/"]"#),
            r#"["\n\u001f\"\\A/"]"#
        );
    }

    #[test]
    fn members_are_put_in_order_down_to_the_depth_that_is_said_and_no_deeper() {
        let nested = |levels: usize, inner: &str| {
            format!("{}{inner}{}", "[".repeat(levels), "]".repeat(levels))
        };
        let (given, ordered) = (r#"{"b": "}]", "a":1}"#, r#"{"a":1,"b":"}]"}"#);
        let edge = CANONICAL_DEPTH_MAX - 1;
        assert_eq!(of(&nested(edge, given)), nested(edge, ordered));
        assert_eq!(of(&nested(edge + 1, given)), nested(edge + 1, given));
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_means_what_was_read(text in r#"[ \[\]{}:,"a-c0-9\\.]{0,40}"#) {
            let read = serde_json::from_str::<serde_json::Value>(&text);
            match (read, serde_json::from_slice::<serde_json::Value>(&canonical(&text))) {
                (Ok(one), Ok(other)) => proptest::prop_assert_eq!(one, other),
                (Err(_), _) => {}
                (Ok(_), Err(error)) => proptest::prop_assert!(false, "{}", error),
            }
        }
    }
}
