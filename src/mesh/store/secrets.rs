//! The seam to the secret store: texts under names that begin with their tenant, never shown.

use secrecy::SecretString;

use super::Reply;
use super::key::{SecretKey, SecretPrefix};

/// The most bytes of one secret.
pub const SECRET_BYTES_MAX: usize = 16 << 10;

/// The most secrets of one listing.
pub const SECRETS_PAGE_MAX: u32 = 100;

/// Some names of secrets, and where the next page begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretNames {
    /// The names, relative to the prefix they were asked for.
    pub names: Vec<String>,
    /// What to go on after, where there may be more.
    pub next: Option<String>,
}

/// The secret store. Every operation is one request to it.
pub trait SecretStore: Send + Sync + 'static {
    /// A secret's text.
    fn get<'a>(&'a self, key: &'a SecretKey) -> Reply<'a, Option<SecretString>>;

    /// Keeps a text of at most [`SECRET_BYTES_MAX`] bytes under `key`, in place of what was there.
    fn put<'a>(&'a self, key: &'a SecretKey, text: &'a SecretString) -> Reply<'a, ()>;

    /// Removes a secret at once; `false` where there was none.
    fn delete<'a>(&'a self, key: &'a SecretKey) -> Reply<'a, bool>;

    /// At most [`SECRETS_PAGE_MAX`] of the names under `prefix`.
    fn list<'a>(
        &'a self,
        prefix: &'a SecretPrefix,
        after: Option<&'a str>,
    ) -> Reply<'a, SecretNames>;
}
