//! The last words of a child: what it wrote to its standard error, bounded, escaped, without its secrets.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::mesh::upstream::ConnectionSecrets;

/// How much of the standard error is kept, in bytes.
pub(super) const KEPT_BYTES_MAX: usize = 64 << 10;

/// How many lines are shown.
const LINES_SHOWN_MAX: usize = 20;

/// The most bytes of a line that are shown.
const LINE_BYTES_MAX: usize = 500;

/// How much longer the text becomes for a character that lost its beginning, in bytes.
const TORN_CHARACTER_BYTES_MAX: usize = 9;

/// The end of what a child wrote.
pub(super) struct LastWords {
    kept: Mutex<Kept>,
    /// What must not be shown.
    secrets: ConnectionSecrets,
}

#[derive(Default)]
struct Kept {
    bytes: VecDeque<u8>,
    /// Whether something before `bytes` was dropped.
    is_cut: bool,
}

impl LastWords {
    /// Nothing yet; `secrets` are never shown.
    pub(super) fn new(secrets: ConnectionSecrets) -> Self {
        Self {
            kept: Mutex::default(),
            secrets,
        }
    }

    /// Takes what the child wrote.
    pub(super) fn push(&self, bytes: &[u8]) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = &bytes[bytes.len().saturating_sub(KEPT_BYTES_MAX)..];
        let over = (kept.bytes.len() + newest.len()).saturating_sub(KEPT_BYTES_MAX);
        kept.is_cut |= over > 0 || newest.len() < bytes.len();
        kept.bytes.drain(..over);
        kept.bytes.extend(newest);
    }

    /// The last lines; nothing where nothing was written.
    pub(super) fn shown(&self) -> Option<String> {
        let (bytes, is_cut) = {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            (kept.bytes.iter().copied().collect::<Vec<u8>>(), kept.is_cut)
        };
        let text = String::from_utf8_lossy(&bytes);
        // Its end may be a secret that is being written.
        let text = self.secrets.mask_cut(self.without_torn(&text, is_cut));
        let lines: Vec<String> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(escaped)
            .collect();
        let shown = &lines[lines.len().saturating_sub(LINES_SHOWN_MAX)..];
        (!shown.is_empty()).then(|| shown.join("\n"))
    }

    /// `text` without what may be the end of a secret whose beginning was dropped.
    fn without_torn<'a>(&self, text: &'a str, is_cut: bool) -> &'a str {
        let longest = self.secrets.longest_bytes();
        if !is_cut || longest == 0 {
            return text;
        }
        // A character that was torn as well takes more room than its bytes did.
        let mut from = (longest + TORN_CHARACTER_BYTES_MAX).min(text.len());
        while !text.is_char_boundary(from) {
            from += 1;
        }
        &text[from..]
    }
}

/// A line without characters that could do something to whoever reads it, and of a bounded length.
fn escaped(line: &str) -> String {
    let mut text = String::new();
    for character in line.trim_end().chars() {
        if text.len() >= LINE_BYTES_MAX {
            text.push('…');
            break;
        }
        if character == '\t' || !is_harmful(character) {
            text.push(character);
        } else {
            text.extend(character.escape_unicode());
        }
    }
    text
}

/// Control characters, and those that hide text or change its direction.
fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    fn holding(secrets: &[&str]) -> LastWords {
        let secrets = secrets.iter().map(|secret| SecretString::from(*secret));
        LastWords::new(ConnectionSecrets::new(&secrets.collect::<Vec<_>>()))
    }

    #[test]
    fn the_last_lines_are_shown_escaped() {
        let words = holding(&[]);
        assert_eq!(words.shown(), None);
        words.push(b"one\n\n\x1b[31mtwo\x07\r\n");
        words.push("th\u{202e}ree ä ".as_bytes());
        words.push(b"\xff");
        let shown = words.shown().unwrap();
        assert!(
            shown.starts_with("one\n\\u{1b}[31mtwo\\u{7}\nth\\u{202e}ree"),
            "{shown}"
        );
    }

    #[test]
    fn a_flood_leaves_its_end_within_bounds() {
        let words = holding(&[]);
        for _ in 0..100 {
            words.push(&b"x".repeat(10_000));
        }
        words.push(b"\nlast");
        assert_eq!(words.kept.lock().unwrap().bytes.len(), KEPT_BYTES_MAX);
        let shown = words.shown().unwrap();
        assert!(shown.len() < 2 * LINE_BYTES_MAX && shown.ends_with("\nlast"));
        words.push(&b"y".repeat(KEPT_BYTES_MAX + 1));
        assert_eq!(words.kept.lock().unwrap().bytes.len(), KEPT_BYTES_MAX);
    }

    #[test]
    fn secrets_are_masked_also_where_they_are_torn() {
        let secret = "canary-secret-0123456789";
        let words = holding(&[secret, "-y", "canary"]);
        words.push(format!("a {secret}-y canary\ntail {}", &secret[..12]).as_bytes());
        let shown = words.shown().unwrap();
        assert_eq!(shown, "a [secret]-y [secret]\ntail [secret]");
        for cut in 0..secret.len() {
            let words = holding(&[secret]);
            words.push(secret.as_bytes());
            words.push(&b"z".repeat(KEPT_BYTES_MAX - cut));
            let shown = words.shown().unwrap();
            assert!(
                shown.chars().all(|letter| "z…".contains(letter)),
                "{cut}: {shown}"
            );
        }
    }
}
