//! Changes of artifacts, each with what it takes from the tenant's quotas and gives back to them.
//!
//! Every change is bound to what was there when it was weighed, by its entity tag or by its absence. So of
//! several changes of one artifact at once only one replaces what it saw, and frees what that took.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ulid::Ulid;

use crate::mesh::limit::{ArtifactQuota, ArtifactUse};
use crate::mesh::store::Bucket;
use crate::mesh::store::bucket::{
    ObjectAttributes, ObjectCondition, ObjectHead, Presigned, PutOutcome, UploadTerms,
};
use crate::mesh::store::key::ObjectKey;
use crate::mesh::{Error, ErrorKind, Timestamp};

/// How often a change looks again at an artifact that others are changing.
const ROUNDS_MAX: usize = 3;

/// One change of an artifact.
pub(super) struct Accounted<'a> {
    bucket: &'a Arc<dyn Bucket>,
    quota: ArtifactQuota,
    now: Timestamp,
    /// What it has cost of the table so far.
    pub(super) units: f64,
}

/// How storing an artifact ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) outcome: PutOutcome,
    /// Whether there was none before.
    pub(super) is_new: bool,
}

/// An artifact as it was found before a change.
struct Seen {
    head: Option<ObjectHead>,
    /// What it counts for in the quotas.
    counts: ArtifactUse,
}

impl Seen {
    const NOTHING: Self = Self {
        head: None,
        counts: ArtifactUse {
            bytes: 0,
            objects: 0,
        },
    };

    /// What must hold so that nothing else is replaced than this; nothing where `wanted` does not hold.
    fn bind(&self, wanted: &ObjectCondition) -> Option<ObjectCondition> {
        match (wanted, &self.head) {
            (ObjectCondition::Always | ObjectCondition::Absent, None) => {
                Some(ObjectCondition::Absent)
            }
            (ObjectCondition::Always, Some(head)) => Some(ObjectCondition::Etag(head.etag.clone())),
            (ObjectCondition::Etag(etag), Some(head)) if *etag == head.etag => Some(wanted.clone()),
            (ObjectCondition::Absent | ObjectCondition::Etag(_), _) => None,
        }
    }
}

impl<'a> Accounted<'a> {
    pub(super) fn new(bucket: &'a Arc<dyn Bucket>, quota: ArtifactQuota, now: Timestamp) -> Self {
        Self {
            bucket,
            quota,
            now,
            units: 0.0,
        }
    }

    /// Stores `body` under `object`.
    pub(super) async fn put(
        &mut self,
        object: &ObjectKey,
        body: Bytes,
        attributes: &ObjectAttributes,
        wanted: &ObjectCondition,
    ) -> Result<Stored, Error> {
        for _ in 0..ROUNDS_MAX {
            let seen = self.look(object).await?;
            let is_new = seen.head.is_none();
            let Some(bound) = seen.bind(wanted) else {
                let outcome = PutOutcome::ConditionFailed;
                return Ok(Stored { outcome, is_new });
            };
            let outcome = self
                .store(object, body.clone(), attributes, bound, &seen)
                .await?;
            if outcome != PutOutcome::ConditionFailed || *wanted != ObjectCondition::Always {
                return Ok(Stored { outcome, is_new });
            }
        }
        // Others change it faster than it can be bound. What this replaces is then not known, and counts
        // on until the tenant's artifacts are counted.
        let (seen, wanted) = (Seen::NOTHING, wanted.clone());
        let outcome = self.store(object, body, attributes, wanted, &seen).await?;
        self.doubt().await;
        Ok(Stored {
            outcome,
            is_new: false,
        })
    }

    async fn store(
        &mut self,
        object: &ObjectKey,
        body: Bytes,
        attributes: &ObjectAttributes,
        condition: ObjectCondition,
        seen: &Seen,
    ) -> Result<PutOutcome, Error> {
        let change = whole(body.len() as u64).without(seen.counts);
        let reserved = self.quota.reserve(change.growth(), self.now).await;
        self.units += reserved.map_err(Error::not_done)?.units;
        let outcome = self.bucket.put(object, body, attributes, condition).await;
        match &outcome {
            Ok(PutOutcome::Done(_)) => self.give_back(change.shrinkage()).await,
            // It may be there, and counts until the tenant's artifacts are counted.
            Err(error) if error.may_be_done() => self.doubt().await,
            Ok(PutOutcome::ConditionFailed) | Err(_) => self.give_back(change.growth()).await,
        }
        outcome
    }

