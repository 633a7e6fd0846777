//! The folders that children work in, each with a record of whose it is, for as long as the child lives.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::mesh::Timestamp;
use crate::mesh::integration::ServiceId;
use crate::mesh::tenant::TenantId;
use crate::mesh::upstream::ConnectionKey;
use crate::platform;

/// The largest record, in bytes.
const RECORD_BYTES_MAX: u64 = 16 << 10;

/// The folder of what is kept, beside the folder of children.
const KEPT: &str = "integrations";

/// The most children whose records are read.
pub const CHILDREN_LISTED_MAX: usize = 4096;

/// A child that runs, or is about to; no secret is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildRecord {
    /// The tenant.
    pub tenant: String,
    /// The user of it.
    pub user: String,
    /// The integration.
    pub service: String,
    /// Which of the user's connections to it.
    pub connection: String,
    /// The program.
    pub program: PathBuf,
    /// When it was started.
    pub started_at: Timestamp,
    /// The server that started it.
    pub server: Process,
    /// Its warden, once there is one.
    pub warden: Option<Process>,
    /// The child's own id, once it runs.
    pub child: Option<u32>,
}

/// A process, told from a later one with the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its id.
    pub id: u32,
    /// When it started, in the system's ticks.
    pub started: u64,
}

/// What a child has on the disk: a folder of its connection that is kept, for it to find again what it has
/// stored, and a temporary folder and a record of its own. Dropped, the latter two are removed, unless the
/// warden has taken that over.
pub(super) struct WorkingFolder {
    /// Where it works; kept.
    pub(super) kept: PathBuf,
    /// What is temporary.
    pub(super) temporary: PathBuf,
    pub(super) record: PathBuf,
    is_ours: bool,
}

impl Process {
    /// The process `id`, if it lives.
    pub fn find(id: u32) -> Option<Self> {
        let started = platform::process(id)?.started;
        Some(Self { id, started })
    }

    /// Whether it lives.
    pub fn is_alive(self) -> bool {
        Self::find(self.id) == Some(self)
    }
}

impl ChildRecord {
    pub(super) fn new(key: &ConnectionKey, program: &Path, started_at: Timestamp) -> Self {
        let own = std::process::id();
        Self {
            tenant: key.tenant.as_str().to_owned(),
            user: key.user.as_str().to_owned(),
            service: key.service.as_str().to_owned(),
            connection: key.connection.as_str().to_owned(),
            program: program.to_owned(),
            started_at,
            server: Process::find(own).unwrap_or(Process {
                id: own,
                started: 0,
            }),
            warden: None,
            child: None,
        }
    }

    /// Whether its warden lives, or its server is about to start one.
    fn is_alive(&self) -> bool {
        self.warden.unwrap_or(self.server).is_alive()
    }
}

impl WorkingFolder {
    /// The folders of a new child of the connection `key` in `folder`, which is made where there is none;
    /// only this user can look into any.
    pub(super) fn create(
        folder: &Path,
        key: &ConnectionKey,
        record: &ChildRecord,
    ) -> io::Result<Self> {
        make(folder, true)?;
        let name = uuid::Uuid::new_v4().simple().to_string();
        let working = Self {
            kept: kept_of_connection(folder, key),
            temporary: folder.join(&name),
            record: folder.join(format!("{name}.json")),
            is_ours: true,
        };
        working.write(record)?;
        make(&working.kept, true)?;
        make(&working.temporary, false)?;
        Ok(working)
    }

    /// Replaces the record.
    pub(super) fn write(&self, record: &ChildRecord) -> io::Result<()> {
        let next = self.record.with_extension("next");
        let mut file = File::create(&next)?;
        file.write_all(&serde_json::to_vec(record)?)?;
        fs::rename(next, &self.record)
    }

    /// The warden removes it from now on.
    pub(super) fn leave_to_warden(&mut self) {
        self.is_ours = false;
    }
}

impl Drop for WorkingFolder {
    fn drop(&mut self) {
        if self.is_ours {
            remove(&self.temporary, &self.record);
        }
    }
}

/// What the children of one connection keep. The user and the connection are a hash: not every file system
/// tells apart all ids that differ.
fn kept_of_connection(folder: &Path, key: &ConnectionKey) -> PathBuf {
    let user = key.user.as_str();
    let mut hash = Sha256::new();
    hash.update((user.len() as u64).to_be_bytes());
    hash.update(user);
    hash.update(key.connection.as_str());
    let name: String = hash.finalize()[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    kept_of_service(folder, &key.tenant, &key.service).join(name)
}

fn kept_of_service(folder: &Path, tenant: &TenantId, service: &ServiceId) -> PathBuf {
    folder
        .with_file_name(KEPT)
        .join(tenant.as_str())
        .join(service.as_str())
}

/// Removes what the children of all connections to an integration have kept.
pub(super) fn forget(folder: &Path, tenant: &TenantId, service: &ServiceId) {
    let kept = kept_of_service(folder, tenant, service);
    if kept.exists() && fs::remove_dir_all(&kept).is_err() {
        reopen(&kept);
        if fs::remove_dir_all(&kept).is_err() {
            tracing::warn!(%service, "what an integration has kept could not be removed");
        }
    }
}

#[cfg(unix)]
fn make(folder: &Path, all: bool) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    DirBuilder::new().recursive(all).mode(0o700).create(folder)
}

