//! What is asked of the executions on the disk; nothing here changes them.

use rusqlite::{Connection, OptionalExtension, params};

use super::whose::{IS_THEIRS, Whose};
use super::{ExecutionId, json, number};
use crate::mesh::Timestamp;
use crate::mesh::store::states::ExecutionStatus;
use crate::outbound::embedded::states::event::Event;

/// An execution, as DescribeExecution tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Described {
    pub(in super::super) machine: String,
    pub(in super::super) name: String,
    pub(in super::super) input: String,
    pub(in super::super) status: ExecutionStatus,
    pub(in super::super) output: Option<String>,
    pub(in super::super) error: Option<String>,
    pub(in super::super) cause: Option<String>,
    pub(in super::super) started_at: Timestamp,
    pub(in super::super) stopped_at: Option<Timestamp>,
}

/// A page of a listing.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Listing {
    pub(in super::super) machine: Option<String>,
    pub(in super::super) status: Option<ExecutionStatus>,
    /// Only those that were written down before this one.
    pub(in super::super) before: Option<ExecutionId>,
    pub(in super::super) limit: usize,
}

fn status(number: i64) -> ExecutionStatus {
    ExecutionStatus::ALL
        .into_iter()
        .find(|status| self::number(*status) == number)
        .unwrap_or(ExecutionStatus::Failed)
}

/// When the next execution that nobody owns wants to go on, of those that may be taken.
pub(in super::super) fn next_due(
    connection: &Connection,
    whose: &Whose,
) -> rusqlite::Result<Option<Timestamp>> {
    let due: Option<i64> = connection
        .prepare_cached(&format!(
            "SELECT due_ms FROM executions WHERE status = 0 AND owner IS NULL AND {IS_THEIRS} \
             ORDER BY due_ms LIMIT 1"
        ))?
        .query_row(params![whose.prefix()], |row| row.get(0))
        .optional()?;
    Ok(due.map(Timestamp::from_millis))
}

/// Everyone who owns a running execution.
pub(in super::super) fn owners(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare_cached(
            "SELECT DISTINCT owner FROM executions WHERE status = 0 AND owner IS NOT NULL",
        )?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// The running executions of an owner.
pub(in super::super) fn owned(
    connection: &Connection,
    owner: &str,
) -> rusqlite::Result<Vec<ExecutionId>> {
    connection
        .prepare_cached("SELECT id FROM executions WHERE status = 0 AND owner = ?1")?
        .query_map(params![owner], |row| row.get(0))?
        .collect()
}

/// How many executions run, counted no further than `limit`.
pub(in super::super) fn running(connection: &Connection, limit: usize) -> rusqlite::Result<usize> {
    connection
        .prepare_cached(
            "SELECT (SELECT count(*) FROM (SELECT 1 FROM executions WHERE status = 0 AND owner IS NULL LIMIT ?1)) \
             + (SELECT count(*) FROM (SELECT 1 FROM executions WHERE status = 0 AND owner IS NOT NULL LIMIT ?1))",
        )?
        .query_row(params![limit], |row| row.get(0))
}

const DESCRIBED: &str =
    "machine, name, input, status, output, error, cause, started_ms, stopped_ms";

fn described(row: &rusqlite::Row<'_>) -> rusqlite::Result<Described> {
    Ok(Described {
        machine: row.get(0)?,
        name: row.get(1)?,
        input: row.get(2)?,
        status: status(row.get(3)?),
        output: row.get(4)?,
        error: row.get(5)?,
        cause: row.get(6)?,
        started_at: Timestamp::from_millis(row.get(7)?),
        stopped_at: row.get::<_, Option<i64>>(8)?.map(Timestamp::from_millis),
    })
}

/// What is known of an execution.
pub(in super::super) fn describe(
    connection: &Connection,
    machine: &str,
    name: &str,
) -> rusqlite::Result<Option<Described>> {
    connection
        .prepare_cached(&format!(
            "SELECT {DESCRIBED} FROM executions WHERE machine = ?1 AND name = ?2"
        ))?
        .query_row(params![machine, name], described)
        .optional()
}

/// A page of the executions, the newest first, each with its number.
pub(in super::super) fn list(
    connection: &Connection,
    listing: &Listing,
) -> rusqlite::Result<Vec<(ExecutionId, Described)>> {
    connection
        .prepare_cached(&format!(
            "SELECT {DESCRIBED}, id FROM executions \
             WHERE (?1 IS NULL OR machine = ?1) AND (?2 IS NULL OR status = ?2) AND id < ?3 \
             ORDER BY id DESC LIMIT ?4"
        ))?
        .query_map(
            params![
                listing.machine,
                listing.status.map(number),
                listing.before.unwrap_or(i64::MAX),
                listing.limit
            ],
            |row| Ok((row.get(9)?, described(row)?)),
        )?
        .collect()
}

/// Up to `limit` events of an execution that come after the event `after` in the order asked for; nothing
/// where there is no such execution.
pub(in super::super) fn history(
    connection: &Connection,
    machine: &str,
    name: &str,
    newest_first: bool,
    after: Option<i64>,
    limit: usize,
) -> rusqlite::Result<Option<Vec<Event>>> {
    let id: Option<ExecutionId> = connection
        .prepare_cached("SELECT id FROM executions WHERE machine = ?1 AND name = ?2")?
        .query_row(params![machine, name], |row| row.get(0))
        .optional()?;
    let Some(id) = id else {
        return Ok(None);
    };
    let (sql, from) = if newest_first {
        ("id < ?2 ORDER BY id DESC", after.unwrap_or(i64::MAX))
    } else {
        ("id > ?2 ORDER BY id", after.unwrap_or(0))
    };
    connection
        .prepare_cached(&format!(
            "SELECT id, time_ms, kind, previous, details FROM events \
             WHERE execution = ?1 AND {sql} LIMIT ?3"
        ))?
        .query_map(params![id, from, limit], |row| {
            let details: Option<String> = row.get(4)?;
            Ok(Event {
                id: row.get(0)?,
                time: Timestamp::from_millis(row.get(1)?),
                kind: row.get(2)?,
                previous: row.get(3)?,
                details: details.as_deref().map(json).transpose()?,
            })
        })?
        .collect::<rusqlite::Result<_>>()
        .map(Some)
}
