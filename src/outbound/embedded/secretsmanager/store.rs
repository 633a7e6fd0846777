//! The files of secrets: a small one each, replaced as a whole, and one change at a time in all processes.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use super::Refusal;
use super::file::{Header, Opened, Sealed};
use super::key::{SealingKey, refused, write_private};
use crate::outbound::embedded::folder::create_private;
use crate::outbound::embedded::lock::{ProcessLock, WAIT_MAX};

/// The largest file that is read, in bytes: a secret of the largest size and what stands around it.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// How files of secrets end.
const ENDING: &str = "secret";

/// The secrets of one folder, which several processes may share.
#[derive(Debug)]
pub(super) struct SecretFiles {
    folder: PathBuf,
    key: PathBuf,
    /// The lock keeps processes apart, the mutex the threads of this one.
    lock: Mutex<ProcessLock>,
}

/// What there is under a name.
pub(super) enum Stored {
    Absent,
    /// A file that is torn or none of ours.
    Damaged,
    There(Sealed),
}

impl SecretFiles {
    pub(super) fn new(folder: PathBuf, key: PathBuf, lock: ProcessLock) -> Self {
        Self {
            folder,
            key,
            lock: Mutex::new(lock),
        }
    }

    /// Does `work` while nobody else changes anything.
    pub(super) fn change<T>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let _held = lock.hold(WAIT_MAX)?;
        work(self)
    }

    /// What there is under `name`. Files are replaced as a whole, so no lock is needed.
    pub(super) fn read(&self, name: &str) -> Result<Stored, Refusal> {
        let Some(text) = read_file(&self.path(name))? else {
            return Ok(Stored::Absent);
        };
        let sealed = Sealed::parse(&text).filter(|sealed| sealed.header.name == name);
        Ok(sealed.map_or(Stored::Damaged, Stored::There))
    }

    /// The text of `sealed`.
    pub(super) fn open(&self, sealed: &Sealed) -> Result<Opened, Refusal> {
        let key = SealingKey::read(&self.key)?.ok_or_else(lost_key)?;
        Ok(sealed.open(&key))
    }

    /// Whether `sealed` is that version, of that text.
    pub(super) fn holds(
        &self,
        sealed: &Sealed,
        version: &str,
        text: &SecretString,
    ) -> Result<bool, Refusal> {
        Ok(sealed.header.version == version
            && match self.open(sealed)? {
                Opened::Text(kept) => kept.expose_secret() == text.expose_secret(),
                Opened::OtherKey | Opened::Damaged => false,
            })
    }

    /// Keeps `text` in place of what is there. Within [`SecretFiles::change`].
    pub(super) fn write(&self, header: &Header, text: &SecretString) -> Result<(), Refusal> {
        create_private(&self.folder)?;
        let key = match SealingKey::read(&self.key)? {
            Some(key) => key,
            // A new key would leave what the old one has sealed shut for ever, without a word.
            None if self.count()? > 0 => return Err(lost_key()),
            None => SealingKey::create(&self.key)?,
        };
        let sealed = header.seal(&key, text.expose_secret())?;
        // One name is enough, since only one change is made at a time: none is left behind for long.
        let new = self.folder.join("new");
        write_private(&new, &[&sealed])?;
        fs::rename(&new, self.path(&header.name))?;
        Ok(())
    }

    /// Removes what is there. Within [`SecretFiles::change`].
    pub(super) fn remove(&self, name: &str) -> Result<(), Refusal> {
        match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// How many secrets there are.
    pub(super) fn count(&self) -> Result<usize, Refusal> {
        Ok(self.paths()?.len())
    }

    /// Every secret that can be told by its name; a file that cannot is left out with a line in the log.
    pub(super) fn headers(&self) -> Result<Vec<Header>, Refusal> {
        let mut headers = Vec::new();
        for path in self.paths()? {
            let Some(text) = read_file(&path)? else {
                continue;
            };
            let sealed = Sealed::parse(&text);
            match sealed.filter(|sealed| self.path(&sealed.header.name) == path) {
                Some(sealed) => headers.push(sealed.header),
                None => {
                    let file = path.file_name().unwrap_or_default().to_string_lossy();
                    tracing::warn!(%file, "a file among the secrets is damaged, or none of ours");
                }
            }
        }
        Ok(headers)
    }

    fn paths(&self) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == ENDING) {
                paths.push(path);
            }
        }
        Ok(paths)
    }

    /// Where a secret lies: under a hash, since names of secrets hold slashes and are long.
    fn path(&self, name: &str) -> PathBuf {
        let hash = Sha256::digest(name);
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(format!("{hash}.{ENDING}"))
    }
}

/// The bytes of a file; none where there is none.
fn read_file(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    match file.take(FILE_BYTES_MAX).read_to_end(&mut text) {
        // A folder of that name is no secret of ours.
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => Ok(Some(Vec::new())),
        Err(error) => Err(error),
        Ok(_) => Ok(Some(text)),
    }
}

fn lost_key() -> Refusal {
    refused("is gone, and there are secrets that only it opens")
}
