//! What is counted of the events of an hour, or of several.

use serde::{Deserialize, Serialize};

use super::histogram::Histogram;
use crate::mesh::event::record::{Event, Outcome, Priority};
use crate::mesh::workflow::ending::is_end;

/// The most distinct detail types, tools or error codes of one row; further ones count as [`OTHER`].
/// Detail types are the caller's to choose, so there may be any number of them.
pub const NAMES_MAX: usize = 48;

/// The most distinct names of a summary over many rows.
pub const MERGED_NAMES_MAX: usize = 1000;

/// What names beyond the limit are counted as.
pub const OTHER: &str = "other";

/// The longest name of a counter, in bytes; longer ones count as [`OTHER`].
const NAME_BYTES_MAX: usize = 128;

/// Counts by name, in order of first occurrence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Names(Vec<(Box<str>, u64)>);

/// What is counted of one tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolTally {
    /// Its name.
    pub name: Box<str>,
    /// How often it was called.
    pub calls: u64,
    /// How many of the calls did not end well.
    pub failed: u64,
    /// How long those took that were carried out.
    pub latency: Histogram,
}

/// What is counted of events; an event that stands for several calls counts as that many calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// How many events.
    pub events: u64,
    /// How many calls they stand for.
    pub calls: u64,
    /// Calls by detail type.
    pub types: Names,
    /// Calls by tool.
    pub tools: Vec<ToolTally>,
    /// Calls by error code.
    pub errors: Names,
    /// Calls by outcome, in the order of [`OUTCOMES`].
    pub outcomes: [u64; 5],
    /// Calls by priority, in the order of [`PRIORITIES`].
    pub priorities: [u64; 4],
}

/// The outcomes in the order in which they are counted.
pub const OUTCOMES: [Outcome; 5] = [
    Outcome::Ok,
    Outcome::Error,
    Outcome::Denied,
    Outcome::Limited,
    Outcome::Unknown,
];

/// The priorities in the order in which they are counted.
pub const PRIORITIES: [Priority; 4] = [
    Priority::Low,
    Priority::Medium,
    Priority::High,
    Priority::Critical,
];

impl Names {
    /// Counts `calls` under `name`, or under [`OTHER`] where there are `names_max` others.
    pub fn add(&mut self, name: &str, calls: u64, names_max: usize) {
        if let Some((_, held)) = self.0.iter_mut().find(|(held, _)| **held == *name) {
            *held += calls;
            return;
        }
        let fits = name.len() <= NAME_BYTES_MAX && self.0.len() < names_max;
        if fits || name == OTHER {
            self.0.push((name.into(), calls));
        } else {
            self.add(OTHER, calls, usize::MAX);
        }
    }

    /// Names and counts, the most frequent first.
    pub fn ranked(&self) -> Vec<(&str, u64)> {
        let mut ranked: Vec<(&str, u64)> = self.0.iter().map(|(name, n)| (&**name, *n)).collect();
        ranked.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        ranked
    }

    fn bytes(&self) -> usize {
        let names: usize = self.0.iter().map(|(name, _)| name.len() + 16).sum();
        names + self.0.capacity() * size_of::<(Box<str>, u64)>()
    }
}

impl Tally {
    /// Counts an event.
    pub fn add(&mut self, event: &Event) {
        let calls = u64::from(event.count.unwrap_or(1));
        self.events += 1;
        self.calls += calls;
        self.types.add(&event.detail_type, calls, NAMES_MAX);
        if let Some(code) = &event.error_code {
            self.errors.add(code, calls, NAMES_MAX);
        }
        let is = |outcome: &Outcome| *outcome == event.outcome;
        self.outcomes[OUTCOMES.iter().position(is).unwrap_or_default()] += calls;
        let is = |priority: &Priority| *priority == event.priority;
        self.priorities[PRIORITIES.iter().position(is).unwrap_or_default()] += calls;
        if is_end(&event.detail_type) {
            // Nobody called anything, and a run may take days.
            return;
        }
        let tool = self.tool(&event.tool, NAMES_MAX);
        tool.calls += calls;
        if event.outcome != Outcome::Ok {
            tool.failed += calls;
        }
        if matches!(event.outcome, Outcome::Ok | Outcome::Error) {
            tool.latency.add(event.duration_ms, calls);
        }
    }

