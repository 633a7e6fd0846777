//! The executions on the disk: every change is one transaction, and only the owner of an execution changes it.

mod read;
mod whose;

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

pub(super) use read::{
    Described, Listing, describe, history, list, next_due, owned, owners, running,
};
pub(super) use whose::Whose;

use whose::IS_THEIRS;

use super::event::Event;
use super::frame::{Frame, below};
use crate::mesh::Timestamp;
use crate::mesh::store::states::ExecutionStatus;

/// The most executions that one step of the sweep deletes.
const SWEPT_MAX: i64 = 200;

/// The most events that go with them, but for those of the first one.
const SWEPT_EVENTS_MAX: i64 = 10_000;

/// The number under which an execution is kept.
pub(super) type ExecutionId = i64;

/// The hash of a definition's text.
pub(super) type DefinitionHash = [u8; 32];

/// What looks random in an execution comes from this.
pub(super) type Seed = [u8; 16];

/// An execution that is to be written down.
#[derive(Clone, Debug)]
pub(super) struct NewExecution {
    pub(super) machine: String,
    pub(super) name: String,
    pub(super) definition: DefinitionHash,
    pub(super) definition_text: String,
    pub(super) input: String,
    pub(super) seed: Seed,
    pub(super) started_at: Timestamp,
    pub(super) deadline: Option<Timestamp>,
    /// Who runs it; none where it has to wait for its turn.
    pub(super) owner: Option<String>,
    pub(super) frame: Frame,
    pub(super) events: Vec<Event>,
}

/// How the writing of a new execution ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Begun {
    /// It is written down.
    First(ExecutionId),
    /// It runs already, with the same input.
    Again(Timestamp),
    /// The name is taken.
    Taken,
}

/// An execution that its new owner goes on with.
#[derive(Clone, Debug)]
pub(super) struct Claimed {
    pub(super) id: ExecutionId,
    pub(super) machine: String,
    pub(super) name: String,
    pub(super) definition: DefinitionHash,
    pub(super) definition_text: String,
    pub(super) input: String,
    pub(super) seed: Seed,
    pub(super) started_at: Timestamp,
    pub(super) deadline: Option<Timestamp>,
    pub(super) events: i64,
    pub(super) frames: BTreeMap<String, Frame>,
}

/// How an execution ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) status: ExecutionStatus,
    pub(super) output: Option<String>,
    pub(super) error: Option<String>,
    pub(super) cause: Option<String>,
}

/// What is to be changed of an execution, all at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    /// Branches whose children are gone.
    pub(super) emptied: BTreeSet<String>,
    /// Where branches stand now.
    pub(super) frames: BTreeMap<String, Frame>,
    pub(super) events: Vec<Event>,
    /// The number of its newest event.
    pub(super) events_count: i64,
    /// When it wants to go on, where its owner lets go of it.
    pub(super) release: Option<Timestamp>,
    pub(super) end: Option<(End, Timestamp)>,
}

impl Changes {
    /// Whether there is anything to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.emptied.is_empty()
            && self.frames.is_empty()
            && self.events.is_empty()
            && self.release.is_none()
            && self.end.is_none()
    }
}

/// The number of a status on the disk.
fn number(status: ExecutionStatus) -> i64 {
    match status {
        ExecutionStatus::Running => 0,
        ExecutionStatus::Succeeded => 1,
        ExecutionStatus::Failed => 2,
        ExecutionStatus::TimedOut => 3,
        ExecutionStatus::Aborted => 4,
    }
}

fn immediate(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

/// A JSON column; text that is none was not written by us.
fn json<T: serde::de::DeserializeOwned>(text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, error.into())
    })
}

