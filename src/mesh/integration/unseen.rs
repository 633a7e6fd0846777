//! Characters that nobody sees, or that change how others are seen: found and shown escaped.

/// How many characters of each kind stand in a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unseen {
    /// Those that change the direction of what is shown.
    pub direction: u32,
    /// Those that show nothing: of no width, tags, fillers, runs of variation selectors.
    pub invisible: u32,
    /// Those of private use, which show whatever a font likes, and control characters.
    pub private: u32,
}

/// What is wrong with a character, if anything is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Direction,
    Invisible,
    Private,
    /// A variation selector: fine behind a character, and hidden data in a run.
    Selector,
}

impl Unseen {
    /// What stands in `text`.
    pub fn of(text: &str) -> Self {
        let mut found = Self::default();
        found.look_at(text);
        found
    }

    /// Adds what stands in `text`.
    pub fn look_at(&mut self, text: &str) {
        if text.is_ascii() && !text.bytes().any(is_control_byte) {
            return;
        }
        for (character, is_unseen) in judged(text) {
            if !is_unseen {
                continue;
            }
            let count = match kind(character) {
                Some(Kind::Direction) => &mut self.direction,
                Some(Kind::Private) => &mut self.private,
                _ => &mut self.invisible,
            };
            *count = count.saturating_add(1);
        }
    }

    /// Whether there is none.
    pub const fn is_none(self) -> bool {
        self.direction == 0 && self.invisible == 0 && self.private == 0
    }

    /// The words by which listings flag a tool.
    pub fn flags(self) -> Vec<&'static str> {
        let kinds = [
            (self.direction, "direction_changing_characters"),
            (self.invisible, "invisible_characters"),
            (self.private, "private_use_or_control_characters"),
        ];
        let found = kinds.into_iter().filter(|(count, _)| *count > 0);
        found.map(|(_, name)| name).collect()
    }
}

/// `text` with every such character as `\u{...}`. What is not one stays as it is.
pub fn escaped(text: &str) -> String {
    if Unseen::of(text).is_none() {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for (character, is_unseen) in judged(text) {
        match is_unseen {
            true => shown.extend(character.escape_unicode()),
            false => shown.push(character),
        }
    }
    shown
}

/// At most `chars_max` characters of `text`, escaped, with `…` where something was left out.
pub fn excerpt(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => {
            let mut shown = escaped(&text[..end]);
            shown.push('…');
            shown
        }
        None => escaped(text),
    }
}

/// Each character, and whether it is one of those. One variation selector behind a visible character belongs
/// to it.
fn judged(text: &str) -> impl Iterator<Item = (char, bool)> {
    let mut before: Option<bool> = None;
    text.chars().map(move |character| {
        let is_unseen = match kind(character) {
            None => false,
            Some(Kind::Selector) => before != Some(false),
            Some(_) => true,
        };
        // What follows a selector has no character to belong to.
        before = Some(is_unseen || kind(character).is_some());
        (character, is_unseen)
    })
}

const fn is_control_byte(byte: u8) -> bool {
    (byte < 0x20 && !matches!(byte, b'\n' | b'\t' | b'\r')) || byte == 0x7f
}

/// Unicode's category Cf, and what else shows nothing or changes what is shown. Line ends and tabs are fine.
const fn kind(character: char) -> Option<Kind> {
    Some(match character {
        '\n' | '\t' | '\r' => return None,
        '\u{061c}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}' => Kind::Direction,
        '\u{fe00}'..='\u{fe0f}'
        | '\u{e0100}'..='\u{e01ef}'
        | '\u{180b}'..='\u{180d}'
        | '\u{180f}' => Kind::Selector,
        '\u{00ad}'
        | '\u{034f}'
        | '\u{0600}'..='\u{0605}'
        | '\u{06dd}'
        | '\u{070f}'
        | '\u{0890}'..='\u{0891}'
        | '\u{08e2}'
        | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200d}'
        | '\u{2028}'..='\u{2029}'
        | '\u{2060}'..='\u{2065}'
        | '\u{206a}'..='\u{206f}'
        | '\u{2800}'
        | '\u{3164}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{110bd}'
        | '\u{110cd}'
        | '\u{13430}'..='\u{1343f}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e00ff}'
        | '\u{e01f0}'..='\u{e0fff}' => Kind::Invisible,
        '\u{0}'..='\u{1f}'
        | '\u{7f}'..='\u{9f}'
        | '\u{e000}'..='\u{f8ff}'
        | '\u{f0000}'..='\u{10ffff}' => Kind::Private,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_left_as_it_is() {
        for text in [
            "",
            "Reads a file.\n\tIn lines.\r\n",
            "Grüße, 世界 ☃ 🦀",
            "a heart: ❤\u{fe0f} and a sheet: 葛\u{e0100}",
            "שלום مرحبا",
        ] {
            assert!(Unseen::of(text).is_none(), "{text}");
            assert_eq!(escaped(text), text);
        }
    }

    #[test]
    fn what_nobody_sees_is_flagged_by_its_kind_and_shown_escaped() {
        for (text, shown, flag) in [
            ("a\u{202e}b", "a\\u{202e}b", "direction_changing_characters"),
            ("a\u{2066}b", "a\\u{2066}b", "direction_changing_characters"),
            ("a\u{200b}b", "a\\u{200b}b", "invisible_characters"),
            ("\u{feff}b", "\\u{feff}b", "invisible_characters"),
            ("a\u{e0041}", "a\\u{e0041}", "invisible_characters"),
            ("a\u{ad}b", "a\\u{ad}b", "invisible_characters"),
            (
                "a\u{fe00}\u{fe01}\u{fe02}",
                "a\u{fe00}\\u{fe01}\\u{fe02}",
                "invisible_characters",
            ),
            ("\u{fe0f}a", "\\u{fe0f}a", "invisible_characters"),
            (
                "a\u{e000}",
                "a\\u{e000}",
                "private_use_or_control_characters",
            ),
            (
                "a\u{1b}[8m",
                "a\\u{1b}[8m",
                "private_use_or_control_characters",
            ),
        ] {
            assert_eq!(escaped(text), shown);
            assert_eq!(Unseen::of(text).flags(), [flag], "{shown}");
        }
        assert_eq!(excerpt("a\u{200b}bc", 2), "a\\u{200b}…");
    }
}
