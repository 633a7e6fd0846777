//! Lines out of a stream of bytes, none longer than allowed; of one that is too long, whom it answers.

/// The most that is kept of the end of a line that is too long, in bytes.
const TAIL_BYTES: usize = 64;

/// How many times the longest allowed line a line may have before the stream is given up.
const ENDLESS_TIMES: usize = 4;

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// One that is not too long, without its end; never empty.
    Whole(Vec<u8>),
    /// One that is too long.
    TooLong {
        /// The request that it answers, as far as its beginning or its end says.
        answers: Option<i64>,
    },
}

/// What parts a stream into lines.
pub(super) struct Lines {
    bytes_max: usize,
    line: Vec<u8>,
    /// How much of a line that is too long was skipped, with what its beginning says and its last bytes.
    skipped: Option<Skipped>,
}

struct Skipped {
    bytes: usize,
    answers: Option<i64>,
    tail: Vec<u8>,
}

impl Lines {
    /// Lines of at most `bytes_max` bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            line: Vec::new(),
            skipped: None,
        }
    }

    /// The next line that ends within `bytes`, which are taken up to there; else they are all taken.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Option<Line> {
        while !bytes.is_empty() {
            let end = memchr::memchr(b'\n', bytes);
            let (piece, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            self.take(piece);
            let Some(_) = end else {
                *bytes = rest;
                return None;
            };
            *bytes = &rest[1..];
            let line = std::mem::take(&mut self.line);
            if let Some(skipped) = self.skipped.take() {
                let answers = skipped.answers.or_else(|| last_id(&skipped.tail));
                return Some(Line::TooLong { answers });
            }
            if !line.trim_ascii().is_empty() {
                return Some(Line::Whole(line));
            }
        }
        None
    }

    /// Whether the line that is being read is longer than any program writes that means well.
    pub(super) fn is_endless(&self) -> bool {
        self.skipped
            .as_ref()
            .is_some_and(|skipped| skipped.bytes > self.bytes_max.saturating_mul(ENDLESS_TIMES))
    }

    fn take(&mut self, piece: &[u8]) {
        if self.skipped.is_none() {
            if self.line.len() + piece.len() <= self.bytes_max {
                self.line.extend_from_slice(piece);
                return;
            }
            let line = std::mem::take(&mut self.line);
            self.skipped = Some(Skipped {
                bytes: line.len(),
                answers: first_id(if line.is_empty() { piece } else { &line }),
                tail: line[line.len().saturating_sub(TAIL_BYTES)..].to_vec(),
            });
        }
        if let Some(skipped) = &mut self.skipped {
            skipped.bytes = skipped.bytes.saturating_add(piece.len());
            skipped
                .tail
                .extend_from_slice(&piece[piece.len().saturating_sub(TAIL_BYTES)..]);
            let over = skipped.tail.len().saturating_sub(TAIL_BYTES);
            skipped.tail.drain(..over);
        }
    }
}

/// The id of a message that begins with it: `{"jsonrpc":"2.0","id":7,"result":...`.
fn first_id(line: &[u8]) -> Option<i64> {
    let mut rest = line
        .trim_ascii_start()
        .strip_prefix(b"{")?
        .trim_ascii_start();
    if let Some(after) = after_key(rest, b"\"jsonrpc\"") {
        rest = after.strip_prefix(b"\"2.0\"")?.trim_ascii_start();
        rest = rest.strip_prefix(b",")?.trim_ascii_start();
    }
    let rest = after_key(rest, b"\"id\"")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, after) = rest.split_at(digits);
    let is_whole = after.trim_ascii_start().starts_with(b",");
    is_whole.then(|| integer(number))?
}

/// The id of a message that ends with it: `...,"id":7}`. What stands directly before the last brace belongs
/// to the message itself.
fn last_id(tail: &[u8]) -> Option<i64> {
    let rest = tail.trim_ascii_end().strip_suffix(b"}")?.trim_ascii_end();
    let digits = rest
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let (before, number) = rest.split_at(rest.len() - digits);
    let key = before.trim_ascii_end().strip_suffix(b":")?.trim_ascii_end();
    let before = key.strip_suffix(b"\"id\"")?.trim_ascii_end();
    before.ends_with(b",").then(|| integer(number))?
}

