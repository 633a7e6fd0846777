//! A handler that does what tests ask it to, and a client that speaks in lines.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorCode,
    ListToolsResult, PaginatedRequestParams, PingRequest, ProgressNotificationParam,
    ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, ServerCapabilities,
    ServerConfig, ServerRequest, SubscriptionFilter,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{DrainTimes, Ended, Gatekeeper, serve};
use crate::inbound::transport::http::tests::wire;
use crate::inbound::transport::{Limits, PresentedIdentity, RawArguments, ReplySlot, memory};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) started: AtomicUsize,
    pub(crate) running: AtomicUsize,
    pub(crate) most_running: AtomicUsize,
    pub(crate) initialized: AtomicUsize,
}

struct RunningNow(Arc<Seen>);

impl RunningNow {
    fn new(seen: &Arc<Seen>) -> Self {
        seen.started.fetch_add(1, Ordering::SeqCst);
        let running = seen.running.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most_running.fetch_max(running, Ordering::SeqCst);
        Self(Arc::clone(seen))
    }
}

impl Drop for RunningNow {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(crate) struct Probe {
    pub(crate) seen: Arc<Seen>,
    /// Calls of `wait` and `stubborn` end with a permit of it.
    pub(crate) gate: Arc<Semaphore>,
}

impl Probe {
    async fn call(
        &self,
        name: &str,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResult, ErrorData> {
        let _running = RunningNow::new(&self.seen);
        let arguments = context.extensions.get::<RawArguments>();
        let text = |text: String| CallToolResult::success(vec![ContentBlock::text(text)]);
        match name {
            "echo" => {
                let raw = arguments.map_or("null", RawArguments::get);
                let slot = ReplySlot::of(&context.extensions).unwrap();
                slot.fill(format!(r#"{{"content":[],"echo":{raw}}}"#));
                Ok(text("never sent".to_owned()))
            }
            "typed" | "mirrored" => Ok(text("typed".to_owned())),
            "large" => Ok(text("x".repeat(50_000))),
            "fail" => {
                ReplySlot::of(&context.extensions)
                    .unwrap()
                    .fill("{}".to_owned());
                Err(ErrorData::new(ErrorCode(-32010), "no", Some(Value::Null)))
            }
            "identity" => {
                let identity = context.extensions.get::<PresentedIdentity>().unwrap();
                let PresentedIdentity { token, foreign } = identity;
                let shown = json!({"token": token, "foreign": foreign, "meta": context.meta});
                Ok(text(shown.to_string()))
            }
            "version" => Ok(text(context.protocol_version().unwrap().to_string())),
            "wait" => {
                tokio::select! {
                    permit = self.gate.acquire() => permit.unwrap().forget(),
                    () = context.ct.cancelled() => return Ok(text("cancelled".to_owned())),
                }
                Ok(text("waited".to_owned()))
            }
            "stubborn" => {
                self.gate.acquire().await.unwrap().forget();
                Ok(text("waited".to_owned()))
            }
            "panic" => panic!("the handler's words"),
            "progress" => {
                let token = context.meta.get_progress_token().unwrap();
                for step in 1..=3 {
                    let param = ProgressNotificationParam::new(token.clone(), f64::from(step));
                    context.peer.notify_progress(param).await.unwrap();
                }
                Ok(text("progressed".to_owned()))
            }
            "ask" => {
                let ping = ServerRequest::PingRequest(PingRequest {
                    method: Default::default(),
                    extensions: Default::default(),
                });
                let answer = context.peer.send_request(ping).await;
                Ok(text(format!("{}", answer.is_ok())))
            }
            _ => Err(ErrorData::invalid_params("unknown tool", None)),
        }
    }
}

impl Gatekeeper for Probe {
    async fn before_listening(
        &self,
        _requested: &SubscriptionFilter,
        _context: &mut RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }
}

impl ServerHandler for Probe {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(
            ServerCapabilities::builder()
                .enable_tools()
                .enable_tool_list_changed()
                .build(),
        )
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        assert!(request.arguments.is_none());
        self.call(&request.name, context).await.map(Into::into)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(Vec::new()))
    }

    async fn read_resource(
        &self,
        _: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        self.call("wait", context).await?;
        Ok(ReadResourceResult::new(Vec::new()).into())
    }

    fn accepted_subscription_filter(
        &self,
        asked: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(asked.clone())
    }

    async fn on_initialized(&self, _: rmcp::service::NotificationContext<RoleServer>) {
        self.seen.initialized.fetch_add(1, Ordering::SeqCst);
    }
}

/// A client's end of a session with a [`Probe`].
pub(crate) struct Client {
    pub(crate) reader: BufReader<ReadHalf<DuplexStream>>,
    pub(crate) writer: Option<WriteHalf<DuplexStream>>,
    pub(crate) seen: Arc<Seen>,
    pub(crate) gate: Arc<Semaphore>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) session: JoinHandle<Ended>,
}

impl Client {
    /// A session before its handshake.
    pub(crate) fn new(limits: Limits) -> Self {
        Self::with_times(limits, DrainTimes::default())
    }

