//! Which requests are in flight, and whether there is room for another one.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rmcp::model::{ProtocolVersion, RequestId};
use tokio::sync::Notify;

use super::batch::Batch;
use super::limits::Limits;

/// How many ids of cancelled requests are remembered. An id that comes back while the answer to its
/// cancelled request may still be on its way would get that answer.
const RETIRED_IDS_MAX: usize = 256;

/// A request in flight. It takes its share of the limits until the last clone is gone: one is held until
/// the answer is written or the client has cancelled, one until the handler has dropped its context. So a
/// cancelled request counts as long as its handler still runs.
pub(super) struct Flight {
    id: RequestId,
    bytes: usize,
    reply: Mutex<Option<String>>,
    traffic: Weak<Traffic>,
}

/// A request whose answer is awaited.
pub(super) struct Running {
    pub(super) flight: Arc<Flight>,
    pub(super) batch: Option<Arc<Batch>>,
}

/// All that is in flight in one session.
pub(super) struct Traffic {
    limits: Limits,
    state: Mutex<State>,
    /// Wakes the transport's reading side, the only one that waits for it.
    changed: Notify,
}

#[derive(Default)]
struct State {
    flights: usize,
    bytes: usize,
    /// Whether the reading side waits for a flight to end.
    is_awaited: bool,
    running: HashMap<RequestId, Running>,
    /// Cancelled, but the handler still runs.
    cancelled: HashSet<RequestId>,
    /// Cancelled, and the handler has ended; the oldest first.
    retired: VecDeque<RequestId>,
    /// Requests that we made of the client.
    asked: HashSet<RequestId>,
    /// The `initialize` that is being answered.
    initializing: Option<RequestId>,
    /// What the last `initialize` agreed on.
    version: Option<ProtocolVersion>,
    /// Whether the client has yet to say that it knows.
    is_fresh: bool,
    is_draining: bool,
}

impl Flight {
    /// Keeps the text of the result until the answer is sent.
    pub(super) fn fill(&self, result: String) {
        *self.reply.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
    }

    /// The text of the result, if the handler has left one.
    pub(super) fn take_reply(&self) -> Option<String> {
        let mut reply = self.reply.lock().unwrap_or_else(PoisonError::into_inner);
        reply.take()
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if let Some(traffic) = self.traffic.upgrade() {
            traffic.left(&self.id, self.bytes);
        }
    }
}

