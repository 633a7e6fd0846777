//! The folder of the embedded cloud: what lies where, its format, and what to say when it cannot be used.

use std::fs::{self, DirBuilder};
use std::io;
use std::path::{Path, PathBuf};

use super::lock::{Held, ProcessLock, WAIT_MAX};
use crate::mesh::{Error, ErrorKind};

/// The format that this version writes and reads. A change that an older version would misread raises it.
const FORMAT: u32 = 1;

/// The longest format file that is looked at, in bytes.
const FORMAT_BYTES_MAX: usize = 32;

/// The folder of the definitions of workflows, within the data folder.
pub(crate) const WORKFLOWS_FOLDER: &str = "workflows";

/// An existing folder that this process may write.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    opening: ProcessLock,
}

impl Folder {
    /// The folder at `path`, created for its owner alone where it is missing.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        create_private(path).map_err(|error| refusal(path, error))?;
        create_private(&path.join("objects")).map_err(|error| refusal(path, error))?;
        let opening =
            ProcessLock::at(&path.join("open.lock")).map_err(|error| refusal(path, error))?;
        Ok(Self {
            path: path.to_owned(),
            opening,
        })
    }

    /// Held while databases are created or migrated.
    pub(super) fn open_lock(&self) -> Result<Held<'_>, Error> {
        self.opening
            .hold(WAIT_MAX)
            .map_err(|error| self.refusal(error))
    }

    /// Writes the format into a new folder and refuses a folder of a newer one.
    pub(super) fn check_format(&self) -> Result<(), Error> {
        let path = self.path.join("format");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let new = self.path.join("format.new");
                return fs::write(&new, format!("{FORMAT}\n"))
                    .and_then(|()| fs::rename(&new, &path))
                    .map_err(|error| self.refusal(error));
            }
            Err(error) => return Err(self.refusal(error)),
        };
        let format = std::str::from_utf8(text.get(..FORMAT_BYTES_MAX).unwrap_or(&text))
            .ok()
            .and_then(|text| text.trim().parse::<u32>().ok());
        match format {
            Some(FORMAT) => Ok(()),
            Some(format) if format > FORMAT => Err(Error::new(
                ErrorKind::NotSupported,
                format!(
                    "The data folder is of format {format}, and this version knows formats up to {FORMAT}."
                ),
            )
            .fix("Use the newer use_aws_mcp that wrote it, or name another folder by AGENT_MESH_DATA_DIR.")
            .caused_by(self.path.display().to_string())),
            _ => Err(Error::new(
                ErrorKind::NotSupported,
                "The data folder has a format file that is none of ours.",
            )
            .fix("Name an empty folder by AGENT_MESH_DATA_DIR.")
            .caused_by(self.path.display().to_string())),
        }
    }

    /// The lock of that name.
    pub(super) fn lock(&self, name: &str) -> Result<ProcessLock, Error> {
        ProcessLock::at(&self.path.join(name)).map_err(|error| self.refusal(error))
    }

    /// The database of the table.
    pub(super) fn table_path(&self) -> PathBuf {
        self.path.join("table.sqlite")
    }

    /// The index of the objects.
    pub(super) fn index_path(&self) -> PathBuf {
        self.path.join("objects.sqlite")
    }

    /// The executions of workflows.
    pub(super) fn executions_path(&self) -> PathBuf {
        self.path.join("workflows.sqlite")
    }

    /// Where a person puts the definitions of workflows.
    pub(super) fn workflows_path(&self) -> PathBuf {
        self.path.join(WORKFLOWS_FOLDER)
    }

    /// Where processes that run workflows keep the locks that show that they live.
    pub(super) fn workflow_owners_path(&self) -> PathBuf {
        self.path.join("workflow-owners")
    }

    /// Where topics and their subscriptions are kept.
    pub(super) fn topics_path(&self) -> PathBuf {
        self.path.join("topics")
    }

    /// Where secrets lie, each sealed.
    pub(super) fn secrets_path(&self) -> PathBuf {
        self.path.join("secrets")
    }

    /// The key that opens them.
    pub(super) fn secrets_key_path(&self) -> PathBuf {
        self.path.join("secrets.key")
    }

    /// Where mails are left.
    pub(super) fn mail_path(&self) -> PathBuf {
        self.path.join("mail")
    }

    /// Where the bytes of objects lie.
    pub(super) fn objects_path(&self) -> PathBuf {
        self.path.join("objects")
    }

    /// What to tell the caller of a failure that came from the disk.
    pub(super) fn refusal(&self, error: impl Into<Failure>) -> Error {
        refusal(&self.path, error)
    }
}

