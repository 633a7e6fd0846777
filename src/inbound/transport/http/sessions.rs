//! What is known of sessions of the older revisions: their open streams, and their requests that are under way.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::super::link::Link;
use super::super::message::Message;

/// The most requests of one session that are under way and can still be told something.
const EXCHANGES_PER_SESSION_MAX: usize = 256;

/// The part of all streams that one tenant may have, as a divisor: one in four.
const SHARE_OF_STREAMS: usize = 4;

/// A stream whose session has asked nothing for so long gives way to another where there are too many.
const IDLE_LEAST: Duration = Duration::from_mins(1);

/// The sessions that something is known of.
pub(super) struct Sessions<H> {
    state: Mutex<State<H>>,
    streams_max: usize,
    idle_least: Duration,
    numbers: AtomicU64,
}

struct State<H> {
    sessions: HashMap<Uuid, Known<H>>,
    /// How many streams are open by who shares them.
    streams: HashMap<Arc<str>, usize>,
}

struct Known<H> {
    stream: Option<Stream<H>>,
    exchanges: Vec<(u64, Weak<Link>)>,
}

struct Stream<H> {
    number: u64,
    handler: Option<Arc<H>>,
    share: Arc<str>,
    last_used: Instant,
    end: CancellationToken,
}

/// A request's entry; it is gone when this is dropped.
pub(super) struct Entered<H> {
    sessions: Arc<Sessions<H>>,
    session: Uuid,
    number: u64,
}

/// A stream's place; it is free again when this is dropped.
pub(super) struct StreamPlace<H> {
    sessions: Arc<Sessions<H>>,
    session: Uuid,
    number: u64,
    end: CancellationToken,
}

/// There are as many streams as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooManyStreams;

impl<H> Sessions<H> {
    /// At most `streams_max` streams are open at once.
    pub(super) fn new(streams_max: usize) -> Arc<Self> {
        Self::with_idle(streams_max, IDLE_LEAST)
    }

    fn with_idle(streams_max: usize, idle_least: Duration) -> Arc<Self> {
        Arc::new(Self {
            idle_least,
            state: Mutex::new(State {
                sessions: HashMap::new(),
                streams: HashMap::new(),
            }),
            streams_max,
            numbers: AtomicU64::new(0),
        })
    }

    /// A number for another exchange.
    pub(super) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// What answers requests of `session`, where a stream of it is open here. It counts as used now.
    pub(super) fn handler(&self, session: Uuid) -> Option<Arc<H>> {
        let mut state = self.state();
        let stream = state.sessions.get_mut(&session)?.stream.as_mut()?;
        stream.last_used = Instant::now();
        stream.handler.clone()
    }

    /// Notes a request that is under way; nothing where the session has too many.
    pub(super) fn enter(
        self: &Arc<Self>,
        session: Uuid,
        number: u64,
        link: &Arc<Link>,
    ) -> Option<Entered<H>> {
        let mut state = self.state();
        let known = state.known(session);
        if known.exchanges.len() >= EXCHANGES_PER_SESSION_MAX {
            return None;
        }
        known.exchanges.push((number, Arc::downgrade(link)));
        Some(Entered {
            sessions: Arc::clone(self),
            session,
            number,
        })
    }

    /// Hands `message` to the requests of `session` that are under way here: to all, or to that of `number`.
    pub(super) fn tell(
        &self,
        session: Uuid,
        number: Option<u64>,
        mut message: impl FnMut() -> Message,
    ) {
        let links: Vec<Arc<Link>> = {
            let state = self.state();
            let Some(known) = state.sessions.get(&session) else {
                return;
            };
            let exchanges = known.exchanges.iter();
            let meant = exchanges.filter(|(own, _)| number.is_none_or(|number| number == *own));
            meant.filter_map(|(_, link)| link.upgrade()).collect()
        };
        for link in links {
            link.inject(message());
        }
    }