#[cfg(not(unix))]
fn make(folder: &Path, all: bool) -> io::Result<()> {
    DirBuilder::new().recursive(all).create(folder)
}

/// Removes a working folder, and after it its record; what cannot be removed is left to a later sweep.
pub(super) fn remove(folder: &Path, record: &Path) {
    if fs::remove_dir_all(folder).is_err() {
        // A child may have taken its own rights to its folders.
        reopen(folder);
        let _ = fs::remove_dir_all(folder);
    }
    if !folder.exists() {
        let _ = fs::remove_file(record);
    }
}

/// Gives the rights to all folders in `folder` back to their owner; links are not followed.
#[cfg(unix)]
fn reopen(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;

    let mut next = vec![folder.to_owned()];
    while let Some(folder) = next.pop() {
        let _ = fs::set_permissions(&folder, fs::Permissions::from_mode(0o700));
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        next.extend(
            entries
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
    }
}

#[cfg(not(unix))]
fn reopen(_folder: &Path) {}

/// The children that live, of every server that keeps them in `folder`; nothing of a child is read but its
/// record.
pub fn list(folder: &Path) -> Vec<ChildRecord> {
    let alive = records(folder).filter(|(_, record)| record.is_alive());
    alive.map(|(_, record)| record).collect()
}

/// Removes what children have left behind whose wardens are gone, after a loss of power at most.
pub(super) fn sweep(folder: &Path) {
    if platform::process(std::process::id()).is_none() {
        // Here nobody can tell which processes live.
        return;
    }
    for (path, record) in records(folder) {
        if !record.is_alive() {
            remove(&path.with_extension(""), &path);
        }
    }
}

fn records(folder: &Path) -> impl Iterator<Item = (PathBuf, ChildRecord)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .take(CHILDREN_LISTED_MAX)
        .filter_map(|path| {
            let record = read(&path)?;
            Some((path, record))
        })
}

fn read(path: &Path) -> Option<ChildRecord> {
    use std::io::Read;

    let mut text = String::new();
    let file = File::open(path).ok()?;
    file.take(RECORD_BYTES_MAX).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ConnectionKey {
        ConnectionKey {
            tenant: "acme".parse().unwrap(),
            user: "ada".parse().unwrap(),
            service: "notes".parse().unwrap(),
            connection: Default::default(),
        }
    }

    fn record() -> ChildRecord {
        ChildRecord::new(&key(), Path::new("/bin/server"), Timestamp::from_millis(0))
    }

    #[test]
    fn what_is_kept_is_found_again_by_its_own_connection_until_it_is_forgotten() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("children");
        let open = |key: &ConnectionKey| WorkingFolder::create(&folder, key, &record()).unwrap();
        let first = open(&key());
        fs::write(first.kept.join("graph"), "a").unwrap();
        drop(first);
        assert_eq!(
            fs::read_to_string(open(&key()).kept.join("graph")).unwrap(),
            "a"
        );
        let other_user = ConnectionKey {
            user: "Ada".parse().unwrap(),
            ..key()
        };
        let other_connection = ConnectionKey {
            connection: "second".parse().unwrap(),
            ..key()
        };
        let other_tenant = ConnectionKey {
            tenant: "umbra".parse().unwrap(),
            ..key()
        };
        for other in [&other_user, &other_connection, &other_tenant] {
            assert!(!open(other).kept.join("graph").exists(), "{other:?}");
        }
        forget(&folder, &key().tenant, &key().service);
        assert!(!open(&key()).kept.join("graph").exists());
        assert!(open(&other_tenant).kept.exists());
    }

    #[test]
    fn a_folder_that_is_dropped_is_gone_with_its_record() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("children");
        let working = WorkingFolder::create(&folder, &key(), &record()).unwrap();
        assert_eq!(list(&folder), [record()]);
        assert!(working.temporary.is_dir());
        drop(working);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }

    #[cfg(unix)]
    #[test]
    fn folders_whose_rights_were_taken_are_removed_and_links_are_not_followed() {
        use std::os::unix::fs::{PermissionsExt, symlink};

        let root = tempfile::tempdir().unwrap();
        let kept = root.path().join("kept");
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), "").unwrap();
        let working =
            WorkingFolder::create(&root.path().join("children"), &key(), &record()).unwrap();
        let closed = working.temporary.join("a/b");
        fs::create_dir_all(&closed).unwrap();
        symlink(&kept, closed.join("link")).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
        let path = working.temporary.clone();
        drop(working);
        assert!(!path.exists() && kept.join("file").exists());
        let mode = fs::metadata(&kept).unwrap().permissions().mode();
        assert_ne!(mode & 0o077, 0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_the_dead_left_is_swept_and_the_living_keep_theirs() {
        let root = tempfile::tempdir().unwrap();
        let mut living = WorkingFolder::create(root.path(), &key(), &record()).unwrap();
        living.leave_to_warden();
        let mut dead = WorkingFolder::create(root.path(), &key(), &record()).unwrap();
        dead.leave_to_warden();
        let own = Process::find(std::process::id()).unwrap();
        let warden = Process {
            started: own.started + 1,
            ..own
        };
        let ended = ChildRecord {
            warden: Some(warden),
            ..record()
        };
        dead.write(&ended).unwrap();
        assert_eq!(list(root.path()), [record()]);
        sweep(root.path());
        assert!(living.temporary.exists() && living.record.exists());
        assert!(!dead.temporary.exists() && !dead.record.exists());
    }
}
