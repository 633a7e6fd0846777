//! HTTP requests by route and status, and what is told of the connections and streams that are open.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::Label;
use super::calls::latency;

/// What is counted of HTTP; nothing where it was made by [`Default`].
#[derive(Clone, Debug, Default)]
pub struct HttpMetrics(Option<Arc<Families>>);

#[derive(Debug)]
struct Families {
    requests: Family<Labels, Counter>,
    latencies: Family<[Label; 1], Histogram, fn() -> Histogram>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    route: &'static str,
    method: &'static str,
    status: u16,
}

/// What a listener is at when metrics are read.
#[derive(Clone, Debug, Default)]
pub struct HttpFigures {
    /// How many connections are open.
    pub connections: u64,
    /// How many streams are open, by kind.
    pub streams: Vec<(&'static str, u64)>,
    /// How often something was refused before anybody looked at what it wants, by reason, since the process began.
    pub refused: Vec<(&'static str, u64)>,
}

impl HttpMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let families = Families {
            requests: Family::default(),
            latencies: Family::new_with_constructor(latency as fn() -> Histogram),
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
}

/// The method `name` as a label; those that are served nowhere are one.
pub fn known_method(name: &str) -> &'static str {
    const KNOWN: [&str; 5] = ["GET", "POST", "DELETE", "OPTIONS", "HEAD"];
    let known = KNOWN.into_iter().find(|known| *known == name);
    known.unwrap_or("other")
}
