//! JSON text laid out for people, exact to the digit: numbers are never read and written again.

/// `text`, which must be well-formed JSON, with a line for each member and each item. Empty objects and
/// lists stay on their line.
pub(super) fn indented(text: &str) -> String {
    let mut laid_out = String::with_capacity(text.len() + text.len() / 2);
    let characters = text.chars().filter_outside_strings();
    let mut depth = 0_usize;
    let mut is_opened = false;
    for (character, is_text) in characters {
        let closes = !is_text && matches!(character, '}' | ']');
        if is_opened && !closes {
            depth += 1;
            break_line(&mut laid_out, depth);
        } else if closes && !is_opened {
            depth = depth.saturating_sub(1);
            break_line(&mut laid_out, depth);
        }
        is_opened = !is_text && matches!(character, '{' | '[');
        laid_out.push(character);
        match character {
            ',' if !is_text => break_line(&mut laid_out, depth),
            ':' if !is_text => laid_out.push(' '),
            _ => {}
        }
    }
    laid_out
}

/// `text`, which must be well-formed JSON, on one line and without blanks outside of strings.
pub(super) fn compact(text: &str) -> String {
    let characters = text.chars().filter_outside_strings();
    characters.map(|(character, _)| character).collect()
}

/// Characters of JSON text, each with whether it stands in a string; blanks outside of strings are left out.
struct OutsideStrings<I> {
    characters: I,
    is_string: bool,
    is_escaped: bool,
}

trait FilterOutsideStrings: Iterator<Item = char> + Sized {
    fn filter_outside_strings(self) -> OutsideStrings<Self> {
        OutsideStrings {
            characters: self,
            is_string: false,
            is_escaped: false,
        }
    }
}

impl<I: Iterator<Item = char>> FilterOutsideStrings for I {}

impl<I: Iterator<Item = char>> Iterator for OutsideStrings<I> {
    type Item = (char, bool);

    fn next(&mut self) -> Option<(char, bool)> {
        loop {
            let character = self.characters.next()?;
            if !self.is_string {
                match character {
                    ' ' | '\t' | '\n' | '\r' => continue,
                    '"' => self.is_string = true,
                    _ => return Some((character, false)),
                }
                return Some((character, true));
            }
            match character {
                _ if self.is_escaped => self.is_escaped = false,
                '\\' => self.is_escaped = true,
                '"' => self.is_string = false,
                _ => {}
            }
            return Some((character, true));
        }
    }
}

fn break_line(text: &mut String, depth: usize) {
    text.push('\n');
    for _ in 0..depth {
        text.push_str("  ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_items_have_lines_and_digits_stay() {
        let text = r#"{"a":1.50e400,"b":[],"c":{"d":[1, {}],"e":"x, {\"y\":[1]} \\"},"f":null}"#;
        let expected = r#"{
  "a": 1.50e400,
  "b": [],
  "c": {
    "d": [
      1,
      {}
    ],
    "e": "x, {\"y\":[1]} \\"
  },
  "f": null
}"#;
        assert_eq!(indented(text), expected);
        assert_eq!(indented("{ }"), "{}");
        assert_eq!(indented(expected), expected);
        assert_eq!(compact(expected), text.replace("1, {}", "1,{}"));
    }
}
