//! TOML that is checked by hand, so that every mistake is told with its line.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistake::{Mistakes, Place, did_you_mean};

/// The text of one TOML file, and where its lines begin.
pub(crate) struct TomlText<'text> {
    path: &'text Path,
    text: &'text str,
    line_starts: Vec<usize>,
}

impl<'text> TomlText<'text> {
    /// The text of the file at `path`.
    pub(crate) fn new(path: &'text Path, text: &'text str) -> Self {
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(index, _)| index + 1))
            .collect();
        Self {
            path,
            text,
            line_starts,
        }
    }

    /// The root table. Where the text is no TOML, each fault becomes a mistake.
    pub(crate) fn parse(&self, mistakes: &mut Mistakes) -> Option<DeTable<'text>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        if errors.is_empty() {
            return Some(table.into_inner());
        }
        for error in errors {
            let place = self.place(error.span().map_or(0, |span| span.start));
            mistakes.add_at(place, "no valid TOML", error.message());
        }
        None
    }

    /// The line that byte `offset` stands in.
    pub(crate) fn place(&self, offset: usize) -> Place {
        let line = self.line_starts.partition_point(|start| *start <= offset);
        Place::new(self.path, line)
    }

    /// The line of a key or a value.
    pub(crate) fn place_of<T>(&self, spanned: &Spanned<T>) -> Place {
        self.place(spanned.span().start)
    }
}

/// A file that is read strictly: what is wrong with it is gathered, and read on.
pub(crate) struct StrictToml<'text> {
    /// The file.
    pub(crate) text: TomlText<'text>,
    /// What is wrong with it so far.
    pub(crate) mistakes: Mistakes,
}

impl<'text> StrictToml<'text> {
    /// The file at `path` with this text, of which nothing has been read.
    pub(crate) fn new(path: &'text Path, text: &'text str) -> Self {
        Self {
            text: TomlText::new(path, text),
            mistakes: Mistakes::default(),
        }
    }

    /// The root table; nothing where the text is no TOML.
    pub(crate) fn parse(&mut self) -> Option<DeTable<'text>> {
        self.text.parse(&mut self.mistakes)
    }

    /// The table at `key`, where there is one.
    pub(crate) fn table<'t, 'i>(
        &mut self,
        parent: &'t DeTable<'i>,
        prefix: &str,
        key: &str,
    ) -> Option<&'t DeTable<'i>> {
        let value = parent.get(key)?;
        self.as_table(value, &format!("{prefix}{key}"))
    }

    pub(crate) fn as_table<'t, 'i>(
        &mut self,
        value: &'t Spanned<DeValue<'i>>,
        name: &str,
    ) -> Option<&'t DeTable<'i>> {
        match value.get_ref() {
            DeValue::Table(table) => Some(table),
            other => {
                let message = format!("it must be a table, not {}", kind_of(other));
                self.mistake(value, name, message);
                None
            }
        }
    }

    pub(crate) fn refuse_unknown(&mut self, table: &DeTable<'_>, prefix: &str, known: &[&str]) {
        for (key, _) in table {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                let near = did_you_mean(name, known.iter().copied());
                let message = format!("there is no such setting{near}");
                let place = self.text.place_of(key);
                self.mistakes
                    .add_at(place, format!("{prefix}{name}"), message);
            }
        }
    }

    pub(crate) fn mistake<T>(
        &mut self,
        at: &Spanned<T>,
        name: impl Into<String>,
        message: impl Into<String>,
    ) {
        self.mistakes.add_at(self.text.place_of(at), name, message);
    }
}

/// What a value is, for a message that says what it should have been.
pub(crate) fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A whole number as it is written, whatever its base.
pub(crate) fn integer(value: &toml::de::DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(value.as_str(), value.radix()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_counted_from_one() {
        let text = TomlText::new(Path::new("f.toml"), "a = 1\r\nb = 2\nc = 3");
        for (offset, line) in [(0, 1), (6, 1), (7, 2), (12, 2), (13, 3), (17, 3)] {
            assert_eq!(text.place(offset).line, line, "{offset}");
        }
    }

    #[test]
    fn every_fault_of_the_syntax_is_told() {
        let mut mistakes = Mistakes::default();
        let text = TomlText::new(Path::new("f.toml"), "a = \nb = 1\nc = [1\n");
        assert!(text.parse(&mut mistakes).is_none());
        let errors = mistakes.unless(()).unwrap_err();
        let lines: Vec<usize> = errors
            .mistakes()
            .iter()
            .filter_map(|mistake| mistake.place.as_ref().map(|place| place.line))
            .collect();
        assert!(lines.contains(&1) && lines.len() >= 2, "{errors}");
    }
}
