//! Other servers as scripts: what each lists, whether it answers at all, and who is connected to it.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_mesh::mesh::channels::Channels;
use agent_mesh::mesh::integration::ServiceId;
use agent_mesh::mesh::integration::news::ConnectionChanged;
use agent_mesh::mesh::store::Reply;
use agent_mesh::mesh::tenant::TenantId;
use agent_mesh::mesh::upstream::{
    ConnectionKey, ConnectionPlan, ConnectionState, ConnectionTarget, Era, Phase, ServerIdentity,
    Upstream, UpstreamCall, UpstreamFault, UpstreamTool, Upstreams,
};
use agent_mesh::mesh::{Error, ErrorKind, Timestamp};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use secrecy::ExposeSecret as _;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::broadcast;

type List = Arc<Vec<UpstreamTool>>;

/// Every server that the connections of some processes lead to, by its address.
#[derive(Default)]
pub(crate) struct Scripts(Mutex<HashMap<String, Arc<Script>>>);

/// What one server does.
#[derive(Default)]
pub(crate) struct Script {
    /// Its tools, and those that it shows to one user only.
    tools: Mutex<List>,
    tools_of: Mutex<HashMap<String, List>>,
    generation: AtomicU64,
    /// Whoever holds it keeps connections from being opened.
    pub(crate) door: tokio::sync::Mutex<()>,
    /// How many have come to the door.
    pub(crate) knocks: AtomicU64,
    /// Connecting fails.
    pub(crate) refuses: AtomicBool,
    /// It no longer answers when it is asked for its tools.
    pub(crate) hangs: AtomicBool,
    /// What it was signed in with, connection by connection.
    pub(crate) sign_ins: Mutex<Vec<BTreeMap<String, String>>>,
}

/// The connections of one process to such servers.
pub(crate) struct ScriptedUpstreams {
    scripts: Arc<Scripts>,
    open: Mutex<HashMap<ConnectionKey, (String, Arc<Connection>)>>,
    tried: Mutex<HashMap<(ConnectionKey, String), Arc<Connection>>>,
    down: Mutex<Vec<ConnectionKey>>,
    changes: Channels<ConnectionChanged>,
}

struct Connection {
    user: String,
    script: Arc<Script>,
}

/// A tool with a description and an argument `text`.
pub(crate) fn tool(name: &str, description: &str) -> Value {
    json!({
        "name": name,
        "description": description,
        "inputSchema": {
            "type": "object",
            "properties": {"text": {"type": "string", "description": "What to say."}},
        },
        "annotations": {"readOnlyHint": true},
    })
}

fn list(tools: &[Value]) -> List {
    let tools = tools.iter().map(|definition| UpstreamTool {
        name: definition["name"].as_str().unwrap_or_default().to_owned(),
        definition: Arc::from(RawValue::from_string(definition.to_string()).expect("JSON")),
    });
    Arc::new(tools.collect())
}

impl Scripts {
    /// The server at `url`, which has one tool, `echo`, until it is told otherwise.
    pub(crate) fn at(&self, url: &str) -> Arc<Script> {
        let mut scripts = self.0.lock().unwrap();
        let script = scripts.entry(url.to_owned()).or_insert_with(|| {
            let script = Script::default();
            script.show(&[tool("echo", "Says what it is told.")]);
            Arc::new(script)
        });
        Arc::clone(script)
    }
}

