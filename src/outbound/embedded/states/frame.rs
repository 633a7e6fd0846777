//! Where a branch of an execution stands: what is written before a state is taken, so that it can be taken
//! again.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The path of an execution's own branch. Those of a Parallel or Map state begin with their parent's and add
/// `/` and their number.
pub(super) const ROOT: &str = "";

/// How a branch stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Frame {
    /// The state that it is in.
    pub(super) state: String,
    /// What came into the state.
    pub(super) input: Value,
    /// When it came into the state, in milliseconds since 1970.
    pub(super) entered_ms: i64,
    /// The event that says so; it tells this visit of the state from every other.
    pub(super) entered: i64,
    /// The branch's newest event.
    pub(super) last: i64,
    /// Whether the children of this state have been begun.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) begun: bool,
    /// How often each retrier of the state has been used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) retries: Vec<u32>,
    /// Until when it waits, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) due_ms: Option<i64>,
    /// What the branch put out, once it has ended; its parent has not yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) output: Option<Value>,
}

/// The path of a child of the branch at `parent`.
pub(super) fn child_path(parent: &str, index: usize) -> String {
    format!("{parent}/{index}")
}

/// The range in which the paths of everything below `path` lie: from the first, up to but without the second.
pub(super) fn below(path: &str) -> (String, String) {
    // `0` is the character after `/`.
    (format!("{path}/"), format!("{path}0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_below_a_branch_is_a_range_of_paths() {
        let (from, to) = below("/1");
        let is_below = |path: &str| from.as_str() <= path && path < to.as_str();
        assert!(is_below(&child_path("/1", 0)) && is_below("/1/12/3"));
        assert!(!is_below("/1") && !is_below("/10") && !is_below("/10/1") && !is_below("/2"));
        let (from, to) = below(ROOT);
        assert!(from.as_str() <= "/12/3" && "/12/3" < to.as_str() && ROOT < from.as_str());
    }
}
