//! Callers that sign in request by request: by a signed token, by a static one, or, where allowed, by none.

use std::sync::Arc;

use super::{Caller, ContextType, TenantContext, VERIFIED_FOR, context};
use crate::mesh::clock::Timestamp;
use crate::mesh::tenant::identity::{Anonymous, IdentityError, Origin, Presented, Refusal, Token};
use crate::mesh::tenant::key_set::{KeySource, KeysUnavailable};
use crate::mesh::tenant::record::{TenantDirectory, TenantRecord};
use crate::mesh::tenant::static_token::{StaticToken, StaticTokenDirectory};
use crate::mesh::tenant::token::cache::{Fingerprint, TOKENS_MAX, TokenCache, fingerprint};
use crate::mesh::tenant::token::{Claims, TOKEN_BYTES_MAX, TokenSettings, Unverified};
use crate::mesh::tenant::{TenantId, UserId};

/// How requests may say whose they are, in any combination. A request with a token that is not accepted is
/// refused, never anonymous.
#[derive(Default)]
pub struct Bearers {
    /// By tokens that an issuer has signed.
    pub jwt: Option<SignedTokens>,
    /// By static tokens.
    pub tokens: Option<Arc<dyn StaticTokenDirectory>>,
    /// By none.
    pub anonymous: Option<Anonymous>,
}

/// Tokens that an issuer signs, and the keys that verify them.
pub struct SignedTokens {
    /// What a token must be like.
    pub settings: TokenSettings,
    /// The keys.
    pub keys: Arc<dyn KeySource>,
}

/// The ways in that are open.
pub(super) struct BearerWay {
    signed: Option<SignedWay>,
    tokens: Option<Arc<dyn StaticTokenDirectory>>,
    anonymous: Option<(TenantId, Arc<Caller>)>,
}

struct SignedWay {
    settings: TokenSettings,
    keys: Arc<dyn KeySource>,
    verified: TokenCache<Verified>,
}

/// A token that has been verified, with all that the verification rested upon.
#[derive(Clone)]
struct Verified {
    caller: Arc<Caller>,
    tenant: Arc<TenantRecord>,
    at: Timestamp,
}

/// How far one gets with a request without waiting for keys.
enum Found<'a> {
    Settled(Result<TenantContext, IdentityError>),
    Unverified(&'a SignedWay, &'a Token, Fingerprint),
}

impl BearerWay {
    pub(super) fn new(bearers: Bearers) -> Self {
        Self {
            signed: bearers.jwt.map(|signed| SignedWay {
                settings: signed.settings,
                keys: signed.keys,
                verified: TokenCache::new(TOKENS_MAX),
            }),
            tokens: bearers.tokens,
            anonymous: bearers.anonymous.map(|anonymous| {
                let caller = Arc::new(Caller::anonymous(&anonymous));
                (anonymous.tenant, caller)
            }),
        }
    }

    /// Whether the keys that verify tokens are at hand, where any are needed.
    pub(super) async fn has_keys(&self) -> bool {
        match &self.signed {
            Some(signed) => signed.keys.is_loaded().await,
            None => true,
        }
    }

    pub(super) async fn resolve(
        &self,
        directory: &dyn TenantDirectory,
        presented: &Presented,
        now: Timestamp,
    ) -> Result<TenantContext, IdentityError> {
        match self.look(directory, presented, now) {
            Found::Settled(result) => result,
            Found::Unverified(signed, token, fingerprint) => {
                let fresh = signed.verify(directory, token, now).await?;
                signed.verified.insert(fingerprint, fresh.clone());
                context(fresh.tenant, fresh.caller)
            }
        }
    }

    pub(super) fn resolve_now(
        &self,
        directory: &dyn TenantDirectory,
        presented: &Presented,
        now: Timestamp,
    ) -> Option<Result<TenantContext, IdentityError>> {
        match self.look(directory, presented, now) {
            Found::Settled(result) => Some(result),
            Found::Unverified(..) => None,
        }
    }

