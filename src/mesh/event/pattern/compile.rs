//! From a pattern as it is written to one that is ready, and what is refused on the way.

use std::sync::Arc;

use super::condition::{Leaf, Tally};
use super::evaluate::{Field, Object, Test};
use super::fault::{PatternFault, Place};
use super::json::Json;
use super::{COMBINATIONS_MAX, DEPTH_MAX, DOTS_MAX, DOTTED_BYTES_MAX, MEMBERS_MAX, PatternSize};

/// The name of the list of objects of which one must fit.
pub(super) const OR: &str = "$or";

/// What EventBridge keeps from being the names of members in `$or`: its operators, and those to come.
const RESERVED_IN_OR: [&str; 23] = [
    "exactly",
    "equals-ignore-case",
    "prefix",
    "suffix",
    "anything-but",
    "exists",
    "wildcard",
    "numeric",
    "cidr",
    "=",
    "<",
    "<=",
    ">",
    ">=",
    "regex",
    "not-wildcard",
    "not-equals-ignore-case",
    "date-after",
    "date-on-or-after",
    "date-before",
    "date-on-or-before",
    "in-date-range",
    "ip-address-in-range",
];

/// Makes patterns ready, and counts what they hold.
#[derive(Default)]
pub(super) struct Compiler {
    tally: Tally,
    conditions: usize,
    /// Members that were made, also those that `$or` repeats.
    members: usize,
    combinations: Option<usize>,
}

impl Compiler {
    /// The pattern that `json` is.
    pub(super) fn pattern(&mut self, json: &Json) -> Result<Object, PatternFault> {
        match json {
            Json::Object(members) => self.object(members, &Place::ROOT, false, DEPTH_MAX),
            other => Err(PatternFault::whole(format!(
                "a pattern is an object such as {{\"detail\": {{\"state\": [\"failed\"]}}}}, not {}",
                other.kind()
            ))),
        }
    }

    /// What the pattern holds.
    pub(super) fn size(&self) -> PatternSize {
        PatternSize {
            conditions: self.conditions,
            values: self.tally.values,
            wildcards: self.tally.wildcards,
        }
    }

    fn object(
        &mut self,
        members: &[(String, Json)],
        place: &Place<'_>,
        in_or: bool,
        depth: usize,
    ) -> Result<Object, PatternFault> {
        if members.is_empty() {
            return Err(place.fault("an empty object asks nothing; name a member, or leave it out"));
        }
        let Some(depth) = depth.checked_sub(1) else {
            return Err(place.fault(format!("a pattern is at most {DEPTH_MAX} objects deep")));
        };
        let mut object = Object::default();
        for (index, (name, value)) in members.iter().enumerate() {
            let place = place.member(name);
            if members[..index].iter().any(|(before, _)| before == name) {
                return Err(
                    place.fault("the member is named twice; write one list with all values")
                );
            }
            if name == OR {
                let branches = self.branches(value, &place, depth)?;
                object.alternatives.push(branches);
                continue;
            }
            if in_or && RESERVED_IN_OR.contains(&name.as_str()) {
                return Err(place.fault(
                    "no member may have this name in $or; an operator belongs in the list of a member",
                ));
            }
            let dots = name.bytes().filter(|&byte| byte == b'.').count();
            if dots > DOTS_MAX || (dots > 0 && name.len() > DOTTED_BYTES_MAX) {
                return Err(place.fault(format!(
                    "a name with dots has at most {DOTS_MAX} of them and {DOTTED_BYTES_MAX} bytes; nest objects instead"
                )));
            }
            let test = self.test(value, &place, in_or, depth)?;
            self.count(1, &place)?;
            let name = name.as_str().into();
            object.fields.push(Field { name, test });
        }
        self.disentangle(&mut object, place)?;
        Ok(object)
    }

    fn test(
        &mut self,
        value: &Json,
        place: &Place<'_>,
        in_or: bool,
        depth: usize,
    ) -> Result<Test, PatternFault> {
        match value {
            Json::List(values) => {
                self.conditions += 1;
                let leaf = Leaf::parse(values, place, &mut self.tally)?;
                Ok(Test::Leaf(Arc::new(leaf)))
            }
            Json::Object(members) => {
                let object = self.object(members, place, in_or, depth)?;
                Ok(Test::Object(object))
            }
            other => Err(place.fault(format!(
                "a list of values or an object belongs here, not {}; put the value in a list",
                other.kind()
            ))),
        }
    }