impl Script {
    /// From now on it has these tools.
    pub(crate) fn show(&self, tools: &[Value]) {
        *self.tools.lock().unwrap() = list(tools);
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// From now on it shows `user` these tools.
    pub(crate) fn show_to(&self, user: &str, tools: &[Value]) {
        self.tools_of
            .lock()
            .unwrap()
            .insert(user.to_owned(), list(tools));
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    fn tools_for(&self, user: &str) -> List {
        let own = self.tools_of.lock().unwrap().get(user).cloned();
        own.unwrap_or_else(|| Arc::clone(&self.tools.lock().unwrap()))
    }
}

impl ScriptedUpstreams {
    pub(crate) fn new(scripts: Arc<Scripts>) -> Self {
        Self {
            scripts,
            open: Mutex::default(),
            tried: Mutex::default(),
            down: Mutex::default(),
            changes: Channels::default(),
        }
    }

    /// Who has connections open: tenant, user, service and connection.
    pub(crate) fn connected(&self) -> Vec<String> {
        let open = self.open.lock().unwrap();
        let tried = self.tried.lock().unwrap();
        let tried = tried.keys().map(|(key, _)| key);
        let keys = open.keys().chain(tried).map(|key| {
            let ConnectionKey {
                tenant,
                user,
                service,
                connection,
            } = key;
            format!("{tenant}/{user}/{service}/{connection}")
        });
        let mut keys: Vec<_> = keys.collect();
        keys.sort_unstable();
        keys
    }

    /// What is opened for `plan`.
    async fn opened(&self, plan: &ConnectionPlan) -> Result<Arc<Connection>, Error> {
        let ConnectionTarget::Remote { url, headers, .. } = &plan.target else {
            return Err(Error::new(
                ErrorKind::NotSupported,
                "scripts have addresses",
            ));
        };
        let script = self.scripts.at(url);
        script.knocks.fetch_add(1, Ordering::SeqCst);
        drop(script.door.lock().await);
        if script.refuses.load(Ordering::SeqCst) {
            return Err(Error::new(
                ErrorKind::UpstreamUnavailable,
                "the script refuses",
            ));
        }
        let shown = headers.iter();
        let shown = shown.map(|(name, text)| (name.clone(), text.expose_secret().to_owned()));
        script.sign_ins.lock().unwrap().push(shown.collect());
        Ok(Arc::new(Connection {
            user: plan.key.user.to_string(),
            script,
        }))
    }

    /// Every server has listed its tools anew.
    pub(crate) fn list_anew(&self) {
        let open: Vec<_> = self.open.lock().unwrap().keys().cloned().collect();
        for key in open {
            self.changes.announce(ConnectionChanged(Arc::new(key)));
        }
    }

    /// Every connection breaks, and those of `service` too often.
    pub(crate) fn break_all(&self, service: &str) {
        let mut open = self.open.lock().unwrap();
        let broken = open.drain().map(|(key, _)| key);
        let too_often = broken.filter(|key| key.service.as_str() == service);
        let too_often: Vec<_> = too_often.collect();
        self.down.lock().unwrap().extend(too_often.iter().cloned());
        for key in too_often {
            self.changes.announce(ConnectionChanged(Arc::new(key)));
        }
    }
}

impl Upstreams for ScriptedUpstreams {
    fn connect(&self, plan: ConnectionPlan) -> Reply<'_, Arc<dyn Upstream>> {
        async move {
            self.take_over(&plan.key, &plan.revision);
            if let Some(open) = self.open(&plan.key, &plan.revision) {
                return Ok(open);
            }
            let connection = self.opened(&plan).await?;
            let held = (plan.revision, Arc::clone(&connection));
            self.open.lock().unwrap().insert(plan.key, held);
            Ok(connection as Arc<dyn Upstream>)
        }
        .boxed()
    }

    fn try_out(&self, plan: ConnectionPlan) -> Reply<'_, Arc<dyn Upstream>> {
        async move {
            let connection = self.opened(&plan).await?;
            let held = Arc::clone(&connection);
            let place = (plan.key, plan.revision);
            self.tried.lock().unwrap().insert(place, held);
            Ok(connection as Arc<dyn Upstream>)
        }
        .boxed()
    }

    fn take_over(&self, key: &ConnectionKey, revision: &str) {
        let place = (key.clone(), revision.to_owned());
        if let Some(tried) = self.tried.lock().unwrap().remove(&place) {
            self.open.lock().unwrap().insert(place.0, (place.1, tried));
        }
    }

