//! The backends that cases run on: what is started outside, and the cloud in a folder.

use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use agent_mesh::mesh::SystemClock;
use agent_mesh::mesh::store::key::{self, ObjectKey, ObjectPrefix, Partition, RowKey};
use agent_mesh::mesh::tenant::TenantId;
use agent_mesh::outbound::aws::provision::{self, Differences};
use agent_mesh::outbound::aws::{
    AwsBucket, AwsBus, AwsSecrets, AwsSettings, AwsStates, AwsTable, AwsTopics, Connection,
    CredentialSource,
};
use agent_mesh::outbound::embedded::{EmbeddedCloud, EmbeddedSettings};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_types::SdkConfig;
use aws_types::region::Region;
use futures::future::BoxFuture;
use tempfile::TempDir;
use ulid::Ulid;

use crate::lossy::Lossy;

/// Something that answers as AWS does.
pub(crate) struct Backend {
    pub(crate) name: &'static str,
    pub(crate) url: String,
    /// Cases, and families of them, that it cannot pass through a fault of its own, and which fault.
    pub(crate) lacks: &'static [(&'static str, &'static str)],
    /// What carries requests in place of the network; it decides what is there, too.
    http_client: Option<SharedHttpClient>,
    /// Names of this run's table, bucket and bus; filled once they have been created.
    names: OnceLock<[String; 3]>,
    /// What must live as long, where it is a cloud of this process.
    cloud: Option<(EmbeddedCloud, TempDir)>,
}

/// What a case works with: the adapters, a tenant of its own and a wire that can be cut.
pub(crate) struct Stage {
    pub(crate) connection: Arc<Connection>,
    pub(crate) table: AwsTable,
    pub(crate) bucket: AwsBucket,
    pub(crate) bus: AwsBus,
    pub(crate) states: AwsStates,
    pub(crate) topics: AwsTopics,
    pub(crate) secrets: AwsSecrets,
    /// What makes clients of the SDK itself, for what the adapters do not do.
    pub(crate) sdk: SdkConfig,
    /// The folder of the cloud of this process.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) tenant: TenantId,
    pub(crate) wire: Lossy,
    /// Names of the table, the bucket and the bus.
    pub(crate) names: [String; 3],
    /// Where definitions of state machines are put; none where they are created by a call.
    pub(crate) workflows: Option<PathBuf>,
}

/// What the cloud in a folder does not do: it is opened with its resources and set up by nobody.
const EMBEDDED_LACKS: [(&str, &str); 9] = [
    (
        "a_secret_that_is_scheduled_for_deletion_is_absent_and_comes_back_by_a_new_value",
        "deletes secrets at once",
    ),
    ("an_express_machine_is_refused", "has standard ones only"),
    ("a_version_is_started", "keeps no versions"),
    ("native", "matches events before they reach its bus"),
    ("patterns", "matches events before they reach its bus"),
    (
        "what_is_missing_is_planned_and_created",
        "is opened with its resources",
    ),
    (
        "what_has_been_created_is_as_planned",
        "has no access settings",
    ),
    (
        "creating_twice_changes_nothing",
        "is opened with its resources",
    ),
    (
        "the_probes_find_all_well",
        "has no protection against deletion",
    ),
];

const NO_MAIL: (&str, &str) = (
    "a_notice_reaches_its_addresses_and_nobody_else",
    "sends no mail that could be read",
);

const NO_ADDRESSES: (&str, &str) = (
    "what_is_no_address_is_refused",
    "takes any text for an address",
);

const NO_CONFLICT: (&str, &str) = (
    "an_address_that_was_subscribed_by_hand_gets_its_filter",
    "ignores the attributes of a second subscription",
);

/// Every backend, there or not.
pub(crate) fn all() -> Vec<Backend> {
    let url = |variable: &str, default: &str| {
        std::env::var(variable).unwrap_or_else(|_| default.to_owned())
    };
    vec![
        Backend::embedded(),
        Backend::at(
            "ministack",
            url("AGENT_MESH_TEST_MINISTACK_URL", "http://127.0.0.1:4566"),
            &[
                (
                    "reads_and_writes_are_metered",
                    "reports one unit for whatever is done",
                ),
                (
                    "a_strangers_bucket_is_refused",
                    "ignores the expected owner",
                ),
                NO_MAIL,
                NO_ADDRESSES,
                NO_CONFLICT,
            ],
        ),
        Backend::at(
            "moto",
            url("AGENT_MESH_TEST_MOTO_URL", "http://127.0.0.1:5000"),
            &[
                ("native", "takes no events once a rule has a target"),
                ("patterns", "has no answers of its own for patterns"),
                (
                    "reads_and_writes_are_metered",
                    "reports one unit for whatever is done",
                ),
                (
                    "a_strangers_bucket_is_refused",
                    "ignores the expected owner",
                ),
                (
                    "parts_keep_their_condition",
                    "ignores conditions on uploads in parts",
                ),
                ("states", "runs no machine"),
                (
                    "a_secret_that_is_scheduled_for_deletion_is_absent_and_comes_back_by_a_new_value",
                    "takes new values for what it says is deleted",
                ),
                NO_MAIL,
                NO_ADDRESSES,
                NO_CONFLICT,
            ],
        ),
    ]
}

