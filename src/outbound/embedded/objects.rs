//! Objects in a folder: keys in an index, bytes in files named by id, so that any key is just a key.
//!
//! A file is written whole under a fresh name before the index names it, and deleted after the index has
//! forgotten it. So whatever moment a process dies at, the index names only whole files; what lies
//! about unnamed is swept later.

mod change;
mod file;
mod index;
mod listing;
mod upkeep;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use ulid::Ulid;

pub(super) use change::{Condition, PartName};
pub(super) use file::{Incoming, Piece, Whole};
pub(super) use listing::Asked;

use super::folder::{Failure, Folder};
use crate::mesh::{Clock, Error, Timestamp};
use file::FileName;
use index::Index;

/// The most operations on objects that use the disk at one time in this process.
const WORKERS: usize = 8;

/// How often a read starts over when the object was replaced between index and file.
const READ_ATTEMPTS: usize = 8;

/// The objects of one folder.
pub(super) struct ObjectStore {
    index: Index,
    files: PathBuf,
    clock: Arc<dyn Clock>,
    workers: Arc<Semaphore>,
}

impl std::fmt::Debug for ObjectStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ObjectStore")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// Why an operation on an object did not succeed.
#[derive(Debug)]
pub(super) enum Fault {
    NoSuchBucket,
    NoSuchKey,
    NoSuchUpload,
    /// A condition did not hold.
    Precondition,
    /// A part is not there or is another than the one named.
    InvalidPart,
    /// Parts are not named in ascending order.
    PartOrder,
    /// A part other than the last is smaller than S3 allows.
    PartTooSmall,
    /// A continuation token is none of ours.
    InvalidToken,
    /// The file of an object is not what the index says, as after a power cut.
    Damaged,
    /// The disk, or a lock on it.
    Storage(Failure),
}

impl<E: Into<Failure>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Storage(error.into())
    }
}

/// What is stored with an object's bytes.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub(super) struct Attributes {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_control: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_disposition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_encoding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_language: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) metadata: BTreeMap<String, String>,
    /// Checksums of the whole object, in base64 by the name of their algorithm.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) checksums: BTreeMap<String, String>,
}

/// An object without its bytes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    id: String,
    in_parts: bool,
    pub(super) size: u64,
    /// Without quotes.
    pub(super) etag: String,
    pub(super) modified: Timestamp,
    pub(super) attributes: Attributes,
}

impl ObjectStore {
    /// Opens the index and creates the bucket where it is missing. The caller holds the folder's
    /// opening lock.
    pub(super) fn open(
        folder: &Folder,
        bucket: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        if !s3s::path::check_bucket_name(bucket) {
            return Err(Error::invalid(
                "artifacts_bucket",
                "The name of the bucket is not one that S3 takes.",
            )
            .fix("Use 3 to 63 lower-case letters, digits, dots and dashes."));
        }
        let store = Self {
            index: Index::open(folder)?,
            files: folder.objects_path(),
            clock,
            workers: Arc::new(Semaphore::new(WORKERS)),
        };
        match store.create_bucket(bucket) {
            Ok(_) => Ok(store),
            Err(Fault::Storage(failure)) => Err(folder.refusal(failure)),
            Err(other) => Err(Error::internal(format!(
                "no bucket could be made: {other:?}"
            ))),
        }
    }

