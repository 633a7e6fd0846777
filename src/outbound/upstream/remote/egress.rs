//! Which addresses links may lead to: what a URL may say, and what the name in it may turn out to be.

mod networks;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::mesh::integration::{EgressRule, RemoteKind};
use crate::mesh::{Error, ErrorKind};

/// The longest URL, in bytes.
pub const URL_BYTES_MAX: usize = 2048;

/// How many of a name's addresses are tried.
pub const ADDRESSES_MAX: usize = 8;

/// Which addresses may be reached: public ones over TLS, and what the operator lists besides.
#[derive(Clone, Debug, Default)]
pub struct EgressPolicy {
    allow: Vec<EgressRule>,
    loopback_http: bool,
}

/// What finds the addresses of a name.
pub(super) trait Lookup: Send + Sync + 'static {
    fn lookup<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// The machine's own way to find addresses.
pub(super) struct SystemLookup;

/// The only way from a name to an address: what it lets through is what is connected to, so that a name has
/// no time to change in between.
#[derive(Clone)]
pub(super) struct Gate {
    policy: Arc<EgressPolicy>,
    lookup: Arc<dyn Lookup>,
}

/// Why a name leads nowhere.
#[derive(Debug, thiserror::Error)]
pub(super) enum Blocked {
    /// Every address it has may not be reached.
    #[error("it leads only to addresses that may not be reached")]
    Refused,
    /// It has none.
    #[error("its name has no address")]
    Nowhere,
    /// It could not be looked up.
    #[error("its name could not be looked up")]
    Lookup(#[source] io::Error),
}

impl EgressPolicy {
    /// What is public may be reached over TLS, what `allow` lists too, and with `loopback_http` this
    /// machine under its own name or address, also without TLS.
    pub fn new(allow: Vec<EgressRule>, loopback_http: bool) -> Self {
        Self {
            allow,
            loopback_http,
        }
    }

    /// The URL of a server, as far as it can be judged without reaching it.
    ///
    /// # Errors
    /// `INVALID_PARAMETER` where it is no such URL, `NOT_SUPPORTED` where it may not be reached.
    pub fn admit(&self, kind: RemoteKind, url: &str) -> Result<Url, Error> {
        let schemes = match kind {
            RemoteKind::Http | RemoteKind::Sse => ["https", "http"],
            RemoteKind::Websocket => ["wss", "ws"],
        };
        self.admit_scheme("url", schemes, url)
    }

    /// The URL that gives tokens, judged like a server's.
    ///
    /// # Errors
    /// See [`EgressPolicy::admit`].
    pub fn admit_token_url(&self, url: &str) -> Result<Url, Error> {
        self.admit_scheme("credentials.token_url", ["https", "http"], url)
    }

    fn admit_scheme(&self, parameter: &str, schemes: [&str; 2], text: &str) -> Result<Url, Error> {
        let [secure, plain] = schemes;
        let wrong = |what: &str| {
            Error::invalid(parameter, format!("The {parameter} {what}.")).fix(format!(
                "Give a URL such as {secure}://mcp.example.com/mcp."
            ))
        };
        if text.len() > URL_BYTES_MAX {
            return Err(wrong(&format!("is longer than {URL_BYTES_MAX} bytes")));
        }
        let url = Url::parse(text).map_err(|error| wrong("is no URL").caused_by(error))?;
        if !schemes.contains(&url.scheme()) {
            return Err(wrong(&format!("must begin with {secure}://")));
        }
        let Some(host) = url.host_str().filter(|host| !host.is_empty()) else {
            return Err(wrong("names no host"));
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("must not hold a user name or a password")
                .fix("Sign in by auth_method and credentials instead."));
        }
        if url.fragment().is_some() || url.port() == Some(0) {
            return Err(wrong("must have no fragment (#...), and no port 0"));
        }
        let host = bare(host);
        let literal = host.parse::<IpAddr>().ok();
        if url.scheme() == plain && !(self.loopback_http && is_local(host)) {
            return Err(Error::new(
                ErrorKind::NotSupported,
                format!("The {parameter} is not encrypted: {plain} leads only to this machine itself, and only where the operator allows it."),
            )
            .fix(format!("Use {secure}, or have the operator set AGENT_MESH_ALLOW_LOOPBACK_HTTP for a server on this machine.")));
        }
        let refused = match literal {
            Some(address) => !self.permits(host, address),
            None => is_local(host) && !LOOPBACK.iter().any(|&here| self.permits(host, here)),
        };
        match refused {
            true => Err(not_reachable()),
            false => Ok(url),
        }
    }

