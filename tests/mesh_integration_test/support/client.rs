//! A client of one session: it writes lines, and hands each line that comes back to whoever waits for it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_mesh::inbound::server::Server;
use agent_mesh::inbound::session::{DrainTimes, Ended, serve};
use agent_mesh::inbound::transport::{Limits, memory};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::answer::Fault;

/// How long anything is waited for before the test has failed. Far above what a busy machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A result as its exact text, or an error of the protocol.
pub(crate) type Response = Result<String, Fault>;

type Waiting = Arc<Mutex<HashMap<String, oneshot::Sender<Response>>>>;

/// One session, from its client's side.
pub(crate) struct Client {
    writer: tokio::sync::Mutex<Option<WriteHalf<DuplexStream>>>,
    waiting: Waiting,
    others: tokio::sync::Mutex<mpsc::UnboundedReceiver<Value>>,
    next_id: AtomicU64,
    /// Ends the session as SIGTERM does.
    pub(crate) shutdown: CancellationToken,
    session: Mutex<Option<JoinHandle<Ended>>>,
    /// What must not be removed while the session lives.
    _folder: Arc<TempDir>,
}

impl Client {
    /// A session of `server` whose handshake has yet to come.
    pub(crate) fn of(server: Server, folder: &Arc<TempDir>) -> Arc<Self> {
        let (transport, pipe) = memory(Limits::default());
        let shutdown = CancellationToken::new();
        let session = tokio::spawn(serve(
            server,
            transport,
            shutdown.clone(),
            DrainTimes::default(),
        ));
        let (reader, writer) = tokio::io::split(pipe);
        let (sender, others) = mpsc::unbounded_channel();
        let waiting = Waiting::default();
        tokio::spawn(read(reader, Arc::clone(&waiting), sender));
        Arc::new(Self {
            writer: tokio::sync::Mutex::new(Some(writer)),
            waiting,
            others: tokio::sync::Mutex::new(others),
            next_id: AtomicU64::new(1),
            shutdown,
            session: Mutex::new(Some(session)),
            _folder: Arc::clone(folder),
        })
    }

    /// Writes a line as it is.
    pub(crate) async fn write(&self, line: &[u8]) {
        let mut writer = self.writer.lock().await;
        let writer = writer.as_mut().expect("the input has not ended");
        writer.write_all(line).await.expect("the session reads");
        writer.write_all(b"\n").await.expect("the session reads");
    }

    /// Ends the input, and waits for the session to end.
    pub(crate) async fn end(&self) -> Ended {
        let writer = self.writer.lock().await.take();
        writer
            .expect("ended once")
            .shutdown()
            .await
            .expect("an open session");
        self.ended().await
    }

    /// Waits for the session to end.
    pub(crate) async fn ended(&self) -> Ended {
        let session = self
            .session
            .lock()
            .unwrap()
            .take()
            .expect("waited for once");
        patiently(session)
            .await
            .expect("the session does not panic")
    }

    /// An id that no request of this client has had.
    pub(crate) fn new_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends a request whose parameters are JSON text.
    pub(crate) async fn request(&self, method: &str, params: &str) -> Response {
        let id = self.new_id();
        patiently(self.begin(id, method, params).await)
            .await
            .expect("an answer")
    }

    /// Sends a request and does not wait for its answer.
    pub(crate) async fn begin(
        &self,
        id: u64,
        method: &str,
        params: &str,
    ) -> oneshot::Receiver<Response> {
        let line =
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#);
        self.begin_line(id, &line).await
    }

    /// Sends a line that is a request with this id, and does not wait for its answer.
    pub(crate) async fn begin_line(&self, id: u64, line: &str) -> oneshot::Receiver<Response> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().unwrap().insert(id.to_string(), sender);
        self.write(line.as_bytes()).await;
        receiver
    }

    /// Sends a notification.
    pub(crate) async fn notify(&self, method: &str, params: Value) {
        let line = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        self.write(line.to_string().as_bytes()).await;
    }

    /// The next message that answers no request: a notification, or an error without an id.
    pub(crate) async fn other(&self) -> Value {
        patiently(async { self.others.lock().await.recv().await })
            .await
            .expect("a message")
    }

    /// Every message of that kind that has come and was not asked for yet.
    pub(crate) async fn others_so_far(&self) -> Vec<Value> {
        let mut others = self.others.lock().await;
        std::iter::from_fn(|| others.try_recv().ok()).collect()
    }

    /// The handshake of an older revision; answers what the server says of itself.
    pub(crate) async fn initialize(&self, version: &str) -> Value {
        let params = json!({
            "protocolVersion": version, "capabilities": {},
            "clientInfo": { "name": "test", "version": "1" },
        });
        let result = self
            .request("initialize", &params.to_string())
            .await
            .expect("a handshake");
        self.notify("notifications/initialized", json!({})).await;
        serde_json::from_str(&result).expect("JSON")
    }
}

/// What `future` comes to, within [`PATIENCE`].
pub(crate) async fn patiently<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it did not happen in time")
}

async fn read(
    reader: ReadHalf<DuplexStream>,
    waiting: Waiting,
    others: mpsc::UnboundedSender<Value>,
) {
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await.expect("lines of UTF-8") {
        let (id, response) = match envelope(&line) {
            Envelope::Response(id, response) => (id, response),
            Envelope::Other(message) => {
                let _ = others.send(message);
                continue;
            }
        };
        let waiter = waiting.lock().unwrap().remove(&id);
        match waiter {
            Some(waiter) => drop(waiter.send(response)),
            None => {
                let message = json!({ "unasked": id, "answer": response.is_ok() });
                let _ = others.send(message);
            }
        }
    }
}

enum Envelope {
    Response(String, Response),
    Other(Value),
}

/// Reads a line of the server and holds it to JSON-RPC: no unknown member, and none without a value.
fn envelope(line: &str) -> Envelope {
    let members: HashMap<String, Box<RawValue>> =
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    for (name, member) in &members {
        let known = ["jsonrpc", "id", "method", "params", "result", "error"];
        assert!(
            known.contains(&name.as_str()),
            "`{name}` is no member of JSON-RPC: {line}"
        );
        assert_ne!(member.get(), "null", "`{name}` has no value: {line}");
    }
    assert_eq!(members["jsonrpc"].get(), "\"2.0\"", "{line}");
    match (
        members.get("id"),
        members.get("result"),
        members.get("error"),
    ) {
        (Some(id), Some(result), None) => {
            Envelope::Response(id.get().to_owned(), Ok(result.get().to_owned()))
        }
        (Some(id), None, Some(error)) => {
            let fault = serde_json::from_str(error.get()).expect("an error of JSON-RPC");
            Envelope::Response(id.get().to_owned(), Err(fault))
        }
        (_, None, _) => Envelope::Other(serde_json::from_str(line).expect("JSON")),
        _ => panic!("neither an answer nor a notification: {line}"),
    }
}
