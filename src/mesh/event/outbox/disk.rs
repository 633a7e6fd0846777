//! How the outbox writes: a seam for tests that fill the disk, and the ballast that is thrown off then.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Bytes that each outbox keeps on the disk for nothing, to give them up when the disk is full: what is
/// in flight at that moment (1,024 calls of about 1 KiB) can then still be recorded.
pub(super) const BALLAST_BYTES: usize = 1 << 20;

/// Writes to files of the outbox.
pub(in crate::mesh) trait Disk: Send + Sync + 'static {
    /// Appends `bytes` to `file`.
    fn append(&self, file: &mut File, bytes: &[u8]) -> io::Result<()>;

    /// Creates the ballast under `path`, or leaves the one that is there.
    fn load_ballast(&self, path: &Path) -> io::Result<()> {
        if fs::metadata(path).is_ok_and(|held| held.len() == BALLAST_BYTES as u64) {
            return Ok(());
        }
        // Not zeros: a file system that compresses would keep nothing of them.
        let mut word = 0x9E37_79B9_7F4A_7C15_u64;
        let mut bytes = Vec::with_capacity(BALLAST_BYTES);
        while bytes.len() < BALLAST_BYTES {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        let written = File::create(path).and_then(|mut file| self.append(&mut file, &bytes));
        if written.is_err() {
            let _ = fs::remove_file(path);
        }
        written
    }

    /// Gives the ballast's bytes back to the disk.
    fn drop_ballast(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

/// The machine's disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct MachineDisk;

impl Disk for MachineDisk {
    fn append(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }
}

/// Whether a write failed since there is no more room.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
