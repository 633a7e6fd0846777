//! What is counted and measured of this process, in the text that Prometheus reads.
//!
//! Labels are words of this program: tools, outcomes, codes, limits, services. What a client sends is none, and a
//! tenant only where the operator wants the busiest ones named.

mod aws;
mod calls;
mod figures;
mod http;
mod tenants;
mod upstream;

use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use self::calls::CallMetrics;
use self::figures::{Figures, Sources};
use crate::config::MetricsSettings;
use crate::mesh::Clock;
use crate::mesh::call::Backplane;
use crate::mesh::call::observer::EndedCall;
use crate::mesh::tenant::IdentityError;

pub use self::aws::{AwsMetrics, AwsOutcome};
pub use self::http::{HttpFigures, HttpMetrics, known_method};
pub use self::upstream::UpstreamMetrics;

/// What the names of all metrics of our own begin with.
const PREFIX: &str = "agent_mesh";

/// The media type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of latencies, in seconds: from a call that is answered from memory to one that is given up.
const LATENCY_BOUNDS_SECONDS: [f64; 16] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    10.0, 60.0,
];

/// One label.
type Label = (&'static str, &'static str);

/// Everything that is counted.
pub struct Metrics {
    registry: Registry,
    calls: CallMetrics,
    http: HttpMetrics,
    aws: AwsMetrics,
    upstream: UpstreamMetrics,
    sources: Arc<Sources>,
}

impl Metrics {
    /// Counts from zero, from the moment that `clock` tells.
    pub fn new(settings: &MetricsSettings, clock: &dyn Clock) -> Arc<Self> {
        let mut registry = Registry::default();
        let start = Gauge::<f64, std::sync::atomic::AtomicU64>::default();
        start.set(clock.now().as_millis() as f64 / 1e3);
        registry.register_with_unit(
            "process_start_time",
            "When the process started, since 1970",
            Unit::Seconds,
            start,
        );
        let own = registry.sub_registry_with_prefix(PREFIX);
        own.register(
            "build",
            "The version that runs",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        let sources = Arc::<Sources>::default();
        own.register_collector(Box::new(Figures(Arc::clone(&sources))));
        let calls = CallMetrics::new(own, settings.tenants);
        let http = HttpMetrics::new(own);
        let aws = AwsMetrics::new(own);
        let upstream = UpstreamMetrics::new(own);
        Arc::new(Self {
            registry,
            calls,
            http,
            aws,
            upstream,
            sources,
        })
    }

    /// From now on the figures of `backplane` are read whenever metrics are; the first one counts.
    pub fn watch(&self, backplane: &Arc<Backplane>) {
        let _ = self.sources.backplane.set(Arc::downgrade(backplane));
    }

    /// From now on `listener` is asked what it is at whenever metrics are read; the first one counts.
    pub fn watch_listener(&self, listener: impl Fn() -> HttpFigures + Send + Sync + 'static) {
        let _ = self.sources.listener.set(Box::new(listener));
    }

    /// All of it, as OpenMetrics text: see [`CONTENT_TYPE`].
    pub fn encode(&self) -> String {
        let mut text = String::with_capacity(32 << 10);
        // Only a text that refuses to grow could fail it.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// What is counted of HTTP requests.
    pub fn http(&self) -> &HttpMetrics {
        &self.http
    }

    /// What is counted of requests to AWS.
    pub fn aws(&self) -> &AwsMetrics {
        &self.aws
    }

    /// What is counted of calls of integrated servers.
    pub fn upstream(&self) -> &UpstreamMetrics {
        &self.upstream
    }

    pub(super) fn ended(&self, call: &EndedCall<'_>) {
        self.calls.ended(call);
    }

    pub(super) fn unidentified(&self, error: &IdentityError) {
        self.calls.unidentified(error);
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
