//! Folders of the outbox: one for each writer under its target, owned by whoever holds its lock.
//!
//! A folder is made as `<writer>/owner.new`, locked, given its version, and only then renamed to `owner`.
//! A folder without `owner` therefore has no owner yet and no record, and one whose `owner` can be locked
//! has lost its owner. What two processes do at the same moment ends in one of them finding the file gone.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};
use ulid::Ulid;

/// The version of the format of folders and frames that a folder begins with.
const FORMAT_VERSION: u32 = 1;

/// The same of a folder with compacted segments, which the version before does not understand.
const COMPACTED_VERSION: u32 = 2;

/// What the file `owner` says before the version.
const FORMAT_NAME: &str = "agent-mesh outbox ";

/// What the name of a segment ends with that is to replace others.
const UNFINISHED_SUFFIX: &str = ".log.new";

/// How often a folder is begun anew after another process took it for an abandoned one.
const CREATE_ATTEMPTS_MAX: u32 = 8;

/// Where events are bound for. Outboxes of the same target, and only those, adopt from each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Target {
    /// `aws` or `embedded`.
    pub backend: String,
    /// The endpoint where it is not the service's own, or the folder of an embedded cloud.
    pub endpoint: String,
    /// The region.
    pub region: String,
    /// The account, where it is known.
    pub account: String,
    /// The table of history and counters.
    pub table: String,
    /// The bus.
    pub bus: String,
}

impl Target {
    /// The folder's name: backend and region for people, a hash of everything for the rest.
    pub(super) fn folder_name(&self) -> String {
        let mut hash = Sha256::new();
        let fields = [
            &self.backend,
            &self.endpoint,
            &self.region,
            &self.account,
            &self.table,
            &self.bus,
        ];
        for field in fields {
            hash.update((field.len() as u64).to_be_bytes());
            hash.update(field);
        }
        let digest = hash.finalize();
        let readable = |text: &str| -> String {
            let kept = text.chars().filter(char::is_ascii_alphanumeric);
            kept.take(20).collect::<String>().to_ascii_lowercase()
        };
        let mut name = format!("{}-{}-", readable(&self.backend), readable(&self.region));
        for byte in digest.iter().take(10) {
            name.push_str(&format!("{byte:02x}"));
        }
        name
    }
}

/// A writer's folder whose lock we hold.
#[derive(Debug)]
pub(in crate::mesh::event) struct Folder {
    path: PathBuf,
    writer: Ulid,
    /// Held for its lock, which goes with it.
    owner: File,
}

/// What became of a try to take a folder over.
#[derive(Debug)]
pub(super) enum Takeover {
    /// It is ours now.
    Ours(Folder),
    /// Its owner lives, or another process was quicker, or nothing is in it.
    NotOurs,
    /// It is of a version that we do not understand.
    OtherFormat(String),
}

