//! Finds halves of characters, which JavaScript's strings may hold and text may not.

/// The first escape in a JSON text that is half of a surrogate pair without its other half. `text` must be
/// well-formed JSON.
pub(in crate::inbound) fn lone_surrogate(text: &str) -> Option<&str> {
    // Almost no text has such an escape, and looking for two letters is fast.
    if !text.contains("\\u") {
        return None;
    }
    let mut at = 0;
    while let Some(offset) = text.get(at..)?.find('\\') {
        at += offset;
        let unit = match code_unit(text, at) {
            Some(unit) => unit,
            None => {
                at += 2;
                continue;
            }
        };
        let follower = code_unit(text, at + 6);
        match unit {
            0xD800..=0xDBFF if matches!(follower, Some(0xDC00..=0xDFFF)) => at += 12,
            0xD800..=0xDFFF => return text.get(at..at + 6),
            _ => at += 6,
        }
    }
    None
}

/// The code unit of the escape `\uXXXX` at `at`, if one is there.
fn code_unit(text: &str, at: usize) -> Option<u16> {
    let escape = text.as_bytes().get(at..at + 6)?;
    let digits = escape.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_found_and_pairs_are_not() {
        for whole in [
            r#""plain""#,
            r#""\u00e9 \ud83d\ude00""#,
            r#""\\ud800""#,
            r#""\"\\\ud83d\ude00""#,
            r#""é😀\n""#,
        ] {
            assert_eq!(lone_surrogate(whole), None, "{whole}");
        }
        assert_eq!(lone_surrogate(r#""\ud800""#), Some(r"\ud800"));
        assert_eq!(lone_surrogate(r#""\uDFFF\ud800""#), Some(r"\uDFFF"));
        assert_eq!(lone_surrogate(r#""\ud83d\u0041""#), Some(r"\ud83d"));
        assert_eq!(lone_surrogate(r#""\ud83d\ude00\ude00""#), Some(r"\ude00"));
        assert_eq!(lone_surrogate(r#""\\\ud83dx""#), Some(r"\ud83d"));
    }
}
