//! Filters of paths: `[?(@.price < 10 && @.kind == 'book')]`.

use std::cmp::Ordering;

use serde_json::Value;

use super::super::cursor::Cursor;
use super::super::error::StateResult;
use super::super::json;
use super::super::meter::Meter;
use super::{Found, Segment, parse, walk};

/// How deep parentheses and negations may lie in each other.
const DEPTH_MAX: usize = 16;

/// What a node is tested for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Test {
    /// Each of them holds.
    All(Vec<Test>),
    /// At least one of them holds.
    Any(Vec<Test>),
    /// It does not hold.
    Not(Box<Test>),
    /// The operand leads to something.
    Present(Operand),
    /// The two compare so.
    Compare(Operand, Comparison, Operand),
}

/// What is compared.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand {
    /// A fixed value.
    Literal(Value),
    /// From the node that is tested.
    Node(Vec<Segment>),
    /// From the root of the document.
    Root(Vec<Segment>),
}

/// How two values compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Reads a filter, from after its `?`.
pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Test, String> {
    cursor.skip_blanks();
    if cursor.peek() != Some('(') {
        return Err(cursor.expected("'(' after '?'"));
    }
    any(cursor, DEPTH_MAX)
}

fn any(cursor: &mut Cursor<'_>, depth_left: usize) -> Result<Test, String> {
    let mut tests = vec![all(cursor, depth_left)?];
    loop {
        cursor.skip_blanks();
        if !cursor.eat("||") {
            return Ok(one_or(tests, Test::Any));
        }
        tests.push(all(cursor, depth_left)?);
    }
}

fn all(cursor: &mut Cursor<'_>, depth_left: usize) -> Result<Test, String> {
    let mut tests = vec![single(cursor, depth_left)?];
    loop {
        cursor.skip_blanks();
        if !cursor.eat("&&") {
            return Ok(one_or(tests, Test::All));
        }
        tests.push(single(cursor, depth_left)?);
    }
}

fn one_or(mut tests: Vec<Test>, several: impl FnOnce(Vec<Test>) -> Test) -> Test {
    match tests.pop() {
        Some(test) if tests.is_empty() => test,
        Some(test) => {
            tests.push(test);
            several(tests)
        }
        None => several(tests),
    }
}

fn single(cursor: &mut Cursor<'_>, depth_left: usize) -> Result<Test, String> {
    let Some(depth_left) = depth_left.checked_sub(1) else {
        return Err(format!(
            "a filter has more than {DEPTH_MAX} parentheses and negations in each other"
        ));
    };
    cursor.skip_blanks();
    if cursor.eat("!") {
        return Ok(Test::Not(Box::new(single(cursor, depth_left)?)));
    }
    if cursor.eat("(") {
        let test = any(cursor, depth_left)?;
        cursor.skip_blanks();
        if !cursor.eat(")") {
            return Err(cursor.expected("')', '&&', '||' or a comparison"));
        }
        return Ok(test);
    }
    let left = operand(cursor)?;
    cursor.skip_blanks();
    let Some(comparison) = comparison(cursor)? else {
        return match left {
            Operand::Literal(_) => Err(cursor.expected("a comparison")),
            path => Ok(Test::Present(path)),
        };
    };
    cursor.skip_blanks();
    Ok(Test::Compare(left, comparison, operand(cursor)?))
}

fn comparison(cursor: &mut Cursor<'_>) -> Result<Option<Comparison>, String> {
    if cursor.eat("=~") {
        return Err("regular expressions ('=~') are not supported in filters".to_owned());
    }
    let table = [
        ("==", Comparison::Equal),
        ("!=", Comparison::NotEqual),
        ("<=", Comparison::LessOrEqual),
        (">=", Comparison::GreaterOrEqual),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
    ];
    for (text, comparison) in table {
        if cursor.eat(text) {
            return Ok(Some(comparison));
        }
    }
    if cursor.peek().is_some_and(char::is_alphabetic) {
        return Err(cursor.expected("one of == != < <= > >= && || )"));
    }
    Ok(None)
}

