//! A token from its text to claims that can be believed: every check is written down here.
//!
//! The library verifies the signature and nothing else. Its own validation reads the machine's clock,
//! forgives 60 s, and passes a claim that is absent unless told otherwise.

pub(super) mod cache;
pub mod claim;

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
use claim::{ClaimNames, ClaimObject};

/// The longest token that is looked at, in bytes.
pub const TOKEN_BYTES_MAX: usize = 8 << 10;

/// The longest time from `iat` to `exp` of a token in a message.
pub const LIFETIME_MAX: Duration = Duration::from_secs(300);

/// How far the clocks of issuer and server may differ, unless the operator says otherwise.
pub const LEEWAY: Duration = Duration::from_secs(5);

/// The farthest that an operator may let them differ.
pub const LEEWAY_MAX: Duration = Duration::from_secs(60);

/// The longest `org_id` in bytes.
pub const ORG_ID_BYTES_MAX: usize = 128;

/// Whom the server trusts, who it is, and what a token must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSettings {
    /// The issuers (`iss`) whose tokens are accepted. They share one set of keys, so each of them
    /// could sign for the others; a tenant's record narrows which of them sign in to it.
    pub issuers: Vec<String>,
    /// The names of this server (`aud`).
    pub audiences: Vec<String>,
    /// How tokens may be signed.
    pub algorithms: Vec<SignatureAlgorithm>,
    /// The longest time from `iat` to `exp`; where none is asked for, `iat` may be absent too.
    pub lifetime_max: Option<Duration>,
    /// How far the clocks of issuer and server may differ.
    pub leeway: Duration,
    /// The claims that say whose a token is.
    pub claims: ClaimNames,
}

impl TokenSettings {
    /// For tokens inside messages, which a parent signs for each request: [`LIFETIME_MAX`] at most.
    pub fn of_messages(issuers: Vec<String>, audiences: Vec<String>) -> Self {
        Self {
            issuers,
            audiences,
            algorithms: SignatureAlgorithm::ALL.to_vec(),
            lifetime_max: Some(LIFETIME_MAX),
            leeway: LEEWAY,
            claims: ClaimNames::default(),
        }
    }

    /// For bearer tokens over HTTP, which live for as long as their issuer lets them.
    pub fn of_bearers(issuers: Vec<String>, audiences: Vec<String>) -> Self {
        Self {
            lifetime_max: None,
            ..Self::of_messages(issuers, audiences)
        }
    }
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
    issued: Option<Timestamp>,
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

    /// How the token says it is signed.
    pub(super) fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// What the token says under these names, if `key` has signed it.
    pub(super) fn verify(&self, key: &SignatureKey, names: &ClaimNames) -> Result<Claims, Refusal> {
        if key.algorithm() != self.algorithm {
            return Err(Refusal::KeyAlgorithm);
        }
        if !key.verifies(self.message.as_bytes(), &self.signature) {
            return Err(Refusal::Signature);
        }
        Claims::read(&json_of(self.payload)?, names)
    }
}

impl Claims {
    fn read(claims: &ClaimObject, names: &ClaimNames) -> Result<Self, Refusal> {
        let registered = |name: &'static str| Claim(name, claims.get(name));
        let user = Claim(
            names.user.told("sub", "of the user"),
            claims.find(&names.user),
        );
        let subject: String = user.required()?;
        if subject.is_empty() {
            return Err(user.wrong());
        }
        let org_id: Option<String> = registered("org_id").optional()?;
        let fits = |id: &String| {
            (1..=ORG_ID_BYTES_MAX).contains(&id.len()) && !id.contains(char::is_control)
        };
        if !org_id.as_ref().is_none_or(fits) {
            return Err(Refusal::WrongClaim("org_id"));
        }
        let tenant = names.tenant.told("tenant_id", "of the tenant");
        let seconds = |name| -> Result<Option<Timestamp>, Refusal> {
            let date = registered(name).optional::<NumericDate>()?;
            Ok(date.map(|date| date.0))
        };
        Ok(Self {
            issuer: registered("iss").required()?,
            subject,
            tenant: Claim(tenant, claims.find(&names.tenant)).required()?,
            role: role_of(claims, names)?,
            scope: scope_of(claims, names)?,
            org_id,
            audiences: registered("aud").required::<OneOrMany>()?.into_list(),
            issued: seconds("iat")?,
            expires: seconds("exp")?.ok_or(Refusal::MissingClaim("exp"))?,
            not_before: seconds("nbf")?,
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
        self.check_lifetime(settings.lifetime_max)?;
        let latest_start = now.plus(settings.leeway);
        let begins_later = |start: Option<Timestamp>| start.is_some_and(|at| at > latest_start);
        if begins_later(self.issued) || begins_later(self.not_before) {
            return Err(Refusal::NotYetValid);
        }
        if now >= self.ends(settings.leeway) {
            return Err(Refusal::Expired);
        }
        Ok(())
    }

    fn check_lifetime(&self, most: Option<Duration>) -> Result<(), Refusal> {
        let Some(issued) = self.issued else {
            return match most {
                Some(_) => Err(Refusal::MissingClaim("iat")),
                None => Ok(()),
            };
        };
        let is_too_long = most.is_some_and(|most| self.expires.since(issued) > most);
        if self.expires <= issued || is_too_long {
            return Err(Refusal::Lifetime);
        }
        Ok(())
    }

    /// The first moment at which the token is no longer accepted.
    pub(super) fn ends(&self, leeway: Duration) -> Timestamp {
        self.expires.plus(leeway)
    }

    /// What the caller may do: all that the role may, or as much of it as the token's scope names.
    pub(super) fn permissions(&self) -> PermissionSet {
        let all = self.role.permissions();
        self.scope.map_or(all, |scope| all.intersection(scope))
    }
}

/// The role that a token gives: the one it names, or the greatest of those in a list, in which identity
/// providers put words of others too.
fn role_of(claims: &ClaimObject, names: &ClaimNames) -> Result<Role, Refusal> {
    let claim = Claim(
        names.role.told("role", "of the role"),
        claims.find(&names.role),
    );
    match claim.required()? {
        OneOrMany::One(name) => name.parse().ok(),
        OneOrMany::Many(names) => names.iter().filter_map(|name| name.parse().ok()).max(),
    }
    .ok_or(claim.wrong())
}

/// What a token's scopes name, words in one text or a list of texts; nothing where it has none.
fn scope_of(claims: &ClaimObject, names: &ClaimNames) -> Result<Option<PermissionSet>, Refusal> {
    let Some(name) = &names.scope else {
        return Ok(None);
    };
    let claim = Claim(name.told("scope", "of the scopes"), claims.find(name));
    let scopes = claim.optional::<OneOrMany>()?.map(OneOrMany::into_list);
    Ok(scopes.map(|scopes| PermissionSet::of_scope(&scopes.join(" "))))
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

/// A claim and what a refusal calls it. `null` is not absent: it is a wrong value.
#[derive(Clone, Copy)]
struct Claim<'a>(&'static str, Option<&'a Value>);

impl Claim<'_> {
    fn optional<T: DeserializeOwned>(self) -> Result<Option<T>, Refusal> {
        self.1
            .map(|value| T::deserialize(value).map_err(|_| self.wrong()))
            .transpose()
    }

    fn required<T: DeserializeOwned>(self) -> Result<T, Refusal> {
        self.optional()?.ok_or(Refusal::MissingClaim(self.0))
    }

    fn wrong(self) -> Refusal {
        Refusal::WrongClaim(self.0)
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
