//! The address of an artifact as an MCP resource: `mesh://artifacts/{scope}/{+key}`.

use std::fmt;
use std::str::FromStr;

use crate::mesh::service::address::{self, InvalidAddress};
use crate::mesh::store::artifacts::ArtifactKey;
use crate::mesh::store::bucket::ByteRange;
use crate::mesh::store::key::Scope;

/// What every address begins with.
const ROOT: &str = "mesh://artifacts/";

/// The address of an artifact, or of a part of one (`?range=0-999`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactAddress {
    /// Whose it is.
    pub scope: Scope,
    /// Its key.
    pub key: ArtifactKey,
    /// The part that is wanted.
    pub range: Option<ByteRange>,
}

impl ArtifactAddress {
    /// The address of a whole artifact.
    pub fn new(scope: Scope, key: ArtifactKey) -> Self {
        Self {
            scope,
            key,
            range: None,
        }
    }
}

impl fmt::Display for ArtifactAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&address::write(
            ROOT,
            self.scope,
            self.key.as_str(),
            self.range,
        ))
    }
}

impl FromStr for ArtifactAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let (scope, key, range) = address::read(ROOT, text)?;
        let key = ArtifactKey::parse("uri", key).map_err(|_| InvalidAddress)?;
        Ok(Self { scope, key, range })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mesh::service::address::parse_range;

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
}
