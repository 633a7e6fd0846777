//! The use of the artifact quotas: one row per tenant, reserved before a write and corrected by counting.
//!
//! A process that dies between the reservation and the write leaves the row too high. So before a tenant
//! is refused, its artifacts are counted, at most once in [`RECOUNT_INTERVAL`] over all processes: the
//! claim to do so is taken in the row itself. A count corrects the row by the difference to what it said
//! when the count began, which keeps the reservations of others that come in meanwhile.

mod upload;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::quota::Quota;
use crate::mesh::store::key::{Keyspace, RowKey};
use crate::mesh::store::table::{Addition, Row};
use crate::mesh::store::{Bucket, Metered, Table};
use crate::mesh::tenant::Limits;
use crate::mesh::{Error, Timestamp};

pub use upload::{ENDED_MAX, UPLOAD_GRACE, UPLOADS_COUNTED_MAX};

/// How long after a count of a tenant's artifacts the next one may begin.
pub const RECOUNT_INTERVAL: Duration = Duration::from_secs(600);

/// The most pages that one count reads; a tenant with more keeps the figures of its row.
pub const RECOUNT_PAGES_MAX: usize = 1000;

/// Keys on one page of a count: the most that S3 gives.
const PAGE_KEYS: u32 = 1000;

/// Attributes of the row.
const BYTES: &str = "bytes";
const OBJECTS: &str = "objects";
/// When the last count began, in seconds since 1970.
const COUNTED_AT: &str = "counted_at";

/// Bytes and number of artifacts: what a write adds, or what a tenant has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArtifactUse {
    /// Bytes; negative for what becomes free.
    pub bytes: i64,
    /// Objects; negative for what becomes free.
    pub objects: i64,
}

impl ArtifactUse {
    /// This and `more`.
    #[must_use]
    pub fn and(self, more: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(more.bytes),
            objects: self.objects.saturating_add(more.objects),
        }
    }

    /// This without `less`.
    #[must_use]
    pub fn without(self, less: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(less.bytes),
            objects: self.objects.saturating_sub(less.objects),
        }
    }

    /// What of a change is more: to be reserved before it.
    #[must_use]
    pub fn growth(self) -> Self {
        Self {
            bytes: self.bytes.max(0),
            objects: self.objects.max(0),
        }
    }

    /// What of a change is less, as positive numbers: to be given back after it.
    #[must_use]
    pub fn shrinkage(self) -> Self {
        Self::default().without(self).growth()
    }
}

/// The artifact quotas of one tenant.
pub struct ArtifactQuota {
    table: Arc<dyn Table>,
    bucket: Arc<dyn Bucket>,
    keys: Keyspace,
    row: RowKey,
    limits: Arc<Limits>,
}

impl ArtifactQuota {
    /// The quotas of the tenant whose keys are `keys`.
    pub(in crate::mesh) fn new(
        table: Arc<dyn Table>,
        bucket: Arc<dyn Bucket>,
        keys: Keyspace,
        limits: Arc<Limits>,
    ) -> Self {
        Self {
            table,
            bucket,
            row: keys.quota("ARTIFACTS"),
            keys,
            limits,
        }
    }

    /// Reserves `change` before a write; what fails afterwards is to be [given back](Self::give_back).
    /// Answers the write units that it cost.
    ///
    /// # Errors
    /// `QUOTA_EXCEEDED` where it would be more than a quota allows, also by a count; the table's errors.
    pub async fn reserve(&self, change: ArtifactUse, now: Timestamp) -> Result<Metered<()>, Error> {
        let mut units = 0.0;
        if self.add(change, &mut units).await? {
            return Ok(Metered { value: (), units });
        }
        if self.end_uploads(now, &mut units).await && self.add(change, &mut units).await? {
            return Ok(Metered { value: (), units });
        }
        let row = self.read(&mut units).await?;
        let counted = self.recount_once(&row, now, &mut units).await;
        // Also where nothing was counted: another call may have made room, or counted, meanwhile.
        if self.add(change, &mut units).await? {
            return Ok(Metered { value: (), units });
        }
        let used = use_of(&self.read(&mut units).await?);
        let refusal = self.refusal(used, change);
        Err(match counted {
            Ok(_) => refusal,
            Err(error) => refusal.caused_by(error),
        })
    }

