//! What this server publishes of itself as a protected resource, RFC 9728, so that clients find its issuers.

use http::Uri;
use serde_json::{Value, json};

use crate::mesh::tenant::Permission;

/// Where clients look for the metadata; the path of the resource follows, if it has one.
pub const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The endpoint that clients sign in to; others of this server share its metadata.
const ENDPOINT: &str = "/mcp";

/// What a person who signs in is shown.
const RESOURCE_NAME: &str = "Agent Mesh";

/// This server as a protected resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtectedResource {
    /// Without a slash at its end.
    origin: String,
    /// Where the server lies below its origin: empty, or `/` and more, without a slash at its end.
    folder: String,
    issuers: Vec<String>,
    names_scopes: bool,
}

/// Why a text is no public address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a public URL is http or https, with a host and perhaps a path, without user, query or fragment"
)]
pub struct InvalidPublicUrl;

impl ProtectedResource {
    /// The server that clients reach at `public_url`, where the tokens of `issuers` are accepted. Whether
    /// these give scopes of ours is `names_scopes`; an issuer that does not know a scope refuses whoever
    /// asks for it, so they are named only where they are known.
    ///
    /// # Errors
    /// The address is none.
    pub fn new(
        public_url: &str,
        issuers: Vec<String>,
        names_scopes: bool,
    ) -> Result<Self, InvalidPublicUrl> {
        let url: Uri = public_url.parse().map_err(|_| InvalidPublicUrl)?;
        let (scheme, authority) = url
            .scheme_str()
            .zip(url.authority())
            .ok_or(InvalidPublicUrl)?;
        let fits = matches!(scheme, "http" | "https")
            && !authority.as_str().contains('@')
            && url.query().is_none()
            && !public_url.contains(['#', '"', '\\']);
        if !fits {
            return Err(InvalidPublicUrl);
        }
        // Clients compare addresses letter by letter, and schemes and hosts are written small.
        let authority = authority.as_str().to_ascii_lowercase();
        Ok(Self {
            origin: format!("{scheme}://{authority}"),
            folder: url.path().trim_end_matches('/').to_owned(),
            issuers,
            names_scopes,
        })
    }

    /// The address of the metadata, for challenges: that of the endpoint, since a client compares the
    /// resource that the metadata names with the address that it called.
    pub fn metadata_url(&self) -> String {
        format!("{}{WELL_KNOWN}{}{ENDPOINT}", self.origin, self.folder)
    }

    /// Whether scopes are named.
    pub const fn names_scopes(&self) -> bool {
        self.names_scopes
    }

    /// The metadata at `path` (the whole path of a request); nothing where that is no path of it. A proxy
    /// may have taken the folder off the path before it came here.
    pub fn metadata_at(&self, path: &str) -> Option<Value> {
        let rest = path.strip_prefix(WELL_KNOWN)?;
        let rest = rest.strip_prefix(self.folder.as_str()).unwrap_or(rest);
        match rest {
            "" | "/" => Some(self.metadata("")),
            ENDPOINT => Some(self.metadata(ENDPOINT)),
            _ => None,
        }
    }

    fn metadata(&self, endpoint: &str) -> Value {
        let mut metadata = json!({
            "resource": format!("{}{}{endpoint}", self.origin, self.folder),
            "authorization_servers": self.issuers,
            "bearer_methods_supported": ["header"],
            "resource_name": RESOURCE_NAME,
        });
        if self.names_scopes {
            let scopes: Vec<&str> = Permission::ALL.into_iter().map(Permission::name).collect();
            metadata["scopes_supported"] = json!(scopes);
        }
        metadata
    }
}
