//! The file of the executions: its tables and how they came to be.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

/// What each version adds to the one before; the file's `user_version` says how many it has.
const MIGRATIONS: &[&str] = &["
CREATE TABLE definitions (
    hash BLOB PRIMARY KEY,
    text TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE executions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    machine TEXT NOT NULL,
    name TEXT NOT NULL,
    definition BLOB NOT NULL,
    input TEXT NOT NULL,
    seed BLOB NOT NULL,
    status INTEGER NOT NULL,
    output TEXT,
    error TEXT,
    cause TEXT,
    started_ms INTEGER NOT NULL,
    stopped_ms INTEGER,
    deadline_ms INTEGER,
    owner TEXT,
    due_ms INTEGER NOT NULL,
    events INTEGER NOT NULL,
    UNIQUE (machine, name)
);
CREATE INDEX executions_unowned ON executions (due_ms) WHERE status = 0 AND owner IS NULL;
CREATE INDEX executions_owned ON executions (owner) WHERE status = 0 AND owner IS NOT NULL;
CREATE INDEX executions_ended ON executions (stopped_ms) WHERE status <> 0;
CREATE INDEX executions_defined ON executions (definition);
CREATE TABLE frames (
    execution INTEGER NOT NULL,
    path TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (execution, path)
) WITHOUT ROWID;
CREATE TABLE events (
    execution INTEGER NOT NULL,
    id INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    previous INTEGER NOT NULL,
    details TEXT,
    PRIMARY KEY (execution, id)
) WITHOUT ROWID;
"];

/// Why the file cannot be used.
#[derive(Debug)]
pub(super) enum Unusable {
    /// A newer version of this program has written it.
    Newer,
    /// SQLite says so.
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Unusable {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// A connection to the file at `path`, as everyone uses it.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    // Our own lock keeps writers apart; this is for the moments in which SQLite recovers or cuts the
    // journal after a process was killed.
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    Ok(connection)
}

/// Brings the file to the newest version. The caller holds the lock of its writers.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), Unusable> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: usize =
        transaction.query_row("SELECT user_version FROM pragma_user_version", [], |row| {
            row.get(0)
        })?;
    if version > MIGRATIONS.len() {
        return Err(Unusable::Newer);
    }
    for migration in MIGRATIONS.iter().skip(version) {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", MIGRATIONS.len())?;
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_migrated_once_and_a_newer_one_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sqlite");
        for _ in 0..2 {
            let mut connection = connect(&path).unwrap();
            migrate(&mut connection).unwrap();
            assert!(connection.table_exists(None, "executions").unwrap());
        }
        let mut connection = connect(&path).unwrap();
        let newer = MIGRATIONS.len() + 1;
        connection
            .pragma_update(None, "user_version", newer)
            .unwrap();
        assert!(matches!(migrate(&mut connection), Err(Unusable::Newer)));
    }
}
