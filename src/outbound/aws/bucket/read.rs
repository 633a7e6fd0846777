//! Reading objects, whole or in ranges.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::{GetObjectError, GetObjectOutput};
use aws_sdk_s3::primitives::ByteStream;
use bytes::{Bytes, BytesMut};

use super::{AwsBucket, Target, metadata, status, timestamp, unquoted};
use crate::mesh::store::bucket::{ByteRange, GetOutcome, Object, ObjectHead};
use crate::mesh::store::key::ObjectKey;
use crate::mesh::{Error, ErrorKind};
use crate::outbound::aws::error::{Part, fault};

/// What is read at most of an object; see the seam. A range is asked for always, so that never more than
/// that travels.
pub(super) async fn get(
    bucket: &AwsBucket,
    key: &ObjectKey,
    range: Option<ByteRange>,
    bytes_max: u64,
) -> Result<GetOutcome, Error> {
    let target = bucket.target(Some(key.tenant())).await?;
    if bytes_max == 0 {
        return Ok(match head(&target, key).await? {
            Some((head, _)) => empty(head),
            None => GetOutcome::Absent,
        });
    }
    let (first, last) = match range {
        None => (0, bytes_max - 1),
        Some(ByteRange::From(first, last)) => {
            if last.is_some_and(|last| last < first) {
                // S3 would ignore such a range and send the whole object.
                return Ok(GetOutcome::OutOfRange(None));
            }
            let cut = first.saturating_add(bytes_max - 1);
            (first, last.map_or(cut, |last| last.min(cut)))
        }
        Some(ByteRange::Suffix(length)) => match head(&target, key).await? {
            None => return Ok(GetOutcome::Absent),
            Some((head, _)) if length == 0 || head.size == 0 => {
                return Ok(GetOutcome::OutOfRange(Some(head.size)));
            }
            Some((head, _)) => {
                let first = head.size.saturating_sub(length);
                (first, first.saturating_add(length.min(bytes_max) - 1))
            }
        },
    };
    let timeouts = bucket.connection.transfer_timeouts();
    let answer = target
        .client
        .get_object()
        .bucket(target.bucket)
        .expected_bucket_owner(target.owner)
        .key(key.key())
        .range(format!("bytes={first}-{last}"))
        .customize()
        .config_override(aws_sdk_s3::config::Builder::new().timeout_config(timeouts))
        .send()
        .await;
    match answer {
        Ok(answer) => {
            let limit = bucket.connection.settings().timeouts.transfer_operation;
            let object = tokio::time::timeout(limit, object(answer, bytes_max));
            let object = object.await.map_err(|_| {
                Error::new(ErrorKind::Timeout, "the artifact did not arrive in time")
                    .fix("read it in smaller ranges")
            })?;
            object.map(GetOutcome::Found)
        }
        Err(error) => not_got(&target, key, range, error).await,
    }
}

/// What an answer that is no object says.
async fn not_got(
    target: &Target<'_>,
    key: &ObjectKey,
    range: Option<ByteRange>,
    error: SdkError<GetObjectError>,
) -> Result<GetOutcome, Error> {
    let code = error
        .as_service_error()
        .and_then(ProvideErrorMetadata::code);
    if matches!(error.as_service_error(), Some(GetObjectError::NoSuchKey(_)))
        || (status(&error) == Some(404) && code != Some("NoSuchBucket"))
    {
        return Ok(GetOutcome::Absent);
    }
    if status(&error) != Some(416) {
        return Err(fault(Part::Bucket, error));
    }
    // The answer names the size in prose only. An empty object has no range at all.
    Ok(match (head(target, key).await?, range) {
        (None, _) => GetOutcome::Absent,
        (Some((head, _)), None) if head.size == 0 => empty(head),
        (Some((head, _)), _) => GetOutcome::OutOfRange(Some(head.size)),
    })
}

fn empty(head: ObjectHead) -> GetOutcome {
    GetOutcome::Found(Object {
        head,
        body: Bytes::new(),
        offset: 0,
    })
}

async fn object(answer: GetObjectOutput, bytes_max: u64) -> Result<Object, Error> {
    let (metadata, write_id) = metadata::decode(answer.metadata);
    let length = answer.content_length.unwrap_or_default().unsigned_abs();
    let (offset, size) = answer
        .content_range
        .as_deref()
        .and_then(content_range)
        .unwrap_or((0, length));
    let head = ObjectHead {
        size,
        etag: unquoted(answer.e_tag.as_deref()),
        last_modified: timestamp(answer.last_modified.as_ref()),
        content_type: content_type(answer.content_type),
        metadata,
        upload: metadata::upload_id(write_id.as_deref()),
    };
    Ok(Object {
        head,
        body: collect(answer.body, bytes_max).await?,
        offset,
    })
}

/// The bytes of `body`, and no more than `bytes_max` even of an answer that ignored the range.
async fn collect(mut body: ByteStream, bytes_max: u64) -> Result<Bytes, Error> {
    let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    let mut collected = BytesMut::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| {
            Error::new(
                ErrorKind::AwsUnavailable,
                "the artifact broke off on its way",
            )
            .fix("try again")
            .caused_by(error)
        })?;
        let room = bytes_max - collected.len();
        collected.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if collected.len() >= bytes_max {
            break;
        }
    }
    Ok(collected.freeze())
}

/// First position and whole size in `bytes 0-9/100`.
fn content_range(text: &str) -> Option<(u64, u64)> {
    let (positions, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = positions.split_once('-')?;
    Some((first.parse().ok()?, size.parse().ok()?))
}

/// What is known of the object under `key`, and the id of the write that left it.
pub(super) async fn head(
    target: &Target<'_>,
    key: &ObjectKey,
) -> Result<Option<(ObjectHead, Option<String>)>, Error> {
    let answer = target
        .client
        .head_object()
        .bucket(target.bucket)
        .expected_bucket_owner(target.owner)
        .key(key.key())
        .send()
        .await;
    match answer {
        Ok(answer) => {
            let (metadata, write_id) = metadata::decode(answer.metadata);
            let head = ObjectHead {
                size: answer.content_length.unwrap_or_default().unsigned_abs(),
                etag: unquoted(answer.e_tag.as_deref()),
                last_modified: timestamp(answer.last_modified.as_ref()),
                content_type: content_type(answer.content_type),
                metadata,
                upload: metadata::upload_id(write_id.as_deref()),
            };
            Ok(Some((head, write_id)))
        }
        // A bucket that is not there looks the same here; the next request of another kind tells.
        Err(error) if status(&error) == Some(404) => Ok(None),
        Err(error) => Err(fault(Part::Bucket, error)),
    }
}

fn content_type(given: Option<String>) -> String {
    given.unwrap_or_else(|| "application/octet-stream".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_range_names_the_first_position_and_the_size() {
        assert_eq!(content_range("bytes 5-9/100"), Some((5, 100)));
        assert_eq!(content_range("bytes */100"), None);
        assert_eq!(content_range("5-9/100"), None);
    }

    #[tokio::test]
    async fn an_answer_that_ignores_the_range_is_cut() {
        let body = || ByteStream::from_static(b"0123456789");
        assert_eq!(collect(body(), 4).await.unwrap(), "0123");
        assert_eq!(collect(body(), 10).await.unwrap(), "0123456789");
        assert_eq!(collect(body(), 11).await.unwrap(), "0123456789");
    }
}
