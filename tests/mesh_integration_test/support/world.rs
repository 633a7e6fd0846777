//! A world for one test: an application in a folder of its own, its tenants, its clock, its clients.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use agent_mesh::app::{App, Carrier};
use agent_mesh::config::{Config, Environment, Flags, TenantsFile};
use agent_mesh::inbound::tool::describe;
use agent_mesh::mesh::call::tool::Tool;
use agent_mesh::mesh::upstream::Upstreams;
use agent_mesh::mesh::{Clock, ManualClock, SystemClock, Timestamp};
use agent_mesh::outbound::embedded::{EmbeddedCloud, Faults};
use agent_mesh::telemetry::Watch;
use agent_mesh::telemetry::metrics::Metrics;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::caller::{Caller, IDENTITY, Schemas};
use super::client::Client;
use super::token::{AUDIENCE, ISSUER, Issuer, claims};
use super::upstreams::{ScriptedUpstreams, Scripts};

/// The revision that clients of these tests speak unless they say otherwise.
pub(crate) const REVISION: &str = "2025-06-18";

/// Two tenants that sign in by token, and limits that no test reaches unless it means to.
pub(crate) const TENANTS: &str = r#"
[defaults.limits]
dynamodb_read = 1000000
dynamodb_write = 1000000
s3_get = 1000000
s3_put = 1000000
s3_list = 1000000
states = 1000000
[tenants.acme]
issuers = ["https://id.example"]
[tenants.globex]
issuers = ["https://id.example"]
"#;

/// An application and what is around it.
pub(crate) struct World {
    pub(crate) app: App,
    /// The tenants, as the application knows them.
    pub(crate) tenants: Arc<TenantsFile>,
    folder: Arc<TempDir>,
    clock: Arc<dyn Clock>,
    issuer: Option<Issuer>,
    schemas: Schemas,
    /// The other servers that there are.
    pub(crate) scripts: Arc<Scripts>,
    /// The connections of this process to them.
    pub(crate) upstreams: Arc<ScriptedUpstreams>,
    /// What is counted, where the plan says so.
    pub(crate) metrics: Option<Arc<Metrics>>,
    /// The session that callers with tokens share.
    shared: OnceCell<Arc<Client>>,
}

/// What a world is made of.
pub(crate) struct Prepared {
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) folder: Arc<TempDir>,
    pub(crate) issuer: Option<Issuer>,
    pub(crate) scripts: Arc<Scripts>,
}

/// What a world is to be like.
#[derive(Default)]
pub(crate) struct Plan {
    variables: Vec<(&'static str, String)>,
    tenants: Option<String>,
    by_token: bool,
    over_http: bool,
    clock: Option<Arc<ManualClock>>,
    folder: Option<Arc<TempDir>>,
    machines: Vec<(&'static str, &'static str)>,
    scripts: Option<Arc<Scripts>>,
    counted: bool,
}

/// A state machine that runs for a day.
const SAMPLE_MACHINE: &str =
    r#"{"StartAt": "Rest", "States": {"Rest": {"Type": "Wait", "Seconds": 86400, "End": true}}}"#;

impl Plan {
    /// With this variable in the environment.
    pub(crate) fn set(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// With this `tenants.toml`.
    pub(crate) fn tenants(mut self, toml: &str) -> Self {
        self.tenants = Some(toml.to_owned());
        self
    }

    /// With a state machine of that name.
    pub(crate) fn machine(mut self, name: &'static str, definition: &'static str) -> Self {
        self.machines.push((name, definition));
        self
    }

    /// Every request says by a token whose it is.
    pub(crate) fn by_token(mut self) -> Self {
        self.by_token = true;
        self
    }

    /// Requests say whose they are as they do over HTTP.
    pub(crate) fn over_http(mut self) -> Self {
        self.over_http = true;
        self
    }

    /// What happens is counted.
    pub(crate) fn counted(mut self) -> Self {
        self.counted = true;
        self
    }

    /// Time stands still until it is moved.
    pub(crate) fn clock(mut self, clock: &Arc<ManualClock>) -> Self {
        self.clock = Some(Arc::clone(clock));
        self
    }

    /// In the folder of `other`, as another process of the same user.
    pub(crate) fn beside(mut self, other: &World) -> Self {
        self.folder = Some(Arc::clone(&other.folder));
        self.scripts = Some(Arc::clone(&other.scripts));
        self
    }

    pub(crate) async fn open(self) -> World {
        let carrier = match self.over_http {
            true => Carrier::Http,
            false => Carrier::Pipes,
        };
        let counted = self.counted;
        let Prepared {
            config,
            clock,
            folder,
            issuer,
            scripts,
        } = self.prepare();
        let upstreams = Arc::new(ScriptedUpstreams::new(Arc::clone(&scripts)));
        let given = Arc::clone(&upstreams) as Arc<dyn Upstreams>;
        let metrics = counted.then(|| Metrics::new(&config.metrics, clock.as_ref()));
        let watch = Watch {
            metrics: metrics.clone(),
            is_traced: false,
        };
        let app = App::open_over(carrier, &config, Arc::clone(&clock), Some(given), watch)
            .await
            .expect("an application");
        World {
            app,
            tenants: config.tenants,
            folder,
            clock,
            issuer,
            schemas: schemas(),
            scripts,
            upstreams,
            metrics,
            shared: OnceCell::new(),
        }
    }

    /// The settings, and what they speak of.
    pub(crate) fn prepare(self) -> Prepared {
        let folder = self
            .folder
            .unwrap_or_else(|| Arc::new(TempDir::new().expect("a folder")));
        let path = folder.path().to_owned();
        let mut variables = self.variables;
        // A topic that the operator has set up, under the logical name by which tenants know it.
        variables.push((
            "AGENT_MESH_ALERT_TOPICS",
            "ops=arn:aws:sns:us-west-2:000000000000:ops".to_owned(),
        ));
        variables.push(("AGENT_MESH_DATA_DIR", text(&path.join("data"))));
        for (name, definition) in [("sample", SAMPLE_MACHINE)]
            .into_iter()
            .chain(self.machines)
        {
            let folder = path.join("data/workflows");
            std::fs::create_dir_all(&folder).expect("a folder");
            let file = folder.join(format!("{name}.asl.json"));
            std::fs::write(file, definition).expect("a file");
        }
        let file = path.join("tenants.toml");
        std::fs::write(&file, self.tenants.as_deref().unwrap_or(TENANTS)).expect("a file");
        variables.push(("AGENT_MESH_TENANTS_FILE", text(&file)));
        let issuer = self.by_token.then(Issuer::new);
        if let Some(issuer) = &issuer {
            let file = path.join("keys.json");
            std::fs::write(&file, issuer.key_set()).expect("a file");
            if !self.over_http {
                variables.push(("AGENT_MESH_IDENTITY", "jwt".to_owned()));
            }
            variables.push(("AGENT_MESH_JWKS", text(&file)));
            variables.push(("AGENT_MESH_JWT_ISSUER", ISSUER.to_owned()));
            variables.push(("AGENT_MESH_JWT_AUDIENCE", AUDIENCE.to_owned()));
        }
        let environment = Environment {
            variables: variables
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            working_dir: path.clone(),
            login_name: Some("ada".to_owned()),
            ..Environment::default()
        };
        let config = Config::from_sources(&Flags::new(), &environment, None)
            .unwrap_or_else(|errors| panic!("{errors}"));
        let clock: Arc<dyn Clock> = match self.clock {
            Some(clock) => clock,
            None => Arc::new(SystemClock::new()),
        };
        Prepared {
            config,
            clock,
            folder,
            issuer,
            scripts: self.scripts.unwrap_or_default(),
        }
    }
}

impl World {
    /// The tenant `local` and its only user, an administrator.
    pub(crate) async fn open() -> Self {
        Plan::default().open().await
    }

