//! From what a request presents to the tenant that it runs under: the only maker of [`TenantContext`].

mod bearer;

use std::sync::Arc;
use std::time::Duration;

use super::identity::{
    EnvironmentIdentity, IdentityError, Origin, Presented, Refusal, RunIdentity,
};
use super::key_set::KeySource;
use super::record::{Limits, TenantDirectory, TenantRecord, TenantStatus};
use super::role::{Permission, PermissionSet, Role};
use super::token::TokenSettings;
use super::{TenantId, UserId};
use crate::mesh::clock::Timestamp;
use bearer::BearerWay;

pub use bearer::{Bearers, SignedTokens};

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
    Bearer(Box<BearerWay>),
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

    /// Whether the caller lacks `permission` only because the token's scope leaves it out: the same user with
    /// another token could do it. What a workflow run lacks no token gives.
    pub fn scope_lacks(&self, permission: Permission) -> bool {
        self.caller.origin.run.is_none()
            && self.caller.role.permissions().contains(permission)
            && !self.caller.permissions.contains(permission)
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

    /// Every request says by a signed token whose it is.
    pub fn of_tokens(
        settings: TokenSettings,
        keys: Arc<dyn KeySource>,
        directory: Arc<dyn TenantDirectory>,
    ) -> Self {
        let bearers = Bearers {
            jwt: Some(SignedTokens { settings, keys }),
            ..Bearers::default()
        };
        Self::of_bearers(bearers, directory)
    }

    /// Every request says in one of the ways of `bearers` whose it is.
    pub fn of_bearers(bearers: Bearers, directory: Arc<dyn TenantDirectory>) -> Self {
        Self {
            directory,
            way: Way::Bearer(Box::new(BearerWay::new(bearers))),
        }
    }

    /// Who is calling.
    ///
    /// # Errors
    /// [`IdentityError`]: the request has no tenant, and nothing of it may be done. Why a token is not
    /// accepted is in the log.
    pub async fn resolve(
        &self,
        presented: &Presented,
        now: Timestamp,
    ) -> Result<TenantContext, IdentityError> {
        let resolved = match (&presented.run, &self.way) {
            (Some(run), _) => self.of_run(run),
            (None, Way::Environment { caller, unlisted }) => {
                self.of_process(presented, caller, unlisted)
            }
            (None, Way::Bearer(way)) => way.resolve(self.directory.as_ref(), presented, now).await,
        };
        resolved.inspect_err(log)
    }

    /// Who is calling, where that is known without verifying a token; nothing where only
    /// [`Resolver::resolve`] can tell.
    pub fn resolve_now(
        &self,
        presented: &Presented,
        now: Timestamp,
    ) -> Option<Result<TenantContext, IdentityError>> {
        let resolved = match (&presented.run, &self.way) {
            (Some(run), _) => Some(self.of_run(run)),
            (None, Way::Environment { caller, unlisted }) => {
                Some(self.of_process(presented, caller, unlisted))
            }
            (None, Way::Bearer(way)) => way.resolve_now(self.directory.as_ref(), presented, now),
        };
        resolved.map(|resolved| resolved.inspect_err(log))
    }

    /// Whether the keys that verify tokens are at hand, where any are needed; reads them if need be.
    pub async fn has_keys(&self) -> bool {
        match &self.way {
            Way::Environment { .. } => true,
            Way::Bearer(way) => way.has_keys().await,
        }
    }

    /// The only tenant that requests and runs can be of; nothing where their tokens say of which they are.
    pub fn only_tenant(&self) -> Option<&TenantId> {
        match &self.way {
            Way::Environment { unlisted, .. } => Some(&unlisted.id),
            Way::Bearer(_) => None,
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
            Way::Bearer(_) => (
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
}

/// The last step of every way in: a suspended tenant calls nothing.
fn context(tenant: Arc<TenantRecord>, caller: Arc<Caller>) -> Result<TenantContext, IdentityError> {
    match tenant.status {
        TenantStatus::Active => Ok(TenantContext { tenant, caller }),
        TenantStatus::Suspended => Err(IdentityError::Suspended),
    }
}

/// Tells the operator why a token is not accepted; whoever sent it may be told less.
fn log(error: &IdentityError) {
    if let IdentityError::Unauthenticated(refusal) = error {
        tracing::info!(reason = refusal.reason(), "a token is refused: {refusal}");
    }
}

#[cfg(test)]
mod tests;
