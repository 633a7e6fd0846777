//! The bucket's protocol: requests of the SDK to the S3 protocol library and back.

mod body;
mod list;
mod read;
mod service;

use std::sync::Arc;

use async_trait::async_trait;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use http::HeaderValue;
use http::header::HOST;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3Error, S3ErrorCode, S3Result};
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

use super::faults::Service;
use super::folder::Cause;
use super::objects::{Fault, ObjectStore};
use super::wire::{Answer, INSUFFICIENT_STORAGE, storage_code};
use super::{ACCESS_KEY_ID, ACCOUNT, SECRET_ACCESS_KEY};
use service::Bucket;

/// The protocol library over our store.
pub(super) fn service(store: Arc<ObjectStore>) -> S3Service {
    let mut builder = S3ServiceBuilder::new(Bucket::new(store));
    // Signatures protect nothing here, but with them go the forms of bodies that the library takes
    // apart only for signed requests.
    builder.set_auth(SimpleAuth::from_single(ACCESS_KEY_ID, SECRET_ACCESS_KEY));
    builder.set_access(OwnerOnly);
    builder.build()
}

/// Answers one request of the SDK.
pub(super) async fn answer(
    service: &S3Service,
    request: HttpRequest,
) -> Result<HttpResponse, ConnectorError> {
    let mut request = request
        .try_into_http1x()
        .map_err(|error| ConnectorError::user(error.into()))?;
    if !request.headers().contains_key(HOST) {
        // The signature covers it, and usually the HTTP library would have filled it in.
        let host = request
            .uri()
            .authority()
            .and_then(|authority| HeaderValue::from_str(authority.as_str()).ok())
            .ok_or_else(|| ConnectorError::user("the request names no host".into()))?;
        request.headers_mut().insert(HOST, host);
    }
    let is_head = request.method() == http::Method::HEAD;
    let request = request.map(s3s::Body::http_body);
    // The library logs every key that is not there as an error, and requests whole.
    let called = service.call(request).with_subscriber(NoSubscriber::new());
    let Ok(response) = called.await else {
        return Ok(Answer::server_error(Service::S3).into_response());
    };
    response
        .map(|body| match body.bytes() {
            // No body comes with the answer to HEAD, not even an error's, and the SDK counts on it.
            _ if is_head => SdkBody::empty(),
            Some(bytes) => SdkBody::from(bytes),
            None => SdkBody::from_body_1_x(body),
        })
        .try_into()
        .map_err(|error: aws_smithy_runtime_api::http::HttpError| {
            ConnectorError::user(error.into())
        })
}

/// What S3 calls the operation of a request; the empty name where it is none of ours.
pub(super) fn operation(request: &HttpRequest) -> &'static str {
    let uri = request.uri();
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut segments = path.splitn(3, '/').skip(1).filter(|name| !name.is_empty());
    let has = |name: &str| {
        query
            .split('&')
            .any(|pair| pair.split('=').next() == Some(name))
    };
    let level = segments.by_ref().count();
    match (level, request.method()) {
        (0, "GET") => "ListBuckets",
        (1, "HEAD") => "HeadBucket",
        (1, "GET") if has("list-type") => "ListObjectsV2",
        (1, "GET") if has("location") => "GetBucketLocation",
        (1, "POST") if has("delete") => "DeleteObjects",
        (1, "PUT") if query.is_empty() => "CreateBucket",
        (2, "HEAD") => "HeadObject",
        (2, "GET") => "GetObject",
        (2, "PUT") if has("partNumber") => "UploadPart",
        (2, "PUT") => "PutObject",
        (2, "POST") if has("uploads") => "CreateMultipartUpload",
        (2, "POST") if has("uploadId") => "CompleteMultipartUpload",
        (2, "DELETE") if has("uploadId") => "AbortMultipartUpload",
        (2, "DELETE") => "DeleteObject",
        _ => "",
    }
}

/// Refuses who expects the bucket to be another account's.
struct OwnerOnly;