    /// Other identities in a request with a token are left aside: they are never believed, and clients that
    /// serve older servers too send them along.
    fn look<'a>(
        &'a self,
        directory: &dyn TenantDirectory,
        presented: &'a Presented,
        now: Timestamp,
    ) -> Found<'a> {
        let Some(token) = &presented.token else {
            return Found::Settled(self.without_token(directory, presented));
        };
        let text = token.expose();
        if text.len() > TOKEN_BYTES_MAX {
            return Found::Settled(Err(Refusal::TooLarge.into()));
        }
        if StaticToken::is_like(text) && self.tokens.is_some() {
            return Found::Settled(self.by_static_token(directory, text, now));
        }
        let Some(signed) = &self.signed else {
            return Found::Settled(Err(Refusal::Kind.into()));
        };
        let fingerprint = fingerprint(text);
        match signed.remembered(directory, &fingerprint, now) {
            Some(result) => Found::Settled(result),
            None => Found::Unverified(signed, token, fingerprint),
        }
    }

    /// An identity among the arguments is refused here: whoever sent it expects it to count.
    fn without_token(
        &self,
        directory: &dyn TenantDirectory,
        presented: &Presented,
    ) -> Result<TenantContext, IdentityError> {
        let (tenant, caller) = self.anonymous.as_ref().ok_or(IdentityError::Missing)?;
        if presented.foreign {
            return Err(IdentityError::Foreign);
        }
        let tenant = directory.find(tenant).ok_or(Refusal::Tenant)?;
        context(tenant, Arc::clone(caller))
    }

    fn by_static_token(
        &self,
        directory: &dyn TenantDirectory,
        text: &str,
        now: Timestamp,
    ) -> Result<TenantContext, IdentityError> {
        let tokens = self.tokens.as_deref().ok_or(Refusal::Kind)?;
        let token = StaticToken::recognize(text, tokens).ok_or(Refusal::Unknown)?;
        if token.is_expired(now) {
            return Err(Refusal::Expired.into());
        }
        let tenant = directory.find(&token.tenant).ok_or(Refusal::Tenant)?;
        context(tenant, Arc::new(Caller::of_static_token(&token)))
    }
}

impl SignedWay {
    /// What an earlier verification found, if it still stands: the clock, the tenant's state and its
    /// issuers are looked at anew.
    fn remembered(
        &self,
        directory: &dyn TenantDirectory,
        token: &Fingerprint,
        now: Timestamp,
    ) -> Option<Result<TenantContext, IdentityError>> {
        let earlier = self.verified.find(token)?;
        let tenant = directory.find(&earlier.tenant.id);
        let ends = earlier.at.plus(VERIFIED_FOR).min(earlier.caller.ends_at?);
        let stands = |tenant: &Arc<TenantRecord>| {
            // A clock that was set back must not lengthen what a verification is worth.
            (earlier.at..ends).contains(&now)
                && (Arc::ptr_eq(tenant, &earlier.tenant)
                    || tenant.issuers == earlier.tenant.issuers)
        };
        match tenant.filter(stands) {
            Some(tenant) => Some(context(tenant, earlier.caller)),
            None => {
                self.verified.forget(token);
                None
            }
        }
    }

    async fn verify(
        &self,
        directory: &dyn TenantDirectory,
        token: &Token,
        now: Timestamp,
    ) -> Result<Verified, IdentityError> {
        let settings = &self.settings;
        let unverified = Unverified::parse(token.expose())?;
        if !settings.algorithms.contains(&unverified.algorithm()) {
            return Err(Refusal::Algorithm.into());
        }
        let key = self.keys.key(unverified.kid()).await;
        let key = key.map_err(|KeysUnavailable| IdentityError::KeysUnavailable)?;
        let key = key.ok_or(Refusal::UnknownKey)?;
        let claims = unverified.verify(key.as_ref(), &settings.claims)?;
        claims.check(settings, now)?;
        let tenant = directory.find(&claims.tenant);
        let tenant = tenant.filter(|tenant| tenant.issuers.contains(&claims.issuer));
        let tenant = tenant.ok_or(Refusal::Tenant)?;
        let ends_at = claims.ends(settings.leeway);
        let caller = Arc::new(Caller::of_claims(claims, &tenant, ends_at));
        Ok(Verified {
            caller,
            tenant,
            at: now,
        })
    }
}

impl Caller {
    fn of_claims(claims: Claims, tenant: &TenantRecord, ends_at: Timestamp) -> Self {
        let first = tenant.issuers.first() == Some(&claims.issuer);
        Self {
            user: UserId::of_subject(&claims.issuer, &claims.subject, first),
            role: claims.role,
            permissions: claims.permissions(),
            ends_at: Some(ends_at),
            context_type: match claims.org_id {
                Some(org_id) => ContextType::Organization {
                    org_id: org_id.into(),
                },
                None => ContextType::Personal,
            },
            origin: Origin::default(),
        }
    }

    fn of_static_token(token: &StaticToken) -> Self {
        Self {
            user: token.user.clone(),
            role: token.role,
            permissions: token.permissions(),
            ends_at: token.expires,
            context_type: ContextType::Personal,
            origin: Origin::default(),
        }
    }

    fn anonymous(anonymous: &Anonymous) -> Self {
        Self {
            user: Anonymous::user(),
            role: anonymous.role,
            permissions: anonymous.role.permissions(),
            ends_at: None,
            context_type: ContextType::Personal,
            origin: Origin::default(),
        }
    }
}
