//! A text read character by character, with places named in what is said of mistakes.

/// A place in a text.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The beginning of `text`.
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// What is left.
    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The next character.
    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Takes the next character.
    pub(super) fn take(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    /// Takes `expected` if it comes next.
    pub(super) fn eat(&mut self, expected: &str) -> bool {
        let found = self.rest().starts_with(expected);
        if found {
            self.at += expected.len();
        }
        found
    }

    /// Takes characters for as long as they are such.
    pub(super) fn take_while(&mut self, mut is_such: impl FnMut(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest
            .find(|character| !is_such(character))
            .unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    /// Takes blanks.
    pub(super) fn skip_blanks(&mut self) {
        self.take_while(|character| matches!(character, ' ' | '\t' | '\n' | '\r'));
    }

    /// Whether nothing is left.
    pub(super) fn is_at_end(&self) -> bool {
        self.rest().is_empty()
    }

    /// What is said where something else was expected here.
    pub(super) fn expected(&self, what: &str) -> String {
        let place = self.text.get(..self.at).unwrap_or_default().chars().count() + 1;
        match self.peek() {
            Some(found) => format!("character {place}: expected {what}, found '{found}'"),
            None => format!("it ends where {what} was expected"),
        }
    }
}
