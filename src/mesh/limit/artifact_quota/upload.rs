//! Places in the quotas for content that somebody else will put at a presigned address, or never will.
//!
//! There is one row for each artifact that has such a place. It says what the content adds to the tenant's
//! use, which is taken from the quotas at once. What is stored by the address carries the id of its place.
//! So while the place is held, an object with its id counts for what the place has not taken; when the
//! place ends, it becomes ordinary use where such an object is there, and is given back where there is none.
//!
//! Several addresses for one artifact at once may follow each other unseen. Such places are entangled: each
//! takes all that it may store, and nothing is given back before the tenant's artifacts are counted.

use std::collections::HashSet;
use std::time::Duration;

use ulid::Ulid;

use super::{ArtifactQuota, ArtifactUse, BYTES, OBJECTS};
use crate::mesh::store::Metered;
use crate::mesh::store::bucket::ObjectHead;
use crate::mesh::store::key::{ObjectKey, UPLOAD_PREFIX};
use crate::mesh::store::table::{
    Condition, EXPIRY_ATTRIBUTE, Range, Replaced, Row, VERSION_ATTRIBUTE, WriteOutcome,
};
use crate::mesh::{Error, ErrorKind, Timestamp};

/// How long after the end of its address a place is held: an upload that began in time may end later. One
/// that ends later still is found by the next count.
pub const UPLOAD_GRACE: Duration = Duration::from_secs(300);

/// The most places that are looked at, and ended where their time is over, before a new one is made or a
/// tenant is refused.
pub const ENDED_MAX: u32 = 100;

/// The most places of one tenant that a count looks at; a tenant with more keeps the figures of its row.
pub const UPLOADS_COUNTED_MAX: usize = 10_000;

/// How long the table keeps the row of a place that nobody ends. What it took is then given back by the
/// next count.
const KEPT_FOR: Duration = Duration::from_hours(7 * 24);

/// Rows on one page of places.
const PAGE_ROWS: u32 = 1000;

/// How often a place is tried to be made that others make at the same time.
const ROUNDS_MAX: usize = 4;

const ENTANGLED: &str = "entangled";
const ID: &str = "id";
const UNTIL: &str = "until";

/// A place for what will be put at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Upload {
    /// Where it will lie, below the tenant's root.
    path: String,
    /// In the metadata of what is stored by the address.
    id: String,
    /// What it adds to what counts now; negative where it replaces something larger.
    change: ArtifactUse,
    /// When its place ends.
    until: Timestamp,
    is_entangled: bool,
    version: String,
}

impl Upload {
    /// Where it will lie, below the tenant's root.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// What it takes from the quotas while its place is held.
    fn taken(&self) -> ArtifactUse {
        self.change.growth()
    }

    fn of(sort: &str, row: &Row) -> Option<Self> {
        Some(Self {
            path: sort.strip_prefix(UPLOAD_PREFIX)?.to_owned(),
            id: row.text(ID)?.to_owned(),
            change: ArtifactUse {
                bytes: row.number(BYTES)?,
                objects: row.number(OBJECTS)?,
            },
            until: Timestamp::from_millis(row.number(UNTIL)?),
            is_entangled: row.number(ENTANGLED) == Some(1),
            version: row.version()?.to_owned(),
        })
    }

    fn to_row(&self) -> Row {
        Row::new()
            .with_text(VERSION_ATTRIBUTE, self.version.as_str())
            .with_text(ID, self.id.as_str())
            .with_number(BYTES, self.change.bytes)
            .with_number(OBJECTS, self.change.objects)
            .with_number(UNTIL, self.until.as_millis())
            .with_number(ENTANGLED, i64::from(self.is_entangled))
            .with_number(EXPIRY_ATTRIBUTE, self.until.plus(KEPT_FOR).as_seconds())
    }

    fn bound(&self, now: Timestamp) -> Condition {
        Condition::Version {
            version: self.version.clone(),
            now,
        }
    }
}

