//! Settings: flags, environment and file into typed values, all mistakes at once.

mod arn;
mod audit;
mod authorizer;
mod automation;
mod backend;
mod check;
mod document;
pub mod environment;
mod events;
pub mod http;
mod identity;
pub mod integrations;
mod jwt;
mod log;
mod metrics;
mod mistake;
pub mod secret_file;
pub mod setting;
mod sign_in;
mod source;
pub mod tenants;
mod toml_text;
mod toolset;
mod trace;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::mesh::tenant::TenantId;

pub use audit::{AUDIT_KEY_BYTES_LEAST, AUDIT_KEY_BYTES_MOST, AuditSettings, audit_key};
pub use authorizer::AuthorizerSettings;
pub use automation::{AutomationSettings, LOGICAL_NAME_BYTES_MAX, SharedNames};
pub use backend::{Backend, BackendChoice};
pub use document::{example, settings_table_markdown};
pub use environment::Environment;
pub use events::{EventReads, EventSettings};
pub use http::HttpSettings;
pub use identity::{DEFAULT_TENANT, Identity, LocalCaller};
pub use integrations::IntegrationSettings;
pub use jwt::{JwksSource, JwtSettings};
pub use log::{LogFormat, LogLevel, LogSettings};
pub use metrics::MetricsSettings;
pub use mistake::{ConfigErrors, Mistake, Place};
pub use sign_in::SignInSettings;
pub use source::{Flags, SettingValue, Source};
pub use tenants::{NamedArns, TenantsFile};
pub use toolset::{Toolset, Toolsets};
pub use trace::{Sampler, TraceSettings};

pub(crate) use mistake::did_you_mean;

use identity::IdentityRead;
use mistake::Mistakes;
use setting::{
    ARTIFACTS_BUCKET, BUCKET_OWNER, DATA_DIR, EVENT_BUS, KV_TABLE, OUTBOX_DIR, READ_ONLY, REGION,
    TENANTS_FILE, TOOLSETS,
};
use source::{Gathered, Reader};

/// The name that clients and folders know this server by.
pub const SERVER_NAME: &str = "agent-mesh";
/// The region where neither the settings nor the profile name one.
pub const DEFAULT_REGION: &str = "us-west-2";
/// The largest `--config` file, in bytes.
pub const CONFIG_FILE_BYTES_MAX: u64 = 1 << 20;

/// Everything that an operator can set, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where data is kept, and why there.
    pub backend: BackendChoice,
    /// The three resources.
    pub resources: Resources,
    /// The region that was named; where none was, the profile's counts, then [`DEFAULT_REGION`].
    pub region: Option<String>,
    /// The account that must own the bucket; where none is named, the credentials' own.
    pub bucket_owner: Option<String>,
    /// The folder of the embedded backend, absolute. It need not exist yet.
    pub data_dir: PathBuf,
    /// The folder of the outbox, absolute. It need not exist yet.
    pub outbox_dir: PathBuf,
    /// The user that the settings name.
    pub caller: LocalCaller,
    /// How a request over standard input and output says who calls.
    pub identity: Identity,
    /// How clients sign in over HTTP.
    pub sign_in: SignInSettings,
    /// The tenants that are known. It reloads its file while [`TenantsFile::watch`] runs.
    pub tenants: Arc<TenantsFile>,
    /// Which families of tools are offered.
    pub toolsets: Toolsets,
    /// Whether only tools that change nothing are offered.
    pub read_only: bool,
    /// How events are recorded and kept.
    pub events: EventSettings,
    /// What rules, alerts and workflows may reach.
    pub automation: AutomationSettings,
    /// The policy service that decides about each call, where there is one.
    pub authorizer: Option<AuthorizerSettings>,
    /// The audit log, where one is kept.
    pub audit: Option<AuditSettings>,
    /// Which other servers may be reached, and what their processes may do.
    pub integrations: IntegrationSettings,
    /// How `serve` listens.
    pub http: HttpSettings,
    /// What is logged, and how.
    pub log: LogSettings,
    /// What is counted, and to whom it is shown.
    pub metrics: MetricsSettings,
    /// Where traces are sent, and which; nothing where no collector is named.
    pub traces: Option<TraceSettings>,
    /// What of the SDK's own environment tells one target from another.
    pub aws: AwsEnvironment,
    /// The `--config` file, absolute, where there is one.
    pub file: Option<PathBuf>,
    /// What is no mistake but should be said, once, in the log and by `doctor`.
    pub warnings: Vec<String>,
    /// What should be said besides where requests come over standard input and output.
    pub stdio_warnings: Vec<String>,
    /// Every setting with its value and where it came from, in the order of [`setting::SETTINGS`].
    pub values: Vec<SettingValue>,
}

/// What of the SDK's own environment tells one target from another; the SDK reads it by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AwsEnvironment {
    /// The named profile.
    pub profile: Option<String>,
    /// An endpoint in place of AWS's own, such as an emulator's.
    pub endpoint_url: Option<String>,
    /// The id of the access key; not secret.
    pub access_key_id: Option<String>,
}

