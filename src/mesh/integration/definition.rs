//! What is registered of an integration: how it is reached and how a caller signs in to it, never a secret.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::direct::ToolPattern;
use super::id::ServiceId;

/// An integration as a tenant has registered it. Texts of `env`, `headers` and `args` may refer to secrets
/// (`${secret:NAME}`) and to what a connection was given (`${credential:FIELD}`); they hold none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// Its id within the tenant.
    pub service: ServiceId,
    /// Its name for people.
    pub name: String,
    /// How it is reached.
    pub endpoint: Endpoint,
    /// How a connection signs in.
    pub auth: AuthMethod,
    /// What it is good for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A word to group it by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Words for what it can do, which finding tools looks at too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Which of its tools are listed beside our own, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub direct_tools: Vec<ToolPattern>,
}

/// How an integrated server is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// A child process that speaks over its pipes.
    Stdio(Program),
    /// A server at an address.
    Remote(RemoteAddress),
}

/// The program of a child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Program {
    /// One of the operator's templates; a connection's settings fill its slots.
    Template {
        /// The template's id.
        template: String,
        /// Variables of its environment, of those that the template allows.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        env: BTreeMap<String, String>,
    },
    /// A command of an admin's, from the operator's list.
    Command {
        /// An absolute path, or a name that is found in `PATH`.
        command: String,
        /// Its arguments, each passed on as it is.
        args: Vec<String>,
        /// Variables of its environment.
        env: BTreeMap<String, String>,
    },
}

/// The address of a remote server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteAddress {
    /// The protocol.
    pub kind: RemoteKind,
    /// The URL, without user info.
    pub url: String,
    /// Headers that every request carries.
    pub headers: BTreeMap<String, String>,
}

/// Over what a remote server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemoteKind {
    /// Streamable HTTP.
    Http,
    /// The older HTTP with server-sent events.
    Sse,
    /// WebSocket.
    Websocket,
}

/// How a connection signs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// Not at all.
    #[default]
    None,
    /// With a key in `X-Api-Key`, or wherever `${credential:api_key}` stands: `credentials.api_key`.
    ApiKey,
    /// With a bearer token: `credentials.token`.
    Bearer,
    /// With a name and a password: `credentials.username`, `credentials.password`.
    Basic,
    /// With a token that `credentials.client_id` and `credentials.client_secret` are exchanged for at
    /// `credentials.token_url`, with `credentials.scope` where there is one.
    #[serde(rename = "oauth2_client_credentials")]
    ClientCredentials,
}

impl Definition {
    /// Whether its tool `name` is listed beside our own.
    pub fn lists_directly(&self, name: &str) -> bool {
        self.direct_tools
            .iter()
            .any(|pattern| pattern.matches(name))
    }

    /// Whether it is `other` but for the tools that are listed directly.
    pub fn is_like(&self, other: &Self) -> bool {
        let direct_tools = other.direct_tools.clone();
        *other
            == Self {
                direct_tools,
                ..self.clone()
            }
    }
}

impl Endpoint {
    /// The word in arguments and answers.
    pub const fn server_type(&self) -> &'static str {
        match self {
            Self::Stdio(_) => "stdio",
            Self::Remote(address) => address.kind.name(),
        }
    }
}

impl RemoteKind {
    /// The word in arguments and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Sse => "sse",
            Self::Websocket => "websocket",
        }
    }
}

impl AuthMethod {
    /// Every method.
    pub const ALL: [Self; 5] = [
        Self::None,
        Self::ApiKey,
        Self::Bearer,
        Self::Basic,
        Self::ClientCredentials,
    ];

    /// The word in arguments and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ApiKey => "api_key",
            Self::Bearer => "bearer",
            Self::Basic => "basic",
            Self::ClientCredentials => "oauth2_client_credentials",
        }
    }

    /// The members of `credentials` that it needs.
    pub const fn needs(self) -> &'static [&'static str] {
        match self {
            Self::None => &[],
            Self::ApiKey => &["api_key"],
            Self::Bearer => &["token"],
            Self::Basic => &["username", "password"],
            Self::ClientCredentials => &["client_id", "client_secret", "token_url"],
        }
    }
}
