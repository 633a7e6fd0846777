//! Who is calling: ids that parse, identity to [`TenantContext`], roles and permissions, tenant records.

pub mod id;
pub mod record;
pub mod role;

pub use id::{TenantId, UserId};
pub use record::{Limits, TenantRecord, TenantStatus};
pub use role::{Permission, PermissionSet, Role};
