//! Ids of tenants and users: parsed once, at the edge, and safe inside physical keys ever after.

use std::str::FromStr;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::mesh::text_id::text_id;

/// A tenant: `[a-z0-9]`, then up to 31 of `[a-z0-9-]`, not ending in `-`. It cannot hold `#` or `/`,
/// so a physical key that ends it with one of them cannot be read as another tenant's.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(Arc<str>);

/// A user within a tenant: 1 to 64 of `[A-Za-z0-9._@+-]`, or `~` and 40 base32 characters for a
/// token's subject that does not fit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(Arc<str>);

/// Why a text is no id; says what an id may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// Not a tenant's id.
    #[error(
        "a tenant id is 1 to 32 of a-z, 0-9 and -, begins with a letter or digit and does not end in -"
    )]
    Tenant,
    /// Not a user's id.
    #[error("a user id is 1 to 64 of A-Z, a-z, 0-9 and . _ @ + -")]
    User,
}

impl TenantId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl UserId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The user that a token's subject names: the subject itself where it fits and its issuer is the
    /// tenant's first, else a hash of both, which no plain id can equal since it begins with `~`.
    pub fn of_subject(issuer: &str, subject: &str, issuer_is_first: bool) -> Self {
        // A subject that looks like a hash is hashed again: it would otherwise be somebody else.
        if issuer_is_first
            && !subject.starts_with('~')
            && let Ok(user) = subject.parse()
        {
            return user;
        }
        let mut hash = Sha256::new();
        hash.update((issuer.len() as u64).to_be_bytes());
        hash.update(issuer);
        hash.update(subject);
        Self(format!("~{}", base32(&hash.finalize()[..25])).into())
    }
}

impl FromStr for TenantId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = text.as_bytes();
        let fits = (1..=32).contains(&bytes.len())
            && bytes.iter().all(|&byte| alphanumeric(byte) || byte == b'-')
            && bytes.first() != Some(&b'-')
            && bytes.last() != Some(&b'-');
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(InvalidId::Tenant)
        }
    }
}

impl FromStr for UserId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._@+-".contains(&byte);
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(allowed);
        if fits || is_hashed(text) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidId::User)
        }
    }
}

/// A user as [`UserId::of_subject`] writes one; read back from our own records.
fn is_hashed(text: &str) -> bool {
    text.strip_prefix('~')
        .is_some_and(|rest| rest.len() == 40 && rest.bytes().all(|byte| BASE32.contains(&byte)))
}

const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// RFC 4648 base32 in lower case of whole groups of five bytes.
fn base32(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    for group in bytes.chunks_exact(5) {
        let bits = group
            .iter()
            .fold(0_u64, |bits, &byte| bits << 8 | u64::from(byte));
        for position in (0..8).rev() {
            text.push(char::from(BASE32[(bits >> (position * 5) & 31) as usize]));
        }
    }
    text
}

text_id!(TenantId);
text_id!(UserId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_id_is_parsed_at_its_edges() {
        for good in ["a", "0", "a-b", "acme", &"a".repeat(32)] {
            assert!(good.parse::<TenantId>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a#b",
            "a/b",
            "a_b",
            "ä",
            "a b",
            &"a".repeat(33),
        ] {
            assert_eq!(bad.parse::<TenantId>(), Err(InvalidId::Tenant), "{bad}");
        }
    }

    #[test]
    fn a_user_id_is_parsed_at_its_edges() {
        for good in ["a", "A.b_c@d+e-f", &"x".repeat(64)] {
            assert!(good.parse::<UserId>().is_ok(), "{good}");
        }
        for bad in ["", "a b", "a#b", "a/b", "~a", "ü", &"x".repeat(65)] {
            assert_eq!(bad.parse::<UserId>(), Err(InvalidId::User), "{bad}");
        }
    }

    #[test]
    fn a_subject_that_does_not_fit_is_hashed_and_reads_back() {
        let plain = UserId::of_subject("https://id", "ada", true);
        assert_eq!(plain.as_str(), "ada");
        let second = UserId::of_subject("https://other", "ada", false);
        let odd = UserId::of_subject("https://id", "auth0|ada", true);
        for user in [&second, &odd] {
            assert_eq!(user.as_str().len(), 41);
            assert_eq!(user.as_str().parse::<UserId>().as_ref(), Ok(user));
        }
        assert_ne!(second, odd);
        let disguised = UserId::of_subject("https://id", second.as_str(), true);
        assert_ne!(disguised, second);
        assert_ne!(
            UserId::of_subject("ab", "c d", true),
            UserId::of_subject("a", "bc d", true)
        );
    }
}
