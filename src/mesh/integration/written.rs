//! JSON as another server wrote it: what stands in it is read also where a parser holds no such number or text.

use std::borrow::Cow;
use std::cell::Cell;
use std::ops::Range;

use serde_json::Value;
use serde_json::value::RawValue;

use super::unseen::{self, Unseen};

/// Where the texts of a JSON value stand, their quotes included.
fn texts(json: &str) -> impl Iterator<Item = Range<usize>> {
    let mut is_escaped = false;
    let quotes = json.bytes().enumerate().filter_map(move |(at, byte)| {
        let was_escaped = std::mem::replace(&mut is_escaped, false);
        is_escaped = byte == b'\\' && !was_escaped;
        (byte == b'"' && !was_escaped).then_some(at)
    });
    let mut start = None;
    quotes.filter_map(move |at| match start.take() {
        Some(start) => Some(start..at + 1),
        None => {
            start = Some(at);
            None
        }
    })
}

/// The value, with `null` for a number that is too large to be held, and with half a character (a surrogate
/// without its other) as its escape is written. `null` where it is nested too deeply as well.
pub fn value(json: &RawValue) -> Value {
    let read = |text: &str| serde_json::from_str(text).ok();
    let repaired = || {
        let between = |text| Cow::Owned(without_large_numbers(text));
        read(&rewritten(json.get(), between, |literal| {
            repaired(literal).into()
        }))
    };
    read(json.get()).or_else(repaired).unwrap_or_default()
}

/// What stands unseen in its texts, names of members too.
pub fn unseen(json: &RawValue, found: &mut Unseen) {
    for range in texts(json.get()) {
        found.look_at(&decoded(json.get().get(range).unwrap_or_default()));
    }
}

/// The same JSON with what nobody sees in its texts escaped, names of members too; all else as it was written.
pub fn escaped(json: &RawValue) -> Option<Box<RawValue>> {
    let escaped = |text: &str| (!Unseen::of(text).is_none()).then(|| unseen::escaped(text));
    RawValue::from_string(map_texts(json.get(), escaped).into_owned()).ok()
}

/// The same JSON with other texts in the place of those that `other` has one for, names of members too; all
/// else as it was written.
pub fn map_texts<'json>(
    json: &'json str,
    other: impl Fn(&str) -> Option<String>,
) -> Cow<'json, str> {
    let is_same = Cell::new(true);
    let text = |literal| match other(&decoded(literal)) {
        Some(text) => {
            is_same.set(false);
            Cow::Owned(Value::from(text).to_string())
        }
        None => Cow::Borrowed(literal),
    };
    let mapped = rewritten(json, Cow::Borrowed, text);
    match is_same.get() {
        true => Cow::Borrowed(json),
        false => Cow::Owned(mapped),
    }
}

/// `json` with something in the place of its texts, and of what stands between them.
fn rewritten<'json>(
    json: &'json str,
    between: impl Fn(&'json str) -> Cow<'json, str>,
    text: impl Fn(&'json str) -> Cow<'json, str>,
) -> String {
    let part = |range: Range<usize>| json.get(range).unwrap_or_default();
    let mut all = String::with_capacity(json.len());
    let mut from = 0;
    for range in texts(json) {
        all.push_str(&between(part(from..range.start)));
        from = range.end;
        all.push_str(&text(part(range)));
    }
    all.push_str(&between(part(from..json.len())));
    all
}

fn without_large_numbers(between: &str) -> String {
    let is_end = |character: char| character.is_whitespace() || ",:[]{}".contains(character);
    let tokens = between.split_inclusive(is_end).map(|piece| {
        let token = piece.trim_end_matches(is_end);
        match token.parse::<f64>() {
            Ok(number) if number.is_infinite() => piece.replacen(token, "null", 1),
            _ => piece.to_owned(),
        }
    });
    tokens.collect()
}

/// The text that a literal stands for.
fn decoded(literal: &str) -> Cow<'_, str> {
    let inside = literal.get(1..literal.len().saturating_sub(1));
    if let Some(inside) = inside.filter(|inside| !inside.contains('\\')) {
        return Cow::Borrowed(inside);
    }
    let read = |literal: &str| serde_json::from_str::<String>(literal).map(Cow::Owned);
    read(literal)
        .or_else(|_| read(&repaired(literal)))
        .unwrap_or(Cow::Borrowed(literal))
}

/// The literal with each half of a character as the text of its escape.
fn repaired(literal: &str) -> String {
    let mut repaired = String::with_capacity(literal.len());
    let mut rest = literal;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        repaired.push_str(before);
        let length = match (unit(escape), escape.get(6..).and_then(unit)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                repaired.push('\\');
                6
            }
            // What follows the backslash may be one as well.
            _ => 2,
        };
        let (escape, after) = escape.split_at_checked(length).unwrap_or((escape, ""));
        repaired.push_str(escape);
        rest = after;
    }
    repaired.push_str(rest);
    repaired
}

/// The number of an escape of four digits that the text begins with.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn what_a_parser_cannot_hold_takes_nothing_else_with_it() {
        for (written, read) in [
            (
                r#"{"a":[1e400,-1E+999 ,2],"b":"1e400"}"#,
                json!({"a": [null, null, 2], "b": "1e400"}),
            ),
            ("1e400", Value::Null),
            (
                r#"["\ud800","\ud83e\udd80","x\\\udc00y\"",true]"#,
                json!(["\\ud800", "🦀", "x\\\\udc00y\"", true]),
            ),
            (r#"{"\udc00\ud800z":1.50}"#, json!({"\\udc00\\ud800z": 1.5})),
        ] {
            assert_eq!(value(&raw(written)), read, "{written}");
        }
        let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
        assert_eq!(value(&raw(&deep)), Value::Null);
    }

    #[test]
    fn what_nobody_sees_is_escaped_and_all_else_stays_as_it_was_written() {
        for (written, shown) in [
            (r#"{ "n" : 1.50e400, "\u0061" : "b" }"#, None),
            (
                "{\"a\u{202e}\":[1e400,\"\u{e9}\"]}",
                Some("{\"a\\\\u{202e}\":[1e400,\"\u{e9}\"]}"),
            ),
            (
                r#"["\u202e","\ud800\u202e"]"#,
                Some(r#"["\\u{202e}","\\ud800\\u{202e}"]"#),
            ),
        ] {
            let escaped = escaped(&raw(written)).unwrap();
            assert_eq!(escaped.get(), shown.unwrap_or(written));
            let mut found = Unseen::default();
            unseen(&raw(written), &mut found);
            assert_eq!(found.is_none(), shown.is_none(), "{written}");
        }
    }
}
