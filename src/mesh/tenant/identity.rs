//! What a request presents as its identity, and why it may be refused.

use std::fmt;
use std::sync::Arc;

use ulid::Ulid;

use super::{PermissionSet, Role, TenantId, UserId};
use crate::mesh::error::Error;
use crate::mesh::workflow::Run;

/// A bearer token as it came in. Nothing shows it: it is compared and verified, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// The identity that a request carries, as its transport found it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presented {
    /// The token: `_meta["com.agent-mesh/identity"]`, or what HTTP calls the bearer token.
    pub token: Option<Token>,
    /// Whether the request names somebody in a place that is never believed: `tenant_id` or `user_id`
    /// beside its parameters, or `arguments._context`.
    pub foreign: bool,
    /// The workflow run that calls, where it is one. Only the mesh can say so, of a run in its rows.
    pub run: Option<Arc<RunIdentity>>,
}

/// The identity of a workflow run that calls: its user, with what that user might do when it was started.
#[derive(Debug, PartialEq, Eq)]
pub struct RunIdentity {
    run_id: Ulid,
    tenant: TenantId,
    user: UserId,
    permissions: PermissionSet,
    cause: Option<Ulid>,
    depth: u8,
}

/// What led to a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The workflow run that makes it.
    pub run: Option<Ulid>,
    /// The event that led to that run.
    pub cause: Option<Ulid>,
    /// How many events led here; 0 for what a client does.
    pub depth: u8,
}

impl RunIdentity {
    /// The identity of `run`, which is one of `tenant`'s.
    pub(in crate::mesh) fn of(tenant: &TenantId, run: &Run) -> Self {
        Self {
            run_id: run.run_id,
            tenant: tenant.clone(),
            user: run.user.clone(),
            permissions: run.permissions,
            cause: run.cause,
            depth: run.depth,
        }
    }

    pub(super) fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    pub(super) fn user(&self) -> &UserId {
        &self.user
    }

    pub(super) fn permissions(&self) -> PermissionSet {
        self.permissions
    }

    pub(super) fn origin(&self) -> Origin {
        Origin {
            run: Some(self.run_id),
            cause: self.cause,
            depth: self.depth,
        }
    }
}

/// Who calls when the process belongs to one person: set once, by the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentIdentity {
    /// The tenant; it need not be listed anywhere.
    pub tenant: TenantId,
    /// The user.
    pub user: UserId,
    /// What the user is to the tenant.
    pub role: Role,
}

/// Who calls without any token, where the operator lets such requests in: a user named `anonymous`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anonymous {
    /// The tenant; the directory must know it.
    pub tenant: TenantId,
    /// What such callers are to the tenant.
    pub role: Role,
}

impl Anonymous {
    /// The user that such callers are.
    pub fn user() -> UserId {
        // It fits; the issuer would count only if it did not.
        UserId::of_subject("", "anonymous", true)
    }
}

/// Why a request has no tenant. All but [`IdentityError::Foreign`] are faults of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The server expects a token and the request has none.
    #[error("this request carries no identity")]
    Missing,
    /// The token does not say, in a way that can be believed, who is calling.
    #[error("the identity of this request is not accepted: {0}")]
    Unauthenticated(Refusal),
    /// The tenant is known and may not call at present.
    #[error("this tenant is suspended")]
    Suspended,
    /// The server acts for one person only and the request brings a token.
    #[error("this server acts for the one user that its environment names and takes no token")]
    Unexpected,
    /// The server acts for one person only and the request names somebody among its arguments. It
    /// reads as a tool's error where a tool is called: see [`IdentityError::tool_error`].
    #[error(
        "this server acts for the one user that its environment names; a call cannot name another one"
    )]
    Foreign,
    /// The keys that verify tokens cannot be had at the moment; the same request may succeed later.
    #[error("the keys that verify tokens cannot be read at the moment")]
    KeysUnavailable,
}

