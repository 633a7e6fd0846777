//! A token from its text to claims that can be believed: every check is written down here.
//!
//! The library verifies the signature and nothing else. Its own validation reads the machine's clock,
//! forgives 60 s, and passes a claim that is absent unless told otherwise.

pub(super) mod cache;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::identity::Refusal;
use super::key_set::{KEY_ID_BYTES_MAX, SignatureAlgorithm, SignatureKey};
use super::{PermissionSet, Role, TenantId};
use crate::mesh::clock::Timestamp;

/// The longest token that is looked at, in bytes.
pub const TOKEN_BYTES_MAX: usize = 8 << 10;

/// The longest time from `iat` to `exp`.
pub const LIFETIME_MAX: Duration = Duration::from_secs(300);

/// How far the clocks of issuer and server may differ.
pub const LEEWAY: Duration = Duration::from_secs(5);

/// The longest `org_id` in bytes.
pub const ORG_ID_BYTES_MAX: usize = 128;

/// Whom the server trusts, and who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSettings {
    /// The issuers (`iss`) whose tokens are accepted. They share one set of keys, so each of them
    /// could sign for the others; a tenant's record narrows which of them sign in to it.
    pub issuers: Vec<String>,
    /// The names of this server (`aud`).
    pub audiences: Vec<String>,
}

/// A token whose header has been read and nothing else.
#[derive(Debug)]
pub(super) struct Unverified<'a> {
    kid: String,
    algorithm: SignatureAlgorithm,
    message: &'a str,
    payload: &'a str,
    signature: Vec<u8>,
}

/// What a token says, once its signature has been verified.
#[derive(Debug)]
pub(super) struct Claims {
    pub(super) issuer: String,
    pub(super) subject: String,
    pub(super) tenant: TenantId,
    pub(super) role: Role,
    pub(super) scope: Option<PermissionSet>,
    pub(super) org_id: Option<String>,
    audiences: Vec<String>,
    issued: Timestamp,
    expires: Timestamp,
    not_before: Option<Timestamp>,
}

impl<'a> Unverified<'a> {
    /// Takes a token apart without believing any of it.
    pub(super) fn parse(token: &'a str) -> Result<Self, Refusal> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::TooLarge);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(Refusal::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(Refusal::Malformed)?;
        if payload.contains('.') {
            return Err(Refusal::Malformed);
        }
        let header: RawHeader = json_of(header)?;
        if let Some(name) = header.forbidden() {
            return Err(Refusal::ForbiddenHeader(name));
        }
        let algorithm = SignatureAlgorithm::of_name(&header.alg).ok_or(Refusal::Algorithm)?;
        let kid = match header.kid {
            Some(kid) if (1..=KEY_ID_BYTES_MAX).contains(&kid.len()) => kid,
            _ => return Err(Refusal::NoKeyId),
        };
        Ok(Self {
            kid,
            algorithm,
            message,
            payload,
            signature: bytes_of(signature)?,
        })
    }

    /// The name of the key that the token says it is signed with.
    pub(super) fn kid(&self) -> &str {
        &self.kid
    }

    /// What the token says, if `key` has signed it.
    pub(super) fn verify(&self, key: &SignatureKey) -> Result<Claims, Refusal> {
        if key.algorithm() != self.algorithm {
            return Err(Refusal::KeyAlgorithm);
        }
        if !key.verifies(self.message.as_bytes(), &self.signature) {
            return Err(Refusal::Signature);
        }
        Claims::read(json_of(self.payload)?)
    }
}

impl Claims {
    fn read(raw: RawClaims) -> Result<Self, Refusal> {
        let subject: String = raw.sub.required("sub")?;
        if subject.is_empty() {
            return Err(Refusal::WrongClaim("sub"));
        }
        let org_id: Option<String> = raw.org_id.optional("org_id")?;
        let fits = |id: &String| {
            (1..=ORG_ID_BYTES_MAX).contains(&id.len()) && !id.contains(char::is_control)
        };
        if !org_id.as_ref().is_none_or(fits) {
            return Err(Refusal::WrongClaim("org_id"));
        }
        let scope: Option<String> = raw.scope.optional("scope")?;
        let role: String = raw.role.required("role")?;
        Ok(Self {
            issuer: raw.iss.required("iss")?,
            subject,
            tenant: raw.tenant_id.required("tenant_id")?,
            role: role.parse().map_err(|_| Refusal::WrongClaim("role"))?,
            scope: scope.as_deref().map(PermissionSet::of_scope),
            org_id,
            audiences: raw.aud.required::<OneOrMany>("aud")?.into_list(),
            issued: raw.iat.required::<NumericDate>("iat")?.0,
            expires: raw.exp.required::<NumericDate>("exp")?.0,
            not_before: raw.nbf.optional::<NumericDate>("nbf")?.map(|date| date.0),
        })
    }

