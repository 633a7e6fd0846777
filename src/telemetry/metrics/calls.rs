//! Calls by tool and outcome, their errors and latencies, and what refused them.

use std::sync::OnceLock;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::tenants::TenantMetrics;
use super::{LATENCY_BOUNDS_SECONDS, Label};
use crate::mesh::ErrorKind;
use crate::mesh::call::observer::EndedCall;
use crate::mesh::call::tool::Tool;
use crate::mesh::event::Outcome;
use crate::mesh::tenant::IdentityError;

type Latencies = Family<[Label; 1], Histogram, fn() -> Histogram>;

/// What is counted of calls. What a call counts in is looked up once and then at hand, so that a call costs a
/// few atomic additions.
pub(super) struct CallMetrics {
    calls: Family<[Label; 2], Counter>,
    latencies: Latencies,
    errors: Family<[Label; 1], Counter>,
    refused: Family<[Label; 1], Counter>,
    unidentified: Family<[Label; 1], Counter>,
    tenants: Option<TenantMetrics>,
    by_tool: Box<[ToolMetrics]>,
    by_code: Box<[OnceLock<Counter>]>,
}

#[derive(Default)]
struct ToolMetrics {
    by_outcome: [OnceLock<Counter>; Outcome::ALL.len()],
    latency: OnceLock<Histogram>,
}

impl CallMetrics {
    pub(super) fn new(registry: &mut Registry, tenants: usize) -> Self {
        let calls = Family::default();
        registry.register(
            "calls",
            "Calls that ended, by tool and outcome",
            calls.clone(),
        );
        let latencies: Latencies = Family::new_with_constructor(latency);
        registry.register_with_unit(
            "call_duration",
            "How long calls took that were let in",
            Unit::Seconds,
            latencies.clone(),
        );
        let errors = Family::default();
        registry.register("call_errors", "Calls that failed, by code", errors.clone());
        let refused = Family::default();
        registry.register(
            "calls_refused",
            "Calls that were not let in, by the limit that refused them",
            refused.clone(),
        );
        let unidentified = Family::default();
        registry.register(
            "requests_unidentified",
            "Requests for calls that named no caller who is known, by the reason",
            unidentified.clone(),
        );
        Self {
            calls,
            latencies,
            errors,
            refused,
            unidentified,
            tenants: TenantMetrics::new(registry, tenants),
            by_tool: Tool::ALL.iter().map(|_| ToolMetrics::default()).collect(),
            by_code: ErrorKind::ALL.iter().map(|_| OnceLock::new()).collect(),
        }
    }

    pub(super) fn ended(&self, call: &EndedCall<'_>) {
        let (tool, outcome) = (call.tool.name(), call.outcome);
        if let Some(metrics) = self.by_tool.get(call.tool as usize) {
            let make = || {
                let labels = [("tool", tool), ("outcome", outcome.name())];
                self.calls.get_or_create_owned(&labels)
            };
            metrics.by_outcome[outcome as usize].get_or_init(make).inc();
            if call.refused_by.is_none() {
                let make = || self.latencies.get_or_create_owned(&[("tool", tool)]);
                let seconds = call.duration.as_secs_f64();
                metrics.latency.get_or_init(make).observe(seconds);
            }
        }
        if let Some(kind) = call.error
            && let Some(counter) = self.by_code.get(kind as usize)
        {
            let make = || self.errors.get_or_create_owned(&[("code", kind.code())]);
            counter.get_or_init(make).inc();
        }
        if let Some(by) = call.refused_by {
            self.refused.get_or_create(&[("limit", by.name())]).inc();
        }
        if let Some(tenants) = &self.tenants {
            tenants.ended(call.tenant, outcome);
        }
    }

    pub(super) fn unidentified(&self, error: &IdentityError) {
        let reason = match error {
            IdentityError::Missing => "missing",
            IdentityError::Unauthenticated(_) => "unauthenticated",
            IdentityError::Suspended => "suspended",
            IdentityError::Unexpected => "unexpected",
            IdentityError::Foreign => "foreign",
            IdentityError::KeysUnavailable => "keys_unavailable",
        };
        self.unidentified.get_or_create(&[("reason", reason)]).inc();
    }
}

/// A histogram of latencies.
pub(super) fn latency() -> Histogram {
    Histogram::new(LATENCY_BOUNDS_SECONDS)
}
