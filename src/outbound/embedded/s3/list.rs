//! Listings of keys.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::{self, ETag};
use s3s::{S3Error, S3ErrorCode, S3Result};

use super::read::moment;
use super::refusal;
use super::service::Bucket;
use crate::outbound::embedded::objects::Asked;

/// What `encoding-type=url` leaves as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/');

impl Bucket {
    /// ListObjectsV2.
    pub(super) async fn list(
        &self,
        input: dto::ListObjectsV2Input,
    ) -> S3Result<dto::ListObjectsV2Output> {
        let max_keys = input.max_keys.unwrap_or(1000);
        let most = usize::try_from(max_keys).map_err(|_| {
            S3Error::with_message(S3ErrorCode::InvalidArgument, "max-keys is negative")
        })?;
        let asked = Asked {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone().unwrap_or_default(),
            after: input.start_after.clone(),
            token: input.continuation_token.clone(),
            most,
        };
        let bucket = input.bucket.clone();
        let page = self
            .0
            .run(move |store| store.list(&bucket, &asked))
            .await
            .map_err(refusal)?;
        let encode = encoder(input.encoding_type.as_ref());
        let count = page.objects.len() + page.prefixes.len();
        let contents = page.objects.into_iter().map(|object| dto::Object {
            key: Some(encode(&object.key)),
            size: Some(object.size),
            e_tag: Some(ETag::Strong(object.etag)),
            last_modified: Some(moment(object.modified)),
            storage_class: Some(dto::ObjectStorageClass::from_static(
                dto::ObjectStorageClass::STANDARD,
            )),
            ..Default::default()
        });
        let prefixes = page.prefixes.iter().map(|prefix| dto::CommonPrefix {
            prefix: Some(encode(prefix)),
        });
        Ok(dto::ListObjectsV2Output {
            contents: Some(contents.collect()),
            common_prefixes: Some(prefixes.collect()),
            name: Some(input.bucket),
            prefix: Some(encode(input.prefix.as_deref().unwrap_or_default())),
            delimiter: input.delimiter.as_deref().map(&encode),
            start_after: input.start_after.as_deref().map(&encode),
            max_keys: Some(max_keys.min(1000)),
            key_count: i32::try_from(count).ok(),
            continuation_token: input.continuation_token,
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next,
            encoding_type: input.encoding_type,
            request_charged: None,
        })
    }
}

fn encoder(asked: Option<&dto::EncodingType>) -> impl Fn(&str) -> String + use<> {
    let url = asked.is_some_and(|asked| asked.as_str() == dto::EncodingType::URL);
    move |text| {
        if url {
            utf8_percent_encode(text, PLAIN).to_string()
        } else {
            text.to_owned()
        }
    }
}
