//! Who is calling: ids that parse, identity to [`TenantContext`], roles and permissions, tenant records.

pub mod id;
pub mod identity;
pub mod key_set;
pub mod record;
pub mod resolver;
pub mod role;
pub mod static_token;
pub mod token;

#[cfg(test)]
pub(crate) mod test_key;

pub use id::{TenantId, UserId};
pub use identity::{
    Anonymous, EnvironmentIdentity, IdentityError, Origin, Presented, Refusal, RunIdentity, Token,
};
pub use key_set::{KeySet, KeySource, KeysUnavailable, SignatureAlgorithm, SignatureKey};
pub use record::{Limits, TenantDirectory, TenantRecord, TenantStatus};
pub use resolver::{Bearers, ContextType, Resolver, SignedTokens, TenantContext};
pub use role::{Permission, PermissionSet, Role};
pub use static_token::{StaticToken, StaticTokenDirectory, TokenHash};
pub use token::TokenSettings;
pub use token::claim::{ClaimName, ClaimNames};
