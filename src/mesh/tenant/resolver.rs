//! From what a request presents to the tenant that it runs under: the only maker of [`TenantContext`].

use std::sync::Arc;
use std::time::Duration;

use super::identity::{
    EnvironmentIdentity, IdentityError, Origin, Presented, Refusal, RunIdentity, Token,
};
use super::key_set::{KeySource, KeysUnavailable};
use super::record::{Limits, TenantDirectory, TenantRecord, TenantStatus};
use super::role::{PermissionSet, Role};
use super::token::cache::{Fingerprint, TOKENS_MAX, TokenCache, fingerprint};
use super::token::{Claims, TOKEN_BYTES_MAX, TokenSettings, Unverified};
use super::{TenantId, UserId};
use crate::mesh::clock::Timestamp;

/// How long a verified token is believed without its signature being looked at again; a key that is
/// withdrawn has its effect within this time.
pub const VERIFIED_FOR: Duration = Duration::from_secs(60);

/// Who is calling, resolved anew for every request. Only a [`Resolver`] makes one, and it cannot be
/// copied, so that holding one means that this very request has been resolved.
#[derive(Debug)]
pub struct TenantContext {
    tenant: Arc<TenantRecord>,
    caller: Arc<Caller>,
}

/// On whose behalf the user acts: a label on events, which opens and closes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContextType {
    /// On their own.
    Personal,
    /// On an organization's.
    Organization {
        /// Its id, as the token has it: 1 to 128 bytes without control characters.
        org_id: Arc<str>,
    },
}

/// Tells, for each request, who is calling.
pub struct Resolver {
    directory: Arc<dyn TenantDirectory>,
    way: Way,
}

/// The part of a context that is the same for every request of one user or token.
#[derive(Debug)]
struct Caller {
    user: UserId,
    role: Role,
    permissions: PermissionSet,
    context_type: ContextType,
    ends_at: Option<Timestamp>,
    origin: Origin,
}

enum Way {
    Environment {
        caller: Arc<Caller>,
        unlisted: Arc<TenantRecord>,
    },
    Token {
        settings: TokenSettings,
        keys: Arc<dyn KeySource>,
        verified: TokenCache<Verified>,
    },
}

/// A token that has been verified, with all that the verification rested upon.
#[derive(Clone)]
struct Verified {
    caller: Arc<Caller>,
    tenant: Arc<TenantRecord>,
    at: Timestamp,
}

impl TenantContext {
    /// The tenant's record.
    pub fn tenant(&self) -> &Arc<TenantRecord> {
        &self.tenant
    }

    /// The tenant.
    pub fn tenant_id(&self) -> &TenantId {
        &self.tenant.id
    }

    /// The user within the tenant.
    pub fn user_id(&self) -> &UserId {
        &self.caller.user
    }

    /// What the user is to the tenant.
    pub fn role(&self) -> Role {
        self.caller.role
    }

    /// What the caller may do: the role's permissions, narrowed by the token's scope.
    pub fn permissions(&self) -> PermissionSet {
        self.caller.permissions
    }

    /// What the tenant may use.
    pub fn limits(&self) -> &Arc<Limits> {
        &self.tenant.limits
    }

    /// On whose behalf the user acts.
    pub fn context_type(&self) -> &ContextType {
        &self.caller.context_type
    }

    /// What led to the request: nothing, where a client makes it; where a workflow run does, that.
    pub fn origin(&self) -> Origin {
        self.caller.origin
    }

    /// From when on this identity is no longer accepted: what streams to the caller ends then. An
    /// identity from the environment does not end.
    pub fn ends_at(&self) -> Option<Timestamp> {
        self.caller.ends_at
    }
}

