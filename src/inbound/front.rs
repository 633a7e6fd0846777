//! The mesh behind a listener: who asks, and what answers.

use std::sync::Arc;

use http::HeaderMap;
use rmcp::{Peer, RoleServer};
use sha2::{Digest, Sha256};

use super::error::{UNAUTHENTICATED, identity_error};
use super::server::{Server, Shared, Unasked};
use super::sign_in::{Challenge, SignIn};
use super::transport::http::{Caller, Front, Refused};
use crate::mesh::tenant::{IdentityError, Permission, Presented, TenantContext, Token};

/// The mesh, as clients reach it by address.
pub struct MeshFront {
    shared: Arc<Shared>,
    sign_in: SignIn,
}

impl MeshFront {
    /// What `shared` offers, to those who sign in by `sign_in`.
    pub fn new(shared: Arc<Shared>, sign_in: SignIn) -> Self {
        Self { shared, sign_in }
    }

    /// How clients sign in.
    pub fn sign_in(&self) -> &SignIn {
        &self.sign_in
    }

    /// What all sessions share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The token that a request brings.
    ///
    /// # Errors
    /// It tries to sign in in a way that there is not.
    pub fn token<'request>(
        &self,
        headers: &'request HeaderMap,
    ) -> Result<Option<&'request str>, Refused> {
        self.sign_in.token(headers).map_err(malformed)
    }

    /// Whose request it is that brings `token`.
    ///
    /// # Errors
    /// It is nobody's who may ask.
    pub async fn resolve(&self, token: Option<&str>) -> Result<TenantContext, Refused> {
        let presented = Presented {
            token: token.map(|token| Token::new(token.to_owned())),
            foreign: false,
            run: None,
        };
        let backplane = &self.shared.backplane;
        let now = backplane.clock.now();
        let resolved = backplane.resolver.resolve(&presented, now).await;
        resolved.map_err(|error| self.refused(error))
    }

    /// What a request is told that is nobody's.
    pub fn refused(&self, error: IdentityError) -> Refused {
        Refused {
            challenge: self.sign_in.refused(error),
            code: identity_error(error).code,
        }
    }
}

fn malformed(challenge: Challenge) -> Refused {
    Refused {
        challenge,
        code: UNAUTHENTICATED,
    }
}

impl Front for MeshFront {
    type Handler = Server;

    async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Refused> {
        let token = self.token(headers)?;
        let context = self.resolve(token).await?;
        Ok(Caller {
            token: token.map(str::to_owned),
            key: key(&context),
            share: context.tenant_id().as_str().into(),
            ends_at: context.ends_at(),
        })
    }

    fn out_of_scope(&self, permission: Permission) -> Refused {
        Refused {
            challenge: self.sign_in.out_of_scope(permission),
            code: UNAUTHENTICATED,
        }
    }

    fn handler(&self) -> Server {
        Server::new(Arc::clone(&self.shared), Unasked::Streamed(None))
    }

    fn session(&self) -> Server {
        Server::new(Arc::clone(&self.shared), Unasked::Told)
    }

    fn streaming(&self, stream: Peer<RoleServer>) -> Server {
        Server::new(Arc::clone(&self.shared), Unasked::Streamed(Some(stream)))
    }

    fn again(&self, handler: &Server) -> Server {
        handler.clone()
    }
}

/// Stands for a user of a tenant: neither id can hold the byte between them.
fn key(context: &TenantContext) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(context.tenant_id().as_str());
    hash.update([0]);
    hash.update(context.user_id().as_str());
    let mut key = [0; 16];
    for (to, from) in key.iter_mut().zip(hash.finalize()) {
        *to = from;
    }
    key
}
