//! A client's file: read whole, replaced at once, the old one kept beside it.

use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::mesh::Timestamp;

/// The largest file of a client that is read, in bytes; the largest we know of keep histories in it.
pub(super) const CLIENT_FILE_BYTES_MAX: u64 = 64 << 20;
/// How many backups may bear the same second.
const SAME_SECOND_MAX: usize = 100;

/// A client's file as it was read.
#[derive(Debug)]
pub(super) struct ClientFile {
    /// The file itself, where the path that was asked for is a link to it.
    path: PathBuf,
    existing: Option<Existing>,
}

#[derive(Debug)]
struct Existing {
    text: String,
    permissions: Permissions,
}

impl ClientFile {
    /// Reads the file at `path`; one that does not exist is empty.
    ///
    /// # Errors
    /// It cannot be read or replaced, is too large, or is no UTF-8; the message names it.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let fault = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        if fs::symlink_metadata(path).is_err() {
            return Ok(Self {
                path: path.to_owned(),
                existing: None,
            });
        }
        let target = fs::canonicalize(path)
            .map_err(|error| fault(&format_args!("it is a link that leads nowhere: {error}")))?;
        let found = fs::metadata(&target).map_err(|error| fault(&error))?;
        if !found.is_file() {
            return Err(fault(&"it is no file"));
        }
        if found.permissions().readonly() {
            return Err(fault(&"it is read-only"));
        }
        Ok(Self {
            existing: Some(Existing {
                text: read_text(&target).map_err(|error| fault(&error))?,
                permissions: found.permissions(),
            }),
            path: target,
        })
    }

    /// Its text; empty where there is no file.
    pub(super) fn text(&self) -> &str {
        self.existing
            .as_ref()
            .map_or("", |existing| existing.text.as_str())
    }

    /// Replaces the file by `text` at once: whoever reads it meanwhile sees the old one or the new one.
    /// The old one is kept beside it, under a name with the time that no other file has.
    ///
    /// # Errors
    /// Something could not be written, or the file was changed since it was read; it is then as it was.
    pub(super) fn replace(&self, text: &str, now: Timestamp) -> Result<Option<PathBuf>, String> {
        self.write(text, now)
            .map_err(|error| format!("{}: {error}", self.path.display()))
    }

    fn write(&self, text: &str, now: Timestamp) -> io::Result<Option<PathBuf>> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        if self.existing.is_none() {
            fs::create_dir_all(folder)?;
        }
        let replacement = self.temporary(folder, text)?;
        let backup = match &self.existing {
            Some(existing) => Some(self.back_up(folder, &existing.text, now)?),
            None => None,
        };
        match &self.existing {
            Some(existing) if read_text(&self.path)? == existing.text => {
                replacement.persist(&self.path)?;
            }
            Some(_) => {
                return Err(io::Error::other(
                    "somebody changed the file in the meantime; run this again",
                ));
            }
            None => {
                replacement.persist_noclobber(&self.path)?;
            }
        }
        Ok(backup)
    }

    /// `text` in a file of `folder` without a name yet, safe on the disk.
    fn temporary(&self, folder: &Path, text: &str) -> io::Result<NamedTempFile> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".agent-mesh-");
        #[cfg(unix)]
        if self.existing.is_none() {
            use std::os::unix::fs::PermissionsExt;
            // The process's mask takes away what others may not do, as for any new file.
            builder.permissions(Permissions::from_mode(0o666));
        }
        let mut file = builder.tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        if let Some(existing) = &self.existing {
            file.as_file()
                .set_permissions(existing.permissions.clone())?;
        }
        file.as_file().sync_all()?;
        Ok(file)
    }

    /// Keeps `text` in a file of its own.
    fn back_up(&self, folder: &Path, text: &str, now: Timestamp) -> io::Result<PathBuf> {
        let name = self
            .path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let second = compact(now);
        let mut file = self.temporary(folder, text)?;
        for number in 1..=SAME_SECOND_MAX {
            let suffix = match number {
                1 => String::new(),
                number => format!("-{number}"),
            };
            let path = folder.join(format!("{name}.{second}{suffix}.bak"));
            match file.persist_noclobber(&path) {
                Ok(_) => return Ok(path),
                Err(taken) if taken.error.kind() == io::ErrorKind::AlreadyExists => {
                    file = taken.file;
                }
                Err(other) => return Err(other.error),
            }
        }
        Err(io::Error::other("too many backups bear this second"))
    }
}

/// `20261120T084800Z`: a time as part of a file's name.
fn compact(time: Timestamp) -> String {
    let text = time.to_string();
    let second: String = text
        .chars()
        .take_while(|character| *character != '.')
        .filter(|character| !matches!(character, '-' | ':'))
        .collect();
    second + "Z"
}

/// The text of a file of at most [`CLIENT_FILE_BYTES_MAX`].
pub(in crate::cli) fn read_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(CLIENT_FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > CLIENT_FILE_BYTES_MAX {
        return Err(io::Error::other(
            "the file is too large for a client's settings",
        ));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("the file is no UTF-8"))
}
