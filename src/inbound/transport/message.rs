//! One line to one message: the envelope first, then the parameters of the method that it names.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use rmcp::model::{
    CallToolRequest, CallToolRequestParams, CancelledNotificationParam, ClientJsonRpcMessage,
    ClientRequest, CustomRequest, ErrorCode, Extensions, GetExtensions, JsonObject, NumberOrString,
    ProgressNotificationParam, Request, RequestId, RequestMetaObject, RequestNoParam,
    RequestOptionalParam,
};
use serde::de::{DeserializeOwned, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::id::Id;
use super::limits::BATCH_MESSAGES_MAX;
use super::request::{PresentedIdentity, RawArguments};
use super::scan::Scan;
use super::surrogate::lone_surrogate;

/// The longest name of a method that is handed on, in bytes. The protocol's are below 40.
const METHOD_BYTES_MAX: usize = 128;

/// Parameters other than the arguments of a tool become a tree of values, which takes many times the
/// memory of its text (an empty array is 2 bytes of text and 32 of memory). So they are bounded, in bytes,
const DECODED_BYTES_MAX: usize = 1024 * 1024;

/// and count that many times among the bytes in flight.
const DECODED_WEIGHT: usize = 16;

/// The most of a decoder's own words that a refusal repeats, in bytes.
const REASON_BYTES_MAX: usize = 200;

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
    /// What it takes of the bytes in flight.
    pub(super) bytes: usize,
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

/// The members of the outermost object. Those that it does not name are ignored.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    jsonrpc: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    tenant_id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    user_id: Option<&'a RawValue>,
}

/// The parameters of `tools/call`. The arguments stay text.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CallParams<'a> {
    name: String,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow, rename = "_meta")]
    meta: Option<&'a RawValue>,
    #[serde(borrow)]
    input_responses: Option<&'a RawValue>,
    request_state: Option<String>,
}

/// The elements of an array as text, and whether there were more than are ever looked at.
struct Elements<'a> {
    texts: Vec<&'a RawValue>,
    more: bool,
}

impl<'de> Deserialize<'de> for Elements<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ElementsVisitor)
    }
}

struct ElementsVisitor;

impl<'de> Visitor<'de> for ElementsVisitor {
    type Value = Elements<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut texts = Vec::new();
        while texts.len() < BATCH_MESSAGES_MAX {
            match sequence.next_element()? {
                Some(text) => texts.push(text),
                None => return Ok(Elements { texts, more: false }),
            }
        }
        let mut more = false;
        while sequence.next_element::<IgnoredAny>()?.is_some() {
            more = true;
        }
        Ok(Elements { texts, more })
    }
}