    fn retire<'a>(&'a self, key: &'a ConnectionKey, revision: &'a str) -> BoxFuture<'a, ()> {
        let place = (key.clone(), revision.to_owned());
        self.tried.lock().unwrap().remove(&place);
        let mut open = self.open.lock().unwrap();
        if open.get(key).is_some_and(|(held, _)| held == revision) {
            open.remove(key);
        }
        async {}.boxed()
    }

    fn open(&self, key: &ConnectionKey, revision: &str) -> Option<Arc<dyn Upstream>> {
        let open = self.open.lock().unwrap();
        let (held, connection) = open.get(key)?;
        (held == revision).then(|| Arc::clone(connection) as Arc<dyn Upstream>)
    }

    fn disconnect<'a>(&'a self, key: &'a ConnectionKey) -> BoxFuture<'a, ()> {
        self.open.lock().unwrap().remove(key);
        self.tried.lock().unwrap().retain(|(of, _), _| of != key);
        async {}.boxed()
    }

    fn forget<'a>(&'a self, tenant: &'a TenantId, service: &'a ServiceId) -> BoxFuture<'a, ()> {
        let is_other = |key: &ConnectionKey| key.tenant != *tenant || key.service != *service;
        self.open.lock().unwrap().retain(|key, _| is_other(key));
        self.tried
            .lock()
            .unwrap()
            .retain(|(key, _), _| is_other(key));
        async {}.boxed()
    }

    fn states(&self, tenant: Option<&TenantId>) -> Vec<ConnectionState> {
        let of = |key: &ConnectionKey, revision: &str, phase: Phase| ConnectionState {
            key: key.clone(),
            revision: revision.to_owned(),
            kind: "http",
            phase,
            process: None,
            since: Timestamp::from_millis(0),
            used_at: Timestamp::from_millis(0),
            restarts: 0,
            in_flight: 0,
            fault: (phase == Phase::Down).then(|| "it broke\u{202e} too often".to_owned()),
        };
        let open = self.open.lock().unwrap();
        let down = self.down.lock().unwrap();
        let open = open.iter();
        let open = open.map(|(key, (revision, _))| of(key, revision, Phase::Connected));
        let states = open.chain(down.iter().map(|key| of(key, "", Phase::Down)));
        states
            .filter(|state| tenant.is_none_or(|tenant| *tenant == state.key.tenant))
            .collect()
    }

    fn watch(&self, tenant: &TenantId) -> broadcast::Receiver<ConnectionChanged> {
        self.changes.watch(tenant)
    }

    fn check(&self, target: &ConnectionTarget) -> Result<(), Error> {
        match target {
            ConnectionTarget::Remote { url, .. } if url.contains(".invalid") => {
                Err(Error::invalid("url", "`url` may not be reached"))
            }
            _ => Ok(()),
        }
    }

    fn close(&self, _: Duration) -> BoxFuture<'_, ()> {
        self.open.lock().unwrap().clear();
        async {}.boxed()
    }
}

impl Upstream for Connection {
    fn identity(&self) -> ServerIdentity {
        ServerIdentity {
            name: "script".to_owned(),
            version: "1.0".to_owned(),
            protocol_version: "2025-11-25".to_owned(),
            era: Era::Sessions,
        }
    }

    fn tools(&self) -> Reply<'_, Arc<Vec<UpstreamTool>>> {
        if self.script.hangs.load(Ordering::SeqCst) {
            return std::future::pending().boxed();
        }
        let tools = self.script.tools_for(&self.user);
        async { Ok(tools) }.boxed()
    }

    fn tools_generation(&self) -> u64 {
        self.script.generation.load(Ordering::SeqCst)
    }

    fn call<'a>(
        &'a self,
        call: UpstreamCall<'a>,
    ) -> BoxFuture<'a, Result<Box<RawValue>, UpstreamFault>> {
        let text = json!({ "called": call.tool }).to_string();
        let result = json!({
            "content": [{"type": "text", "text": text}],
            "structuredContent": {"called": call.tool},
            "isError": false,
        });
        let result = RawValue::from_string(result.to_string()).expect("JSON");
        async { Ok(result) }.boxed()
    }

    fn ping(&self) -> Reply<'_, Duration> {
        async { Ok(Duration::from_micros(250)) }.boxed()
    }
}
