//! The rows and marks of one tenant's runs in the table.

use std::sync::Arc;

use ulid::Ulid;

use super::meter::Meter;
use super::row::{Kept, Mark};
use crate::mesh::store::Table;
use crate::mesh::store::key::{Keyspace, RUNNING_PREFIX, RowKey};
use crate::mesh::store::table::{Condition, Range, Row, WriteOutcome};
use crate::mesh::tenant::TenantId;
use crate::mesh::{Clock, Error, Timestamp};

/// The last sort key that a run can have; marks come after it.
const LAST_RUN: &str = "7ZZZZZZZZZZZZZZZZZZZZZZZZZ";

/// The rows of one tenant's runs.
pub(in crate::mesh) struct RunRows<'a> {
    table: &'a Arc<dyn Table>,
    clock: &'a Arc<dyn Clock>,
    keys: Keyspace,
}

/// Some of a tenant's runs, the newest first, and where there may be more.
pub(in crate::mesh) struct RunPage {
    pub(in crate::mesh) runs: Vec<Kept>,
    pub(in crate::mesh) next: Option<Ulid>,
}

impl<'a> RunRows<'a> {
    pub(super) fn new(
        table: &'a Arc<dyn Table>,
        clock: &'a Arc<dyn Clock>,
        tenant: &TenantId,
    ) -> Self {
        Self {
            table,
            clock,
            keys: Keyspace::of(tenant),
        }
    }

    pub(super) fn keys(&self) -> &Keyspace {
        &self.keys
    }

    /// The run, as its row has it.
    pub(in crate::mesh) async fn find(
        &self,
        run_id: Ulid,
        meter: &mut Meter,
    ) -> Result<Option<Kept>, Error> {
        let name = run_id.to_string();
        let answer = self.table.get(&self.keys.run(&name), true).await?;
        meter.read(answer.units);
        let now = self.clock.now();
        let live = answer.value.filter(|row| !row.is_expired(now));
        live.map(|row| Kept::of(&name, &row)).transpose()
    }

    /// At most `limit` runs that are older than `after`, the newest first.
    pub(in crate::mesh) async fn page(
        &self,
        after: Option<Ulid>,
        limit: u32,
        meter: &mut Meter,
    ) -> Result<RunPage, Error> {
        let range = Range {
            to: Some(LAST_RUN.to_owned()),
            after: after.map(|run_id| run_id.to_string()),
            descending: true,
            limit,
            consistent: true,
            ..Range::default()
        };
        let partition = self.keys.runs();
        let answer = self.table.query(&partition, &range).await?;
        meter.read(answer.units);
        let now = self.clock.now();
        let rows = answer.value.rows.iter();
        let live = rows.filter(|(_, row)| !row.is_expired(now));
        let runs = live.map(|(sort, row)| Kept::of(sort, row));
        let next = answer.value.next.as_deref().map(Ulid::from_string);
        Ok(RunPage {
            runs: runs.collect::<Result<_, _>>()?,
            next: next
                .transpose()
                .map_err(|cause| Error::internal("a row among the runs").caused_by(cause))?,
        })
    }

    /// Writes the row of a new run; answers what is there where there is one.
    pub(super) async fn enter(
        &self,
        kept: &Kept,
        meter: &mut Meter,
    ) -> Result<Result<(), Kept>, Error> {
        let name = kept.run.run_id.to_string();
        let absent = Condition::Absent {
            now: self.clock.now(),
        };
        match self
            .put(&self.keys.run(&name), kept.to_row(), absent, meter)
            .await?
        {
            Ok(()) => Ok(Ok(())),
            Err(current) => Kept::of(&name, &current.unwrap_or_default()).map(Err),
        }
    }

    /// Writes `next` in place of `kept`; answers what is there where somebody else has written.
    pub(super) async fn replace(
        &self,
        kept: &Kept,
        next: &Kept,
        meter: &mut Meter,
    ) -> Result<Result<(), Option<Kept>>, Error> {
        let name = kept.run.run_id.to_string();
        let condition = self.version(&kept.version);
        match self
            .put(&self.keys.run(&name), next.to_row(), condition, meter)
            .await?
        {
            Ok(()) => Ok(Ok(())),
            Err(current) => {
                let current = current.map(|row| Kept::of(&name, &row));
                Ok(Err(current.transpose()?))
            }
        }
    }

    /// Removes the row of a run that never was, unless somebody else has written it since.
    pub(super) async fn remove(&self, kept: &Kept, meter: &mut Meter) -> Result<bool, Error> {
        let key = self.keys.run(&kept.run.run_id.to_string());
        self.delete(&key, self.version(&kept.version), meter).await
    }

