//! Patterns of `StringMatches`: `*` stands for any characters, a backslash for what follows it.

/// A pattern, in the pieces between its stars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob {
    first: String,
    /// What comes after each star.
    others: Vec<String>,
}

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(pattern: &str) -> Result<Self, String> {
        let mut pieces = vec![String::new()];
        let mut characters = pattern.chars();
        while let Some(character) = characters.next() {
            let plain = match character {
                '*' => {
                    pieces.push(String::new());
                    continue;
                }
                '\\' => match characters.next() {
                    Some(escaped @ ('*' | '\\')) => escaped,
                    _ => {
                        return Err(
                            "a backslash in a pattern must stand before '*' or another backslash (in JSON, '\\\\*')"
                                .to_owned(),
                        );
                    }
                },
                other => other,
            };
            if let Some(piece) = pieces.last_mut() {
                piece.push(plain);
            }
        }
        let others = pieces.split_off(1);
        Ok(Self {
            first: pieces.pop().unwrap_or_default(),
            others,
        })
    }

    /// Whether the text is such.
    pub(super) fn matches(&self, text: &str) -> bool {
        let Some((last, middle)) = self.others.split_last() else {
            return text == self.first;
        };
        let Some(mut rest) = text.strip_prefix(self.first.as_str()) else {
            return false;
        };
        // The earliest place for each piece leaves the most to those after it: nothing is tried twice.
        for piece in middle {
            let Some((_, after)) = rest.split_once(piece.as_str()) else {
                return false;
            };
            rest = after;
        }
        rest.ends_with(last.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stars_stand_for_any_characters_and_backslashes_for_what_follows() {
        let cases = [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*", "a", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*ab*", "xaby", true),
            ("*ab*ab*", "ab", false),
            ("*ab*ab", "abab", true),
            ("a**b", "ab", true),
            ("foo*.*", "foobar.zebra", true),
            (r"a\*b", "a*b", true),
            (r"a\*b", "axb", false),
            (r"\\*", r"\anything", true),
            ("?.[a]+", "?.[a]+", true),
            ("ж*я", "жуля", true),
        ];
        for (pattern, text, expected) in cases {
            let glob = Glob::parse(pattern).unwrap();
            assert_eq!(glob.matches(text), expected, "{pattern} on {text}");
        }
        for pattern in [r"a\", r"\n"] {
            assert!(
                Glob::parse(pattern).unwrap_err().contains("backslash"),
                "{pattern}"
            );
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_longer_than_its_text() {
        // With backtracking neither would come to an end.
        let glob = Glob::parse(&"a*".repeat(100_000)).unwrap();
        let text = format!("{}b", "a".repeat(200_000));
        assert!(glob.matches(&text));
        let glob = Glob::parse(&format!("{}c", "*a".repeat(1000))).unwrap();
        assert!(!glob.matches(&text));
    }

    /// The definition of a match, at whatever cost.
    fn plainly(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|skip| plainly(rest, &text[skip..])),
            Some((byte, rest)) => text
                .split_first()
                .is_some_and(|(first, text)| first == byte && plainly(rest, text)),
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_its_definition(pattern in "[ab*]{0,8}", text in "[ab]{0,10}") {
            let glob = Glob::parse(&pattern).unwrap();
            prop_assert_eq!(glob.matches(&text), plainly(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