impl Resolver {
    /// Every request is that of the one user whom the environment names. Where `directory` does not
    /// know the tenant, it may use `limits`.
    pub fn of_environment(
        identity: EnvironmentIdentity,
        limits: Arc<Limits>,
        directory: Arc<dyn TenantDirectory>,
    ) -> Self {
        let unlisted = Arc::new(TenantRecord {
            id: identity.tenant,
            status: TenantStatus::Active,
            issuers: Vec::new(),
            event_shards: 1,
            limits,
            workflows: Default::default(),
            alert_topics: Default::default(),
        });
        let caller = Arc::new(Caller {
            user: identity.user,
            role: identity.role,
            permissions: identity.role.permissions(),
            context_type: ContextType::Personal,
            ends_at: None,
            origin: Origin::default(),
        });
        Self {
            directory,
            way: Way::Environment { caller, unlisted },
        }
    }

    /// Every request says by a token whose it is.
    pub fn of_tokens(
        settings: TokenSettings,
        keys: Arc<dyn KeySource>,
        directory: Arc<dyn TenantDirectory>,
    ) -> Self {
        Self {
            directory,
            way: Way::Token {
                settings,
                keys,
                verified: TokenCache::new(TOKENS_MAX),
            },
        }
    }

    /// Who is calling.
    ///
    /// # Errors
    /// [`IdentityError`]: the request has no tenant, and nothing of it may be done.
    pub async fn resolve(
        &self,
        presented: &Presented,
        now: Timestamp,
    ) -> Result<TenantContext, IdentityError> {
        if let Some(run) = &presented.run {
            return self.of_run(run);
        }
        match &self.way {
            Way::Environment { caller, unlisted } => self.of_process(presented, caller, unlisted),
            Way::Token {
                settings,
                keys,
                verified,
            } => {
                let token = presented_token(presented)?;
                let fingerprint = fingerprint(token.expose());
                match self.remembered(verified, &fingerprint, now) {
                    Some(result) => result,
                    None => {
                        let fresh = self.verify(token, settings, keys.as_ref(), now).await;
                        self.remember(verified, fingerprint, fresh)
                    }
                }
            }
        }
    }

    /// Who is calling, where that is known without verifying a token; nothing where only
    /// [`Resolver::resolve`] can tell.
    pub fn resolve_now(
        &self,
        presented: &Presented,
        now: Timestamp,
    ) -> Option<Result<TenantContext, IdentityError>> {
        if let Some(run) = &presented.run {
            return Some(self.of_run(run));
        }
        match &self.way {
            Way::Environment { caller, unlisted } => {
                Some(self.of_process(presented, caller, unlisted))
            }
            Way::Token { verified, .. } => match presented_token(presented) {
                Ok(token) => self.remembered(verified, &fingerprint(token.expose()), now),
                Err(error) => Some(Err(error)),
            },
        }
    }

    /// Whether the keys that verify tokens are at hand, where any are needed; reads them if need be.
    pub async fn has_keys(&self) -> bool {
        match &self.way {
            Way::Environment { .. } => true,
            Way::Token { keys, .. } => keys.is_loaded().await,
        }
    }

    /// The only tenant that requests and runs can be of; nothing where their tokens say of which they are.
    pub fn only_tenant(&self) -> Option<&TenantId> {
        match &self.way {
            Way::Environment { unlisted, .. } => Some(&unlisted.id),
            Way::Token { .. } => None,
        }
    }

    /// A workflow run: its user, with no more than that user might do when it was started and may be
    /// done now. A process of one person does so for its own tenant only.
    fn of_run(&self, run: &RunIdentity) -> Result<TenantContext, IdentityError> {
        let listed = self.directory.find(run.tenant());
        let (tenant, role) = match &self.way {
            Way::Environment { caller, unlisted } => {
                if unlisted.id != *run.tenant() {
                    return Err(Refusal::Tenant.into());
                }
                let tenant = listed.unwrap_or_else(|| Arc::clone(unlisted));
                (tenant, caller.role)
            }
            Way::Token { .. } => (
                listed.ok_or(Refusal::Tenant)?,
                Role::least_with(run.permissions()),
            ),
        };
        let caller = Caller {
            user: run.user().clone(),
            role,
            permissions: role.permissions().intersection(run.permissions()),
            context_type: ContextType::Personal,
            ends_at: None,
            origin: run.origin(),
        };
        context(tenant, Arc::new(caller))
    }

