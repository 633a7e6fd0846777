//! The quota of running workflows: a number in one row, taken before a start and corrected by the marks.
//!
//! A start sets its mark, then takes; an end gives back, then removes the mark. Whoever dies in between
//! leaves the number too high, never too low, and so does a count at that moment. A tenant that would be
//! refused is counted anew, so that this lasts no longer. The count is entered only if nothing was taken or
//! given back meanwhile.

use std::sync::Arc;
use std::time::Duration;

use ulid::Ulid;

use super::meter::Meter;
use crate::mesh::limit::Quota;
use crate::mesh::store::Table;
use crate::mesh::store::key::{Keyspace, Partition, RUNNING_PREFIX, RowKey};
use crate::mesh::store::table::{Addition, Range, VERSION_ATTRIBUTE};
use crate::mesh::{Error, Timestamp};

/// How long after a count of very many runs the next one may begin; fewer are counted whenever somebody
/// would be refused.
const RECOUNT_INTERVAL: Duration = Duration::from_secs(2);

/// The most pages of marks that a count reads.
const RECOUNT_PAGES_MAX: usize = 64;

/// Marks on one page of a count.
const PAGE_MARKS: u32 = 1000;

/// How often a count is tried that others' starts and ends get into.
const RECOUNTS_MAX: usize = 3;

const RUNNING: &str = "running";
/// Grows with each change of the number, so that a count notices them.
const CHANGES: &str = "changes";
/// When the last count was entered, in milliseconds since 1970.
const COUNTED_AT: &str = "counted_at";

/// The running workflows of one tenant.
pub(super) struct RunQuota {
    table: Arc<dyn Table>,
    row: RowKey,
    runs: Partition,
    allowed: i64,
}

impl RunQuota {
    pub(super) fn new(table: &Arc<dyn Table>, keys: &Keyspace, allowed: u32) -> Self {
        Self {
            table: Arc::clone(table),
            row: keys.quota("WORKFLOWS"),
            runs: keys.runs(),
            allowed: allowed.into(),
        }
    }

    /// Takes one for the run `run_id`, whose mark is set.
    ///
    /// # Errors
    /// `QUOTA_EXCEEDED` where all are in use, also by a count; the table's.
    pub(super) async fn take(
        &self,
        run_id: Ulid,
        now: Timestamp,
        meter: &mut Meter,
    ) -> Result<(), Error> {
        if self.add(1, meter).await? {
            return Ok(());
        }
        for _ in 0..RECOUNTS_MAX {
            if self.recount(run_id, now, meter).await? {
                break;
            }
        }
        // Also where nothing was counted: a run may have ended meanwhile.
        if self.add(1, meter).await? {
            return Ok(());
        }
        let allowed = u64::try_from(self.allowed).unwrap_or(0);
        Err(Quota::WorkflowsRunning.exceeded(allowed, allowed, 1))
    }

    /// Gives one back. Only then is the mark removed.
    pub(super) async fn give_back(&self, meter: &mut Meter) -> Result<(), Error> {
        self.add(-1, meter).await.map(drop)
    }

    async fn add(&self, delta: i64, meter: &mut Meter) -> Result<bool, Error> {
        let additions = [
            Addition {
                name: RUNNING,
                delta,
                ceiling: self.allowed,
            },
            Addition {
                name: CHANGES,
                delta: 1,
                ceiling: i64::MAX,
            },
        ];
        let added = self.table.add(&self.row, &additions).await?;
        meter.written(added.units);
        Ok(added.value)
    }

    /// Counts the marks but that of `run_id` and corrects the number. `false` where others got into it.
    async fn recount(
        &self,
        run_id: Ulid,
        now: Timestamp,
        meter: &mut Meter,
    ) -> Result<bool, Error> {
        let row = self.table.get(&self.row, true).await?;
        meter.read(row.units);
        let row = row.value.unwrap_or_default();
        let number = |name| row.number(name).unwrap_or(0);
        let last = Timestamp::from_millis(number(COUNTED_AT));
        let are_many = self.allowed > i64::from(PAGE_MARKS);
        // A time ahead was written by a clock that was wrong; it must not forbid counting for ever.
        if are_many && last <= now && now.since(last) < RECOUNT_INTERVAL {
            return Ok(true);
        }
        let Some(counted) = self.count(run_id, meter).await? else {
            return Ok(true);
        };
        let entry = [
            Addition {
                name: RUNNING,
                delta: counted.saturating_sub(number(RUNNING)),
                ceiling: i64::MAX,
            },
            Addition {
                name: CHANGES,
                delta: 1,
                ceiling: number(CHANGES).saturating_add(1),
            },
            Addition {
                name: COUNTED_AT,
                delta: now.as_millis().saturating_sub(last.as_millis()),
                ceiling: i64::MAX,
            },
        ];
        let entered = self.table.add(&self.row, &entry).await?;
        meter.written(entered.units);
        Ok(entered.value)
    }

    /// How many marks there are but that of `run_id`; nothing where they are too many to read.
    async fn count(&self, run_id: Ulid, meter: &mut Meter) -> Result<Option<i64>, Error> {
        let own = format!("{RUNNING_PREFIX}{run_id}");
        let mut range = Range {
            prefix: RUNNING_PREFIX.to_owned(),
            limit: PAGE_MARKS,
            attributes: vec![VERSION_ATTRIBUTE],
            consistent: true,
            ..Range::default()
        };
        let mut counted = 0_i64;
        for _ in 0..RECOUNT_PAGES_MAX {
            let page = self.table.query(&self.runs, &range).await?;
            meter.read(page.units);
            let marks = page.value.rows.iter().filter(|(sort, _)| *sort != own);
            counted = counted.saturating_add(i64::try_from(marks.count()).unwrap_or(i64::MAX));
            range.after = page.value.next;
            if range.after.is_none() {
                return Ok(Some(counted));
            }
        }
        Ok(None)
    }
}
