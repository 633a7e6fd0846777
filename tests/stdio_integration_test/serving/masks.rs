//! Text in which ids, times and durations are all alike, and everything else is as it was.

use regex::Regex;

/// What is new each time, and what stands for it.
const MASKS: [(&str, &str); 4] = [
    (r"\b[0-7][0-9A-HJKMNP-TV-Z]{25}\b", "<ulid>"),
    (r"\b\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z", "<time>"),
    (r#"(\\*"\w+_ms\\*": ?)\d+(\.\d+)?"#, "$1<ms>"),
    (
        r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b",
        "<uuid>",
    ),
];

/// `text` with its masks.
pub(super) fn masked(text: &str) -> String {
    MASKS.iter().fold(text.to_owned(), |text, (pattern, mask)| {
        let pattern = Regex::new(pattern).unwrap();
        pattern.replace_all(&text, *mask).into_owned()
    })
}

#[test]
fn ids_and_times_are_masked_and_nothing_else() {
    let text = r#"01M7WK15YG01398ECXSW03PPCX at 2026-01-31T23:59:59.999Z {\"duration_ms\":1.5} "a_ms": 7 b"#;
    let wanted = r#"<ulid> at <time> {\"duration_ms\":<ms>} "a_ms": <ms> b"#;
    assert_eq!(masked(text), wanted);
    for kept in [
        "2026-01-31",
        "\"size\":7",
        "key",
        "M7WK15YG01398ECXSW03PPCX",
    ] {
        assert_eq!(masked(kept), kept);
    }
}
