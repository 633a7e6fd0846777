//! An application behind its listener, and people who ask it by address with tokens.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agent_mesh::app::{End, Serving};
use agent_mesh::config::{Config, Environment, Flags};
use agent_mesh::mesh::tenant::{Permission, PermissionSet};
use agent_mesh::mesh::upstream::Upstreams;
use agent_mesh::mesh::{SystemClock, Timestamp};
use agent_mesh::outbound::embedded::Faults;
use agent_mesh::outbound::tokens::{self, NewToken};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Method, RequestBuilder, StatusCode};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::bus::Heard;
use super::client::patiently;
use super::upstreams::{ScriptedUpstreams, Scripts};
use super::world::TENANTS;

/// Who has a token: the name, the tenant, the role and what the token is narrowed to.
const PEOPLE: [(&str, &str, &str, Option<&[Permission]>); 5] = [
    ("ada", "acme", "user", None),
    ("amy", "acme", "admin", None),
    ("vic", "acme", "viewer", None),
    ("nat", "acme", "user", Some(&[Permission::KvRead])),
    ("bob", "globex", "admin", None),
];

/// What a server is to be like.
#[derive(Default)]
pub(crate) struct ServePlan {
    variables: Vec<(&'static str, String)>,
    tenants: Option<String>,
}

/// An application that is served, until it is dropped.
pub(crate) struct Served {
    /// Everything that the bus has taken.
    pub(crate) heard: Heard,
    address: SocketAddr,
    operators: Option<SocketAddr>,
    faults: Faults,
    /// The other servers that there are.
    pub(crate) scripts: Arc<Scripts>,
    people: [(&'static str, String); PEOPLE.len()],
    _folder: TempDir,
    client: reqwest::Client,
    running: JoinHandle<()>,
}

/// A response, read whole.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

/// Somebody with a token, or without one.
#[derive(Clone)]
pub(crate) struct Person {
    client: reqwest::Client,
    address: SocketAddr,
    token: Option<String>,
}

impl ServePlan {
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

    pub(crate) async fn open(self) -> Served {
        let folder = TempDir::new().expect("a folder");
        let people = PEOPLE.map(|(user, tenant, role, scope)| {
            (user, mint(folder.path(), tenant, user, role, scope))
        });
        let config = self.config(folder.path());
        let scripts = Arc::<Scripts>::default();
        let upstreams = Arc::new(ScriptedUpstreams::new(Arc::clone(&scripts)));
        let upstreams = Some(upstreams as Arc<dyn Upstreams>);
        let clock = Arc::new(SystemClock::new());
        let serving = Serving::open_with(&config, End::default(), clock, upstreams);
        let serving = serving.await.expect("a server");
        let cloud = serving.app().embedded().expect("the embedded cloud");
        Served {
            heard: Heard::of(cloud),
            address: serving.address(),
            operators: serving.operators_address().expect("an address"),
            faults: cloud.faults(),
            scripts,
            people,
            _folder: folder,
            client: reqwest::Client::builder()
                .no_proxy()
                .build()
                .expect("a client"),
            running: tokio::spawn(serving.run()),
        }
    }

    fn config(self, folder: &Path) -> Config {
        let text = |path: PathBuf| path.to_str().expect("UTF-8").to_owned();
        let tenants = folder.join("tenants.toml");
        std::fs::write(&tenants, self.tenants.as_deref().unwrap_or(TENANTS)).expect("a file");
        let own = [
            ("AGENT_MESH_DATA_DIR", text(folder.join("data"))),
            ("AGENT_MESH_TENANTS_FILE", text(tenants)),
            ("AGENT_MESH_TOKENS_FILE", text(folder.join("tokens.toml"))),
            ("AGENT_MESH_BIND", "127.0.0.1:0".to_owned()),
        ];
        let variables = own.into_iter().chain(self.variables);
        let environment = Environment {
            variables: variables
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            working_dir: folder.to_owned(),
            login_name: Some("ada".to_owned()),
            ..Environment::default()
        };
        Config::from_sources(&Flags::new(), &environment, None)
            .unwrap_or_else(|errors| panic!("{errors}"))
    }
}

fn mint(
    folder: &Path,
    tenant: &str,
    user: &str,
    role: &str,
    scope: Option<&[Permission]>,
) -> String {
    let new = NewToken {
        tenant: tenant.parse().expect("a tenant"),
        user: user.parse().expect("a user"),
        role: role.parse().expect("a role"),
        scope: scope.map(PermissionSet::of),
        expires: None,
    };
    let now = Timestamp::from_millis(1_790_000_000_000);
    let made = tokens::create(&folder.join("tokens.toml"), new, now);
    made.expect("a token").0.expose_secret().to_owned()
}

impl Served {
    /// Two tenants, `acme` and `globex`.
    pub(crate) async fn open() -> Self {
        ServePlan::default().open().await
    }

    /// One of the people who have a token: ada, a user of acme; amy, its administrator; vic, a viewer; nat, a user
    /// whose token is narrowed to reading values; bob, the administrator of globex.
    pub(crate) fn person(&self, name: &str) -> Person {
        let found = self.people.iter().find(|(known, _)| *known == name);
        self.bearer(&found.expect("one who is known").1)
    }

    /// Whoever brings this token.
    pub(crate) fn bearer(&self, token: &str) -> Person {
        Person {
            token: Some(token.to_owned()),
            ..self.nobody()
        }
    }

    /// Whoever brings none.
    pub(crate) fn nobody(&self) -> Person {
        Person {
            client: self.client.clone(),
            address: self.address,
            token: None,
        }
    }

    /// What operators are told of its metrics, by a connection that is closed again.
    pub(crate) async fn metrics(&self) -> String {
        let address = self.operators.expect("AGENT_MESH_METRICS_BIND");
        let asked = self.client.get(format!("http://{address}/metrics"));
        told(asked.header("connection", "close")).await.text
    }

    pub(crate) fn faults(&self) -> &Faults {
        &self.faults
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Person {
    /// The token that this person brings.
    pub(crate) fn token(&self) -> &str {
        self.token.as_deref().expect("a token")
    }

    /// Where this person asks.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A request to be made more of.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("http://{}{path}", self.address);
        let request = self.client.request(method, url);
        match &self.token {
            Some(token) => request.header(AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Told {
        told(self.request(Method::GET, path)).await
    }

    /// Calls a tool with what stands in `body`.
    pub(crate) async fn post(&self, tool: &str, body: impl Into<reqwest::Body>) -> Told {
        let path = format!("/tools/{tool}");
        told(self.request(Method::POST, &path).body(body)).await
    }

    /// What a tool answers that works.
    pub(crate) async fn ok(&self, tool: &str, arguments: Value) -> Value {
        let told = self.post(tool, arguments.to_string()).await;
        assert_eq!(told.status, StatusCode::OK, "{tool}: {told:?}");
        told.json()
    }

    /// The status and the code of what a tool answers that fails.
    pub(crate) async fn fail(&self, tool: &str, arguments: Value) -> (u16, String) {
        let told = self.post(tool, arguments.to_string()).await;
        (told.status.as_u16(), told.code())
    }
}

/// What a request is answered.
pub(crate) async fn told(request: RequestBuilder) -> Told {
    let response = patiently(request.send()).await.expect("a response");
    let (status, headers) = (response.status(), response.headers().clone());
    let text = patiently(response.text()).await.expect("its body");
    Told {
        status,
        headers,
        text,
    }
}

impl Told {
    pub(crate) fn json(&self) -> Value {
        let media = HeaderValue::from_static("application/json");
        assert_eq!(self.headers.get("content-type"), Some(&media), "{self:?}");
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The code of the error that it is.
    pub(crate) fn code(&self) -> String {
        let json = self.json();
        let code = json["error"]["code"].as_str();
        code.unwrap_or_else(|| panic!("no error: {self:?}"))
            .to_owned()
    }

    /// The text of one of its headers.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}
