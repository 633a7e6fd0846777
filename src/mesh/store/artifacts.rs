//! The handle to a caller's artifacts: objects under keys that read like relative paths.

mod accounted;

use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use serde::{Serialize, Serializer};

use accounted::{Accounted, Stored};

use super::bucket::{
    ByteRange, GetOutcome, ObjectAttributes, ObjectCondition, ObjectHead, ObjectPage, Presigned,
    PutOutcome, UploadTerms,
};
use super::key::{Keyspace, ObjectKey, Scope};
use crate::mesh::Error;
use crate::mesh::call::grant::Reach;
use crate::mesh::call::operation::{Allows, ArtifactsRead, ArtifactsWrite};
use crate::mesh::channels::TenantNews;
use crate::mesh::limit::Direction;
use crate::mesh::tenant::{TenantId, UserId};

/// The longest key: bytes of UTF-8. S3 allows 1,024 with what we put before it.
pub const KEY_BYTES_MAX: usize = 800;

/// Above this many bytes an artifact is stored in parts.
pub const PART_BYTES: u64 = 8 << 20;

/// A key of 1 to [`KEY_BYTES_MAX`] bytes of UTF-8: relative, without control characters and without
/// empty, `.` or `..` segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactKey(String);

impl ArtifactKey {
    /// Parses the argument `parameter`.
    pub fn parse(parameter: &str, text: String) -> Result<Self, Error> {
        let refuse = |what: &str| {
            Error::invalid(parameter, format!("`{parameter}` {what}")).fix(
                "Use a relative key such as `reports/2026/june.md`: 1 to 800 bytes, no control \
                 characters, no empty, `.` or `..` segment.",
            )
        };
        if text.is_empty() {
            return Err(refuse("is empty"));
        }
        if text.len() > KEY_BYTES_MAX {
            return Err(refuse(&format!("has {} bytes", text.len())));
        }
        if text.chars().any(char::is_control) {
            return Err(refuse("holds a control character"));
        }
        if text
            .split('/')
            .any(|segment| matches!(segment, "" | "." | ".."))
        {
            return Err(refuse("has an empty, `.` or `..` segment"));
        }
        Ok(Self(text))
    }

    /// The key as the caller wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One artifact that a caller watches: made from an admitted call, and compared with what changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Watched(ObjectKey);

impl Serialize for Watched {
    /// Nothing of it is for the client.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

/// That an artifact was stored or deleted by this process.
#[derive(Clone, Debug)]
pub struct Change {
    object: ObjectKey,
    /// The user whose it is; nobody in particular where the tenant shares it.
    owner: Option<UserId>,
    /// Whether there is one artifact more or less than before.
    pub listed: bool,
}

impl TenantNews for Change {
    fn tenant(&self) -> &TenantId {
        self.object.tenant()
    }
}

impl Change {
    /// Whether it is a change of what is `watched`.
    pub fn concerns(&self, watched: &Watched) -> bool {
        self.object == watched.0
    }

    /// Whether it is a change among the artifacts that `user` of `tenant` can list.
    pub fn is_seen_by(&self, tenant: &TenantId, user: &UserId) -> bool {
        self.object.tenant() == tenant && self.owner.as_ref().is_none_or(|owner| owner == user)
    }
}

/// Artifacts of one scope of the caller, to the extent of the permission `P`.
pub struct Artifacts<'call, P> {
    reach: Reach<'call>,
    scope: Scope,
    keys: Keyspace,
    permission: PhantomData<P>,
}

impl<'call, P> Artifacts<'call, P> {
    pub(in crate::mesh) fn new(reach: Reach<'call>, scope: Scope) -> Self {
        Self {
            keys: reach.keyspace(),
            reach,
            scope,
            permission: PhantomData,
        }
    }

    /// The artifact under `key` or a part of it, cut after `bytes_max` bytes.
    pub async fn get(
        &self,
        key: &ArtifactKey,
        range: Option<ByteRange>,
        bytes_max: u64,
    ) -> Result<GetOutcome, Error>
    where
        P: Allows<ArtifactsRead>,
    {
        self.reach
            .bucket()
            .get(&self.object(key), range, bytes_max)
            .await
    }