    /// The branches of a `$or`.
    fn branches(
        &mut self,
        value: &Json,
        place: &Place<'_>,
        depth: usize,
    ) -> Result<Vec<Object>, PatternFault> {
        const FORM: &str =
            "$or is a list of two objects or more, such as [{\"a\": [1]}, {\"b\": [2]}]";
        let Json::List(branches) = value else {
            return Err(place.fault(FORM));
        };
        if branches.len() < 2 {
            return Err(place.fault(FORM));
        }
        let combinations = self
            .combinations
            .unwrap_or(1)
            .saturating_mul(branches.len());
        self.combinations = Some(combinations);
        if combinations > COMBINATIONS_MAX {
            return Err(place.fault(format!(
                "all $or together have more than {COMBINATIONS_MAX} combinations; make two rules of it"
            )));
        }
        let each = branches.iter().enumerate();
        each.map(|(index, branch)| {
            let place = place.element(index);
            match branch {
                Json::Object(members) => self.object(members, &place, true, depth),
                other => Err(place.fault(format!(
                    "an object belongs here, not {}; {FORM}",
                    other.kind()
                ))),
            }
        })
        .collect()
    }

    /// Brings together what is asked of one member at several places, so that it is asked of one and the same
    /// element where an event has a list there. Afterwards no member is named in two branches of different
    /// `$or`, or in one and beside it.
    fn disentangle(&mut self, object: &mut Object, place: &Place<'_>) -> Result<(), PatternFault> {
        let mut done: Vec<Vec<Object>> = Vec::new();
        let mut open = std::mem::take(&mut object.alternatives);
        open.reverse();
        while let Some(mut branches) = open.pop() {
            let mut shared = Vec::new();
            object.fields.retain(|field| {
                let is_shared = branches.iter().any(|branch| branch.names(&field.name));
                if is_shared {
                    shared.push(field.clone());
                }
                !is_shared
            });
            let mut entangled = None;
            for (index, others) in done.iter().enumerate() {
                if others.iter().any(|other| share_a_name(other, &branches)) {
                    entangled = Some(index);
                    break;
                }
            }
            if shared.is_empty() && entangled.is_none() {
                done.push(branches);
                continue;
            }
            for branch in &mut branches {
                let fields = shared.iter().cloned();
                self.add(branch, fields.collect(), Vec::new(), place)?;
            }
            if let Some(index) = entangled {
                branches = self.product(&done.swap_remove(index), &branches, place)?;
            }
            // What it holds now may be entangled with yet another one.
            open.push(branches);
        }
        object.alternatives = done;
        Ok(())
    }

    /// Each of `left` together with each of `right`.
    fn product(
        &mut self,
        left: &[Object],
        right: &[Object],
        place: &Place<'_>,
    ) -> Result<Vec<Object>, PatternFault> {
        let mut product = Vec::with_capacity(left.len() * right.len());
        for one in left {
            for other in right {
                self.count(one.size(), place)?;
                let mut both = one.clone();
                let other = other.clone();
                self.add(&mut both, other.fields, other.alternatives, place)?;
                product.push(both);
            }
        }
        Ok(product)
    }

    /// Asks of `object` what `fields` and `alternatives` ask as well.
    fn add(
        &mut self,
        object: &mut Object,
        fields: Vec<Field>,
        alternatives: Vec<Vec<Object>>,
        place: &Place<'_>,
    ) -> Result<(), PatternFault> {
        for field in fields {
            let place = place.member(&field.name);
            self.count(field.size(), &place)?;
            let known = object
                .fields
                .iter_mut()
                .find(|known| known.name == field.name);
            let Some(known) = known else {
                object.fields.push(field);
                continue;
            };
            match (&mut known.test, field.test) {
                (Test::Object(known), Test::Object(other)) => {
                    self.add(known, other.fields, other.alternatives, &place)?;
                }
                _ => {
                    return Err(place.fault(
                        "the member is constrained inside and outside of $or, or by two of them; do it in one place",
                    ));
                }
            }
        }
        object.alternatives.extend(alternatives);
        self.disentangle(object, place)
    }

    fn count(&mut self, members: usize, place: &Place<'_>) -> Result<(), PatternFault> {
        self.members += members;
        if self.members > MEMBERS_MAX {
            return Err(place.fault(format!(
                "worked out, the $or of this pattern come to more than {MEMBERS_MAX} members; make two rules of it"
            )));
        }
        Ok(())
    }
}

impl Object {
    /// Whether something is asked of the member `name`, in a branch at least.
    fn names(&self, name: &str) -> bool {
        self.fields.iter().any(|field| &*field.name == name)
            || self
                .alternatives
                .iter()
                .flatten()
                .any(|branch| branch.names(name))
    }

    fn size(&self) -> usize {
        let fields: usize = self.fields.iter().map(Field::size).sum();
        let branches: usize = self.alternatives.iter().flatten().map(Self::size).sum();
        fields + branches
    }
}

impl Field {
    fn size(&self) -> usize {
        match &self.test {
            Test::Leaf(_) => 1,
            Test::Object(object) => 1 + object.size(),
        }
    }
}

/// Whether one of `branches` asks something of a member of which `object` does.
fn share_a_name(object: &Object, branches: &[Object]) -> bool {
    object
        .fields
        .iter()
        .any(|field| branches.iter().any(|branch| branch.names(&field.name)))
        || object
            .alternatives
            .iter()
            .flatten()
            .any(|inner| share_a_name(inner, branches))
}
