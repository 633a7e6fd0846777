//! Texts whose letters may be large or small.

/// A text of which each character may come as its small or as its capital form. The forms are those of the
/// character alone, so `ß` is `ß` or `SS`; what the event's character would be in the other case is not asked.
#[derive(Clone, Debug)]
pub(super) enum Folded {
    /// All of it is ASCII.
    Ascii(Box<str>),
    /// The small and the capital form of each character.
    Forms(Vec<(Box<str>, Box<str>)>),
}

impl Folded {
    pub(super) fn new(text: &str) -> Self {
        if text.is_ascii() {
            return Self::Ascii(text.into());
        }
        let forms = text.chars().map(|character| {
            let small: String = character.to_lowercase().collect();
            let capital: String = character.to_uppercase().collect();
            (small.into_boxed_str(), capital.into_boxed_str())
        });
        Self::Forms(forms.collect())
    }

    /// Whether all of `text` is it.
    pub(super) fn equals(&self, text: &str) -> bool {
        match self {
            Self::Ascii(wanted) => wanted.eq_ignore_ascii_case(text),
            Self::Forms(_) => self.strip_from_start(text) == Some(""),
        }
    }

    /// Whether `text` begins with it.
    pub(super) fn starts(&self, text: &str) -> bool {
        match self {
            Self::Ascii(wanted) => text
                .as_bytes()
                .get(..wanted.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(wanted.as_bytes())),
            Self::Forms(_) => self.strip_from_start(text).is_some(),
        }
    }

    /// Whether `text` ends with it.
    pub(super) fn ends(&self, text: &str) -> bool {
        match self {
            Self::Ascii(wanted) => text
                .len()
                .checked_sub(wanted.len())
                .and_then(|start| text.as_bytes().get(start..))
                .is_some_and(|end| end.eq_ignore_ascii_case(wanted.as_bytes())),
            Self::Forms(forms) => {
                let mut rest = text;
                forms.iter().rev().all(|(small, capital)| {
                    let before = rest
                        .strip_suffix(&**small)
                        .or_else(|| rest.strip_suffix(&**capital));
                    rest = before.unwrap_or(rest);
                    before.is_some()
                })
            }
        }
    }

    /// What is left of `text` after it. Neither form of a character begins or ends with the other, so at
    /// each place one of them fits at most, and nothing has to be tried again.
    fn strip_from_start<'a>(&self, text: &'a str) -> Option<&'a str> {
        let Self::Forms(forms) = self else {
            return None;
        };
        forms.iter().try_fold(text, |rest, (small, capital)| {
            rest.strip_prefix(&**small)
                .or_else(|| rest.strip_prefix(&**capital))
        })
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn neither_form_of_a_character_begins_or_ends_with_the_other() {
        for character in char::MIN..=char::MAX {
            let small: String = character.to_lowercase().collect();
            let capital: String = character.to_uppercase().collect();
            if small == capital {
                continue;
            }
            for (one, other) in [(&small, &capital), (&capital, &small)] {
                assert!(!one.starts_with(other.as_str()), "{character:?}");
                assert!(!one.ends_with(other.as_str()), "{character:?}");
            }
        }
    }
}
