//! SDK errors to kinds: the only place that knows what AWS calls its faults.

mod automation;
mod secrets;

use std::error::Error as StdError;
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::credentials::{CredentialsFault, Reason, is_refusal};
use crate::mesh::{Error, ErrorKind};
use crate::outbound::embedded::{STORAGE_FULL_CODE, STORAGE_READ_ONLY_CODE};

/// The part of AWS that a call was made to, in the caller's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The table.
    Table,
    /// The bucket.
    Bucket,
    /// The bus.
    Bus,
    /// Step Functions.
    States,
    /// SNS.
    Topics,
    /// Secrets Manager.
    Secrets,
    /// Who the credentials are.
    Identity,
}

impl Part {
    const fn name(self) -> &'static str {
        match self {
            Self::Table => "the table",
            Self::Bucket => "the bucket",
            Self::Bus => "the event bus",
            Self::States => "the workflow service",
            Self::Topics => "the notification service",
            Self::Secrets => "the secret store",
            Self::Identity => "the AWS sign-in service",
        }
    }
}

const DOCTOR: &str = "the operator can run `use_aws_mcp doctor` to see what is wrong";
const INIT: &str = "the operator can run `use_aws_mcp init aws` to create what is missing";

/// How long to wait after a throttle where AWS does not say: as long as the SDK's own longest pause.
const THROTTLE_WAIT: Duration = Duration::from_secs(2);

/// Codes that say "too fast".
pub(super) const THROTTLES: [&str; 18] = [
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequestsException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "LimitExceededException",
    "BandwidthLimitExceeded",
    "SlowDown",
    "PriorRequestNotComplete",
    "TransactionInProgressException",
    "ThrottledRequest",
    "Throttled",
    "KMSThrottling",
    "KmsThrottlingException",
    "ExecutionLimitExceeded",
];

/// Codes of faults, by their status the service's own, that say that nothing was done: throttles of S3, and
/// a disk of the embedded cloud that takes nothing.
pub(super) const IDLE_FAULTS: [&str; 4] = [
    "SlowDown",
    "BandwidthLimitExceeded",
    STORAGE_FULL_CODE,
    STORAGE_READ_ONLY_CODE,
];

/// Codes of AWS's own faults, whatever their status.
const FAULTS: [&str; 11] = [
    "InternalFailure",
    "InternalException",
    "InternalError",
    "InternalServerError",
    "InternalServiceError",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "RequestTimeout",
    "RequestTimeoutException",
    "OperationAborted",
    "ConcurrentAccess",
];

/// Codes that say that the role lacks a permission, or that the bucket is another account's.
const DENIALS: [&str; 10] = [
    "AccessDenied",
    "AccessDeniedException",
    "AllAccessDisabled",
    "AccountProblem",
    "NotAuthorizedException",
    "NotAuthorizedForSourceException",
    "UnauthorizedOperation",
    "AuthorizationError",
    "KMSAccessDenied",
    "KmsAccessDeniedException",
];

/// Codes that say that the table, the bucket or the bus is not there.
const ABSENCES: [&str; 3] = [
    "ResourceNotFoundException",
    "NoSuchBucket",
    "TableNotFoundException",
];

/// Codes that say that the bucket lies in another region.
const REDIRECTS: [&str; 4] = [
    "PermanentRedirect",
    "Redirect",
    "TemporaryRedirect",
    "AuthorizationHeaderMalformed",
];

/// Codes that say that something is too large.
const EXCESSES: [&str; 4] = [
    "EntityTooLarge",
    "MetadataTooLarge",
    "ItemCollectionSizeLimitExceededException",
    "KeyTooLongError",
];

pub(super) use automation::express;