impl ArtifactQuota {
    /// Holds a place for what will be stored as `object` under `id` by an address that ends at `end`: it
    /// has the size of `whole` and `change`s what counts for the object now. Answers the units that it cost.
    ///
    /// # Errors
    /// `QUOTA_EXCEEDED` where it would be more than a quota allows; the table's errors.
    pub async fn reserve_upload(
        &self,
        object: &ObjectKey,
        id: &str,
        (whole, change): (ArtifactUse, ArtifactUse),
        end: Timestamp,
        now: Timestamp,
    ) -> Result<Metered<()>, Error> {
        let mut units = 0.0;
        self.end_uploads(now, &mut units).await;
        for _ in 0..ROUNDS_MAX {
            let mut upload = Upload {
                path: self.keys.path_of(object).to_owned(),
                id: id.to_owned(),
                change,
                until: end.plus(UPLOAD_GRACE),
                is_entangled: false,
                version: Ulid::generate().to_string(),
            };
            let mut taken = upload.taken();
            let condition = match self.upload(object, &mut units).await? {
                None => Condition::Absent { now },
                Some(ended) if ended.until <= now => {
                    let used = self.is_used(&ended).await?;
                    self.end(&ended, used, now, &mut units).await?;
                    continue;
                }
                Some(other) => {
                    taken = whole;
                    upload.change = other.taken().and(whole);
                    upload.until = upload.until.max(other.until);
                    upload.is_entangled = true;
                    other.bound(now)
                }
            };
            units += self.reserve(taken, now).await?.units;
            if self.hold(&upload, taken, condition, &mut units).await? {
                return Ok(Metered { value: (), units });
            }
        }
        Err(Error::new(
            ErrorKind::Conflict,
            "others ask for addresses for this artifact at the same time",
        )
        .fix("Try again."))
    }

    /// Writes the row of a place that has been taken; `false`, and nothing is taken, where others changed
    /// it meanwhile.
    async fn hold(
        &self,
        upload: &Upload,
        taken: ArtifactUse,
        condition: Condition,
        units: &mut f64,
    ) -> Result<bool, Error> {
        let key = self.keys.upload(&upload.path);
        let put = self.table.put(&key, upload.to_row(), condition).await;
        if let Ok(put) = &put {
            *units += put.units;
        }
        match put.map(|put| put.value) {
            Ok(WriteOutcome::Done { .. }) => Ok(true),
            // A row that is there after all ends by itself.
            Err(error) if error.may_be_done() => Err(error),
            failed => {
                *units += self.give_back(taken).await?.units;
                failed.map(|_| false)
            }
        }
    }

    /// Gives back the place of an address that was never handed out, unless it is entangled with others.
    /// Answers the units that it cost.
    ///
    /// # Errors
    /// The table's; the place then ends in its time.
    pub async fn cancel_upload(
        &self,
        object: &ObjectKey,
        id: &str,
        now: Timestamp,
    ) -> Result<Metered<()>, Error> {
        let mut units = 0.0;
        let upload = self.upload(object, &mut units).await?;
        if let Some(upload) = upload.filter(|upload| upload.id == id) {
            self.end(&upload, false, now, &mut units).await?;
        }
        Ok(Metered { value: (), units })
    }

    /// What an object that was stored by an address frees at least when it goes: its `whole` size, less what
    /// the place takes for it that is still held.
    ///
    /// # Errors
    /// The table's.
    pub async fn counts_for(
        &self,
        object: &ObjectKey,
        id: &str,
        whole: ArtifactUse,
    ) -> Result<Metered<ArtifactUse>, Error> {
        let mut units = 0.0;
        let value = match self.upload(object, &mut units).await? {
            Some(upload) if upload.is_entangled => ArtifactUse::default(),
            Some(upload) if upload.id == id => whole.without(upload.taken()),
            _ => whole,
        };
        Ok(Metered { value, units })
    }

    async fn upload(&self, object: &ObjectKey, units: &mut f64) -> Result<Option<Upload>, Error> {
        let key = self.keys.upload(self.keys.path_of(object));
        let answer = self.table.get(&key, true).await?;
        *units += answer.units;
        Ok(answer.value.and_then(|row| Upload::of(key.sort(), &row)))
    }

