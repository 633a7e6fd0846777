//! Responses that are no streams: JSON, and faults in the words of tool errors.

use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use rmcp::ErrorData;
use serde_json::json;

use super::Refused;

/// `application/json`.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// After how many seconds whoever was turned away may ask again.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("2");

/// A response of JSON text.
pub(crate) fn json_text(status: StatusCode, text: impl Into<Body>) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    // What depends on who asks is nobody else's.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A response without a body.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// A fault of the request itself, where there is no message that an answer could belong to.
pub(crate) fn fault(status: StatusCode, code: &str, message: &str) -> Response {
    let body = json!({ "error": { "code": code, "message": message } });
    let mut response = json_text(status, body.to_string());
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_S);
    }
    response
}

/// A fault that is told as JSON-RPC tells it, without the id of a message.
pub(super) fn protocol_fault(status: StatusCode, error: &ErrorData) -> Response {
    let mut body = json!({ "code": error.code.0, "message": error.message });
    if let (Some(data), Some(body)) = (&error.data, body.as_object_mut()) {
        body.insert("data".to_owned(), data.clone());
    }
    let body = json!({ "jsonrpc": "2.0", "error": body });
    json_text(status, body.to_string())
}

/// There is too much at the moment.
pub(super) fn overloaded(message: &str) -> Response {
    fault(StatusCode::SERVICE_UNAVAILABLE, "OVERLOADED", message)
}

impl From<Refused> for Response {
    fn from(refused: Refused) -> Self {
        let mut response = protocol_fault(refused.status, &refused.error);
        if let Some(challenge) = refused.challenge {
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
