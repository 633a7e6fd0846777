//! S3's operations over our store.

use std::sync::Arc;

use async_trait::async_trait;
use s3s::dto::{self, ETag, ETagCondition};
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result};

use super::read::moment;
use super::{body, refusal};
use crate::outbound::embedded::REGION;
use crate::outbound::embedded::objects::{Attributes, Condition, ObjectStore, PartName};

/// The most parts of one upload.
const PARTS_MAX: i32 = 10_000;

/// The most keys that one DeleteObjects call may name.
const DELETES_MAX: usize = 1000;

/// Answers S3's operations.
#[derive(Debug)]
pub(super) struct Bucket(pub(super) Arc<ObjectStore>);

impl Bucket {
    pub(super) fn new(store: Arc<ObjectStore>) -> Self {
        Self(store)
    }

    async fn on_bucket(&self, name: String) -> S3Result<()> {
        self.0
            .run(move |store| store.require_bucket(&name))
            .await
            .map_err(refusal)
    }
}

#[async_trait]
impl S3 for Bucket {
    async fn create_bucket(
        &self,
        request: S3Request<dto::CreateBucketInput>,
    ) -> S3Result<S3Response<dto::CreateBucketOutput>> {
        let name = request.input.bucket;
        let location = format!("/{name}");
        let made = self.0.run(move |store| store.create_bucket(&name)).await;
        if !made.map_err(refusal)? {
            return Err(S3Error::new(S3ErrorCode::BucketAlreadyOwnedByYou));
        }
        Ok(S3Response::new(dto::CreateBucketOutput {
            location: Some(location),
        }))
    }

    async fn head_bucket(
        &self,
        request: S3Request<dto::HeadBucketInput>,
    ) -> S3Result<S3Response<dto::HeadBucketOutput>> {
        self.on_bucket(request.input.bucket).await?;
        Ok(S3Response::new(dto::HeadBucketOutput {
            bucket_region: Some(REGION.to_owned()),
            ..Default::default()
        }))
    }

    async fn get_bucket_location(
        &self,
        request: S3Request<dto::GetBucketLocationInput>,
    ) -> S3Result<S3Response<dto::GetBucketLocationOutput>> {
        self.on_bucket(request.input.bucket).await?;
        Ok(S3Response::new(dto::GetBucketLocationOutput {
            location_constraint: Some(REGION.to_owned().into()),
        }))
    }

    async fn list_buckets(
        &self,
        _: S3Request<dto::ListBucketsInput>,
    ) -> S3Result<S3Response<dto::ListBucketsOutput>> {
        let buckets = self.0.run(ObjectStore::buckets).await.map_err(refusal)?;
        let buckets = buckets
            .into_iter()
            .map(|(name, created)| dto::Bucket {
                name: Some(name),
                creation_date: Some(moment(created)),
                bucket_region: Some(REGION.to_owned()),
            })
            .collect();
        Ok(S3Response::new(dto::ListBucketsOutput {
            buckets: Some(buckets),
            ..Default::default()
        }))
    }

    async fn put_object(
        &self,
        request: S3Request<dto::PutObjectInput>,
    ) -> S3Result<S3Response<dto::PutObjectOutput>> {
        let input = request.input;
        let condition = condition(input.if_match, input.if_none_match)?;
        let trailing = request.trailing_headers;
        let (whole, checksums) =
            body::receive(&self.0, input.body, &request.headers, trailing.as_ref()).await?;
        let attributes = Attributes {
            content_type: input.content_type,
            cache_control: input.cache_control,
            content_disposition: input.content_disposition,
            content_encoding: stored_encoding(input.content_encoding),
            content_language: input.content_language,
            metadata: input.metadata.into_iter().flatten().collect(),
            checksums,
        };
        let mut checksums = attributes.checksums.clone();
        let etag = self
            .0
            .run(move |store| store.put(&input.bucket, &input.key, whole, &attributes, &condition))
            .await
            .map_err(refusal)?;
        Ok(S3Response::new(dto::PutObjectOutput {
            e_tag: Some(ETag::Strong(etag)),
            checksum_crc32: checksums.remove("crc32"),
            checksum_crc32c: checksums.remove("crc32c"),
            checksum_crc64nvme: checksums.remove("crc64nvme"),
            checksum_sha1: checksums.remove("sha1"),
            checksum_sha256: checksums.remove("sha256"),
            ..Default::default()
        }))
    }

    async fn get_object(
        &self,
        request: S3Request<dto::GetObjectInput>,
    ) -> S3Result<S3Response<dto::GetObjectOutput>> {
        self.get(request.input).await.map(S3Response::new)
    }

    async fn head_object(
        &self,
        request: S3Request<dto::HeadObjectInput>,
    ) -> S3Result<S3Response<dto::HeadObjectOutput>> {
        self.head(request.input).await.map(S3Response::new)
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<dto::ListObjectsV2Input>,
    ) -> S3Result<S3Response<dto::ListObjectsV2Output>> {
        self.list(request.input).await.map(S3Response::new)
    }

    async fn delete_object(
        &self,
        request: S3Request<dto::DeleteObjectInput>,
    ) -> S3Result<S3Response<dto::DeleteObjectOutput>> {
        let input = request.input;
        let condition = condition(input.if_match, None)?;
        self.0
            .run(move |store| store.delete(&input.bucket, &input.key, &condition))
            .await
            .map_err(refusal)?;
        Ok(S3Response::with_status(
            dto::DeleteObjectOutput::default(),
            http::StatusCode::NO_CONTENT,
        ))
    }

