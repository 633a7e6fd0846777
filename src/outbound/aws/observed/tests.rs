//! Requests as AWS would receive them, and how their ends are counted.

use aws_smithy_http_client::test_util::infallible_client_fn;
use aws_smithy_runtime_api::client::interceptors::SharedInterceptor;
use aws_smithy_types::body::SdkBody;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Instrument as _;
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;
use crate::config::MetricsSettings;
use crate::mesh::SystemClock;
use crate::outbound::aws::{AwsSettings, Connection, CredentialSource};
use crate::telemetry::metrics::Metrics;

type Headers = Vec<(String, String)>;

/// What DynamoDB is asked, answered with `status` and `body`: the headers of each attempt, and the metrics.
async fn ask(status: u16, body: &'static str) -> (Vec<Headers>, String) {
    let seen: Arc<std::sync::Mutex<Vec<Headers>>> = Arc::default();
    let noted = Arc::clone(&seen);
    let http = infallible_client_fn(move |request| {
        let headers = request.headers().iter();
        let headers = headers.map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        });
        noted.lock().unwrap().push(headers.collect());
        let response = http::Response::builder().status(status);
        response.body(SdkBody::from(body)).unwrap()
    });
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let metrics = Metrics::new(&MetricsSettings::default(), clock.as_ref());
    let observed = Observed::new(metrics.aws().clone(), Arc::clone(&clock));
    let settings = AwsSettings {
        region: Some("us-west-2".to_owned()),
        http_client: Some(http),
        credentials: CredentialSource::fixed("AKIDEXAMPLE", "secret"),
        backoff_max: Duration::ZERO,
        interceptors: vec![SharedInterceptor::new(observed)],
        ..AwsSettings::new("table", "bucket", "bus")
    };
    let client = Connection::new(settings, clock).dynamodb(None).await;
    let _ = client.get_item().table_name("table").send().await;
    let seen = seen.lock().unwrap().clone();
    (seen, metrics.encode())
}

fn header<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|header| header.0 == name);
    found.map(|header| header.1.as_str())
}

#[tokio::test]
async fn a_request_says_which_trace_it_belongs_to_and_does_not_sign_that() {
    let provider = SdkTracerProvider::builder().build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let subscriber = tracing_subscriber::registry().with(layer);
    let _traced = tracing::subscriber::set_default(subscriber);
    let parent: TraceParent = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01"
        .parse()
        .unwrap();
    let span = trace::upstream_span("http", Some(parent));
    let (seen, _) = ask(200, "{}").instrument(span).await;
    let [headers] = seen.as_slice() else {
        panic!("{seen:?}");
    };
    let said = header(headers, TRACE_HEADER).unwrap();
    let root = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=";
    assert!(
        said.starts_with(root) && said.ends_with(";Sampled=1"),
        "{said}"
    );
    assert!(
        !said.contains("53995c3f42cd8ad8"),
        "the parent is the request's own span"
    );
    let signature = header(headers, "authorization").unwrap();
    assert!(signature.contains("SignedHeaders="), "{signature}");
    assert!(!signature.contains(TRACE_HEADER), "{signature}");
}

#[tokio::test]
async fn without_a_trace_nothing_is_said_of_one() {
    let (seen, _) = ask(200, "{}").await;
    assert_eq!(header(&seen[0], TRACE_HEADER), None);
}

#[tokio::test]
async fn each_end_of_a_request_is_counted_as_what_it_is() {
    for (status, body, outcome, throttles) in [
        (200, "{}", "ok", 0),
        (
            400,
            r#"{"__type":"x#ResourceNotFoundException"}"#,
            "refused",
            0,
        ),
        (400, r#"{"__type":"x#ThrottlingException"}"#, "throttled", 3),
        (500, r#"{"__type":"x#InternalServerError"}"#, "fault", 0),
        (200, "no JSON", "unreachable", 0),
    ] {
        let (seen, text) = ask(status, body).await;
        let labels = format!(r#"service="DynamoDB",operation="GetItem",outcome="{outcome}""#);
        let counted = format!("agent_mesh_aws_requests_total{{{labels}}} 1\n");
        assert!(
            text.contains(&counted),
            "{outcome} after {}: {text}",
            seen.len()
        );
        let throttled =
            format!("agent_mesh_aws_throttles_total{{service=\"DynamoDB\"}} {throttles}\n");
        assert_eq!(text.contains(&throttled), throttles > 0, "{text}");
    }
}

#[test]
fn a_trace_is_written_as_aws_reads_it() {
    let parent = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01";
    assert_eq!(
        trace_header(parent.parse().unwrap()),
        "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
    );
}