    /// Gives back what was reserved for a write that did not happen, or what a deletion has freed; `used`
    /// is positive. Answers the write units that it cost.
    ///
    /// # Errors
    /// The table's; the next count then corrects the row.
    pub async fn give_back(&self, used: ArtifactUse) -> Result<Metered<()>, Error> {
        let mut units = 0.0;
        let change = ArtifactUse {
            bytes: used.bytes.saturating_neg(),
            objects: used.objects.saturating_neg(),
        };
        self.add(change, &mut units).await?;
        Ok(Metered { value: (), units })
    }

    /// What the row says that the tenant has.
    ///
    /// # Errors
    /// The table's.
    pub async fn used(&self) -> Result<ArtifactUse, Error> {
        Ok(use_of(&self.read(&mut 0.0).await?))
    }

    /// Counts the tenant's artifacts and corrects the row, unless that was begun less than
    /// [`RECOUNT_INTERVAL`] ago or takes more than [`RECOUNT_PAGES_MAX`]. Answers what was counted.
    ///
    /// # Errors
    /// The table's and the bucket's.
    pub async fn recount(&self, now: Timestamp) -> Result<Option<ArtifactUse>, Error> {
        let mut units = 0.0;
        let row = self.read(&mut units).await?;
        self.recount_once(&row, now, &mut units).await
    }

    /// Lets the tenant be counted before it is refused, however lately that was done: after a change of
    /// which it is not known what it has done. Answers the units that it cost.
    ///
    /// # Errors
    /// The table's.
    pub async fn doubt(&self) -> Result<Metered<()>, Error> {
        let mut units = 0.0;
        let last = self.read(&mut units).await?.number(COUNTED_AT).unwrap_or(0);
        if last > 0 {
            let never = [Addition {
                name: COUNTED_AT,
                delta: last.saturating_neg(),
                ceiling: i64::MAX,
            }];
            units += self.table.add(&self.row, &never).await?.units;
        }
        Ok(Metered { value: (), units })
    }

    async fn recount_once(
        &self,
        row: &Row,
        now: Timestamp,
        units: &mut f64,
    ) -> Result<Option<ArtifactUse>, Error> {
        if !self.claim(row, now, units).await? {
            return Ok(None);
        }
        // Read again: reservations since `row` was read must not be taken for drift.
        let said = raw_use_of(&self.read(units).await?);
        let Some(counted) = self.count().await? else {
            return Ok(None);
        };
        let drift = [
            (BYTES, counted.bytes.saturating_sub(said.bytes)),
            (OBJECTS, counted.objects.saturating_sub(said.objects)),
        ];
        let additions = drift.map(|(name, delta)| Addition {
            name,
            delta,
            ceiling: i64::MAX,
        });
        let done = self.table.add(&self.row, &additions).await?;
        *units += done.units;
        Ok(Some(counted))
    }

    /// Takes the claim to count, which exactly one of those who read the same `row` gets: the addition
    /// leads from the time in it to now, and for a second one would lead past its ceiling.
    async fn claim(&self, row: &Row, now: Timestamp, units: &mut f64) -> Result<bool, Error> {
        let last = row.number(COUNTED_AT).unwrap_or(0);
        let now_s = now.as_seconds();
        let interval_s = i64::try_from(RECOUNT_INTERVAL.as_secs()).unwrap_or(i64::MAX);
        // A time far ahead was written by a clock that was wrong; it must not forbid counting for ever.
        if (last.saturating_sub(interval_s)..last.saturating_add(interval_s)).contains(&now_s) {
            return Ok(false);
        }
        let claim = [Addition {
            name: COUNTED_AT,
            delta: now_s.saturating_sub(last),
            ceiling: now_s,
        }];
        let claimed = self.table.add(&self.row, &claim).await?;
        *units += claimed.units;
        Ok(claimed.value)
    }

