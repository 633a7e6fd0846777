//! The headers of requests: those that a connection declares, and those that the protocol repeats from a message.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use super::super::link::Outgoing;
use crate::mesh::Error;
use crate::mesh::trace::TRACEPARENT;

/// The most headers that a connection may declare.
pub(super) const HEADERS_MAX: usize = 32;

/// The most bytes of one header's value.
pub(super) const HEADER_BYTES_MAX: usize = 16 << 10;

/// The first revision without sessions, which repeats in headers what a message is about.
pub(super) const STATELESS_SINCE: &str = "2026-07-28";

pub(super) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
pub(super) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
const TRACE: HeaderName = HeaderName::from_static(TRACEPARENT);

/// Headers that the protocols below set themselves; beginnings of names end with a dash.
const RESERVED: [&str; 18] = [
    "accept",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "last-event-id",
    "mcp-",
    "proxy-",
    "sec-websocket-",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// The headers that a connection declares.
///
/// # Errors
/// `INVALID_PARAMETER`: it is no header, or none that may be declared.
pub(super) fn declared(
    headers: &BTreeMap<String, SecretString>,
    signed_in_by_token: bool,
) -> Result<HeaderMap, Error> {
    let mut found = HeaderMap::new();
    if headers.len() > HEADERS_MAX {
        let message = format!("There are more than {HEADERS_MAX} headers.");
        return Err(Error::invalid("headers", message));
    }
    for (name, value) in headers {
        let wrong = |what: &str| {
            let shown: String = name.escape_debug().take(64).collect();
            Error::invalid("headers", format!("The header {shown:?} {what}."))
        };
        let header =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("is no name of a header"))?;
        if is_reserved(header.as_str()) {
            return Err(wrong("is one that the protocol sets itself").fix("Leave it out."));
        }
        if signed_in_by_token && header == AUTHORIZATION {
            return Err(
                wrong("is set from the token that the credentials are exchanged for")
                    .fix("Leave it out, or choose another auth_method."),
            );
        }
        let mut value = HeaderValue::from_str(value.expose_secret())
            .map_err(|_| wrong("has a value that is no text of a header"))?;
        if value.len() > HEADER_BYTES_MAX {
            return Err(wrong(&format!("has more than {HEADER_BYTES_MAX} bytes")));
        }
        value.set_sensitive(true);
        if found.insert(header, value).is_some() {
            return Err(wrong("is declared twice"));
        }
    }
    Ok(found)
}

/// What the protocol repeats of `message`, where `version` is spoken; of `initialize` nothing.
pub(super) fn of_message(message: &Outgoing, version: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(trace) = message.trace {
        put(&mut headers, TRACE, &trace.to_string());
    }
    let Some(version) = version.filter(|_| message.method.as_deref() != Some("initialize")) else {
        return headers;
    };
    put_version(&mut headers, version);
    if !is_stateless(version) {
        return headers;
    }
    if let Some(method) = &message.method {
        put(&mut headers, METHOD, method);
    }
    if let Some(name) = &message.name {
        put(&mut headers, NAME, &encoded(name));
    }
    headers
}

/// The revision that was agreed on.
pub(super) fn put_version(headers: &mut HeaderMap, version: &str) {
    put(headers, PROTOCOL_VERSION, version);
}

/// Whether a revision has no sessions. Revisions are dates, and so ordered as texts.
pub(super) fn is_stateless(version: &str) -> bool {
    version >= STATELESS_SINCE
}

/// A value as it may stand in a header: as it is, or in base64 where it would not survive.
pub(super) fn encoded(value: &str) -> String {
    let edge = |byte: Option<u8>| matches!(byte, Some(b' ' | b'\t'));
    let plain = value.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
    let looks_encoded = value.starts_with("=?base64?") && value.ends_with("?=");
    if plain && !looks_encoded && !edge(value.bytes().next()) && !edge(value.bytes().last()) {
        return value.to_owned();
    }
    format!("=?base64?{}?=", BASE64_STANDARD.encode(value))
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn is_reserved(name: &str) -> bool {
    RESERVED
        .iter()
        .any(|&reserved| match reserved.ends_with('-') {
            true => name.starts_with(reserved),
            false => name == reserved,
        })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn message(method: &str, name: Option<&str>) -> Outgoing {
        Outgoing {
            text: "{}".to_owned(),
            request_id: Some(1),
            method: Some(method.to_owned()),
            name: name.map(str::to_owned),
            timeout: Duration::from_secs(1),
            trace: None,
        }
    }

    #[test]
    fn a_request_says_which_trace_it_belongs_to_in_every_revision() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let traced = Outgoing {
            trace: text.parse().ok(),
            ..message("tools/call", None)
        };
        for version in [None, Some("2025-11-25"), Some("2026-07-28")] {
            assert_eq!(of_message(&traced, version)["traceparent"], text);
        }
    }

    #[test]
    fn a_connection_declares_no_header_that_the_protocol_sets() {
        let declare = |name: &str, value: &str, token: bool| {
            let headers = BTreeMap::from([(name.to_owned(), SecretString::from(value))]);
            declared(&headers, token)
        };
        let good = declare("X-Api-Key", "canary", false).unwrap();
        assert_eq!(good["x-api-key"], "canary");
        assert!(!format!("{good:?}").contains("canary"));
        declare("Authorization", "Bearer x", false).unwrap();
        declare("Authorization", "Bearer x", true).unwrap_err();
        declare("x", &"v".repeat(HEADER_BYTES_MAX), false).unwrap();
        declare("x", &"v".repeat(HEADER_BYTES_MAX + 1), false).unwrap_err();
        for bad in [
            "Host",
            "MCP-Session-Id",
            "mcp-protocol-version",
            "TE",
            "Upgrade",
            "a b",
            "",
            "ä",
            "Proxy-Authorization",
            "Sec-WebSocket-Key",
            "Content-Length",
            "Transfer-Encoding",
        ] {
            declare(bad, "x", false).unwrap_err();
        }
        let split = declare("x", "canary\r\nhost: evil", false).unwrap_err();
        assert!(!format!("{split:?}").contains("canary"));
        let many = |count: usize| {
            (0..count)
                .map(|at| (format!("x-{at}"), "".into()))
                .collect()
        };
        declared(&many(HEADERS_MAX), false).unwrap();
        declared(&many(HEADERS_MAX + 1), false).unwrap_err();
        let twice = [("a".to_owned(), "".into()), ("A".to_owned(), "".into())];
        declared(&twice.into(), false).unwrap_err();
    }

    #[test]
    fn the_method_and_the_name_stand_in_headers_since_there_are_no_sessions() {
        let call = message("tools/call", Some("find\u{e9}"));
        assert!(of_message(&call, None).is_empty());
        let old = of_message(&call, Some("2025-11-25"));
        assert_eq!(old["mcp-protocol-version"], "2025-11-25");
        assert_eq!(old.len(), 1);
        let new = of_message(&call, Some("2026-07-28"));
        assert_eq!(new["mcp-method"], "tools/call");
        assert_eq!(new["mcp-name"], "=?base64?ZmluZMOp?=");
        let first = message("initialize", None);
        assert!(of_message(&first, Some("2026-07-28")).is_empty());
    }

    #[test]
    fn a_value_that_would_not_survive_is_encoded() {
        for plain in ["", "a", "a b", "=?base64?", "a.b/c"] {
            assert_eq!(encoded(plain), plain);
        }
        for odd in [" a", "a\t", "ä", "a\nb", "\u{7f}", "=?base64?YQ==?="] {
            assert!(encoded(odd).starts_with("=?base64?"), "{odd:?}");
        }
    }
}
