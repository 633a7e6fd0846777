//! The seam to the one bucket: objects under keys that begin with their tenant.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::Reply;
use super::key::{ObjectKey, ObjectPrefix};
use crate::mesh::Timestamp;

/// What is known of an object without its bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectHead {
    /// Size of the whole object in bytes.
    pub size: u64,
    /// The entity tag, without quotes.
    pub etag: String,
    /// When it was last written.
    pub last_modified: Timestamp,
    /// Its media type.
    pub content_type: String,
    /// The caller's own metadata: names in lower case.
    pub metadata: BTreeMap<String, String>,
    /// The id of the upload that stored it, where it was stored by a presigned address.
    pub upload: Option<String>,
}

/// A part of an object, as in HTTP: first and last position, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// From the first position to the last, or to the end.
    From(u64, Option<u64>),
    /// The last so many bytes.
    Suffix(u64),
}

/// An object or a part of one.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// What is known of the whole object.
    pub head: ObjectHead,
    /// The bytes asked for.
    pub body: Bytes,
    /// The position of the first byte of `body` in the object.
    pub offset: u64,
}

/// How reading an object ended.
#[derive(Clone, Debug, PartialEq)]
pub enum GetOutcome {
    /// Here it is.
    Found(Object),
    /// There is none under that key.
    Absent,
    /// The range lies outside the object, whose size is given where it is known.
    OutOfRange(Option<u64>),
}

/// What is stored with an object's bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectAttributes {
    /// Its media type.
    pub content_type: String,
    /// The caller's own metadata.
    pub metadata: BTreeMap<String, String>,
}

/// What must hold for an object to be written or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectCondition {
    /// Whatever is there.
    Always,
    /// Nothing is there.
    Absent,
    /// The object there has this entity tag (without quotes).
    Etag(String),
}

/// How writing an object ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// It is stored and has this entity tag.
    Done(String),
    /// The condition did not hold; nothing was changed.
    ConditionFailed,
}

/// One page of a listing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObjectPage {
    /// The objects: their keys relative to the prefix's root, as the caller names them.
    pub objects: Vec<(String, ObjectSummary)>,
    /// What the keys up to the delimiter have in common, relative to the prefix's root.
    pub common_prefixes: Vec<String>,
    /// Where there may be more: the token to go on with.
    pub next: Option<String>,
}

/// What a listing tells of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectSummary {
    /// Size in bytes.
    pub size: u64,
    /// The entity tag, without quotes.
    pub etag: String,
    /// When it was last written.
    pub last_modified: Timestamp,
}

/// What a presigned upload is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadTerms {
    /// Its exact length in bytes.
    pub size: u64,
    /// Its SHA-256, in base64 as S3 wants it.
    pub sha256_base64: String,
    /// What is stored with it.
    pub attributes: ObjectAttributes,
    /// What must hold when it is written.
    pub condition: ObjectCondition,
    /// A ULID that is told of what was stored by it.
    pub id: String,
}

/// An address that its holder may use for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presigned {
    /// The address.
    pub url: String,
    /// Headers that the holder must send with it.
    pub headers: Vec<(String, String)>,
}

/// The one bucket. Every request carries the expected owner of the bucket.
pub trait Bucket: Send + Sync + 'static {
    /// The object under `key`, or a part of it, of at most `bytes_max` bytes; larger ones are cut there.
    fn get<'a>(
        &'a self,
        key: &'a ObjectKey,
        range: Option<ByteRange>,
        bytes_max: u64,
    ) -> Reply<'a, GetOutcome>;

    /// What is known of the object under `key`.
    fn head<'a>(&'a self, key: &'a ObjectKey) -> Reply<'a, Option<ObjectHead>>;

    /// Stores `body` under `key`; in parts above 8 MiB. A repetition of our own conditional write whose
    /// answer was lost is recognized and is `Done`.
    fn put<'a>(
        &'a self,
        key: &'a ObjectKey,
        body: Bytes,
        attributes: &'a ObjectAttributes,
        condition: ObjectCondition,
    ) -> Reply<'a, PutOutcome>;

    /// Deletes the object under `key`; `false` where the condition did not hold. Deleting what is not
    /// there is done.
    fn delete<'a>(&'a self, key: &'a ObjectKey, condition: ObjectCondition) -> Reply<'a, bool>;

    /// A page of at most `limit` (1 to 1000) keys and common prefixes that begin with `prefix`.
    fn list<'a>(
        &'a self,
        prefix: &'a ObjectPrefix,
        delimiter: Option<&'a str>,
        limit: u32,
        token: Option<&'a str>,
    ) -> Reply<'a, ObjectPage>;

    /// An address under which the object can be read for `lifetime`; `NOT_SUPPORTED` in the embedded cloud.
    fn presign_get<'a>(&'a self, key: &'a ObjectKey, lifetime: Duration) -> Reply<'a, Presigned>;

    /// An address under which the object can be written once for `lifetime`, under `terms`;
    /// `NOT_SUPPORTED` in the embedded cloud.
    fn presign_put<'a>(
        &'a self,
        key: &'a ObjectKey,
        terms: &'a UploadTerms,
        lifetime: Duration,
    ) -> Reply<'a, Presigned>;

    /// Whether the bucket is there and usable, without changing it.
    fn check(&self) -> Reply<'_, ()>;
}