    /// Counts what lies in the bucket and what is held for uploads; nothing where that takes too many
    /// pages. Its requests are not charged to the tenant: it did not ask for them.
    async fn count(&self) -> Result<Option<ArtifactUse>, Error> {
        let Some(uploads) = self.uploads().await? else {
            return Ok(None);
        };
        let expected: HashSet<String> = uploads
            .iter()
            .map(|upload| upload.path().to_owned())
            .collect();
        let mut listed = HashSet::new();
        let all = self.keys.all_objects();
        let mut counted = ArtifactUse::default();
        let mut token = None;
        for _ in 0..RECOUNT_PAGES_MAX {
            let page = self
                .bucket
                .list(&all, None, PAGE_KEYS, token.as_deref())
                .await?;
            for (key, object) in &page.objects {
                if is_artifact(key) {
                    let bytes = i64::try_from(object.size).unwrap_or(i64::MAX);
                    counted.bytes = counted.bytes.saturating_add(bytes);
                    counted.objects = counted.objects.saturating_add(1);
                    if expected.contains(key) {
                        listed.insert(key.clone());
                    }
                }
            }
            token = page.next;
            if token.is_none() {
                let held = self.count_uploads(uploads, &listed).await?;
                return Ok(Some(counted.and(held)));
            }
        }
        Ok(None)
    }

    async fn add(&self, change: ArtifactUse, units: &mut f64) -> Result<bool, Error> {
        let additions = [
            Addition {
                name: BYTES,
                delta: change.bytes,
                ceiling: i64::try_from(self.limits.artifact_bytes).unwrap_or(i64::MAX),
            },
            Addition {
                name: OBJECTS,
                delta: change.objects,
                ceiling: i64::try_from(self.limits.artifact_objects).unwrap_or(i64::MAX),
            },
        ];
        let added = self.table.add(&self.row, &additions).await?;
        *units += added.units;
        Ok(added.value)
    }

    async fn read(&self, units: &mut f64) -> Result<Row, Error> {
        let row = self.table.get(&self.row, true).await?;
        *units += row.units;
        Ok(row.value.unwrap_or_default())
    }

    /// Why `change` was refused to a tenant that has `used`: the quota of bytes unless only that of
    /// objects is exceeded.
    fn refusal(&self, used: ArtifactUse, change: ArtifactUse) -> Error {
        let parts = [
            (Quota::ArtifactBytes, used.bytes, change.bytes),
            (Quota::ArtifactObjects, used.objects, change.objects),
        ]
        .map(|(quota, used, more)| {
            let (used, more) = (whole(used), whole(more));
            let checked = quota.check(&self.limits, used, more);
            (quota, used, more, checked)
        });
        let [(quota, used, more, bytes), (.., objects)] = parts;
        // Neither is exceeded any more when others freed something since; the caller was refused anyway.
        bytes
            .and(objects)
            .err()
            .unwrap_or_else(|| quota.exceeded(quota.allowed(&self.limits), used, more))
    }
}

/// Whether an object under a tenant's root is an artifact, of a user or of the tenant, and not the body
/// of an event.
fn is_artifact(key: &str) -> bool {
    matches!(key.split_once('/'), Some(("u" | "t", _)))
}

/// What the row says, never less than nothing: a count may have missed a reservation that was given back
/// afterwards.
fn use_of(row: &Row) -> ArtifactUse {
    let raw = raw_use_of(row);
    ArtifactUse {
        bytes: raw.bytes.max(0),
        objects: raw.objects.max(0),
    }
}

fn raw_use_of(row: &Row) -> ArtifactUse {
    ArtifactUse {
        bytes: row.number(BYTES).unwrap_or(0),
        objects: row.number(OBJECTS).unwrap_or(0),
    }
}

fn whole(amount: i64) -> u64 {
    u64::try_from(amount).unwrap_or(0)
}

#[cfg(test)]
mod tests;