fn after_key<'a>(text: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let rest = text.strip_prefix(key)?.trim_ascii_start();
    Some(rest.strip_prefix(b":")?.trim_ascii_start())
}

fn integer(digits: &[u8]) -> Option<i64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(lines: &mut Lines, mut bytes: &[u8]) -> Vec<Line> {
        std::iter::from_fn(|| lines.next(&mut bytes)).collect()
    }

    fn whole(text: &str) -> Line {
        Line::Whole(text.as_bytes().to_vec())
    }

    #[test]
    fn lines_are_whole_however_they_arrive() {
        let mut lines = Lines::new(8);
        assert_eq!(all(&mut lines, b"ab\n\n \r\nc"), [whole("ab")]);
        assert_eq!(
            all(&mut lines, b"d\n12345678\n"),
            [whole("cd"), whole("12345678")]
        );
        assert_eq!(all(&mut lines, b""), []);
    }

    #[test]
    fn one_that_is_too_long_is_skipped_and_the_next_is_read() {
        let mut lines = Lines::new(8);
        let too_long = Line::TooLong { answers: None };
        assert_eq!(all(&mut lines, b"123456789\nab\n"), [too_long, whole("ab")]);
        assert!(!lines.is_endless());
        assert_eq!(all(&mut lines, &[b'x'; 8 * ENDLESS_TIMES]), []);
        assert!(!lines.is_endless());
        assert_eq!(all(&mut lines, b"x"), []);
        assert!(lines.is_endless());
    }

    #[test]
    fn whom_a_long_line_answers_is_known_by_its_beginning_or_its_end_alone() {
        let filler = "x".repeat(200);
        let cases = [
            (
                format!(r#"{{"jsonrpc":"2.0","id":7,"result":"{filler}"}}"#),
                Some(7),
            ),
            (
                format!(r#" {{ "id" : 12 , "result":"{filler}"}}"#),
                Some(12),
            ),
            (
                format!(r#"{{"result":"{filler}","jsonrpc":"2.0","id":8}}"#),
                Some(8),
            ),
            (format!(r#"{{"result":"{filler}", "id": 9 }} "#), Some(9)),
            (format!(r#"{{"result":{{"x":"{filler}","id":9}}}}"#), None),
            (format!(r#"{{"result":{{"id":9}},"x":"{filler}"}}"#), None),
            (
                format!(r#"{{"jsonrpc":"2.0","id":"7","result":"{filler}"}}"#),
                None,
            ),
            (
                format!(r#"{{"id":99999999999999999999,"x":"{filler}"}}"#),
                None,
            ),
        ];
        for (text, answers) in cases {
            let mut lines = Lines::new(100);
            let found = all(&mut lines, format!("{text}\n").as_bytes());
            assert_eq!(found, [Line::TooLong { answers }], "{text}");
        }
    }

    proptest! {
        #[test]
        fn how_the_bytes_are_parted_changes_nothing(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'{'), any::<u8>()], 0..200),
            parts in proptest::collection::vec(1usize..40, 0..20),
        ) {
            let mut together = Lines::new(20);
            let expected = all(&mut together, &bytes);
            let mut apart = Lines::new(20);
            let mut found = Vec::new();
            let mut rest = bytes.as_slice();
            for part in parts {
                let (piece, after) = rest.split_at(part.min(rest.len()));
                found.extend(all(&mut apart, piece));
                rest = after;
            }
            found.extend(all(&mut apart, rest));
            prop_assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                match (found, expected) {
                    (Line::Whole(found), Line::Whole(expected)) => prop_assert_eq!(found, expected),
                    (Line::TooLong { .. }, Line::TooLong { .. }) => {}
                    _ => prop_assert!(false),
                }
            }
        }
    }
}