/// The failure of a call to `part`, for callers and for the log.
pub(super) fn fault<E>(part: Part, error: SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    if let Some(fault) = in_chain::<CredentialsFault>(&error) {
        return credentials(fault).caused_by(error);
    }
    let told = match &error {
        SdkError::TimeoutError(_) => Error::new(
            ErrorKind::Timeout,
            format!("{} did not answer in time", capital(part)),
        )
        .fix("try again"),
        SdkError::DispatchFailure(_) => Error::new(
            ErrorKind::AwsUnavailable,
            format!("{} could not be reached", capital(part)),
        )
        .fix(format!("try again; if it stays so, {DOCTOR}")),
        SdkError::ResponseError(_) => Error::new(
            ErrorKind::AwsUnavailable,
            format!("{} gave an answer that cannot be read", capital(part)),
        )
        .fix("try again"),
        SdkError::ServiceError(service) => {
            let raw = service.raw();
            let code = service.err().code().unwrap_or("");
            of_code(
                part,
                code,
                service.err().message().unwrap_or(""),
                raw.status().as_u16(),
                retry_after(raw),
            )
        }
        _ => Error::internal(format!("a request to {} could not be made", part.name())),
    };
    told.caused_by(error)
}

/// The failure that `code` stands for.
pub(super) fn of_code(
    part: Part,
    code: &str,
    message: &str,
    status: u16,
    retry_after: Option<Duration>,
) -> Error {
    let own = match part {
        Part::States => automation::of_states(code, message),
        Part::Topics => automation::of_topics(code, message),
        Part::Secrets => secrets::of_secrets(code, message),
        Part::Table | Part::Bucket | Part::Bus | Part::Identity => None,
    };
    own.unwrap_or_else(|| of_any(part, code, message, status, retry_after))
}

/// The failure that `code` stands for, whichever service says it.
fn of_any(
    part: Part,
    code: &str,
    message: &str,
    status: u16,
    retry_after: Option<Duration>,
) -> Error {
    match kind_of_code(code, message, status) {
        ErrorKind::AwsCredentials if is_refusal(code) => refused(code),
        ErrorKind::AwsCredentials
            if code.starts_with("RequestTime") || code == "RequestExpired" =>
        {
            Error::new(
                ErrorKind::AwsCredentials,
                "AWS does not accept the time of the server's clock",
            )
            .fix("set the clock of the machine that the server runs on")
        }
        ErrorKind::AwsCredentials => Error::new(
            ErrorKind::AwsCredentials,
            format!("AWS refuses the server's access to {}", part.name()),
        )
        .detail("reason", "refused")
        .fix(format!(
            "its role lacks a permission, or the name is another account's; {DOCTOR}"
        )),
        ErrorKind::AwsThrottled => Error::new(
            ErrorKind::AwsThrottled,
            format!(
                "AWS is throttling {}, also after repeated attempts",
                part.name()
            ),
        )
        .retry_after(retry_after.unwrap_or(THROTTLE_WAIT))
        .fix("wait and try again"),
        ErrorKind::TooLarge => Error::new(
            ErrorKind::TooLarge,
            format!("it is larger than {} takes", part.name()),
        )
        .fix("store large content as an artifact, in smaller pieces"),
        ErrorKind::AwsUnavailable if code == STORAGE_FULL_CODE => Error::new(
            ErrorKind::AwsUnavailable,
            "the disk of the embedded cloud is full",
        )
        .fix("free some space on the disk of the data folder; nothing was changed"),
        ErrorKind::AwsUnavailable if code == STORAGE_READ_ONLY_CODE => Error::new(
            ErrorKind::AwsUnavailable,
            "the data folder of the embedded cloud is read-only",
        )
        .fix("make the data folder writable, or choose another; nothing was changed"),
        ErrorKind::AwsUnavailable if ABSENCES.contains(&code) => Error::new(
            ErrorKind::AwsUnavailable,
            format!("{} does not exist", capital(part)),
        )
        .fix(INIT),
        ErrorKind::AwsUnavailable if REDIRECTS.contains(&code) || (300..400).contains(&status) => {
            Error::new(
                ErrorKind::AwsUnavailable,
                format!("{} lies in another region than the server's", capital(part)),
            )
            .fix("the operator sets AWS_REGION to the region of the bucket")
        }
        ErrorKind::AwsUnavailable => {
            let error = Error::new(
                ErrorKind::AwsUnavailable,
                format!("{} is not available at the moment", capital(part)),
            )
            .fix("try again later");
            match retry_after {
                Some(wait) => error.retry_after(wait),
                None => error,
            }
        }
        kind => Error::new(kind, format!("{} answered {status} {code}", part.name())),
    }
}