fn to_text(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

/// Writes a new execution down, unless its name is taken.
pub(super) fn begin(connection: &mut Connection, new: &NewExecution) -> rusqlite::Result<Begun> {
    let transaction = immediate(connection)?;
    let taken: Option<(i64, String, i64)> = transaction
        .prepare_cached(
            "SELECT status, input, started_ms FROM executions WHERE machine = ?1 AND name = ?2",
        )?
        .query_row(params![new.machine, new.name], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    if let Some((taken, input, started_ms)) = taken {
        let is_same = taken == number(ExecutionStatus::Running) && input == new.input;
        return Ok(if is_same {
            Begun::Again(Timestamp::from_millis(started_ms))
        } else {
            Begun::Taken
        });
    }
    transaction
        .prepare_cached("INSERT OR IGNORE INTO definitions (hash, text) VALUES (?1, ?2)")?
        .execute(params![new.definition.as_slice(), new.definition_text])?;
    transaction
        .prepare_cached(
            "INSERT INTO executions (machine, name, definition, input, seed, status, started_ms, \
             deadline_ms, owner, due_ms, events) VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7, ?8, ?6, ?9)",
        )?
        .execute(params![
            new.machine,
            new.name,
            new.definition.as_slice(),
            new.input,
            new.seed.as_slice(),
            new.started_at.as_millis(),
            new.deadline.map(Timestamp::as_millis),
            new.owner,
            new.events.last().map_or(0, |event| event.id),
        ])?;
    let id = transaction.last_insert_rowid();
    put_frame(&transaction, id, super::frame::ROOT, &new.frame)?;
    put_events(&transaction, id, &new.events)?;
    transaction.commit()?;
    Ok(Begun::First(id))
}

fn put_frame(
    transaction: &Transaction<'_>,
    id: ExecutionId,
    path: &str,
    frame: &Frame,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO frames (execution, path, body) VALUES (?1, ?2, ?3)",
        )?
        .execute(params![id, path, to_text(frame)?])?;
    Ok(())
}

fn put_events(
    transaction: &Transaction<'_>,
    id: ExecutionId,
    events: &[Event],
) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT OR REPLACE INTO events (execution, id, time_ms, kind, previous, details) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for event in events {
        let details = event.details.as_ref().map(to_text).transpose()?;
        insert.execute(params![
            id,
            event.id,
            event.time.as_millis(),
            event.kind,
            event.previous,
            details
        ])?;
    }
    Ok(())
}

/// Makes `changes` if `owner` still owns the execution and it still runs; `false` where not.
pub(super) fn commit(
    connection: &mut Connection,
    id: ExecutionId,
    owner: &str,
    changes: &Changes,
) -> rusqlite::Result<bool> {
    let transaction = immediate(connection)?;
    let owned = transaction
        .prepare_cached(
            "UPDATE executions SET events = ?3 WHERE id = ?1 AND owner = ?2 AND status = 0",
        )?
        .execute(params![id, owner, changes.events_count])?;
    if owned == 0 {
        return Ok(false);
    }
    put_events(&transaction, id, &changes.events)?;
    if let Some((end, stopped_at)) = &changes.end {
        finish(&transaction, id, end, *stopped_at)?;
    } else {
        for path in &changes.emptied {
            let (from, to) = below(path);
            transaction
                .prepare_cached(
                    "DELETE FROM frames WHERE execution = ?1 AND path >= ?2 AND path < ?3",
                )?
                .execute(params![id, from, to])?;
        }
        for (path, frame) in &changes.frames {
            put_frame(&transaction, id, path, frame)?;
        }
    }
    if let Some(due) = changes.release {
        transaction
            .prepare_cached("UPDATE executions SET owner = NULL, due_ms = ?2 WHERE id = ?1")?
            .execute(params![id, due.as_millis()])?;
    }
    transaction.commit()?;
    Ok(true)
}

fn finish(
    transaction: &Transaction<'_>,
    id: ExecutionId,
    end: &End,
    stopped_at: Timestamp,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "UPDATE executions SET status = ?2, output = ?3, error = ?4, cause = ?5, \
             stopped_ms = ?6, owner = NULL WHERE id = ?1",
        )?
        .execute(params![
            id,
            number(end.status),
            end.output,
            end.error,
            end.cause,
            stopped_at.as_millis()
        ])?;
    transaction
        .prepare_cached("DELETE FROM frames WHERE execution = ?1")?
        .execute(params![id])?;
    Ok(())
}