    /// Whether `address` may be connected to for the sake of `host`.
    fn permits(&self, host: &str, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let inner = networks::embedded(address);
        let exactly = |address| self.allow.iter().any(|rule| rule.lists_exactly(address));
        let is_metadata = |address: &IpAddr| networks::METADATA.contains(address);
        let metadata = inner
            .iter()
            .chain([&address])
            .filter(|one| is_metadata(one));
        if metadata.into_iter().any(|&one| !exactly(one)) {
            return false;
        }
        if self.loopback_http && is_local(host) && address.is_loopback() {
            return true;
        }
        let listed = |address| self.allow.iter().any(|rule| rule.lists(address));
        let reachable = |address| networks::is_public(address) || listed(address);
        self.allow.iter().any(|rule| rule.lists_host(host))
            || listed(address)
            || (networks::is_public(address) && inner.into_iter().all(reachable))
    }
}

/// This machine.
const LOOPBACK: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

impl Gate {
    pub(super) fn new(policy: Arc<EgressPolicy>, lookup: Arc<dyn Lookup>) -> Self {
        Self { policy, lookup }
    }

    pub(super) fn policy(&self) -> &EgressPolicy {
        &self.policy
    }

    /// The addresses of `host`, a name or a literal as the URL standard writes it, that may be connected to.
    pub(super) async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Blocked> {
        let name = bare(host);
        let all = match name.parse::<IpAddr>() {
            Ok(address) => vec![address],
            // It means this machine, whatever a name server makes of it.
            Err(_) if is_local(name) => LOOPBACK.to_vec(),
            Err(_) => self.lookup.lookup(host).await.map_err(Blocked::Lookup)?,
        };
        if all.is_empty() {
            return Err(Blocked::Nowhere);
        }
        let permitted = |&address: &IpAddr| self.policy.permits(name, address);
        let addresses: Vec<_> = all
            .into_iter()
            .filter(permitted)
            .take(ADDRESSES_MAX)
            .collect();
        match addresses.is_empty() {
            true => Err(Blocked::Refused),
            false => Ok(addresses),
        }
    }
}

impl Resolve for Gate {
    fn resolve(&self, name: Name) -> Resolving {
        let gate = self.clone();
        async move {
            let addresses = gate.addresses(name.as_str()).await?;
            // Port 0 stands for the URL's own.
            let addresses = addresses
                .into_iter()
                .map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(addresses) as Addrs)
        }
        .boxed()
    }
}

impl Lookup for SystemLookup {
    fn lookup<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        }
        .boxed()
    }
}

/// What is told of an address that may not be reached. Which one it is stays untold: the answer would show
/// what lies inside the operator's network.
pub(super) fn not_reachable() -> Error {
    Error::new(
        ErrorKind::NotSupported,
        "The server's address is not public, and the operator does not list it.",
    )
    .fix("Use a server with a public address, or have the operator list this one in AGENT_MESH_EGRESS_ALLOW.")
}

/// A host without what only writes it: the brackets of IPv6, a last dot.
fn bare(host: &str) -> &str {
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    inner.unwrap_or_else(|| host.strip_suffix('.').unwrap_or(host))
}

/// Whether `host` is this machine by its very name (RFC 6761) or address.
fn is_local(host: &str) -> bool {
    let literal = host.parse::<IpAddr>();
    host == "localhost"
        || host.ends_with(".localhost")
        || literal.is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests;
