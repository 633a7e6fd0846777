//! Reading a key set once, within bounds: from a file, or by one request.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::header::CACHE_CONTROL;
use reqwest::{Client, Response, Url, redirect};
use tokio::io::AsyncReadExt;

use super::KEY_SET_BYTES_MAX;

/// The bytes of a key set.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) body: Vec<u8>,
    /// How long its publisher wants it to be used.
    pub(super) max_age: Option<Duration>,
}

/// Why a key set could not be read; for the log.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("the file cannot be read")]
    File(#[from] std::io::Error),
    #[error("it is no ordinary file")]
    NoFile,
    #[error("the request failed")]
    Request(#[source] reqwest::Error),
    #[error("the answer has status {0}; a redirect is not followed")]
    Status(u16),
    #[error("it is over {KEY_SET_BYTES_MAX} bytes")]
    TooLarge,
}

/// Where a key set can be read once.
pub(super) trait Origin: Send + Sync + 'static {
    fn fetch(&self) -> BoxFuture<'_, Result<Fetched, FetchError>>;

    /// The place, for the log.
    fn name(&self) -> String;
}

/// A file.
pub(super) struct FileOrigin {
    path: PathBuf,
}

/// An address.
pub(super) struct HttpOrigin {
    url: Url,
    timeout: Duration,
    /// Made at the first request: reading the machine's certificates takes longer than a start may.
    client: OnceLock<Client>,
}

impl FileOrigin {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    async fn read(&self) -> Result<Fetched, FetchError> {
        // Opening a pipe would hold a thread until somebody writes to it.
        if !tokio::fs::metadata(&self.path).await?.is_file() {
            return Err(FetchError::NoFile);
        }
        let file = tokio::fs::File::open(&self.path).await?;
        let mut body = Vec::new();
        file.take(KEY_SET_BYTES_MAX as u64 + 1)
            .read_to_end(&mut body)
            .await?;
        if body.len() > KEY_SET_BYTES_MAX {
            return Err(FetchError::TooLarge);
        }
        Ok(Fetched {
            body,
            max_age: None,
        })
    }
}

impl Origin for FileOrigin {
    fn fetch(&self) -> BoxFuture<'_, Result<Fetched, FetchError>> {
        self.read().boxed()
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}

impl HttpOrigin {
    pub(super) fn new(url: Url, timeout: Duration) -> Self {
        Self {
            url,
            timeout,
            client: OnceLock::new(),
        }
    }

    async fn read(&self) -> Result<Fetched, FetchError> {
        let request = self.client()?.get(self.url.clone());
        let failed = |error: reqwest::Error| FetchError::Request(error.without_url());
        let mut response = request.send().await.map_err(failed)?;
        if response.status().as_u16() != 200 {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        let max_age = max_age(&response);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > KEY_SET_BYTES_MAX {
                return Err(FetchError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Fetched { body, max_age })
    }

    fn client(&self) -> Result<&Client, FetchError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let builder = Client::builder()
            .user_agent(concat!("use_aws_mcp/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .timeout(self.timeout)
            // One request in ten minutes does not need a connection to be kept.
            .pool_max_idle_per_host(0);
        let builder = if is_loopback(&self.url) {
            // `localhost` means this machine, whatever a name server or a proxy makes of it.
            builder
                .no_proxy()
                .resolve_to_addrs("localhost", &loopback_addresses())
        } else {
            builder.https_only(true)
        };
        let client = builder.build().map_err(FetchError::Request)?;
        Ok(self.client.get_or_init(|| client))
    }
}

impl Origin for HttpOrigin {
    fn fetch(&self) -> BoxFuture<'_, Result<Fetched, FetchError>> {
        self.read().boxed()
    }

    fn name(&self) -> String {
        // A query may hold a key of some kind.
        let mut url = self.url.clone();
        url.set_query(None);
        url.set_fragment(None);
        url.into()
    }
}

/// Whether an address is on this machine by its very name.
pub(in crate::outbound) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// What `localhost` means.
pub(in crate::outbound) fn loopback_addresses() -> [SocketAddr; 2] {
    let here = [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ];
    here.map(|address| SocketAddr::new(address, 0))
}

/// What `Cache-Control` says of how long an answer may be used.
fn max_age(response: &Response) -> Option<Duration> {
    let header = response.headers().get(CACHE_CONTROL)?.to_str().ok()?;
    let directive = |part: &str| {
        let part = part.trim().to_ascii_lowercase();
        match part.split_once('=') {
            None if part == "no-store" || part == "no-cache" => Some(0),
            Some(("max-age", seconds)) => seconds.trim_matches('"').parse().ok(),
            _ => None,
        }
    };
    header
        .split(',')
        .filter_map(directive)
        .min()
        .map(Duration::from_secs)
}