    /// Sets a mark where there is none; answers whether it did.
    pub(super) async fn mark(
        &self,
        run_id: Ulid,
        mark: &Mark,
        meter: &mut Meter,
    ) -> Result<bool, Error> {
        let absent = Condition::Absent {
            now: self.clock.now(),
        };
        let key = self.keys.running(&run_id.to_string());
        let put = self.put(&key, mark.to_row(), absent, meter).await?;
        Ok(put.is_ok())
    }

    /// Sets a mark whatever is there.
    pub(super) async fn mark_anew(
        &self,
        run_id: Ulid,
        mark: &Mark,
        meter: &mut Meter,
    ) -> Result<(), Error> {
        let key = self.keys.running(&run_id.to_string());
        let put = self.put(&key, mark.to_row(), Condition::Always, meter);
        put.await.map(drop)
    }

    /// Sets `next` in place of `mark`; answers what is there where somebody else has set or removed it.
    pub(super) async fn renew(
        &self,
        run_id: Ulid,
        mark: &Mark,
        next: &Mark,
        meter: &mut Meter,
    ) -> Result<Result<(), Option<Mark>>, Error> {
        let key = self.keys.running(&run_id.to_string());
        let condition = self.version(&mark.version);
        let put = self.put(&key, next.to_row(), condition, meter).await?;
        Ok(put.map_err(|current| current.as_ref().map(Mark::of)))
    }

    /// The mark of a run.
    pub(super) async fn marked(
        &self,
        run_id: Ulid,
        meter: &mut Meter,
    ) -> Result<Option<Mark>, Error> {
        let key = self.keys.running(&run_id.to_string());
        let answer = self.table.get(&key, true).await?;
        meter.read(answer.units);
        Ok(answer.value.as_ref().map(Mark::of))
    }

    /// Some of the tenant's marks after that of `after`, and whose to go on after.
    pub(super) async fn marks(
        &self,
        after: Option<Ulid>,
        limit: u32,
    ) -> Result<(Vec<(Ulid, Mark)>, Option<Ulid>), Error> {
        let range = Range {
            prefix: RUNNING_PREFIX.to_owned(),
            after: after.map(|run_id| format!("{RUNNING_PREFIX}{run_id}")),
            limit,
            ..Range::default()
        };
        let partition = self.keys.runs();
        let page = self.table.query(&partition, &range).await?.value;
        let run_of = |sort: &str| Ulid::from_string(sort.strip_prefix(RUNNING_PREFIX)?).ok();
        let marks = page.rows.iter();
        let marks = marks.filter_map(|(sort, row)| Some((run_of(sort)?, Mark::of(row))));
        Ok((marks.collect(), page.next.as_deref().and_then(run_of)))
    }

    /// Removes the mark of a run; where `mark` is given, only if nobody else has set it since.
    pub(super) async fn unmark(
        &self,
        run_id: Ulid,
        mark: Option<&Mark>,
        meter: &mut Meter,
    ) -> Result<(), Error> {
        let condition = match mark {
            Some(mark) => self.version(&mark.version),
            None => Condition::Always,
        };
        let key = self.keys.running(&run_id.to_string());
        self.delete(&key, condition, meter).await.map(drop)
    }

    fn version(&self, version: &str) -> Condition {
        Condition::Version {
            version: version.to_owned(),
            now: self.clock.now(),
        }
    }

    async fn put(
        &self,
        key: &RowKey,
        row: Row,
        condition: Condition,
        meter: &mut Meter,
    ) -> Result<Result<(), Option<Row>>, Error> {
        let answer = self.table.put(key, row, condition).await?;
        meter.written(answer.units);
        Ok(match answer.value {
            WriteOutcome::Done { .. } => Ok(()),
            WriteOutcome::ConditionFailed { current } => Err(current),
        })
    }

    async fn delete(
        &self,
        key: &RowKey,
        condition: Condition,
        meter: &mut Meter,
    ) -> Result<bool, Error> {
        let answer = self.table.delete(key, condition).await?;
        meter.written(answer.units);
        Ok(matches!(answer.value, WriteOutcome::Done { .. }))
    }
}

impl Mark {
    /// A mark by which `watcher` says that it watches a run until then.
    pub(super) fn new(watcher: Ulid, now: Timestamp, until: Timestamp) -> Self {
        Self {
            version: Ulid::generate().to_string(),
            marked_at: now,
            watcher: watcher.to_string(),
            until,
        }
    }
}
