//! Few kinds of failure and two messages: one for the caller, one for the log.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

/// What went wrong, in one word that a caller can act on. The names on the wire are [`ErrorKind::code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// An argument is missing, unknown, of the wrong type or out of range.
    InvalidParameter,
    /// It does not exist, or it is another tenant's; the two look alike.
    NotFound,
    /// A condition did not hold, or a name is taken by something different.
    Conflict,
    /// The role lacks the permission.
    PermissionDenied,
    /// A limit of rate is reached.
    RateLimited,
    /// A quota of the tenant is used up.
    QuotaExceeded,
    /// The concurrency of the tenant or of the server is used up, or the outbox is full.
    Overloaded,
    /// A value, artifact, event or result is over its limit.
    TooLarge,
    /// AWS credentials are missing, expired or refused.
    AwsCredentials,
    /// AWS throttled the call even after the retries.
    AwsThrottled,
    /// AWS could not be reached or answered with a fault of its own, even after the retries.
    AwsUnavailable,
    /// An integrated server is down.
    UpstreamUnavailable,
    /// An integrated server answered wrongly.
    UpstreamError,
    /// A call broke off after it may have had an effect.
    OutcomeUnknown,
    /// This backend or configuration cannot do it.
    NotSupported,
    /// It took longer than its limit.
    Timeout,
    /// The caller cancelled it.
    Cancelled,
    /// A fault of ours; the caller gets only the request's id.
    Internal,
}

impl ErrorKind {
    /// Every kind, in the order of the contract's table.
    pub const ALL: [Self; 18] = [
        Self::InvalidParameter,
        Self::NotFound,
        Self::Conflict,
        Self::PermissionDenied,
        Self::RateLimited,
        Self::QuotaExceeded,
        Self::Overloaded,
        Self::TooLarge,
        Self::AwsCredentials,
        Self::AwsThrottled,
        Self::AwsUnavailable,
        Self::UpstreamUnavailable,
        Self::UpstreamError,
        Self::OutcomeUnknown,
        Self::NotSupported,
        Self::Timeout,
        Self::Cancelled,
        Self::Internal,
    ];

    /// The word on the wire and in events.
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidParameter => "INVALID_PARAMETER",
            Self::NotFound => "NOT_FOUND",
            Self::Conflict => "CONFLICT",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::RateLimited => "RATE_LIMITED",
            Self::QuotaExceeded => "QUOTA_EXCEEDED",
            Self::Overloaded => "OVERLOADED",
            Self::TooLarge => "TOO_LARGE",
            Self::AwsCredentials => "AWS_CREDENTIALS",
            Self::AwsThrottled => "AWS_THROTTLED",
            Self::AwsUnavailable => "AWS_UNAVAILABLE",
            Self::UpstreamUnavailable => "UPSTREAM_UNAVAILABLE",
            Self::UpstreamError => "UPSTREAM_ERROR",
            Self::OutcomeUnknown => "OUTCOME_UNKNOWN",
            Self::NotSupported => "NOT_SUPPORTED",
            Self::Timeout => "TIMEOUT",
            Self::Cancelled => "CANCELLED",
            Self::Internal => "INTERNAL",
        }
    }

    /// Whether the same call may succeed later without being changed.
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::RateLimited
                | Self::Overloaded
                | Self::AwsCredentials
                | Self::AwsThrottled
                | Self::AwsUnavailable
                | Self::UpstreamUnavailable
                | Self::Timeout
        )
    }
}

/// What to do about a change that may have been done.
pub const READ_FIRST: &str = "It may have been done: read before you repeat it.";

/// A failure: its kind, what the caller is told, and, for the log alone, where it came from.
///
/// It is one pointer wide, so that a result is not larger for the failure it hardly ever holds.
pub struct Error(Box<Content>);

struct Content {
    kind: ErrorKind,
    message: String,
    fix: Option<String>,
    retry_after: Option<Duration>,
    may_be_done: Option<bool>,
    details: Map<String, Value>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A failure that the caller may read: `message` says what is wrong in the caller's terms and holds
    /// nothing of another tenant, no ARN, account, secret or path of the server.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Content {
            kind,
            message: message.into(),
            fix: None,
            retry_after: None,
            may_be_done: None,
            details: Map::new(),
            source: None,
        }))
    }

    /// An argument that is wrong, named in `details.parameter`.
    pub fn invalid(parameter: &str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidParameter, message).detail("parameter", parameter)
    }

    /// A fault of ours: `log_message` goes to the log, the caller gets the request's id.
    pub fn internal(log_message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, log_message)
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.0.fix = Some(fix.into());
        self
    }

    /// How long to wait before the same call can succeed.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// A change that may have been done all the same, since its answer was lost: the caller has to look
    /// before it repeats it.
    #[must_use]
    pub fn maybe_done(mut self) -> Self {
        self.0.may_be_done = Some(true);
        self.fix(READ_FIRST).detail("outcome", "unknown")
    }

    /// A change that certainly was not done, whatever the kind of the failure suggests.
    #[must_use]
    pub fn not_done(mut self) -> Self {
        if self.0.may_be_done.replace(false) == Some(true) {
            self.0.details.shift_remove("outcome");
            self.0.fix = Some("Try again.".to_owned());
        }
        self
    }

    /// One member of `details`.
    #[must_use]
    pub fn detail(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.details.insert(name.to_owned(), value.into());
        self
    }

    /// What caused it; only the log shows it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What went wrong, in one word.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What is wrong in the caller's terms. For [`ErrorKind::Internal`] it is for the log alone.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What the caller can do about it.
    pub fn fix_text(&self) -> Option<&str> {
        self.0.fix.as_deref()
    }

    /// How long to wait before the same call can succeed.
    pub fn wait(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether the change that failed may have been done all the same. Where nothing was said of it, that
    /// is so of what was broken off.
    pub fn may_be_done(&self) -> bool {
        self.0.may_be_done.unwrap_or(matches!(
            self.0.kind,
            ErrorKind::Timeout
                | ErrorKind::Cancelled
                | ErrorKind::Internal
                | ErrorKind::OutcomeUnknown
        ))
    }

    /// Whether the change that failed is known not to have been done, whatever the kind of the failure.
    pub fn is_known_not_done(&self) -> bool {
        self.0.may_be_done == Some(false)
    }

    /// What caused it, the outermost first, for an operator and never for a caller; a cause that says no more
    /// than one before it is left out.
    pub fn causes(&self) -> Option<String> {
        let mut causes: Vec<String> = Vec::new();
        let mut cause = self.source();
        while let Some(found) = cause {
            let text = found.to_string();
            if !causes.iter().any(|known| known.contains(&text)) {
                causes.push(text);
            }
            cause = found.source();
        }
        (!causes.is_empty()).then(|| causes.join(": "))
    }

    /// Further facts for the caller, by name.
    pub fn details(&self) -> &Map<String, Value> {
        &self.0.details
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.0.kind.code(), self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")?;
        let mut source = self.source();
        while let Some(cause) = source {
            write!(formatter, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Cause {
        text: &'static str,
        source: Option<Box<Cause>>,
    }

    #[test]
    fn a_cause_that_says_no_more_than_one_before_it_is_left_out() {
        let cause = ["lost", "no route: lost", "no route: lost", "dispatch"]
            .into_iter()
            .fold(None, |source, text| Some(Box::new(Cause { text, source })));
        let error = Error::new(ErrorKind::AwsUnavailable, "gone").caused_by(cause.unwrap());
        assert_eq!(error.causes().unwrap(), "dispatch: no route: lost");
        assert_eq!(Error::internal("x").causes(), None);
    }
}
