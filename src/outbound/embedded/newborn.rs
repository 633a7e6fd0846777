//! A new database file, made without waiting for the disk.
//!
//! SQLite waits seven times for the disk while a database gets its journal and its first tables, which is most
//! of what the first start in a folder takes. Until something is stored there is nothing to be kept: where
//! power is lost so early, SQLite finds an empty file and throws the journal away, and the next start begins
//! anew. What is stored later waits for the disk no more and no less than in any other folder.

use std::path::Path;

use rusqlite::Connection;

/// Marks the file as ours. The mark matters less than the page that it makes SQLite write.
const APPLICATION_ID: i32 = 0x6d65_7368;

/// A database that has just come into being. Held until its tables are made, it keeps the journal open.
#[derive(Debug)]
pub(super) struct Newborn {
    _connection: Option<Connection>,
}

impl Newborn {
    /// Makes the file at `path` a database with a journal, if there is none yet.
    pub(super) fn at(path: &Path) -> rusqlite::Result<Self> {
        if std::fs::metadata(path).is_ok_and(|file| file.len() > 0) {
            return Ok(Self { _connection: None });
        }
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "synchronous", "OFF")?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "application_id", APPLICATION_ID)?;
        Ok(Self {
            _connection: Some(connection),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_becomes_a_database_with_a_journal_and_an_old_one_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sqlite");
        let newborn = Newborn::at(&path).unwrap();
        assert!(newborn._connection.is_some());
        let other = Connection::open(&path).unwrap();
        let mode: String = other
            .query_row("PRAGMA journal_mode", [], |row| row.get(0))
            .unwrap();
        assert_eq!(mode, "wal");
        other.execute_batch("CREATE TABLE t (a)").unwrap();
        drop((newborn, other));
        assert!(Newborn::at(&path).unwrap()._connection.is_none());
        let kept = Connection::open(&path).unwrap();
        assert!(kept.table_exists(None, "t").unwrap());
    }

    #[test]
    fn a_file_left_empty_by_a_loss_of_power_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sqlite");
        {
            let newborn = Newborn::at(&path).unwrap();
            let other = Connection::open(&path).unwrap();
            other.execute_batch("CREATE TABLE t (a)").unwrap();
            let journal = folder.path().join("x.sqlite-wal");
            std::fs::copy(&journal, folder.path().join("lost.sqlite-wal")).unwrap();
            drop((newborn, other));
        }
        let lost = folder.path().join("lost.sqlite");
        std::fs::write(&lost, "").unwrap();
        assert!(Newborn::at(&lost).unwrap()._connection.is_some());
        let again = Connection::open(&lost).unwrap();
        assert!(!again.table_exists(None, "t").unwrap());
        again.execute_batch("CREATE TABLE t (a)").unwrap();
    }
}
