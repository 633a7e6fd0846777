//! The static tokens of a file: read whole, reloaded when it changes, changed by one process at a time.

mod edit;
mod file;

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use ulid::Ulid;

use crate::mesh::tenant::{StaticToken, StaticTokenDirectory};
use crate::platform::FileStamp;

pub use edit::{NewToken, create, revoke};

/// How many tokens a file may hold.
pub const TOKENS_MAX: usize = 10_000;

/// The largest file that is read, in bytes; 10,000 tokens with every scope take about 6 MiB.
pub const FILE_BYTES_MAX: u64 = 16 << 20;

/// How often the file is looked at. A change holds after two looks, so that an editor that empties a file
/// before it writes revokes nothing.
pub const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// What is wrong with a file of tokens, or with changing it.
#[derive(Debug, thiserror::Error)]
pub enum TokensFault {
    /// It cannot be read.
    #[error("the file cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    /// It is larger than [`FILE_BYTES_MAX`].
    #[error("the file is larger than {} MiB", FILE_BYTES_MAX >> 20)]
    TooLarge,
    /// It is not as `tokens` writes it.
    #[error("line {line}: {message}")]
    Wrong {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// Two tokens have one id.
    #[error("two tokens have the id {0}")]
    Duplicate(Ulid),
    /// It holds more than [`TOKENS_MAX`], or would.
    #[error("a file holds {TOKENS_MAX} tokens at most; revoke some")]
    TooMany,
    /// Another process has been changing it for too long.
    #[error("another process is changing the file; try again")]
    Busy,
    /// It cannot be written.
    #[error("the file cannot be written: {0}")]
    Unwritable(#[source] io::Error),
    /// The system has no randomness.
    #[error("no token can be made: {0}")]
    Random(#[source] crate::mesh::Error),
}

/// The tokens of a file, kept up to date while [`TokensFile::watch`] runs.
#[derive(Debug)]
pub struct TokensFile {
    path: PathBuf,
    current: RwLock<Arc<Tokens>>,
    seen: Mutex<Seen>,
}

/// What one look at the file came to.
#[derive(Debug)]
pub enum Look {
    /// It is as it was.
    Unchanged,
    /// It changed; whether its writer has finished, the next look will tell.
    Changing,
    /// It changed, and its tokens are in force.
    Reloaded {
        /// How many there are now.
        tokens: usize,
    },
    /// It changed and is wrong; the last good one stays in force.
    Kept(TokensFault),
}

/// The tokens of one version of the file, by their ids.
type Tokens = HashMap<Ulid, Arc<StaticToken>>;

/// What the looks so far have seen; nothing where the file was not there.
#[derive(Debug, Default)]
struct Seen {
    applied: Option<FileStamp>,
    last: Option<FileStamp>,
}

impl TokensFile {
    /// The tokens of the file at `path`; none where there is no file yet.
    ///
    /// # Errors
    /// The file is there, and is wrong or cannot be read.
    pub fn open(path: &Path) -> Result<Self, TokensFault> {
        let applied = FileStamp::of(path);
        let tokens = read(path)?;
        Ok(Self {
            path: path.to_owned(),
            current: RwLock::new(Arc::new(tokens)),
            seen: Mutex::new(Seen {
                last: applied.clone(),
                applied,
            }),
        })
    }

    /// Every token, the oldest first.
    pub fn tokens(&self) -> Vec<Arc<StaticToken>> {
        let mut tokens: Vec<_> = self.current().values().cloned().collect();
        tokens.sort_by_key(|token| (token.created.as_millis(), token.id));
        tokens
    }

    /// Looks at the file, and takes its tokens once it has stopped changing; a file that is gone holds none.
    /// Reads the disk, so it must not be called where a call waits.
    pub fn look(&self) -> Look {
        let stamp = FileStamp::of(&self.path);
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if stamp == seen.applied {
                seen.last = stamp;
                return Look::Unchanged;
            }
            if stamp != seen.last {
                seen.last = stamp;
                return Look::Changing;
            }
            seen.applied = stamp;
        }
        match read(&self.path) {
            Ok(tokens) => {
                let count = tokens.len();
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(tokens);
                Look::Reloaded { tokens: count }
            }
            Err(fault) => Look::Kept(fault),
        }
    }

    /// Looks at the file again and again, `interval` apart, until nobody else holds `self`. What it finds
    /// goes to the log.
    pub fn watch(
        self: &Arc<Self>,
        interval: Duration,
    ) -> impl Future<Output = ()> + Send + 'static {
        let watched = Arc::downgrade(self);
        async move {
            loop {
                tokio::time::sleep(interval).await;
                let Some(tokens) = watched.upgrade() else {
                    return;
                };
                match tokio::task::spawn_blocking(move || tokens.look()).await {
                    Ok(look) => look.log(),
                    Err(_) => return,
                }
            }
        }
    }

    fn current(&self) -> Arc<Tokens> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl StaticTokenDirectory for TokensFile {
    fn find(&self, id: Ulid) -> Option<Arc<StaticToken>> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
            .cloned()
    }
}

impl Look {
    fn log(&self) {
        match self {
            Self::Unchanged | Self::Changing => {}
            Self::Reloaded { tokens } => {
                tracing::info!(tokens, "the file of static tokens was reloaded");
            }
            Self::Kept(fault) => tracing::error!(
                %fault,
                "the file of static tokens has changed and is wrong; the last good one stays in force"
            ),
        }
    }
}

/// The tokens of the file at `path`.
fn read(path: &Path) -> Result<Tokens, TokensFault> {
    let mut tokens = Tokens::new();
    for token in file::read(path)? {
        let id = token.id;
        if tokens.insert(id, Arc::new(token)).is_some() {
            return Err(TokensFault::Duplicate(id));
        }
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests;
