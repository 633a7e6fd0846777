//! What happens in the background: expired rows, forgotten files and uploads, old mails, the journals' size.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};

use super::folder::{Failure, Folder};
use super::lock::{ProcessLock, WAIT_MAX};
use super::objects::{Fault, ObjectStore};
use super::sns::MailFolder;
use super::states::Upkeep;
use crate::mesh::store::table::EXPIRY_ATTRIBUTE;
use crate::mesh::{Clock, Error, Timestamp};

/// How long it rests between two steps.
pub(super) const PERIOD: Duration = Duration::from_secs(60);

/// How long it leaves the start of the process to what somebody waits for.
const FIRST_REST: Duration = Duration::from_secs(2);

/// The most rows that one step looks at: some 20 ms. A table of a million rows is gone through in
/// four hours; AWS allows itself days.
const ROWS_MAX: i64 = 4000;

/// The most rows that are deleted under one hold of the table's lock.
const DELETES_MAX: usize = 200;

/// How large a journal may be, in bytes, before a step cuts it.
const JOURNAL_BYTES_MAX: u64 = 16 << 20;

/// Where the sweep of expired rows has got to, in the index's state.
const EXPIRY_STATE: &str = "expiry";

/// What one step deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Rows whose time had come.
    pub rows: usize,
    /// Files that no object named.
    pub files: usize,
    /// Uploads that were begun long ago and never completed.
    pub uploads: usize,
    /// Executions of workflows that ended long ago.
    pub executions: usize,
    /// Mails that were too old or too many.
    pub mails: usize,
}

/// The thread that takes the steps, and what it needs.
#[derive(Debug)]
pub(super) struct Housekeeper {
    chores: Option<Arc<Chores>>,
    thread: Option<thread::Thread>,
}

struct Chores {
    folder: Arc<Folder>,
    objects: Arc<ObjectStore>,
    workflows: Upkeep,
    mails: Arc<MailFolder>,
    table: String,
    clock: Arc<dyn Clock>,
    tools: Mutex<Option<Tools>>,
}

impl std::fmt::Debug for Chores {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Chores")
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}

/// Made by the first step, so that opening the cloud does not wait for them.
#[derive(Debug)]
struct Tools {
    connection: Connection,
    table_lock: ProcessLock,
    sweeping: ProcessLock,
}

impl Housekeeper {
    /// Starts the thread. Where there can be none, steps are only taken when asked for.
    pub(super) fn start(
        folder: Arc<Folder>,
        objects: Arc<ObjectStore>,
        workflows: Upkeep,
        mails: Arc<MailFolder>,
        table: String,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let chores = Arc::new(Chores {
            folder,
            objects,
            workflows,
            mails,
            table,
            clock,
            tools: Mutex::new(None),
        });
        let owner = Arc::downgrade(&chores);
        let started = thread::Builder::new()
            .name("embedded-sweep".to_owned())
            .spawn(move || keep(&owner));
        match &started {
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the embedded cloud is not swept"),
        }
        Self {
            chores: Some(chores),
            thread: started.ok().map(|handle| handle.thread().clone()),
        }
    }

    /// Takes one step now.
    pub(super) fn step(&self) -> Result<Swept, Error> {
        self.chores
            .as_ref()
            .map_or(Ok(Swept::default()), |chores| chores.step())
    }
}

impl Drop for Housekeeper {
    fn drop(&mut self) {
        // The thread ends when it wakes up and finds nobody who owns its work.
        self.chores = None;
        if let Some(thread) = &self.thread {
            thread.unpark();
        }
    }
}

fn keep(owner: &Weak<Chores>) {
    let mut rest = FIRST_REST;
    loop {
        thread::park_timeout(rest);
        rest = PERIOD;
        let Some(chores) = owner.upgrade() else {
            return;
        };
        if let Err(error) = chores.step() {
            tracing::warn!(?error, "a step of sweeping the embedded cloud failed");
        }
    }
}