/// Ends a running execution, whoever owns it. The event gets the next number. It tells when the execution
/// stopped, now or before; nothing where there is none.
pub(super) fn stop(
    connection: &mut Connection,
    machine: &str,
    name: &str,
    end: &End,
    event: impl FnOnce(i64) -> Event,
    now: Timestamp,
) -> rusqlite::Result<Option<(ExecutionId, Timestamp)>> {
    let transaction = immediate(connection)?;
    let found: Option<(i64, i64, Option<i64>, i64)> = transaction
        .prepare_cached(
            "SELECT id, status, stopped_ms, events FROM executions WHERE machine = ?1 AND name = ?2",
        )?
        .query_row(params![machine, name], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    let Some((id, status, stopped_ms, events)) = found else {
        return Ok(None);
    };
    if status != number(ExecutionStatus::Running) {
        let stopped_at = stopped_ms.map_or(now, Timestamp::from_millis);
        return Ok(Some((id, stopped_at)));
    }
    put_events(&transaction, id, &[event(events + 1)])?;
    transaction
        .prepare_cached("UPDATE executions SET events = ?2 WHERE id = ?1")?
        .execute(params![id, events + 1])?;
    finish(&transaction, id, end, now)?;
    transaction.commit()?;
    Ok(Some((id, now)))
}

/// Takes up to `limit` executions that nobody owns, that `owner` may take, and whose time has come.
pub(super) fn claim(
    connection: &mut Connection,
    owner: &str,
    whose: &Whose,
    now: Timestamp,
    limit: usize,
) -> rusqlite::Result<Vec<Claimed>> {
    let transaction = immediate(connection)?;
    let ids: Vec<ExecutionId> = transaction
        .prepare_cached(&format!(
            "SELECT id FROM executions WHERE status = 0 AND owner IS NULL AND due_ms <= ?2 \
             AND {IS_THEIRS} ORDER BY due_ms LIMIT ?3"
        ))?
        .query_map(params![whose.prefix(), now.as_millis(), limit], |row| {
            row.get(0)
        })?
        .collect::<rusqlite::Result<_>>()?;
    let mut claimed = Vec::with_capacity(ids.len());
    for id in ids {
        transaction
            .prepare_cached("UPDATE executions SET owner = ?2 WHERE id = ?1")?
            .execute(params![id, owner])?;
        claimed.push(read_claimed(&transaction, id)?);
    }
    transaction.commit()?;
    Ok(claimed)
}

fn read_claimed(transaction: &Transaction<'_>, id: ExecutionId) -> rusqlite::Result<Claimed> {
    let frames = transaction
        .prepare_cached("SELECT path, body FROM frames WHERE execution = ?1")?
        .query_map(params![id], |row| {
            let body: String = row.get(1)?;
            Ok((row.get(0)?, json(&body)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    transaction
        .prepare_cached(
            "SELECT machine, name, definition, text, input, seed, started_ms, deadline_ms, events \
             FROM executions JOIN definitions ON hash = definition WHERE id = ?1",
        )?
        .query_row(params![id], |row| {
            Ok(Claimed {
                id,
                machine: row.get(0)?,
                name: row.get(1)?,
                definition: row.get(2)?,
                definition_text: row.get(3)?,
                input: row.get(4)?,
                seed: row.get(5)?,
                started_at: Timestamp::from_millis(row.get(6)?),
                deadline: row.get::<_, Option<i64>>(7)?.map(Timestamp::from_millis),
                events: row.get(8)?,
                frames,
            })
        })
}

/// Leaves the running executions of an owner, or one of them, to whoever takes them.
pub(super) fn disown(
    connection: &mut Connection,
    owner: &str,
    one: Option<ExecutionId>,
    now: Timestamp,
) -> rusqlite::Result<usize> {
    connection
        .prepare_cached(
            "UPDATE executions SET owner = NULL, due_ms = ?2 \
             WHERE status = 0 AND owner = ?1 AND (?3 IS NULL OR id = ?3)",
        )?
        .execute(params![owner, now.as_millis(), one])
}

/// Deletes some of the executions that ended before `before`, and definitions that nobody needs any more.
pub(super) fn sweep(connection: &mut Connection, before: Timestamp) -> rusqlite::Result<usize> {
    let transaction = immediate(connection)?;
    let ended: Vec<(ExecutionId, i64)> = transaction
        .prepare_cached(
            "SELECT id, events FROM executions WHERE status <> 0 AND stopped_ms < ?1 \
             ORDER BY stopped_ms LIMIT ?2",
        )?
        .query_map(params![before.as_millis(), SWEPT_MAX], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let mut room = SWEPT_EVENTS_MAX;
    let mut swept = 0;
    for (id, events) in ended {
        if swept > 0 && events > room {
            break;
        }
        room -= events;
        swept += 1;
        for sql in [
            "DELETE FROM events WHERE execution = ?1",
            "DELETE FROM executions WHERE id = ?1",
        ] {
            transaction.prepare_cached(sql)?.execute(params![id])?;
        }
    }
    if swept > 0 {
        transaction.execute(
            "DELETE FROM definitions WHERE NOT EXISTS \
             (SELECT 1 FROM executions WHERE definition = hash)",
            [],
        )?;
    }
    transaction.commit()?;
    Ok(swept)
}

#[cfg(test)]
mod tests;
