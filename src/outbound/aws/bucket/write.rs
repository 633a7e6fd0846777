//! Writing and deleting objects: in one request, or in parts where they are large.
//!
//! A conditional write leaves an id in the object's metadata. When its answer is lost and the SDK repeats
//! it, the repetition fails its own condition; the id then tells that the object there is ours.

use std::time::Duration;

use aws_sdk_s3::config::Builder as ConfigOverride;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};
use ulid::Ulid;

use super::{AwsBucket, Target, metadata, quoted, read, status, unquoted};
use crate::mesh::store::bucket::{ObjectAttributes, ObjectCondition, PutOutcome};
use crate::mesh::store::key::ObjectKey;
use crate::mesh::{Error, ErrorKind};
use crate::outbound::aws::attempts::LostAnswers;
use crate::outbound::aws::error::{Part, fault};

/// Bodies above this are sent in parts of this, in bytes.
pub const PART_BYTES: usize = 8 << 20;

/// The most parts on their way at once.
pub const PARTS_IN_FLIGHT_MAX: usize = 4;

/// The most parts that S3 takes.
const PARTS_MAX: usize = 10_000;

/// How often a write is tried that meets another one of the same key.
const CONFLICT_ROUNDS_MAX: u32 = 5;

/// The pause after the first such conflict; it doubles with each.
const CONFLICT_PAUSE: Duration = Duration::from_millis(50);

/// A write under way.
struct Write<'a> {
    bucket: &'a AwsBucket,
    target: Target<'a>,
    key: &'a ObjectKey,
    body: Bytes,
    attributes: &'a ObjectAttributes,
    condition: ObjectCondition,
    /// Left in the object's metadata.
    id: String,
    lost: LostAnswers,
}

/// What one attempt came to.
enum Attempt {
    Done(String),
    ConditionFailed,
    Conflict(Error),
}

/// Writes an object; see the seam.
pub(super) async fn put(
    bucket: &AwsBucket,
    key: &ObjectKey,
    body: Bytes,
    attributes: &ObjectAttributes,
    condition: ObjectCondition,
) -> Result<PutOutcome, Error> {
    if body.len() > PART_BYTES * PARTS_MAX {
        return Err(Error::new(
            ErrorKind::TooLarge,
            "the artifact has more parts than the bucket takes",
        )
        .detail("limit", PART_BYTES * PARTS_MAX));
    }
    let write = Write {
        target: bucket
            .target(Some(key.tenant()))
            .await
            .map_err(Error::not_done)?,
        bucket,
        key,
        body,
        attributes,
        condition,
        id: Ulid::generate().to_string(),
        lost: LostAnswers::default(),
    };
    let mut pause = CONFLICT_PAUSE;
    let mut round = 1;
    loop {
        let attempt = if write.body.len() > PART_BYTES {
            write.in_parts().await?
        } else {
            write.at_once().await?
        };
        match attempt {
            Attempt::Done(etag) => return Ok(PutOutcome::Done(etag)),
            Attempt::ConditionFailed => {
                // It may be our own write that is in the way.
                let lost = write.lost.any() || round > 1;
                return Ok(match write.own_etag(lost).await? {
                    Some(etag) => PutOutcome::Done(etag),
                    None => PutOutcome::ConditionFailed,
                });
            }
            Attempt::Conflict(error) if round == CONFLICT_ROUNDS_MAX => return Err(error),
            Attempt::Conflict(_) => tokio::time::sleep(pause).await,
        }
        pause *= 2;
        round += 1;
    }
}