/// What went wrong with the disk, whichever library met it.
#[derive(Debug)]
pub(super) struct Failure {
    /// What a caller can do about it.
    pub(super) cause: Cause,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// The causes that are told apart because their remedies differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// No space is left.
    Full,
    /// Nothing may be written there.
    ReadOnly,
    /// Another process holds the folder.
    Busy,
    /// Anything else.
    Other,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let cause = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Cause::Full,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Cause::ReadOnly,
            io::ErrorKind::TimedOut => Cause::Busy,
            _ => Cause::Other,
        };
        Self {
            cause,
            source: error.into(),
        }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let cause = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Cause::Full,
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
                Cause::ReadOnly
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Cause::Busy,
            _ => Cause::Other,
        };
        Self {
            cause,
            source: error.into(),
        }
    }
}

impl From<dynoxide::DynoxideError> for Failure {
    fn from(error: dynoxide::DynoxideError) -> Self {
        match error {
            dynoxide::DynoxideError::SqliteError(error) => error.into(),
            other => {
                // The engine turns some of SQLite's faults into text before they reach us.
                let text = other.to_string();
                let cause = if text.contains("database or disk is full") {
                    Cause::Full
                } else if text.contains("readonly database") {
                    Cause::ReadOnly
                } else if text.contains("locked") {
                    Cause::Busy
                } else {
                    Cause::Other
                };
                Self {
                    cause,
                    source: other.into(),
                }
            }
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.source.fmt(formatter)
    }
}

fn refusal(path: &Path, error: impl Into<Failure>) -> Error {
    let Failure { cause, source } = error.into();
    let (message, fix) = match cause {
        Cause::Full => (
            "The disk under the data folder is full.",
            "Free some space, or name another folder by AGENT_MESH_DATA_DIR.",
        ),
        Cause::ReadOnly => (
            "The data folder cannot be written.",
            "Make it writable for the user who runs this, or name another folder by AGENT_MESH_DATA_DIR.",
        ),
        Cause::Busy => (
            "Another process holds the data folder.",
            "Try again; if it stays so, end the process that is stopped or stuck in it.",
        ),
        Cause::Other => (
            "The data folder cannot be used.",
            "Look into the log for the cause, or name another folder by AGENT_MESH_DATA_DIR.",
        ),
    };
    Error::new(ErrorKind::AwsUnavailable, message)
        .fix(fix)
        .caused_by(format!("{}: {source}", path.display()))
}

/// Makes a folder for its owner alone, with those that it lies in.
pub(in crate::outbound) fn create_private(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_a_newer_format_is_refused_with_its_remedy() {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::open(&parent.path().join("data")).unwrap();
        folder.check_format().unwrap();
        folder.check_format().unwrap();
        fs::write(folder.path.join("format"), format!("{}\n", FORMAT + 1)).unwrap();
        let error = folder.check_format().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotSupported);
        assert!(error.message().contains("format 2"), "{error}");
        assert!(error.fix_text().unwrap().contains("AGENT_MESH_DATA_DIR"));
        fs::write(folder.path.join("format"), "x".repeat(100)).unwrap();
        assert_eq!(
            folder.check_format().unwrap_err().kind(),
            ErrorKind::NotSupported
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_new_folder_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::open(&parent.path().join("a/b")).unwrap();
        for path in [folder.path.clone(), folder.objects_path()] {
            let mode = fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
        }
    }

    #[test]
    fn a_full_disk_and_a_read_only_folder_are_told_apart_and_no_path_is_told() {
        let path = Path::new("/secret/place");
        let full = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(13), None);
        for (error, expected) in [
            (Failure::from(io::Error::from_raw_os_error(28)), "full"),
            (Failure::from(full), "full"),
            (
                Failure::from(io::Error::from_raw_os_error(30)),
                "cannot be written",
            ),
            (
                Failure::from(io::Error::from_raw_os_error(13)),
                "cannot be written",
            ),
            (
                Failure::from(dynoxide::DynoxideError::InternalServerError(
                    "backend: database or disk is full".to_owned(),
                )),
                "full",
            ),
        ] {
            let error = refusal(path, error);
            assert!(error.message().contains(expected), "{error}");
            assert!(!error.message().contains("secret"));
            assert!(error.fix_text().is_some());
            assert!(format!("{error:?}").contains("/secret/place"));
        }
    }
}
