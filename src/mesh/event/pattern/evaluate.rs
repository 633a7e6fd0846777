//! A pattern that is ready, and how an event is held against it.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::condition::Leaf;

/// How deep lists in an event may lie in each other; what lies deeper fits nothing.
const LISTS_DEPTH_MAX: usize = 128;

/// Members that must all fit, and lists of objects of each of which one must.
#[derive(Clone, Debug, Default)]
pub(super) struct Object {
    pub(super) fields: Vec<Field>,
    pub(super) alternatives: Vec<Vec<Object>>,
}

/// A member and what is asked of it.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) name: Arc<str>,
    pub(super) test: Test,
}

/// What is asked of a member.
#[derive(Clone, Debug)]
pub(super) enum Test {
    /// Its value, or one of its values.
    Leaf(Arc<Leaf>),
    /// What is in it.
    Object(Object),
}

impl Object {
    /// Whether an object of these members fits.
    pub(super) fn matches(&self, members: &Map<String, Value>) -> bool {
        self.fields.iter().all(|field| field.matches(members))
            && self
                .alternatives
                .iter()
                .all(|branches| branches.iter().any(|branch| branch.matches(members)))
    }

    /// Whether `value` fits: an object, or a list with an object that does. Whatever else it is, it is an
    /// object without members to what is asked here.
    fn matches_value(&self, value: &Value) -> bool {
        if let Value::Object(members) = value {
            return self.matches(members);
        }
        let everywhere = self.only_absent();
        let mut found = false;
        let decided = objects(value, LISTS_DEPTH_MAX, &mut |members| {
            found = true;
            self.matches(members) != everywhere
        });
        if found {
            decided != everywhere
        } else {
            self.matches(&Map::new())
        }
    }

    /// How much is asked, about in proportion to the time that it takes for each part of an event.
    pub(super) fn cost(&self) -> usize {
        let fields: usize = self.fields.iter().map(Field::cost).sum();
        let branches: usize = self.alternatives.iter().flatten().map(Self::cost).sum();
        fields + branches
    }

    /// Whether nothing is asked but that members are not there.
    fn only_absent(&self) -> bool {
        self.fields.iter().all(|field| match &field.test {
            Test::Leaf(leaf) => leaf.only_absent(),
            Test::Object(object) => object.only_absent(),
        }) && self.alternatives.iter().flatten().all(Self::only_absent)
    }
}

impl Field {
    fn cost(&self) -> usize {
        let names = 1 + self.name.bytes().filter(|&byte| byte == b'.').count();
        names
            + match &self.test {
                Test::Leaf(leaf) => leaf.cost(),
                Test::Object(object) => object.cost(),
            }
    }

    fn matches(&self, members: &Map<String, Value>) -> bool {
        let mut found = false;
        let accepted = match &self.test {
            Test::Leaf(leaf) => values(members, &self.name, &mut |value| {
                scalars(value, LISTS_DEPTH_MAX, &mut |value| {
                    found = true;
                    leaf.accepts(value)
                })
            }),
            Test::Object(object) => values(members, &self.name, &mut |value| {
                found = true;
                object.matches_value(value)
            }),
        };
        accepted
            || !found
                && match &self.test {
                    Test::Leaf(leaf) => leaf.absent,
                    Test::Object(object) => object.matches(&Map::new()),
                }
    }
}

/// Hands the values of the member `name` to `visit` until it says yes: the member of that name, and those
/// that its dots lead to.
fn values<'a>(
    members: &'a Map<String, Value>,
    name: &str,
    visit: &mut dyn FnMut(&'a Value) -> bool,
) -> bool {
    if members.get(name).is_some_and(&mut *visit) {
        return true;
    }
    name.match_indices('.').any(|(dot, _)| {
        let Some(outer) = members.get(&name[..dot]) else {
            return false;
        };
        objects(outer, LISTS_DEPTH_MAX, &mut |inner| {
            values(inner, &name[dot + 1..], visit)
        })
    })
}

/// Hands `value`, or the objects in it where it is a list, to `visit` until it says yes.
fn objects<'a>(
    value: &'a Value,
    depth: usize,
    visit: &mut dyn FnMut(&'a Map<String, Value>) -> bool,
) -> bool {
    match value {
        Value::Object(members) => visit(members),
        Value::Array(elements) if depth > 0 => elements
            .iter()
            .any(|element| objects(element, depth - 1, visit)),
        _ => false,
    }
}

/// Hands `value`, or what is in it where it is a list, to `visit` until it says yes; never an object.
fn scalars<'a>(value: &'a Value, depth: usize, visit: &mut dyn FnMut(&'a Value) -> bool) -> bool {
    match value {
        Value::Object(_) => false,
        Value::Array(elements) => {
            depth > 0
                && elements
                    .iter()
                    .any(|element| scalars(element, depth - 1, visit))
        }
        scalar => visit(scalar),
    }
}
