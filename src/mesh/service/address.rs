//! Addresses of what is stored, as MCP resources: `mesh://<family>/{scope}/{+key}`, with `?range=` for a part.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::mesh::store::bucket::ByteRange;
use crate::mesh::store::key::Scope;

/// What stands between a key and the part of it that is wanted.
const RANGE: &str = "?range=";

/// What stays as it is in an address: RFC 3986's unreserved characters and the slash between segments.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// Why a text is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no such resource: an address is mesh://artifacts/<scope>/<key> or mesh://values/<scope>/<key>, the \
     scope user or tenant, the key percent-encoded once, with ?range=<first>-<last> for a part"
)]
pub struct InvalidAddress;

/// The address of `key` below `root`, which ends with a slash.
pub(super) fn write(root: &str, scope: Scope, key: &str, range: Option<ByteRange>) -> String {
    let key = utf8_percent_encode(key, ENCODED);
    let range = range.map_or_else(String::new, |range| format!("{RANGE}{}", range_text(range)));
    format!("{root}{}/{key}{range}", scope.name())
}

/// What an address below `root` names: scope, key and part. The key is decoded exactly once.
pub(super) fn read(
    root: &str,
    text: &str,
) -> Result<(Scope, String, Option<ByteRange>), InvalidAddress> {
    let rest = text.strip_prefix(root).ok_or(InvalidAddress)?;
    let (rest, range) = match rest.split_once(RANGE) {
        Some((rest, range)) => (rest, Some(parse_range(range).ok_or(InvalidAddress)?)),
        None => (rest, None),
    };
    let (scope, key) = rest.split_once('/').ok_or(InvalidAddress)?;
    let scope = match scope {
        "user" => Scope::User,
        "tenant" => Scope::Tenant,
        _ => return Err(InvalidAddress),
    };
    if key.contains(['?', '#']) {
        return Err(InvalidAddress);
    }
    let key = percent_decode_str(key)
        .decode_utf8()
        .map_err(|_| InvalidAddress)?;
    Ok((scope, key.into_owned(), range))
}

/// A range as in HTTP: `first-last`, `first-` or `-count`.
pub fn parse_range(text: &str) -> Option<ByteRange> {
    let (first, last) = text
        .strip_prefix("bytes=")
        .unwrap_or(text)
        .split_once('-')?;
    match (first, last) {
        ("", count) => position(count)
            .filter(|&count| count > 0)
            .map(ByteRange::Suffix),
        (first, "") => Some(ByteRange::From(position(first)?, None)),
        (first, last) => {
            let (first, last) = (position(first)?, position(last)?);
            (first <= last).then_some(ByteRange::From(first, Some(last)))
        }
    }
}

fn position(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

fn range_text(range: ByteRange) -> String {
    match range {
        ByteRange::From(first, Some(last)) => format!("{first}-{last}"),
        ByteRange::From(first, None) => format!("{first}-"),
        ByteRange::Suffix(count) => format!("-{count}"),
    }
}
