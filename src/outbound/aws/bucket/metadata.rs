//! A caller's metadata to the headers that S3 keeps, and back.
//!
//! Headers hold printable ASCII only, S3 trims them and decodes what looks like an encoded word of
//! RFC 2047. So a value with anything else in it travels as `UTF-8''` and percent-encoded bytes, as
//! RFC 8187 writes such values; a plain value that begins with that mark is encoded too, so that what is
//! read is what was written.

use std::collections::{BTreeMap, HashMap};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::mesh::Error;

/// The name under which a conditional write leaves its id; no caller sees it or may use it.
pub(super) const WRITE_ID: &str = "agent-mesh-write";

/// What the id of an upload has before it, so that it is told from that of a write.
const UPLOAD: char = 'u';

/// What an encoded value begins with.
const MARK: &str = "UTF-8''";

/// What is encoded in an encoded value, besides everything that is not ASCII.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'"').add(b'=').add(b'?');

/// The most bytes of names and values together, as S3 counts them: 2 KiB, less what our own mark takes.
pub const METADATA_BYTES_MAX: usize = 2048 - WRITE_ID.len() - 27;

/// The headers for `metadata` and for the id of the write.
pub(super) fn encode(
    metadata: &BTreeMap<String, String>,
    write_id: Option<&str>,
) -> Result<HashMap<String, String>, Error> {
    let mut headers = HashMap::with_capacity(metadata.len() + 1);
    let mut bytes = 0;
    for (name, value) in metadata {
        let name = name.to_ascii_lowercase();
        if name == WRITE_ID || !is_name(&name) {
            return Err(Error::invalid(
                "metadata",
                "a name of metadata is 1 to 128 of a-z, 0-9, - _ and . and not agent-mesh-write",
            ));
        }
        let value = encode_value(value);
        bytes += name.len() + value.len();
        headers.insert(name, value);
    }
    if bytes > METADATA_BYTES_MAX {
        return Err(Error::new(
            crate::mesh::ErrorKind::TooLarge,
            "the metadata is too large; characters outside of ASCII count up to twelve bytes",
        )
        .detail("limit", METADATA_BYTES_MAX)
        .fix("keep it in the artifact, or in a value of its own"));
    }
    if let Some(write_id) = write_id {
        headers.insert(WRITE_ID.to_owned(), write_id.to_owned());
    }
    Ok(headers)
}

/// The metadata in `headers`, and the id of the write that left them.
pub(super) fn decode(
    headers: Option<HashMap<String, String>>,
) -> (BTreeMap<String, String>, Option<String>) {
    let mut headers = headers.unwrap_or_default();
    let write_id = headers.remove(WRITE_ID);
    let decoded = headers
        .into_iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), decode_value(value)))
        .collect();
    (decoded, write_id)
}

/// What the upload with this id leaves as the id of its write.
pub(super) fn upload_mark(id: &str) -> String {
    format!("{UPLOAD}{id}")
}

/// The id of the upload that left such an id of its write.
pub(super) fn upload_id(write_id: Option<&str>) -> Option<String> {
    Some(write_id?.strip_prefix(UPLOAD)?.to_owned())
}

fn is_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && name.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte)
        })
}

fn encode_value(value: &str) -> String {
    let is_plain = !value.is_empty()
        && value.bytes().all(|byte| (0x20..0x7F).contains(&byte))
        && value.trim() == value
        && !value.contains("  ")
        && !value.contains("=?")
        && !value.starts_with(MARK);
    if is_plain {
        value.to_owned()
    } else {
        format!("{MARK}{}", utf8_percent_encode(value, ENCODED))
    }
}

fn decode_value(value: String) -> String {
    match value.strip_prefix(MARK).map(percent_decode_str) {
        Some(encoded) => encoded.decode_utf8_lossy().into_owned(),
        None => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_comes_back_as_it_was_and_travels_as_printable_ascii() {
        let values = [
            "plain",
            "with spaces, and = ? %41 signs",
            "",
            " around ",
            "two  spaces",
            "grüße 🦀",
            "UTF-8''already",
            "=?UTF-8?B?4pyT?=",
            "tab\tand\nline",
        ];
        for value in values {
            let encoded = encode_value(value);
            assert!(
                encoded.bytes().all(|byte| (0x20..0x7F).contains(&byte)),
                "{encoded}"
            );
            assert_eq!(decode_value(encoded), value);
        }
        assert_eq!(encode_value("plain = text?"), "plain = text?");
    }

    #[test]
    fn the_mark_of_a_write_is_hidden_and_cannot_be_given() {
        let headers = encode(&BTreeMap::new(), Some("01J")).unwrap();
        let (metadata, write_id) = decode(Some(headers));
        assert!(metadata.is_empty());
        assert_eq!(write_id.as_deref(), Some("01J"));
        for name in ["agent-mesh-write", "Agent-Mesh-Write", "", "a b", "ä"] {
            let metadata = BTreeMap::from([(name.to_owned(), "x".to_owned())]);
            assert!(encode(&metadata, None).is_err(), "{name}");
        }
    }

    #[test]
    fn metadata_fits_up_to_its_limit_and_not_one_byte_more() {
        let metadata = |length: usize| BTreeMap::from([("n".to_owned(), "x".repeat(length))]);
        assert!(encode(&metadata(METADATA_BYTES_MAX - 1), None).is_ok());
        let error = encode(&metadata(METADATA_BYTES_MAX), None).unwrap_err();
        assert_eq!(error.kind(), crate::mesh::ErrorKind::TooLarge);
    }
}