    /// An address under which what `terms` say can be stored under `object` for `lifetime`; nothing where
    /// their condition does not hold.
    pub(super) async fn presign(
        &mut self,
        object: &ObjectKey,
        mut terms: UploadTerms,
        lifetime: Duration,
    ) -> Result<Option<Presigned>, Error> {
        let seen = self.look(object).await?;
        let Some(bound) = seen.bind(&terms.condition) else {
            return Ok(None);
        };
        terms.condition = bound;
        terms.id = Ulid::generate().to_string();
        let whole = whole(terms.size);
        let change = whole.without(seen.counts);
        let end = self.now.plus(lifetime);
        let reserved = self
            .quota
            .reserve_upload(object, &terms.id, (whole, change), end, self.now)
            .await;
        self.units += reserved.map_err(Error::not_done)?.units;
        let outcome = self.bucket.presign_put(object, &terms, lifetime).await;
        if outcome.is_err() {
            let cancelled = self.quota.cancel_upload(object, &terms.id, self.now);
            match cancelled.await {
                Ok(answer) => self.units += answer.units,
                Err(error) => tracing::warn!(?error, "a place for an upload ends in its time"),
            }
        }
        outcome.map(Some)
    }

    /// Deletes what is under `object`: whether there was something, or nothing where the condition did not
    /// hold.
    pub(super) async fn delete(
        &mut self,
        object: &ObjectKey,
        wanted: &ObjectCondition,
    ) -> Result<Option<bool>, Error> {
        for _ in 0..ROUNDS_MAX {
            let seen = self.look(object).await?;
            let Some(bound) = seen.bind(wanted) else {
                return Ok(None);
            };
            if seen.head.is_none() {
                return Ok((*wanted == ObjectCondition::Always).then_some(false));
            }
            let deleted = self.bucket.delete(object, bound).await;
            if deleted.as_ref().is_err_and(Error::may_be_done) {
                self.doubt().await;
            }
            if deleted? {
                self.give_back(seen.counts).await;
                return Ok(Some(true));
            }
            if *wanted != ObjectCondition::Always {
                return Ok(None);
            }
        }
        Err(Error::new(
            ErrorKind::Conflict,
            "the artifact changes faster than it can be deleted",
        )
        .fix("Try again, or give `if_etag`."))
    }

    /// What is there, and what it counts for: less than it is while the place is held by which it was
    /// uploaded.
    async fn look(&mut self, object: &ObjectKey) -> Result<Seen, Error> {
        let head = self.bucket.head(object).await.map_err(Error::not_done)?;
        let Some(head) = head else {
            return Ok(Seen::NOTHING);
        };
        let mut counts = whole(head.size);
        if let Some(id) = &head.upload {
            let counted = self.quota.counts_for(object, id, counts).await;
            let counted = counted.map_err(Error::not_done)?;
            self.units += counted.units;
            counts = counted.value;
        }
        Ok(Seen {
            head: Some(head),
            counts,
        })
    }

    /// Has the tenant's artifacts counted before it is refused the next time.
    async fn doubt(&mut self) {
        match self.quota.doubt().await {
            Ok(answer) => self.units += answer.units,
            Err(error) => tracing::warn!(?error, "an artifact quota is too high for a while"),
        }
    }

    /// Gives back to the quotas. What is done is not undone where that fails: they are counted anew before
    /// they refuse anything.
    async fn give_back(&mut self, used: ArtifactUse) {
        if used == ArtifactUse::default() {
            return;
        }
        match self.quota.give_back(used).await {
            Ok(answer) => self.units += answer.units,
            Err(error) => {
                tracing::warn!(?error, "an artifact quota is too high until it is counted")
            }
        }
    }
}

/// What one artifact of so many bytes takes.
fn whole(size: u64) -> ArtifactUse {
    ArtifactUse {
        bytes: i64::try_from(size).unwrap_or(i64::MAX),
        objects: 1,
    }
}

#[cfg(test)]
mod tests;