impl Chores {
    fn step(&self) -> Result<Swept, Error> {
        let mut tools = self.tools.lock().unwrap_or_else(PoisonError::into_inner);
        let tools = match &mut *tools {
            Some(tools) => tools,
            None => tools.insert(self.tools()?),
        };
        let sweeping = tools.sweeping.try_hold();
        let Some(_held) = sweeping.map_err(|error| self.folder.refusal(error))? else {
            return Ok(Swept::default());
        };
        let rows = expire(
            &mut tools.connection,
            &tools.table_lock,
            &self.objects,
            &self.table,
            self.clock.now(),
        );
        let rows = rows.map_err(|fault| self.refusal(fault))?;
        let forgotten = self.objects.sweep().map_err(|fault| self.refusal(fault))?;
        let mails = self.mails.sweep();
        let mails = mails.map_err(|error| self.folder.refusal(error))?;
        self.cut_journals(tools)
            .map_err(|fault| self.refusal(fault))?;
        let cut = journal_bytes(self.folder.executions_path()) > JOURNAL_BYTES_MAX;
        let executions = self.workflows.step(self.clock.now(), cut);
        Ok(Swept {
            rows,
            files: forgotten.files,
            uploads: forgotten.uploads,
            executions,
            mails,
        })
    }

    fn tools(&self) -> Result<Tools, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(self.folder.table_path(), flags)
            .and_then(|connection| {
                connection.busy_timeout(WAIT_MAX)?;
                connection.pragma_update(None, "synchronous", "NORMAL")?;
                Ok(connection)
            })
            .map_err(|error| self.folder.refusal(error))?;
        Ok(Tools {
            connection,
            table_lock: self.folder.lock("table.lock")?,
            sweeping: self.folder.lock("sweep.lock")?,
        })
    }

    fn cut_journals(&self, tools: &Tools) -> Result<(), Fault> {
        if journal_bytes(self.folder.table_path()) > JOURNAL_BYTES_MAX {
            let _held = tools.table_lock.hold(WAIT_MAX)?;
            tools
                .connection
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        }
        if journal_bytes(self.folder.index_path()) > JOURNAL_BYTES_MAX {
            self.objects.truncate_journal()?;
        }
        Ok(())
    }

    fn refusal(&self, fault: Fault) -> Error {
        let failure = match fault {
            Fault::Storage(failure) => failure,
            other => Failure::from(std::io::Error::other(format!("{other:?}"))),
        };
        self.folder.refusal(failure)
    }
}

fn journal_bytes(database: PathBuf) -> u64 {
    let mut path = database.into_os_string();
    path.push("-wal");
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Looks at the next rows and deletes those whose time had come before `now`. The engine's own sweep
/// reads the whole table each time. Rows are looked at in the order they were written; it goes on where
/// it stopped, in whichever process that was.
fn expire(
    connection: &mut Connection,
    lock: &ProcessLock,
    objects: &ObjectStore,
    table: &str,
    now: Timestamp,
) -> Result<usize, Fault> {
    let table = format!("\"{}\"", table.replace('"', "\"\""));
    let expiry = format!("CAST(json_extract(item_json, '$.{EXPIRY_ATTRIBUTE}.N') AS INTEGER)");
    let from = objects.state(EXPIRY_STATE)?.unwrap_or_default();
    let seen: Vec<(i64, Option<i64>)> = connection
        .prepare_cached(&format!(
            "SELECT rowid, {expiry} FROM {table} WHERE rowid > ?1 ORDER BY rowid LIMIT ?2"
        ))?
        .query_map(params![from, ROWS_MAX], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let now = now.as_seconds();
    let expired: Vec<i64> = seen
        .iter()
        .filter(|(_, expiry)| expiry.is_some_and(|expiry| expiry < now))
        .map(|(row, _)| *row)
        .collect();
    let delete = format!("DELETE FROM {table} WHERE rowid = ?1 AND {expiry} < ?2");
    let mut deleted = 0;
    for rows in expired.chunks(DELETES_MAX) {
        let _held = lock.hold(WAIT_MAX)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for row in rows {
            deleted += transaction
                .prepare_cached(&delete)?
                .execute(params![row, now])?;
        }
        transaction.commit()?;
    }
    let ended = seen.len() < usize::try_from(ROWS_MAX).unwrap_or(usize::MAX);
    let next = if ended {
        0
    } else {
        seen.last().map_or(0, |(row, _)| *row)
    };
    if next != from {
        objects.set_state(EXPIRY_STATE, next)?;
    }
    Ok(deleted)
}
