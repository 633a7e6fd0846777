//! What is done for the objects in the background: forgotten files and uploads, the journal's size.

use std::fs;
use std::io;
use std::time::Duration;

use rusqlite::{OptionalExtension, params};
use ulid::Ulid;

use super::change::drop_upload;
use super::file::{self, FileName};
use super::{Fault, ObjectStore};
use crate::mesh::Timestamp;

/// How old a file must be before it counts as forgotten: longer than any upload of one piece takes.
const FORGOTTEN_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// How old an upload must be before it is given up.
const UPLOAD_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The folders that files are spread over, by the last character of their names.
const SHARDS: &[u8] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The most files that one step looks at.
const FILES_MAX: usize = 10_000;

/// The most uploads that one step gives up.
const UPLOADS_MAX: usize = 16;

/// What one step found forgotten and deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::outbound::embedded) struct Forgotten {
    pub(in crate::outbound::embedded) files: usize,
    pub(in crate::outbound::embedded) uploads: usize,
}

impl ObjectStore {
    /// Looks through one of the folders of files and gives up old uploads.
    pub(in crate::outbound::embedded) fn sweep(&self) -> Result<Forgotten, Fault> {
        let now = self.now();
        let uploads = self.give_up_uploads(now.minus(UPLOAD_AGE))?;
        let turn = self.state("shard")?.unwrap_or_default();
        let position = usize::try_from(turn).unwrap_or_default() % SHARDS.len();
        let files = self.delete_unnamed(position, now.minus(FORGOTTEN_AGE))?;
        self.set_state("shard", turn.wrapping_add(1) % SHARDS.len() as i64)?;
        Ok(Forgotten { files, uploads })
    }

    /// Cuts the journal of the index.
    pub(in crate::outbound::embedded) fn truncate_journal(&self) -> Result<(), Fault> {
        self.index.truncate_journal()
    }

    /// A number that outlives the process.
    pub(in crate::outbound::embedded) fn state(&self, name: &str) -> Result<Option<i64>, Fault> {
        self.index.read(|connection| {
            connection
                .prepare_cached("SELECT value FROM state WHERE name = ?1")?
                .query_row([name], |row| row.get(0))
                .optional()
        })
    }

    /// Keeps a number for [`ObjectStore::state`].
    pub(in crate::outbound::embedded) fn set_state(
        &self,
        name: &str,
        value: i64,
    ) -> Result<(), Fault> {
        self.index.write(|transaction| {
            transaction.execute(
                "INSERT OR REPLACE INTO state (name, value) VALUES (?1, ?2)",
                params![name, value],
            )?;
            Ok(())
        })
    }

    fn give_up_uploads(&self, before: Timestamp) -> Result<usize, Fault> {
        let old: Vec<String> = self.index.read(|connection| {
            connection
                .prepare_cached("SELECT id FROM uploads WHERE created_ms < ?1 LIMIT ?2")?
                .query_map(params![before.as_millis(), UPLOADS_MAX], |row| row.get(0))?
                .collect()
        })?;
        for upload in &old {
            let unnamed = self
                .index
                .write(|transaction| drop_upload(transaction, upload))?;
            file::delete(&self.files, &unnamed);
        }
        Ok(old.len())
    }

    fn delete_unnamed(&self, position: usize, before: Timestamp) -> Result<usize, Fault> {
        let shard = SHARDS.get(position).map_or('0', |byte| char::from(*byte));
        let entries = match fs::read_dir(self.files.join(shard.to_string())) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        let before = u64::try_from(before.as_millis()).unwrap_or_default();
        let mut deleted = 0;
        for found in entries.take(FILES_MAX) {
            let Ok(name) = found?.file_name().into_string() else {
                continue;
            };
            // The name tells the age, so that a file's times need not be right, nor be read.
            let old = Ulid::from_string(&name).is_ok_and(|id| id.timestamp_ms() < before);
            if old && !self.is_named(&name)? {
                file::delete(&self.files, &[FileName::from_index(&name)]);
                deleted += 1;
            }
        }
        Ok(deleted)
    }

    fn is_named(&self, file: &str) -> Result<bool, Fault> {
        self.index.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM objects WHERE id = ?1)
                         OR EXISTS (SELECT 1 FROM parts WHERE file = ?1)",
                )?
                .query_row([file], |row| row.get(0))
        })
    }
}