fn operand(cursor: &mut Cursor<'_>) -> Result<Operand, String> {
    match cursor.peek() {
        Some('@') => {
            cursor.take();
            definite(parse::segments(cursor, true)?).map(Operand::Node)
        }
        Some('$') => {
            cursor.take();
            definite(parse::segments(cursor, true)?).map(Operand::Root)
        }
        Some('\'' | '"') => parse::quoted(cursor).map(|text| Operand::Literal(text.into())),
        _ => {
            let word = cursor.take_while(|character| {
                character.is_ascii_alphanumeric() || matches!(character, '-' | '+' | '.')
            });
            match serde_json::from_str(word) {
                Ok(literal) => Ok(Operand::Literal(literal)),
                Err(_) => Err(format!(
                    "'{word}' in a filter is neither a path from '@' or '$', nor a number, a quoted text, true, false or null"
                )),
            }
        }
    }
}

fn definite(segments: Vec<Segment>) -> Result<Vec<Segment>, String> {
    if segments.iter().all(Segment::is_definite) {
        Ok(segments)
    } else {
        Err("a path within a filter takes names and indexes only".to_owned())
    }
}

impl Test {
    /// Whether `node` of the document `root` passes.
    pub(super) fn passes(
        &self,
        node: &Value,
        root: &Value,
        meter: &mut Meter,
    ) -> StateResult<bool> {
        meter.step(1)?;
        Ok(match self {
            Self::All(tests) => {
                for test in tests {
                    if !test.passes(node, root, meter)? {
                        return Ok(false);
                    }
                }
                true
            }
            Self::Any(tests) => {
                for test in tests {
                    if test.passes(node, root, meter)? {
                        return Ok(true);
                    }
                }
                false
            }
            Self::Not(test) => !test.passes(node, root, meter)?,
            Self::Present(operand) => operand.value(node, root, meter)?.is_some(),
            Self::Compare(left, comparison, right) => {
                let left = left.value(node, root, meter)?;
                let right = right.value(node, root, meter)?;
                comparison.holds(left, right, meter)?
            }
        })
    }
}

impl Operand {
    fn value<'v>(
        &'v self,
        node: &'v Value,
        root: &'v Value,
        meter: &mut Meter,
    ) -> StateResult<Option<&'v Value>> {
        let (segments, from) = match self {
            Self::Literal(value) => return Ok(Some(value)),
            Self::Node(segments) => (segments, node),
            Self::Root(segments) => (segments, root),
        };
        Ok(match walk::find(segments, from, meter)? {
            Some(Found::One(value)) => Some(value),
            _ => None,
        })
    }
}

impl Comparison {
    fn holds(
        self,
        left: Option<&Value>,
        right: Option<&Value>,
        meter: &mut Meter,
    ) -> StateResult<bool> {
        let (Some(left), Some(right)) = (left, right) else {
            // What is not there equals nothing, and is unlike everything that is.
            return Ok(self == Self::NotEqual && (left.is_some() || right.is_some()));
        };
        if matches!(self, Self::Equal | Self::NotEqual) {
            let equal = json::equal(left, right, meter)?;
            return Ok(equal == (self == Self::Equal));
        }
        let order = match (left, right) {
            (Value::Number(left), Value::Number(right)) => json::compare(left, right),
            (Value::String(left), Value::String(right)) => {
                meter.step(1 + left.len().min(right.len()) / 64)?;
                Some(left.cmp(right))
            }
            _ => None,
        };
        Ok(order.is_some_and(|order| match self {
            Self::Less => order == Ordering::Less,
            Self::LessOrEqual => order != Ordering::Greater,
            Self::Greater => order == Ordering::Greater,
            Self::GreaterOrEqual => order != Ordering::Less,
            Self::Equal | Self::NotEqual => false,
        }))
    }
}