/// The names of the three resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resources {
    /// The DynamoDB table.
    pub kv_table: String,
    /// The S3 bucket.
    pub artifacts_bucket: String,
    /// The EventBridge bus.
    pub event_bus: String,
}

impl Config {
    /// The configuration of this process; reads the `--config` file, if one is named.
    ///
    /// # Errors
    /// Every mistake in it, at once.
    pub fn load(
        flags: &Flags,
        environment: &Environment,
        file: Option<&Path>,
    ) -> Result<Self, ConfigErrors> {
        let Some(named) = file else {
            return Self::from_sources(flags, environment, None);
        };
        let path = environment.absolute(&named.to_string_lossy(), &environment.working_dir);
        match read_bounded(&path, CONFIG_FILE_BYTES_MAX) {
            Ok(text) => Self::from_sources(flags, environment, Some((&path, &text))),
            Err(message) => {
                let mut mistakes = Mistakes::default();
                mistakes.add_at(Place::new(&path, 0), "--config", message);
                if let Err(others) = Self::from_sources(flags, environment, None) {
                    mistakes.append(others);
                }
                mistakes.demand(None)
            }
        }
    }

    /// The configuration that flags, environment and the text of a file make. Flags win over the
    /// environment, the environment over the file.
    ///
    /// # Errors
    /// Every mistake in it, at once.
    pub fn from_sources(
        flags: &Flags,
        environment: &Environment,
        file: Option<(&Path, &str)>,
    ) -> Result<Self, ConfigErrors> {
        let mut mistakes = Mistakes::default();
        let mut warnings = Vec::new();
        let gathered = Gathered::gather(flags, environment, file, &mut mistakes, &mut warnings);
        let mut reader = Reader::new(gathered, mistakes);
        let file = file.map(|(path, _)| environment.working_dir.join(path));
        let config = Self::read(&mut reader, environment, warnings, file);
        let (values, mistakes) = reader.finish();
        mistakes.demand(config.map(|config| Self { values, ..config }))
    }

    /// The value of one setting as text, and where it came from.
    pub fn value(&self, setting: &setting::Setting) -> Option<&SettingValue> {
        self.values
            .iter()
            .find(|value| value.setting.variable == setting.variable)
    }

    /// Reads every setting, in the order of [`setting::SETTINGS`]; mistakes stay with the reader.
    fn read(
        reader: &mut Reader,
        environment: &Environment,
        mut warnings: Vec<String>,
        file: Option<PathBuf>,
    ) -> Option<Self> {
        let backend = BackendChoice::read(reader);
        let resources = Resources::read(reader);
        let region = reader.read(&REGION, None, |text| check::region(text).map(Some));
        let bucket_owner = reader.read(&BUCKET_OWNER, None, |text| check::account(text).map(Some));
        let data_dir = read_data_dir(reader, environment);
        let beside = data_dir.as_ref().map(|folder| folder.join("outbox"));
        let outbox_dir = reader.read_path(&OUTBOX_DIR, beside, not_a_file);
        let caller = LocalCaller::read(reader, environment);
        let IdentityRead {
            identity,
            jwt,
            unused,
        } = IdentityRead::read(reader, environment);
        let sign_in = SignInSettings::read(reader, &jwt, data_dir.as_deref(), &mut warnings);
        let tenants_path = reader.read_path(&TENANTS_FILE, None, jwt::existing_file);
        let toolsets = reader.read(&TOOLSETS, Toolsets::ALL, Toolsets::parse);
        let read_only = reader.read(&READ_ONLY, false, check::switch);
        let events = EventSettings::read(reader);
        let automation = AutomationSettings::read(reader, &mut warnings);
        let authorizer = AuthorizerSettings::read(reader, &mut warnings);
        let audit = AuditSettings::read(reader, &mut warnings);
        let tokens_file = sign_in.as_ref().map(|sign_in| sign_in.tokens_file.clone());
        let private = [&data_dir, &outbox_dir, &tokens_file, &tenants_path, &file];
        let private = private.into_iter().flatten().map(PathBuf::as_path);
        let audit_log = audit.as_ref().map(|audit| audit.log.as_path());
        let private: Vec<&Path> = private.chain(audit_log).collect();
        let integrations = IntegrationSettings::read(reader, environment, &private, &mut warnings);
        let http = HttpSettings::read(reader);
        let log = LogSettings::read(reader);
        let metrics = MetricsSettings::read(reader);
        let traces = TraceSettings::read(reader);
        let sources = TenantSources {
            path: tenants_path,
            caller: caller.as_ref(),
            identity: &identity,
            sign_in: sign_in.as_ref(),
            shared: &automation.shared,
        };
        let tenants = read_tenants(reader, sources, &mut warnings);
        let caller = caller?;
        warnings.extend(shared_tenant(backend.backend, &identity, &caller));
        Some(Self {
            backend,
            resources,
            region,
            bucket_owner,
            data_dir: data_dir?,
            outbox_dir: outbox_dir?,
            caller,
            identity,
            sign_in: sign_in?,
            tenants: tenants?,
            toolsets,
            read_only,
            events,
            automation,
            authorizer,
            audit,
            integrations,
            http,
            log,
            metrics,
            traces,
            aws: AwsEnvironment::read(environment),
            file,
            warnings,
            stdio_warnings: unused,
            values: Vec::new(),
        })
    }
}