    /// A place for a stream of `session`, which ends the one that it had. `share` is who shares a part of all
    /// streams. Where there are too many, the one that has been idle the longest gives way: of the same share, or
    /// where that has little, of the one that has most.
    pub(super) fn open(
        self: &Arc<Self>,
        session: Uuid,
        share: &Arc<str>,
        end: CancellationToken,
    ) -> Result<StreamPlace<H>, TooManyStreams> {
        let number = self.next_number();
        let mut state = self.state();
        state.close(session);
        let most = (self.streams_max / SHARE_OF_STREAMS).max(1);
        if state.streams.get(share).is_some_and(|own| *own >= most) {
            state.make_room_of(share, self.idle_least)?;
        } else if state.streams.values().sum::<usize>() >= self.streams_max {
            let largest = state.streams.iter().max_by_key(|(_, count)| **count);
            let largest = largest.map(|(share, _)| Arc::clone(share));
            state.make_room_of(&largest.ok_or(TooManyStreams)?, self.idle_least)?;
        }
        *state.streams.entry(Arc::clone(share)).or_default() += 1;
        state.known(session).stream = Some(Stream {
            number,
            handler: None,
            share: Arc::clone(share),
            last_used: Instant::now(),
            end: end.clone(),
        });
        Ok(StreamPlace {
            sessions: Arc::clone(self),
            session,
            number,
            end,
        })
    }

    /// Ends what there is of `session`.
    pub(super) fn end(&self, session: Uuid) {
        self.state().close(session);
    }

    /// How many sessions something is known of.
    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.state().sessions.len()
    }

    /// How many streams are open.
    #[cfg(test)]
    pub(super) fn streams(&self) -> usize {
        self.state().streams.values().sum()
    }

    fn state(&self) -> MutexGuard<'_, State<H>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<H> State<H> {
    fn known(&mut self, session: Uuid) -> &mut Known<H> {
        self.sessions.entry(session).or_insert_with(|| Known {
            stream: None,
            exchanges: Vec::new(),
        })
    }

    /// Ends the stream of `share` that has been idle the longest, and for `idle_least`.
    fn make_room_of(
        &mut self,
        share: &Arc<str>,
        idle_least: Duration,
    ) -> Result<(), TooManyStreams> {
        let streams = self.sessions.iter();
        let streams = streams.filter_map(|(id, known)| Some((*id, known.stream.as_ref()?)));
        let own = streams.filter(|(_, stream)| stream.share == *share);
        let (id, stream) = own
            .min_by_key(|(_, stream)| stream.last_used)
            .ok_or(TooManyStreams)?;
        if stream.last_used.elapsed() < idle_least {
            return Err(TooManyStreams);
        }
        self.close(id);
        Ok(())
    }

    /// Ends the stream of `session`.
    fn close(&mut self, session: Uuid) {
        let Some(known) = self.sessions.get_mut(&session) else {
            return;
        };
        if let Some(stream) = known.stream.take() {
            stream.end.cancel();
            match self.streams.get_mut(&stream.share) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(self.streams.remove(&stream.share)),
            }
        }
        self.forget(session);
    }

    /// Forgets a session of which nothing is left.
    fn forget(&mut self, session: Uuid) {
        if let Some(known) = self.sessions.get(&session)
            && known.stream.is_none()
            && known.exchanges.is_empty()
        {
            self.sessions.remove(&session);
        }
    }
}

impl<H> StreamPlace<H> {
    /// Cancelled when the stream is to end.
    pub(super) fn end(&self) -> &CancellationToken {
        &self.end
    }

    /// The stream counts as used now.
    pub(super) fn touch(&self) {
        let mut state = self.sessions.state();
        let known = state.sessions.get_mut(&self.session);
        if let Some(stream) = known.and_then(|known| known.stream.as_mut()) {
            stream.last_used = Instant::now();
        }
    }

