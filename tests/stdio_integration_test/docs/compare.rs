//! What a page shows and what comes out, alike but for what is new each time: ids, times, how long it took.

use std::collections::BTreeMap;

/// Stands for whatever there is: alone on a line for lines, else for text within the line.
const ANYTHING: &str = "…";

/// The characters of a ULID, and of its first one.
const ULID_CHARS: usize = 26;
const CROCKFORD: &str = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The ids that the page shows, and what they are in truth.
#[derive(Clone, Debug, Default)]
pub(super) struct Known(BTreeMap<String, String>);

#[derive(Debug, PartialEq)]
enum Token {
    Id(String),
    Time,
    Duration,
    Anything,
    Character(char),
}

impl Known {
    /// The command as it is to be typed here.
    pub(super) fn replaced(&self, command: &str) -> String {
        let mut command = command.to_owned();
        for (shown, id) in &self.0 {
            command = command.replace(shown, id);
        }
        command
    }

    /// Whether `came` is what is shown; what the ids in it are is known from then on.
    pub(super) fn learn(&mut self, shown: &[String], came: &str) -> bool {
        let shown: Vec<&str> = shown.iter().map(|line| line.trim_end()).collect();
        let said = came.lines().filter(|line| !is_log(line));
        let came: Vec<&str> = said.map(str::trim_end).collect();
        match self.lines(&shown, &came) {
            Some(known) => {
                *self = known;
                true
            }
            None => false,
        }
    }

    fn lines(&self, shown: &[&str], came: &[&str]) -> Option<Self> {
        let Some((line, rest)) = shown.split_first() else {
            return came.is_empty().then(|| self.clone());
        };
        if line.trim() == ANYTHING {
            return (0..=came.len()).find_map(|skipped| self.lines(rest, &came[skipped..]));
        }
        let (came, left) = came.split_first()?;
        self.tokens(&tokens(line), &tokens(came))?.lines(rest, left)
    }

    fn tokens(&self, shown: &[Token], came: &[Token]) -> Option<Self> {
        let Some((token, rest)) = shown.split_first() else {
            return came.is_empty().then(|| self.clone());
        };
        if *token == Token::Anything {
            return (0..=came.len()).find_map(|skipped| self.tokens(rest, &came[skipped..]));
        }
        let (came, left) = came.split_first()?;
        match (token, came) {
            (Token::Id(shown), Token::Id(id)) => {
                let mut known = self.clone();
                let is_other = known.0.insert(shown.clone(), id.clone());
                if is_other.is_some_and(|before| before != *id) {
                    return None;
                }
                known.tokens(rest, left)
            }
            (token, came) if token == came => self.tokens(rest, left),
            _ => None,
        }
    }
}

/// Whether it is a line of the log that no reader need care for, such as how busy the machine is.
fn is_log(line: &str) -> bool {
    time(line).is_some_and(|length| {
        let rest = line[length..].trim_start();
        rest.starts_with("INFO ") || rest.starts_with("WARN ")
    })
}

fn tokens(line: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let before = &line[..line.len() - rest.len()];
        let (token, length) = if let Some(length) = id(before, rest) {
            (Token::Id(rest[..length].to_owned()), length)
        } else if let Some(length) = time(rest) {
            (Token::Time, length)
        } else if let Some(length) = duration(before, rest) {
            (Token::Duration, length)
        } else if rest.starts_with(ANYTHING) {
            (Token::Anything, ANYTHING.len())
        } else {
            (Token::Character(first), first.len_utf8())
        };
        tokens.push(token);
        rest = &rest[length..];
    }
    tokens
}

/// The length of the ULID with which `rest` begins.
fn id(before: &str, rest: &str) -> Option<usize> {
    let is_inside = before.ends_with(|last: char| last.is_ascii_alphanumeric());
    let length = rest.bytes().take_while(u8::is_ascii_alphanumeric).count();
    let is_ulid = length == ULID_CHARS
        && rest.starts_with(['0', '1', '2', '3', '4', '5', '6', '7'])
        && rest[..length].chars().all(|char| CROCKFORD.contains(char));
    (is_ulid && !is_inside).then_some(length)
}

/// The length of the time with which `rest` begins: `2026-01-31T23:59:59.999Z`.
fn time(rest: &str) -> Option<usize> {
    const FORM: &[u8] = b"dddd-dd-ddTdd:dd:dd";
    let bytes = rest.as_bytes();
    let fits = FORM.len() <= bytes.len()
        && FORM.iter().zip(bytes).all(|(form, byte)| match form {
            b'd' => byte.is_ascii_digit(),
            form => form == byte,
        });
    let fraction = || {
        let digits = |byte: &&u8| byte.is_ascii_digit() || **byte == b'.';
        bytes[FORM.len()..].iter().take_while(digits).count()
    };
    let end = fits.then(|| FORM.len() + fraction())?;
    (bytes.get(end) == Some(&b'Z')).then_some(end + 1)
}

/// The length of the number after `"..._ms": ` with which `rest` begins.
fn duration(before: &str, rest: &str) -> Option<usize> {
    let digits = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    let length = rest.bytes().take_while(digits).count();
    (before.ends_with("_ms\": ") && length > 0).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learn(known: &mut Known, shown: &str, came: &str) -> bool {
        let shown: Vec<String> = shown.lines().map(str::to_owned).collect();
        known.learn(&shown, came)
    }

    #[test]
    fn what_is_new_each_time_may_differ_and_nothing_else() {
        let (one, other) = ("01M7WK15YG01398ECXSW03PPCX", "01M7WK179P026DM45PFTDK4ZEJ");
        let mut known = Known::default();
        let shown = format!("{one} 2026-01-31T23:59:59.999Z \"duration_ms\": 1.5, a … z\n…\nend");
        let came = format!(
            "2027-01-31T23:59:59Z  WARN x\n{other} 2027-01-31T23:59:59Z \"duration_ms\": 20, a b z\n1\n2\nend\n"
        );
        assert!(learn(&mut known, &shown, &came));
        assert_eq!(
            known.replaced(&format!("show {one}")),
            format!("show {other}")
        );
        assert!(learn(&mut known, one, other));
        assert!(!learn(&mut known, one, one), "another id than before");
        for (shown, came) in [
            ("a", "b"),
            ("a", "a\nb"),
            ("a", "2026-01-31T23:59:59Z ERROR x\na"),
            ("a\nb", "a"),
            ("a … z", "a b"),
            ("1", "2"),
            ("2026-01-31", "2027-01-31"),
            ("…\nend", "1\n2"),
            ("", "x"),
        ] {
            assert!(!learn(&mut known, shown, came), "{shown:?} and {came:?}");
        }
    }
}