impl AwsEnvironment {
    fn read(environment: &Environment) -> Self {
        let value = |name: &str| environment.get(name).map(str::to_owned);
        Self {
            profile: value("AWS_PROFILE"),
            endpoint_url: value("AWS_ENDPOINT_URL"),
            access_key_id: value("AWS_ACCESS_KEY_ID"),
        }
    }
}

impl Resources {
    fn read(reader: &mut Reader) -> Self {
        Self {
            kv_table: reader.read(&KV_TABLE, "agent-mesh-kv".to_owned(), check::table_name),
            artifacts_bucket: reader.read(
                &ARTIFACTS_BUCKET,
                "agent-mesh-artifacts".to_owned(),
                check::bucket_name,
            ),
            event_bus: reader.read(&EVENT_BUS, "agent-mesh-events".to_owned(), check::bus_name),
        }
    }
}

/// The embedded backend's folder: the one that is named, else `agent-mesh` where this user keeps data.
fn read_data_dir(reader: &mut Reader, environment: &Environment) -> Option<PathBuf> {
    let default = environment
        .data_home
        .as_ref()
        .map(|folder| folder.join(SERVER_NAME));
    let folder = reader.read_path(&DATA_DIR, default, not_a_file);
    if folder.is_none() && reader.source(&DATA_DIR) == Source::Default {
        let message = "this user has no home folder; name a folder for the data";
        reader.mistake(&DATA_DIR, &Source::Default, message.to_owned());
    }
    folder
}

/// What makes the tenants that are known.
struct TenantSources<'config> {
    path: Option<PathBuf>,
    caller: Option<&'config LocalCaller>,
    identity: &'config Identity,
    sign_in: Option<&'config SignInSettings>,
    shared: &'config SharedNames,
}

impl TenantSources<'_> {
    /// The tenants that the settings name, with the issuers whose tokens may name them: all that the server
    /// takes, for a tenant that somebody named. Under `jwt` one that nobody named is not made up.
    fn named(&self) -> Vec<(TenantId, Vec<String>)> {
        let jwt = self.sign_in.and_then(|sign_in| sign_in.jwt.as_ref());
        let issuers = jwt.map_or_else(Vec::new, |jwt| jwt.issuers.clone());
        let of_caller = self.caller.and_then(|caller| {
            let tenant = caller.tenant.clone();
            match self.identity {
                _ if caller.tenant_is_named => Some((tenant, issuers)),
                Identity::Env => Some((tenant, Vec::new())),
                Identity::Jwt(_) => None,
            }
        });
        let anonymous = self.sign_in.and_then(|sign_in| sign_in.anonymous.as_ref());
        let of_anonymous = anonymous.map(|anonymous| (anonymous.tenant.clone(), Vec::new()));
        of_caller.into_iter().chain(of_anonymous).collect()
    }
}

/// The tenants of the file and of the environment.
fn read_tenants(
    reader: &mut Reader,
    sources: TenantSources<'_>,
    warnings: &mut Vec<String>,
) -> Option<Arc<TenantsFile>> {
    let named = sources.named();
    let shared = sources.shared.clone();
    match TenantsFile::open(sources.path.as_deref(), named, shared) {
        Ok(tenants) => {
            if tenants.count() == 0 {
                warnings.push(no_tenant());
            }
            Some(Arc::new(tenants))
        }
        Err(errors) => {
            reader.mistakes.append(errors);
            None
        }
    }
}

fn no_tenant() -> String {
    format!(
        "no tenant is known, so every token will be refused; set {} or {}",
        TENANTS_FILE.variable,
        setting::TENANT_ID.variable
    )
}

/// A warning where people who share an account would share a tenant without having chosen to.
fn shared_tenant(backend: Backend, identity: &Identity, caller: &LocalCaller) -> Option<String> {
    let shared = backend == Backend::Aws
        && *identity == Identity::Env
        && caller.tenant.as_str() == DEFAULT_TENANT;
    shared.then(|| {
        format!(
            "the tenant is `{DEFAULT_TENANT}`, which everyone shares who uses this table and names no \
             other; set {}, and mind that under identity env a tenant is no boundary between people \
             who hold the same AWS credentials",
            setting::TENANT_ID.variable
        )
    })
}

/// Nothing, if `path` can be a folder.
fn not_a_file(path: &Path) -> Result<(), String> {
    if path.exists() && !path.is_dir() {
        Err("it is no folder".to_owned())
    } else {
        Ok(())
    }
}

/// The text of a file of at most `bytes_max` bytes.
fn read_bounded(path: &Path, bytes_max: u64) -> Result<String, String> {
    use std::io::Read;

    let unreadable = |error: std::io::Error| format!("the file cannot be read: {error}");
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .map_err(unreadable)?
        .take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > bytes_max {
        let most = check::bytes_text(bytes_max);
        return Err(format!("the file is larger than {most}"));
    }
    String::from_utf8(bytes).map_err(|_| "the file is no UTF-8".to_owned())
}

#[cfg(test)]
mod tests;
