//! Addresses of what is stored, as MCP resources: `mesh://<family>/{scope}/{+key}`, with `?range=` for a part.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::mesh::store::bucket::ByteRange;
use crate::mesh::store::key::Scope;

/// What stands between a key and the part of it that is wanted.
pub const RANGE: &str = "?range=";

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
     scope user or tenant, the key percent-encoded once, or mesh://events/<event_id>, with \
     ?range=<first>-<last> for a part"
)]
pub struct InvalidAddress;

/// A key that has an address.
pub trait Addressed: Sized {
    /// What every address of its kind begins with; it ends with a slash.
    const ROOT: &'static str;

    /// The key that `text` is, if it is one.
    fn of(text: String) -> Option<Self>;

    /// The key as text.
    fn text(&self) -> &str;
}

/// The address of what is stored under a key, or of a part of it (`?range=0-999`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address<K> {
    /// Whose it is.
    pub scope: Scope,
    /// Its key.
    pub key: K,
    /// The part that is wanted, in bytes.
    pub range: Option<ByteRange>,
}

impl<K> Address<K> {
    /// The address of the whole.
    pub fn new(scope: Scope, key: K) -> Self {
        Self {
            scope,
            key,
            range: None,
        }
    }
}

impl<K: Addressed> fmt::Display for Address<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = utf8_percent_encode(self.key.text(), ENCODED);
        write!(formatter, "{}{}/{key}", K::ROOT, self.scope.name())?;
        match self.range {
            None => Ok(()),
            Some(range) => write!(formatter, "{RANGE}{}", range_text(range)),
        }
    }
}

impl<K: Addressed> FromStr for Address<K> {
    type Err = InvalidAddress;

    /// The key is decoded exactly once.
    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let rest = text.strip_prefix(K::ROOT).ok_or(InvalidAddress)?;
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
        let key = K::of(key.into_owned()).ok_or(InvalidAddress)?;
        Ok(Self { scope, key, range })
    }
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

/// A range as it stands in an address.
pub fn range_text(range: ByteRange) -> String {
    match range {
        ByteRange::From(first, Some(last)) => format!("{first}-{last}"),
        ByteRange::From(first, None) => format!("{first}-"),
        ByteRange::Suffix(count) => format!("-{count}"),
    }
}

/// The part of `body` that `range` names; nothing where it lies outside.
pub fn cut(mut body: Vec<u8>, range: ByteRange) -> Option<Vec<u8>> {
    let size = body.len();
    let position = |position: u64| usize::try_from(position).unwrap_or(usize::MAX);
    let (first, end) = match range {
        ByteRange::From(first, last) => {
            let end = last.map_or(size, |last| size.min(position(last).saturating_add(1)));
            (position(first), end)
        }
        ByteRange::Suffix(count) => (size.saturating_sub(position(count)), size),
    };
    if first >= end {
        return None;
    }
    body.truncate(end);
    Some(body.split_off(first))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mesh::service::artifacts::ArtifactAddress;
    use crate::mesh::service::kv::ValueAddress;
    use crate::mesh::store::artifacts::ArtifactKey;
    use crate::mesh::store::values::ValueKey;

    #[test]
    fn an_address_is_decoded_exactly_once() {
        let address: ArtifactAddress = "mesh://artifacts/tenant/a%252Fb/%C3%A9%20c"
            .parse()
            .unwrap();
        assert_eq!(address.key.as_str(), "a%2Fb/é c");
        assert_eq!(
            address.to_string(),
            "mesh://artifacts/tenant/a%252Fb/%C3%A9%20c"
        );
    }

    #[test]
    fn what_is_no_address_of_an_artifact_is_refused() {
        for text in [
            "",
            "mesh://artifacts/",
            "mesh://artifacts/user/",
            "mesh://artifacts/other/a",
            "mesh://artifacts/user/../a",
            "mesh://artifacts/user/%2e%2e/a",
            "mesh://artifacts/user/a%00",
            "mesh://artifacts/user/a%ff",
            "mesh://artifacts/user/a?x=1",
            "mesh://artifacts/user/a?range=9-1",
            "mesh://artifacts/user/a?range=-0",
            "mesh://artifacts/user/a?range=+1-2",
            "file:///etc/passwd",
        ] {
            assert_eq!(
                text.parse::<ArtifactAddress>(),
                Err(InvalidAddress),
                "{text}"
            );
        }
    }

    #[test]
    fn a_range_reads_as_in_http() {
        assert_eq!(parse_range("0-0"), Some(ByteRange::From(0, Some(0))));
        assert_eq!(parse_range("bytes=5-"), Some(ByteRange::From(5, None)));
        assert_eq!(parse_range("-7"), Some(ByteRange::Suffix(7)));
        for bad in ["", "-", "1", "a-b", "2-1", "1-2-3", "99999999999999999999-"] {
            assert_eq!(parse_range(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_key_survives_its_address(key in "\\PC{1,60}", last in 0_u64..1000) {
            prop_assume!(ArtifactKey::parse("key", key.clone()).is_ok());
            let key = ArtifactKey::parse("key", key).unwrap();
            let mut address = ArtifactAddress::new(Scope::User, key);
            prop_assert_eq!(address.to_string().parse(), Ok(address.clone()));
            address.range = Some(ByteRange::From(0, Some(last)));
            prop_assert_eq!(address.to_string().parse(), Ok(address));
        }
    }

    #[test]
    fn an_address_reads_back_and_takes_keys_that_no_artifact_has() {
        for key in ["a", "/a//../b", "é %2F?#", "a/b"] {
            let key = ValueKey::parse("key", key.to_owned()).unwrap();
            let address = ValueAddress::new(Scope::Tenant, key);
            assert_eq!(address.to_string().parse(), Ok(address));
        }
    }

    #[test]
    fn a_part_is_cut_as_in_http() {
        let cut =
            |range| cut(b"012345".to_vec(), range).map(|part| String::from_utf8(part).unwrap());
        assert_eq!(cut(ByteRange::From(1, Some(2))).as_deref(), Some("12"));
        assert_eq!(cut(ByteRange::From(4, Some(99))).as_deref(), Some("45"));
        assert_eq!(cut(ByteRange::From(5, None)).as_deref(), Some("5"));
        assert_eq!(cut(ByteRange::Suffix(2)).as_deref(), Some("45"));
        assert_eq!(cut(ByteRange::Suffix(u64::MAX)).as_deref(), Some("012345"));
        assert_eq!(cut(ByteRange::From(6, None)), None);
        assert_eq!(cut(ByteRange::From(u64::MAX, Some(u64::MAX))), None);
    }
}
