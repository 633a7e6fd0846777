//! Reading objects: whole, in ranges, under conditions, and what is known of them.

use bytes::Bytes;
use s3s::dto::{self, ETag, ETagCondition};
use s3s::{S3Error, S3ErrorCode, S3Result};

use super::body::{self, read_on};
use super::refusal;
use super::service::Bucket;
use crate::mesh::Timestamp;
use crate::outbound::embedded::objects::{Entry, Piece};

impl Bucket {
    /// GetObject.
    pub(super) async fn get(&self, input: dto::GetObjectInput) -> S3Result<dto::GetObjectOutput> {
        let wanted = Wanted {
            range: input.range,
            if_match: input.if_match,
            if_none_match: input.if_none_match,
        };
        let (entry, part, first, pieces) = self.read(input.bucket, input.key, wanted).await?;
        let length = part
            .as_ref()
            .map_or(entry.size, |part| part.end - part.start);
        let mut checksums = entry.attributes.checksums;
        if part.is_some() || input.checksum_mode.is_none() {
            // They are checksums of the whole object.
            checksums.clear();
        }
        Ok(dto::GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            body: Some(body::send(&self.0, first, pieces)),
            content_length: i64::try_from(length).ok(),
            content_range: part
                .map(|part| format!("bytes {}-{}/{}", part.start, part.end - 1, entry.size)),
            e_tag: Some(ETag::Strong(entry.etag)),
            last_modified: Some(moment(entry.modified)),
            content_type: Some(media_type(entry.attributes.content_type)),
            cache_control: entry.attributes.cache_control,
            content_disposition: entry.attributes.content_disposition,
            content_encoding: entry.attributes.content_encoding,
            content_language: entry.attributes.content_language,
            metadata: Some(entry.attributes.metadata.into_iter().collect()),
            checksum_crc32: checksums.remove("crc32"),
            checksum_crc32c: checksums.remove("crc32c"),
            checksum_crc64nvme: checksums.remove("crc64nvme"),
            checksum_sha1: checksums.remove("sha1"),
            checksum_sha256: checksums.remove("sha256"),
            ..Default::default()
        })
    }

    /// HeadObject.
    pub(super) async fn head(
        &self,
        input: dto::HeadObjectInput,
    ) -> S3Result<dto::HeadObjectOutput> {
        let wanted = Wanted {
            range: None,
            if_match: input.if_match,
            if_none_match: input.if_none_match,
        };
        let entry = self
            .0
            .run(move |store| store.head(&input.bucket, &input.key))
            .await
            .map_err(refusal)?;
        wanted.bytes_of(&entry)?;
        let mut checksums = entry.attributes.checksums;
        if input.checksum_mode.is_none() {
            checksums.clear();
        }
        Ok(dto::HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: i64::try_from(entry.size).ok(),
            e_tag: Some(ETag::Strong(entry.etag)),
            last_modified: Some(moment(entry.modified)),
            content_type: Some(media_type(entry.attributes.content_type)),
            cache_control: entry.attributes.cache_control,
            content_disposition: entry.attributes.content_disposition,
            content_encoding: entry.attributes.content_encoding,
            content_language: entry.attributes.content_language,
            metadata: Some(entry.attributes.metadata.into_iter().collect()),
            checksum_crc32: checksums.remove("crc32"),
            checksum_crc32c: checksums.remove("crc32c"),
            checksum_crc64nvme: checksums.remove("crc64nvme"),
            checksum_sha1: checksums.remove("sha1"),
            checksum_sha256: checksums.remove("sha256"),
            ..Default::default()
        })
    }

    async fn read(
        &self,
        bucket: String,
        key: String,
        wanted: Wanted,
    ) -> S3Result<(Entry, Option<std::ops::Range<u64>>, Bytes, Vec<Piece>)> {
        self.0
            .run(move |store| {
                let read = store.read(&bucket, &key, |entry| wanted.bytes_of(entry))?;
                let (entry, pieces) = match read {
                    Ok(read) => read,
                    Err(refused) => return Ok(Err(refused)),
                };
                let part = wanted.range.and_then(|range| range.check(entry.size).ok());
                // Most objects are read whole right here.
                let (first, pieces) = read_on(pieces)?;
                let (second, pieces) = match pieces.len() {
                    0 => (None, pieces),
                    _ => read_on(pieces)?,
                };
                let mut first = first.unwrap_or_default();
                if let Some(second) = second {
                    first = [first, second].concat().into();
                }
                Ok(Ok((entry, part, first, pieces)))
            })
            .await
            .map_err(refusal)?
    }
}

/// Which bytes of an object are wanted, and under which condition.
#[derive(Clone, Default)]
struct Wanted {
    range: Option<dto::Range>,
    if_match: Option<ETagCondition>,
    if_none_match: Option<ETagCondition>,
}

impl Wanted {
    fn bytes_of(&self, entry: &Entry) -> S3Result<std::ops::Range<u64>> {
        if self
            .if_match
            .as_ref()
            .is_some_and(|etag| !fits(etag, entry))
        {
            return Err(S3Error::new(S3ErrorCode::PreconditionFailed));
        }
        if self
            .if_none_match
            .as_ref()
            .is_some_and(|etag| fits(etag, entry))
        {
            return Err(S3Error::new(S3ErrorCode::NotModified));
        }
        match self.range {
            None => Ok(0..entry.size),
            Some(range) => range.check(entry.size).map_err(|_| {
                S3Error::with_message(
                    S3ErrorCode::InvalidRange,
                    "The requested range is not satisfiable",
                )
            }),
        }
    }
}

fn fits(condition: &ETagCondition, entry: &Entry) -> bool {
    condition
        .as_etag()
        .is_none_or(|etag| etag.value() == entry.etag)
}

/// A moment as the protocol library has it.
pub(super) fn moment(time: Timestamp) -> dto::Timestamp {
    let since = std::time::Duration::from_millis(time.as_millis().max(0).unsigned_abs());
    (std::time::UNIX_EPOCH + since).into()
}

fn media_type(stored: Option<String>) -> String {
    stored.unwrap_or_else(|| "binary/octet-stream".to_owned())
}
