//! What the headers of a request say of its message, held against the message itself.
//!
//! From revision 2026-07-28 on whoever stands between client and server may decide by headers, so one that says
//! something else than the message is refused.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use rmcp::model::{ClientRequest, ErrorCode, GetMeta, ProtocolVersion};

use super::super::id::Id;
use super::super::message::{Incoming, Message, Refusal};
use super::mirrored::{self, Mirrored};

/// The header that names the revision.
const VERSION_HEADER: &str = "mcp-protocol-version";
/// The header that names the method.
const METHOD_HEADER: &str = "mcp-method";
/// The header that names what a method is about.
const NAME_HEADER: &str = "mcp-name";

/// Which kind of revision a message is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Era {
    /// Without sessions: the message says all by itself.
    Stateless,
    /// With sessions; the revision that a header names, where one does.
    Session(Option<ProtocolVersion>),
}

/// The revision that the header names.
pub(super) fn named(headers: &HeaderMap) -> Result<Option<ProtocolVersion>, String> {
    let Some(text) = one(headers, VERSION_HEADER)? else {
        return Ok(None);
    };
    let known = ProtocolVersion::KNOWN_VERSIONS.iter();
    match known.into_iter().find(|version| version.as_str() == text) {
        Some(version) => Ok(Some(version.clone())),
        None => Err(format!(
            "this server does not know the revision that the header {VERSION_HEADER} names"
        )),
    }
}

/// Which era `message` is of, or why its headers do not fit it. `mirrored` says which arguments of a tool are
/// repeated in headers.
pub(super) fn era(
    headers: &HeaderMap,
    message: &Message,
    mirrored: impl FnOnce(&str) -> Vec<Mirrored>,
) -> Result<Era, Refusal> {
    let Message::Request(incoming) = message else {
        return match named(headers) {
            Ok(Some(version)) if !version.has_initialize() => Ok(Era::Stateless),
            Ok(version) => Ok(Era::Session(version)),
            Err(reason) => Err(refusal(Id::Unusable, ErrorCode::INVALID_REQUEST, reason)),
        };
    };
    let refuse = |code, reason| Err(refusal(Id::Usable(incoming.id.clone()), code, reason));
    let is_handshake = matches!(incoming.request, ClientRequest::InitializeRequest(_));
    let own = match is_handshake {
        true => None,
        false => incoming.request.get_meta().protocol_version(),
    };
    let Some(own) = own else {
        return match named(headers) {
            Ok(Some(version)) if !version.has_initialize() && !is_handshake => {
                match lacking(incoming) {
                    Some(reason) => refuse(ErrorCode::INVALID_PARAMS, reason),
                    None => Ok(Era::Stateless),
                }
            }
            Ok(version) => Ok(Era::Session(
                version.filter(ProtocolVersion::has_initialize),
            )),
            Err(reason) => refuse(ErrorCode::INVALID_REQUEST, reason),
        };
    };
    if own.has_initialize() {
        return match named(headers) {
            Ok(version) => Ok(Era::Session(version)),
            Err(reason) => refuse(ErrorCode::INVALID_REQUEST, reason),
        };
    }
    let agreed = agree(headers, incoming, &own).and_then(|()| {
        let mirrored = mirrored::tool(incoming).map(mirrored).unwrap_or_default();
        mirrored::agree(headers, incoming, &mirrored)
    });
    match (agreed, lacking(incoming)) {
        (Err(reason), _) => refuse(ErrorCode::HEADER_MISMATCH, reason),
        (Ok(()), Some(reason)) => refuse(ErrorCode::INVALID_PARAMS, reason),
        (Ok(()), None) => Ok(Era::Stateless),
    }
}

/// What a message of the stateless revision has to say of itself and does not.
fn lacking(incoming: &Incoming) -> Option<String> {
    let meta = incoming.request.get_meta();
    let missing = meta.missing_required_keys(&ProtocolVersion::V_2026_07_28);
    (!missing.is_empty()).then(|| format!("_meta lacks or misspells {}", missing.join(" and ")))
}

/// Holds all that the headers say against the message.
fn agree(headers: &HeaderMap, incoming: &Incoming, own: &ProtocolVersion) -> Result<(), String> {
    expect(headers, VERSION_HEADER, own.as_str())?;
    expect(headers, METHOD_HEADER, incoming.request.method())?;
    match subject(&incoming.request) {
        Some(subject) => expect(headers, NAME_HEADER, subject),
        None => Ok(()),
    }
}

fn expect(headers: &HeaderMap, name: &str, expected: &str) -> Result<(), String> {
    let Some(text) = one(headers, name)? else {
        return Err(format!("the header {name} is missing"));
    };
    let text = match name {
        NAME_HEADER => decoded(name, text)?,
        _ => text.to_owned(),
    };
    match text == expected {
        true => Ok(()),
        false => Err(format!(
            "the header {name} says something else than the message"
        )),
    }
}

/// The text that a header stands for: what no header can hold is in it as base64.
pub(super) fn decoded(name: &str, text: &str) -> Result<String, String> {
    let encoded = text
        .strip_prefix("=?base64?")
        .and_then(|rest| rest.strip_suffix("?="));
    let Some(encoded) = encoded else {
        return Ok(text.to_owned());
    };
    let bytes = STANDARD.decode(encoded).ok();
    let decoded = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.ok_or_else(|| format!("the header {name} is no base64 of UTF-8"))
}

/// The value of a header that may be there once.
pub(super) fn one<'headers>(
    headers: &'headers HeaderMap,
    name: &str,
) -> Result<Option<&'headers str>, String> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(format!("the header {name} is there more than once"));
    }
    let text = value
        .to_str()
        .map_err(|_| format!("the header {name} is no text"))?;
    Ok(Some(text))
}

/// What a method is about, as the header has it.
fn subject(request: &ClientRequest) -> Option<&str> {
    Some(match request {
        ClientRequest::CallToolRequest(request) => &request.params.name,
        ClientRequest::GetPromptRequest(request) => &request.params.name,
        ClientRequest::ReadResourceRequest(request) => &request.params.uri,
        ClientRequest::SubscribeRequest(request) => &request.params.uri,
        ClientRequest::UnsubscribeRequest(request) => &request.params.uri,
        ClientRequest::GetTaskRequest(request) => &request.params.task_id,
        ClientRequest::UpdateTaskRequest(request) => &request.params.task_id,
        ClientRequest::CancelTaskRequest(request) => &request.params.task_id,
        _ => return None,
    })
}

fn refusal(id: Id, code: ErrorCode, reason: String) -> Refusal {
    Refusal { id, code, reason }
}
