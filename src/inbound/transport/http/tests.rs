//! A listener with a probe behind it: exchanges, streams, connections, and what clients do wrong.

mod connections;
mod event_streams;
mod exchanges;
mod sockets;
mod streams;
pub(crate) mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use reqwest::{Client, RequestBuilder, Response};
use rmcp::model::ErrorCode;
use rmcp::{Peer, RoleServer};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::inbound::session::probe::{Probe, Seen};
use crate::inbound::sign_in::SignIn;
use crate::inbound::transport::{sse, websocket};
use crate::mesh::tenant::IdentityError;
use crate::mesh::{Clock, ManualClock, Timestamp};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whoever brings a token is called by it, and who brings none is nobody.
struct TestFront {
    seen: Arc<Seen>,
    gate: Arc<Semaphore>,
    ends_at: Option<Timestamp>,
}

impl TestFront {
    fn probe(&self) -> Probe {
        Probe {
            seen: Arc::clone(&self.seen),
            gate: Arc::clone(&self.gate),
        }
    }
}

impl Front for TestFront {
    type Handler = Probe;

    async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Refused> {
        let refused = |challenge| Refused {
            challenge,
            code: ErrorCode(-32010),
        };
        let sign_in = SignIn::by_operator();
        let token = sign_in.token(headers).map_err(refused)?;
        let Some(token) = token else {
            return Err(refused(sign_in.refused(IdentityError::Missing)));
        };
        let mut key = [0; 16];
        key[..token.len()].copy_from_slice(token.as_bytes());
        Ok(Caller {
            token: Some(token.to_owned()),
            key,
            share: token.split('.').next().unwrap().into(),
            ends_at: self.ends_at,
        })
    }

    fn out_of_scope(&self, _: Permission) -> Refused {
        unreachable!("the probe asks for no permission")
    }

    fn mirrored(&self, tool: &str) -> Vec<Mirrored> {
        let region = Mirrored {
            header: "Region".to_owned(),
            path: vec!["region".to_owned()],
        };
        match tool {
            "mirrored" => vec![region],
            _ => Vec::new(),
        }
    }

    fn handler(&self) -> Probe {
        self.probe()
    }

    fn session(&self) -> Probe {
        self.probe()
    }

    fn streaming(&self, _: Peer<RoleServer>) -> Probe {
        self.probe()
    }

    fn again(&self, handler: &Probe) -> Probe {
        Probe {
            seen: Arc::clone(&handler.seen),
            gate: Arc::clone(&handler.gate),
        }
    }
}

/// What a server of a test is to be like.
struct Plan {
    connections: usize,
    silence: Duration,
    streams: usize,
    ends_at: Option<Timestamp>,
    drain: Duration,
    folder: &'static str,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            connections: 1000,
            silence: PATIENCE,
            streams: 16,
            ends_at: None,
            drain: PATIENCE,
            folder: "",
        }
    }
}

/// A server, and a client of it.
struct World {
    address: SocketAddr,
    client: Client,
    seen: Arc<Seen>,
    gate: Arc<Semaphore>,
    begin: CancellationToken,
    serving: JoinHandle<()>,
    http: Arc<Http<TestFront>>,
    figures: Arc<Figures>,
}

impl World {
    async fn open() -> Self {
        Self::of(Plan::default()).await
    }

    async fn of(plan: Plan) -> Self {
        let (seen, gate) = (Arc::new(Seen::default()), Arc::new(Semaphore::new(0)));
        let front = TestFront {
            seen: Arc::clone(&seen),
            gate: Arc::clone(&gate),
            ends_at: plan.ends_at,
        };
        let drain = Drain {
            begin: CancellationToken::new(),
            delay: Duration::ZERO,
            finish: plan.drain,
            cut: CancellationToken::new(),
            ending: CancellationToken::new(),
        };
        let keys = SessionKeys::new(&[vec![7; 32].into()]).unwrap();
        let clock: Arc<dyn Clock> =
            Arc::new(ManualClock::at(Timestamp::from_millis(1_790_000_000_000)));
        let figures = Arc::<Figures>::default();
        let http = Http::new(
            front,
            keys,
            plan.streams,
            clock,
            drain.ending.clone(),
            Arc::clone(&figures),
        );
        let listener = Listener::bind(ListenerSettings {
            bind: "127.0.0.1:0".parse().unwrap(),
            tls: None,
            connections_max: plan.connections,
            silence_max: plan.silence,
            figures: Arc::clone(&figures),
        });
        let listener = listener.await.unwrap();
        let address = listener.address().unwrap();
        let gate_of_hosts = Gate::new(address.ip(), &[], &[]);
        let routes = http
            .routes()
            .merge(websocket::routes(&http))
            .merge(sse::routes(&http, plan.folder));
        let router = guarded(routes, gate_of_hosts, None);
        let begin = drain.begin.clone();
        let serving = tokio::spawn(listener.serve(router, drain));
        Self {
            address,
            client: Client::builder().no_proxy().build().unwrap(),
            seen,
            gate,
            begin,
            serving,
            http,
            figures,
        }
    }

    fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// A request of `ada`, who takes anything.
    fn post(&self, message: &Value) -> RequestBuilder {
        self.client
            .post(self.url())
            .bearer_auth("ada")
            .header("accept", "application/json, text/event-stream")
            .message(message)
    }

    /// The session that a handshake begins.
    async fn session(&self, capabilities: Value) -> String {
        let params = json!({"protocolVersion": "2025-06-18", "capabilities": capabilities,
            "clientInfo": {"name": "test", "version": "1"}});
        let response = self
            .post(&request(1, "initialize", &params))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.headers()["mcp-session-id"]
            .to_str()
            .unwrap()
            .to_owned()
    }

    /// A call of `tool` within a session.
    fn call(&self, session: &str, id: u64, tool: &str) -> RequestBuilder {
        let params = json!({"name": tool, "_meta": {"progressToken": "p"}});
        self.post(&request(id, "tools/call", &params))
            .header("mcp-session-id", session)
    }

    fn stream(&self, session: &str) -> RequestBuilder {
        self.client
            .get(self.url())
            .bearer_auth("ada")
            .header("accept", "text/event-stream")
            .header("mcp-session-id", session)
    }

    /// Waits until so many handlers are running.
    async fn running(&self, count: usize) {
        let running = || self.seen.running.load(std::sync::atomic::Ordering::SeqCst);
        let waiting = async {
            while running() != count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .unwrap_or_else(|_| panic!("{} are running", running()));
    }
}

/// A body that is a message.
trait Message {
    fn message(self, message: &Value) -> Self;
}

impl Message for RequestBuilder {
    fn message(self, message: &Value) -> Self {
        self.header("content-type", "application/json")
            .body(message.to_string())
    }
}

fn request(id: u64, method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

/// A call in the revision without sessions, with the headers that it wants.
fn stateless(builder: RequestBuilder, method: &str, name: &str) -> RequestBuilder {
    builder
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", method)
        .header("mcp-name", name)
}

fn stateless_call(tool: &str) -> Value {
    let params = json!({"name": tool, "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "progressToken": "p",
    }});
    request(1, "tools/call", &params)
}

async fn json_of(response: Response) -> Value {
    assert_eq!(response.headers()["content-type"], "application/json");
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

/// The data of the events of a whole stream.
async fn events_of(response: Response) -> Vec<Value> {
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    events_in(&response.text().await.unwrap())
}

fn events_in(text: &str) -> Vec<Value> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
    lines
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}
