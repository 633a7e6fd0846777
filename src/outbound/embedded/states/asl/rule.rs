//! The rules of a Choice: what they test, and whether an input passes.

#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use serde_json::Value;

use super::context::Context;
use super::error::{RUNTIME, StateError, StateResult};
use super::glob::Glob;
use super::json;
use super::meter::Meter;
use super::path::{Found, Path};
use super::time;

/// A rule of a Choice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Rule {
    /// Each of them holds.
    And(Vec<Rule>),
    /// At least one of them holds.
    Or(Vec<Rule>),
    /// It does not hold.
    Not(Box<Rule>),
    /// The value that the path leads to passes.
    Test {
        /// The path.
        variable: Path,
        /// What it is tested for.
        test: Test,
    },
}

/// What a value is tested for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Test {
    /// It is there, or not.
    IsPresent(bool),
    /// It is of that type, or not.
    Is(Type, bool),
    /// It is a text of that form.
    Matches(Glob),
    /// It compares so.
    Compare {
        /// The operator, as it was written.
        operator: String,
        /// As what the two are compared.
        kind: Comparable,
        /// The orders that pass.
        orders: &'static [Ordering],
        /// With what.
        operand: Operand,
    },
}

/// A type of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    /// `null`.
    Null,
    /// A number.
    Numeric,
    /// A text.
    String,
    /// `true` or `false`.
    Boolean,
    /// A text that names a time.
    Timestamp,
}

/// As what values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparable {
    /// As texts, character by character.
    String,
    /// As numbers.
    Numeric,
    /// As `true` or `false`.
    Boolean,
    /// As times.
    Timestamp,
}

/// What a value is compared with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operand {
    /// A fixed text, number or boolean.
    Fixed(Value),
    /// What a path leads to.
    Path(Path),
}

impl Rule {
    /// Whether the input passes.
    pub(super) fn holds(
        &self,
        input: &Value,
        context: &Context,
        meter: &mut Meter,
    ) -> StateResult<bool> {
        meter.step(1)?;
        match self {
            Self::And(rules) => {
                for rule in rules {
                    if !rule.holds(input, context, meter)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Or(rules) => {
                for rule in rules {
                    if rule.holds(input, context, meter)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::Not(rule) => Ok(!rule.holds(input, context, meter)?),
            Self::Test { variable, test } => test.passes(variable, input, context, meter),
        }
    }
}

impl Test {
    fn passes(
        &self,
        variable: &Path,
        input: &Value,
        context: &Context,
        meter: &mut Meter,
    ) -> StateResult<bool> {
        let found = variable.find(input, context, meter)?;
        if let Self::IsPresent(expected) = self {
            let present = match found {
                None => false,
                Some(Found::One(_)) => true,
                Some(Found::List(values)) => !values.is_empty(),
            };
            return Ok(present == *expected);
        }
        let found = found.ok_or_else(|| missing(variable, "Variable"))?;
        // A list of values is none of the types that can be tested for or compared.
        let value = match found {
            Found::One(value) => value,
            Found::List(_) => return Ok(matches!(self, Self::Is(_, false))),
        };
        meter.step(text_steps(value))?;
        match self {
            Self::IsPresent(_) => Ok(false),
            Self::Is(kind, expected) => Ok(kind.is_of(value) == *expected),
            Self::Matches(glob) => Ok(value.as_str().is_some_and(|text| glob.matches(text))),
            Self::Compare {
                operator,
                kind,
                orders,
                operand,
            } => {
                let order = match operand {
                    Operand::Fixed(operand) => kind.compare(value, operand),
                    Operand::Path(path) => match path.find(input, context, meter)? {
                        None => return Err(missing(path, operator)),
                        Some(Found::One(operand)) => {
                            meter.step(text_steps(operand))?;
                            kind.compare(value, operand)
                        }
                        Some(Found::List(_)) => None,
                    },
                };
                Ok(order.is_some_and(|order| orders.contains(&order)))
            }
        }
    }
}

/// What looking at a text costs.
fn text_steps(value: &Value) -> usize {
    value.as_str().map_or(1, |text| 1 + text.len() / 64)
}

fn missing(path: &Path, member: &str) -> StateError {
    path.leads_nowhere(RUNTIME, member)
}

impl Type {
    fn is_of(self, value: &Value) -> bool {
        match self {
            Self::Null => value.is_null(),
            Self::Numeric => value.is_number(),
            Self::String => value.is_string(),
            Self::Boolean => value.is_boolean(),
            Self::Timestamp => value.as_str().and_then(time::parse).is_some(),
        }
    }
}

impl Comparable {
    /// How two values compare as such; nothing where one of them is something else.
    fn compare(self, left: &Value, right: &Value) -> Option<Ordering> {
        match (self, left, right) {
            (Self::String, Value::String(left), Value::String(right)) => Some(left.cmp(right)),
            (Self::Numeric, Value::Number(left), Value::Number(right)) => {
                json::compare(left, right)
            }
            (Self::Boolean, Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
            (Self::Timestamp, Value::String(left), Value::String(right)) => {
                Some(time::parse(left)?.cmp(&time::parse(right)?))
            }
            _ => None,
        }
    }

    /// Whether a value can be compared as such.
    pub(super) fn takes(self, value: &Value) -> bool {
        self.compare(value, value).is_some()
    }
}
