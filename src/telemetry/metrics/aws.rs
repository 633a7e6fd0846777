//! Requests to AWS by service, operation and outcome, and the throttles among their attempts.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::calls::latency;

/// What is counted of requests to AWS; nothing where it was made by [`Default`].
#[derive(Clone, Debug, Default)]
pub struct AwsMetrics(Option<Arc<Families>>);

#[derive(Debug)]
struct Families {
    requests: Family<Labels, Counter>,
    latencies: Family<Service, Histogram, fn() -> Histogram>,
    throttles: Family<Service, Counter>,
}

/// Names that the SDKs have for what this program asks of them; a caller can choose none.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    service: String,
    operation: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Service {
    service: String,
}

/// How a request to AWS ended, its repetitions included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AwsOutcome {
    /// It was done.
    Ok,
    /// AWS refused it: what was asked for is not there, a condition did not hold, a permission is missing.
    Refused,
    /// AWS throttled it to the last.
    Throttled,
    /// AWS failed.
    Fault,
    /// It took too long.
    TimedOut,
    /// AWS could not be reached, or its answer not be read.
    Unreachable,
    /// Its caller gave it up.
    Abandoned,
}

impl AwsOutcome {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Throttled => "throttled",
            Self::Fault => "fault",
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
            Self::Abandoned => "abandoned",
        }
    }

    /// Whether AWS did what it should: a refusal is an answer.
    pub const fn is_answer(self) -> bool {
        matches!(self, Self::Ok | Self::Refused)
    }
}

impl AwsMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let families = Families {
            requests: Family::default(),
            latencies: Family::new_with_constructor(latency as fn() -> Histogram),
            throttles: Family::default(),
        };
        registry.register(
            "aws_requests",
            "Requests to AWS that ended, by service, operation and outcome",
            families.requests.clone(),
        );
        registry.register_with_unit(
            "aws_request_duration",
            "How long requests to AWS took, their repetitions included",
            Unit::Seconds,
            families.latencies.clone(),
        );
        registry.register(
            "aws_throttles",
            "Attempts of requests that AWS throttled",
            families.throttles.clone(),
        );
        Self(Some(Arc::new(families)))
    }

    /// A request has ended.
    pub fn ended(&self, service: &str, operation: &str, outcome: AwsOutcome, took: Duration) {
        let Some(families) = &self.0 else { return };
        let service = Service::of(service);
        let labels = Labels {
            service: service.service.clone(),
            operation: operation.to_owned(),
            outcome: outcome.name(),
        };
        families.requests.get_or_create(&labels).inc();
        let seconds = took.as_secs_f64();
        families.latencies.get_or_create(&service).observe(seconds);
    }

    /// An attempt was throttled.
    pub fn throttled(&self, service: &str) {
        if let Some(families) = &self.0 {
            families
                .throttles
                .get_or_create(&Service::of(service))
                .inc();
        }
    }
}

impl Service {
    fn of(name: &str) -> Self {
        Self {
            service: name.to_owned(),
        }
    }
}