    /// What is known of the artifact under `key`.
    pub async fn head(&self, key: &ArtifactKey) -> Result<Option<ObjectHead>, Error>
    where
        P: Allows<ArtifactsRead>,
    {
        self.reach.bucket().head(&self.object(key)).await
    }

    /// An address under which the artifact can be read for `lifetime`.
    pub async fn presign_get(
        &self,
        key: &ArtifactKey,
        lifetime: Duration,
    ) -> Result<Presigned, Error>
    where
        P: Allows<ArtifactsRead>,
    {
        self.reach
            .bucket()
            .presign_get(&self.object(key), lifetime)
            .await
    }

    /// A page of at most `limit` keys that begin with `prefix`.
    pub async fn list(
        &self,
        prefix: &str,
        delimiter: Option<&str>,
        limit: u32,
        token: Option<&str>,
    ) -> Result<ObjectPage, Error>
    where
        P: Allows<ArtifactsRead>,
    {
        let prefix = self
            .keys
            .artifacts(self.scope, self.reach.user_id(), prefix);
        self.reach.spend(Direction::S3List, 1.0);
        self.reach
            .bucket()
            .list(&prefix, delimiter, limit, token)
            .await
    }

    /// Stores `body` under `key` within the tenant's quota.
    pub async fn put(
        &self,
        key: &ArtifactKey,
        body: Bytes,
        attributes: &ObjectAttributes,
        condition: ObjectCondition,
    ) -> Result<PutOutcome, Error>
    where
        P: Allows<ArtifactsWrite>,
    {
        let object = self.object(key);
        let mut change = self.accounted();
        let stored = change.put(&object, body, attributes, &condition).await;
        self.settle(change);
        let Stored { outcome, is_new } = stored?;
        if let PutOutcome::Done(_) = &outcome {
            self.announce(object, is_new);
        }
        Ok(outcome)
    }

    /// An address under which an artifact can be written for `lifetime`, its size held in the quota; nothing
    /// where the condition does not hold. It replaces no more than what is there now.
    pub async fn presign_put(
        &self,
        key: &ArtifactKey,
        terms: UploadTerms,
        lifetime: Duration,
    ) -> Result<Option<Presigned>, Error>
    where
        P: Allows<ArtifactsWrite>,
    {
        let mut change = self.accounted();
        let presigned = change.presign(&self.object(key), terms, lifetime).await;
        self.settle(change);
        presigned
    }

    /// Deletes the artifact under `key`: whether there was one, or nothing where the condition did not
    /// hold.
    pub async fn delete(
        &self,
        key: &ArtifactKey,
        condition: ObjectCondition,
    ) -> Result<Option<bool>, Error>
    where
        P: Allows<ArtifactsWrite>,
    {
        let object = self.object(key);
        let mut change = self.accounted();
        let deleted = change.delete(&object, &condition).await;
        self.settle(change);
        if let Ok(Some(true)) = deleted {
            self.announce(object, true);
        }
        deleted
    }

    /// The artifact under `key` as one to watch; it need not be there.
    pub fn watch(&self, key: &ArtifactKey) -> Watched
    where
        P: Allows<ArtifactsRead>,
    {
        Watched(self.object(key))
    }

    fn object(&self, key: &ArtifactKey) -> ObjectKey {
        self.keys
            .artifact(self.scope, self.reach.user_id(), key.as_str())
    }

    fn accounted(&self) -> Accounted<'call> {
        let quota = self.reach.artifact_quota();
        Accounted::new(self.reach.bucket(), quota, self.reach.now())
    }

    fn settle(&self, change: Accounted<'_>) {
        self.reach.spend(Direction::DynamodbWrite, change.units);
    }

    fn announce(&self, object: ObjectKey, listed: bool) {
        let owner = match self.scope {
            Scope::User => Some(self.reach.user_id().clone()),
            Scope::Tenant => None,
        };
        self.reach.announce(Change {
            object,
            owner,
            listed,
        });
    }
}
