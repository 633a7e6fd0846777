//! The parameters of a method to the request that its handler takes.

use std::sync::Arc;

use rmcp::model::{
    CallToolRequest, CallToolRequestParams, ClientRequest, CustomRequest, ErrorCode, Extensions,
    GetExtensions, JsonObject, ProtocolVersion, Request, RequestMetaObject, RequestNoParam,
    RequestOptionalParam,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::envelope::{Envelope, shortened};
use super::request::{PresentedIdentity, RawArguments};

/// The longest name of a method that is handed on, in bytes. The protocol's are below 40.
const METHOD_BYTES_MAX: usize = 128;

/// The longest parameters other than the arguments of a tool, in bytes. They become a tree of values,
/// which takes many times the memory of its text: an empty array is 2 bytes of text and 32 of memory.
const DECODED_BYTES_MAX: usize = 1024 * 1024;

/// How many times their text such parameters count among the bytes in flight, for the same reason.
pub(super) const DECODED_WEIGHT: usize = 16;

/// Where a message names its revision.
const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";

/// Methods that only revisions with sessions have.
const SESSION_METHODS: [&str; 4] = [
    "initialize",
    "logging/setLevel",
    "resources/subscribe",
    "resources/unsubscribe",
];

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

/// The request, or the code and the reason of its refusal.
pub(super) fn request(
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
    let meta: Option<JsonObject> = match params.remove("_meta") {
        Some(meta) => serde_json::from_value(meta).map_err(|error| invalid(shortened(&error)))?,
        None => None,
    };
    let request = typed(method, params).map_err(|error| match is_gone(method, meta.as_ref()) {
        true => (ErrorCode::METHOD_NOT_FOUND, method.to_owned()),
        false => invalid(shortened(&error)),
    });
    let mut request = request?;
    *request.extensions_mut() = extensions(meta, foreign);
    Ok(request)
}

/// Whether the revision that a message names no longer has its method. Whether its parameters fit does not matter then.
fn is_gone(method: &str, meta: Option<&JsonObject>) -> bool {
    let version = meta.and_then(|meta| meta.get(VERSION_KEY)?.as_str());
    SESSION_METHODS.contains(&method)
        && version.is_some_and(|version| version >= ProtocolVersion::V_2026_07_28.as_str())
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
