//! HTTP requests by route and status, and the connections, sessions and streams that are open.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::Label;
use super::calls::latency;

type Level = Gauge<i64, AtomicI64>;

/// What is counted of HTTP; nothing where it was made by [`Default`].
#[derive(Clone, Debug, Default)]
pub struct HttpMetrics(Option<Arc<Families>>);

#[derive(Debug)]
struct Families {
    requests: Family<Labels, Counter>,
    latencies: Family<[Label; 1], Histogram, fn() -> Histogram>,
    refused: Family<[Label; 1], Counter>,
    connections: Level,
    sessions: Level,
    streams: Family<[Label; 1], Level>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    route: &'static str,
    method: &'static str,
    status: u16,
}

/// Why a request, a connection, a session or a stream was refused before anybody looked at what it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpRefusal {
    /// Its `Host` is none of ours.
    Host,
    /// Its `Origin` is not allowed.
    Origin,
    /// It brought no token that is good.
    SignIn,
    /// Its body, or its headers, are too large.
    TooLarge,
    /// It came too slowly.
    TooSlow,
    /// As many connections are open as may be.
    Connections,
    /// As many sessions or streams are open as may be.
    Sessions,
    /// As many requests are in flight as may be.
    InFlight,
    /// The process is about to end.
    Draining,
}

/// A kind of stream that stays open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// Events of streamable HTTP.
    Events,
    /// The older HTTP with server-sent events.
    Sse,
    /// WebSocket.
    Websocket,
    /// The dashboard's messages.
    Dashboard,
}

/// Something open; dropped, it is not counted any more.
#[derive(Debug)]
#[must_use = "what is dropped is not counted any more"]
pub struct Held(Option<Level>);

impl HttpMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let families = Families {
            requests: Family::default(),
            latencies: Family::new_with_constructor(latency as fn() -> Histogram),
            refused: Family::default(),
            connections: Level::default(),
            sessions: Level::default(),
            streams: Family::default(),
        };
        registry.register(
            "http_requests",
            "HTTP requests that were answered, by route, method and status",
            families.requests.clone(),
        );
        registry.register_with_unit(
            "http_request_duration",
            "How long HTTP requests took until their answer began",
            Unit::Seconds,
            families.latencies.clone(),
        );
        registry.register(
            "http_refused",
            "What was refused before anybody looked at what it wants, by reason",
            families.refused.clone(),
        );
        registry.register(
            "http_connections",
            "Connections that are open",
            families.connections.clone(),
        );
        registry.register(
            "http_sessions",
            "Sessions of which this process holds anything",
            families.sessions.clone(),
        );
        registry.register(
            "http_streams",
            "Streams that are open, by kind",
            families.streams.clone(),
        );
        Self(Some(Arc::new(families)))
    }

    /// A request was answered. `route` is the template of its path, `method` one of [`known_method`]'s.
    pub fn answered(&self, route: &'static str, method: &'static str, status: u16, took: Duration) {
        let Some(families) = &self.0 else { return };
        let labels = Labels {
            route,
            method,
            status,
        };
        families.requests.get_or_create(&labels).inc();
        let seconds = took.as_secs_f64();
        let latency = families.latencies.get_or_create(&[("route", route)]);
        latency.observe(seconds);
    }

    /// Something was refused.
    pub fn refused(&self, reason: HttpRefusal) {
        if let Some(families) = &self.0 {
            let label = [("reason", reason.name())];
            families.refused.get_or_create(&label).inc();
        }
    }

    /// A connection is open.
    pub fn connection(&self) -> Held {
        Held::of(self.0.as_ref().map(|families| families.connections.clone()))
    }

    /// A session is held.
    pub fn session(&self) -> Held {
        Held::of(self.0.as_ref().map(|families| families.sessions.clone()))
    }

    /// A stream is open.
    pub fn stream(&self, kind: StreamKind) -> Held {
        let level = |families: &Arc<Families>| {
            let label = [("kind", kind.name())];
            families.streams.get_or_create_owned(&label)
        };
        Held::of(self.0.as_ref().map(level))
    }
}

/// The method `name` as a label; those that are served nowhere are one.
pub fn known_method(name: &str) -> &'static str {
    const KNOWN: [&str; 5] = ["GET", "POST", "DELETE", "OPTIONS", "HEAD"];
    let known = KNOWN.into_iter().find(|known| *known == name);
    known.unwrap_or("other")
}

impl HttpRefusal {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Origin => "origin",
            Self::SignIn => "sign_in",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
            Self::Connections => "connections",
            Self::Sessions => "sessions",
            Self::InFlight => "in_flight",
            Self::Draining => "draining",
        }
    }
}

impl StreamKind {
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

impl Held {
    fn of(level: Option<Level>) -> Self {
        if let Some(level) = &level {
            level.inc();
        }
        Self(level)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(level) = &self.0 {
            level.dec();
        }
    }
}
