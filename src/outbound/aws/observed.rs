//! Counts requests to AWS and records their spans, and says to AWS which trace they belong to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextRef, BeforeTransmitInterceptorContextMut,
    FinalizerInterceptorContextRef,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, Metadata};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};
use tracing::Span;

use super::answer::code_among;
use super::error::THROTTLES;
use crate::mesh::Clock;
use crate::mesh::trace::TraceParent;
use crate::telemetry::metrics::{AwsMetrics, AwsOutcome};
use crate::telemetry::trace;

/// The header by which AWS's services know a trace. It is not signed, since proxies may change it.
const TRACE_HEADER: &str = "x-amzn-trace-id";

/// Watches every request of the clients that it is given to.
#[derive(Clone)]
pub struct Observed {
    metrics: AwsMetrics,
    clock: Arc<dyn Clock>,
}

/// A request that is under way. One that is dropped before it has ended was given up by its caller.
struct UnderWay {
    observed: Observed,
    service: String,
    operation: String,
    started: Duration,
    span: Span,
    has_ended: AtomicBool,
}

impl Storable for UnderWay {
    type Storer = StoreReplace<Self>;
}

impl Observed {
    /// What counts in `metrics`.
    pub fn new(metrics: AwsMetrics, clock: Arc<dyn Clock>) -> Self {
        Self { metrics, clock }
    }
}

impl UnderWay {
    fn end(&self, outcome: AwsOutcome) {
        if self.has_ended.swap(true, Ordering::Relaxed) {
            return;
        }
        let Observed { metrics, clock } = &self.observed;
        let took = clock.monotonic().saturating_sub(self.started);
        metrics.ended(&self.service, &self.operation, outcome, took);
        trace::end_span(&self.span, outcome.name(), outcome.is_answer());
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.end(AwsOutcome::Abandoned);
    }
}

#[dyn_dispatch_hint]
impl Intercept for Observed {
    fn name(&self) -> &'static str {
        "Observed"
    }

    /// The first of these that knows the operation.
    fn read_before_serialization(
        &self,
        _context: &BeforeSerializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(metadata) = config.load::<Metadata>() else {
            return Ok(());
        };
        let (service, operation) = (metadata.service().to_owned(), metadata.name().to_owned());
        let under_way = UnderWay {
            observed: self.clone(),
            started: self.clock.monotonic(),
            span: trace::aws_span(&service, &operation),
            service,
            operation,
            has_ended: AtomicBool::new(false),
        };
        config.interceptor_state().store_put(under_way);
        Ok(())
    }

    /// After it was signed, and so never where an address is only signed for others.
    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.request_mut().headers_mut();
        let parent = config.load::<UnderWay>();
        let parent = parent.and_then(|under_way| trace::context_of(&under_way.span));
        if let Some(parent) = parent.filter(|_| headers.get(TRACE_HEADER).is_none()) {
            headers.insert(TRACE_HEADER, trace_header(parent));
        }
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if context.response().is_some_and(is_throttle)
            && let Some(under_way) = config.load::<UnderWay>()
        {
            self.metrics.throttled(&under_way.service);
        }
        Ok(())
    }

    fn read_after_execution(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(under_way) = config.load::<UnderWay>() {
            under_way.end(outcome(context));
        }
        Ok(())
    }
}

fn outcome(context: &FinalizerInterceptorContextRef<'_>) -> AwsOutcome {
    let error = match context.output_or_error() {
        Some(Ok(_)) => return AwsOutcome::Ok,
        Some(Err(error)) => Some(error),
        None => None,
    };
    if error.is_some_and(|error| error.is_timeout_error()) {
        return AwsOutcome::TimedOut;
    }
    match context.response() {
        Some(response) if is_throttle(response) => AwsOutcome::Throttled,
        Some(response) => match response.status().as_u16() {
            300..500 => AwsOutcome::Refused,
            500.. => AwsOutcome::Fault,
            // Its body was no answer.
            _ => AwsOutcome::Unreachable,
        },
        None => AwsOutcome::Unreachable,
    }
}

/// Whether an answer says that requests come too fast.
fn is_throttle(response: &HttpResponse) -> bool {
    match response.status().as_u16() {
        429 => true,
        400..600 => code_among(response, &THROTTLES).is_some(),
        _ => false,
    }
}

/// A trace as AWS writes it: the id of a trace begins with the seconds at which it began, or with what else its
/// first 32 bits are.
fn trace_header(parent: TraceParent) -> String {
    let id = parent.trace_id();
    let (seconds, rest) = id.split_at(8);
    let (span, sampled) = (parent.span(), u8::from(parent.is_sampled()));
    format!("Root=1-{seconds}-{rest};Parent={span:016x};Sampled={sampled}")
}

impl std::fmt::Debug for Observed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Observed").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for UnderWay {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("UnderWay").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