/// A member that is there, even if it is null.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
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
            let weight = match &request {
                ClientRequest::CallToolRequest(_) => 1,
                _ => DECODED_WEIGHT,
            };
            Message::Request(Box::new(Incoming {
                id,
                request,
                bytes: line.len().saturating_mul(weight),
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

/// The decoder's words, without the place in a line that the caller did not count.
fn shortened(error: &serde_json::Error) -> String {
    let mut text = error.to_string();
    if let Some(at) = text.rfind(" at line ") {
        text.truncate(at);
    }
    let mut end = REASON_BYTES_MAX.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

fn response(text: &str, id: RequestId) -> Message {
    // A request of ours whose answer cannot be read fails at once instead of waiting for ever.
    let message = serde_json::from_str(text).unwrap_or_else(|_| {
        let error = rmcp::ErrorData::internal_error("the client's answer cannot be read", None);
        ClientJsonRpcMessage::error(error, Some(id.clone()))
    });
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

/// The request, or the code and the reason of its refusal.
fn request(
    line: &Arc<String>,
    method: &str,
    envelope: &Envelope<'_>,
) -> Result<ClientRequest, (ErrorCode, String)> {
    if method.len() > METHOD_BYTES_MAX {
        let reason = format!("the method's name is longer than {METHOD_BYTES_MAX} bytes");
        return Err((ErrorCode::METHOD_NOT_FOUND, reason));
    }
    let invalid = |reason: String| {
        let reason = format!("the parameters of {method}: {reason}");
        (ErrorCode::INVALID_PARAMS, reason)
    };
    let foreign = envelope.tenant_id.is_some() || envelope.user_id.is_some();
    let params = envelope.params.map_or("{}", RawValue::get);
    if !params.starts_with('{') {
        return Err(invalid("they are an object".to_owned()));
    }
    if method == "tools/call" {
        let params = serde_json::from_str(params).map_err(|error| invalid(shortened(&error)))?;
        return call_tool(line, params, foreign).map_err(invalid);
    }
    let mut params: JsonObject = bounded(params).map_err(invalid)?;
    let meta = match params.remove("_meta") {
        Some(meta) => serde_json::from_value(meta).map_err(|error| invalid(shortened(&error)))?,
        None => None,
    };
    let mut request = typed(method, params).map_err(|error| invalid(shortened(&error)))?;
    *request.extensions_mut() = extensions(meta, foreign);
    Ok(request)
}

/// A value from text that is short enough to become a tree.
fn bounded<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    if text.len() > DECODED_BYTES_MAX {
        return Err(format!("they are longer than {DECODED_BYTES_MAX} bytes"));
    }
    serde_json::from_str(text).map_err(|error| shortened(&error))
}

fn call_tool(
    line: &Arc<String>,
    params: CallParams<'_>,
    foreign: bool,
) -> Result<ClientRequest, String> {
    let mut call = CallToolRequestParams::new(params.name);
    if let Some(responses) = params.input_responses {
        call.input_responses = Some(bounded(responses.get())?);
    }
    call.request_state = params.request_state;
    let mut request = CallToolRequest::new(call);
    let meta = params.meta.map(|meta| bounded(meta.get())).transpose()?;
    request.extensions = extensions(meta, foreign);
    if let Some(arguments) = params.arguments {
        let text = arguments.get();
        if !text.starts_with('{') {
            return Err("the arguments are an object".to_owned());
        }
        // The text lies within the line, so its place is the distance of the two addresses.
        let start = text.as_ptr().addr() - line.as_ptr().addr();
        let range = start..start + text.len();
        request
            .extensions
            .insert(RawArguments::within(Arc::clone(line), range));
    }
    Ok(ClientRequest::CallToolRequest(request))
}

/// The extensions of a request with its `_meta`, from which the identity is taken out.
fn extensions(meta: Option<JsonObject>, foreign: bool) -> Extensions {
    let mut identity = PresentedIdentity {
        token: None,
        foreign,
    };
    let mut meta = meta.unwrap_or_default();
    match meta.shift_remove(PresentedIdentity::META_KEY) {
        Some(serde_json::Value::String(token)) => identity.token = Some(token),
        Some(_) => identity.foreign = true,
        None => {}
    }
    let mut extensions = Extensions::new();
    extensions.insert(RequestMetaObject::from(meta));
    extensions.insert(identity);
    extensions
}

/// The request of a method, from parameters without `_meta`.
fn typed(method: &str, params: JsonObject) -> Result<ClientRequest, serde_json::Error> {
    Ok(match method {
        "ping" => ClientRequest::PingRequest(RequestNoParam {
            method: Default::default(),
            extensions: Extensions::new(),
        }),
        "initialize" => ClientRequest::InitializeRequest(required(params)?),
        "server/discover" => ClientRequest::DiscoverRequest(required(params)?),
        "completion/complete" => ClientRequest::CompleteRequest(required(params)?),
        "logging/setLevel" => ClientRequest::SetLevelRequest(required(params)?),
        "prompts/get" => ClientRequest::GetPromptRequest(required(params)?),
        "prompts/list" => ClientRequest::ListPromptsRequest(optional(params)?),
        "resources/list" => ClientRequest::ListResourcesRequest(optional(params)?),
        "resources/templates/list" => {
            ClientRequest::ListResourceTemplatesRequest(optional(params)?)
        }
        "resources/read" => ClientRequest::ReadResourceRequest(required(params)?),
        "resources/subscribe" => ClientRequest::SubscribeRequest(required(params)?),
        "resources/unsubscribe" => ClientRequest::UnsubscribeRequest(required(params)?),
        "subscriptions/listen" => ClientRequest::SubscriptionsListenRequest(required(params)?),
        "tools/list" => ClientRequest::ListToolsRequest(optional(params)?),
        "tasks/get" => ClientRequest::GetTaskRequest(required(params)?),
        "tasks/update" => ClientRequest::UpdateTaskRequest(required(params)?),
        "tasks/cancel" => ClientRequest::CancelTaskRequest(required(params)?),
        _ => ClientRequest::CustomRequest(CustomRequest::new(method, Some(params.into()))),
    })
}

fn required<M: Default, P: DeserializeOwned>(
    params: JsonObject,
) -> Result<Request<M, P>, serde_json::Error> {
    serde_json::from_value(params.into()).map(Request::new)
}

fn optional<M: Default, P: DeserializeOwned>(
    params: JsonObject,
) -> Result<RequestOptionalParam<M, P>, serde_json::Error> {
    serde_json::from_value(params.into()).map(RequestOptionalParam::with_param)
}
