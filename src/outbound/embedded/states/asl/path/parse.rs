//! How a path is written.

use super::super::cursor::Cursor;
use super::{Path, Root, SEGMENTS_MAX, Segment, Selector, filter};

/// What ends a name after a dot, wherever it stands; backslashes escape them.
const NAME_ENDS: &str = ".[](),:?@'\"* \t\r\n";

/// What ends a name within a filter, besides.
const NAME_ENDS_IN_FILTER: &str = "=<>!&|~+/";

/// Reads a path from `$` to where it can go on no further.
pub(super) fn path(cursor: &mut Cursor<'_>) -> Result<Path, String> {
    let start = cursor.rest();
    if !cursor.eat("$") {
        return Err(cursor.expected("'$'"));
    }
    let root = if cursor.eat("$") {
        Root::Context
    } else {
        Root::Input
    };
    let segments = segments(cursor, false)?;
    let length = start.len() - cursor.rest().len();
    Ok(Path {
        text: start.get(..length).unwrap_or_default().to_owned(),
        root,
        segments,
    })
}

/// Reads the steps of a path.
pub(super) fn segments(cursor: &mut Cursor<'_>, in_filter: bool) -> Result<Vec<Segment>, String> {
    let mut segments = Vec::new();
    loop {
        let descends = cursor.eat("..");
        let selector = if cursor.peek() == Some('[') {
            bracket(cursor)?
        } else if descends || cursor.eat(".") {
            dot(cursor, in_filter)?
        } else {
            return Ok(segments);
        };
        if segments.len() == SEGMENTS_MAX {
            return Err(format!("it has more than {SEGMENTS_MAX} steps"));
        }
        segments.push(Segment { descends, selector });
    }
}

fn dot(cursor: &mut Cursor<'_>, in_filter: bool) -> Result<Selector, String> {
    if cursor.eat("*") {
        return Ok(Selector::Each);
    }
    // Jayway takes `$.['name']` for `$['name']`.
    if cursor.peek() == Some('[') {
        return bracket(cursor);
    }
    let mut name = String::new();
    while let Some(character) = cursor.peek() {
        let ends =
            NAME_ENDS.contains(character) || (in_filter && NAME_ENDS_IN_FILTER.contains(character));
        if ends {
            break;
        }
        cursor.take();
        if character == '\\' {
            name.push(cursor.take().ok_or("it ends with a backslash")?);
        } else {
            name.push(character);
        }
    }
    if name.is_empty() {
        return Err(cursor.expected("a name"));
    }
    if cursor.peek() == Some('(') {
        return Err(format!(
            "'{name}()' is no function of paths: use an intrinsic function such as States.ArrayLength"
        ));
    }
    Ok(Selector::Name(name))
}

fn bracket(cursor: &mut Cursor<'_>) -> Result<Selector, String> {
    cursor.take();
    cursor.skip_blanks();
    let selector = match cursor.peek() {
        Some('*') => {
            cursor.take();
            Selector::Each
        }
        Some('\'' | '"') => Selector::Name(quoted(cursor)?),
        Some('?') => {
            cursor.take();
            Selector::Filter(filter::read(cursor)?)
        }
        _ => places(cursor)?,
    };
    cursor.skip_blanks();
    if !cursor.eat("]") {
        let is_name = matches!(selector, Selector::Name(_)) && cursor.peek() == Some(',');
        return Err(if is_name {
            "several names at once are not supported: take them one by one".to_owned()
        } else {
            cursor.expected("']'")
        });
    }
    Ok(selector)
}

/// Reads a text in quotes, in which a backslash stands before what is meant as such.
pub(super) fn quoted(cursor: &mut Cursor<'_>) -> Result<String, String> {
    let quote = cursor.take();
    let mut text = String::new();
    loop {
        match cursor.take() {
            None => return Err("a quote is not closed".to_owned()),
            end if end == quote => return Ok(text),
            Some('\\') => text.push(cursor.take().ok_or("it ends with a backslash")?),
            Some(character) => text.push(character),
        }
    }
}

/// Reads an index, several, or a slice.
fn places(cursor: &mut Cursor<'_>) -> Result<Selector, String> {
    let first = integer(cursor)?;
    cursor.skip_blanks();
    if cursor.eat(":") {
        cursor.skip_blanks();
        let last = integer(cursor)?;
        cursor.skip_blanks();
        if cursor.peek() == Some(':') {
            return Err("a slice has no step: write [from:to]".to_owned());
        }
        return Ok(Selector::Slice(first, last));
    }
    let Some(first) = first else {
        return Err(cursor.expected("an index, '*', a quoted name or '?('"));
    };
    let mut places = vec![first];
    loop {
        cursor.skip_blanks();
        if !cursor.eat(",") {
            break;
        }
        cursor.skip_blanks();
        places.push(integer(cursor)?.ok_or_else(|| cursor.expected("an index"))?);
    }
    Ok(match places.as_slice() {
        [one] => Selector::Index(*one),
        _ => Selector::Indexes(places),
    })
}

fn integer(cursor: &mut Cursor<'_>) -> Result<Option<i64>, String> {
    let negative = cursor.eat("-");
    let digits = cursor.take_while(|character| character.is_ascii_digit());
    if digits.is_empty() {
        return if negative {
            Err(cursor.expected("a digit"))
        } else {
            Ok(None)
        };
    }
    let number: i64 = digits
        .parse()
        .map_err(|_| format!("the index {digits} is too large"))?;
    Ok(Some(if negative { -number } else { number }))
}
