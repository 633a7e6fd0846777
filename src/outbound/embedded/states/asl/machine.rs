//! A state machine as the interpreter walks it: read once, checked as a whole, never changed.

use std::collections::BTreeMap;

use serde_json::Value;

use super::path::{Path, ReferencePath};
use super::resource::Resource;
use super::rule::Rule;
use super::template::{Expression, Template};
use crate::mesh::Timestamp;

/// A state machine.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Machine {
    /// What its author says of it.
    pub(crate) comment: Option<String>,
    /// How long an execution may take.
    pub(crate) timeout_seconds: Option<u64>,
    /// Its states.
    pub(crate) flow: Flow,
}

/// States that lead to each other: a machine's, a branch's, or those that each item of a Map goes through.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Flow {
    /// The state to begin with.
    pub(crate) start_at: String,
    /// The states by name. Names are unique in the whole machine.
    pub(crate) states: BTreeMap<String, State>,
}

/// A state. Members that its type does not have are as if they were left out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct State {
    /// Its name.
    pub(crate) name: String,
    /// What its author says of it.
    pub(crate) comment: Option<String>,
    /// Which part of the raw input is its input; nothing stands for `null`, an empty object.
    pub(crate) input_path: Option<Path>,
    /// What is made of the input for a Task, a Pass or the branches of a Parallel.
    pub(crate) parameters: Option<Template>,
    /// What is made of the result.
    pub(crate) result_selector: Option<Template>,
    /// Where the result goes; nothing stands for `null`, which throws it away.
    pub(crate) result_path: Option<ReferencePath>,
    /// Which part of that is its output; nothing stands for `null`, an empty object.
    pub(crate) output_path: Option<Path>,
    /// What it does.
    pub(crate) kind: Kind,
}

/// What a state does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    /// Hands on its input, or a fixed result.
    Pass {
        /// The fixed result.
        result: Option<Value>,
        /// What comes next.
        then: Then,
    },
    /// Calls a resource.
    Task(Box<Task>),
    /// Goes one way or another.
    Choice(Choice),
    /// Waits.
    Wait {
        /// Until when.
        wait: Wait,
        /// What comes next.
        then: Then,
    },
    /// Ends the flow.
    Succeed,
    /// Ends the execution with an error.
    Fail(Fail),
    /// Runs branches side by side.
    Parallel(Branches),
    /// Runs the same states for each item of an array.
    Map(Box<Map>),
}

/// What comes after a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// The state of that name, in the same flow.
    Next(String),
    /// The flow ends; the state's output is the flow's.
    End,
}

/// A Task state.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Task {
    /// What it calls.
    pub(crate) resource: Resource,
    /// How long it may take.
    pub(crate) timeout: Option<Seconds>,
    /// How long it may be silent.
    pub(crate) heartbeat: Option<Seconds>,
    /// When it is tried again, the first that applies.
    pub(crate) retry: Vec<Retrier>,
    /// Where its errors lead, the first that applies.
    pub(crate) catch: Vec<Catcher>,
    /// What comes next.
    pub(crate) then: Then,
}

/// A Parallel state.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Branches {
    /// The branches; the result is the array of their outputs.
    pub(crate) branches: Vec<Flow>,
    /// When it is tried again, the first that applies.
    pub(crate) retry: Vec<Retrier>,
    /// Where its errors lead, the first that applies.
    pub(crate) catch: Vec<Catcher>,
    /// What comes next.
    pub(crate) then: Then,
}

/// A Map state, inline.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Map {
    /// What each item goes through.
    pub(crate) processor: Flow,
    /// Where in the input the items are.
    pub(crate) items_path: ReferencePath,
    /// What is made of the input and the item for one iteration; the item itself where there is none.
    pub(crate) item_selector: Option<Template>,
    /// How many items at once.
    pub(crate) concurrency: Concurrency,
    /// When it is tried again, the first that applies.
    pub(crate) retry: Vec<Retrier>,
    /// Where its errors lead, the first that applies.
    pub(crate) catch: Vec<Catcher>,
    /// What comes next.
    pub(crate) then: Then,
}

/// How many items of a Map go through its states at once; 0 stands for as many as there are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Concurrency {
    /// So many.
    Fixed(u32),
    /// As many as the input says.
    Path(ReferencePath),
}

/// A number of seconds, written down or found in the input.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seconds {
    /// So many.
    Fixed(u64),
    /// As many as the input says.
    Path(ReferencePath),
}

/// A Choice state.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Choice {
    /// The rules in order, each with the state that it leads to.
    pub(crate) rules: Vec<(Rule, String)>,
    /// Where it goes when no rule applies.
    pub(crate) default: Option<String>,
}

/// How long a Wait state waits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Wait {
    /// A number of seconds.
    For(Seconds),
    /// Until that time.
    Until(Timestamp),
    /// Until the time that the input says.
    UntilPath(ReferencePath),
}

/// A Fail state.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fail {
    /// The error's name.
    pub(crate) error: Option<Text>,
    /// What is said of it.
    pub(crate) cause: Option<Text>,
}

/// A text, written down or computed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Text {
    /// The text.
    Fixed(String),
    /// Where it comes from.
    Computed(Expression),
}

/// When a state is tried again.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Retrier {
    /// The names of the errors it is for.
    pub(crate) errors: Vec<String>,
    /// The first pause.
    pub(crate) interval_seconds: u64,
    /// How often at most.
    pub(crate) attempts_max: u64,
    /// By how much each pause is longer than the one before.
    pub(crate) backoff_rate: f64,
    /// The longest pause.
    pub(crate) delay_seconds_max: Option<u64>,
    /// Whether pauses are shortened at random.
    pub(crate) jitter: Jitter,
}

/// Whether the pauses between attempts are shortened at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Jitter {
    /// They are as long as computed.
    None,
    /// They are anything up to that.
    Full,
}

/// Where the errors of a state lead.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Catcher {
    /// The names of the errors it is for.
    pub(crate) errors: Vec<String>,
    /// Where the error goes in the raw input; nothing stands for `null`, which throws it away.
    pub(crate) result_path: Option<ReferencePath>,
    /// The state it leads to, in the same flow.
    pub(crate) next: String,
}

impl Machine {
    /// Every state, also those within others, each before those within it.
    pub(crate) fn states(&self) -> Vec<&State> {
        let mut states = Vec::new();
        self.flow.collect(&mut states);
        states
    }

    /// The states that run in the embedded cloud only, and the tools of this server that they call. A
    /// machine without any runs on Step Functions as it is.
    pub(crate) fn embedded_only(&self) -> Vec<(&State, &str)> {
        let states = self.states().into_iter();
        let tools = states.filter_map(|state| match &state.kind {
            Kind::Task(task) => match &task.resource {
                Resource::Tool(tool) => Some((state, tool.as_str())),
                _ => None,
            },
            _ => None,
        });
        tools.collect()
    }
}

impl Flow {
    fn collect<'f>(&'f self, states: &mut Vec<&'f State>) {
        for state in self.states.values() {
            states.push(state);
            match &state.kind {
                Kind::Parallel(branches) => {
                    for branch in &branches.branches {
                        branch.collect(states);
                    }
                }
                Kind::Map(map) => map.processor.collect(states),
                _ => {}
            }
        }
    }
}
