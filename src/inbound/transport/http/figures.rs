//! What is open at a listener and how often something was turned away, for whoever watches.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::response::Response;

/// Counts what is open and what was turned away. Counting waits for nobody.
#[derive(Debug, Default)]
pub struct Figures {
    connections: AtomicU64,
    streams: [AtomicU64; StreamKind::ALL.len()],
    turned_away: [AtomicU64; TurnedAway::ALL.len()],
}

/// A kind of stream that stays open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// What a session of streamable HTTP is told unasked: `GET /mcp`.
    Events,
    /// The older HTTP with server-sent events.
    Sse,
    /// WebSocket.
    Websocket,
    /// The dashboard's messages.
    Dashboard,
}

/// Why a request or a connection was turned away before anybody looked at what it wants. In the extensions of the
/// response, where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnedAway {
    /// Its `Host` is none of ours.
    Host,
    /// Its `Origin` is not allowed.
    Origin,
    /// It brought no token that is good.
    SignIn,
    /// Its body is too large.
    TooLarge,
    /// Its body came too slowly.
    TooSlow,
    /// As many connections are at work as may be open.
    Connections,
    /// As many streams are open as may be.
    Streams,
    /// As many requests, or as many bytes of them, are in flight as may be.
    InFlight,
    /// The process is about to end.
    Draining,
}

/// Something that is open; dropped, it is not counted any more.
#[derive(Debug)]
#[must_use = "what is dropped is not counted any more"]
pub(in crate::inbound) struct Counted {
    figures: Arc<Figures>,
    /// The kind of stream; none for a connection.
    stream: Option<StreamKind>,
}

impl Figures {
    /// How many connections are open.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// How many streams are open, by kind.
    pub fn streams(&self) -> [(StreamKind, u64); StreamKind::ALL.len()] {
        StreamKind::ALL.map(|kind| (kind, self.level(Some(kind)).load(Ordering::Relaxed)))
    }

    /// How often something was turned away since the process began, by reason.
    pub fn turned_away(&self) -> [(TurnedAway, u64); TurnedAway::ALL.len()] {
        let times = |reason| {
            self.times(reason)
                .map(|times| times.load(Ordering::Relaxed))
        };
        TurnedAway::ALL.map(|reason| (reason, times(reason).unwrap_or_default()))
    }

    /// Something was turned away; how often that makes it for this reason.
    pub fn turn_away(&self, reason: TurnedAway) -> u64 {
        let times = self.times(reason);
        times.map_or(0, |times| times.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// A connection is open.
    pub(super) fn connection(self: &Arc<Self>) -> Counted {
        Counted::of(self, None)
    }

    /// A stream is open.
    pub(super) fn stream(self: &Arc<Self>, kind: StreamKind) -> Counted {
        Counted::of(self, Some(kind))
    }

    /// Reasons have the places that they have in [`TurnedAway::ALL`].
    fn times(&self, reason: TurnedAway) -> Option<&AtomicU64> {
        self.turned_away.get(reason as usize)
    }

    fn level(&self, stream: Option<StreamKind>) -> &AtomicU64 {
        let [events, sse, websocket, dashboard] = &self.streams;
        match stream {
            None => &self.connections,
            Some(StreamKind::Events) => events,
            Some(StreamKind::Sse) => sse,
            Some(StreamKind::Websocket) => websocket,
            Some(StreamKind::Dashboard) => dashboard,
        }
    }
}

impl StreamKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Events, Self::Sse, Self::Websocket, Self::Dashboard];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Sse => "sse",
            Self::Websocket => "websocket",
            Self::Dashboard => "dashboard",
        }
    }
}

impl TurnedAway {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::Host,
        Self::Origin,
        Self::SignIn,
        Self::TooLarge,
        Self::TooSlow,
        Self::Connections,
        Self::Streams,
        Self::InFlight,
        Self::Draining,
    ];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Origin => "origin",
            Self::SignIn => "sign_in",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
            Self::Connections => "connections",
            Self::Streams => "streams",
            Self::InFlight => "in_flight",
            Self::Draining => "draining",
        }
    }

    /// Notes in `response` that this is why it is what it is.
    pub(super) fn mark(self, mut response: Response) -> Response {
        response.extensions_mut().insert(self);
        response
    }
}

impl Counted {
    fn of(figures: &Arc<Figures>, stream: Option<StreamKind>) -> Self {
        figures.level(stream).fetch_add(1, Ordering::Relaxed);
        Self {
            figures: Arc::clone(figures),
            stream,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.figures
            .level(self.stream)
            .fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_is_counted_while_it_is_and_by_its_kind() {
        let figures = Arc::<Figures>::default();
        let open = [figures.connection(), figures.connection()];
        for kind in StreamKind::ALL {
            let of_kind = [figures.stream(kind), figures.stream(kind)];
            let all = figures.streams();
            let expected = |own: StreamKind| if own == kind { 2 } else { 0 };
            assert_eq!(all, StreamKind::ALL.map(|own| (own, expected(own))));
            drop(of_kind);
        }
        assert_eq!(figures.connections(), 2);
        drop(open);
        assert_eq!(figures.connections(), 0);
    }

    #[test]
    fn each_reason_is_counted_for_itself() {
        let figures = Figures::default();
        for (place, reason) in TurnedAway::ALL.into_iter().enumerate() {
            for time in 1..=place as u64 {
                assert_eq!(figures.turn_away(reason), time);
            }
        }
        let counted = figures.turned_away().map(|(_, times)| times);
        assert_eq!(counted, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    }
}
