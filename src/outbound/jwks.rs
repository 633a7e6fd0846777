//! The keys that verify tokens, from a file or from their issuer's address.

mod cache;
mod origin;

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::Url;

use crate::mesh::Clock;
use crate::mesh::tenant::{KeySet, KeySource, KeysUnavailable, SignatureKey};
use cache::{KeyCache, Policy};
use origin::{FileOrigin, HttpOrigin, Origin};
pub(in crate::outbound) use origin::{is_loopback, loopback_addresses};

/// The largest key set that is read, in bytes.
pub const KEY_SET_BYTES_MAX: usize = 1 << 20;

/// How long one request for a key set may take, its body included.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the last good key set is used beyond its time while no new one can be had.
pub const STALE_MAX: Duration = Duration::from_secs(3600);

/// Where a key set is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwksLocation {
    /// A file, read again when it changes.
    File(PathBuf),
    /// An https address, or a plain http one on this machine.
    Url(Url),
}

/// Why a text is no such location.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLocation {
    /// Nothing at all.
    #[error("name a file or an https URL")]
    Empty,
    /// It begins like a URL and is none.
    #[error("it is no URL: {0}")]
    Url(String),
    /// Keys could be swapped on their way.
    #[error(
        "only https is safe to fetch keys by; plain http is taken to localhost, 127.0.0.1 and ::1"
    )]
    Plain,
    /// It holds a name or a password, which would end up in logs.
    #[error("it must not hold a user name or a password")]
    Credentials,
    /// Some other scheme.
    #[error("it must be a file or an https URL")]
    Scheme,
}

/// A published key set that is kept up to date: a [`KeySource`].
pub struct Jwks {
    cache: KeyCache,
}

impl Jwks {
    /// The key set at `location`. Nothing is read yet; see [`Jwks::load`].
    pub fn new(location: JwksLocation, clock: Arc<dyn Clock>) -> Self {
        let (origin, policy): (Arc<dyn Origin>, Policy) = match location {
            JwksLocation::File(path) => (Arc::new(FileOrigin::new(path)), Policy::OF_FILE),
            JwksLocation::Url(url) => (
                Arc::new(HttpOrigin::new(url, FETCH_TIMEOUT)),
                Policy::OF_URL,
            ),
        };
        Self {
            cache: KeyCache::new(origin, policy, clock),
        }
    }

    /// The whole key set, read if need be: to have it at hand before the first request, and for a
    /// check of the configuration. Needs a tokio runtime, as [`KeySource::key`] does.
    ///
    /// # Errors
    /// [`KeysUnavailable`], with the reason in the log.
    pub async fn load(&self) -> Result<Arc<KeySet>, KeysUnavailable> {
        self.cache.load().await
    }
}

impl KeySource for Jwks {
    fn key<'a>(
        &'a self,
        kid: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<SignatureKey>>, KeysUnavailable>> {
        self.cache.key(kid).boxed()
    }

    fn is_loaded(&self) -> BoxFuture<'_, bool> {
        async { self.load().await.is_ok() }.boxed()
    }
}

impl FromStr for JwksLocation {
    type Err = InvalidLocation;

    fn from_str(text: &str) -> Result<Self, InvalidLocation> {
        let text = text.trim();
        if text.is_empty() {
            return Err(InvalidLocation::Empty);
        }
        if !text.contains("://") {
            return Ok(Self::File(text.into()));
        }
        let url = Url::parse(text).map_err(|error| InvalidLocation::Url(error.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidLocation::Credentials);
        }
        match url.scheme() {
            "https" => Ok(Self::Url(url)),
            "http" if is_loopback(&url) => Ok(Self::Url(url)),
            "http" => Err(InvalidLocation::Plain),
            "file" => url
                .to_file_path()
                .map(Self::File)
                .map_err(|()| InvalidLocation::Scheme),
            _ => Err(InvalidLocation::Scheme),
        }
    }
}

#[cfg(test)]
mod tests;
