//! Signing in over HTTP: the bearer token of a request, what a refusal answers, and where to get a token.

mod challenge;
mod resource;
mod scope;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::mesh::tenant::{IdentityError, Permission};

pub use challenge::Challenge;
pub use resource::{InvalidPublicUrl, ProtectedResource, WELL_KNOWN};
pub use scope::ScopeSlot;
pub(in crate::inbound) use scope::missing_scope;

/// How clients sign in to this server over HTTP.
#[derive(Clone, Debug, Default)]
pub struct SignIn {
    resource: Option<ProtectedResource>,
}

impl SignIn {
    /// Clients get their tokens from the issuers that `resource` names.
    pub const fn by_issuers(resource: ProtectedResource) -> Self {
        Self {
            resource: Some(resource),
        }
    }

    /// Clients have their tokens from the operator, so that there is nothing to discover.
    pub const fn by_operator() -> Self {
        Self { resource: None }
    }

    /// What is published of the resource, where there is something to discover.
    pub const fn resource(&self) -> Option<&ProtectedResource> {
        self.resource.as_ref()
    }

    /// The token that a request brings in its headers; nothing where it brings none. What else stands in the
    /// address is no identity: a token in a query would end up in logs.
    ///
    /// # Errors
    /// It tries to sign in in a way that there is not, or in a malformed one; such a request must not be
    /// taken for an anonymous one.
    pub fn token<'request>(
        &self,
        headers: &'request HeaderMap,
    ) -> Result<Option<&'request str>, Challenge> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        let value = value.to_str().map_err(|_| self.malformed())?.trim();
        let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Challenge::unauthenticated(self));
        }
        let token = token.trim_start_matches(' ');
        if values.next().is_some() || !is_token(token) {
            return Err(self.malformed());
        }
        Ok(Some(token))
    }

    /// The answer to a request without a tenant.
    pub fn refused(&self, error: IdentityError) -> Challenge {
        Challenge::of_identity(error, self)
    }

    /// The answer to a request whose token leaves out `permission`, which its user's role has.
    pub fn out_of_scope(&self, permission: Permission) -> Challenge {
        Challenge::of_scope(permission, self)
    }

    fn malformed(&self) -> Challenge {
        Challenge::malformed(self)
    }
}

/// Whether a text may be a bearer token: RFC 6750's `b64token`.
fn is_token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    !body.is_empty() && body.bytes().all(allowed)
}

#[cfg(test)]
mod tests;