impl Folder {
    /// Makes the folder of `writer`, or of a later one where that was taken for an abandoned one.
    pub(super) fn create(target: &Path, mut writer: Ulid) -> io::Result<Self> {
        for _ in 0..CREATE_ATTEMPTS_MAX {
            match Self::try_create(target, writer) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // Most likely another process has cleared the unfinished folder away.
                    fs::create_dir_all(target)?;
                    writer = writer.increment().unwrap_or(writer);
                }
                other => return other,
            }
        }
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the outbox folder was cleared away again and again",
        ))
    }

    fn try_create(target: &Path, writer: Ulid) -> io::Result<Self> {
        let path = target.join(writer.to_string());
        fs::create_dir(&path)?;
        let unfinished = path.join("owner.new");
        let mut owner = File::create_new(&unfinished)?;
        if !try_lock(&owner)? {
            return Err(io::ErrorKind::NotFound.into());
        }
        owner.write_all(format!("{FORMAT_NAME}{FORMAT_VERSION}\n").as_bytes())?;
        fs::rename(&unfinished, path.join("owner"))?;
        Ok(Self {
            path,
            writer,
            owner,
        })
    }

    /// Takes over the folder of `writer` if its owner is gone.
    pub(super) fn take_over(target: &Path, writer: Ulid) -> io::Result<Takeover> {
        let path = target.join(writer.to_string());
        // Writable, since the version may have to be raised.
        let opened = File::options()
            .read(true)
            .write(true)
            .open(path.join("owner"));
        let mut owner = match opened {
            Ok(owner) => owner,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                clear_unfinished(&path);
                return Ok(Takeover::NotOurs);
            }
            Err(error) => return Err(error),
        };
        if !try_lock(&owner)? {
            return Ok(Takeover::NotOurs);
        }
        // The lock may be on a file that another process has removed in the meantime.
        if !path.join("owner").exists() {
            return Ok(Takeover::NotOurs);
        }
        let mut text = String::new();
        (&mut owner).take(256).read_to_string(&mut text)?;
        let version = text
            .strip_prefix(FORMAT_NAME)
            .and_then(|rest| rest.trim_end().parse::<u32>().ok());
        Ok(match version {
            Some(FORMAT_VERSION | COMPACTED_VERSION) => Takeover::Ours(Self {
                path,
                writer,
                owner,
            }),
            _ => Takeover::OtherFormat(text.trim_end().to_owned()),
        })
    }

    /// Gives the lock up, as the system does for a process that is killed.
    #[cfg(test)]
    pub(super) fn unlock_for_test(&self) {
        self.owner.unlock().unwrap();
    }

    /// Whose records it has.
    pub(in crate::mesh::event) fn writer(&self) -> Ulid {
        self.writer
    }

    /// Where the segment of `number` is.
    pub(super) fn segment(&self, number: u64) -> PathBuf {
        segment(&self.path, number)
    }

    /// Where the ballast is.
    pub(super) fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }

    /// Where the acknowledged positions are.
    pub(super) fn acks(&self) -> PathBuf {
        self.path.join("acks")
    }

    /// Where a segment is written that is to replace the one of `number`.
    pub(super) fn unfinished_segment(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:020}{UNFINISHED_SUFFIX}"))
    }

    /// Removes what was begun to replace segments by a process that died before it did.
    pub(super) fn clear_unfinished_segments(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_string_lossy().ends_with(UNFINISHED_SUFFIX) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Removes the segment of `number`.
    pub(super) fn remove_segment(&self, number: u64) -> io::Result<()> {
        fs::remove_file(self.segment(number))
    }

    /// Has versions that do not understand compacted segments leave this folder alone.
    pub(super) fn raise_version(&self) -> io::Result<()> {
        // The number has one digit, so whoever reads it finds the one or the other.
        let mut owner = &self.owner;
        owner.seek(SeekFrom::Start(FORMAT_NAME.len() as u64))?;
        owner.write_all(COMPACTED_VERSION.to_string().as_bytes())
    }

    /// The segments and their sizes, in order.
    pub(super) fn segments(&self) -> io::Result<Vec<(u64, u64)>> {
        segments(&self.path)
    }

    /// Removes the folder; `owner` goes last, so that what is left after a crash is taken over again.
    pub(super) fn remove(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_name() != "owner" {
                fs::remove_file(entry.path())?;
            }
        }
        fs::remove_file(self.path.join("owner"))?;
        match fs::remove_dir(&self.path) {
            // Another process has just cleared away the empty folder.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

/// Where the segment of `number` is in the folder at `path`.
pub(super) fn segment(path: &Path, number: u64) -> PathBuf {
    path.join(format!("{number:020}.log"))
}

/// The segments in the folder at `path` and their sizes, in order.
pub(super) fn segments(path: &Path) -> io::Result<Vec<(u64, u64)>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_suffix(".log"))
            .and_then(|number| number.parse().ok());
        if let Some(number) = number {
            segments.push((number, entry.metadata()?.len()));
        }
    }
    segments.sort_unstable();
    Ok(segments)
}