    /// The process's own user; an identity inside a request is refused, since whoever sent it expects
    /// it to count.
    fn of_process(
        &self,
        presented: &Presented,
        caller: &Arc<Caller>,
        unlisted: &Arc<TenantRecord>,
    ) -> Result<TenantContext, IdentityError> {
        if presented.token.is_some() {
            return Err(IdentityError::Unexpected);
        }
        if presented.foreign {
            return Err(IdentityError::Foreign);
        }
        let listed = self.directory.find(&unlisted.id);
        let tenant = listed.unwrap_or_else(|| Arc::clone(unlisted));
        context(tenant, Arc::clone(caller))
    }

    /// What an earlier verification found, if it still stands: the clock, the tenant's state and its
    /// issuers are looked at anew.
    fn remembered(
        &self,
        verified: &TokenCache<Verified>,
        token: &Fingerprint,
        now: Timestamp,
    ) -> Option<Result<TenantContext, IdentityError>> {
        let earlier = verified.find(token)?;
        let tenant = self.directory.find(&earlier.tenant.id);
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
                verified.forget(token);
                None
            }
        }
    }

    async fn verify(
        &self,
        token: &Token,
        settings: &TokenSettings,
        keys: &dyn KeySource,
        now: Timestamp,
    ) -> Result<Verified, IdentityError> {
        let unverified = Unverified::parse(token.expose())?;
        let key = keys.key(unverified.kid()).await;
        let key = key.map_err(|KeysUnavailable| IdentityError::KeysUnavailable)?;
        let claims = unverified.verify(key.ok_or(Refusal::UnknownKey)?.as_ref())?;
        claims.check(settings, now)?;
        let tenant = self.directory.find(&claims.tenant);
        let tenant = tenant.filter(|tenant| tenant.issuers.contains(&claims.issuer));
        let tenant = tenant.ok_or(Refusal::Tenant)?;
        let caller = Arc::new(Caller::of_claims(claims, &tenant));
        Ok(Verified {
            caller,
            tenant,
            at: now,
        })
    }

    fn remember(
        &self,
        verified: &TokenCache<Verified>,
        token: Fingerprint,
        fresh: Result<Verified, IdentityError>,
    ) -> Result<TenantContext, IdentityError> {
        let fresh = fresh?;
        verified.insert(token, fresh.clone());
        context(fresh.tenant, fresh.caller)
    }
}

impl Caller {
    fn of_claims(claims: Claims, tenant: &TenantRecord) -> Self {
        let first = tenant.issuers.first() == Some(&claims.issuer);
        Self {
            user: UserId::of_subject(&claims.issuer, &claims.subject, first),
            role: claims.role,
            permissions: claims.permissions(),
            ends_at: Some(claims.ends()),
            context_type: match claims.org_id {
                Some(org_id) => ContextType::Organization {
                    org_id: org_id.into(),
                },
                None => ContextType::Personal,
            },
            origin: Origin::default(),
        }
    }
}

/// The last step of every way in: a suspended tenant calls nothing.
fn context(tenant: Arc<TenantRecord>, caller: Arc<Caller>) -> Result<TenantContext, IdentityError> {
    match tenant.status {
        TenantStatus::Active => Ok(TenantContext { tenant, caller }),
        TenantStatus::Suspended => Err(IdentityError::Suspended),
    }
}

/// The token of a request. Other identities in the request are left aside: they are never believed,
/// and clients that serve older servers too send them along.
fn presented_token(presented: &Presented) -> Result<&Token, IdentityError> {
    let token = presented.token.as_ref().ok_or(IdentityError::Missing)?;
    if token.expose().len() > TOKEN_BYTES_MAX {
        return Err(Refusal::TooLarge.into());
    }
    Ok(token)
}

#[cfg(test)]
mod tests;
