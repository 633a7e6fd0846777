//! Listing objects, page by page.

use std::borrow::Cow;

use aws_sdk_s3::types::{EncodingType, Object};
use percent_encoding::percent_decode_str;

use super::{AwsBucket, timestamp, unquoted};
use crate::mesh::Error;
use crate::mesh::store::bucket::{ObjectPage, ObjectSummary};
use crate::mesh::store::key::ObjectPrefix;
use crate::outbound::aws::error::{Part, fault};

/// The most keys and common prefixes of one page.
const LIMIT_MAX: u32 = 1000;

/// A page; see the seam. Keys travel percent-encoded, since XML cannot carry every character.
pub(super) async fn list(
    bucket: &AwsBucket,
    prefix: &ObjectPrefix,
    delimiter: Option<&str>,
    limit: u32,
    token: Option<&str>,
) -> Result<ObjectPage, Error> {
    let target = bucket.target(Some(prefix.tenant())).await?;
    let answer = target
        .client
        .list_objects_v2()
        .bucket(target.bucket)
        .expected_bucket_owner(target.owner)
        .prefix(prefix.full())
        .set_delimiter(delimiter.map(str::to_owned))
        .max_keys(i32::try_from(limit.clamp(1, LIMIT_MAX)).unwrap_or(1))
        .set_continuation_token(token.map(str::to_owned))
        .encoding_type(EncodingType::Url)
        .send()
        .await
        .map_err(|error| fault(Part::Bucket, error))?;
    let is_encoded = answer.encoding_type == Some(EncodingType::Url);
    let relative = |text: &str| {
        let key = if is_encoded {
            decoded(text)
        } else {
            Cow::Borrowed(text)
        };
        key.strip_prefix(prefix.root()).map(str::to_owned)
    };
    let objects = answer
        .contents
        .unwrap_or_default()
        .iter()
        .filter_map(|object| Some((relative(object.key.as_deref()?)?, summary(object))))
        .collect();
    let common_prefixes = answer
        .common_prefixes
        .unwrap_or_default()
        .iter()
        .filter_map(|common| relative(common.prefix.as_deref()?))
        .collect();
    Ok(ObjectPage {
        objects,
        common_prefixes,
        next: answer.next_continuation_token,
    })
}

fn summary(object: &Object) -> ObjectSummary {
    ObjectSummary {
        size: object.size.unwrap_or_default().unsigned_abs(),
        etag: unquoted(object.e_tag.as_deref()),
        last_modified: timestamp(object.last_modified.as_ref()),
    }
}

/// The key that S3 sent as `text`: it writes a space as `+`, and `+` as `%2B`.
fn decoded(text: &str) -> Cow<'_, str> {
    let spaced = text.replace('+', " ");
    Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_decoded_once() {
        assert_eq!(decoded("a+b%2Bc"), "a b+c");
        assert_eq!(decoded("100%2525"), "100%25");
        assert_eq!(decoded("gr%C3%BC%C3%9Fe/%F0%9F%A6%80"), "grüße/🦀");
    }
}
