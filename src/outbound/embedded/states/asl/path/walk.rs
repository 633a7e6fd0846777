//! How a path is followed through a document.

use serde_json::Value;

use super::super::error::StateResult;
use super::super::meter::Meter;
use super::{Found, Segment, Selector};

/// What the steps lead to from `root`; nothing where one that must be there is not.
pub(super) fn find<'v>(
    segments: &[Segment],
    root: &'v Value,
    meter: &mut Meter,
) -> StateResult<Option<Found<'v>>> {
    let definite = segments
        .iter()
        .take_while(|segment| segment.is_definite())
        .count();
    let (certain, open) = segments.split_at(definite);
    let mut node = root;
    for segment in certain {
        meter.step(1)?;
        match one(&segment.selector, node) {
            Some(next) => node = next,
            None => return Ok(None),
        }
    }
    let Some(first) = open.first() else {
        return Ok(Some(Found::One(node)));
    };
    if !first.descends && !takes(&first.selector, node) {
        return Ok(None);
    }
    let mut nodes = vec![node];
    for segment in open {
        let mut next = Vec::new();
        for node in nodes {
            if segment.descends {
                descend(&segment.selector, node, root, &mut next, meter)?;
            } else {
                select(&segment.selector, node, root, &mut next, meter)?;
            }
        }
        nodes = next;
    }
    Ok(Some(Found::List(nodes)))
}

/// Whether a selector of several can be put to a node at all.
fn takes(selector: &Selector, node: &Value) -> bool {
    match selector {
        Selector::Indexes(_) | Selector::Slice(..) => node.is_array(),
        Selector::Filter(_) => node.is_array() || node.is_object(),
        Selector::Each | Selector::Name(_) | Selector::Index(_) => true,
    }
}

/// The one node that a name or an index selects.
fn one<'v>(selector: &Selector, node: &'v Value) -> Option<&'v Value> {
    match (selector, node) {
        (Selector::Name(name), Value::Object(members)) => members.get(name),
        (Selector::Index(index), Value::Array(items)) => items.get(place(*index, items.len())?),
        _ => None,
    }
}

/// The place that an index means in an array of that length.
fn place(index: i64, length: usize) -> Option<usize> {
    let distance = usize::try_from(index.unsigned_abs()).ok()?;
    if index < 0 {
        length.checked_sub(distance)
    } else {
        Some(distance)
    }
}

/// Selects from a node and from every node below it, a node before what is below.
fn descend<'v>(
    selector: &Selector,
    node: &'v Value,
    root: &Value,
    found: &mut Vec<&'v Value>,
    meter: &mut Meter,
) -> StateResult<()> {
    // A stack of its own: documents may be as deep as they like.
    let mut waiting = vec![node];
    while let Some(node) = waiting.pop() {
        meter.step(1)?;
        // A filter tests the objects on the way themselves; from their array they would be found again.
        if !(node.is_array() && matches!(selector, Selector::Filter(_))) {
            select(selector, node, root, found, meter)?;
        }
        match node {
            Value::Array(items) => waiting.extend(items.iter().rev()),
            Value::Object(members) => waiting.extend(members.values().rev()),
            _ => {}
        }
    }
    Ok(())
}

fn select<'v>(
    selector: &Selector,
    node: &'v Value,
    root: &Value,
    found: &mut Vec<&'v Value>,
    meter: &mut Meter,
) -> StateResult<()> {
    meter.step(1)?;
    match (selector, node) {
        (Selector::Name(_) | Selector::Index(_), _) => found.extend(one(selector, node)),
        (Selector::Each, Value::Array(items)) => {
            meter.step(items.len())?;
            found.extend(items);
        }
        (Selector::Each, Value::Object(members)) => {
            meter.step(members.len())?;
            found.extend(members.values());
        }
        (Selector::Indexes(indexes), Value::Array(items)) => {
            meter.step(indexes.len())?;
            let places = indexes
                .iter()
                .filter_map(|index| place(*index, items.len()));
            found.extend(places.filter_map(|place| items.get(place)));
        }
        (Selector::Slice(from, to), Value::Array(items)) => {
            let bound = |index: i64| {
                let place = place(index, items.len()).unwrap_or(0);
                place.min(items.len())
            };
            let (from, to) = (from.map_or(0, bound), to.map_or(items.len(), bound));
            let slice = items.get(from..to).unwrap_or_default();
            meter.step(slice.len())?;
            found.extend(slice);
        }
        (Selector::Filter(test), Value::Array(items)) => {
            for item in items {
                if test.passes(item, root, meter)? {
                    found.push(item);
                }
            }
        }
        (Selector::Filter(test), Value::Object(_)) if test.passes(node, root, meter)? => {
            found.push(node);
        }
        _ => {}
    }
    Ok(())
}
