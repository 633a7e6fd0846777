//! Spans by themselves: whose children they are, and what is recorded where nobody looks.

use opentelemetry::trace::TracerProvider as _;
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;
use crate::config::{LogFormat, LogLevel, LogSettings};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn traced<T>(sampler: impl ShouldSample + 'static, work: impl FnOnce() -> T) -> T {
    let provider = SdkTracerProvider::builder().with_sampler(sampler).build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("test"))
        .with_filter(filter_fn(|metadata| metadata.target() == SPANS));
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, work)
}

#[test]
fn a_span_goes_on_with_the_callers_trace_and_what_it_leads_to_goes_on_with_it() {
    let parent: TraceParent = PARENT.parse().unwrap();
    traced(
        SdkSampler::ParentBased(Box::new(SdkSampler::AlwaysOn)),
        || {
            let span = call_span("kv_get", "01K", Some(parent));
            let own = context_of(&span).unwrap();
            assert_eq!(own.trace(), parent.trace());
            assert_ne!(own.span(), parent.span());
            assert!(own.is_sampled());
            let below = span.in_scope(|| context_of(&aws_span("DynamoDB", "GetItem")).unwrap());
            assert_eq!(below.trace(), parent.trace());
            assert_ne!(below.span(), own.span());

            let alone = context_of(&call_span("kv_get", "01K", None)).unwrap();
            assert_ne!(alone.trace(), parent.trace());
        },
    );
}

#[test]
fn what_no_request_led_to_is_not_recorded() {
    let parent: TraceParent = PARENT.parse().unwrap();
    let sampler = PartsOfCalls(SdkSampler::AlwaysOn);
    traced(sampler, || {
        let alone = context_of(&aws_span("EventBridge", "PutEvents"));
        assert!(!alone.unwrap().is_sampled());
        let call = call_span("kv_get", "01K", None);
        let below = call.in_scope(|| context_of(&aws_span("DynamoDB", "GetItem")));
        assert!(below.unwrap().is_sampled());
        let apart = context_of(&upstream_span("http", Some(parent))).unwrap();
        assert!(apart.is_sampled() && apart.trace() == parent.trace());
    });
}

#[test]
fn what_the_caller_does_not_record_is_not_recorded_here_either() {
    let parent: TraceParent = PARENT.replace("-01", "-00").parse().unwrap();
    traced(
        SdkSampler::ParentBased(Box::new(SdkSampler::AlwaysOn)),
        || {
            let own = context_of(&call_span("kv_get", "01K", Some(parent))).unwrap();
            assert_eq!(own.trace(), parent.trace());
            assert!(!own.is_sampled());
        },
    );
}

#[test]
fn where_nobody_records_there_is_no_span() {
    let settings = LogSettings {
        level: LogLevel::Trace,
        directives: Some("trace,agent_mesh=trace".to_owned()),
        format: LogFormat::Text,
        folder: None,
    };
    let log = crate::telemetry::layer(&settings, false, std::io::sink);
    let subscriber = tracing_subscriber::registry().with(log);
    tracing::subscriber::with_default(subscriber, || {
        let span = call_span("kv_get", "01K", PARENT.parse().ok());
        assert!(span.is_disabled(), "the log takes spans");
        assert_eq!(context_of(&span), None);
        end_http_span(&http_span("POST", "/mcp", None), 200);
        end_span(&upstream_span("http", None), "ok", true);
    });
}
