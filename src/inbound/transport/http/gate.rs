//! Who may ask at all: the `Host` and `Origin` of a request, and what web pages may do.
//!
//! A web page can have a browser send requests to a listener on the reader's own machine, and with a name that
//! it has resolve to 127.0.0.1 even read the answers. Such a request says by `Host` or `Origin` where it comes from.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::{TurnedAway, answer, is_loopback};

/// Headers of ours that a web page may send besides those that the operator names.
const REQUEST_HEADERS: [&str; 9] = [
    "authorization",
    "content-type",
    "idempotency-key",
    "last-event-id",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "mcp-session-id",
    "traceparent",
];

/// Headers of ours that a web page may read.
const RESPONSE_HEADERS: [&str; 3] = ["mcp-session-id", "retry-after", "www-authenticate"];

/// Where a web page comes from: scheme, host and port, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

/// What is no origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an origin is written like https://app.example or http://localhost:3000, without a path")]
pub struct InvalidOrigin;

/// Which requests are let through by where they were sent to and where they come from.
#[derive(Clone, Debug)]
pub struct Gate {
    /// Hosts that this server is known by, in lower case, without ports.
    hosts: Vec<String>,
    /// Whether addresses in place of a name are hosts of this server too: any, where it listens on more than
    /// this machine. No page can have a browser take a name of its own for an address.
    addresses: Addresses,
    /// Origins whose pages may ask.
    origins: Vec<Origin>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Addresses {
    Loopback,
    Any,
}

/// What web pages of other origins may do.
#[derive(Clone, Debug)]
pub struct Cors {
    /// Whose pages.
    pub origins: Vec<Origin>,
    /// Headers that they may send besides those of the protocol.
    pub headers: Vec<HeaderName>,
    /// Whether browsers send along what they know of this server, such as cookies and certificates.
    pub credentials: bool,
    /// For how long a browser need not ask again.
    pub max_age: Duration,
}

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let lower = text.to_ascii_lowercase();
        let (scheme, authority) = lower.split_once("://").ok_or(InvalidOrigin)?;
        let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        let authority: Authority = authority.parse().map_err(|_| InvalidOrigin)?;
        let fits = !scheme.is_empty()
            && scheme.bytes().all(is_scheme)
            && !authority.as_str().contains('@')
            && !authority.host().is_empty()
            && (authority.port().is_none() || authority.port_u16().is_some());
        if !fits {
            return Err(InvalidOrigin);
        }
        let default = match scheme {
            "https" => Some(443),
            "http" => Some(80),
            _ => None,
        };
        let port = authority.port_u16().filter(|port| Some(*port) != default);
        let host = authority.host();
        Ok(Self(match port {
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        }))
    }
}

impl Origin {
    /// As browsers write it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host and the port, as `Host` has them.
    fn authority(&self) -> &str {
        self.0.split_once("://").map_or("", |(_, rest)| rest)
    }
}

impl Gate {
    /// A server at `address` that is also known by `hosts`, and that pages of `origins` may ask.
    pub fn new(address: IpAddr, hosts: &[String], origins: &[Origin]) -> Self {
        let mut hosts: Vec<String> = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        let addresses = match is_loopback(address) {
            true => {
                hosts.push("localhost".to_owned());
                Addresses::Loopback
            }
            false => Addresses::Any,
        };
        Self {
            hosts,
            addresses,
            origins: origins.to_vec(),
        }
    }

    /// Whether a request with these headers may be looked at.
    fn check(
        &self,
        uri: &http::Uri,
        headers: &HeaderMap,
    ) -> Result<(), (TurnedAway, &'static str)> {
        let own = self.host(uri, headers);
        let own = own.map_err(|message| (TurnedAway::Host, message))?;
        self.check_origin(&own, headers)
            .map_err(|message| (TurnedAway::Origin, message))
    }

    /// Where the request was sent to: this server.
    fn host(&self, uri: &http::Uri, headers: &HeaderMap) -> Result<Authority, &'static str> {
        let mut hosts = headers.get_all(HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host.to_str().map_err(|_| "the Host header is no text")?,
            (None, _) => uri
                .authority()
                .map(Authority::as_str)
                .ok_or("the Host header is missing")?,
            (Some(_), Some(_)) => return Err("there is more than one Host header"),
        };
        let authority: Authority = host.parse().map_err(|_| "the Host header names no host")?;
        if !self.is_ours(authority.host()) {
            return Err(
                "this server is not known by the name in the Host header; the operator can allow it",
            );
        }
        Ok(authority)
    }

    /// Whether a page asks from this server, `own`, or from an origin that may.
    fn check_origin(&self, own: &Authority, headers: &HeaderMap) -> Result<(), &'static str> {
        let mut origins = headers.get_all(ORIGIN).iter();
        let Some(origin) = origins.next() else {
            return Ok(());
        };
        let origin = origin.to_str().ok().and_then(|text| text.parse().ok());
        let Some(origin): Option<Origin> = origin.filter(|_| origins.next().is_none()) else {
            return Err("the Origin header names no origin");
        };
        let own = own.as_str().to_ascii_lowercase();
        match origin.authority() == own || self.origins.contains(&origin) {
            true => Ok(()),
            false => Err("web pages of this origin may not ask; the operator can allow it"),
        }
    }

    fn is_ours(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        match literal.parse::<IpAddr>() {
            Ok(address) => self.addresses == Addresses::Any || is_loopback(address),
            Err(_) => self.hosts.contains(&host),
        }
    }
}

