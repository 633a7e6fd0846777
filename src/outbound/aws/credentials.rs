//! Credentials that are looked up at the first call, kept, and looked up again when they expire or are
//! refused, so that `aws sso login` in another window is enough and nobody has to restart anything.
//!
//! The SDK's own cache would keep refused credentials until they expire, and would ask a broken source as
//! often as calls come in.

use std::error::Error as StdError;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef, InterceptorContext,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::retries::classifiers::{
    ClassifyRetry, RetryAction, RetryClassifierPriority,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};
use aws_types::region::Region;
use tokio::sync::Mutex;

use super::answer::code_among;
use super::settings::CredentialSource;
use crate::mesh::{Clock, Timestamp};

/// A source is asked at most once in this time, however many calls want credentials.
pub const RESOLVE_INTERVAL: Duration = Duration::from_secs(1);

/// Credentials are renewed this long before they expire; a failure to do so is no failure yet.
pub const RENEW_AHEAD: Duration = Duration::from_secs(60);

/// Credentials that still hold are renewed at most once in this time.
const RENEW_INTERVAL: Duration = Duration::from_secs(10);

/// A source that has not answered after this time counts as broken: a process that asks a person, or an
/// instance's metadata service that is not there.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);

/// What AWS calls an answer to credentials that have expired, are unknown or were not used rightly.
const REFUSALS: [&str; 13] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "IncompleteSignature",
    "TokenRefreshRequired",
    "AuthFailure",
];

/// Whether `code` says that AWS refused the credentials themselves.
pub(super) fn is_refusal(code: &str) -> bool {
    REFUSALS.contains(&code)
}

/// Why there are no credentials that could be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No source has any.
    Missing,
    /// The sign-in of an SSO profile has run out or never happened.
    SsoExpired,
    /// They have expired.
    Expired,
    /// AWS does not take them.
    Refused,
    /// The source broke down.
    Failed,
}

/// That there are no credentials that could be used, and why.
#[derive(Clone, Debug)]
pub struct CredentialsFault {
    /// Why.
    pub reason: Reason,
    /// The profile that was looked at, where one is named.
    pub profile: Option<String>,
    /// What the source or AWS said, for the log.
    message: String,
}

impl CredentialsFault {
    /// That AWS answered `code` to credentials.
    pub(super) fn refused(code: &str) -> Self {
        let is_expired = code.starts_with("Expired") || code == "TokenRefreshRequired";
        Self {
            reason: if is_expired {
                Reason::Expired
            } else {
                Reason::Refused
            },
            profile: None,
            message: format!("AWS answered {code}"),
        }
    }

    fn expired() -> Self {
        Self {
            reason: Reason::Expired,
            profile: None,
            message: "the source gives credentials that have expired".to_owned(),
        }
    }
}

impl fmt::Display for CredentialsFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl StdError for CredentialsFault {}

/// The credentials of this process, shared by all clients.
#[derive(Clone)]
pub(super) struct SharedCredentials(Arc<Inner>);

struct Inner {
    source: CredentialSource,
    profile: Option<String>,
    region: Region,
    http_client: SharedHttpClient,
    clock: Arc<dyn Clock>,
    held: RwLock<Held>,
    asking: Mutex<()>,
}

/// What is known, read by every call.
#[derive(Default)]
struct Held {
    credentials: Option<Credentials>,
    /// Why `credentials` cannot be used.
    fault: Option<CredentialsFault>,
    /// When a source was last asked, on the monotonic clock.
    asked: Option<Duration>,
}

/// What to do for a call that wants credentials.
enum Next {
    Use(Credentials),
    Fail(CredentialsFault),
    Ask,
}

impl SharedCredentials {
    pub(super) fn new(
        source: CredentialSource,
        profile: Option<String>,
        region: Region,
        http_client: SharedHttpClient,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self(Arc::new(Inner {
            source,
            profile,
            region,
            http_client,
            clock,
            held: RwLock::default(),
            asking: Mutex::new(()),
        }))
    }

    /// The credentials, from the source where none are held that could be used.
    async fn resolve(&self) -> Result<Credentials, CredentialsFault> {
        match self.next() {
            Next::Use(credentials) => return Ok(credentials),
            Next::Fail(fault) => return Err(fault),
            Next::Ask => {}
        }
        let _one_at_a_time = self.0.asking.lock().await;
        match self.next() {
            Next::Use(credentials) => Ok(credentials),
            Next::Fail(fault) => Err(fault),
            Next::Ask => self.ask().await,
        }
    }

    fn next(&self) -> Next {
        let held = self.0.held.read().unwrap_or_else(PoisonError::into_inner);
        let asked_within = |interval: Duration| {
            held.asked
                .is_some_and(|asked| self.0.clock.monotonic().saturating_sub(asked) < interval)
        };
        let left = held
            .credentials
            .as_ref()
            .map(|credentials| self.left(credentials));
        match (&held.credentials, &held.fault, left) {
            (Some(credentials), None, Some(left)) if left > RENEW_AHEAD => {
                Next::Use(credentials.clone())
            }
            (Some(credentials), None, Some(left))
                if !left.is_zero() && asked_within(RENEW_INTERVAL) =>
            {
                Next::Use(credentials.clone())
            }
            (_, Some(fault), _) if asked_within(RESOLVE_INTERVAL) => Next::Fail(fault.clone()),
            (Some(_), None, Some(left)) if left.is_zero() && asked_within(RESOLVE_INTERVAL) => {
                Next::Fail(self.named(CredentialsFault::expired()))
            }
            _ => Next::Ask,
        }
    }

    /// How long `credentials` hold from now on.
    fn left(&self, credentials: &Credentials) -> Duration {
        credentials.expiry().map_or(Duration::MAX, |expiry| {
            let millis = expiry
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default()
                .as_millis();
            Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
                .since(self.0.clock.now())
        })
    }

