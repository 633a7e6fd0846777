//! How JSON values compare: numbers by value, members in whatever order.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::error::StateResult;
use super::meter::Meter;

/// How two numbers compare: exactly where both are integers.
pub(super) fn compare(left: &Number, right: &Number) -> Option<Ordering> {
    match (integer(left), integer(right)) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
    }
}

/// The integer that a number is, also where it was written as `3.0`.
pub(super) fn integer(number: &Number) -> Option<i128> {
    if let Some(integer) = number.as_i64() {
        return Some(i128::from(integer));
    }
    if let Some(integer) = number.as_u64() {
        return Some(i128::from(integer));
    }
    // Beyond 2^53 not every integer can be told from its neighbours.
    let float = number.as_f64()?;
    (float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0).then_some(float as i128)
}

/// The integer next to a number, the upper one of two that are as near.
pub(super) fn rounded(number: &Number) -> Option<i64> {
    let integer = match integer(number) {
        Some(integer) => integer,
        None => {
            let float = (number.as_f64()? + 0.5).floor();
            // From here on a fraction has no place, so that there is nothing to round.
            if float.abs() >= 9_007_199_254_740_992.0 {
                return None;
            }
            float as i128
        }
    };
    i64::try_from(integer).ok()
}

/// Whether two values are the same.
pub(super) fn equal(left: &Value, right: &Value, meter: &mut Meter) -> StateResult<bool> {
    meter.step(1)?;
    Ok(match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            compare(left, right) == Some(Ordering::Equal)
        }
        (Value::String(left), Value::String(right)) => {
            meter.step(left.len().min(right.len()) / 64)?;
            left == right
        }
        (Value::Array(left), Value::Array(right)) => {
            if left.len() != right.len() {
                return Ok(false);
            }
            for (left, right) in left.iter().zip(right) {
                if !equal(left, right, meter)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Object(left), Value::Object(right)) => {
            if left.len() != right.len() {
                return Ok(false);
            }
            for (name, left) in left {
                match right.get(name) {
                    Some(right) if equal(left, right, meter)? => {}
                    _ => return Ok(false),
                }
            }
            true
        }
        _ => left == right,
    })
}
