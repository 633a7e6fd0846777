//! Texts with `*` in them, matched piece by piece without going back.

/// A text in which `*` stands for any characters, also none.
#[derive(Clone, Debug)]
pub(super) struct Wildcard {
    /// What stands between the `*`: one more than there are of them.
    pieces: Vec<Box<str>>,
}

impl Wildcard {
    /// The wildcard that `text` is. `\*` is an asterisk and `\\` a backslash.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let mut pieces = Vec::new();
        let mut piece = String::new();
        let mut after_star = false;
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            let is_star = character == '*';
            match character {
                '*' if after_star => return Err("two * in a row are no more than one; write one"),
                '*' => pieces.push(std::mem::take(&mut piece).into_boxed_str()),
                '\\' => match characters.next() {
                    Some(escaped @ ('*' | '\\')) => piece.push(escaped),
                    _ => {
                        return Err(
                            "a backslash escapes * or another backslash; write \\\\ for a backslash itself",
                        );
                    }
                },
                _ => piece.push(character),
            }
            after_star = is_star;
        }
        pieces.push(piece.into_boxed_str());
        Ok(Self { pieces })
    }

    /// How many `*` it has.
    pub(super) fn stars(&self) -> usize {
        self.pieces.len() - 1
    }

    /// Whether all of `text` fits. Each piece is looked for once, from where the one before it ended: the
    /// first place is as good as any later one.
    pub(super) fn matches(&self, text: &str) -> bool {
        let (first, last, between) = match self.pieces.as_slice() {
            [] => return false,
            [only] => return text == &**only,
            [first, between @ .., last] => (first, last, between),
        };
        let Some(mut rest) = text.strip_prefix(&**first) else {
            return false;
        };
        for piece in between {
            match rest.find(&**piece) {
                Some(start) => rest = &rest[start + piece.len()..],
                None => return false,
            }
        }
        rest.ends_with(&**last)
    }
}