    /// Whether the claims hold for this server at this moment.
    pub(super) fn check(&self, settings: &TokenSettings, now: Timestamp) -> Result<(), Refusal> {
        if !settings.issuers.contains(&self.issuer) {
            return Err(Refusal::Issuer);
        }
        if !self
            .audiences
            .iter()
            .any(|name| settings.audiences.contains(name))
        {
            return Err(Refusal::Audience);
        }
        if self.expires <= self.issued || self.expires.since(self.issued) > LIFETIME_MAX {
            return Err(Refusal::Lifetime);
        }
        let latest_start = now.plus(LEEWAY);
        if self.issued > latest_start || self.not_before.is_some_and(|start| start > latest_start) {
            return Err(Refusal::NotYetValid);
        }
        if now >= self.ends() {
            return Err(Refusal::Expired);
        }
        Ok(())
    }

    /// The first moment at which the token is no longer accepted.
    pub(super) fn ends(&self) -> Timestamp {
        self.expires.plus(LEEWAY)
    }

    /// What the caller may do: all that the role may, or as much of it as the token's scope names.
    pub(super) fn permissions(&self) -> PermissionSet {
        let all = self.role.permissions();
        self.scope.map_or(all, |scope| all.intersection(scope))
    }
}

/// The members of a header that decide anything. Members that are there twice are an error.
#[derive(Deserialize)]
struct RawHeader {
    alg: String,
    kid: Option<String>,
    #[serde(default, deserialize_with = "is_there")]
    jku: bool,
    #[serde(default, deserialize_with = "is_there")]
    jwk: bool,
    #[serde(default, deserialize_with = "is_there")]
    x5u: bool,
    #[serde(default, deserialize_with = "is_there")]
    x5c: bool,
    #[serde(default, deserialize_with = "is_there")]
    crit: bool,
}

impl RawHeader {
    fn forbidden(&self) -> Option<&'static str> {
        let members = [
            (self.jku, "jku"),
            (self.jwk, "jwk"),
            (self.x5u, "x5u"),
            (self.x5c, "x5c"),
            (self.crit, "crit"),
        ];
        members
            .into_iter()
            .find(|member| member.0)
            .map(|member| member.1)
    }
}

#[derive(Deserialize)]
struct RawClaims {
    #[serde(default)]
    iss: Claim,
    #[serde(default)]
    aud: Claim,
    #[serde(default)]
    exp: Claim,
    #[serde(default)]
    iat: Claim,
    #[serde(default)]
    nbf: Claim,
    #[serde(default)]
    sub: Claim,
    #[serde(default)]
    tenant_id: Claim,
    #[serde(default)]
    role: Claim,
    #[serde(default)]
    scope: Claim,
    #[serde(default)]
    org_id: Claim,
}

/// A claim that may be absent. `null` is not absent: it is a wrong value.
#[derive(Default)]
struct Claim(Option<Value>);

impl<'de> Deserialize<'de> for Claim {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|value| Self(Some(value)))
    }
}

impl Claim {
    fn optional<T: DeserializeOwned>(self, name: &'static str) -> Result<Option<T>, Refusal> {
        self.0
            .map(|value| serde_json::from_value(value).map_err(|_| Refusal::WrongClaim(name)))
            .transpose()
    }

    fn required<T: DeserializeOwned>(self, name: &'static str) -> Result<T, Refusal> {
        self.optional(name)?.ok_or(Refusal::MissingClaim(name))
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn into_list(self) -> Vec<String> {
        match self {
            Self::One(name) => vec![name],
            Self::Many(names) => names,
        }
    }
}

/// Seconds since 1970, a fraction allowed.
struct NumericDate(Timestamp);

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Past the year 5000 nobody means a date; below it the milliseconds are exact.
        const SECONDS_MAX: f64 = 1e11;
        let seconds = f64::deserialize(deserializer)?;
        if !(0.0..=SECONDS_MAX).contains(&seconds) {
            return Err(serde::de::Error::custom("out of range"));
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "its range has been checked"
        )]
        let millis = (seconds * 1000.0).round() as i64;
        Ok(Self(Timestamp::from_millis(millis)))
    }
}

fn is_there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

fn bytes_of(part: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Malformed)
}

fn json_of<T: DeserializeOwned>(part: &str) -> Result<T, Refusal> {
    serde_json::from_slice(&bytes_of(part)?).map_err(|_| Refusal::Malformed)
}

#[cfg(test)]
mod tests;
