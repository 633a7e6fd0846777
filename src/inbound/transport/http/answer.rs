//! Responses that are no streams: JSON, and faults in the words of tool errors.

use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::json;

use super::{Refused, TurnedAway};

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

/// There is too much at the moment, of what `reason` says.
pub(in crate::inbound) fn overloaded(reason: TurnedAway, message: &str) -> Response {
    reason.mark(fault(
        StatusCode::SERVICE_UNAVAILABLE,
        "OVERLOADED",
        message,
    ))
}

impl From<Refused> for Response {
    fn from(Refused { challenge, code }: Refused) -> Self {
        let message = format!("{}; {}", challenge.message, challenge.fix);
        let body = json!({ "jsonrpc": "2.0", "error": { "code": code.0, "message": message } });
        let mut response = json_text(challenge.status, body.to_string());
        let headers = response.headers_mut();
        if let Some(value) = challenge.www_authenticate {
            headers.insert(WWW_AUTHENTICATE, value);
        }
        if let Some(wait) = challenge.retry_after {
            headers.insert(RETRY_AFTER, wait.as_secs().max(1).into());
        }
        response
    }
}