    pub(crate) fn with_times(limits: Limits, times: DrainTimes) -> Self {
        let seen = Arc::new(Seen::default());
        let gate = Arc::new(Semaphore::new(0));
        let probe = Probe {
            seen: Arc::clone(&seen),
            gate: Arc::clone(&gate),
        };
        let (transport, client) = memory(limits);
        let shutdown = CancellationToken::new();
        let session = tokio::spawn(serve(probe, transport, shutdown.clone(), times));
        Self::at(client, seen, gate, shutdown, session)
    }

    /// A client at this end of a session.
    pub(crate) fn at(
        end: DuplexStream,
        seen: Arc<Seen>,
        gate: Arc<Semaphore>,
        shutdown: CancellationToken,
        session: JoinHandle<Ended>,
    ) -> Self {
        let (reader, writer) = tokio::io::split(end);
        Self {
            reader: BufReader::new(reader),
            writer: Some(writer),
            seen,
            gate,
            shutdown,
            session,
        }
    }

    /// A session before its handshake, over the wire that the test is run over.
    pub(crate) async fn open() -> Self {
        wire::open().await
    }

    /// A session after a handshake in `version`.
    pub(crate) async fn greeted(version: &str) -> Self {
        let mut client = Self::open().await;
        client.greet(version).await;
        client
    }

    pub(crate) async fn greet(&mut self, version: &str) -> Value {
        self.send(&initialize("hello", version)).await;
        let answer = self.receive().await;
        assert_eq!(answer["id"], "hello", "{answer}");
        self.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)
            .await;
        answer
    }

    pub(crate) async fn send(&mut self, line: &str) {
        self.send_bytes(format!("{line}\n").as_bytes()).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        let writer = self.writer.as_mut().unwrap();
        timeout(PATIENCE, writer.write_all(bytes))
            .await
            .expect("the server reads")
            .expect("the server is there");
    }

    /// The next line as it came.
    pub(crate) async fn receive_line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.reader.read_line(&mut line))
            .await
            .expect("an answer in time")
            .unwrap();
        (read > 0).then(|| line.trim_end().to_owned())
    }

    /// The next message, whose envelope must be in order.
    pub(crate) async fn receive(&mut self) -> Value {
        let line = self.receive_line().await.expect("an answer");
        let message: Value = serde_json::from_str(&line).expect("JSON");
        for message in message
            .as_array()
            .map_or(vec![&message], |all| all.iter().collect())
        {
            assert_eq!(message["jsonrpc"], "2.0", "{line}");
            let envelope = message.as_object().unwrap();
            assert!(envelope.values().all(|member| !member.is_null()), "{line}");
            if let Some(error) = message.get("error") {
                let error = error.as_object().unwrap();
                assert!(error.values().all(|member| !member.is_null()), "{line}");
            }
        }
        message
    }

    /// A request and its answer, when nothing else is on its way.
    pub(crate) async fn ask(&mut self, line: &str) -> Value {
        self.send(line).await;
        self.receive().await
    }

    /// Shows that the session lives and that nothing else was on its way.
    pub(crate) async fn ping(&mut self) {
        let answer = self.ask(&request("\"alive\"", "ping", "{}")).await;
        assert_eq!(
            answer,
            json!({"jsonrpc": "2.0", "id": "alive", "result": {}})
        );
    }

    /// Waits until `condition` holds.
    pub(crate) async fn until(&self, condition: impl Fn(&Seen) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !condition(&self.seen) {
            assert!(tokio::time::Instant::now() < deadline, "in time");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Reads `count` lines and closes the client's end of the input.
    pub(crate) async fn finish_reading(mut self, count: usize) -> (usize, JoinHandle<Ended>) {
        let mut lines = 0;
        while lines < count && self.receive_line().await.is_some() {
            lines += 1;
        }
        (lines, self.session)
    }

    /// Closes the client's end of the input and returns everything that is still answered.
    pub(crate) async fn finish(mut self) -> (Vec<Value>, Ended) {
        if let Some(mut writer) = self.writer.take() {
            writer.shutdown().await.unwrap();
        }
        let mut answers = Vec::new();
        while let Some(line) = self.receive_line().await {
            answers.push(serde_json::from_str(&line).unwrap());
        }
        (answers, self.session.await.unwrap())
    }
}

pub(crate) fn initialize(id: &str, version: &str) -> String {
    let params = json!({
        "protocolVersion": version,
        "capabilities": {},
        "clientInfo": {"name": "probe", "version": "1"},
    });
    request(&format!("\"{id}\""), "initialize", &params.to_string())
}

pub(crate) fn request(id: &str, method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
}

pub(crate) fn call(id: impl std::fmt::Display, tool: &str) -> String {
    let params = format!(r#"{{"name":"{tool}","arguments":{{}}}}"#);
    request(&id.to_string(), "tools/call", &params)
}

pub(crate) fn cancel(id: impl std::fmt::Display) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
    )
}

/// The `_meta` that makes a request of 2026-07-28 complete.
pub(crate) const STATELESS: &str = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"probe","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}"#;

pub(crate) fn code(answer: &Value) -> i64 {
    answer["error"]["code"].as_i64().unwrap_or_default()
}

pub(crate) fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"]
        .as_str()
        .unwrap_or_default()
}