    /// Counts everything that `other` has counted.
    pub fn merge(&mut self, other: &Self) {
        self.events += other.events;
        self.calls += other.calls;
        for (name, calls) in &other.types.0 {
            self.types.add(name, *calls, MERGED_NAMES_MAX);
        }
        for (name, calls) in &other.errors.0 {
            self.errors.add(name, *calls, MERGED_NAMES_MAX);
        }
        for (held, calls) in self.outcomes.iter_mut().zip(other.outcomes) {
            *held += calls;
        }
        for (held, calls) in self.priorities.iter_mut().zip(other.priorities) {
            *held += calls;
        }
        for theirs in &other.tools {
            let tool = self.tool(&theirs.name, MERGED_NAMES_MAX);
            tool.calls += theirs.calls;
            tool.failed += theirs.failed;
            tool.latency.merge(&theirs.latency);
        }
    }

    /// Bytes of memory behind it, about.
    pub(super) fn bytes(&self) -> usize {
        let tools: usize = self
            .tools
            .iter()
            .map(|tool| tool.name.len() + 16 + tool.latency.bytes())
            .sum();
        size_of::<Self>()
            + self.types.bytes()
            + self.errors.bytes()
            + tools
            + self.tools.capacity() * size_of::<ToolTally>()
    }

    fn tool(&mut self, name: &str, names_max: usize) -> &mut ToolTally {
        let find =
            |tools: &[ToolTally], name: &str| tools.iter().position(|tool| *tool.name == *name);
        let fits = name.len() <= NAME_BYTES_MAX && self.tools.len() < names_max;
        let name = match find(&self.tools, name) {
            Some(at) => return &mut self.tools[at],
            None if fits => name,
            None => OTHER,
        };
        let at = find(&self.tools, name).unwrap_or_else(|| {
            self.tools.push(ToolTally {
                name: name.into(),
                calls: 0,
                failed: 0,
                latency: Histogram::default(),
            });
            self.tools.len() - 1
        });
        &mut self.tools[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::event::fakes::event;

    #[test]
    fn names_beyond_the_limit_are_others_and_nothing_is_lost() {
        let mut tally = Tally::default();
        for index in 0..NAMES_MAX + 1 {
            let mut event = event("acme", 1);
            event.detail_type = format!("Type{index}").into();
            event.tool = format!("tool{index}").into();
            tally.add(&event);
        }
        assert_eq!(tally.types.0.len(), NAMES_MAX + 1);
        assert_eq!(tally.types.0.last().unwrap(), &(OTHER.into(), 1));
        assert_eq!(
            (tally.tools.len(), tally.tools.last().unwrap().calls),
            (NAMES_MAX + 1, 1)
        );
        let mut long = event("acme", 1);
        long.detail_type = "x".repeat(NAME_BYTES_MAX + 1).into();
        tally.add(&long);
        assert_eq!(tally.types.0.last().unwrap(), &(OTHER.into(), 2));
        assert_eq!(
            tally.types.0.iter().map(|(_, calls)| calls).sum::<u64>(),
            tally.calls
        );
    }

    #[test]
    fn an_event_counts_as_the_calls_it_stands_for() {
        let mut refused = event("acme", 1);
        refused.count = Some(40);
        refused.outcome = Outcome::Limited;
        refused.error_code = Some("RATE_LIMITED".into());
        let mut tally = Tally::default();
        tally.add(&refused);
        tally.add(&event("acme", 2));
        assert_eq!((tally.events, tally.calls), (2, 41));
        assert_eq!(tally.outcomes, [1, 0, 0, 40, 0]);
        assert_eq!(tally.tools[0].failed, 40);
        assert_eq!(
            tally.tools[0].latency.calls(),
            1,
            "a refused call has no duration"
        );
        assert_eq!(tally.errors.ranked(), [("RATE_LIMITED", 40)]);
    }

    #[test]
    fn a_tally_reads_back_and_merges() {
        let mut tally = Tally::default();
        tally.add(&event("acme", 1));
        let json = serde_json::to_string(&tally).unwrap();
        let read: Tally = serde_json::from_str(&json).unwrap();
        assert_eq!(read, tally);
        let mut both = Tally::default();
        both.merge(&tally);
        both.merge(&read);
        assert_eq!((both.events, both.tools[0].latency.calls()), (2, 2));
        assert!(tally.bytes() < 1024, "{}", tally.bytes());
    }
}
