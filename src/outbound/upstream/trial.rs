//! Servers in memory for the tests: each is a script that reads what is sent and says what it likes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::dialect::STATELESS;
use super::link::{INCOMING_QUEUE, Incoming, Link, Links, Opened, Outgoing};
use crate::mesh::integration::{ConnectionId, RemoteKind};
use crate::mesh::store::Reply;
use crate::mesh::upstream::{
    ConnectionKey, ConnectionPlan, ConnectionSecrets, ConnectionTarget, Era, SignIn, UpstreamCall,
};
use crate::mesh::{Error, ErrorKind};

/// How long a test waits for what must come.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A plan of `user`'s for a remote server.
pub(super) fn plan(user: &str, revision: &str) -> ConnectionPlan {
    ConnectionPlan {
        key: ConnectionKey {
            tenant: "acme".parse().unwrap(),
            user: user.parse().unwrap(),
            service: "notes".parse().unwrap(),
            connection: ConnectionId::default(),
        },
        revision: revision.to_owned(),
        target: ConnectionTarget::Remote {
            kind: RemoteKind::Http,
            url: "https://notes.example/mcp".to_owned(),
            headers: BTreeMap::new(),
            sign_in: SignIn::Headers,
        },
        secrets: ConnectionSecrets::default(),
        era: Some(Era::Sessions),
        children_max: 2,
    }
}

/// The same for a child.
pub(super) fn child_plan(user: &str, revision: &str) -> ConnectionPlan {
    ConnectionPlan {
        target: ConnectionTarget::Command {
            command: "notes".to_owned(),
            args: Vec::new(),
            env: BTreeMap::new(),
        },
        ..plan(user, revision)
    }
}

/// A call of `tool` with a minute's time.
pub(super) fn call<'a>(tool: &'a str, arguments: Option<&'a RawValue>) -> UpstreamCall<'a> {
    UpstreamCall {
        tool,
        arguments,
        continued: None,
        timeout: Duration::from_secs(60),
        trace: None,
        progress: None,
        input: None,
        cancelled: CancellationToken::new(),
    }
}

/// JSON text.
pub(super) fn raw(value: &Value) -> Box<RawValue> {
    RawValue::from_string(value.to_string()).unwrap()
}

type Script = Arc<dyn Fn(Wire) -> BoxFuture<'static, ()> + Send + Sync>;

/// Links to servers that follow a script.
pub(super) struct Trial {
    script: Script,
    alive: watch::Sender<usize>,
    opened: AtomicUsize,
    most: Arc<AtomicUsize>,
}

impl Trial {
    /// Every link leads to a server that does this.
    pub(super) fn new<F: Future<Output = ()> + Send + 'static>(
        script: impl Fn(Wire) -> F + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            script: Arc::new(move |wire| script(wire).boxed()),
            alive: watch::Sender::new(0),
            opened: AtomicUsize::new(0),
            most: Arc::default(),
        })
    }

    /// How many links were opened.
    pub(super) fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }

    /// How many were open at once.
    pub(super) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    /// Waits until this many links are left.
    pub(super) async fn left(&self, count: usize) {
        let mut alive = self.alive.subscribe();
        let reached = alive.wait_for(|alive| *alive == count);
        tokio::time::timeout(PATIENCE, reached)
            .await
            .unwrap()
            .unwrap();
    }
}

impl Links for Trial {
    fn open<'a>(&'a self, plan: &'a ConnectionPlan) -> Reply<'a, Opened> {
        async move {
            let number = self.opened.fetch_add(1, Ordering::SeqCst);
            let (sent, received) = mpsc::channel(1024);
            let (say, incoming) = mpsc::channel(INCOMING_QUEUE);
            self.alive.send_modify(|alive| *alive += 1);
            self.most.fetch_max(*self.alive.borrow(), Ordering::SeqCst);
            let wire = Wire {
                number,
                user: plan.key.user.to_string(),
                received,
                say,
            };
            let server = tokio::spawn((self.script)(wire)).abort_handle();
            let link = Arc::new(TrialLink {
                sent,
                server,
                alive: self.alive.clone(),
                is_over: AtomicBool::new(false),
            });
            Ok(Opened { link, incoming })
        }
        .boxed()
    }

    fn check(&self, _: &ConnectionTarget) -> Result<(), Error> {
        Ok(())
    }
}

struct TrialLink {
    sent: mpsc::Sender<Outgoing>,
    server: AbortHandle,
    alive: watch::Sender<usize>,
    is_over: AtomicBool,
}

impl TrialLink {
    fn end(&self) {
        if !self.is_over.swap(true, Ordering::SeqCst) {
            self.server.abort();
            self.alive.send_modify(|alive| *alive -= 1);
        }
    }
}