    /// The tenants `acme` and `globex`, whose users bring tokens.
    pub(crate) async fn of_two_tenants() -> Self {
        Plan::default().by_token().open().await
    }

    /// A session whose handshake has yet to come.
    pub(crate) fn connect(&self) -> Arc<Client> {
        Client::of(self.app.server(), &self.folder)
    }

    /// The process's own user over a session of its own.
    pub(crate) async fn caller(&self) -> Caller {
        let client = self.connect();
        client.initialize(REVISION).await;
        self.over(client)
    }

    /// The process's own user in the revision without a handshake, over a session of its own.
    pub(crate) fn stateless(&self) -> Caller {
        self.over(self.connect()).stateless()
    }

    /// Whoever calls over `client` without a token.
    pub(crate) fn over(&self, client: Arc<Client>) -> Caller {
        Caller::new(client, Arc::clone(&self.schemas))
    }

    /// A user who brings a token, over the one session that all such users share.
    pub(crate) async fn user(&self, tenant: &str, user: &str, role: &str) -> Caller {
        self.bearer(&self.token(&claims(tenant, user, role, self.now())))
            .await
    }

    /// Whoever brings this token, over the session that all who bring one share.
    pub(crate) async fn bearer(&self, token: &str) -> Caller {
        let client = self.shared.get_or_init(|| async {
            let client = self.connect();
            client.initialize(REVISION).await;
            client
        });
        self.over(Arc::clone(client.await))
            .with_meta(IDENTITY, token)
    }

    /// A token with these claims.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.issuer
            .as_ref()
            .expect("a world with tokens")
            .sign(claims)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn cloud(&self) -> &EmbeddedCloud {
        self.app.embedded().expect("the embedded cloud")
    }

    pub(crate) fn faults(&self) -> Faults {
        self.cloud().faults()
    }

    /// A file of this world.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// A clock that stands at an ordinary moment.
pub(crate) fn stopped_clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::from_millis(1_790_000_000_000)))
}

fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

/// What every tool says its results are, under every name that it is called by here.
fn schemas() -> Schemas {
    let described = Tool::ALL
        .into_iter()
        .filter_map(|tool| Some((tool, describe(tool)?)));
    let schema =
        |(tool, description): (Tool, agent_mesh::inbound::tool::description::Description)| {
            (
                tool.name().to_owned(),
                description.to_json()["outputSchema"].clone(),
            )
        };
    // What passes on the results of other servers says nothing of them.
    let schemas = described
        .map(schema)
        .filter(|(_, schema)| !schema.is_null());
    Arc::new(schemas.collect())
}
