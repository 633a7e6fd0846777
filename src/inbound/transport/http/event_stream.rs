//! Lines as server-sent events, with signs of life between them.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::Stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, StatusCode};

/// A comment, which clients leave aside.
const SIGN_OF_LIFE: &[u8] = b": still here\n\n";

/// What each line costs besides itself.
const FRAMING: &str = "event: message\ndata: ";

/// Each of `lines` as an event. They hold JSON, so there is no line break within one.
pub(in crate::inbound) fn events(lines: &[u8]) -> Bytes {
    let lines = lines.split(|byte| *byte == b'\n');
    let mut text = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        text.reserve(FRAMING.len() + line.len() + 2);
        text.extend_from_slice(FRAMING.as_bytes());
        text.extend_from_slice(line);
        text.extend_from_slice(b"\n\n");
    }
    text.into()
}

/// One event of another kind.
pub(in crate::inbound) fn event(kind: &str, data: &str) -> Bytes {
    format!("event: {kind}\ndata: {data}\n\n").into()
}

/// What comes next on a stream; after `time` without anything, a sign of life.
pub(in crate::inbound) async fn next_or_sign<T>(
    next: impl Future<Output = Option<T>>,
    time: Duration,
    shown: impl FnOnce(T) -> Bytes,
) -> Option<Bytes> {
    match tokio::time::timeout(time, next).await {
        Ok(next) => next.map(shown),
        Err(_) => Some(Bytes::from_static(SIGN_OF_LIFE)),
    }
}

/// The response that is such a stream.
pub(in crate::inbound) fn response(
    events: impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Send + 'static,
) -> Response {
    let mut response = Response::new(Body::from_stream(events));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform"),
    );
    // Some proxies would otherwise gather events before they pass them on.
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_an_event() {
        let text = events(b"{\"a\":1}\n{\"b\":2}\n");
        assert_eq!(
            text,
            "event: message\ndata: {\"a\":1}\n\nevent: message\ndata: {\"b\":2}\n\n"
        );
    }

    #[tokio::test]
    async fn silence_is_broken_by_a_sign_of_life() {
        let silent = std::future::pending::<Option<Bytes>>();
        let next = next_or_sign(silent, Duration::from_millis(20), |bytes| bytes).await;
        assert_eq!(next.unwrap(), SIGN_OF_LIFE);
    }
}