#[async_trait]
impl S3Access for OwnerOnly {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        match context.headers().get("x-amz-expected-bucket-owner") {
            Some(owner) if owner.as_bytes() != ACCOUNT.as_bytes() => Err(S3Error::with_message(
                S3ErrorCode::AccessDenied,
                "The bucket is another account's.",
            )),
            _ => Ok(()),
        }
    }
}

/// S3's own words for a fault.
fn refusal(fault: Fault) -> S3Error {
    let (code, message) = match fault {
        Fault::NoSuchBucket => (
            S3ErrorCode::NoSuchBucket,
            "The specified bucket does not exist",
        ),
        Fault::NoSuchKey => (S3ErrorCode::NoSuchKey, "The specified key does not exist."),
        Fault::NoSuchUpload => (
            S3ErrorCode::NoSuchUpload,
            "The specified upload does not exist.",
        ),
        Fault::Precondition => (
            S3ErrorCode::PreconditionFailed,
            "At least one of the pre-conditions you specified did not hold",
        ),
        Fault::InvalidPart => (
            S3ErrorCode::InvalidPart,
            "One or more of the specified parts could not be found.",
        ),
        Fault::PartOrder => (
            S3ErrorCode::InvalidPartOrder,
            "The list of parts was not in ascending order.",
        ),
        Fault::PartTooSmall => (
            S3ErrorCode::EntityTooSmall,
            "Your proposed upload is smaller than the minimum allowed size",
        ),
        Fault::InvalidToken => (
            S3ErrorCode::InvalidArgument,
            "The continuation token provided is incorrect",
        ),
        Fault::Damaged => (
            S3ErrorCode::InternalError,
            "The bytes of the object are damaged, as a power cut may do.",
        ),
        Fault::Storage(failure) => return storage_refusal(failure.cause),
    };
    S3Error::with_message(code, message)
}

fn storage_refusal(cause: Cause) -> S3Error {
    if let Some((code, message)) = storage_code(cause) {
        let mut error = S3Error::with_message(S3ErrorCode::Custom(code.into()), message);
        if let Ok(status) = http::StatusCode::from_u16(INSUFFICIENT_STORAGE) {
            error.set_status_code(status);
        }
        return error;
    }
    match cause {
        Cause::Busy => S3Error::with_message(
            S3ErrorCode::ServiceUnavailable,
            "Another process holds the data folder.",
        ),
        _ => S3Error::with_message(
            S3ErrorCode::InternalError,
            "We encountered an internal error. Please try again.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_told_by_method_and_query() {
        for (method, uri, expected) in [
            ("GET", "https://s3.x.com/", "ListBuckets"),
            ("HEAD", "https://s3.x.com/b", "HeadBucket"),
            ("HEAD", "https://s3.x.com/b/", "HeadBucket"),
            (
                "GET",
                "https://s3.x.com/b?list-type=2&prefix=a",
                "ListObjectsV2",
            ),
            ("PUT", "https://s3.x.com/b", "CreateBucket"),
            ("PUT", "https://s3.x.com/b?versioning", ""),
            (
                "PUT",
                "https://s3.x.com/b/a/../c?x-id=PutObject",
                "PutObject",
            ),
            ("PUT", "https://s3.x.com/b//c?x-id=PutObject", "PutObject"),
            (
                "PUT",
                "https://s3.x.com/b/k?partNumber=1&uploadId=2",
                "UploadPart",
            ),
            (
                "POST",
                "https://s3.x.com/b/k?uploads",
                "CreateMultipartUpload",
            ),
            (
                "DELETE",
                "https://s3.x.com/b/k?x-id=DeleteObject",
                "DeleteObject",
            ),
        ] {
            let mut request = HttpRequest::new(SdkBody::empty());
            request.set_method(method).unwrap();
            request.set_uri(uri).unwrap();
            assert_eq!(operation(&request), expected, "{method} {uri}");
        }
    }
}
