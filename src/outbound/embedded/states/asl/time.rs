//! Times as texts: RFC 3339 with an upper-case `T`, and `Z` or an offset.

/// The time that a text names; nothing where it is written in another way.
pub(super) fn parse(text: &str) -> Option<jiff::Timestamp> {
    is_written_so(text.as_bytes())
        .then(|| text.parse().ok())
        .flatten()
}

/// Whether it is `YYYY-MM-DDThh:mm:ss[.s…](Z|±hh:mm)`. What the parser takes besides is none here.
fn is_written_so(text: &[u8]) -> bool {
    let Some((date, mut rest)) = text.split_at_checked(19) else {
        return false;
    };
    let digits = |pattern: &[u8], bytes: &[u8]| {
        pattern.len() == bytes.len()
            && pattern
                .iter()
                .zip(bytes)
                .all(|(pattern, byte)| match pattern {
                    b'0' => byte.is_ascii_digit(),
                    other => other == byte,
                })
    };
    if !digits(b"0000-00-00T00:00:00", date) {
        return false;
    }
    if let Some((b'.', fraction)) = rest.split_first() {
        let length = fraction
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let Some((fraction, offset)) = fraction.split_at_checked(length) else {
            return false;
        };
        if fraction.is_empty() || fraction.len() > 9 {
            return false;
        }
        rest = offset;
    }
    match rest.split_first() {
        Some((b'Z', end)) => end.is_empty(),
        Some((b'+' | b'-', offset)) => digits(b"00:00", offset),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_one_way() {
        let good = [
            ("2016-03-14T01:59:00Z", 1_457_920_740_000),
            ("2016-03-14T03:59:00+02:00", 1_457_920_740_000),
            ("2016-03-13T17:59:00.5-08:00", 1_457_920_740_500),
            ("1969-12-31T23:59:59.999999999Z", -1),
        ];
        for (text, millis) in good {
            let time = parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(time.as_nanosecond().div_euclid(1_000_000), millis, "{text}");
        }
        let bad = [
            "",
            "2016-03-14",
            "2016-03-14T01:59Z",
            "2016-03-14t01:59:00z",
            "2016-03-14 01:59:00Z",
            "2016-03-14T01:59:00",
            "2016-03-14T01:59:00.Z",
            "2016-03-14T01:59:00+0200",
            "2016-03-14T01:59:00Z[UTC]",
            "2016-13-14T01:59:00Z",
            "2016-03-14T25:59:00Z",
            "+02016-03-14T01:59:00Z",
            "2016-03-14T01:59:00\u{0660}",
        ];
        for text in bad {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
