//! Sessions that their clients have ended: an id opens by itself, so this process remembers those that no longer may.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

/// How many are remembered; the first ones are forgotten first. A session that is forgotten can be gone on with
/// until its time ends, by its own caller alone, as it can at another process with the same keys.
const ENDED_SESSIONS_MAX: usize = 16_384;

/// The sessions that have been ended here.
pub(super) struct EndedSessions {
    state: Mutex<State>,
    most: usize,
}

#[derive(Default)]
struct State {
    ended: HashSet<Uuid>,
    /// In the order in which they ended.
    order: VecDeque<Uuid>,
}

impl EndedSessions {
    /// None yet.
    pub(super) fn new() -> Self {
        Self::of(ENDED_SESSIONS_MAX)
    }

    fn of(most: usize) -> Self {
        Self {
            state: Mutex::default(),
            most,
        }
    }

    /// Remembers that `session` has ended.
    pub(super) fn insert(&self, session: Uuid) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.ended.insert(session) {
            return;
        }
        state.order.push_back(session);
        if state.order.len() > self.most
            && let Some(first) = state.order.pop_front()
        {
            state.ended.remove(&first);
        }
    }

    /// Whether `session` is known to have ended.
    pub(super) fn contains(&self, session: Uuid) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.ended.contains(&session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_forgotten_where_there_are_too_many() {
        let ended = EndedSessions::of(2);
        let sessions = [1, 2, 3].map(Uuid::from_u128);
        for session in [sessions[0], sessions[1], sessions[1]] {
            ended.insert(session);
        }
        assert!(ended.contains(sessions[0]) && ended.contains(sessions[1]));
        ended.insert(sessions[2]);
        assert!(!ended.contains(sessions[0]));
        assert!(ended.contains(sessions[1]) && ended.contains(sessions[2]));
    }
}
