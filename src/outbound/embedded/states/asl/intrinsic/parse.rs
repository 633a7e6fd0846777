//! How calls of intrinsic functions are written.

use serde_json::Value;

use super::super::cursor::Cursor;
use super::super::path::Path;
use super::super::template::refuse_token;
use super::text::placeholders;
use super::{Argument, Call, DEPTH_MAX, Function};

impl Call {
    /// Reads a call.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub(in super::super) fn parse(text: &str) -> Result<Self, String> {
        let mut cursor = Cursor::new(text);
        let call = call(&mut cursor, DEPTH_MAX)?;
        cursor.skip_blanks();
        if !cursor.is_at_end() {
            return Err(cursor.expected("the end"));
        }
        Ok(call)
    }

    /// Whether the arguments are what the function takes, as far as can be told from the text.
    fn check(&self) -> Result<(), String> {
        let count = self.arguments.len();
        let row = Function::TABLE.iter().find(|row| row.0 == self.function);
        if let Some((_, name, fewest, most)) = row
            && !(*fewest..=*most).contains(&count)
        {
            let takes = match (*fewest, *most) {
                (fewest, usize::MAX) => format!("at least {fewest}"),
                (fewest, most) if fewest == most => fewest.to_string(),
                (fewest, most) => format!("{fewest} to {most}"),
            };
            return Err(format!("{name} takes {takes} arguments, not {count}"));
        }
        match (self.function, self.arguments.as_slice()) {
            (Function::Format, [Argument::Quoted(template), values @ ..]) => {
                let expected = placeholders(template)?;
                if expected != values.len() {
                    return Err(format!(
                        "the template of States.Format has {expected} '{{}}' and {} values follow it",
                        values.len()
                    ));
                }
                Ok(())
            }
            (Function::JsonMerge, [_, _, Argument::Fixed(Value::Bool(true))]) => Err(
                "States.JsonMerge merges only the top: its third argument must be false".to_owned(),
            ),
            _ => Ok(()),
        }
    }
}

fn call(cursor: &mut Cursor<'_>, depth_left: usize) -> Result<Call, String> {
    let Some(depth_left) = depth_left.checked_sub(1) else {
        return Err(format!("more than {DEPTH_MAX} calls lie in each other"));
    };
    let name = cursor.take_while(|character| {
        character.is_ascii_alphanumeric() || matches!(character, '.' | '_')
    });
    let row = Function::TABLE.iter().find(|row| row.1 == name);
    let Some((function, ..)) = row else {
        let names = Function::TABLE.map(|row| row.1);
        return Err(format!(
            "there is no function '{name}', only {}",
            names.join(", ")
        ));
    };
    cursor.skip_blanks();
    if !cursor.eat("(") {
        return Err(cursor.expected("'('"));
    }
    let arguments = arguments(cursor, depth_left)?;
    let call = Call {
        function: *function,
        arguments,
    };
    call.check()?;
    Ok(call)
}

fn arguments(cursor: &mut Cursor<'_>, depth_left: usize) -> Result<Vec<Argument>, String> {
    let mut arguments = Vec::new();
    cursor.skip_blanks();
    if cursor.eat(")") {
        return Ok(arguments);
    }
    loop {
        cursor.skip_blanks();
        arguments.push(argument(cursor, depth_left)?);
        cursor.skip_blanks();
        if cursor.eat(")") {
            return Ok(arguments);
        }
        if !cursor.eat(",") {
            return Err(cursor.expected("',' or ')'"));
        }
    }
}

fn argument(cursor: &mut Cursor<'_>, depth_left: usize) -> Result<Argument, String> {
    match cursor.peek() {
        Some('$') => {
            let path = Path::read(cursor)?;
            refuse_token(&path)?;
            Ok(Argument::Path(path))
        }
        Some('\'') => quoted(cursor).map(Argument::Quoted),
        _ if cursor.rest().starts_with("States.") => call(cursor, depth_left).map(Argument::Call),
        _ => {
            let before = cursor.clone();
            let word = cursor.take_while(|character| {
                character.is_ascii_alphanumeric() || matches!(character, '-' | '+' | '.')
            });
            serde_json::from_str(word)
                .map(Argument::Fixed)
                .map_err(|_| {
                    before.expected(
                        "a text in apostrophes, a number, true, false, null, a path or a function",
                    )
                })
        }
    }
}

/// Reads a text in apostrophes and leaves its backslashes in it.
fn quoted(cursor: &mut Cursor<'_>) -> Result<String, String> {
    cursor.take();
    let mut text = String::new();
    loop {
        match cursor.take() {
            None => return Err("an apostrophe is not closed".to_owned()),
            Some('\'') => return Ok(text),
            Some('\\') => {
                let escaped = cursor.take();
                let Some(escaped @ ('\'' | '{' | '}' | '\\')) = escaped else {
                    return Err(
                        "a backslash in a text must stand before one of ' { } \\ (in JSON, '\\\\')"
                            .to_owned(),
                    );
                };
                text.push('\\');
                text.push(escaped);
            }
            Some(character) => text.push(character),
        }
    }
}