impl Link for TrialLink {
    fn send(&self, message: Outgoing) -> Reply<'_, ()> {
        async move {
            assert!(!message.text.contains('\n'), "{}", message.text);
            let sent = self.sent.send(message).await;
            sent.map_err(|_| Error::new(ErrorKind::UpstreamUnavailable, "it does not read"))
        }
        .boxed()
    }

    fn process(&self) -> Option<u32> {
        Some(7)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.end();
        async {}.boxed()
    }
}

impl Drop for TrialLink {
    fn drop(&mut self) {
        self.end();
    }
}

/// The server's end.
pub(super) struct Wire {
    /// How many links were opened before.
    pub(super) number: usize,
    /// Whose connection it is.
    pub(super) user: String,
    received: mpsc::Receiver<Outgoing>,
    say: mpsc::Sender<Incoming>,
}

/// What the client sent.
#[derive(Debug)]
pub(super) struct Asked {
    /// The message.
    pub(super) message: Value,
}

impl Asked {
    pub(super) fn id(&self) -> i64 {
        self.message["id"].as_i64().unwrap()
    }

    pub(super) fn method(&self) -> &str {
        self.message["method"].as_str().unwrap_or_default()
    }

    pub(super) fn tool(&self) -> &str {
        self.message["params"]["name"].as_str().unwrap_or_default()
    }
}

impl Wire {
    /// The next message; where none comes any more, the server waits for its end.
    pub(super) async fn next(&mut self) -> Asked {
        match self.received.recv().await {
            Some(sent) => Asked {
                message: serde_json::from_str(&sent.text).unwrap(),
            },
            None => std::future::pending().await,
        }
    }

    /// The next message of that method.
    pub(super) async fn next_of(&mut self, method: &str) -> Asked {
        loop {
            let asked = self.next().await;
            if asked.method() == method {
                return asked;
            }
        }
    }

    /// Says this text. Whether it was taken.
    pub(super) async fn say(&self, text: impl Into<String>) -> bool {
        self.say.send(Incoming::Message(text.into())).await.is_ok()
    }

    /// Says what the link would.
    pub(super) async fn tell(&self, incoming: Incoming) -> bool {
        self.say.send(incoming).await.is_ok()
    }

    /// Answers with a result.
    pub(super) async fn answer(&self, asked: &Asked, result: Value) -> bool {
        self.say(json!({"jsonrpc": "2.0", "id": asked.id(), "result": result}).to_string())
            .await
    }

    /// Answers with an error.
    pub(super) async fn refuse(&self, asked: &Asked, code: i64) -> bool {
        let error = json!({"code": code, "message": "no"});
        self.say(json!({"jsonrpc": "2.0", "id": asked.id(), "error": error}).to_string())
            .await
    }

    /// Does what every server of `era` does: handshake, pings, and a list with the tool `echo`. What it does
    /// not know comes back.
    pub(super) async fn ordinary(&mut self, era: Era) -> Asked {
        loop {
            let asked = self.next().await;
            match (asked.method(), era) {
                ("initialize", Era::Sessions) => self.answer(&asked, initialized()).await,
                ("server/discover", Era::Stateless) => self.answer(&asked, discovered()).await,
                ("initialize" | "server/discover", _) => self.refuse(&asked, -32601).await,
                ("ping", _) => self.answer(&asked, json!({})).await,
                ("tools/list", _) => self.answer(&asked, json!({"tools": [tool("echo")]})).await,
                ("notifications/initialized", _) => true,
                _ => return asked,
            };
        }
    }

    /// An ordinary server whose tool `echo` gives its arguments back, until it is ended.
    pub(super) async fn echo(mut self, era: Era) {
        loop {
            let asked = self.ordinary(era).await;
            if asked.method() == "tools/call" {
                self.answer(&asked, asked.message["params"]["arguments"].clone())
                    .await;
            }
        }
    }
}

/// The definition of a tool.
pub(super) fn tool(name: &str) -> Value {
    json!({"name": name, "inputSchema": {"type": "object"}, "x-own": 1})
}

/// The result of `initialize`.
pub(super) fn initialized() -> Value {
    json!({
        "protocolVersion": "2025-06-18",
        "capabilities": {"tools": {"listChanged": true}},
        "serverInfo": {"name": "trial", "version": "1"},
    })
}

/// The result of `server/discover`.
pub(super) fn discovered() -> Value {
    json!({
        "resultType": "complete",
        "supportedVersions": [STATELESS],
        "capabilities": {"tools": {"listChanged": true}},
        "ttlMs": 0,
        "cacheScope": "private",
        "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "trial", "version": "2"}},
    })
}
