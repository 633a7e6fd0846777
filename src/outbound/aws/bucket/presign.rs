//! Addresses under which others may read or write one object for a while.

use std::time::Duration;

use aws_sdk_s3::presigning::{PresignedRequest, PresigningConfig};

use super::{AwsBucket, metadata, quoted};
use crate::mesh::store::bucket::{ObjectCondition, Presigned, UploadTerms};
use crate::mesh::store::key::ObjectKey;
use crate::mesh::{Error, ErrorKind};
use crate::outbound::aws::error::{Part, fault};

/// An address to read the object under `key`.
pub(super) async fn get(
    bucket: &AwsBucket,
    key: &ObjectKey,
    lifetime: Duration,
) -> Result<Presigned, Error> {
    let config = ready(bucket, lifetime).await?;
    let target = bucket.target(Some(key.tenant())).await?;
    let signed = target
        .client
        .get_object()
        .bucket(target.bucket)
        .key(key.key())
        .presigned(config)
        .await
        .map_err(|error| fault(Part::Bucket, error))?;
    Ok(presigned(&signed))
}

/// An address to write the object under `key` once. Length, checksum, type, metadata and condition are
/// signed, so nothing else can be stored with it.
pub(super) async fn put(
    bucket: &AwsBucket,
    key: &ObjectKey,
    terms: &UploadTerms,
    lifetime: Duration,
) -> Result<Presigned, Error> {
    let config = ready(bucket, lifetime).await?;
    let target = bucket.target(Some(key.tenant())).await?;
    let size = i64::try_from(terms.size)
        .map_err(|_| Error::new(ErrorKind::TooLarge, "no artifact can be that large"))?;
    let (if_absent, if_etag) = match &terms.condition {
        ObjectCondition::Always => (None, None),
        ObjectCondition::Absent => (Some("*".to_owned()), None),
        ObjectCondition::Etag(etag) => (None, Some(quoted(etag))),
    };
    let signed = target
        .client
        .put_object()
        .bucket(target.bucket)
        .key(key.key())
        .content_length(size)
        .content_type(&terms.attributes.content_type)
        .checksum_sha256(&terms.sha256_base64)
        .set_metadata(Some(metadata::encode(
            &terms.attributes.metadata,
            Some(&metadata::upload_mark(&terms.id)),
        )?))
        .set_if_none_match(if_absent)
        .set_if_match(if_etag)
        .presigned(config)
        .await
        .map_err(|error| fault(Part::Bucket, error))?;
    Ok(presigned(&signed))
}

/// Makes sure that an address makes sense here, and that the bucket is its expected owner's: the address
/// itself cannot demand that without telling the account to its holder.
async fn ready(bucket: &AwsBucket, lifetime: Duration) -> Result<PresigningConfig, Error> {
    if !bucket.connection.settings().can_presign {
        return Err(Error::new(
            ErrorKind::NotSupported,
            "the embedded cloud has no addresses to hand out",
        )
        .fix("read and write the content itself, or run the server on AWS"));
    }
    bucket.seen.get_or_try_init(|| bucket.look()).await?;
    PresigningConfig::expires_in(lifetime)
        .map_err(|error| Error::internal("an address cannot hold for so long").caused_by(error))
}

fn presigned(request: &PresignedRequest) -> Presigned {
    Presigned {
        url: request.uri().to_owned(),
        headers: request
            .headers()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    }
}
