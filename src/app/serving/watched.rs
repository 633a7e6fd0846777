//! What is counted, traced and logged of each HTTP request.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::StatusCode;
use hyper::body::Body as _;
use tracing::Instrument as _;

use crate::inbound::transport::PresentedTrace;
use crate::inbound::transport::http::Share;
use crate::mesh::Clock;
use crate::mesh::trace::{TRACEPARENT, TraceParent};
use crate::telemetry::access::Access;
use crate::telemetry::metrics::{HttpMetrics, HttpRefusal, known_method};
use crate::telemetry::trace;

/// The routes that there are, as they are named to operators.
const ROUTES: &[&str] = &[
    "/.well-known/oauth-protected-resource",
    "/.well-known/oauth-protected-resource/{*rest}",
    "/dashboard",
    "/health/live",
    "/health/ready",
    "/info",
    "/mcp",
    "/messages",
    "/openapi.json",
    "/resources",
    "/resources/read",
    "/sse",
    "/tools",
    "/tools/{name}",
    "/ws",
];

/// What watches requests.
#[derive(Clone)]
pub(super) struct Watched {
    pub(super) metrics: HttpMetrics,
    pub(super) clock: Arc<dyn Clock>,
}

/// Has a request counted, traced and logged.
pub(super) async fn watch(
    State(watched): State<Watched>,
    mut request: Request,
    next: Next,
) -> Response {
    let begun = watched.clock.monotonic();
    let method = known_method(request.method().as_str());
    let route = route(&request);
    let caller = request.headers().get(TRACEPARENT);
    let caller = caller.and_then(|value| value.to_str().ok());
    let caller: Option<TraceParent> = caller.and_then(|text| text.parse().ok());
    let span = trace::http_span(method, route, caller);
    let trace = trace::context_of(&span).or(caller);
    if let Some(trace) = trace {
        request.extensions_mut().insert(PresentedTrace(trace));
    }
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status().as_u16();
    trace::end_http_span(&span, status);
    let took = watched.clock.monotonic().saturating_sub(begun);
    watched.metrics.answered(route, method, status, took);
    if let Some(reason) = refusal(response.status()) {
        watched.metrics.refused(reason);
    }
    let share = response.extensions().get::<Share>();
    Access {
        method,
        route,
        status,
        bytes: response.body().size_hint().exact(),
        took,
        tenant: share.map(|share| &*share.0),
        request_id: None,
        trace,
    }
    .log();
    response
}

/// The template of a request's path, which no client can make longer.
fn route(request: &Request) -> &'static str {
    let matched = request.extensions().get::<MatchedPath>();
    let matched = matched.map_or("", MatchedPath::as_str);
    let mut known = ROUTES.iter().copied();
    known.find(|route| *route == matched).unwrap_or("other")
}

/// Why a request was refused before anybody looked at what it wants.
fn refusal(status: StatusCode) -> Option<HttpRefusal> {
    Some(match status {
        StatusCode::UNAUTHORIZED => HttpRefusal::SignIn,
        StatusCode::PAYLOAD_TOO_LARGE => HttpRefusal::TooLarge,
        StatusCode::REQUEST_TIMEOUT => HttpRefusal::TooSlow,
        StatusCode::SERVICE_UNAVAILABLE => HttpRefusal::InFlight,
        _ => return None,
    })
}
