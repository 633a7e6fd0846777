//! Knows whether all that an execution still does is wait, so that it can be put aside until then.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::mesh::Timestamp;

/// The branches of one execution that are under way, and those among them that wait.
#[derive(Debug, Default)]
pub(super) struct Tracker(Mutex<Branches>);

#[derive(Debug, Default)]
struct Branches {
    under_way: usize,
    waits: BTreeMap<u64, Timestamp>,
    next: u64,
}

/// A branch that is under way until this is dropped.
#[derive(Debug)]
pub(super) struct UnderWay<'a>(&'a Tracker);

/// A branch that waits, until this is dropped.
#[derive(Debug)]
pub(super) struct Waiting<'a>(&'a Tracker, u64);

/// A branch that leaves it to its children to be under way, until this is dropped.
#[derive(Debug)]
pub(super) struct Delegating<'a>(&'a Tracker);

impl Tracker {
    fn branches(&self) -> MutexGuard<'_, Branches> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a branch.
    pub(super) fn begin(&self) -> UnderWay<'_> {
        self.branches().under_way += 1;
        UnderWay(self)
    }

    /// A branch begins to wait.
    pub(super) fn wait(&self, due: Timestamp) -> Waiting<'_> {
        let mut branches = self.branches();
        let number = branches.next;
        branches.next += 1;
        branches.waits.insert(number, due);
        Waiting(self, number)
    }

    /// A branch has begun all its children that it can for now.
    pub(super) fn delegate(&self) -> Delegating<'_> {
        let mut branches = self.branches();
        branches.under_way = branches.under_way.saturating_sub(1);
        Delegating(self)
    }

    /// How many branches are under way.
    pub(super) fn under_way(&self) -> usize {
        self.branches().under_way
    }

    /// When the first of the branches goes on, where all of them wait.
    pub(super) fn idle_until(&self) -> Option<Timestamp> {
        let branches = self.branches();
        if branches.waits.len() < branches.under_way {
            return None;
        }
        branches.waits.values().min().copied()
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut branches = self.0.branches();
        branches.under_way = branches.under_way.saturating_sub(1);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.branches().waits.remove(&self.1);
    }
}

impl Drop for Delegating<'_> {
    fn drop(&mut self) {
        self.0.branches().under_way += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_execution_is_idle_when_every_branch_waits() {
        let tracker = Tracker::default();
        let root = tracker.begin();
        assert_eq!(tracker.idle_until(), None);
        let children = [tracker.begin(), tracker.begin()];
        let delegating = tracker.delegate();
        let late = tracker.wait(Timestamp::from_seconds(9));
        assert_eq!(tracker.idle_until(), None);
        let early = tracker.wait(Timestamp::from_seconds(5));
        assert_eq!(tracker.idle_until(), Some(Timestamp::from_seconds(5)));
        drop(early);
        assert_eq!(tracker.idle_until(), None);
        drop((late, children));
        drop(delegating);
        assert_eq!(tracker.under_way(), 1);
        drop(root);
        assert_eq!(tracker.under_way(), 0);
    }
}
