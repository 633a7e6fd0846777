//! What is counted, traced and logged of each HTTP request.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::StatusCode;
use hyper::body::Body as _;
use tracing::Instrument as _;

use crate::inbound::transport::PresentedTrace;
use crate::inbound::transport::http::{Figures, Share, TurnedAway};
use crate::mesh::Clock;
use crate::mesh::trace::{TRACEPARENT, TraceParent};
use crate::telemetry::access::Access;
use crate::telemetry::metrics::{HttpFigures, HttpMetrics, known_method};
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
    pub(super) figures: Arc<Figures>,
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
    if let Some(reason) = turned_away(&response) {
        watched.figures.turn_away(reason);
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

/// Why a request was turned away before anybody looked at what it wants.
fn turned_away(response: &Response) -> Option<TurnedAway> {
    // Whatever else is answered so says why; nobody but who has not signed in is answered 401.
    let marked = response.extensions().get::<TurnedAway>().copied();
    marked.or_else(|| (response.status() == StatusCode::UNAUTHORIZED).then_some(TurnedAway::SignIn))
}

/// What metrics tell of a listener.
pub(super) fn told(figures: &Figures) -> HttpFigures {
    let streams = figures.streams();
    let refused = figures.turned_away();
    HttpFigures {
        connections: figures.connections(),
        streams: streams.map(|(kind, count)| (kind.name(), count)).into(),
        refused: refused.map(|(reason, times)| (reason.name(), times)).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{End, Serving};
    use super::*;
    use crate::config::{Config, Environment, Flags};

    #[tokio::test]
    async fn every_route_has_its_name_and_no_name_is_without_a_route() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (keys, data) = (path("keys.json"), path("data"));
        std::fs::write(&keys, r#"{"keys":[]}"#).unwrap();
        let variables = [
            ("AGENT_MESH_DATA_DIR", data.as_str()),
            ("AGENT_MESH_BIND", "127.0.0.1:0"),
            // Where issuers are known, clients can find them out.
            ("AGENT_MESH_JWKS", keys.as_str()),
            ("AGENT_MESH_JWT_ISSUER", "https://id.example"),
            ("AGENT_MESH_JWT_AUDIENCE", "agent-mesh"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment = Environment {
            variables: variables.into(),
            working_dir: folder.path().to_owned(),
            login_name: Some("ada".to_owned()),
            ..Environment::default()
        };
        let config = Config::from_sources(&Flags::new(), &environment, None).unwrap();
        let serving = Serving::open(&config, End::default()).await.unwrap();
        // Only its debug text tells which routes a router has.
        let text = format!("{:?}", serving.router);
        let (own, _fallback) = text.split_once("fallback_router: ").unwrap();
        let (_, paths) = own.split_once("paths: ").unwrap();
        let found: BTreeSet<&str> = paths
            .split('"')
            .filter(|text| text.starts_with('/'))
            .collect();
        assert_eq!(found, ROUTES.iter().copied().collect());
    }

    #[test]
    fn only_what_was_turned_away_is_counted_as_that() {
        let answered = |status, mark: Option<TurnedAway>| {
            let mut response = Response::default();
            *response.status_mut() = status;
            mark.map(|mark| response.extensions_mut().insert(mark));
            turned_away(&response)
        };
        for (status, mark, expected) in [
            (
                StatusCode::FORBIDDEN,
                Some(TurnedAway::Host),
                Some(TurnedAway::Host),
            ),
            (StatusCode::UNAUTHORIZED, None, Some(TurnedAway::SignIn)),
            (StatusCode::OK, None, None),
            // What a call is answered that somebody looked at, and a process that is not ready.
            (StatusCode::FORBIDDEN, None, None),
            (StatusCode::PAYLOAD_TOO_LARGE, None, None),
            (StatusCode::SERVICE_UNAVAILABLE, None, None),
        ] {
            assert_eq!(answered(status, mark), expected, "{status}");
        }
    }
}