/// The kind that `code` and `status` stand for.
pub(super) fn kind_of_code(code: &str, message: &str, status: u16) -> ErrorKind {
    let is_clock = matches!(
        code,
        "RequestTimeTooSkewed" | "RequestExpired" | "RequestInTheFuture"
    );
    if is_refusal(code) || is_clock || DENIALS.contains(&code) {
        ErrorKind::AwsCredentials
    } else if THROTTLES.contains(&code) || status == 429 {
        ErrorKind::AwsThrottled
    } else if EXCESSES.contains(&code) || is_excess(code, message) {
        ErrorKind::TooLarge
    } else if ABSENCES.contains(&code) || REDIRECTS.contains(&code) || FAULTS.contains(&code) {
        ErrorKind::AwsUnavailable
    } else {
        match status {
            301 | 307 | 308 | 409 | 500.. => ErrorKind::AwsUnavailable,
            401 | 403 => ErrorKind::AwsCredentials,
            _ => ErrorKind::Internal,
        }
    }
}

/// DynamoDB and EventBridge call what is too large a fault of validation and say the rest in words.
fn is_excess(code: &str, message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    code == "ValidationException"
        && message.contains("size")
        && (message.contains("exceed") || message.contains("maximum"))
}

/// The failure that there are no credentials that could be used.
pub(super) fn credentials(fault: &CredentialsFault) -> Error {
    let (message, reason) = match fault.reason {
        Reason::Missing => ("the server has no AWS credentials", "missing"),
        Reason::SsoExpired => ("the server's AWS sign-in has run out", "expired"),
        Reason::Expired => ("the server's AWS credentials have expired", "expired"),
        Reason::Refused => ("AWS does not accept the server's credentials", "refused"),
        Reason::Failed => ("the server could not get its AWS credentials", "failed"),
    };
    Error::new(ErrorKind::AwsCredentials, message)
        .detail("reason", reason)
        .fix(remedy(fault))
}

fn refused(code: &str) -> Error {
    credentials(&CredentialsFault::refused(code))
}

/// The command that helps. None needs a restart of the server.
fn remedy(fault: &CredentialsFault) -> String {
    let profile = fault.profile.as_deref();
    let with_profile = profile.map_or_else(String::new, |name| format!(" --profile {name}"));
    match fault.reason {
        Reason::SsoExpired => {
            format!("run `aws sso login{with_profile}` on the server's machine and call again")
        }
        Reason::Missing => format!(
            "run `aws configure{with_profile}` or `aws sso login{with_profile}` on the server's machine and call again, or \
             start the server with AWS_PROFILE, or with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ),
        Reason::Expired | Reason::Refused => format!(
            "renew them (`aws sso login{with_profile}`, `aws configure{with_profile}`, or whatever writes them) and call \
             again; credentials from variables need new variables"
        ),
        Reason::Failed => {
            format!(
                "`aws sts get-caller-identity{with_profile}` on the server's machine shows why; {DOCTOR}"
            )
        }
    }
}

/// What AWS says about when to come back.
fn retry_after(response: &HttpResponse) -> Option<Duration> {
    let headers = response.headers();
    let millis = headers
        .get("x-amz-retry-after")
        .and_then(|text| text.parse().ok())
        .map(Duration::from_millis);
    millis.or_else(|| {
        headers
            .get("retry-after")
            .and_then(|text| text.parse().ok())
            .map(Duration::from_secs)
    })
}

/// The first error of type `T` in the chain of causes of `error`.
fn in_chain<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn capital(part: Part) -> String {
    part.name().replacen("the", "The", 1)
}

#[cfg(test)]
mod tests;
