//! Whose an execution is: each process that runs some holds a file locked, and the system lets go of it when
//! the process dies.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use ulid::Ulid;

/// The most files of owners that are looked at for those whose processes are gone.
const LEFT_OVER_MAX: usize = 1_000;

/// This process as an owner of executions. It is one until this is dropped.
#[derive(Debug)]
pub(super) struct Owner {
    id: String,
    path: PathBuf,
    _held: File,
}

impl Owner {
    /// Makes this process an owner, with a file in `folder`. The caller holds the lock of the writers, so
    /// that nobody clears the file away before it is locked.
    pub(super) fn register(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        clear(folder)?;
        let id = Ulid::generate().to_string();
        let path = folder.join(&id);
        let held = File::create(&path)?;
        held.lock()?;
        Ok(Self {
            id,
            path,
            _held: held,
        })
    }

    /// Its name in the rows.
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // Whoever finds no file knows as much as whoever finds one that is not locked.
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether the owner of that name is gone.
pub(super) fn is_gone(folder: &Path, id: &str) -> io::Result<bool> {
    // A name that is none of ours leads to no file.
    if Ulid::from_string(id).is_err() {
        return Ok(true);
    }
    is_free(&folder.join(id))
}

fn is_free(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Deletes the files of owners that are gone.
fn clear(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)?.take(LEFT_OVER_MAX) {
        let path = entry?.path();
        if is_free(&path).unwrap_or(false) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_one_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let first = Owner::register(folder.path()).unwrap();
        let second = Owner::register(folder.path()).unwrap();
        assert_ne!(first.id(), second.id());
        assert!(!is_gone(folder.path(), first.id()).unwrap());
        let id = first.id().to_owned();
        drop(first);
        assert!(is_gone(folder.path(), &id).unwrap());
        assert!(!is_gone(folder.path(), second.id()).unwrap());
        assert!(is_gone(folder.path(), "../x").unwrap());
    }

    #[test]
    fn files_of_the_dead_are_cleared_away() {
        let folder = tempfile::tempdir().unwrap();
        let dead = folder.path().join(Ulid::generate().to_string());
        fs::write(&dead, "").unwrap();
        let alive = Owner::register(folder.path()).unwrap();
        assert!(!dead.exists());
        assert!(folder.path().join(alive.id()).exists());
    }
}
