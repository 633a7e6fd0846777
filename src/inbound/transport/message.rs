//! One line to one message: the envelope first, then the parameters of the method that it names.

use std::sync::Arc;

use rmcp::model::{
    CancelledNotificationParam, ClientJsonRpcMessage, ClientRequest, ClientResult, CustomResult,
    ErrorCode, NumberOrString, ProgressNotificationParam, RequestId,
};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::envelope::{Elements, Envelope, shortened};
use super::id::Id;
use super::limits::{PROXIED_ANSWER_BYTES, RESOURCE_ANSWER_BYTES, TOOL_ANSWER_BYTES};
use super::parameters::{DECODED_WEIGHT, request};
use super::scan::Scan;
use super::surrogate::lone_surrogate;

/// What a line says.
#[derive(Debug)]
pub(super) enum Message {
    Request(Box<Incoming>),
    /// The client has received what `initialize` answered.
    Initialized,
    /// The client no longer waits for an answer.
    Cancelled(CancelledNotificationParam),
    /// Progress of a request that we made.
    Progress(ProgressNotificationParam),
    /// The answer to a request that we made.
    Response(RequestId, Box<ClientJsonRpcMessage>),
    /// A line that is answered with an error, or, without a usable id, perhaps not at all.
    Refused(Refusal),
    /// Several messages on one line.
    Batch(Vec<Message>),
    /// Nothing that concerns us; the reason is for the log.
    Ignored(&'static str),
}

/// A request that is ready for its handler.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) id: RequestId,
    pub(super) request: ClientRequest,
    /// What it takes of the bytes that are read ahead.
    pub(super) bytes: usize,
    /// What its answer may take.
    pub(super) answer_bytes: usize,
}

impl Incoming {
    /// What it takes of the bytes in flight.
    pub(super) fn weight(&self) -> usize {
        self.bytes.saturating_add(self.answer_bytes)
    }
}

/// Why a line is not taken.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) id: Id,
    pub(super) code: ErrorCode,
    pub(super) reason: String,
}

impl Refusal {
    fn new(id: Id, code: ErrorCode, reason: impl Into<String>) -> Self {
        Self {
            id,
            code,
            reason: reason.into(),
        }
    }

    /// For a line over the limit of `limit` bytes.
    pub(super) fn too_long(scan: Scan, limit: usize) -> Self {
        Self::new(
            scan.id().unwrap_or(Id::Unusable),
            ErrorCode::INVALID_REQUEST,
            format!("the message is longer than {limit} bytes"),
        )
    }
}

/// Reads a line. `None` where it is empty.
pub(super) fn decode(line: Vec<u8>, batch_messages: usize) -> Option<Message> {
    let line = match String::from_utf8(line) {
        Ok(line) => Arc::new(line),
        Err(error) => {
            let refusal = unreadable(error.as_bytes(), "the line is not UTF-8");
            return Some(Message::Refused(refusal));
        }
    };
    let text = line.trim_ascii();
    if text.is_empty() {
        return None;
    }
    if text.starts_with('[') {
        return Some(decode_batch(text, batch_messages));
    }
    Some(decode_one(&line, text))
}

fn decode_batch(text: &str, batch_messages: usize) -> Message {
    let Ok(elements) = serde_json::from_str::<Elements<'_>>(text) else {
        return Message::Refused(unreadable(text.as_bytes(), "the line is no JSON"));
    };
    let count = elements.texts.len();
    if count == 0 || count > batch_messages || elements.more {
        return Message::Refused(Refusal::new(
            Id::Unusable,
            ErrorCode::INVALID_REQUEST,
            format!("a batch has 1 to {batch_messages} messages"),
        ));
    }
    let one = |element: &&RawValue| {
        let line = Arc::new(element.get().to_owned());
        decode_one(&line, &line)
    };
    Message::Batch(elements.texts.iter().map(one).collect())
}

