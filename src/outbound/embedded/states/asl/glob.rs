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
