//! Whether the states of a flow lead to each other: no way into nowhere, no state that no way leads to.

use std::collections::{BTreeMap, BTreeSet};

use super::super::flaw::{Flaws, below, quoted};
use super::super::machine::{Kind, State, Then};

/// Where a state leads to: the place in its definition, and the name.
fn targets(state: &State) -> Vec<(String, &str)> {
    let mut targets = Vec::new();
    if let Some(Then::Next(next)) = state.then() {
        targets.push(("/Next".to_owned(), next.as_str()));
    }
    for (index, catcher) in state.catch().iter().enumerate() {
        targets.push((format!("/Catch/{index}/Next"), catcher.next.as_str()));
    }
    if let Kind::Choice(choice) = &state.kind {
        for (index, (_, next)) in choice.rules.iter().enumerate() {
            targets.push((format!("/Choices/{index}/Next"), next.as_str()));
        }
        if let Some(default) = &choice.default {
            targets.push(("/Default".to_owned(), default.as_str()));
        }
    }
    targets
}

/// Tells what is wrong with the ways between the states at `at`; `start` is the place and the value of
/// `StartAt`.
pub(super) fn check(
    states: &BTreeMap<String, State>,
    at: &str,
    start: &(String, &str),
    flaws: &mut Flaws,
) {
    let known = |name: &str| states.contains_key(name);
    if !known(start.1) {
        flaws.add(&start.0, no_state(start.1));
        return;
    }
    for (name, state) in states {
        for (place, target) in targets(state) {
            if !known(target) {
                flaws.add(&format!("{}{place}", below(at, name)), no_state(target));
            }
        }
    }
    let mut reached = BTreeSet::from([start.1]);
    let mut waiting = vec![start.1];
    while let Some(name) = waiting.pop() {
        let Some(state) = states.get(name) else {
            continue;
        };
        for (_, target) in targets(state) {
            if reached.insert(target) {
                waiting.push(target);
            }
        }
    }
    for name in states.keys() {
        if !reached.contains(name.as_str()) {
            flaws.add(
                &below(at, name),
                "no way leads to this state: name it in a 'Next', or take it out",
            );
        }
    }
}

fn no_state(name: &str) -> String {
    format!(
        "there is no state {} here: it must be one of the same 'States'",
        quoted(name)
    )
}
