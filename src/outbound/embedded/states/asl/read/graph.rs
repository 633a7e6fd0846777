//! Whether the states of a flow lead to each other: no way into nowhere, no state that no way leads to.
//!
//! It goes by what the definition says, not by what could be read of it, so that a way into nowhere is told
//! together with every other flaw.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::super::flaw::{Flaws, below, quoted};

/// Where a state leads to.
#[derive(Default)]
struct Ways<'d> {
    /// Each place in its definition, and the name there.
    targets: Vec<(String, &'d str)>,
    /// Whether there may be more that cannot be told.
    are_unclear: bool,
}

impl<'d> Ways<'d> {
    fn of(state: &'d Value) -> Self {
        let mut ways = Self::default();
        match state["Type"].as_str() {
            Some("Succeed" | "Fail") => {}
            Some("Choice") => ways.choices(state),
            Some("Pass" | "Wait") => ways.next(state),
            Some("Task" | "Parallel" | "Map") => {
                ways.next(state);
                ways.add_each(state, "Catch");
            }
            _ => ways.are_unclear = true,
        }
        ways
    }

    fn next(&mut self, state: &'d Value) {
        self.add(state, "Next");
        self.are_unclear |= state.get("Next").is_none() && state["End"] != true;
    }

    fn choices(&mut self, state: &'d Value) {
        self.add_each(state, "Choices");
        self.add(state, "Default");
        self.are_unclear |= state.get("Choices").is_none();
    }

    /// What a member leads to that may be left out.
    fn add(&mut self, state: &'d Value, member: &str) {
        match state.get(member) {
            Some(Value::String(target)) => self.targets.push((format!("/{member}"), target)),
            Some(_) => self.are_unclear = true,
            None => {}
        }
    }

    /// What the `Next` of each item leads to of a list that may be left out.
    fn add_each(&mut self, state: &'d Value, member: &str) {
        let items = match state.get(member) {
            Some(Value::Array(items)) => items.as_slice(),
            Some(_) => {
                self.are_unclear = true;
                return;
            }
            None => return,
        };
        for (index, item) in items.iter().enumerate() {
            match item["Next"].as_str() {
                Some(target) => {
                    let place = format!("/{member}/{index}/Next");
                    self.targets.push((place, target));
                }
                None => self.are_unclear = true,
            }
        }
    }
}

/// Tells what is wrong with the ways between the states at `at`; `start` is the place and the value of
/// `StartAt`, where it has one.
pub(super) fn check(
    states: &Map<String, Value>,
    at: &str,
    start: Option<&(String, &str)>,
    flaws: &mut Flaws,
) {
    let known = |name: &str| states.contains_key(name);
    let start = start.filter(|(place, name)| {
        if !known(name) {
            flaws.add(place, no_state(name));
        }
        known(name)
    });
    let ways: BTreeMap<&str, Ways<'_>> = states
        .iter()
        .map(|(name, state)| (name.as_str(), Ways::of(state)))
        .collect();
    for (name, ways) in &ways {
        for (place, target) in &ways.targets {
            if !known(target) {
                flaws.add(&format!("{}{place}", below(at, name)), no_state(target));
            }
        }
    }
    // Where a way is not known, it may lead anywhere.
    if let Some((_, start)) = start
        && !ways.values().any(|ways| ways.are_unclear)
    {
        tell_islands(&ways, at, start, flaws);
    }
}

/// Tells of the states that no way from `start` leads to.
fn tell_islands(ways: &BTreeMap<&str, Ways<'_>>, at: &str, start: &str, flaws: &mut Flaws) {
    let mut reached = BTreeSet::from([start]);
    let mut waiting = vec![start];
    while let Some(name) = waiting.pop() {
        let targets = ways.get(name).map(|ways| ways.targets.as_slice());
        for (_, target) in targets.unwrap_or_default() {
            if reached.insert(target) {
                waiting.push(target);
            }
        }
    }
    for name in ways.keys().filter(|name| !reached.contains(*name)) {
        flaws.add(
            &below(at, name),
            "no way leads to this state: name it in a 'Next', or take it out",
        );
    }
}

fn no_state(name: &str) -> String {
    format!(
        "there is no state {} here: it must be one of the same 'States'",
        quoted(name)
    )
}
