//! The HTTP answer to a request that may not do what it asks for, as RFC 6750 and the MCP specification want it.

use std::fmt::Write;
use std::time::Duration;

use http::{HeaderValue, StatusCode};

use super::SignIn;
use crate::mesh::tenant::{IdentityError, Permission, PermissionSet};

/// How long a client should wait for keys that cannot be had now.
const KEYS_RETRY: Duration = Duration::from_secs(5);

/// What an HTTP client is answered that may not do what it asks for. Every token that is not accepted gets
/// the same answer: which check failed is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// 400, 401, 403 or 503.
    pub status: StatusCode,
    /// The value of `WWW-Authenticate`, where the answer has one.
    pub www_authenticate: Option<HeaderValue>,
    /// The value of `Retry-After`, where the same request may succeed later.
    pub retry_after: Option<Duration>,
    /// What is wrong, for the body.
    pub message: &'static str,
    /// What to do about it, for the body.
    pub fix: &'static str,
}

/// One challenge of the scheme `Bearer`, parameter by parameter.
struct Bearer(String);

impl Challenge {
    /// The request brings no token, or credentials of another scheme: no error code, since it may just not
    /// have known.
    pub(super) fn unauthenticated(sign_in: &SignIn) -> Self {
        let bearer = match sign_in.resource() {
            Some(resource) if resource.names_scopes() => {
                Bearer::new(sign_in).with("scope", &scopes(PermissionSet::ALL))
            }
            _ => Bearer::new(sign_in),
        };
        Self {
            status: StatusCode::UNAUTHORIZED,
            www_authenticate: bearer.value(),
            retry_after: None,
            message: "this request carries no token",
            fix: "send a token of this server's in the header `Authorization: Bearer <token>`",
        }
    }

    /// The header `Authorization` cannot be read.
    pub(super) fn malformed(sign_in: &SignIn) -> Self {
        let bearer = Bearer::new(sign_in).with("error", "invalid_request");
        Self {
            status: StatusCode::BAD_REQUEST,
            www_authenticate: bearer.value(),
            retry_after: None,
            message: "the header Authorization is malformed, or is there twice",
            fix: "send one header `Authorization: Bearer <token>`",
        }
    }

    pub(super) fn of_identity(error: IdentityError, sign_in: &SignIn) -> Self {
        match error {
            IdentityError::Missing => Self::unauthenticated(sign_in),
            IdentityError::Unauthenticated(_) | IdentityError::Unexpected => {
                Self::invalid_token(sign_in)
            }
            IdentityError::Suspended => Self {
                status: StatusCode::FORBIDDEN,
                www_authenticate: None,
                retry_after: None,
                message: "this tenant is suspended",
                fix: "ask whoever runs this server",
            },
            IdentityError::Foreign => Self {
                status: StatusCode::BAD_REQUEST,
                www_authenticate: None,
                retry_after: None,
                message: "a request without a token cannot name its caller",
                fix: "remove arguments._context and any tenant_id or user_id beside the arguments, or sign in",
            },
            IdentityError::KeysUnavailable => Self {
                status: StatusCode::SERVICE_UNAVAILABLE,
                www_authenticate: None,
                retry_after: Some(KEYS_RETRY),
                message: "the keys that verify tokens cannot be read at the moment",
                fix: "try again in a few seconds",
            },
        }
    }

    fn invalid_token(sign_in: &SignIn) -> Self {
        let bearer = Bearer::new(sign_in)
            .with("error", "invalid_token")
            .with("error_description", "The token is not accepted");
        Self {
            status: StatusCode::UNAUTHORIZED,
            www_authenticate: bearer.value(),
            retry_after: None,
            message: "the token of this request is not accepted",
            fix: "sign in again; whoever runs this server finds the reason in its log",
        }
    }

    pub(super) fn of_scope(permission: Permission, sign_in: &SignIn) -> Self {
        let bearer = Bearer::new(sign_in)
            .with("error", "insufficient_scope")
            .with("scope", permission.name())
            .with(
                "error_description",
                "The scope of the token leaves this out",
            );
        Self {
            status: StatusCode::FORBIDDEN,
            www_authenticate: bearer.value(),
            retry_after: None,
            message: "the scope of the token leaves this out",
            fix: "sign in again with the scope that WWW-Authenticate names",
        }
    }
}

impl Bearer {
    /// The scheme needs a parameter at least, so that a realm stands where there is nothing to discover.
    fn new(sign_in: &SignIn) -> Self {
        match sign_in.resource() {
            Some(resource) => Self(format!(
                "Bearer resource_metadata=\"{}\"",
                resource.metadata_url()
            )),
            None => Self("Bearer realm=\"agent-mesh\"".to_owned()),
        }
    }

    /// With one more parameter, whose value holds neither quotes nor backslashes.
    fn with(mut self, name: &str, value: &str) -> Self {
        let _ = write!(self.0, ", {name}=\"{value}\"");
        self
    }

    fn value(self) -> Option<HeaderValue> {
        HeaderValue::try_from(self.0).ok()
    }
}

/// The names of `permissions` as a scope.
fn scopes(permissions: PermissionSet) -> String {
    let names: Vec<&str> = permissions.iter().map(Permission::name).collect();
    names.join(" ")
}