    /// Runs `work` on a thread for blocking work, at most [`WORKERS`] at a time.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let broken = || Fault::from(std::io::Error::other("the work on an object broke down"));
        let permit = Arc::clone(&self.workers)
            .acquire_owned()
            .await
            .map_err(|_| broken())?;
        let store = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let done = work(&store);
            drop(permit);
            if let Err(Fault::Storage(failure)) = &done {
                tracing::warn!(cause = %failure, "the embedded bucket failed");
            }
            done
        })
        .await
        .unwrap_or_else(|_| Err(broken()))
    }

    /// When now is.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Creates the bucket; `false` where it is there already.
    pub(super) fn create_bucket(&self, name: &str) -> Result<bool, Fault> {
        if self.index.has_bucket(name)? {
            return Ok(false);
        }
        let now = self.now().as_millis();
        self.index.write(|transaction| {
            let made = transaction.execute(
                "INSERT OR IGNORE INTO buckets (name, created_ms) VALUES (?1, ?2)",
                params![name, now],
            )?;
            Ok(made == 1)
        })
    }

    /// Every bucket and when it was created.
    pub(super) fn buckets(&self) -> Result<Vec<(String, Timestamp)>, Fault> {
        self.index.read(|connection| {
            connection
                .prepare_cached("SELECT name, created_ms FROM buckets ORDER BY name")?
                .query_map([], |row| {
                    Ok((row.get(0)?, Timestamp::from_millis(row.get(1)?)))
                })?
                .collect()
        })
    }

    /// Fails where there is no such bucket.
    pub(super) fn require_bucket(&self, name: &str) -> Result<(), Fault> {
        if self.index.has_bucket(name)? {
            Ok(())
        } else {
            Err(Fault::NoSuchBucket)
        }
    }

    /// What is known of an object.
    pub(super) fn head(&self, bucket: &str, key: &str) -> Result<Entry, Fault> {
        self.require_bucket(bucket)?;
        self.index
            .read(|connection| entry(connection, bucket, key))?
            .ok_or(Fault::NoSuchKey)
    }

    /// An object, and its bytes from `first` up to `end`, which `wanted` chooses once it knows the
    /// object. The pieces stay readable whatever happens to the object afterwards.
    pub(super) fn read<F>(
        &self,
        bucket: &str,
        key: &str,
        wanted: impl Fn(&Entry) -> Result<std::ops::Range<u64>, F>,
    ) -> Result<Result<(Entry, Vec<Piece>), F>, Fault> {
        for _ in 0..READ_ATTEMPTS {
            let entry = self.head(bucket, key)?;
            let range = match wanted(&entry) {
                Ok(range) => range,
                Err(refused) => return Ok(Err(refused)),
            };
            let files = self.files_of(&entry)?;
            match file::open(&self.files, &files, &range) {
                Ok(pieces) => return Ok(Ok((entry, pieces))),
                // It was replaced or deleted a moment ago: look again.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                    return Err(Fault::Damaged);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(Fault::Damaged)
    }

    /// A file for bytes that are about to come in. It is deleted again unless it is committed.
    pub(super) fn incoming(&self) -> Result<Incoming, Fault> {
        Ok(Incoming::create(&self.files, self.new_id())?)
    }

    fn new_id(&self) -> FileName {
        let millis = u64::try_from(self.now().as_millis()).unwrap_or_default();
        FileName::new(Ulid::from_parts(millis, Ulid::generate().random()))
    }

    fn files_of(&self, entry: &Entry) -> Result<Vec<(FileName, u64)>, Fault> {
        if !entry.in_parts {
            return Ok(vec![(FileName::from_index(&entry.id), entry.size)]);
        }
        self.index.read(|connection| {
            connection
                .prepare_cached("SELECT file, size FROM parts WHERE upload = ?1 ORDER BY number")?
                .query_map([&entry.id], |row| {
                    let file: String = row.get(0)?;
                    Ok((FileName::from_index(&file), row.get(1)?))
                })?
                .collect()
        })
    }
}

fn entry(
    connection: &rusqlite::Connection,
    bucket: &str,
    key: &str,
) -> rusqlite::Result<Option<Entry>> {
    connection
        .prepare_cached(
            "SELECT id, in_parts, size, etag, modified_ms, attributes FROM objects
             WHERE bucket = ?1 AND key = ?2",
        )?
        .query_row(params![bucket, key.as_bytes()], |row| {
            let attributes: String = row.get(5)?;
            Ok(Entry {
                id: row.get(0)?,
                in_parts: row.get(1)?,
                size: row.get(2)?,
                etag: row.get(3)?,
                modified: Timestamp::from_millis(row.get(4)?),
                attributes: serde_json::from_str(&attributes).unwrap_or_default(),
            })
        })
        .optional()
}
