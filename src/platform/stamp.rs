//! What tells one version of a file from another without reading it.

use std::fs::Metadata;
use std::path::Path;
use std::time::SystemTime;

/// When a file was changed, how long it is, and which file it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileStamp {
    modified: Option<SystemTime>,
    bytes: u64,
    file_number: u64,
}

impl FileStamp {
    /// The stamp of the file at `path`, or nothing where it cannot be seen.
    pub fn of(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok()?;
        Some(Self {
            modified: found.modified().ok(),
            bytes: found.len(),
            file_number: file_number(&found),
        })
    }
}

/// Whether others than its owner may read or write the file; `false` where the system knows no such thing.
#[cfg(unix)]
pub fn is_open_to_others(found: &Metadata) -> bool {
    std::os::unix::fs::PermissionsExt::mode(&found.permissions()) & 0o077 != 0
}

/// `false`, because only Unix is asked.
#[cfg(not(unix))]
pub fn is_open_to_others(_found: &Metadata) -> bool {
    false
}

/// The file's number on its disk, which differs after another file was moved into its place.
#[cfg(unix)]
fn file_number(found: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(found)
}

#[cfg(not(unix))]
fn file_number(_found: &Metadata) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_replaced_or_longer_has_another_stamp() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        assert_eq!(FileStamp::of(&path), None);
        std::fs::write(&path, "1").unwrap();
        let first = FileStamp::of(&path).unwrap();
        assert_eq!(FileStamp::of(&path).unwrap(), first);
        std::fs::write(&path, "12").unwrap();
        assert_ne!(FileStamp::of(&path).unwrap(), first);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_the_group_may_read_is_open_to_others() {
        use std::os::unix::fs::PermissionsExt;

        let file = tempfile::NamedTempFile::new().unwrap();
        let is_open = || is_open_to_others(&file.path().metadata().unwrap());
        assert!(!is_open());
        for mode in [0o640, 0o604, 0o620] {
            let permissions = std::fs::Permissions::from_mode(mode);
            file.as_file().set_permissions(permissions).unwrap();
            assert!(is_open(), "{mode:o}");
        }
    }
}