/// Stands before every route.
pub(super) async fn guard(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    match gate.check(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err((reason, message)) => {
            reason.mark(answer::fault(StatusCode::FORBIDDEN, "FORBIDDEN", message))
        }
    }
}

impl Cors {
    /// What answers the questions of browsers.
    pub(super) fn layer(&self) -> CorsLayer {
        let origins = self.origins.iter();
        let origins = origins.filter_map(|origin| HeaderValue::from_str(origin.as_str()).ok());
        let own = REQUEST_HEADERS.into_iter().map(HeaderName::from_static);
        let headers: Vec<HeaderName> = own.chain(self.headers.iter().cloned()).collect();
        let exposed: Vec<HeaderName> = RESPONSE_HEADERS
            .into_iter()
            .map(HeaderName::from_static)
            .collect();
        CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins))
            .allow_methods([Method::GET, Method::POST, Method::DELETE])
            .allow_headers(headers)
            .expose_headers(exposed)
            .allow_credentials(self.credentials)
            .max_age(self.max_age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pairs = pairs.iter();
        let pairs = pairs.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        pairs
            .collect::<Vec<(HeaderName, HeaderValue)>>()
            .into_iter()
            .collect()
    }

    fn passes(gate: &Gate, pairs: &[(&str, &str)]) -> bool {
        let uri = http::Uri::from_static("/mcp");
        gate.check(&uri, &headers(pairs)).is_ok()
    }

    #[test]
    fn on_loopback_only_names_of_this_machine_are_its_own() {
        let gate = Gate::new(
            "127.0.0.1".parse().unwrap(),
            &["Mesh.Example".to_owned()],
            &[],
        );
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1:8080",
            "[::1]:1",
            "127.9.9.9",
            "mesh.example:443",
        ] {
            assert!(passes(&gate, &[("host", host)]), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "10.0.0.1",
            "169.254.169.254",
            "localhost@evil",
            "",
        ] {
            assert!(!passes(&gate, &[("host", host)]), "{host}");
        }
        assert!(!passes(&gate, &[]));
    }

    #[test]
    fn on_a_network_addresses_are_its_own_and_names_are_those_that_are_named() {
        let gate = Gate::new(
            "0.0.0.0".parse().unwrap(),
            &["mesh.example".to_owned()],
            &[],
        );
        assert!(passes(&gate, &[("host", "10.1.2.3:8080")]));
        assert!(passes(&gate, &[("host", "mesh.example")]));
        assert!(!passes(&gate, &[("host", "localhost")]));
        assert!(!passes(&gate, &[("host", "evil.example")]));
    }

    #[test]
    fn a_foreign_host_and_a_foreign_origin_are_told_apart() {
        let gate = Gate::new("127.0.0.1".parse().unwrap(), &[], &[]);
        let why = |pairs: &[(&str, &str)]| {
            let checked = gate.check(&http::Uri::from_static("/mcp"), &headers(pairs));
            checked.err().map(|(reason, _)| reason)
        };
        let (ours, page) = (("host", "localhost"), ("origin", "https://evil.example"));
        assert_eq!(
            why(&[("host", "evil.example"), page]),
            Some(TurnedAway::Host)
        );
        assert_eq!(why(&[]), Some(TurnedAway::Host));
        assert_eq!(why(&[ours, page]), Some(TurnedAway::Origin));
        assert_eq!(why(&[ours]), None);
    }

    #[test]
    fn a_page_asks_from_its_own_server_or_from_an_origin_that_is_allowed() {
        let origins = ["https://app.example:443".parse().unwrap()];
        let gate = Gate::new("127.0.0.1".parse().unwrap(), &[], &origins);
        let with = |origin: &str| passes(&gate, &[("host", "localhost:8080"), ("origin", origin)]);
        assert!(with("http://localhost:8080"));
        assert!(with("https://app.example"));
        assert!(with("HTTPS://APP.EXAMPLE"));
        for origin in [
            "http://app.example",
            "https://app.example:8443",
            "https://evil.example",
            "null",
            "http://localhost:9090",
            "https://app.example/x",
            "file://",
            "",
        ] {
            assert!(!with(origin), "{origin}");
        }
    }
}