/// What is wrong with a token, in words that hold nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Longer than [`TOKEN_BYTES_MAX`](super::token::TOKEN_BYTES_MAX).
    #[error("the token is over {} bytes", super::token::TOKEN_BYTES_MAX)]
    TooLarge,
    /// Not a signed JWT in compact form.
    #[error(
        "it is no signed JWT: three parts of base64url, the first two JSON objects that name each member once"
    )]
    Malformed,
    /// Its algorithm is none of ours; `none` and the symmetric ones are such.
    #[error("its alg is not one that this server accepts")]
    Algorithm,
    /// Its header brings a key of its own, or asks for what we do not do.
    #[error("its header has {0}, which is not accepted; name the key by kid alone")]
    ForbiddenHeader(&'static str),
    /// Its header names no key.
    #[error("its header names no key (kid)")]
    NoKeyId,
    /// None of the published keys has that name.
    #[error("its key (kid) is not among the published ones")]
    UnknownKey,
    /// The key of that name is for another algorithm.
    #[error("its alg is not that of its key")]
    KeyAlgorithm,
    /// The signature is not the key's.
    #[error("its signature does not fit")]
    Signature,
    /// A claim that must be there is not.
    #[error("it lacks the claim {0}")]
    MissingClaim(&'static str),
    /// A claim is of the wrong type or says nothing that we know.
    #[error("its claim {0} is not as it must be")]
    WrongClaim(&'static str),
    /// Its issuer is not one of the server's.
    #[error("its issuer (iss) is not one that this server trusts")]
    Issuer,
    /// It is meant for somebody else.
    #[error("its audience (aud) is not this server")]
    Audience,
    /// It is valid for too long, or for no time at all.
    #[error("its lifetime (exp less iat) is not above zero, or longer than this server accepts")]
    Lifetime,
    /// It has ended.
    #[error("it has expired (exp)")]
    Expired,
    /// It begins in the future.
    #[error("it is not valid yet (iat or nbf); compare the clocks")]
    NotYetValid,
    /// There is no such tenant, or its issuers are others; the two look alike.
    #[error("its issuer signs nobody in to that tenant")]
    Tenant,
    /// It is a signed token where static ones are taken, or the other way round.
    #[error("this server takes no tokens of its kind")]
    Kind,
    /// No static token is like it; one that was revoked looks like one that never was.
    #[error("there is no such static token, or it was revoked")]
    Unknown,
}

impl Refusal {
    /// One word for it, for logs and metrics; there are as many as there are kinds of refusals.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::ForbiddenHeader(_) => "forbidden_header",
            Self::NoKeyId => "no_key_id",
            Self::UnknownKey => "unknown_key",
            Self::KeyAlgorithm => "key_algorithm",
            Self::Signature => "signature",
            Self::MissingClaim(_) => "missing_claim",
            Self::WrongClaim(_) => "wrong_claim",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Lifetime => "lifetime",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Tenant => "tenant",
            Self::Kind => "kind",
            Self::Unknown => "unknown",
        }
    }
}

impl Token {
    /// A token as it came in.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The token itself, for the verifier alone.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(..)")
    }
}

impl IdentityError {
    /// What the caller, or whoever runs the server, can do about it.
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Missing => "send a token in params._meta[\"com.agent-mesh/identity\"]",
            Self::Unauthenticated(_) => {
                "send a token that a trusted issuer has signed for this server less than 300 s ago"
            }
            Self::Suspended => "ask whoever runs this server",
            Self::Unexpected => {
                "remove _meta[\"com.agent-mesh/identity\"], or run the server with AGENT_MESH_IDENTITY=jwt"
            }
            Self::Foreign => {
                "remove arguments._context and any tenant_id or user_id beside the arguments, or run the server with AGENT_MESH_IDENTITY=jwt"
            }
            Self::KeysUnavailable => "try again in a few seconds",
        }
    }

    /// The error that a tool answers with, where this one is a mistake in a tool's arguments.
    pub fn tool_error(&self) -> Option<Error> {
        (*self == Self::Foreign)
            .then(|| Error::invalid("_context", self.to_string()).fix(self.fix()))
    }
}

impl From<Refusal> for IdentityError {
    fn from(refusal: Refusal) -> Self {
        Self::Unauthenticated(refusal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::error::ErrorKind;

    #[test]
    fn nothing_shows_a_token() {
        let presented = Presented {
            token: Some(Token::new("eyJhbGciOi.secret.part")),
            ..Presented::default()
        };
        assert_eq!(
            format!("{presented:?} {presented:#?}")
                .matches("secret")
                .count(),
            0
        );
    }

    #[test]
    fn only_a_foreign_identity_is_a_tools_error() {
        let error = IdentityError::Foreign.tool_error().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidParameter);
        assert_eq!(error.details()["parameter"], "_context");
        assert!(
            error
                .fix_text()
                .unwrap()
                .contains("AGENT_MESH_IDENTITY=jwt")
        );
        for other in [
            IdentityError::Missing,
            IdentityError::Unauthenticated(Refusal::Expired),
            IdentityError::Suspended,
            IdentityError::Unexpected,
            IdentityError::KeysUnavailable,
        ] {
            assert!(other.tool_error().is_none(), "{other}");
            assert!(!other.fix().is_empty());
        }
    }
}