/// `text` is `line` without white space around it.
fn decode_one(line: &Arc<String>, text: &str) -> Message {
    // A decoder of serde's would also read the members from an array, by their order.
    if !text.starts_with('{') {
        let refusal = match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => Refusal::new(
                Id::Unusable,
                ErrorCode::INVALID_REQUEST,
                "a message is an object",
            ),
            Err(_) => unreadable(text.as_bytes(), "the line is no JSON"),
        };
        return Message::Refused(refusal);
    }
    let envelope = match serde_json::from_str::<Envelope<'_>>(text) {
        Ok(envelope) => envelope,
        Err(error) => return Message::Refused(not_an_envelope(text, &error)),
    };
    let id = envelope.id.map(|id| Id::parse(id.get()));
    let is_answer = envelope.result.is_some() || envelope.error.is_some();
    if envelope.method.is_none() && is_answer {
        return match id {
            Some(Id::Usable(id)) => response(text, id),
            _ => Message::Ignored("an answer without a usable id"),
        };
    }
    let refuse = |code, reason: String| {
        let id = id.clone().unwrap_or(Id::Unusable);
        Message::Refused(Refusal::new(id, code, reason))
    };
    if envelope.jsonrpc.as_deref() != Some("2.0") || is_answer {
        let reason = "a message has \"jsonrpc\": \"2.0\" and either a method or an answer";
        return refuse(ErrorCode::INVALID_REQUEST, reason.to_owned());
    }
    let Some(method) = &envelope.method else {
        let reason = "the message names no method".to_owned();
        return refuse(ErrorCode::INVALID_REQUEST, reason);
    };
    let id = match &id {
        None => return notification(method, envelope.params),
        Some(Id::Usable(id)) => id.clone(),
        Some(_) => {
            let reason = "the id of a request is an integer or a short text".to_owned();
            return refuse(ErrorCode::INVALID_REQUEST, reason);
        }
    };
    if let Some(escape) = lone_surrogate(text) {
        let reason = format!("{escape} is half of a character: send both halves or \\ufffd");
        return refuse(ErrorCode::INVALID_PARAMS, reason);
    }
    match request(line, method, &envelope) {
        Ok(request) => {
            let (weight, answer_bytes) = match &request {
                // By any of the names under which it may be called.
                ClientRequest::CallToolRequest(call) if call.params.name.contains("proxy") => {
                    (1, PROXIED_ANSWER_BYTES)
                }
                ClientRequest::CallToolRequest(_) => (1, TOOL_ANSWER_BYTES),
                ClientRequest::ReadResourceRequest(_) => (DECODED_WEIGHT, RESOURCE_ANSWER_BYTES),
                _ => (DECODED_WEIGHT, 0),
            };
            Message::Request(Box::new(Incoming {
                id,
                request,
                bytes: line.len().saturating_mul(weight),
                answer_bytes,
            }))
        }
        Err((code, reason)) => refuse(code, reason),
    }
}

/// For bytes that are no JSON at all.
fn unreadable(bytes: &[u8], reason: &str) -> Refusal {
    let mut scan = Scan::default();
    scan.feed(bytes);
    let id = scan.id().unwrap_or(Id::Unusable);
    Refusal::new(id, ErrorCode::PARSE_ERROR, reason)
}

/// For text that is either no JSON or no object of the protocol.
fn not_an_envelope(text: &str, error: &serde_json::Error) -> Refusal {
    if serde_json::from_str::<IgnoredAny>(text).is_err() {
        let place = format!("the line is no JSON at its byte {}", error.column());
        return unreadable(text.as_bytes(), &place);
    }
    let mut refusal = unreadable(text.as_bytes(), "");
    refusal.code = ErrorCode::INVALID_REQUEST;
    refusal.reason = format!("not a message of JSON-RPC: {}", shortened(error));
    refusal
}

/// The answer to a request of ours. Its result stays as the client wrote it: the protocol's types would
/// drop the members that they do not know, and it goes on to the server that asked.
fn response(text: &str, id: RequestId) -> Message {
    #[derive(Deserialize)]
    struct Answer {
        result: Option<serde_json::Value>,
        error: Option<rmcp::ErrorData>,
    }
    let message = match serde_json::from_str(text) {
        Ok(Answer {
            result: Some(result),
            error: None,
        }) => {
            let result = ClientResult::CustomResult(CustomResult::new(result));
            ClientJsonRpcMessage::response(result, id.clone())
        }
        Ok(Answer {
            error: Some(error), ..
        }) => ClientJsonRpcMessage::error(error, Some(id.clone())),
        // A request of ours whose answer cannot be read fails at once instead of waiting for ever.
        _ => {
            let error = rmcp::ErrorData::internal_error("the client's answer cannot be read", None);
            ClientJsonRpcMessage::error(error, Some(id.clone()))
        }
    };
    Message::Response(id, Box::new(message))
}

fn notification(method: &str, params: Option<&RawValue>) -> Message {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Cancelled {
        request_id: Option<NumberOrString>,
        reason: Option<String>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Progress {
        progress_token: NumberOrString,
        progress: f64,
        total: Option<f64>,
        message: Option<String>,
    }
    let params = params.map_or("{}", RawValue::get);
    match method {
        "notifications/initialized" => Message::Initialized,
        "notifications/cancelled" => match serde_json::from_str::<Cancelled>(params) {
            Ok(cancelled) => Message::Cancelled(CancelledNotificationParam::new(
                cancelled.request_id,
                cancelled.reason,
            )),
            Err(_) => Message::Ignored("a cancellation that cannot be read"),
        },
        "notifications/progress" => match serde_json::from_str::<Progress>(params) {
            Ok(progress) => {
                let token = rmcp::model::ProgressToken(progress.progress_token);
                let mut param = ProgressNotificationParam::new(token, progress.progress);
                param.total = progress.total;
                param.message = progress.message;
                Message::Progress(param)
            }
            Err(_) => Message::Ignored("progress that cannot be read"),
        },
        _ => Message::Ignored("a notification that means nothing to this server"),
    }
}