impl Write<'_> {
    async fn at_once(&self) -> Result<Attempt, Error> {
        let answer = self
            .target
            .client
            .put_object()
            .bucket(self.target.bucket)
            .expected_bucket_owner(self.target.owner)
            .key(self.key.key())
            .content_type(&self.attributes.content_type)
            .set_metadata(Some(self.metadata()?))
            .checksum_sha256(sha256(&self.body))
            .set_if_none_match(self.if_none_match())
            .set_if_match(self.if_match())
            .body(ByteStream::from(self.body.clone()))
            .customize()
            .config_override(self.timeouts())
            .interceptor(self.lost.clone())
            .send()
            .await;
        match answer {
            Ok(answer) => Ok(Attempt::Done(unquoted(answer.e_tag.as_deref()))),
            Err(error) => self.failed(error),
        }
    }

    /// Sends the body in parts. Nothing is there before the last request, which the condition goes with.
    async fn in_parts(&self) -> Result<Attempt, Error> {
        let started = self
            .target
            .client
            .create_multipart_upload()
            .bucket(self.target.bucket)
            .expected_bucket_owner(self.target.owner)
            .key(self.key.key())
            .content_type(&self.attributes.content_type)
            .set_metadata(Some(self.metadata()?))
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .checksum_type(ChecksumType::Composite)
            .send()
            .await
            .map_err(|error| self.lost.fault(Part::Bucket, error))?;
        let upload = started
            .upload_id
            .ok_or_else(|| Error::internal("an upload in parts has no id"))?;
        // A caller that goes away must not leave parts behind that are paid for.
        let abort = AbortOnDrop::new(self, &upload);
        let result = self.send_parts(&upload).await;
        match &result {
            Ok(Attempt::Done(_)) => abort.disarm(),
            _ => abort.now().await,
        }
        result
    }

    async fn send_parts(&self, upload: &str) -> Result<Attempt, Error> {
        let count = self.body.len().div_ceil(PART_BYTES);
        let parts: Vec<CompletedPart> = stream::iter(0..count)
            .map(|index| self.send_part(upload, index))
            .buffered(PARTS_IN_FLIGHT_MAX)
            .try_collect()
            .await?;
        let answer = self
            .target
            .client
            .complete_multipart_upload()
            .bucket(self.target.bucket)
            .expected_bucket_owner(self.target.owner)
            .key(self.key.key())
            .upload_id(upload)
            .multipart_upload(
                CompletedMultipartUpload::builder()
                    .set_parts(Some(parts))
                    .build(),
            )
            .set_if_none_match(self.if_none_match())
            .set_if_match(self.if_match())
            .customize()
            .config_override(self.timeouts())
            .interceptor(self.lost.clone())
            .send()
            .await;
        match answer {
            Ok(answer) => Ok(Attempt::Done(unquoted(answer.e_tag.as_deref()))),
            Err(error) if self.lost.any() && error.code() == Some("NoSuchUpload") => {
                // The upload is gone because the request whose answer was lost completed it.
                match self.own_etag(true).await? {
                    Some(etag) => Ok(Attempt::Done(etag)),
                    None => Err(self.lost.fault(Part::Bucket, error)),
                }
            }
            Err(error) => self.failed(error),
        }
    }

    async fn send_part(&self, upload: &str, index: usize) -> Result<CompletedPart, Error> {
        let start = index * PART_BYTES;
        let part = self
            .body
            .slice(start..self.body.len().min(start + PART_BYTES));
        let number = i32::try_from(index + 1).unwrap_or(i32::MAX);
        let checksum = sha256(&part);
        let answer = self
            .target
            .client
            .upload_part()
            .bucket(self.target.bucket)
            .expected_bucket_owner(self.target.owner)
            .key(self.key.key())
            .upload_id(upload)
            .part_number(number)
            .checksum_sha256(&checksum)
            .body(ByteStream::from(part))
            .customize()
            .config_override(self.timeouts())
            .send()
            .await
            .map_err(|error| self.lost.fault(Part::Bucket, error))?;
        Ok(CompletedPart::builder()
            .part_number(number)
            .set_e_tag(answer.e_tag)
            .checksum_sha256(checksum)
            .build())
    }

    fn failed<E>(&self, error: SdkError<E>) -> Result<Attempt, Error>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let is_conditional = self.condition != ObjectCondition::Always;
        match status(&error) {
            Some(412) if is_conditional => Ok(Attempt::ConditionFailed),
            // That is how S3 says that nothing is there to compare with.
            Some(404) if error.code() == Some("NoSuchKey") && is_conditional => {
                Ok(Attempt::ConditionFailed)
            }
            Some(409) => Ok(Attempt::Conflict(self.lost.fault(Part::Bucket, error))),
            _ => Err(self.lost.fault(Part::Bucket, error)),
        }
    }

    /// The entity tag of the object that is there, if it is the one we wrote.
    async fn own_etag(&self, may_be_ours: bool) -> Result<Option<String>, Error> {
        if !may_be_ours {
            return Ok(None);
        }
        let found = read::head(&self.target, self.key)
            .await
            .map_err(|error| self.lost.judge(error))?;
        Ok(found
            .filter(|(_, write_id)| write_id.as_ref() == Some(&self.id))
            .map(|(head, _)| head.etag))
    }

    fn metadata(&self) -> Result<std::collections::HashMap<String, String>, Error> {
        let is_conditional = self.condition != ObjectCondition::Always;
        metadata::encode(
            &self.attributes.metadata,
            (is_conditional || self.body.len() > PART_BYTES).then_some(&self.id),
        )
    }

    fn if_none_match(&self) -> Option<String> {
        (self.condition == ObjectCondition::Absent).then(|| "*".to_owned())
    }

    fn if_match(&self) -> Option<String> {
        match &self.condition {
            ObjectCondition::Etag(etag) => Some(quoted(etag)),
            _ => None,
        }
    }

    fn timeouts(&self) -> ConfigOverride {
        ConfigOverride::new().timeout_config(self.bucket.connection.transfer_timeouts())
    }
}

