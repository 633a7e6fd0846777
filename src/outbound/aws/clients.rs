//! SDK clients, made at the first call: one for each service and tenant that has called lately.
//!
//! A tenant has clients of its own so that its throttles use up its own retries and nobody else's. All
//! share one HTTP client and one set of credentials.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::region::ProfileFileRegionProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime::client::identity::IdentityCache;
use aws_smithy_runtime::client::retries::RetryPartition;
use aws_smithy_runtime::client::retries::classifiers::HttpStatusCodeClassifier;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::interceptors::SharedInterceptor;
use aws_types::SdkConfig;
use aws_types::region::Region;
use tokio::sync::OnceCell;

use super::credentials::{NoticeRefusal, RepeatRefused, SharedCredentials};
use super::error::{Part, fault};
use super::secrets::UnshownBodies;
use super::settings::{AwsSettings, CredentialSource, DEFAULT_REGION};
use crate::mesh::tenant::TenantId;
use crate::mesh::{Clock, Error, ErrorKind};

/// The most tenants whose clients are kept; each takes about 13.5 KB for each service that it uses.
pub const TENANT_CLIENTS_MAX: usize = 256;

/// The most attempts of one call.
pub const ATTEMPTS_MAX: u32 = 3;

/// The pause before the first repetition is a random part of this; it doubles with each.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);

/// The way to AWS: settings, and what is made of them when the first call comes.
pub struct Connection {
    settings: AwsSettings,
    clock: Arc<dyn Clock>,
    shared: OnceCell<Shared>,
    tenants: Mutex<Tenants>,
    account: OnceCell<String>,
}

/// Who the credentials are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerIdentity {
    /// The account, 12 digits.
    pub account: String,
    /// The ARN of the user or the assumed role.
    pub arn: String,
}

/// What all clients have in common.
struct Shared {
    config: SdkConfig,
    credentials: SharedCredentials,
    general: TenantClients,
}

/// The clients of one tenant, or those for what is nobody's in particular.
#[derive(Clone)]
struct TenantClients(Arc<ClientSet>);

struct ClientSet {
    partition: RetryPartition,
    dynamodb: OnceLock<aws_sdk_dynamodb::Client>,
    s3: OnceLock<aws_sdk_s3::Client>,
    eventbridge: OnceLock<aws_sdk_eventbridge::Client>,
    states: OnceLock<aws_sdk_sfn::Client>,
    sns: OnceLock<aws_sdk_sns::Client>,
    secrets: OnceLock<aws_sdk_secretsmanager::Client>,
}

/// The clients of the tenants that called last.
#[derive(Default)]
struct Tenants {
    clients: HashMap<TenantId, (TenantClients, u64)>,
    uses: u64,
}

/// Ends a builder of one service's SDK with what the clients of every service have; the SDKs share no type
/// for it.
macro_rules! client {
    ($sdk:ident, $builder:expr, $connection:expr, $shared:expr, $clients:expr) => {{
        let builder = $builder
            .retry_partition($clients.0.partition.clone())
            .retry_classifier(RepeatRefused)
            .interceptor(NoticeRefusal($shared.credentials.clone()));
        let builder = $connection
            .interceptors()
            .fold(builder, |mut builder, each| {
                builder.push_interceptor(each);
                builder
            });
        $sdk::Client::from_conf(builder.build())
    }};
}

