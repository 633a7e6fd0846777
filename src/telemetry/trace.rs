//! Traces: the spans of calls, and of what they lead to at AWS and at other servers, sent over OTLP.
//!
//! Spans have a target of their own, which the log never takes and which nothing else is sent of: no event of
//! the log and no span of a library can carry what a caller said to a collector.

mod exporter;

use std::time::Duration;

use opentelemetry::trace::{
    Link, SpanContext, SpanId, SpanKind, TraceContextExt, TraceFlags, TraceId, TraceState,
    TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler as SdkSampler, SamplingResult,
    SdkTracerProvider, ShouldSample, SpanLimits,
};
use tracing::{Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use self::exporter::Exporter;
use crate::config::{Sampler, TraceSettings};
use crate::mesh::call::observer::EndedCall;
use crate::mesh::event::Outcome;
use crate::mesh::trace::TraceParent;

/// The target of all spans that are sent, and of nothing else.
pub const SPANS: &str = "agent_mesh::spans";

/// The most spans that wait to be sent; one that finds no room is dropped.
pub const SPANS_WAITING_MAX: usize = 2048;

/// The most spans that are sent at once.
const SPANS_AT_ONCE_MAX: usize = 512;

/// How long spans wait for others to go with them.
const SEND_EVERY: Duration = Duration::from_secs(5);

/// The most attributes of a span, and the most links and events, of which there are none.
const ATTRIBUTES_MAX: u32 = 32;

/// How long the end of the process waits for the last spans to be sent.
const FINISH_WAIT: Duration = Duration::from_millis(300);

/// What sends spans; what waits is sent when it is finished.
#[derive(Debug)]
pub(super) struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// Starts the thread that sends spans to the collector of `settings`. Nothing is sent yet.
    ///
    /// # Errors
    /// The client that would send them cannot be made.
    pub(super) fn start(settings: &TraceSettings) -> Result<Self, String> {
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(SPANS_WAITING_MAX)
            .with_max_export_batch_size(SPANS_AT_ONCE_MAX)
            .with_scheduled_delay(SEND_EVERY)
            .build();
        let processor = BatchSpanProcessor::builder(Exporter::new(settings)?)
            .with_batch_config(batches)
            .build();
        let resource = Resource::builder()
            .with_service_name(settings.service_name.clone())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .with_resource(resource)
            .with_sampler(PartsOfCalls(sampler(settings.sampler)))
            .with_span_limits(SpanLimits {
                max_events_per_span: 0,
                max_attributes_per_span: ATTRIBUTES_MAX,
                max_links_per_span: 0,
                max_attributes_per_event: 0,
                max_attributes_per_link: 0,
            })
            .build();
        Ok(Self { provider })
    }

    /// What takes the spans out of what the process says of itself.
    pub(super) fn layer<S>(&self) -> Box<dyn Layer<S> + Send + Sync>
    where
        S: tracing::Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let tracer = self.provider.tracer("agent-mesh");
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_target(false)
            .with_level(false)
            .with_filter(filter_fn(|metadata| metadata.target() == SPANS))
            .boxed()
    }

    /// Sends what waits, as far as that goes in a moment, and ends.
    pub(super) fn finish(&self) {
        // A collector that does not answer is nothing to wait longer for, and has been told of.
        let _ = self.provider.shutdown_with_timeout(FINISH_WAIT);
    }
}

/// Leaves out what nobody's request led to: publishing events and looking after workflows would each be a trace of
/// one span, for ever.
#[derive(Clone, Debug)]
struct PartsOfCalls(SdkSampler);

impl ShouldSample for PartsOfCalls {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let has_parent = parent.is_some_and(|parent| parent.span().span_context().is_valid());
        let inner = match *kind == SpanKind::Client && !has_parent {
            true => &SdkSampler::AlwaysOff,
            false => &self.0,
        };
        inner.should_sample(parent, trace, name, kind, attributes, links)
    }
}

fn sampler(sampler: Sampler) -> SdkSampler {
    match sampler {
        Sampler::AlwaysOn => SdkSampler::AlwaysOn,
        Sampler::AlwaysOff => SdkSampler::AlwaysOff,
        Sampler::Ratio(ratio) => SdkSampler::TraceIdRatioBased(ratio),
        Sampler::ParentOrOn => SdkSampler::ParentBased(Box::new(SdkSampler::AlwaysOn)),
        Sampler::ParentOrOff => SdkSampler::ParentBased(Box::new(SdkSampler::AlwaysOff)),
        Sampler::ParentOrRatio(ratio) => {
            SdkSampler::ParentBased(Box::new(SdkSampler::TraceIdRatioBased(ratio)))
        }
    }
}

