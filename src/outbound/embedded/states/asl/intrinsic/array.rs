//! The functions of arrays.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::super::error::StateResult;
use super::super::json;
use super::super::meter::Meter;
use super::RANGE_ITEMS_MAX;
use super::evaluate::Arguments;

/// Whether the array holds the value.
pub(super) fn contains(arguments: &Arguments, meter: &mut Meter) -> StateResult<Value> {
    let wanted = arguments.get(1);
    for item in arguments.array(0)? {
        if json::equal(item, wanted, meter)? {
            return Ok(true.into());
        }
    }
    Ok(false.into())
}

/// The item at a place from 0.
pub(super) fn item(arguments: &Arguments) -> StateResult<Value> {
    let items = arguments.array(0)?;
    let index = arguments.integer(1)?;
    let item = usize::try_from(index)
        .ok()
        .and_then(|index| items.get(index));
    item.cloned().ok_or_else(|| {
        arguments.fail(format!(
            "the array has {} items, none at {index}",
            items.len()
        ))
    })
}

/// The array in pieces of at most so many items.
pub(super) fn partition(arguments: &Arguments, meter: &mut Meter) -> StateResult<Value> {
    let items = arguments.array(0)?;
    let size = usize::try_from(arguments.integer(1)?)
        .ok()
        .filter(|size| *size > 0)
        .ok_or_else(|| arguments.fail("the size of a piece must be at least 1"))?;
    let pieces = items.chunks(size).map(|piece| {
        let copies = piece.iter().map(|item| meter.copy(item));
        copies.collect::<StateResult<Vec<_>>>().map(Value::Array)
    });
    pieces.collect::<StateResult<Vec<_>>>().map(Value::Array)
}

/// The whole numbers from one to another, so far apart.
pub(super) fn range(arguments: &Arguments) -> StateResult<Value> {
    let (first, last) = (arguments.integer(0)?, arguments.integer(1)?);
    let step = arguments.integer(2)?;
    if step == 0 {
        return Err(arguments.fail("the step must not be 0"));
    }
    let distance = i128::from(last) - i128::from(first);
    let count = if (distance < 0) == (step < 0) || distance == 0 {
        distance.unsigned_abs() / u128::from(step.unsigned_abs()) + 1
    } else {
        0
    };
    if count > RANGE_ITEMS_MAX {
        return Err(arguments.fail(format!(
            "{count} items are more than {RANGE_ITEMS_MAX}: take a larger step"
        )));
    }
    let items = (0..count).map(|number| {
        let number = i64::try_from(number).unwrap_or(0);
        Value::from(first.saturating_add(step.saturating_mul(number)))
    });
    Ok(Value::Array(items.collect()))
}

/// The array without what comes again.
pub(super) fn unique(arguments: &Arguments, meter: &mut Meter) -> StateResult<Value> {
    let mut seen = HashSet::new();
    let mut kept = Vec::new();
    for item in arguments.array(0)? {
        let item = meter.copy(item)?;
        if seen.insert(canonical(&item).to_string()) {
            kept.push(item);
        }
    }
    Ok(Value::Array(kept))
}

/// The same for values that are equal: members in order, whole numbers without a fraction.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Number(number) => json::integer(number)
            .and_then(|integer| i64::try_from(integer).ok())
            .map_or_else(|| value.clone(), Value::from),
        Value::Array(items) => items.iter().map(canonical).collect(),
        Value::Object(members) => {
            let mut names: Vec<_> = members.iter().collect();
            names.sort_by_key(|(name, _)| *name);
            let ordered = names
                .into_iter()
                .map(|(name, member)| (name.clone(), canonical(member)));
            Value::Object(ordered.collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}