    async fn delete_objects(
        &self,
        request: S3Request<dto::DeleteObjectsInput>,
    ) -> S3Result<S3Response<dto::DeleteObjectsOutput>> {
        let input = request.input;
        if input.delete.objects.is_empty() || input.delete.objects.len() > DELETES_MAX {
            return Err(S3Error::new(S3ErrorCode::MalformedXML));
        }
        self.on_bucket(input.bucket.clone()).await?;
        let mut deleted = Vec::new();
        let mut errors = Vec::new();
        for object in input.delete.objects {
            let (bucket, key) = (input.bucket.clone(), object.key.clone());
            let condition = match object.e_tag {
                Some(etag) => Condition::Etag(etag.into_value()),
                None => Condition::Always,
            };
            match self
                .0
                .run(move |store| store.delete(&bucket, &key, &condition))
                .await
            {
                Ok(()) => deleted.push(dto::DeletedObject {
                    key: Some(object.key),
                    ..Default::default()
                }),
                Err(fault) => {
                    let error = refusal(fault);
                    errors.push(dto::Error {
                        code: Some(error.code().as_str().to_owned()),
                        key: Some(object.key),
                        message: error.message().map(str::to_owned),
                        version_id: None,
                    });
                }
            }
        }
        let quiet = input.delete.quiet == Some(true);
        Ok(S3Response::new(dto::DeleteObjectsOutput {
            deleted: (!quiet).then_some(deleted),
            errors: (!errors.is_empty()).then_some(errors),
            request_charged: None,
        }))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<dto::CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::CreateMultipartUploadOutput>> {
        let input = request.input;
        let attributes = Attributes {
            content_type: input.content_type,
            cache_control: input.cache_control,
            content_disposition: input.content_disposition,
            content_encoding: stored_encoding(input.content_encoding),
            content_language: input.content_language,
            metadata: input.metadata.into_iter().flatten().collect(),
            checksums: Default::default(),
        };
        let (bucket, key) = (input.bucket.clone(), input.key.clone());
        let upload = self
            .0
            .run(move |store| store.begin_upload(&bucket, &key, &attributes))
            .await
            .map_err(refusal)?;
        Ok(S3Response::new(dto::CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(upload),
            checksum_algorithm: input.checksum_algorithm,
            checksum_type: input.checksum_type,
            ..Default::default()
        }))
    }

    async fn upload_part(
        &self,
        request: S3Request<dto::UploadPartInput>,
    ) -> S3Result<S3Response<dto::UploadPartOutput>> {
        let input = request.input;
        if !(1..=PARTS_MAX).contains(&input.part_number) {
            return Err(S3Error::with_message(
                S3ErrorCode::InvalidArgument,
                "Part number must be an integer between 1 and 10000, inclusive",
            ));
        }
        let trailing = request.trailing_headers;
        let (whole, mut checksums) =
            body::receive(&self.0, input.body, &request.headers, trailing.as_ref()).await?;
        let number = i64::from(input.part_number);
        let etag = self
            .0
            .run(move |store| {
                store.put_part(&input.bucket, &input.key, &input.upload_id, number, whole)
            })
            .await
            .map_err(refusal)?;
        Ok(S3Response::new(dto::UploadPartOutput {
            e_tag: Some(ETag::Strong(etag)),
            checksum_crc32: checksums.remove("crc32"),
            checksum_crc32c: checksums.remove("crc32c"),
            checksum_crc64nvme: checksums.remove("crc64nvme"),
            checksum_sha1: checksums.remove("sha1"),
            checksum_sha256: checksums.remove("sha256"),
            ..Default::default()
        }))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<dto::CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::CompleteMultipartUploadOutput>> {
        let input = request.input;
        let condition = condition(input.if_match, input.if_none_match)?;
        let parts = input
            .multipart_upload
            .and_then(|upload| upload.parts)
            .unwrap_or_default()
            .into_iter()
            .map(|part| {
                Some(PartName {
                    number: i64::from(part.part_number?),
                    etag: part.e_tag?.into_value(),
                })
            })
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| S3Error::new(S3ErrorCode::MalformedXML))?;
        let (bucket, key) = (input.bucket.clone(), input.key.clone());
        let etag = self
            .0
            .run(move |store| {
                store.complete_upload(&bucket, &key, &input.upload_id, &parts, &condition)
            })
            .await
            .map_err(refusal)?;
        Ok(S3Response::new(dto::CompleteMultipartUploadOutput {
            location: Some(format!("/{}/{}", input.bucket, input.key)),
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(ETag::Strong(etag)),
            ..Default::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<dto::AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::AbortMultipartUploadOutput>> {
        let input = request.input;
        self.0
            .run(move |store| store.abort_upload(&input.bucket, &input.key, &input.upload_id))
            .await
            .map_err(refusal)?;
        Ok(S3Response::with_status(
            dto::AbortMultipartUploadOutput::default(),
            http::StatusCode::NO_CONTENT,
        ))
    }
}

fn condition(
    if_match: Option<ETagCondition>,
    if_none_match: Option<ETagCondition>,
) -> S3Result<Condition> {
    match (if_match, if_none_match) {
        (None, None) => Ok(Condition::Always),
        (None, Some(ETagCondition::Any)) => Ok(Condition::Absent),
        (Some(ETagCondition::Any), None) => Ok(Condition::Present),
        (Some(ETagCondition::ETag(etag)), None) => Ok(Condition::Etag(etag.into_value())),
        _ => Err(S3Error::with_message(
            S3ErrorCode::NotImplemented,
            "A header you provided implies functionality that is not implemented",
        )),
    }
}

/// `aws-chunked` says how the body came, not what it is.
fn stored_encoding(given: Option<String>) -> Option<String> {
    let kept: Vec<&str> = given
        .as_deref()?
        .split(',')
        .map(str::trim)
        .filter(|encoding| !encoding.is_empty() && *encoding != "aws-chunked")
        .collect();
    (!kept.is_empty()).then(|| kept.join(","))
}
