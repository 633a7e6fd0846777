//! Answers in the form that the SDKs read.

use std::sync::atomic::{AtomicU64, Ordering};

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body_util::Full;
use serde_json::json;

use super::faults::Service;
use super::folder::Cause;

/// The error code of every service when the disk is full. Its status is 507, which no SDK retries.
pub const STORAGE_FULL_CODE: &str = "EmbeddedStorageFull";

/// The error code of every service when nothing may be written. Its status is 507, which no SDK retries.
pub const STORAGE_READ_ONLY_CODE: &str = "EmbeddedStorageReadOnly";

/// The error code of the secret store when its key cannot be used; the message says why. Nothing was done.
pub const SECRETS_KEY_CODE: &str = "EmbeddedSecretsKey";

/// The error code of the secret store for a secret that cannot be opened; the message says why.
pub const SECRET_DAMAGED_CODE: &str = "EmbeddedSecretDamaged";

/// The status for a disk that cannot take more.
pub(super) const INSUFFICIENT_STORAGE: u16 = 507;

/// The media type of DynamoDB's and Step Functions' answers.
pub(super) const JSON_1_0: &str = "application/x-amz-json-1.0";

/// The media type of EventBridge's and Secrets Manager's answers.
pub(super) const JSON_1_1: &str = "application/x-amz-json-1.1";

/// The media type of the answers of S3, SNS and STS.
pub(super) const XML: &str = "text/xml";

/// An answer before it has headers.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// An answer of status 200.
    pub(super) fn ok(content_type: &'static str, body: Vec<u8>) -> Self {
        Self {
            status: 200,
            content_type,
            body,
        }
    }

    /// An error of a service that speaks JSON.
    pub(super) fn json_error(
        content_type: &'static str,
        status: u16,
        code: &str,
        message: &str,
    ) -> Self {
        Self {
            status,
            content_type,
            body: json!({"__type": code, "message": message})
                .to_string()
                .into_bytes(),
        }
    }

    /// An error of a service that speaks XML; STS and SNS wrap it, S3 does not.
    pub(super) fn xml_error(service: Service, status: u16, code: &str, message: &str) -> Self {
        let id = request_id();
        let error = format!("<Code>{code}</Code><Message>{message}</Message>");
        let namespace = match service {
            Service::Sts => Some("https://sts.amazonaws.com/doc/2011-06-15/"),
            Service::Sns => Some("http://sns.amazonaws.com/doc/2010-03-31/"),
            Service::DynamoDb
            | Service::S3
            | Service::EventBridge
            | Service::States
            | Service::Secrets => None,
        };
        let body = match namespace {
            Some(namespace) => format!(
                "<ErrorResponse xmlns=\"{namespace}\"><Error><Type>Sender</Type>{error}</Error><RequestId>{id}</RequestId></ErrorResponse>"
            ),
            None => format!("<Error>{error}<RequestId>{id}</RequestId></Error>"),
        };
        Self {
            status,
            content_type: XML,
            body: body.into_bytes(),
        }
    }

    /// The service's own answer to a caller who is too fast.
    pub(super) fn throttled(service: Service) -> Self {
        let message = "Rate exceeded";
        match service {
            Service::DynamoDb => Self::json_error(
                JSON_1_0,
                400,
                "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
                message,
            ),
            Service::EventBridge | Service::Secrets => {
                Self::json_error(JSON_1_1, 400, "ThrottlingException", message)
            }
            Service::States => Self::json_error(JSON_1_0, 400, "ThrottlingException", message),
            Service::S3 => {
                Self::xml_error(service, 503, "SlowDown", "Please reduce your request rate.")
            }
            Service::Sns => Self::xml_error(service, 429, "Throttled", message),
            Service::Sts => Self::xml_error(service, 400, "Throttling", message),
        }
    }

    /// The service's own answer to a fault of its own.
    pub(super) fn server_error(service: Service) -> Self {
        let message = "We encountered an internal error. Please try again.";
        match service {
            Service::DynamoDb => Self::json_error(
                JSON_1_0,
                500,
                "com.amazonaws.dynamodb.v20120810#InternalServerError",
                message,
            ),
            Service::EventBridge => Self::json_error(JSON_1_1, 500, "InternalException", message),
            Service::Secrets => Self::json_error(JSON_1_1, 500, "InternalServiceError", message),
            Service::States => Self::json_error(JSON_1_0, 500, "InternalServerError", message),
            Service::S3 => Self::xml_error(service, 500, "InternalError", message),
            Service::Sns => Self::xml_error(service, 500, "InternalError", message),
            Service::Sts => Self::xml_error(service, 500, "InternalFailure", message),
        }
    }

    /// The answer as the SDK takes it.
    pub(super) fn into_response(mut self) -> HttpResponse {
        let body = SdkBody::from(std::mem::take(&mut self.body));
        self.with_body(body)
    }

    /// The answer as the SDK takes it and does not log it: a body that is a stream has nothing to show.
    pub(super) fn into_unshown_response(mut self) -> HttpResponse {
        let body = Full::new(Bytes::from(std::mem::take(&mut self.body)));
        self.with_body(SdkBody::from_body_1_x(body))
    }

    fn with_body(self, body: SdkBody) -> HttpResponse {
        let status =
            StatusCode::try_from(self.status).unwrap_or(StatusCode::from(http::StatusCode::OK));
        let mut response = HttpResponse::new(status, body);
        let headers = response.headers_mut();
        headers.insert("content-type", self.content_type);
        headers.insert("x-amzn-requestid", request_id());
        response
    }
}

/// The code and the message for a disk that refuses, or none where it is not the disk's state.
pub(super) fn storage_code(cause: Cause) -> Option<(&'static str, &'static str)> {
    match cause {
        Cause::Full => Some((STORAGE_FULL_CODE, "The disk under the data folder is full.")),
        Cause::ReadOnly => Some((STORAGE_READ_ONLY_CODE, "The data folder cannot be written.")),
        Cause::Busy | Cause::Other => None,
    }
}

/// An id for the next request, unique in this process, which is where it is looked for.
pub(super) fn request_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("EMBEDDED{:012}", NEXT.fetch_add(1, Ordering::Relaxed))
}
