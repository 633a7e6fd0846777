//! Who is calling: ids that parse, identity to [`TenantContext`], roles and permissions, tenant records.

pub mod id;
pub mod identity;
pub mod key_set;
pub mod record;
pub mod resolver;
pub mod role;
pub mod token;

#[cfg(test)]
pub(crate) mod test_key;

pub use id::{TenantId, UserId};
pub use identity::{
    EnvironmentIdentity, IdentityError, Origin, Presented, Refusal, RunIdentity, Token,
};
pub use key_set::{KeySet, KeySource, KeysUnavailable, SignatureKey};
pub use record::{Limits, TenantDirectory, TenantRecord, TenantStatus};
pub use resolver::{ContextType, Resolver, TenantContext};
pub use role::{Permission, PermissionSet, Role};
pub use token::TokenSettings;