    /// From now on `handler` answers the requests of this session.
    pub(super) fn attach(&self, handler: H) {
        let mut state = self.sessions.state();
        let known = state.sessions.get_mut(&self.session);
        if let Some(stream) = known.and_then(|known| known.stream.as_mut())
            && stream.number == self.number
        {
            stream.handler = Some(Arc::new(handler));
        }
    }
}

impl<H> Drop for StreamPlace<H> {
    fn drop(&mut self) {
        let mut state = self.sessions.state();
        let known = state.sessions.get(&self.session);
        let stream = known.and_then(|known| known.stream.as_ref());
        if stream.is_some_and(|stream| stream.number == self.number) {
            state.close(self.session);
        }
    }
}

impl<H> Drop for Entered<H> {
    fn drop(&mut self) {
        let mut state = self.sessions.state();
        if let Some(known) = state.sessions.get_mut(&self.session) {
            known.exchanges.retain(|(number, _)| *number != self.number);
        }
        state.forget(self.session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Known = Arc<Sessions<&'static str>>;

    fn open(sessions: &Known, share: &str) -> Result<StreamPlace<&'static str>, TooManyStreams> {
        sessions.open(Uuid::new_v4(), &share.into(), CancellationToken::new())
    }

    #[tokio::test]
    async fn a_stream_answers_its_session_until_it_ends() {
        let sessions: Known = Sessions::new(8);
        let session = Uuid::new_v4();
        let place = sessions
            .open(session, &"acme".into(), CancellationToken::new())
            .unwrap();
        assert_eq!(sessions.handler(session), None);
        place.attach("handler");
        assert_eq!(sessions.handler(session).as_deref(), Some(&"handler"));
        drop(place);
        assert_eq!((sessions.handler(session), sessions.streams()), (None, 0));
        assert!(sessions.state().sessions.is_empty());
    }

    #[tokio::test]
    async fn another_stream_of_a_session_ends_the_one_before() {
        let sessions: Known = Sessions::new(8);
        let session = Uuid::new_v4();
        let one = sessions
            .open(session, &"acme".into(), CancellationToken::new())
            .unwrap();
        let two = sessions
            .open(session, &"acme".into(), CancellationToken::new())
            .unwrap();
        assert!(one.end().is_cancelled() && !two.end().is_cancelled());
        two.attach("two");
        one.attach("one");
        drop(one);
        assert_eq!(sessions.handler(session).as_deref(), Some(&"two"));
        assert_eq!(sessions.streams(), 1);
    }

    #[tokio::test]
    async fn a_tenant_has_a_part_of_the_streams_and_gives_way_with_its_own() {
        let sessions: Known = Sessions::with_idle(8, Duration::from_millis(50));
        let (one, two) = (
            open(&sessions, "acme").unwrap(),
            open(&sessions, "acme").unwrap(),
        );
        assert_eq!(open(&sessions, "acme").err(), Some(TooManyStreams));
        tokio::time::sleep(Duration::from_millis(60)).await;
        let three = open(&sessions, "acme").unwrap();
        assert!(one.end().is_cancelled() != two.end().is_cancelled());
        assert!(!three.end().is_cancelled());
        assert_eq!(sessions.streams(), 2);
        let _other = open(&sessions, "other").unwrap();
    }

    #[tokio::test]
    async fn where_all_are_taken_the_tenant_with_most_gives_way() {
        let sessions: Known = Sessions::with_idle(5, Duration::from_millis(50));
        let small: Vec<_> = ["a", "b", "c", "d"]
            .map(|share| open(&sessions, share).unwrap())
            .into();
        let _e = open(&sessions, "e").unwrap();
        assert_eq!(open(&sessions, "f").err(), Some(TooManyStreams));
        tokio::time::sleep(Duration::from_millis(60)).await;
        let _f = open(&sessions, "f").unwrap();
        assert_eq!(sessions.streams(), 5);
        drop(small);
    }
}
