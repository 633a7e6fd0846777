//! Whether an audit log is kept, where, and what happens when it cannot be written.

use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::setting::{AUDIT_BYTES_MAX, AUDIT_KEY_FILE, AUDIT_LOG, AUDIT_REQUIRED, Setting};
use super::source::{Bytes, Reader, Source};
use super::{check, secret_file};

/// An audit log that is kept.
#[derive(Clone, Debug)]
pub struct AuditSettings {
    /// Its file, absolute; full ones and those of further processes lie beside it.
    pub log: PathBuf,
    /// How large a file becomes, in bytes.
    pub bytes_max: u64,
    /// Whether calls are refused that could not be recorded.
    pub is_required: bool,
    /// What its lines are sealed with, where a plain hash is not enough.
    pub key: Option<SecretString>,
}

/// The fewest bytes of a key.
pub const AUDIT_KEY_BYTES_LEAST: usize = 32;
/// The most bytes of a key.
pub const AUDIT_KEY_BYTES_MOST: usize = 4096;

/// The key in the file `path`.
///
/// # Errors
/// What is wrong with it.
pub fn audit_key(path: &Path) -> Result<SecretString, String> {
    secret_file::read(path, AUDIT_KEY_BYTES_LEAST..=AUDIT_KEY_BYTES_MOST)
}

impl AuditSettings {
    /// The smallest file, in bytes.
    pub const BYTES_LEAST: u64 = 1 << 20;
    /// The largest file, in bytes.
    pub const BYTES_MOST: u64 = 1 << 40;

    pub(crate) fn read(reader: &mut Reader, warnings: &mut Vec<String>) -> Option<Self> {
        let log = reader.read_path(&AUDIT_LOG, None, file_in_a_folder);
        let bytes_max = reader.read(&AUDIT_BYTES_MAX, Bytes(100 << 20), |text| {
            check::bytes(text, Self::BYTES_LEAST..=Self::BYTES_MOST).map(Bytes)
        });
        let key_file = reader.read_path(&AUDIT_KEY_FILE, None, |path| audit_key(path).map(drop));
        let is_required = reader.read(&AUDIT_REQUIRED, true, check::switch);
        let is_set = |reader: &Reader, setting: &Setting| reader.source(setting) != Source::Default;
        if !is_set(reader, &AUDIT_LOG) {
            let others = [&AUDIT_BYTES_MAX, &AUDIT_KEY_FILE, &AUDIT_REQUIRED];
            let useless = others.into_iter().filter(|setting| is_set(reader, setting));
            warnings.extend(useless.map(|setting| {
                let (name, needed) = (setting.variable, AUDIT_LOG.variable);
                format!(
                    "{name} is set but does nothing while {needed} is not: no audit log is kept"
                )
            }));
        }
        Some(Self {
            log: log?,
            bytes_max: bytes_max.0,
            is_required,
            // What is wrong with it has been told.
            key: key_file.and_then(|path| audit_key(&path).ok()),
        })
    }
}

/// Nothing, if `path` can be a file: its folder is there, so that a wrong one is noticed at the start.
fn file_in_a_folder(path: &Path) -> Result<(), String> {
    if path.is_dir() {
        return Err("it is a folder; name a file in it, such as audit.jsonl".to_owned());
    }
    match path.parent() {
        Some(folder) if folder.is_dir() => Ok(()),
        _ => Err("its folder is not there".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_a_file_whose_folder_is_there() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(file_in_a_folder(&folder.path().join("audit.jsonl")), Ok(()));
        assert!(file_in_a_folder(folder.path()).is_err());
        assert!(file_in_a_folder(&folder.path().join("none/audit.jsonl")).is_err());
    }

    #[test]
    fn a_key_has_enough_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        for (bytes, is_key) in [(31, false), (32, true), (4096, true), (4097, false)] {
            std::fs::write(&path, "k".repeat(bytes)).unwrap();
            assert_eq!(audit_key(&path).is_ok(), is_key, "{bytes}");
        }
    }
}
