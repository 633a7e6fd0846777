//! How the process is: for load balancers at the listener of tenants, for operators at one of their own.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::mesh::call::Backplane;
use crate::telemetry::metrics::{self, Metrics};

/// What is asked how it is.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) backplane: Arc<Backplane>,
    /// Cancelled when the process is to end.
    pub(super) draining: CancellationToken,
}

/// For load balancers: whether the process runs, and whether it takes calls. They tell no figures.
pub(super) fn public(asked: Asked) -> Router {
    Router::new()
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .with_state(asked)
}

/// For operators: the same, all of the process's health, and its metrics.
pub(super) fn operators(asked: Asked, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/health", get(whole))
        .with_state(asked.clone())
        .route("/metrics", get(encoded))
        .with_state(metrics)
        .merge(public(asked))
}

async fn live() -> Response {
    json(StatusCode::OK, &serde_json::json!({ "live": true }))
}

async fn ready(State(asked): State<Asked>) -> Response {
    let is_draining = asked.draining.is_cancelled();
    let readiness = asked.backplane.readiness(is_draining).await;
    json(status(readiness.ready), &readiness)
}

async fn whole(State(asked): State<Asked>) -> Response {
    let is_draining = asked.draining.is_cancelled();
    let health = asked.backplane.process_health(is_draining).await;
    json(status(health.readiness.ready), &health)
}

async fn encoded(State(metrics): State<Arc<Metrics>>) -> Response {
    text(StatusCode::OK, metrics::CONTENT_TYPE, metrics.encode())
}

const fn status(is_ready: bool) -> StatusCode {
    match is_ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// A response of JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(body) => text(status, "application/json", body),
        Err(_) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "application/json",
            "{}".to_owned(),
        ),
    }
}

fn text(status: StatusCode, kind: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
