//! How a handler tells the transport that a token's scope was too narrow, which HTTP answers with a status.

use std::sync::{Arc, OnceLock};

use rmcp::model::Extensions;

use crate::mesh::error::{Error, ErrorKind};
use crate::mesh::tenant::Permission;

/// Where a handler leaves the permission that the scope of the caller's token leaves out. A transport that
/// has an answer of its own for it puts one into the extensions of a request; over others the tool's error
/// says it all.
#[derive(Clone, Debug, Default)]
pub struct ScopeSlot(Arc<OnceLock<Permission>>);

impl ScopeSlot {
    /// What was left; nothing where the scope was not what was wrong.
    pub fn missing(&self) -> Option<Permission> {
        self.0.get().copied()
    }

    /// Leaves with the request of these extensions what its caller's scope leaves out.
    pub(in crate::inbound) fn note(extensions: &Extensions, missing: Option<Permission>) {
        if let (Some(slot), Some(permission)) = (extensions.get::<Self>(), missing) {
            // The first one counts; a request is refused once.
            let _ = slot.0.set(permission);
        }
    }
}

/// The permission that the scope of the caller's token leaves out, where that is what an error says.
pub(in crate::inbound) fn missing_scope(error: &Error) -> Option<Permission> {
    if error.kind() != ErrorKind::PermissionDenied {
        return None;
    }
    Permission::named(error.details().get("scope")?.as_str()?)
}