    /// Ends places whose time is over; whether there were any. What fails here is done by the next one who
    /// asks.
    pub(in crate::mesh) async fn end_uploads(&self, now: Timestamp, units: &mut f64) -> bool {
        match self.try_end_uploads(now, units).await {
            Ok(any) => any,
            Err(error) => {
                tracing::warn!(?error, "places for uploads could not be ended");
                false
            }
        }
    }

    async fn try_end_uploads(&self, now: Timestamp, units: &mut f64) -> Result<bool, Error> {
        let range = Range {
            prefix: UPLOAD_PREFIX.to_owned(),
            limit: ENDED_MAX,
            ..Range::default()
        };
        let page = self.table.query(&self.keys.quotas(), &range).await?;
        *units += page.units;
        let mut any = false;
        for (sort, row) in page.value.rows {
            let Some(upload) = Upload::of(&sort, &row).filter(|upload| upload.until <= now) else {
                continue;
            };
            let used = self.is_used(&upload).await?;
            any |= self.end(&upload, used, now, units).await?;
        }
        Ok(any)
    }

    /// Whether what lies under an upload's key was stored by its address.
    async fn is_used(&self, upload: &Upload) -> Result<bool, Error> {
        if upload.is_entangled {
            return Ok(false);
        }
        let head: Option<ObjectHead> = self.bucket.head(&self.keys.at_path(&upload.path)).await?;
        Ok(head.is_some_and(|head| head.upload.as_ref() == Some(&upload.id)))
    }

    /// Ends a place: it becomes ordinary use, or is given back. Of all who try exactly one does it; whether
    /// it was this one. Who dies in between leaves the quotas too full, and never too empty.
    async fn end(
        &self,
        upload: &Upload,
        used: bool,
        now: Timestamp,
        units: &mut f64,
    ) -> Result<bool, Error> {
        let key = self.keys.upload(&upload.path);
        let answer = self.table.delete(&key, upload.bound(now)).await?;
        *units += answer.units;
        let is_ours = matches!(
            answer.value,
            WriteOutcome::Done {
                replaced: Replaced::Known(Some(_)),
            }
        );
        if upload.is_entangled && is_ours {
            *units += self.doubt().await?.units;
        }
        if !is_ours || upload.is_entangled {
            return Ok(false);
        }
        let freed = match used {
            true => upload.change.shrinkage(),
            false => upload.taken(),
        };
        *units += self.give_back(freed).await?.units;
        Ok(true)
    }

    /// What places add to what lies in the bucket, where something is `listed` under some of their keys.
    pub(super) async fn count_uploads(
        &self,
        uploads: Vec<Upload>,
        listed: &HashSet<String>,
    ) -> Result<ArtifactUse, Error> {
        let mut counted = ArtifactUse::default();
        for upload in uploads {
            let used = listed.contains(&upload.path) && self.is_used(&upload).await?;
            counted = counted.and(match used {
                // Until the place ends, what it replaced counts.
                true => upload.change.shrinkage(),
                false => upload.taken(),
            });
        }
        Ok(counted)
    }

    /// Every place of the tenant; nothing where there are more than [`UPLOADS_COUNTED_MAX`].
    pub(super) async fn uploads(&self) -> Result<Option<Vec<Upload>>, Error> {
        let mut uploads = Vec::new();
        let mut range = Range {
            prefix: UPLOAD_PREFIX.to_owned(),
            limit: PAGE_ROWS,
            ..Range::default()
        };
        while uploads.len() <= UPLOADS_COUNTED_MAX {
            let page = self.table.query(&self.keys.quotas(), &range).await?.value;
            let places = page.rows.iter();
            uploads.extend(places.filter_map(|(sort, row)| Upload::of(sort, row)));
            range.after = page.next;
            if range.after.is_none() {
                return Ok(Some(uploads));
            }
        }
        Ok(None)
    }
}
