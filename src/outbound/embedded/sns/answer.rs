//! Answers in SNS's XML.

use super::Refusal;
use crate::outbound::embedded::faults::Service;
use crate::outbound::embedded::wire::{
    Answer, INSUFFICIENT_STORAGE, XML, request_id, storage_code,
};

const NAMESPACE: &str = "http://sns.amazonaws.com/doc/2010-03-31/";

/// A text between its tags.
pub(super) fn element(name: &str, text: &str) -> String {
    format!("<{name}>{}</{name}>", escaped(text))
}

/// Attributes with their values.
pub(super) fn entries(attributes: &[(&str, &str)]) -> String {
    let entries: String = attributes
        .iter()
        .map(|(key, value)| {
            format!(
                "<entry>{}{}</entry>",
                element("key", key),
                element("value", value)
            )
        })
        .collect();
    format!("<Attributes>{entries}</Attributes>")
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            character => escaped.push(character),
        }
    }
    escaped
}

/// The answer around its inner part.
pub(super) fn ok(operation: &str, result: &str) -> Answer {
    let id = request_id();
    let body = format!(
        "<{operation}Response xmlns=\"{NAMESPACE}\"><{operation}Result>{result}</{operation}Result><ResponseMetadata><RequestId>{id}</RequestId></ResponseMetadata></{operation}Response>"
    );
    Answer::ok(XML, body.into_bytes())
}

/// The answer to what was not carried out.
pub(super) fn refuse(refusal: Refusal) -> Answer {
    match refusal {
        Refusal::Request(status, code, message) => {
            Answer::xml_error(Service::Sns, status, code, &escaped(&message))
        }
        Refusal::Storage(failure) => match storage_code(failure.cause) {
            Some((code, message)) => {
                Answer::xml_error(Service::Sns, INSUFFICIENT_STORAGE, code, message)
            }
            None => {
                tracing::warn!(%failure, "the topics of the embedded cloud cannot be used");
                Answer::server_error(Service::Sns)
            }
        },
    }
}