impl Connection {
    /// A way to AWS that is not gone before the first call.
    pub fn new(settings: AwsSettings, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            settings,
            clock,
            shared: OnceCell::new(),
            tenants: Mutex::default(),
            account: OnceCell::new(),
        })
    }

    /// What it was made with.
    pub fn settings(&self) -> &AwsSettings {
        &self.settings
    }

    /// The clock that it was made with.
    pub(super) fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    /// The region that requests go to. Looks at the environment and the profile, at nothing else.
    pub async fn region(&self) -> String {
        let shared = self.shared().await;
        shared
            .config
            .region()
            .map_or_else(|| DEFAULT_REGION.to_owned(), Region::to_string)
    }

    /// The account that the bucket must belong to: the settings', else that of the credentials.
    pub async fn account(&self) -> Result<&str, Error> {
        if let Some(owner) = &self.settings.bucket_owner {
            return Ok(owner);
        }
        let account = self
            .account
            .get_or_try_init(|| async { Ok::<_, Error>(self.caller_identity().await?.account) });
        account.await.map(String::as_str)
    }

    /// Who the credentials are, as AWS sees it; asks each time.
    pub async fn caller_identity(&self) -> Result<CallerIdentity, Error> {
        let shared = self.shared().await;
        let client = aws_sdk_sts::Client::from_conf(
            aws_sdk_sts::config::Builder::from(&shared.config)
                .retry_partition(shared.general.0.partition.clone())
                .retry_classifier(RepeatRefused)
                .interceptor(NoticeRefusal(shared.credentials.clone()))
                .build(),
        );
        let answer = client
            .get_caller_identity()
            .send()
            .await
            .map_err(|error| fault(Part::Identity, error))?;
        match (answer.account, answer.arn) {
            (Some(account), Some(arn)) => Ok(CallerIdentity { account, arn }),
            _ => Err(Error::new(
                ErrorKind::AwsUnavailable,
                "AWS did not say who the server's credentials are",
            )),
        }
    }

    /// A client of DynamoDB: the tenant's own, or the one for what is nobody's in particular.
    pub(super) async fn dynamodb(&self, tenant: Option<&TenantId>) -> aws_sdk_dynamodb::Client {
        let shared = self.shared().await;
        let clients = self.clients(shared, tenant);
        let client = clients.0.dynamodb.get_or_init(|| {
            let builder = aws_sdk_dynamodb::config::Builder::from(&shared.config);
            client!(aws_sdk_dynamodb, builder, self, shared, clients)
        });
        client.clone()
    }

    /// A client of S3: the tenant's own, or the one for what is nobody's in particular.
    pub(super) async fn s3(&self, tenant: Option<&TenantId>) -> aws_sdk_s3::Client {
        let shared = self.shared().await;
        let clients = self.clients(shared, tenant);
        let client = clients.0.s3.get_or_init(|| {
            let builder = aws_sdk_s3::config::Builder::from(&shared.config)
                .force_path_style(self.settings.force_path_style);
            client!(aws_sdk_s3, builder, self, shared, clients)
        });
        client.clone()
    }

    /// The client of EventBridge; a batch of events may be of many tenants.
    pub(super) async fn eventbridge(&self) -> aws_sdk_eventbridge::Client {
        let shared = self.shared().await;
        let clients = &shared.general;
        let client = clients.0.eventbridge.get_or_init(|| {
            let builder = aws_sdk_eventbridge::config::Builder::from(&shared.config);
            client!(aws_sdk_eventbridge, builder, self, shared, clients)
        });
        client.clone()
    }

    /// A client of Step Functions: the tenant's own, or the one for what is nobody's in particular.
    pub(super) async fn states(&self, tenant: Option<&TenantId>) -> aws_sdk_sfn::Client {
        let shared = self.shared().await;
        let clients = self.clients(shared, tenant);
        let client = clients.0.states.get_or_init(|| {
            let builder = aws_sdk_sfn::config::Builder::from(&shared.config);
            client!(aws_sdk_sfn, builder, self, shared, clients)
        });
        client.clone()
    }

    /// A client of SNS: the tenant's own, or the one for what is nobody's in particular.
    pub(super) async fn sns(&self, tenant: Option<&TenantId>) -> aws_sdk_sns::Client {
        let shared = self.shared().await;
        let clients = self.clients(shared, tenant);
        let client = clients.0.sns.get_or_init(|| {
            // SNS says by the status alone that it is throttling; the SDK would give up at once.
            let throttled = HttpStatusCodeClassifier::new_from_codes(vec![429]);
            let builder =
                aws_sdk_sns::config::Builder::from(&shared.config).retry_classifier(throttled);
            client!(aws_sdk_sns, builder, self, shared, clients)
        });
        client.clone()
    }

    /// A client of Secrets Manager, of the tenant's own.
    pub(super) async fn secrets(&self, tenant: &TenantId) -> aws_sdk_secretsmanager::Client {
        let shared = self.shared().await;
        let clients = self.clients(shared, Some(tenant));
        let client = clients.0.secrets.get_or_init(|| {
            let builder = aws_sdk_secretsmanager::config::Builder::from(&shared.config)
                .interceptor(UnshownBodies);
            client!(aws_sdk_secretsmanager, builder, self, shared, clients)
        });
        client.clone()
    }

    /// Time limits for a call that carries an artifact's bytes.
    pub(super) fn transfer_timeouts(&self) -> TimeoutConfig {
        let timeouts = self.settings.timeouts;
        TimeoutConfig::builder()
            .connect_timeout(timeouts.connect)
            .operation_attempt_timeout(timeouts.transfer_attempt)
            .operation_timeout(timeouts.transfer_operation)
            .build()
    }

    fn interceptors(&self) -> impl Iterator<Item = SharedInterceptor> {
        self.settings.interceptors.iter().cloned()
    }

    fn clients(&self, shared: &Shared, tenant: Option<&TenantId>) -> TenantClients {
        match tenant {
            None => shared.general.clone(),
            Some(tenant) => self
                .tenants
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .of(tenant),
        }
    }

    async fn shared(&self) -> &Shared {
        self.shared.get_or_init(|| self.load()).await
    }

    async fn load(&self) -> Shared {
        let http_client = self
            .settings
            .http_client
            .clone()
            .unwrap_or_else(https_client);
        let region = self.find_region().await;
        let credentials = SharedCredentials::new(
            self.settings.credentials.clone(),
            self.settings.profile.clone(),
            region.clone(),
            http_client.clone(),
            self.clock.clone(),
        );
        let timeouts = self.settings.timeouts;
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(timeouts.connect)
            .operation_attempt_timeout(timeouts.attempt)
            .operation_timeout(timeouts.operation)
            .build();
        let retries = RetryConfig::standard()
            .with_max_attempts(ATTEMPTS_MAX)
            .with_initial_backoff(BACKOFF_FIRST.min(self.settings.backoff_max))
            .with_max_backoff(self.settings.backoff_max);
        let version = BehaviorVersion::v2026_01_12();
        let config = match &self.settings.credentials {
            CredentialSource::Chain => {
                let loader = aws_config::defaults(version)
                    .region(region)
                    .http_client(http_client)
                    .credentials_provider(credentials.clone())
                    .identity_cache(IdentityCache::no_cache())
                    .timeout_config(timeouts)
                    .retry_config(retries);
                let loader = match &self.settings.profile {
                    Some(profile) => loader.profile_name(profile),
                    None => loader,
                };
                let loader = match &self.settings.endpoint_url {
                    Some(url) => loader.endpoint_url(url),
                    None => loader,
                };
                loader.load().await
            }
            CredentialSource::Provider(_) => {
                let mut builder = SdkConfig::builder()
                    .behavior_version(version)
                    .region(region)
                    .http_client(http_client)
                    .credentials_provider(SharedCredentialsProvider::new(credentials.clone()))
                    .identity_cache(IdentityCache::no_cache())
                    .timeout_config(timeouts)
                    .retry_config(retries);
                builder.set_endpoint_url(self.settings.endpoint_url.clone());
                builder.build()
            }
        };
        Shared {
            config,
            credentials,
            general: TenantClients::new("agent-mesh".to_owned()),
        }
    }

    /// The settings' region, else the environment's, the profile's, the default. An instance's metadata
    /// is not asked, since off an instance that costs seconds.
    async fn find_region(&self) -> Region {
        if let Some(region) = &self.settings.region {
            return Region::new(region.clone());
        }
        let fallback = Region::from_static(DEFAULT_REGION);
        if matches!(self.settings.credentials, CredentialSource::Provider(_)) {
            return fallback;
        }
        let profile = match &self.settings.profile {
            Some(name) => ProfileFileRegionProvider::builder()
                .profile_name(name)
                .build(),
            None => ProfileFileRegionProvider::new(),
        };
        RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
            .or_else(profile)
            .region()
            .await
            .unwrap_or(fallback)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Connection")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl TenantClients {
    fn new(name: String) -> Self {
        Self(Arc::new(ClientSet {
            partition: RetryPartition::custom(name).build(),
            dynamodb: OnceLock::new(),
            s3: OnceLock::new(),
            eventbridge: OnceLock::new(),
            states: OnceLock::new(),
            sns: OnceLock::new(),
            secrets: OnceLock::new(),
        }))
    }
}

impl Tenants {
    /// The clients of `tenant`, in place of those of whoever has not called for longest.
    fn of(&mut self, tenant: &TenantId) -> TenantClients {
        self.uses += 1;
        if let Some((clients, used)) = self.clients.get_mut(tenant) {
            *used = self.uses;
            return clients.clone();
        }
        if self.clients.len() >= TENANT_CLIENTS_MAX {
            let idlest = self.clients.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(idlest) = idlest.map(|(tenant, _)| tenant.clone()) {
                self.clients.remove(&idlest);
            }
        }
        let clients = TenantClients::new(format!("agent-mesh-{tenant}"));
        self.clients
            .insert(tenant.clone(), (clients.clone(), self.uses));
        clients
    }
}

/// The HTTPS client for real networks; it goes through the proxy that the environment names.
fn https_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().build_with_connector_fn(|settings, components| {
        let mut connector = Connector::builder();
        if let Some(settings) = settings {
            connector.set_connector_settings(Some(settings.clone()));
        }
        if let Some(components) = components {
            connector.set_sleep_impl(components.sleep_impl());
        }
        connector
            .proxy_config(ProxyConfig::from_env())
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .build()
    })
}

#[cfg(test)]
mod tests;
