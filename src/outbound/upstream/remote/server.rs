//! One server as one connection sees it: an HTTP client, headers and tokens that nobody else uses.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url, redirect, retry};
use tokio_rustls::rustls::ClientConfig;

use super::egress::Gate;
use super::failure::Failure;
use super::headers;
use super::oauth::{Token, TokenSource};
use super::tls;
use crate::mesh::integration::RemoteKind;
use crate::mesh::upstream::{ConnectionSecrets, ConnectionTarget, SignIn};
use crate::mesh::{Clock, Error};

/// How long finding an address, connecting and the TLS handshake may take together.
pub(super) const TCP_CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// How long a connection waits to be used again. Common servers close theirs after 5 s, and a request that
/// crosses such an end may or may not have been carried out.
const IDLE_TIME_MAX: Duration = Duration::from_secs(4);

/// How many connections wait to be used again.
const IDLE_CONNECTIONS_MAX: usize = 4;

/// How long a silent connection is trusted before the network is asked whether it is still there.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// A server, and how requests to it are made.
pub(super) struct RemoteServer {
    client: Client,
    url: Url,
    headers: HeaderMap,
    tokens: Option<TokenSource>,
}

/// What a target says, checked.
pub(super) struct Admitted {
    pub(super) kind: RemoteKind,
    pub(super) url: Url,
    headers: HeaderMap,
    tokens: Option<TokenSource>,
}

impl Admitted {
    /// What `target` says, as far as it can be judged without reaching it; nothing where it is no server at
    /// an address. Tokens that are fetched later become known to `secrets`.
    ///
    /// # Errors
    /// See [`super::EgressPolicy::admit`]; and `INVALID_PARAMETER` for headers that may not be declared.
    pub(super) fn of(
        gate: &Gate,
        clock: &Arc<dyn Clock>,
        target: &ConnectionTarget,
        secrets: &ConnectionSecrets,
    ) -> Option<Result<Self, Error>> {
        let ConnectionTarget::Remote {
            kind,
            url,
            headers,
            sign_in,
        } = target
        else {
            return None;
        };
        let admit = || {
            let tokens = match sign_in {
                SignIn::Headers => None,
                SignIn::ClientCredentials(credentials) => {
                    let url = gate.policy().admit_token_url(&credentials.token_url)?;
                    let (credentials, secrets) = (credentials.clone(), secrets.clone());
                    Some(TokenSource::new(url, credentials, secrets, clock.clone()))
                }
            };
            Ok(Self {
                kind: *kind,
                url: gate.policy().admit(*kind, url)?,
                headers: headers::declared(headers, tokens.is_some())?,
                tokens,
            })
        };
        Some(admit())
    }
}

impl RemoteServer {
    /// The server of `admitted`, reached through `gate` alone.
    pub(super) fn new(gate: &Gate, tls: &ClientConfig, admitted: Admitted) -> Result<Self, Error> {
        let client = Client::builder()
            .user_agent(concat!("use_aws_mcp/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls::own(tls))
            .dns_resolver(gate.clone())
            // A proxy of the environment would look names up by itself, and a redirect leads anywhere.
            .no_proxy()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .connect_timeout(TCP_CONNECT_TIME_MAX)
            .pool_idle_timeout(IDLE_TIME_MAX)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .tcp_keepalive(TCP_KEEPALIVE)
            .build()
            .map_err(|error| Error::internal("an HTTP client cannot be made").caused_by(error))?;
        Ok(Self {
            client,
            url: admitted.url,
            headers: admitted.headers,
            tokens: admitted.tokens,
        })
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// The headers that every request carries.
    pub(super) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The token to sign in with, where tokens are used; a new one if `refused` is the one that there is.
    pub(super) async fn token(&self, refused: Option<u64>) -> Result<Option<Token>, Failure> {
        match &self.tokens {
            Some(tokens) => tokens.token(&self.client, refused).await.map(Some),
            None => Ok(None),
        }
    }

    /// A request to `url`, which must have the origin of the server's own.
    pub(super) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.client
            .request(method, url)
            .headers(self.headers.clone())
    }

    /// Sends what `build` makes, signed in; a second time where the token has been refused.
    pub(super) async fn send(
        &self,
        build: impl Fn() -> RequestBuilder,
    ) -> Result<Response, Failure> {
        let Some(token) = self.token(None).await? else {
            return build().send().await.map_err(Failure::of_request);
        };
        let signed = |token: Token| build().header(AUTHORIZATION, token.header).send();
        let number = token.number;
        let response = signed(token).await.map_err(Failure::of_request)?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        drop(response);
        match self.token(Some(number)).await? {
            Some(token) => signed(token).await.map_err(Failure::of_request),
            None => Err(Failure::of_status(
                StatusCode::UNAUTHORIZED,
                &HeaderMap::new(),
            )),
        }
    }
}

/// The whole body of `response`, of at most `bytes_max` bytes.
pub(super) async fn body(mut response: Response, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let too_large = || Failure::garbage(&format!("sent more than {bytes_max} bytes"));
    if response
        .content_length()
        .is_some_and(|bytes| bytes > bytes_max as u64)
    {
        return Err(too_large());
    }
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > bytes_max => return Err(too_large()),
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) => {
                let broken = Failure::broken_off().error;
                return Err(Failure::after(broken.caused_by(error.without_url())));
            }
        }
    }
}

/// What a response says its body is, without its parameters, in lower case.
pub(super) fn content_type(response: &Response) -> String {
    let header = response.headers().get(reqwest::header::CONTENT_TYPE);
    let text = header
        .and_then(|header| header.to_str().ok())
        .unwrap_or_default();
    let kind = text.split(';').next().unwrap_or_default();
    kind.trim().to_ascii_lowercase()
}
