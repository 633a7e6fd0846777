//! Ids of integrations and connections: parsed once, at the edge, and safe inside physical keys ever after.

use std::str::FromStr;
use std::sync::Arc;

use crate::mesh::text_id::text_id;

/// Ids that no integration may have: the tools of this server begin with them.
pub const RESERVED: [&str; 8] = [
    "agent-mesh",
    "artifacts",
    "events",
    "integration",
    "kv",
    "mcp",
    "mesh",
    "workflow",
];

/// The longest id of a service, in characters.
pub const SERVICE_ID_CHARS_MAX: usize = 32;

/// The longest id of a connection, in characters.
pub const CONNECTION_ID_CHARS_MAX: usize = 64;

/// An integration within its tenant: 1 to 32 of `[a-z0-9-]`, none of [`RESERVED`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(Arc<str>);

/// One of a user's connections to an integration: 1 to 64 of `[A-Za-z0-9._-]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(Arc<str>);

/// Why a text is no id; says what an id may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIntegrationId {
    /// Not a service's id.
    #[error("must be 1 to 32 of a-z, 0-9 and -")]
    Service,
    /// A name of this server's own.
    #[error("is a name of this server's own; choose another, such as my-{0}")]
    Reserved(&'static str),
    /// Not a connection's id.
    #[error("must be 1 to 64 of A-Z, a-z, 0-9 and . _ -")]
    Connection,
}

impl ServiceId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ConnectionId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The connection that is meant where none is named.
impl Default for ConnectionId {
    fn default() -> Self {
        Self("default".into())
    }
}

impl FromStr for ServiceId {
    type Err = InvalidIntegrationId;

    fn from_str(text: &str) -> Result<Self, InvalidIntegrationId> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=SERVICE_ID_CHARS_MAX).contains(&text.len()) || !text.bytes().all(allowed) {
            return Err(InvalidIntegrationId::Service);
        }
        match RESERVED.into_iter().find(|&reserved| reserved == text) {
            Some(reserved) => Err(InvalidIntegrationId::Reserved(reserved)),
            None => Ok(Self(text.into())),
        }
    }
}

impl FromStr for ConnectionId {
    type Err = InvalidIntegrationId;

    fn from_str(text: &str) -> Result<Self, InvalidIntegrationId> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let fits = (1..=CONNECTION_ID_CHARS_MAX).contains(&text.len()) && text.bytes().all(allowed);
        match fits {
            true => Ok(Self(text.into())),
            false => Err(InvalidIntegrationId::Connection),
        }
    }
}

text_id!(ServiceId);
text_id!(ConnectionId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_named_so_that_its_tools_cannot_be_taken_for_ours() {
        for good in ["a", "github", "my-kv", "0", &"x".repeat(32)] {
            assert_eq!(good.parse::<ServiceId>().unwrap().as_str(), good);
        }
        for bad in ["", "A", "a.b", "a#b", "a_b", "ä", &"x".repeat(33)] {
            let refused = bad.parse::<ServiceId>().unwrap_err();
            assert_eq!(refused, InvalidIntegrationId::Service, "{bad}");
        }
        for reserved in RESERVED {
            let refused = reserved.parse::<ServiceId>().unwrap_err();
            assert_eq!(refused, InvalidIntegrationId::Reserved(reserved));
        }
    }

    #[test]
    fn a_connection_cannot_hold_what_parts_physical_keys() {
        for good in ["default", "Work.2", &"x".repeat(64)] {
            assert_eq!(good.parse::<ConnectionId>().unwrap().as_str(), good);
        }
        for bad in ["", "a#b", "a/b", "a b", &"x".repeat(65)] {
            bad.parse::<ConnectionId>().unwrap_err();
        }
        assert_eq!(ConnectionId::default().as_str(), "default");
    }
}