    async fn ask(&self) -> Result<Credentials, CredentialsFault> {
        let answer = tokio::time::timeout(RESOLVE_TIMEOUT, self.ask_source()).await;
        let mut held = self.0.held.write().unwrap_or_else(PoisonError::into_inner);
        held.asked = Some(self.0.clock.monotonic());
        let fault = match answer {
            Ok(Ok(credentials)) if !self.left(&credentials).is_zero() => {
                held.credentials = Some(credentials.clone());
                held.fault = None;
                return Ok(credentials);
            }
            Ok(Ok(_)) => CredentialsFault::expired(),
            Ok(Err(error)) => fault_of(&error),
            Err(_) => CredentialsFault {
                reason: Reason::Failed,
                profile: None,
                message: format!("no credentials within {} s", RESOLVE_TIMEOUT.as_secs()),
            },
        };
        match &held.credentials {
            Some(credentials) if held.fault.is_none() && !self.left(credentials).is_zero() => {
                Ok(credentials.clone())
            }
            _ => {
                let fault = self.named(fault);
                held.fault = Some(fault.clone());
                Err(fault)
            }
        }
    }

    fn named(&self, fault: CredentialsFault) -> CredentialsFault {
        CredentialsFault {
            profile: self.0.profile.clone(),
            ..fault
        }
    }

    async fn ask_source(&self) -> Result<Credentials, CredentialsError> {
        let source = match &self.0.source {
            CredentialSource::Provider(provider) => return provider.provide_credentials().await,
            CredentialSource::Chain => DefaultCredentialsChain::builder(),
        };
        // A chain reads files once in its life, so each look-up has its own.
        let provider = aws_config::provider_config::ProviderConfig::without_region()
            .with_region(Some(self.0.region.clone()))
            .with_http_client(self.0.http_client.clone());
        let mut source = source.configure(provider).region(self.0.region.clone());
        if let Some(profile) = &self.0.profile {
            source = source.profile_name(profile);
        }
        source.build().await.provide_credentials().await
    }

    /// Notes that AWS refused the credentials that `signature` was made with, unless others are held by
    /// now.
    fn refuse(&self, signature: &SignedWith, code: &str) {
        let mut held = self.0.held.write().unwrap_or_else(PoisonError::into_inner);
        let is_held = held.credentials.as_ref().is_some_and(|credentials| {
            signature.access_key_id == credentials.access_key_id()
                && signature.session_token.as_deref() == credentials.session_token()
        });
        if is_held && held.fault.is_none() {
            held.fault = Some(self.named(CredentialsFault::refused(code)));
        }
    }
}

impl fmt::Debug for SharedCredentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SharedCredentials")
    }
}

impl ProvideCredentials for SharedCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            self.resolve()
                .await
                .map_err(CredentialsError::provider_error)
        })
    }
}

/// Why a source gave none, from what it says: the SDK tells it in words only.
fn fault_of(error: &CredentialsError) -> CredentialsFault {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        message.push_str(": ");
        message.push_str(&source.to_string());
        cause = source.source();
    }
    let lower = message.to_lowercase();
    let reason = match error {
        CredentialsError::CredentialsNotLoaded(_) => Reason::Missing,
        // The chain ends with the instance's metadata; away from an instance nobody answers there.
        _ if lower.contains("imds") => Reason::Missing,
        _ if lower.contains("sso") => Reason::SsoExpired,
        _ if lower.contains("expired") => Reason::Expired,
        _ => Reason::Failed,
    };
    CredentialsFault {
        reason,
        profile: None,
        message,
    }
}

/// The credentials that a request on its way was signed with; the request itself is gone when its answer
/// comes.
#[derive(Debug)]
struct SignedWith {
    access_key_id: String,
    session_token: Option<String>,
}

impl Storable for SignedWith {
    type Storer = StoreReplace<Self>;
}

impl SignedWith {
    fn of(request: &HttpRequest) -> Option<Self> {
        let authorization = request.headers().get("authorization")?;
        let (_, credential) = authorization.split_once("Credential=")?;
        Some(Self {
            access_key_id: credential.split('/').next()?.to_owned(),
            session_token: request
                .headers()
                .get("x-amz-security-token")
                .map(str::to_owned),
        })
    }
}

/// The code of an answer that refuses the credentials.
fn refusal(response: &HttpResponse) -> Option<&'static str> {
    match response.status().as_u16() {
        400 | 401 | 403 => code_among(response, &REFUSALS),
        _ => None,
    }
}

/// Notices credentials that AWS refuses.
#[derive(Debug)]
pub(super) struct NoticeRefusal(pub(super) SharedCredentials);

#[dyn_dispatch_hint]
impl Intercept for NoticeRefusal {
    fn name(&self) -> &'static str {
        "NoticeRefusal"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(signature) = SignedWith::of(context.request()) {
            config.interceptor_state().store_put(signature);
        }
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let (Some(signature), Some(code)) = (
            config.load::<SignedWith>(),
            context.response().and_then(refusal),
        ) {
            self.0.refuse(signature, code);
        }
        Ok(())
    }
}

/// Has a call repeated whose credentials were refused: the repetition asks the source, and ends at once
/// where that has been asked a moment ago.
#[derive(Debug)]
pub(super) struct RepeatRefused;

impl ClassifyRetry for RepeatRefused {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        match context.response().and_then(refusal) {
            Some(_) => RetryAction::transient_error(),
            None => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "RepeatRefused"
    }

    fn priority(&self) -> RetryClassifierPriority {
        RetryClassifierPriority::run_after(
            RetryClassifierPriority::modeled_as_retryable_classifier(),
        )
    }
}

#[cfg(test)]
mod tests;
