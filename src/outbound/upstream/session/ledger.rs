//! The requests that wait for an answer, by id: what finds its request is handed over once, the rest is nobody's.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};

use crate::mesh::Error;
use crate::mesh::call::request::Progress;
use crate::mesh::upstream::InputRequest;
use crate::outbound::upstream::message::Refusal;

/// How many requests of our own (lists, pings, subscriptions) may wait besides calls.
const OWN_REQUESTS_MAX: usize = 16;

/// What became of a request.
#[derive(Debug)]
pub(super) enum Answer {
    /// Its result.
    Result(Box<RawValue>),
    /// It was refused.
    Refused(Refusal),
    /// The link says that no answer comes.
    Failed {
        /// Whether it was certainly never carried out.
        not_sent: bool,
        /// Why.
        error: Error,
    },
    /// The answer was none.
    Garbage,
}

/// Who waits for an answer.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Where the answer goes.
    pub(super) answer: oneshot::Sender<Answer>,
    /// Whether it is a call of a tool.
    pub(super) is_call: bool,
    /// Whether it lasts as long as the connection, and keeps it from nothing.
    pub(super) is_lasting: bool,
    /// Where progress goes.
    pub(super) progress: Option<mpsc::Sender<Progress>>,
    /// Where requests for input go.
    pub(super) input: Option<mpsc::Sender<InputRequest>>,
}

/// Why a request was not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turned {
    /// Nothing is sent on this connection any more.
    Closed,
    /// As many wait as may.
    Full,
}

/// The requests of one connection that wait.
#[derive(Debug)]
pub(super) struct Ledger {
    calls_max: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    waiting: HashMap<i64, Waiting>,
    calls: usize,
    is_closed: bool,
}

impl Ledger {
    /// An empty one, for at most `calls_max` calls at once.
    pub(super) fn new(calls_max: usize) -> Self {
        Self {
            calls_max,
            held: Mutex::default(),
        }
    }

    /// Takes a request in, before it is sent.
    pub(super) fn enter(&self, id: i64, waiting: Waiting) -> Result<(), Turned> {
        let mut held = self.lock();
        if held.is_closed {
            return Err(Turned::Closed);
        }
        let own = held.waiting.len() - held.calls;
        let is_full = match waiting.is_call {
            true => held.calls >= self.calls_max,
            false => own >= OWN_REQUESTS_MAX,
        };
        if is_full {
            return Err(Turned::Full);
        }
        held.calls += usize::from(waiting.is_call);
        held.waiting.insert(id, waiting);
        Ok(())
    }

    /// Takes a request out: nobody has its answer yet. Of each id this succeeds once.
    pub(super) fn take(&self, id: i64) -> Option<Waiting> {
        let mut held = self.lock();
        let waiting = held.waiting.remove(&id)?;
        held.calls -= usize::from(waiting.is_call);
        Some(waiting)
    }

    /// Takes the request out that an answer without an id can only be meant for.
    pub(super) fn take_only(&self) -> Option<Waiting> {
        let id = {
            let held = self.lock();
            let mut ids = held
                .waiting
                .iter()
                .filter(|(_, waiting)| !waiting.is_lasting)
                .map(|(id, _)| *id);
            match (ids.next(), ids.next()) {
                (Some(id), None) => id,
                _ => return None,
            }
        };
        self.take(id)
    }

    /// Where progress of the request `id` goes.
    pub(super) fn progress_of(&self, id: i64) -> Option<mpsc::Sender<Progress>> {
        self.lock().waiting.get(&id)?.progress.clone()
    }

    /// Where a request for input goes that belongs to the request `related`; where that is not told, to the
    /// newest call that can take it.
    pub(super) fn input_of(&self, related: Option<i64>) -> Option<mpsc::Sender<InputRequest>> {
        let held = self.lock();
        if let Some(waiting) = related.and_then(|id| held.waiting.get(&id)) {
            return waiting.input.clone();
        }
        let takers = held.waiting.iter();
        takers
            .filter_map(|(id, waiting)| Some((*id, waiting.input.as_ref()?)))
            .max_by_key(|(id, _)| *id)
            .map(|(_, input)| input.clone())
    }

