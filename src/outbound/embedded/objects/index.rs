//! The index of the objects: one SQLite file that the processes of one user share.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::Fault;
use crate::mesh::Error;
use crate::outbound::embedded::folder::Folder;
use crate::outbound::embedded::lock::{ProcessLock, WAIT_MAX};
use crate::outbound::embedded::newborn::Newborn;

/// Connections for reads.
const READERS: usize = 2;

/// The most buckets whose existence is remembered.
const KNOWN_MAX: usize = 64;

/// What SQLite may use of the memory before it gives cached pages back, over all connections of the
/// process, in bytes. Without it each connection would keep 2 MB.
const SQLITE_BYTES: i64 = 6 << 20;

/// Keys are stored as bytes, which SQLite orders as S3 does: by their UTF-8.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS buckets (
    name TEXT PRIMARY KEY,
    created_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (
    bucket TEXT NOT NULL,
    key BLOB NOT NULL,
    id TEXT NOT NULL,
    in_parts INTEGER NOT NULL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    modified_ms INTEGER NOT NULL,
    attributes TEXT NOT NULL,
    PRIMARY KEY (bucket, key)
) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS objects_id ON objects (id);
CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY,
    bucket TEXT NOT NULL,
    key BLOB NOT NULL,
    created_ms INTEGER NOT NULL,
    attributes TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS parts (
    upload TEXT NOT NULL,
    number INTEGER NOT NULL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    file TEXT NOT NULL,
    PRIMARY KEY (upload, number)
) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS parts_file ON parts (file);
CREATE TABLE IF NOT EXISTS state (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
";

/// The connections to one index.
#[derive(Debug)]
pub(super) struct Index {
    writer: Mutex<Connection>,
    lock: ProcessLock,
    readers: Vec<Mutex<Connection>>,
    next: AtomicUsize,
    known: Mutex<HashSet<String>>,
}

impl Index {
    /// Opens the index, and creates it where it is missing.
    pub(super) fn open(folder: &Folder) -> Result<Self, Error> {
        let lock = folder.lock("objects.lock")?;
        let path = folder.index_path();
        let connections = {
            let _held = lock.hold(WAIT_MAX).map_err(|error| folder.refusal(error))?;
            let _newborn = Newborn::at(&path).map_err(|error| folder.refusal(error))?;
            (0..=READERS)
                .map(|_| connect(&path))
                .collect::<rusqlite::Result<Vec<_>>>()
                .and_then(|connections| {
                    if let Some(first) = connections.first() {
                        create(first)?;
                    }
                    Ok(connections)
                })
                .map_err(|error| folder.refusal(error))?
        };
        let mut connections = connections.into_iter().map(Mutex::new);
        let writer = connections
            .next()
            .ok_or_else(|| Error::internal("no connection to the index was made"))?;
        Ok(Self {
            writer,
            lock,
            readers: connections.collect(),
            next: AtomicUsize::new(0),
            known: Mutex::default(),
        })
    }

    /// Reads with one of the connections for it.
    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Fault> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let reader = self.readers.get(turn % READERS).unwrap_or(&self.writer);
        let connection = reader.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(work(&connection)?)
    }

    /// Writes in one transaction, which is undone where `work` fails.
    pub(super) fn write<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut connection = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let _held = self.lock.hold(WAIT_MAX)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }

    /// Empties the journal into the database and cuts it.
    pub(super) fn truncate_journal(&self) -> Result<(), Fault> {
        let connection = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let _held = self.lock.hold(WAIT_MAX)?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }

    /// Whether there is such a bucket. Buckets are never deleted here, so one that was seen stays known.
    pub(super) fn has_bucket(&self, name: &str) -> Result<bool, Fault> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known().contains(name) {
            return Ok(true);
        }
        let found = self.read(|connection| {
            connection
                .prepare_cached("SELECT 1 FROM buckets WHERE name = ?1")?
                .exists(params![name])
        })?;
        if found {
            let mut known = known();
            if known.len() < KNOWN_MAX {
                known.insert(name.to_owned());
            }
        }
        Ok(found)
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    // Our own lock keeps writers apart; this is for the moments in which SQLite recovers or cuts the
    // journal after a process was killed.
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "soft_heap_limit", SQLITE_BYTES)?;
    Ok(connection)
}

fn create(connection: &Connection) -> rusqlite::Result<()> {
    let made: i64 = connection.query_row(
        "SELECT count(*) FROM sqlite_schema WHERE name = 'state'",
        [],
        |row| row.get(0),
    )?;
    if made == 0 {
        connection.execute_batch(&format!("BEGIN IMMEDIATE; {SCHEMA} COMMIT;"))?;
    }
    Ok(())
}