/// Gives up an upload in parts unless it is disarmed, also when whoever waits for it goes away.
struct AbortOnDrop(Option<futures::future::BoxFuture<'static, ()>>);

impl AbortOnDrop {
    fn new(write: &Write<'_>, upload: &str) -> Self {
        let request = write
            .target
            .client
            .abort_multipart_upload()
            .bucket(write.target.bucket)
            .expected_bucket_owner(write.target.owner)
            .key(write.key.key())
            .upload_id(upload);
        Self(Some(Box::pin(async move {
            if let Err(error) = request.send().await {
                let error = fault(Part::Bucket, error);
                tracing::warn!(?error, "parts of an artifact could not be removed");
            }
        })))
    }

    fn disarm(mut self) {
        self.0 = None;
    }

    async fn now(mut self) {
        if let Some(abort) = self.0.take() {
            abort.await;
        }
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let (Some(abort), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(abort);
        }
    }
}

/// Deletes an object; see the seam.
pub(super) async fn delete(
    bucket: &AwsBucket,
    key: &ObjectKey,
    condition: ObjectCondition,
) -> Result<bool, Error> {
    let target = bucket
        .target(Some(key.tenant()))
        .await
        .map_err(Error::not_done)?;
    let etag = match condition {
        ObjectCondition::Always => None,
        ObjectCondition::Absent => return Ok(read::head(&target, key).await?.is_none()),
        ObjectCondition::Etag(etag) => Some(quoted(&etag)),
    };
    let mut pause = CONFLICT_PAUSE;
    let lost = LostAnswers::default();
    for round in 1.. {
        let answer = target
            .client
            .delete_object()
            .bucket(target.bucket)
            .expected_bucket_owner(target.owner)
            .key(key.key())
            .set_if_match(etag.clone())
            .customize()
            .interceptor(lost.clone())
            .send()
            .await;
        let error = match answer {
            Ok(_) => return Ok(true),
            Err(error) => error,
        };
        let is_absent = status(&error) == Some(404) && error.code() != Some("NoSuchBucket");
        match status(&error) {
            Some(412) if etag.is_some() => return Ok(false),
            // What the lost request deleted is gone; otherwise it never had that tag.
            _ if is_absent => return Ok(etag.is_none() || lost.any()),
            Some(409) if round < CONFLICT_ROUNDS_MAX => tokio::time::sleep(pause).await,
            _ => return Err(lost.fault(Part::Bucket, error)),
        }
        pause *= 2;
    }
    Ok(false)
}

fn sha256(bytes: &[u8]) -> String {
    STANDARD.encode(Sha256::digest(bytes))
}
