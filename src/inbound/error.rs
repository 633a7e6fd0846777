//! Kinds of failure to tool errors and JSON-RPC errors; the only such mapping.

use http::StatusCode;
use rmcp::ErrorData;
use rmcp::model::ErrorCode;
use serde_json::{Map, Value, json};
use ulid::Ulid;

use crate::mesh::service::address::InvalidAddress;
use crate::mesh::service::cursor::InvalidCursor;
use crate::mesh::tenant::IdentityError;
use crate::mesh::{Error, ErrorKind};

/// The request's identity is missing or not accepted.
pub const UNAUTHENTICATED: ErrorCode = ErrorCode(-32010);

/// The tenant is suspended.
pub const TENANT_SUSPENDED: ErrorCode = ErrorCode(-32011);

/// The server is shutting down and takes no more requests.
pub const SHUTTING_DOWN: ErrorCode = ErrorCode(-32012);

/// The result of a call that failed: `{"error": {...}}`.
pub fn tool_error(error: &Error, request_id: Ulid) -> Value {
    json!({ "error": body(error, request_id) })
}

fn body(error: &Error, request_id: Ulid) -> Map<String, Value> {
    let kind = error.kind();
    let mut body = Map::new();
    body.insert("code".to_owned(), kind.code().into());
    let message = match kind {
        ErrorKind::Internal => {
            format!("an internal error; the server's log has it under {request_id}")
        }
        _ => error.message().to_owned(),
    };
    body.insert("message".to_owned(), message.into());
    if let Some(fix) = error.fix_text() {
        body.insert("fix".to_owned(), fix.into());
    }
    body.insert("retryable".to_owned(), kind.is_retryable().into());
    if let Some(wait) = error.wait() {
        let millis = wait.as_nanos().div_ceil(1_000_000);
        body.insert(
            "retry_after_ms".to_owned(),
            u64::try_from(millis).unwrap_or(u64::MAX).into(),
        );
    }
    body.insert("request_id".to_owned(), request_id.to_string().into());
    if kind != ErrorKind::Internal && !error.details().is_empty() {
        body.insert("details".to_owned(), error.details().clone().into());
    }
    body
}

/// What HTTP says of a failed call.
pub fn http_status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::InvalidParameter => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        // A quota does not come back with time, so it is no 429, which clients wait out.
        ErrorKind::PermissionDenied | ErrorKind::QuotaExceeded => StatusCode::FORBIDDEN,
        ErrorKind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::Overloaded | ErrorKind::AwsThrottled | ErrorKind::AwsUnavailable => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        ErrorKind::AwsCredentials
        | ErrorKind::UpstreamUnavailable
        | ErrorKind::UpstreamError
        | ErrorKind::OutcomeUnknown => StatusCode::BAD_GATEWAY,
        ErrorKind::NotSupported => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        // Its caller has gone and reads nothing: this is for the access log, as proxies write it.
        ErrorKind::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The word by which a response says what [`identity_error`] says by a number.
pub fn identity_word(code: ErrorCode) -> &'static str {
    match code {
        UNAUTHENTICATED => "UNAUTHENTICATED",
        TENANT_SUSPENDED => "TENANT_SUSPENDED",
        _ => "UNAVAILABLE",
    }
}

/// A failed method that is no tool: the kind chooses the code, and `data.error` is what a tool would have
/// answered.
pub fn method_error(error: &Error, request_id: Ulid) -> ErrorData {
    let code = match error.kind() {
        ErrorKind::NotFound => ErrorCode::RESOURCE_NOT_FOUND,
        ErrorKind::InvalidParameter | ErrorKind::TooLarge => ErrorCode::INVALID_PARAMS,
        _ => ErrorCode::INTERNAL_ERROR,
    };
    let body = body(error, request_id);
    let message = body
        .get("message")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    ErrorData::new(code, message, Some(json!({ "error": body })))
}

/// A request without a tenant.
pub fn identity_error(error: IdentityError) -> ErrorData {
    let code = match error {
        IdentityError::Suspended => TENANT_SUSPENDED,
        IdentityError::KeysUnavailable => ErrorCode::INTERNAL_ERROR,
        IdentityError::Missing
        | IdentityError::Unauthenticated(_)
        | IdentityError::Unexpected
        | IdentityError::Foreign => UNAUTHENTICATED,
    };
    let fix = json!({ "fix": error.fix() });
    ErrorData::new(code, error.to_string(), Some(fix))
}

/// Says of an error about a resource that is not there which one, in the caller's own spelling.
pub fn about_resource(mut error: ErrorData, uri: String) -> ErrorData {
    if error.code == ErrorCode::RESOURCE_NOT_FOUND {
        let data = error.data.get_or_insert_with(|| json!({}));
        if let Some(members) = data.as_object_mut() {
            members.insert("uri".to_owned(), Value::String(uri));
        }
    }
    error
}

/// An address that names no resource.
pub fn no_resource(error: InvalidAddress) -> ErrorData {
    ErrorData::new(ErrorCode::RESOURCE_NOT_FOUND, error.to_string(), None)
}

/// A cursor that does not fit the call.
pub fn cursor_error(error: InvalidCursor) -> ErrorData {
    ErrorData::invalid_params(error.to_string(), Some(json!({ "parameter": "cursor" })))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_internal_error_tells_the_caller_nothing_but_the_request() {
        let id = Ulid::generate();
        let error =
            Error::internal("row of tenant acme in arn:aws:dynamodb").detail("path", "/srv");
        let text = tool_error(&error, id).to_string() + &format!("{:?}", method_error(&error, id));
        assert!(text.contains(&id.to_string()));
        for secret in ["acme", "arn", "/srv"] {
            assert!(!text.contains(secret), "{text}");
        }
    }

    #[test]
    fn a_wait_is_rounded_up_to_whole_milliseconds() {
        let error =
            Error::new(ErrorKind::RateLimited, "slow down").retry_after(Duration::from_nanos(1));
        assert_eq!(
            tool_error(&error, Ulid::generate())["error"]["retry_after_ms"],
            1
        );
    }

    #[test]
    fn what_has_no_value_is_left_out() {
        let error = Error::new(ErrorKind::Conflict, "taken");
        let body = tool_error(&error, Ulid::generate());
        assert!(!body.to_string().contains("null"));
        assert_eq!(body["error"].as_object().map(Map::len), Some(4));
    }
}