/// The writers that have a folder under `target`, oldest first.
pub(super) fn writers(target: &Path) -> io::Result<Vec<Ulid>> {
    let mut writers = Vec::new();
    for entry in fs::read_dir(target)? {
        let name = entry?.file_name();
        if let Some(writer) = name.to_str().and_then(|name| Ulid::from_string(name).ok())
            && writer.to_string().as_str() == name
        {
            writers.push(writer);
        }
    }
    writers.sort_unstable();
    Ok(writers)
}

/// Whether the lock is ours now.
fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Clears away a folder whose maker has died before it was finished. A maker that lives holds the lock,
/// or finds its file gone and begins anew.
fn clear_unfinished(path: &Path) {
    let unfinished = path.join("owner.new");
    if let Ok(file) = File::open(&unfinished) {
        if !matches!(try_lock(&file), Ok(true)) {
            return;
        }
        let _ = fs::remove_file(&unfinished);
    }
    let _ = fs::remove_dir(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn a_folder_has_one_owner_at_a_time() {
        let target = target();
        let folder = Folder::create(target.path(), Ulid(1)).unwrap();
        assert!(matches!(
            Folder::take_over(target.path(), Ulid(1)).unwrap(),
            Takeover::NotOurs
        ));
        drop(folder);
        let Takeover::Ours(second) = Folder::take_over(target.path(), Ulid(1)).unwrap() else {
            panic!("the owner is gone");
        };
        assert!(matches!(
            Folder::take_over(target.path(), Ulid(1)).unwrap(),
            Takeover::NotOurs
        ));
        second.remove().unwrap();
        assert_eq!(writers(target.path()).unwrap(), []);
    }

    #[test]
    fn a_folder_of_another_version_is_left_alone() {
        let target = target();
        drop(Folder::create(target.path(), Ulid(1)).unwrap());
        let owner = target.path().join(Ulid(1).to_string()).join("owner");
        for text in ["agent-mesh outbox 3\n", "", "what?"] {
            fs::write(&owner, text).unwrap();
            assert!(matches!(
                Folder::take_over(target.path(), Ulid(1)).unwrap(),
                Takeover::OtherFormat(_)
            ));
        }
        assert_eq!(writers(target.path()).unwrap(), [Ulid(1)]);
    }

    #[test]
    fn an_unfinished_folder_is_cleared_away_only_when_its_maker_is_gone() {
        let target = target();
        let path = target.path().join(Ulid(3).to_string());
        fs::create_dir(&path).unwrap();
        let maker = File::create_new(path.join("owner.new")).unwrap();
        maker.lock().unwrap();
        Folder::take_over(target.path(), Ulid(3)).unwrap();
        assert!(path.join("owner.new").exists());
        drop(maker);
        Folder::take_over(target.path(), Ulid(3)).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn only_folders_named_by_a_writer_count() {
        let target = target();
        fs::create_dir(target.path().join("notes")).unwrap();
        fs::write(target.path().join("target.json"), "{}").unwrap();
        let _folder = Folder::create(target.path(), Ulid(9)).unwrap();
        assert_eq!(writers(target.path()).unwrap(), [Ulid(9)]);
    }

    #[test]
    fn every_field_of_a_target_tells_its_folder_apart() {
        let base = Target {
            backend: "aws".into(),
            region: "us-west-2".into(),
            ..Target::default()
        };
        assert!(base.folder_name().starts_with("aws-uswest2-"));
        let others = [
            Target {
                endpoint: "x".into(),
                ..base.clone()
            },
            Target {
                account: "x".into(),
                ..base.clone()
            },
            Target {
                table: "x".into(),
                ..base.clone()
            },
            Target {
                bus: "x".into(),
                ..base.clone()
            },
        ];
        let names: std::collections::HashSet<String> = others
            .iter()
            .chain([&base])
            .map(Target::folder_name)
            .collect();
        assert_eq!(names.len(), 5);
    }
}
