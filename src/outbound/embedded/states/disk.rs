//! The way to the file of the executions: writes in turn on one thread, reads beside them.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;

use super::schema::{self, Unusable};
use crate::mesh::Error;
use crate::outbound::embedded::folder::{Cause, Failure, Folder};
use crate::outbound::embedded::lane::{Lane, Refused};
use crate::outbound::embedded::newborn::Newborn;

/// Why something could not be read or written. It had no effect, but for [`DiskFault::Broken`].
#[derive(Debug)]
pub(super) enum DiskFault {
    /// Too many writes wait already.
    Busy,
    /// Another process holds the file for too long.
    Locked,
    /// A newer version of this program has written the file.
    Newer,
    /// The work broke down.
    Broken,
    /// The disk, or SQLite, refuses.
    Storage(Failure),
}

impl From<rusqlite::Error> for DiskFault {
    fn from(error: rusqlite::Error) -> Self {
        match Failure::from(error) {
            Failure {
                cause: Cause::Busy, ..
            } => Self::Locked,
            failure => Self::Storage(failure),
        }
    }
}

impl From<Unusable> for DiskFault {
    fn from(unusable: Unusable) -> Self {
        match unusable {
            Unusable::Newer => Self::Newer,
            Unusable::Sqlite(error) => error.into(),
        }
    }
}

impl std::fmt::Display for DiskFault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Busy => formatter.write_str("too many writes wait"),
            Self::Locked => formatter.write_str("another process holds the executions"),
            Self::Newer => formatter.write_str("a newer version has written the executions"),
            Self::Broken => formatter.write_str("the work broke down"),
            Self::Storage(failure) => failure.fmt(formatter),
        }
    }
}

/// The file, which comes into being with the first execution.
#[derive(Debug)]
pub(super) struct Disk {
    path: PathBuf,
    writer: Lane<Writer>,
    reader: Arc<Mutex<Option<Connection>>>,
}

/// What the thread that writes owns.
#[derive(Debug)]
struct Writer {
    path: PathBuf,
    connection: Option<Connection>,
}

impl Writer {
    /// The connection. Whoever asks holds the lock of the writers.
    fn connection(&mut self) -> Result<&mut Connection, DiskFault> {
        match &mut self.connection {
            Some(connection) => Ok(connection),
            none => {
                let _newborn = Newborn::at(&self.path)?;
                let mut connection = schema::connect(&self.path)?;
                schema::migrate(&mut connection)?;
                Ok(none.insert(connection))
            }
        }
    }
}

impl Disk {
    /// The way to the file in `folder`; nothing is made there yet but the lock.
    pub(super) fn open(folder: &Folder) -> Result<Self, Error> {
        let path = folder.executions_path();
        let writer = |path: &PathBuf| Writer {
            path: path.clone(),
            connection: None,
        };
        let reopened = path.clone();
        let lane = Lane::start(
            "embedded-states",
            writer(&path),
            folder.lock("workflows.lock")?,
            move || Some(writer(&reopened)),
        )
        .map_err(|error| folder.refusal(error))?;
        Ok(Self {
            path,
            writer: lane,
            reader: Arc::default(),
        })
    }

    /// Whether there has ever been an execution in the folder.
    pub(super) fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Does `work` in turn with everyone who writes; it makes transactions of its own.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, DiskFault> + Send + 'static,
    ) -> Result<T, DiskFault> {
        let done = self
            .writer
            .run(move |writer| writer.connection().and_then(work))
            .await;
        match done {
            Ok(result) => result,
            Err(Refused::Full) => Err(DiskFault::Busy),
            Err(Refused::Locked) => Err(DiskFault::Locked),
            Err(Refused::Broken) => Err(DiskFault::Broken),
        }
    }

    /// Reads; nothing where there is no file yet.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<Option<T>, DiskFault> {
        let (path, reader) = (self.path.clone(), Arc::clone(&self.reader));
        let read = move || {
            let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
            let connection = match &*reader {
                Some(connection) => connection,
                None if !path.exists() => return Ok(None),
                None => reader.insert(schema::connect(&path)?),
            };
            // Between the file's coming into being and its tables' there is nothing to be read.
            if !has_tables(connection)? {
                return Ok(None);
            }
            Ok(Some(work(connection)?))
        };
        tokio::task::spawn_blocking(read)
            .await
            .unwrap_or(Err(DiskFault::Broken))
    }
}

/// Whether the file has its tables by now. `Connection::table_exists` goes by what the connection has read of
/// the file before, and so would never see tables that have come since.
fn has_tables(connection: &Connection) -> rusqlite::Result<bool> {
    let found = "SELECT count(*) > 0 FROM sqlite_schema WHERE name = 'executions'";
    connection.query_row(found, [], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_has_read_before_there_were_tables_sees_them_when_they_come() {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::open(&parent.path().join("data")).unwrap();
        let disk = Disk::open(&folder).unwrap();
        let _newborn = Newborn::at(&folder.executions_path()).unwrap();
        let count = |connection: &Connection| {
            connection.query_row("SELECT count(*) FROM executions", [], |row| {
                row.get::<_, i64>(0)
            })
        };
        assert_eq!(disk.read(count).await.unwrap(), None);
        disk.write(|_| Ok(())).await.unwrap();
        assert_eq!(disk.read(count).await.unwrap(), Some(0));
    }
}
