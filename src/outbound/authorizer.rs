//! The client of an operator's policy service: one small request for each call that is not remembered.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::mesh::policy::{ASKED_AT_ONCE_MAX, Authorizer, Question, Ruling, Undecided};
use crate::outbound::jwks::{is_loopback, loopback_addresses};

/// The largest answer that is read, in bytes.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// How long a connection that nobody uses is kept.
const IDLE_TIME_MAX: Duration = Duration::from_secs(60);

/// A policy service: `POST {url}/verify`.
pub struct PolicyService {
    url: Url,
    key: Option<HeaderValue>,
    timeout: Duration,
    /// Made at the first question: reading the machine's certificates takes longer than a start may.
    client: OnceLock<Client>,
}

/// Why a text is no address of a policy service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidService {
    /// It is no URL.
    #[error("it is no URL: {0}")]
    Url(String),
    /// It is neither https nor on this machine.
    #[error("it must be an https URL; plain http is taken to localhost, 127.0.0.1 and ::1")]
    Plain,
    /// It holds more than a host and a path.
    #[error("it must hold no user, password, query or fragment")]
    More,
    /// The key cannot stand in a header.
    #[error("the key must be 1 to 4,096 visible ASCII characters")]
    Key,
}

/// Why there is no answer; for the log.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the request failed")]
    Request(#[source] reqwest::Error),
    #[error("the answer has status {0}; a redirect is not followed")]
    Status(u16),
    #[error("the answer is over {ANSWER_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the answer is not {{\"allow\": true}} or {{\"allow\": false}}")]
    Answer(#[source] serde_json::Error),
}

/// The answer on the wire; members that we do not know mean nothing to us.
#[derive(Deserialize)]
struct Verdict {
    allow: bool,
    reason: Option<String>,
    ttl_ms: Option<u64>,
}

/// The longest key, in bytes.
const KEY_BYTES_MAX: usize = 4096;

impl PolicyService {
    /// The service at `url`, asked with `key` as the bearer token, where one question may take `timeout`.
    ///
    /// # Errors
    /// [`InvalidService`]. Nothing is asked yet.
    pub fn new(
        url: &str,
        key: Option<&SecretString>,
        timeout: Duration,
    ) -> Result<Self, InvalidService> {
        Ok(Self {
            url: verify_url(url)?,
            key: key.map(bearer).transpose()?,
            timeout,
            client: OnceLock::new(),
        })
    }

    async fn ask(&self, question: &Question) -> Result<Ruling, Failure> {
        let body = Bytes::from(serde_json::to_vec(question).map_err(Failure::Answer)?);
        let response = match self.send(body.clone()).await {
            // A connection that was kept, and that a service which restarts had closed: it may be asked again.
            Err(error) if error.is_request() && !error.is_connect() && !error.is_timeout() => {
                self.send(body).await
            }
            sent => sent,
        };
        let response = response.map_err(Failure::request)?;
        if response.status() != StatusCode::OK {
            return Err(Failure::Status(response.status().as_u16()));
        }
        let body = bounded(response).await?;
        let answer: Verdict = serde_json::from_slice(&body).map_err(Failure::Answer)?;
        Ok(Ruling {
            allow: answer.allow,
            reason: answer.reason,
            ttl: answer.ttl_ms.map(Duration::from_millis),
        })
    }

    async fn send(&self, body: Bytes) -> reqwest::Result<Response> {
        let mut request = self
            .client()?
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json")
            .body(body);
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, key.clone());
        }
        request.send().await
    }

    fn client(&self) -> reqwest::Result<&Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let builder = Client::builder()
            .user_agent(concat!("use_aws_mcp/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .timeout(self.timeout)
            .pool_idle_timeout(IDLE_TIME_MAX)
            .pool_max_idle_per_host(ASKED_AT_ONCE_MAX);
        let builder = match is_loopback(&self.url) {
            true => builder
                .no_proxy()
                .resolve_to_addrs("localhost", &loopback_addresses()),
            false => builder.https_only(true),
        };
        let client = builder.build()?;
        Ok(self.client.get_or_init(|| client))
    }
}

impl Authorizer for PolicyService {
    fn verify(&self, question: Arc<Question>) -> BoxFuture<'_, Result<Ruling, Undecided>> {
        async move { self.ask(&question).await.map_err(Undecided::from) }.boxed()
    }
}

/// Where questions go below the service's address.
fn verify_url(text: &str) -> Result<Url, InvalidService> {
    let mut url = Url::parse(text).map_err(|error| InvalidService::Url(error.to_string()))?;
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) => {}
        _ => return Err(InvalidService::Plain),
    }
    let has_user = !url.username().is_empty() || url.password().is_some();
    if has_user || url.query().is_some() || url.fragment().is_some() {
        return Err(InvalidService::More);
    }
    let path = format!("{}/verify", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Ok(url)
}

fn bearer(key: &SecretString) -> Result<HeaderValue, InvalidService> {
    let key = key.expose_secret();
    let is_visible = key.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_visible || !(1..=KEY_BYTES_MAX).contains(&key.len()) {
        return Err(InvalidService::Key);
    }
    let mut value =
        HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| InvalidService::Key)?;
    value.set_sensitive(true);
    Ok(value)
}

async fn bounded(mut response: Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(Failure::request)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(Failure::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

impl Failure {
    fn request(error: reqwest::Error) -> Self {
        Self::Request(error.without_url())
    }
}

impl From<Failure> for Undecided {
    /// What one question alone may have caused says nothing of the service: a tenant must not be able to
    /// have the others refused.
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Request(_) | Failure::Status(408 | 429 | 500..=599) => {
                Self::Outage(failure.into())
            }
            Failure::Status(_) | Failure::TooLarge | Failure::Answer(_) => {
                Self::Answer(failure.into())
            }
        }
    }
}

#[cfg(test)]
mod tests;
