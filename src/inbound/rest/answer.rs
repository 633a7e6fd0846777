//! Replies and refusals as responses: what the body says stands in the status and the headers too.

use std::time::Duration;

use axum::response::Response;
use http::StatusCode;
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::json;
use ulid::Ulid;

use crate::inbound::error::{http_status, identity_word};
use crate::inbound::front::MeshFront;
use crate::inbound::server::MethodFault;
use crate::inbound::tool::{Reply, wrong_cursor};
use crate::inbound::transport::http::Refused;
use crate::inbound::transport::http::answer::json_text;
use crate::mesh::{Error, ErrorKind};

/// When to come back where a server that has too much to do does not say.
const OVERLOADED_WAIT: Duration = Duration::from_secs(2);

/// The response that says what a tool has answered.
pub(super) fn of_reply(reply: &Reply, front: &MeshFront) -> Response {
    let failure = reply.failure;
    let kind = match failure {
        Some(failure) => Some(failure.kind),
        // What failed in an integrated server is told in that server's words.
        None => reply.upstream_error().map(|error| error.kind()),
    };
    let status = kind.map_or(StatusCode::OK, http_status);
    let mut response = json_text(status, reply.shown().into_owned());
    let headers = response.headers_mut();
    let wait = match (failure.and_then(|failure| failure.wait), kind) {
        (Some(wait), _) => Some(wait),
        (None, Some(ErrorKind::Overloaded | ErrorKind::RateLimited)) => Some(OVERLOADED_WAIT),
        (None, _) => None,
    };
    if let Some(wait) = wait {
        headers.insert(RETRY_AFTER, seconds(wait).into());
    }
    if let Some(permission) = reply.missing_scope() {
        let challenge = front.sign_in().out_of_scope(permission);
        if let Some(value) = challenge.www_authenticate {
            headers.insert(WWW_AUTHENTICATE, value);
        }
    }
    response
}

/// The response that says why a method that is no tool has no answer.
pub(super) fn of_fault(fault: MethodFault, front: &MeshFront) -> Response {
    let (error, request_id) = match fault {
        MethodFault::Identity(error) => return refused(front.refused(error)),
        MethodFault::Cursor(fault) => (wrong_cursor(fault), Ulid::generate()),
        MethodFault::Address(fault) => {
            let error = Error::new(ErrorKind::NotFound, fault.to_string());
            (error, Ulid::generate())
        }
        MethodFault::Failed(error, request_id) => (error, request_id),
    };
    of_reply(&Reply::failed(&error, request_id), front)
}

/// The response to a request that nobody makes who may.
pub(super) fn refused(Refused { challenge, code }: Refused) -> Response {
    let body = json!({ "error": {
        "code": identity_word(code),
        "message": challenge.message,
        "fix": challenge.fix,
        "retryable": challenge.retry_after.is_some(),
    }});
    let mut response = json_text(challenge.status, body.to_string());
    let headers = response.headers_mut();
    if let Some(value) = challenge.www_authenticate {
        headers.insert(WWW_AUTHENTICATE, value);
    }
    if let Some(wait) = challenge.retry_after {
        headers.insert(RETRY_AFTER, seconds(wait).into());
    }
    response
}

/// The response to what is wrong with a request before there is a call.
impl From<Error> for Response {
    fn from(error: Error) -> Self {
        let reply = Reply::failed(&error, Ulid::generate());
        json_text(http_status(error.kind()), reply.result)
    }
}

/// The response where there is no answer, of which the log has the reason.
pub(super) fn internal() -> Response {
    let request_id = Ulid::generate();
    tracing::error!(%request_id, "a request has no answer");
    let reply = Reply::failed(&Error::internal("no answer"), request_id);
    json_text(StatusCode::INTERNAL_SERVER_ERROR, reply.result)
}

/// Whole seconds, rounded up: who comes back earlier is refused again.
fn seconds(wait: Duration) -> u64 {
    let whole = wait.as_secs();
    match wait.subsec_nanos() {
        0 => whole.max(1),
        _ => whole.saturating_add(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_rounded_up_to_whole_seconds() {
        for (wait, told) in [
            (Duration::ZERO, 1),
            (Duration::from_nanos(1), 1),
            (Duration::from_secs(1), 1),
            (Duration::from_millis(1001), 2),
            (Duration::MAX, u64::MAX),
        ] {
            assert_eq!(seconds(wait), told, "{wait:?}");
        }
    }
}