/// A span of an HTTP request: `route` is the template of its path. It belongs to `parent`, the trace that the
/// request's header `traceparent` names.
pub fn http_span(method: &'static str, route: &'static str, parent: Option<TraceParent>) -> Span {
    let span = info_span!(
        target: SPANS,
        "http",
        otel.name = route,
        otel.kind = "server",
        http.request.method = method,
        http.route = route,
        http.response.status_code = tracing::field::Empty,
        otel.status_code = tracing::field::Empty,
    );
    continue_trace(&span, parent);
    span
}

/// The answer of the HTTP request whose span is `span`.
pub fn end_http_span(span: &Span, status: u16) {
    span.record("http.response.status_code", status);
    if status >= 500 {
        span.record("otel.status_code", "ERROR");
    }
}

/// A span of a call, which belongs to `parent` where the caller named a trace.
pub(super) fn call_span(
    tool: &'static str,
    request_id: impl std::fmt::Display,
    parent: Option<TraceParent>,
) -> Span {
    let span = info_span!(
        target: SPANS,
        "call",
        otel.name = tool,
        otel.kind = "server",
        tool,
        request_id = %request_id,
        tenant.id = tracing::field::Empty,
        outcome = tracing::field::Empty,
        error.type = tracing::field::Empty,
        otel.status_code = tracing::field::Empty,
    );
    continue_trace(&span, parent);
    span
}

/// A span of a call of an integrated server of the kind `kind`, which belongs to `parent`; the call may be made by
/// a task of its own.
pub fn upstream_span(kind: &'static str, parent: Option<TraceParent>) -> Span {
    let span = info_span!(
        target: SPANS,
        "upstream",
        otel.name = "upstream tools/call",
        otel.kind = "client",
        upstream.kind = kind,
        outcome = tracing::field::Empty,
        otel.status_code = tracing::field::Empty,
    );
    continue_trace(&span, parent);
    span
}

/// A span of a request to AWS.
pub fn aws_span(service: &str, operation: &str) -> Span {
    info_span!(
        target: SPANS,
        "aws",
        otel.name = operation,
        otel.kind = "client",
        rpc.system = "aws-api",
        rpc.service = service,
        rpc.method = operation,
        outcome = tracing::field::Empty,
        otel.status_code = tracing::field::Empty,
    )
}

/// The work of `span` has ended in `outcome`.
pub fn end_span(span: &Span, outcome: &'static str, is_ok: bool) {
    if span.is_disabled() {
        return;
    }
    span.record("outcome", outcome);
    if !is_ok {
        span.record("otel.status_code", "ERROR");
    }
}

/// The call of `span` has ended.
pub(super) fn end_call_span(span: &Span, call: &EndedCall<'_>) {
    span.record("tenant.id", call.tenant.as_str());
    if let Some(kind) = call.error {
        span.record("error.type", kind.code());
    }
    let is_ok = !matches!(call.outcome, Outcome::Error | Outcome::Unknown);
    end_span(span, call.outcome.name(), is_ok);
}

/// The trace that goes on from `span`; nothing where it is not recorded anywhere.
pub fn context_of(span: &Span) -> Option<TraceParent> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let found = context.span().span_context().clone();
    let trace = u128::from_be_bytes(found.trace_id().to_bytes());
    let id = u64::from_be_bytes(found.span_id().to_bytes());
    TraceParent::new(trace, id, found.is_sampled())
}

fn continue_trace(span: &Span, parent: Option<TraceParent>) {
    let Some(parent) = parent.filter(|_| !span.is_disabled()) else {
        return;
    };
    let flags = match parent.is_sampled() {
        true => TraceFlags::SAMPLED,
        false => TraceFlags::NOT_SAMPLED,
    };
    let context = SpanContext::new(
        TraceId::from_bytes(parent.trace().to_be_bytes()),
        SpanId::from_bytes(parent.span().to_be_bytes()),
        flags,
        true,
        TraceState::NONE,
    );
    // It fails where nobody records the span, which is nobody's loss.
    let _ = span.set_parent(Context::new().with_remote_span_context(context));
}

#[cfg(test)]
mod tests;
