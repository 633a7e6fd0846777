//! Static bearer tokens for small installations: what one looks like, what is kept of it, how it is recognized.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use ulid::Ulid;

use super::{PermissionSet, Role, TenantId, UserId};
use crate::mesh::clock::Timestamp;
use crate::mesh::error::Error;

/// What every static token begins with, which no signed one does.
pub const PREFIX: &str = "mesh_";

/// The random part of a token, in bytes: nobody guesses 256 bits.
const SECRET_BYTES: usize = 32;

/// What is kept of a token: nobody who reads it can call with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticToken {
    /// Its id, which is part of the token and not secret.
    pub id: Ulid,
    /// The SHA-256 of the whole token.
    pub hash: TokenHash,
    /// The tenant whose calls it makes; the directory must know it.
    pub tenant: TenantId,
    /// The user who calls.
    pub user: UserId,
    /// What the user is to the tenant.
    pub role: Role,
    /// What the role is narrowed to, where it is.
    pub scope: Option<PermissionSet>,
    /// When it was made.
    pub created: Timestamp,
    /// From when on it is no longer accepted; nothing where it does not end.
    pub expires: Option<Timestamp>,
}

/// The SHA-256 of a token. Its random part is too long to be searched for, so no salt and no slow hash is
/// needed.
pub type TokenHash = [u8; 32];

/// Where static tokens are kept.
pub trait StaticTokenDirectory: Send + Sync + 'static {
    /// The token of that id, or nothing where there is none.
    fn find(&self, id: Ulid) -> Option<Arc<StaticToken>>;
}

impl StaticToken {
    /// A new token for `id`, to be shown once, and what to keep of it.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn mint(id: Ulid) -> Result<(SecretString, TokenHash), Error> {
        let mut secret = [0; SECRET_BYTES];
        aws_lc_rs::rand::fill(&mut secret)
            .map_err(|_| Error::internal("the system has no randomness for a token"))?;
        let token = format!("{PREFIX}{id}_{}", URL_SAFE_NO_PAD.encode(secret));
        let hash = hash_of(&token);
        Ok((SecretString::from(token), hash))
    }

    /// Whether a token is a static one by its looks.
    pub(super) fn is_like(token: &str) -> bool {
        token.starts_with(PREFIX)
    }

    /// What `tokens` keep of `token`. It takes as long for an id that there is as for one that there is not.
    pub(super) fn recognize(
        token: &str,
        tokens: &dyn StaticTokenDirectory,
    ) -> Option<Arc<StaticToken>> {
        let (id, _) = token.strip_prefix(PREFIX)?.split_once('_')?;
        let found = tokens.find(Ulid::from_string(id).ok()?);
        let kept = found.as_ref().map_or([0; 32], |found| found.hash);
        verify_slices_are_equal(&hash_of(token), &kept).ok()?;
        found
    }

    /// Whether it has ended.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|end| now >= end)
    }

    /// What the caller may do: all that the role may, or as much of it as the scope names.
    pub fn permissions(&self) -> PermissionSet {
        let all = self.role.permissions();
        self.scope.map_or(all, |scope| all.intersection(scope))
    }
}

fn hash_of(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use secrecy::ExposeSecret;

    use super::*;

    #[derive(Default)]
    struct Kept(HashMap<Ulid, Arc<StaticToken>>);

    impl StaticTokenDirectory for Kept {
        fn find(&self, id: Ulid) -> Option<Arc<StaticToken>> {
            self.0.get(&id).cloned()
        }
    }

    fn kept(id: Ulid, hash: TokenHash) -> Kept {
        let token = StaticToken {
            id,
            hash,
            tenant: "acme".parse().unwrap(),
            user: "ada".parse().unwrap(),
            role: Role::User,
            scope: None,
            created: Timestamp::from_seconds(0),
            expires: None,
        };
        Kept([(id, Arc::new(token))].into())
    }

    #[test]
    fn a_token_is_its_id_and_256_random_bits() {
        let id = Ulid::generate();
        let (token, hash) = StaticToken::mint(id).unwrap();
        let text = token.expose_secret();
        let (shown, secret) = text[PREFIX.len()..].split_once('_').unwrap();
        assert_eq!(shown, id.to_string());
        assert_eq!(secret.len(), 43);
        assert_eq!(URL_SAFE_NO_PAD.decode(secret).unwrap().len(), SECRET_BYTES);
        assert_eq!(hash, hash_of(text));
        let (again, _) = StaticToken::mint(id).unwrap();
        assert_ne!(again.expose_secret(), text);
        assert!(!format!("{token:?}").contains(secret));
    }

    #[test]
    fn only_the_whole_token_is_recognized() {
        let id = Ulid::generate();
        let (token, hash) = StaticToken::mint(id).unwrap();
        let (token, kept) = (token.expose_secret(), kept(id, hash));
        assert_eq!(StaticToken::recognize(token, &kept).unwrap().id, id);
        let (other, _) = StaticToken::mint(id).unwrap();
        let (stranger, _) = StaticToken::mint(Ulid::generate()).unwrap();
        for wrong in [
            other.expose_secret(),
            stranger.expose_secret(),
            &token[..token.len() - 1],
            &format!("{token}A"),
            &token.to_lowercase(),
            &token.replacen("mesh_", "mesh_ ", 1),
            &format!("mesh_{id}_"),
            &format!("mesh_{id}"),
            "mesh_",
            "mesh",
            "",
        ] {
            assert!(StaticToken::recognize(wrong, &kept).is_none(), "{wrong}");
        }
        let nothing = Kept::default();
        assert!(StaticToken::recognize(token, &nothing).is_none());
    }

    #[test]
    fn a_token_ends_at_the_moment_it_says() {
        let kept = kept(Ulid::generate(), [0; 32]);
        let token = kept.0.into_values().next().unwrap();
        assert!(!token.is_expired(Timestamp::from_millis(i64::MAX)));
        let ends = StaticToken {
            expires: Some(Timestamp::from_millis(1000)),
            ..(*token).clone()
        };
        assert!(!ends.is_expired(Timestamp::from_millis(999)));
        assert!(ends.is_expired(Timestamp::from_millis(1000)));
    }
}
