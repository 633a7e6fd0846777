//! What an operator may say about the way to AWS: region, credentials, the three resources, time limits.

use std::fmt;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::interceptors::SharedInterceptor;

/// The region where neither the settings, nor the environment, nor the profile name one.
pub const DEFAULT_REGION: &str = "us-west-2";

/// The account of the embedded cloud and of most emulators.
pub const EMBEDDED_ACCOUNT: &str = "000000000000";

/// The way to AWS, or to what stands in for it. Nothing here is looked up before the first call.
#[derive(Clone)]
pub struct AwsSettings {
    /// The region; else the environment's, the profile's, or [`DEFAULT_REGION`].
    pub region: Option<String>,
    /// The profile of the shared configuration; else the environment's, or `default`.
    pub profile: Option<String>,
    /// One endpoint for every service in place of AWS's own. With [`CredentialSource::Chain`] the
    /// SDK's variables and profile entries (`AWS_ENDPOINT_URL`, ...) work as well.
    pub endpoint_url: Option<String>,
    /// What carries requests; else one HTTPS client that all services and tenants share.
    pub http_client: Option<SharedHttpClient>,
    /// Where credentials come from.
    pub credentials: CredentialSource,
    /// The name of the table.
    pub table: String,
    /// The name of the bucket.
    pub bucket: String,
    /// The name of the bus.
    pub bus: String,
    /// The account that must own the bucket; else the account of the credentials.
    pub bucket_owner: Option<String>,
    /// Whether the bucket stands in the path of an address and not in its host, as emulators need it.
    pub force_path_style: bool,
    /// Whether an address can be signed for others: not where requests never leave the process.
    pub can_presign: bool,
    /// How long calls may take.
    pub timeouts: Timeouts,
    /// The longest pause before a call is repeated.
    pub backoff_max: Duration,
    /// What looks at every request and answer on its way, after our own.
    pub interceptors: Vec<SharedInterceptor>,
}

impl AwsSettings {
    /// AWS, as the environment and the shared configuration of the machine describe it.
    pub fn new(
        table: impl Into<String>,
        bucket: impl Into<String>,
        bus: impl Into<String>,
    ) -> Self {
        Self {
            region: None,
            profile: None,
            endpoint_url: None,
            http_client: None,
            credentials: CredentialSource::Chain,
            table: table.into(),
            bucket: bucket.into(),
            bus: bus.into(),
            bucket_owner: None,
            force_path_style: false,
            can_presign: true,
            timeouts: Timeouts::default(),
            backoff_max: Duration::from_secs(2),
            interceptors: Vec::new(),
        }
    }

    /// A cloud behind `http_client` in this process: no environment, no file and no network is looked
    /// at, and every request is signed with made-up credentials.
    pub fn embedded(
        http_client: SharedHttpClient,
        table: impl Into<String>,
        bucket: impl Into<String>,
        bus: impl Into<String>,
    ) -> Self {
        Self {
            region: Some(DEFAULT_REGION.to_owned()),
            endpoint_url: Some("http://embedded.invalid".to_owned()),
            http_client: Some(http_client),
            credentials: CredentialSource::fixed("embedded", "embedded"),
            bucket_owner: Some(EMBEDDED_ACCOUNT.to_owned()),
            force_path_style: true,
            can_presign: false,
            ..Self::new(table, bucket, bus)
        }
    }
}

impl fmt::Debug for AwsSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AwsSettings")
            .field("region", &self.region)
            .field("profile", &self.profile)
            .field("endpoint_url", &self.endpoint_url)
            .field("table", &self.table)
            .field("bucket", &self.bucket)
            .field("bus", &self.bus)
            .finish_non_exhaustive()
    }
}

/// Where credentials come from.
#[derive(Clone)]
pub enum CredentialSource {
    /// The SDK's chain: environment, profile (with SSO, roles and processes), web identity, container,
    /// instance. It is walked anew each time, so that what changes on disk is seen.
    Chain,
    /// This one, and then no environment and no shared configuration is looked at for anything else
    /// either.
    Provider(SharedCredentialsProvider),
}

impl CredentialSource {
    /// Credentials that never expire.
    pub fn fixed(access_key_id: &str, secret_access_key: &str) -> Self {
        Self::provider(Credentials::new(
            access_key_id,
            secret_access_key,
            None,
            None,
            "settings",
        ))
    }

    /// Credentials from `provider`, which is asked again when they expire or are refused.
    pub fn provider(provider: impl ProvideCredentials + 'static) -> Self {
        Self::Provider(SharedCredentialsProvider::new(provider))
    }
}

/// How long calls to AWS may take; the SDK's own defaults would wait for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To open a connection.
    pub connect: Duration,
    /// One attempt.
    pub attempt: Duration,
    /// A call with all its attempts and pauses.
    pub operation: Duration,
    /// One attempt that carries an artifact's bytes, at most 8 MiB one way or the other.
    pub transfer_attempt: Duration,
    /// A call that carries an artifact's bytes, with all its attempts and pauses.
    pub transfer_operation: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            attempt: Duration::from_secs(5),
            operation: Duration::from_secs(12),
            transfer_attempt: Duration::from_secs(60),
            transfer_operation: Duration::from_secs(150),
        }
    }
}