impl Traffic {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            state: Mutex::default(),
            changed: Notify::new(),
        })
    }

    /// Whether a request of `bytes` may run now. A single one always may.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let state = self.state();
        state.flights == 0
            || (state.flights < self.limits.requests_in_flight
                && state.bytes.saturating_add(bytes) <= self.limits.bytes_in_flight)
    }

    /// Counts a request in. The caller has asked [`Self::has_room`] and is the only one to enter.
    pub(super) fn enter(
        self: &Arc<Self>,
        id: RequestId,
        bytes: usize,
        batch: Option<Arc<Batch>>,
    ) -> Arc<Flight> {
        let flight = Arc::new(Flight {
            id: id.clone(),
            bytes,
            reply: Mutex::new(None),
            traffic: Arc::downgrade(self),
        });
        let running = Running {
            flight: Arc::clone(&flight),
            batch,
        };
        let replaced = {
            let mut state = self.state();
            state.flights += 1;
            state.bytes = state.bytes.saturating_add(bytes);
            state.running.insert(id, running)
        };
        // Dropping a flight takes the lock, so it happens outside of it.
        drop(replaced);
        flight
    }

    /// Whether a request of this id is in flight, or was cancelled not long ago.
    pub(super) fn knows(&self, id: &RequestId) -> bool {
        let state = self.state();
        state.running.contains_key(id) || state.cancelled.contains(id) || state.retired.contains(id)
    }

    /// Takes the request whose answer is about to be sent; `None` when nobody waits for it.
    pub(super) fn answer(&self, id: &RequestId) -> Option<Running> {
        let mut state = self.state();
        if state.initializing.as_ref() == Some(id) {
            state.initializing = None;
            self.changed.notify_one();
        }
        state.running.remove(id)
    }

    /// The client no longer waits for `id`; `None` when it did not anyway.
    pub(super) fn cancel(&self, id: &RequestId) -> Option<Running> {
        let mut state = self.state();
        let running = state.running.remove(id)?;
        state.cancelled.insert(id.clone());
        Some(running)
    }

    /// Everything that is not answered yet.
    pub(super) fn take_all(&self) -> HashMap<RequestId, Running> {
        std::mem::take(&mut self.state().running)
    }

    /// Whether nothing is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.state().flights == 0
    }

    /// Bytes of what is in flight.
    pub(super) fn bytes(&self) -> usize {
        self.state().bytes
    }

    /// Whether a single request is in flight.
    pub(super) fn has_one(&self) -> bool {
        self.state().flights == 1
    }

    /// Requests in flight.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.state().flights
    }

    /// Remembers a request that we make of the client.
    pub(super) fn ask(&self, id: RequestId) {
        self.state().asked.insert(id);
    }

    /// Whether `id` is a request of ours, which is forgotten thereby. Some clients answer the number 7
    /// with the text "7".
    pub(super) fn asked(&self, id: &RequestId) -> bool {
        let mut state = self.state();
        if state.asked.remove(id) {
            return true;
        }
        match id {
            RequestId::String(text) => text
                .parse()
                .is_ok_and(|number| state.asked.remove(&RequestId::Number(number))),
            RequestId::Number(_) => false,
        }
    }

    /// Whether the client has a request of ours to answer.
    pub(super) fn has_asked(&self) -> bool {
        !self.state().asked.is_empty()
    }

    /// Holds further messages back until this `initialize` is answered.
    pub(super) fn begin_initialize(&self, id: RequestId) {
        self.state().initializing = Some(id);
    }

    /// Whether an `initialize` is being answered.
    pub(super) fn is_initializing(&self) -> bool {
        self.state().initializing.is_some()
    }

    /// Notes what `initialize` agreed on.
    pub(super) fn agree(&self, version: ProtocolVersion) {
        let mut state = self.state();
        state.version = Some(version);
        state.is_fresh = true;
    }

    /// Whether this is the first time since [`Self::agree`].
    pub(super) fn take_agreement(&self) -> bool {
        std::mem::take(&mut self.state().is_fresh)
    }

    /// What the last `initialize` agreed on; `None` before the first one and in a stateless session.
    pub(super) fn version(&self) -> Option<ProtocolVersion> {
        self.state().version.clone()
    }

    /// From now on new requests are refused.
    pub(super) fn drain(&self) {
        self.state().is_draining = true;
        self.changed.notify_one();
    }

    /// Whether new requests are refused.
    pub(super) fn is_draining(&self) -> bool {
        self.state().is_draining
    }

    /// Asks to be woken when a flight ends, or no longer so.
    pub(super) fn await_end_of_flight(&self, is_awaited: bool) {
        self.state().is_awaited = is_awaited;
    }

    /// Wakes the reading side.
    pub(super) fn wake(&self) {
        self.changed.notify_one();
    }

    /// Waits to be woken.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn left(&self, id: &RequestId, bytes: usize) {
        let mut state = self.state();
        state.flights = state.flights.saturating_sub(1);
        state.bytes = state.bytes.saturating_sub(bytes);
        if state.cancelled.remove(id) {
            if state.retired.len() == RETIRED_IDS_MAX {
                state.retired.pop_front();
            }
            state.retired.push_back(id.clone());
        }
        if state.is_awaited {
            self.changed.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic() -> Arc<Traffic> {
        Traffic::new(Limits {
            requests_in_flight: 2,
            bytes_in_flight: 100,
            ..Limits::default()
        })
    }

    #[test]
    fn requests_and_bytes_are_full_at_their_limit_and_one_always_fits() {
        let traffic = traffic();
        assert!(traffic.has_room(1000));
        let _one = traffic.enter(RequestId::Number(1), 60, None);
        assert!(traffic.has_room(40));
        assert!(!traffic.has_room(41));
        let _two = traffic.enter(RequestId::Number(2), 1, None);
        assert!(!traffic.has_room(0));
    }

    #[test]
    fn a_request_counts_until_it_is_answered_and_its_handler_has_ended() {
        for handler_ends_first in [true, false] {
            let traffic = traffic();
            let handler = traffic.enter(RequestId::Number(1), 10, None);
            let running = traffic.answer(&RequestId::Number(1)).unwrap();
            let (first, second) = match handler_ends_first {
                true => (handler, running.flight),
                false => (running.flight, handler),
            };
            drop(first);
            assert_eq!(traffic.count(), 1);
            drop(second);
            assert!(traffic.is_idle());
        }
    }

    #[test]
    fn a_cancelled_request_counts_while_its_handler_runs_and_its_id_is_not_taken_again() {
        let traffic = traffic();
        let id = RequestId::Number(1);
        let handler = traffic.enter(id.clone(), 10, None);
        drop(traffic.cancel(&id).unwrap());
        assert_eq!(traffic.count(), 1);
        assert!(traffic.answer(&id).is_none());
        assert!(traffic.cancel(&id).is_none());
        assert!(traffic.knows(&id));
        drop(handler);
        assert!(traffic.is_idle());
        assert!(traffic.knows(&id));
    }

    #[test]
    fn the_ids_of_cancelled_requests_are_forgotten_one_by_one() {
        let traffic = traffic();
        for number in 0..=RETIRED_IDS_MAX {
            let id = RequestId::Number(i64::try_from(number).unwrap());
            let _handler = traffic.enter(id.clone(), 0, None);
            drop(traffic.cancel(&id).unwrap());
        }
        assert!(!traffic.knows(&RequestId::Number(0)));
        assert!(traffic.knows(&RequestId::Number(1)));
    }
}
