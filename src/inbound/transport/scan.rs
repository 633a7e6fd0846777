//! Finds the id of a request in a line that is broken or too long to be kept.
//!
//! The line passes by byte for byte and nothing of it is kept but a few short members of its outermost
//! object. JavaScript clients write `id` last, so looking at the beginning alone would miss it.

use super::id::{ID_TEXT_BYTES_MAX, Id};

/// The longest key that is told apart from others, in bytes.
const KEY_BYTES_MAX: usize = 8;

/// What is known of a line after some of its bytes.
#[derive(Debug, Default)]
pub(super) struct Scan {
    depth: u64,
    in_string: bool,
    after_backslash: bool,
    place: Place,
    key: Vec<u8>,
    value: Vec<u8>,
    id: Option<Vec<u8>>,
    is_no_request: bool,
}

/// Where in the outermost object the scan stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Before,
    Key,
    Colon,
    Value,
    After,
}

impl Scan {
    /// Looks at the next bytes of the line.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.place == Place::After {
                return;
            }
            if self.in_string {
                self.string_byte(*byte);
            } else {
                self.other_byte(*byte);
            }
        }
    }

    /// The id to answer with: none where the line is no request or names no usable id, or several.
    pub(super) fn id(self) -> Option<Id> {
        let text = String::from_utf8(self.id?).ok()?;
        if self.is_no_request {
            return None;
        }
        Some(Id::parse(&text)).filter(Id::can_be_answered)
    }

    fn string_byte(&mut self, byte: u8) {
        self.keep(byte);
        if self.after_backslash {
            self.after_backslash = false;
        } else if byte == b'\\' {
            self.after_backslash = true;
        } else if byte == b'"' {
            self.in_string = false;
            if self.depth == 1 && self.place == Place::Key {
                self.place = Place::Colon;
            }
        }
    }

    fn other_byte(&mut self, byte: u8) {
        match byte {
            b'"' => {
                self.in_string = true;
                self.keep(byte);
            }
            b'{' | b'[' => {
                self.depth += 1;
                if self.depth == 1 {
                    // An array is a batch, and text before the object is noise: no id of ours to find.
                    self.place = if byte == b'{' && self.place == Place::Before {
                        Place::Key
                    } else {
                        Place::After
                    };
                } else {
                    self.keep(byte);
                }
            }
            b'}' | b']' => {
                if self.depth <= 1 {
                    self.end_of_member();
                    self.place = Place::After;
                }
                self.depth = self.depth.saturating_sub(1);
                self.keep(byte);
            }
            b':' if self.depth == 1 && self.place == Place::Colon => {
                self.place = Place::Value;
                self.value.clear();
            }
            b',' if self.depth == 1 => self.end_of_member(),
            _ if byte.is_ascii_whitespace() => {}
            _ if self.depth == 0 => self.place = Place::After,
            _ => self.keep(byte),
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.depth != 1 {
            // The id is no array and no object: one byte of such a value makes it unusable.
            if self.place == Place::Value && self.value.is_empty() {
                self.value.push(byte);
            }
            return;
        }
        let (text, most) = match self.place {
            Place::Key => (&mut self.key, KEY_BYTES_MAX + 2),
            Place::Value => (&mut self.value, ID_TEXT_BYTES_MAX),
            Place::Before | Place::Colon | Place::After => return,
        };
        // One byte more than fits stays as the sign that the text was cut.
        if text.len() <= most {
            text.push(byte);
        }
    }

    fn end_of_member(&mut self) {
        if self.place == Place::Value {
            match self.key.as_slice() {
                br#""id""# if self.id.is_some() => self.is_no_request = true,
                br#""id""# => self.id = Some(std::mem::take(&mut self.value)),
                br#""result""# | br#""error""# => self.is_no_request = true,
                _ => {}
            }
        }
        self.place = Place::Key;
        self.key.clear();
        self.value.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_in(line: &str) -> Option<String> {
        let mut whole = Scan::default();
        whole.feed(line.as_bytes());
        let whole = whole.id().map(|id| id.to_string());
        let mut bytewise = Scan::default();
        for byte in line.as_bytes() {
            bytewise.feed(&[*byte]);
        }
        assert_eq!(bytewise.id().map(|id| id.to_string()), whole, "{line}");
        whole
    }

    #[test]
    fn the_id_is_found_wherever_it_stands_in_the_outermost_object() {
        assert_eq!(
            id_in(r#"{"id":7,"method":"x","params":{"#),
            Some("7".to_owned())
        );
        let last = r#"{"method":"x","params":{"id":1,"a":"}\"{"},"jsonrpc":"2.0","id": "a-b" }"#;
        assert_eq!(id_in(last), Some(r#""a-b""#.to_owned()));
        let broken = r#"{"jsonrpc":"2.0","params":{"name":},"id":-3}"#;
        assert_eq!(id_in(broken), Some("-3".to_owned()));
    }

    #[test]
    fn what_is_no_id_of_a_request_is_not_taken_for_one() {
        for line in [
            "",
            "nonsense",
            r#"x{"id":7}"#,
            r#"[{"id":7}]"#,
            r#"{"id":7"#,
            r#"{"id":null,"method":"x"}"#,
            r#"{"id":{"id":7},"method":"x"}"#,
            r#"{"id":[7],"method":"x"}"#,
            r#"{"id":true}"#,
            r#"{"id":7,"id":8,"method":"x"}"#,
            r#"{"params":{"id":7}}"#,
            r#"{"params":"\"id\":7"}"#,
            r#"{"identity":7}"#,
            r#"{"id":7,"result":{}}"#,
            r#"{"error":{},"id":7}"#,
            r#"{"id":"no end}"#,
        ] {
            assert_eq!(id_in(line), None, "{line}");
        }
    }

    #[test]
    fn a_long_id_is_none_and_a_long_line_keeps_nothing() {
        let longest = format!(r#"{{"id":"{}"}}"#, "i".repeat(ID_TEXT_BYTES_MAX - 2));
        assert!(id_in(&longest).is_some());
        let too_long = format!(r#"{{"id":"{}"}}"#, "i".repeat(ID_TEXT_BYTES_MAX - 1));
        assert_eq!(id_in(&too_long), None);

        let mut scan = Scan::default();
        scan.feed(br#"{"method":"tools/call","params":{"value":""#);
        for _ in 0..1000 {
            scan.feed(&[b'v'; 1000]);
        }
        assert!(scan.key.capacity() + scan.value.capacity() < 4 * ID_TEXT_BYTES_MAX);
        scan.feed(br#""},"id":9}"#);
        assert_eq!(scan.id().map(|id| id.to_string()), Some("9".to_owned()));
    }
}
