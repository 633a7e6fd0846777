//! Who may ask: anybody, as one and the same.

use agent_mesh::inbound::error::UNAUTHENTICATED;
use agent_mesh::inbound::sign_in::SignIn;
use agent_mesh::inbound::transport::http::{Caller, Front, Mirrored, Refused};
use agent_mesh::mesh::tenant::Permission;
use http::HeaderMap;
use rmcp::{Peer, RoleServer};

use crate::server::Fixtures;

/// The fixtures behind a listener.
pub(crate) struct FixtureFront {
    fixtures: Fixtures,
}

impl FixtureFront {
    /// What answers everybody.
    pub(crate) const fn new(fixtures: Fixtures) -> Self {
        Self { fixtures }
    }
}

impl Front for FixtureFront {
    type Handler = Fixtures;

    async fn caller(&self, _: &HeaderMap) -> Result<Caller, Refused> {
        Ok(Caller {
            token: None,
            key: [0; 16],
            share: "suite".into(),
            ends_at: None,
        })
    }

    fn out_of_scope(&self, permission: Permission) -> Refused {
        Refused {
            challenge: SignIn::by_operator().out_of_scope(permission),
            code: UNAUTHENTICATED,
        }
    }

    fn mirrored(&self, tool: &str) -> Vec<Mirrored> {
        self.fixtures.mirrored(tool)
    }

    fn handler(&self) -> Fixtures {
        self.fixtures.clone()
    }

    fn session(&self) -> Fixtures {
        self.fixtures.clone()
    }

    fn streaming(&self, _: Peer<RoleServer>) -> Fixtures {
        self.fixtures.clone()
    }

    fn again(&self, handler: &Fixtures) -> Fixtures {
        handler.clone()
    }
}
