//! What a folder has room for, and whether it may be written.

use std::path::Path;

/// How much space a process without privileges may still use on the disk of `folder`, in bytes; `None` where
/// the system does not say.
#[cfg(unix)]
pub fn free_space_bytes(folder: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(folder).ok()?;
    found.f_bavail.checked_mul(found.f_frsize)
}

/// The free space; `None`, because only Unix is asked.
#[cfg(not(unix))]
pub fn free_space_bytes(_folder: &Path) -> Option<u64> {
    None
}

/// Whether this process may make files in `folder`, as far as can be told without making one.
#[cfg(unix)]
pub fn may_write(folder: &Path) -> bool {
    rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_ok()
}

/// Whether the folder is marked as read-only.
#[cfg(not(unix))]
pub fn may_write(folder: &Path) -> bool {
    std::fs::metadata(folder).is_ok_and(|found| !found.permissions().readonly())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_ones_own_may_be_written_and_one_that_is_not_there_may_not() {
        let folder = tempfile::tempdir().unwrap();
        assert!(may_write(folder.path()));
        assert!(!may_write(&folder.path().join("none")));
    }

    #[cfg(unix)]
    #[test]
    fn a_disk_has_some_space_and_a_missing_folder_is_not_known() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free_space_bytes(folder.path()).is_some());
        assert_eq!(free_space_bytes(&folder.path().join("none")), None);
    }
}
