//! The bucket on S3.
//!
//! Every request names the account that must own the bucket, so that a stranger's bucket of that name is
//! never written to or read from.

mod list;
mod metadata;
mod presign;
mod read;
mod write;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use tokio::sync::OnceCell;

use super::clients::Connection;
use super::error::{Part, fault};
use crate::mesh::store::bucket::{
    ByteRange, GetOutcome, ObjectAttributes, ObjectCondition, ObjectHead, ObjectPage, Presigned,
    PutOutcome, UploadTerms,
};
use crate::mesh::store::key::{ObjectKey, ObjectPrefix};
use crate::mesh::store::{Bucket, Reply};
use crate::mesh::tenant::TenantId;
use crate::mesh::{Error, Timestamp};

pub use metadata::METADATA_BYTES_MAX;
pub use write::{PART_BYTES, PARTS_IN_FLIGHT_MAX};

/// The bucket of a [`Connection`].
#[derive(Clone, Debug)]
pub struct AwsBucket {
    connection: Arc<Connection>,
    /// Set once the bucket has been seen to be there and of the expected owner.
    seen: Arc<OnceCell<()>>,
}

/// What each request to the bucket needs.
struct Target<'a> {
    client: aws_sdk_s3::Client,
    bucket: &'a str,
    owner: &'a str,
}

impl AwsBucket {
    /// The bucket that `connection` names.
    pub fn new(connection: Arc<Connection>) -> Self {
        Self {
            connection,
            seen: Arc::default(),
        }
    }

    async fn target(&self, tenant: Option<&TenantId>) -> Result<Target<'_>, Error> {
        Ok(Target {
            owner: self.connection.account().await?,
            client: self.connection.s3(tenant).await,
            bucket: &self.connection.settings().bucket,
        })
    }

    async fn look(&self) -> Result<(), Error> {
        let target = self.target(None).await?;
        let answer = target
            .client
            .head_bucket()
            .bucket(target.bucket)
            .expected_bucket_owner(target.owner)
            .send()
            .await;
        match answer {
            Ok(_) => Ok(()),
            Err(error) if status(&error) == Some(404) => {
                Err(
                    super::error::of_code(Part::Bucket, "NoSuchBucket", "", 404, None)
                        .caused_by(error),
                )
            }
            Err(error) => Err(fault(Part::Bucket, error)),
        }
    }
}

impl Bucket for AwsBucket {
    fn get<'a>(
        &'a self,
        key: &'a ObjectKey,
        range: Option<ByteRange>,
        bytes_max: u64,
    ) -> Reply<'a, GetOutcome> {
        read::get(self, key, range, bytes_max).boxed()
    }

    fn head<'a>(&'a self, key: &'a ObjectKey) -> Reply<'a, Option<ObjectHead>> {
        async move {
            let found = read::head(&self.target(Some(key.tenant())).await?, key).await?;
            Ok(found.map(|(head, _)| head))
        }
        .boxed()
    }

    fn put<'a>(
        &'a self,
        key: &'a ObjectKey,
        body: Bytes,
        attributes: &'a ObjectAttributes,
        condition: ObjectCondition,
    ) -> Reply<'a, PutOutcome> {
        write::put(self, key, body, attributes, condition).boxed()
    }

    fn delete<'a>(&'a self, key: &'a ObjectKey, condition: ObjectCondition) -> Reply<'a, bool> {
        write::delete(self, key, condition).boxed()
    }

    fn list<'a>(
        &'a self,
        prefix: &'a ObjectPrefix,
        delimiter: Option<&'a str>,
        limit: u32,
        token: Option<&'a str>,
    ) -> Reply<'a, ObjectPage> {
        list::list(self, prefix, delimiter, limit, token).boxed()
    }

    fn presign_get<'a>(&'a self, key: &'a ObjectKey, lifetime: Duration) -> Reply<'a, Presigned> {
        presign::get(self, key, lifetime).boxed()
    }

    fn presign_put<'a>(
        &'a self,
        key: &'a ObjectKey,
        terms: &'a UploadTerms,
        lifetime: Duration,
    ) -> Reply<'a, Presigned> {
        presign::put(self, key, terms, lifetime).boxed()
    }

    fn check(&self) -> Reply<'_, ()> {
        self.look().boxed()
    }
}

/// An entity tag as S3 quotes it.
fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

/// An entity tag without its quotes.
fn unquoted(etag: Option<&str>) -> String {
    etag.unwrap_or_default().trim_matches('"').to_owned()
}

/// When an object was written, in whole seconds: headers have no more, and a listing that has must not
/// tell another time than they.
fn timestamp(time: Option<&aws_smithy_types::DateTime>) -> Timestamp {
    Timestamp::from_seconds(time.map_or(0, aws_smithy_types::DateTime::secs))
}

/// The status of the answer that an error came with.
fn status<E>(error: &aws_sdk_s3::error::SdkError<E>) -> Option<u16> {
    error.raw_response().map(|raw| raw.status().as_u16())
}