impl Backend {
    fn at(name: &'static str, url: String, lacks: &'static [(&'static str, &'static str)]) -> Self {
        Self {
            name,
            url,
            lacks,
            http_client: None,
            names: OnceLock::new(),
            cloud: None,
        }
    }

    /// The cloud in a folder, in this process, with the three resources that it is opened for.
    fn embedded() -> Self {
        let folder = TempDir::new().expect("a folder");
        let names = ["test-table", "test-bucket", "test-bus"].map(str::to_owned);
        let [table, bucket, bus] = names.clone();
        let cloud = EmbeddedCloud::open(EmbeddedSettings {
            folder: folder.path().to_owned(),
            table,
            bucket,
            bus,
            clock: Arc::new(SystemClock::new()),
        });
        let cloud = cloud.expect("a cloud");
        Self {
            http_client: Some(cloud.http_client()),
            names: OnceLock::from(names),
            cloud: Some((cloud, folder)),
            ..Self::at(
                "embedded",
                "http://embedded.invalid".to_owned(),
                &EMBEDDED_LACKS,
            )
        }
    }

    pub(crate) fn is_there(&self) -> bool {
        let Some(address) = self.url.strip_prefix("http://") else {
            return false;
        };
        let wait = Duration::from_millis(500);
        self.http_client.is_some()
            || address
                .trim_end_matches('/')
                .to_socket_addrs()
                .is_ok_and(|mut addresses| {
                    addresses.any(|address| TcpStream::connect_timeout(&address, wait).is_ok())
                })
    }

    /// Runs a case in a runtime of its own, with clients of its own.
    pub(crate) fn run(&self, case: impl FnOnce(Stage) -> BoxFuture<'static, ()>) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let names = self.names.get_or_init(|| runtime.block_on(self.create()));
        let stage = self.stage(names);
        let wire = stage.wire.clone();
        runtime.block_on(case(stage));
        assert_eq!(
            wire.ownerless(),
            [""; 0],
            "requests to S3 that name no owner of the bucket"
        );
    }

    async fn create(&self) -> [String; 3] {
        let run = Ulid::generate().to_string().to_lowercase();
        let names = ["table", "bucket", "bus"].map(|thing| format!("test-{thing}-{run}"));
        let connection = self.stage(&names).connection;
        let plan = provision::plan(&connection).await.expect("a plan");
        provision::apply(&connection, &plan, Differences::Leave, |_| {})
            .await
            .expect("table, bucket and bus");
        names
    }

    fn stage(&self, names: &[String; 3]) -> Stage {
        let inner = self.http_client.clone().unwrap_or_else(|| {
            aws_smithy_http_client::Builder::new()
                .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
                .build_https()
        });
        let wire = Lossy::new(inner);
        let [table, bucket, bus] = names;
        let mut settings = AwsSettings::new(table, bucket, bus);
        settings.region = Some("us-west-2".to_owned());
        settings.endpoint_url = self.cloud.is_none().then(|| self.url.clone());
        settings.http_client = Some(SharedHttpClient::new(wire.clone()));
        let key = if self.cloud.is_some() {
            "embedded"
        } else {
            "test"
        };
        settings.credentials = CredentialSource::fixed(key, key);
        settings.force_path_style = true;
        settings.can_presign = self.http_client.is_none();
        settings.backoff_max = Duration::from_millis(50);
        let connection = Connection::new(settings, Arc::new(SystemClock::new()));
        Stage {
            table: AwsTable::new(connection.clone()),
            bucket: AwsBucket::new(connection.clone()),
            bus: AwsBus::new(connection.clone()),
            states: AwsStates::new(connection.clone()),
            topics: AwsTopics::new(connection.clone()),
            secrets: AwsSecrets::new(connection.clone()),
            sdk: self.sdk(key, &wire),
            folder: self
                .cloud
                .as_ref()
                .map(|(_, folder)| folder.path().to_owned()),
            connection,
            tenant: tenant(),
            wire,
            names: names.clone(),
            workflows: self
                .cloud
                .as_ref()
                .map(|(_, folder)| folder.path().join("workflows")),
        }
    }
}

impl Backend {
    fn sdk(&self, key: &str, wire: &Lossy) -> SdkConfig {
        let credentials = Credentials::new(key, key, None, None, "tests");
        let mut builder = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-west-2"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(wire.clone());
        builder.set_endpoint_url(self.cloud.is_none().then(|| self.url.clone()));
        builder.build()
    }
}

/// A tenant that no other case knows.
pub(crate) fn tenant() -> TenantId {
    format!("t{}", Ulid::generate().to_string().to_lowercase())
        .parse()
        .expect("a tenant id")
}

impl Stage {
    pub(crate) fn partition(&self) -> Partition {
        key::trial::partition(&self.tenant, "KV#T")
    }

    pub(crate) fn row(&self, sort: &str) -> RowKey {
        key::trial::row(&self.tenant, "KV#T", sort)
    }

    pub(crate) fn object(&self, name: &str) -> ObjectKey {
        key::trial::object(&self.tenant, &format!("t/{name}"))
    }

    pub(crate) fn prefix(&self, prefix: &str) -> ObjectPrefix {
        key::trial::prefix(&self.tenant, "t/", prefix)
    }
}