    /// How many calls wait.
    pub(super) fn calls(&self) -> usize {
        self.lock().calls
    }

    /// Takes nothing in any more, and lets go of all who wait: they find their sender gone.
    pub(super) fn close(&self) {
        let waiting = {
            let mut held = self.lock();
            held.is_closed = true;
            held.calls = 0;
            std::mem::take(&mut held.waiting)
        };
        drop(waiting);
    }

    /// Takes nothing in any more, if no one waits who would lose by it. Whether that is so.
    pub(super) fn close_if_idle(&self) -> bool {
        let mut held = self.lock();
        let is_idle = held.waiting.values().all(|waiting| waiting.is_lasting);
        held.is_closed |= is_idle;
        is_idle
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(is_call: bool) -> (Waiting, oneshot::Receiver<Answer>) {
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting {
            answer,
            is_call,
            is_lasting: false,
            progress: None,
            input: None,
        };
        (waiting, answered)
    }

    #[test]
    fn calls_and_own_requests_each_have_their_bound() {
        let ledger = Ledger::new(2);
        for id in 0..2 {
            ledger.enter(id, waiting(true).0).unwrap();
        }
        assert_eq!(ledger.enter(2, waiting(true).0), Err(Turned::Full));
        for id in 10..10 + OWN_REQUESTS_MAX as i64 {
            ledger.enter(id, waiting(false).0).unwrap();
        }
        assert_eq!(ledger.enter(3, waiting(false).0), Err(Turned::Full));
        ledger.take(0).unwrap();
        assert!(ledger.take(0).is_none());
        assert_eq!(ledger.calls(), 1);
        ledger.enter(4, waiting(true).0).unwrap();
    }

    #[test]
    fn a_closed_ledger_lets_go_of_all_and_takes_nothing() {
        let ledger = Ledger::new(2);
        let (entry, mut answered) = waiting(true);
        ledger.enter(1, entry).unwrap();
        assert!(!ledger.close_if_idle());
        ledger.close();
        assert!(answered.try_recv().is_err());
        assert_eq!(ledger.enter(2, waiting(true).0), Err(Turned::Closed));
        assert_eq!(ledger.calls(), 0);
    }

    #[test]
    fn an_answer_without_an_id_is_for_the_only_one_who_waits() {
        let ledger = Ledger::new(4);
        ledger.enter(1, waiting(true).0).unwrap();
        ledger.enter(2, waiting(true).0).unwrap();
        assert!(ledger.take_only().is_none());
        ledger.take(1);
        assert!(ledger.take_only().is_some());
        assert!(ledger.take_only().is_none() && ledger.close_if_idle());
    }

    #[test]
    fn a_request_for_input_goes_to_the_call_it_belongs_to_else_to_the_newest() {
        let ledger = Ledger::new(4);
        let mut ends = Vec::new();
        for id in [1, 3, 2] {
            let (mut entry, _) = waiting(true);
            let (input, taken) = mpsc::channel(1);
            entry.input = Some(input);
            ledger.enter(id, entry).unwrap();
            ends.push((id, taken));
        }
        ledger.enter(9, waiting(true).0).unwrap();
        let same = |left: &mpsc::Sender<InputRequest>, id| {
            let held = ledger.lock();
            left.same_channel(held.waiting[&id].input.as_ref().unwrap())
        };
        assert!(same(&ledger.input_of(Some(1)).unwrap(), 1));
        assert!(same(&ledger.input_of(None).unwrap(), 3));
        assert!(same(&ledger.input_of(Some(77)).unwrap(), 3));
        assert!(ledger.input_of(Some(9)).is_none());
    }
}
