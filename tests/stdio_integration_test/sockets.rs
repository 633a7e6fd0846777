//! Connections that last: WebSocket, the event streams of the first revision, and dashboards, with real clients.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::{SinkExt, StreamExt};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::requirement::left_out;
use crate::server::{Server, Start, WAIT_MAX, run_to_end};

/// How long a whole round of a client may take; starting an interpreter is most of it.
const ROUND_MAX: Duration = Duration::from_secs(60);

/// Who has a token: tenant, user and role.
const PEOPLE: [[&str; 3]; 4] = [
    ["acme", "ada", "user"],
    ["acme", "amy", "admin"],
    ["acme", "vic", "viewer"],
    ["globex", "bob", "admin"],
];

/// A server that listens.
struct Served {
    server: Server,
    start: Start,
    address: String,
    tokens: Vec<String>,
    _folder: tempfile::TempDir,
}

impl Served {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tenants = "[tenants.acme]\n[tenants.globex]\n";
        std::fs::write(folder.path().join("tenants.toml"), tenants).unwrap();
        let start = Start::on(folder.path())
            .set("AGENT_MESH_TENANTS_FILE", "tenants.toml")
            .set("AGENT_MESH_ANONYMOUS", "true")
            .set("AGENT_MESH_ANONYMOUS_ROLE", "user")
            .set("AGENT_MESH_BIND", "127.0.0.1:0");
        let tokens = PEOPLE.map(|person| token(&start, person)).into();
        let server = start.clone().arguments(&["serve"]).spawn();
        let deadline = Instant::now() + WAIT_MAX;
        let address = loop {
            let log = server.log();
            let found = log.split_once(" address=").map(|(_, rest)| rest);
            if let Some((address, _)) = found.and_then(|rest| rest.split_once(char::is_whitespace))
            {
                break address.to_owned();
            }
            assert!(Instant::now() < deadline, "it does not listen:\n{log}");
            std::thread::sleep(Duration::from_millis(10));
        };
        Self {
            server,
            start,
            address,
            tokens,
            _folder: folder,
        }
    }

    /// The token of `user`.
    fn token(&self, user: &str) -> &str {
        let position = PEOPLE.iter().position(|[_, name, _]| *name == user);
        &self.tokens[position.unwrap()]
    }

    async fn dashboard(&self, user: &str) -> Socket {
        let tcp = TcpStream::connect(&self.address).await.unwrap();
        let url = format!("ws://{}/dashboard", self.address);
        let mut request = url.into_client_request().unwrap();
        let encoded = URL_SAFE_NO_PAD.encode(self.token(user));
        let offered = format!("dashboard, bearer.{encoded}");
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", offered.parse().unwrap());
        let (socket, response) = client_async(request, tcp).await.unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], "dashboard");
        Socket(socket)
    }
}

/// Makes a token.
fn token(start: &Start, [tenant, user, role]: [&str; 3]) -> String {
    let words = [
        "tokens", "create", "--tenant", tenant, "--user", user, "--role", role,
    ];
    let output = start.clone().arguments(&words).run();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.trim().to_owned()
}

/// A dashboard's end of its connection.
struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    async fn send(&mut self, message: Value) {
        self.0
            .send(Message::text(message.to_string()))
            .await
            .unwrap();
    }

    async fn next(&mut self) -> Value {
        loop {
            let next = tokio::time::timeout(WAIT_MAX, self.0.next()).await;
            match next.expect("something in time") {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn ask(&mut self, message: Value) -> Value {
        let id = message["id"].clone();
        self.send(message).await;
        let answer = self.next().await;
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn tool(name: &str, path: &str) -> Option<PathBuf> {
    let path = repository("target/test-tools").join(path);
    if path.exists() {
        return Some(path);
    }
    left_out(name, "run scripts/test-tools.sh");
    None
}

fn lines_of(command: &mut Command) -> Vec<Value> {
    let output = run_to_end(command, ROUND_MAX);
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{log}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn typescript(sdk: &str) {
    let Some(node) = tool("typescript", "node/node_modules/.bin/node") else {
        return;
    };
    let Some(sdk) = tool("typescript", &format!("node/node_modules/{sdk}")) else {
        return;
    };
    let served = Served::open();
    let token = served.token("ada");
    let mut command = served.start.command_by(node);
    command
        .arg(repository("tests/clients/sockets_client.mjs"))
        .arg(sdk);
    command.args([&format!("http://{}", served.address), token]);
    let report = lines_of(&mut command).remove(0);
    for way in ["sse", "websocket"] {
        let seen = &report[way];
        assert_eq!(seen["server"], "agent-mesh", "{report}");
        assert_eq!(
            (&seen["same"], &seen["many"]),
            (&json!(true), &json!(50)),
            "{report}"
        );
        assert_eq!(seen["faults"], json!([]), "{report}");
        assert!(
            seen["tools"].as_u64().is_some_and(|count| count > 10),
            "{report}"
        );
    }
}

#[test]
fn the_typescript_sdk_of_today() {
    typescript("sdk-new");
}

#[test]
fn the_typescript_sdk_that_the_dashboard_uses() {
    typescript("@modelcontextprotocol/sdk");
}

fn python(environment: &str) {
    let Some(python) = tool("python", &format!("{environment}/bin/python")) else {
        return;
    };
    let served = Served::open();
    let token = served.token("ada");
    let mut command = served.start.command_by(python);
    command.arg(repository("tests/clients/sse_client.py"));
    command.args([&format!("http://{}", served.address), token]);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    let report = lines_of(&mut command).remove(0);
    assert_eq!(report["version"], "2025-11-25", "{report}");
    assert_eq!(report["same"], 32, "{report}");
}

#[test]
fn the_python_package_of_today_over_event_streams() {
    python("python");
}

#[test]
fn the_python_package_of_the_first_line_over_event_streams() {
    python("python-1");
}

#[test]
fn the_example_of_a_dashboard() {
    let Some(node) = tool("typescript", "node/node_modules/.bin/node") else {
        return;
    };
    let mut served = Served::open();
    let token = served.token("ada");
    let mut command = served.start.command_by(node);
    command
        .arg("--no-warnings")
        .arg(repository("docs/examples/dashboard.ts"));
    command.args([&format!("ws://{}/dashboard", served.address), token]);
    let lines = lines_of(&mut command);
    let [info, tools, result, told, state, refused] = lines.as_slice() else {
        panic!("{lines:?}");
    };
    assert_eq!(info["server"]["name"], "agent-mesh");
    assert_eq!(info["context"]["tenant_id"], "acme");
    assert_eq!(info["context"]["role"], "user");
    assert!(
        tools["tools"]
            .as_array()
            .unwrap()
            .contains(&json!("kv_set"))
    );
    assert_eq!(result["result"]["structuredContent"]["key"], "seen");
    let event = &told["told"]["event"];
    assert_eq!(
        (&event["detail_type"], &event["user_id"]),
        (&json!("KV.Set"), &json!("ada"))
    );
    assert_eq!(event["detail"]["key"], "seen", "{told}");
    assert_eq!(state["health"], "healthy", "{state}");
    assert!(
        state["metrics"]["totals"].is_object() || state["metrics"].is_object(),
        "{state}"
    );
    assert_eq!(refused["refused"], "PERMISSION_DENIED");
    served.server.signal(Signal::TERM);
    assert!(served.server.end().success(), "{}", served.server.log());
}

#[tokio::test]
async fn a_dashboard_hears_what_its_own_tenant_does_and_its_reader_may_read() {
    let served = Served::open();
    let mut ada = served.dashboard("ada").await;
    let mut amy = served.dashboard("amy").await;
    let mut bob = served.dashboard("bob").await;
    let subscribe = json!({"id": 1, "type": "subscribe_events", "filter": {"tool": "kv_set"}});
    for socket in [&mut ada, &mut amy, &mut bob] {
        let answer = socket.ask(subscribe.clone()).await;
        assert_eq!(answer["type"], "subscribe_events_result", "{answer}");
    }
    let others = json!({"id": 2, "type": "subscribe_events", "filter": {"user_id": "amy"}});
    let refused = ada.ask(others).await;
    assert_eq!(refused["error"]["code"], "PERMISSION_DENIED", "{refused}");
    let set = |key: &str| json!({"id": 3, "type": "mcp_call", "tool": "kv_set", "arguments": {"key": key, "value": 1}});
    // The event comes before the answer or after it; nobody else's comes at all.
    for (socket, key) in [(&mut bob, "of-bob"), (&mut amy, "of-amy")] {
        let mut came = Vec::new();
        socket.send(set(key)).await;
        for _ in 0..2 {
            came.push(socket.next().await);
        }
        let event = came.iter().find(|message| message["type"] == "event");
        assert_eq!(event.unwrap()["event"]["detail"]["key"], key, "{came:?}");
    }
    let mut came = Vec::new();
    ada.send(set("of-ada")).await;
    for _ in 0..2 {
        came.push(ada.next().await);
    }
    let event = came
        .iter()
        .find(|message| message["type"] == "event")
        .unwrap();
    assert_eq!(event["event"]["user_id"], "ada", "{came:?}");
    // An administrator hears of all, each tenant of itself.
    let heard = amy.next().await;
    assert_eq!(heard["event"]["detail"]["key"], "of-ada", "{heard}");
    let quiet = bob
        .ask(json!({"id": 4, "type": "unsubscribe_events"}))
        .await;
    assert_eq!(
        quiet,
        json!({"id": 4, "type": "unsubscribe_events_result", "ended": 1})
    );
}

#[tokio::test]
async fn what_a_dashboard_says_wrongly_is_answered_and_the_connection_lives_on() {
    let served = Served::open();
    let mut socket = served.dashboard("vic").await;
    for (message, code) in [
        (json!({"id": 1, "type": "dance"}), "UNKNOWN_TYPE"),
        (json!({"id": 1, "type": "mcp_call"}), "INVALID_PARAMETER"),
        (
            json!({"id": 1, "type": "mcp_call", "tool": "no_such"}),
            "NOT_FOUND",
        ),
        (
            json!({"id": 1, "type": "mcp_call", "tool": "kv_get", "arguments": []}),
            "INVALID_PARAMETER",
        ),
        (
            json!({"id": 1, "type": "mcp_call", "tool": "kv_set", "arguments": {"key": "a", "value": 1}}),
            "PERMISSION_DENIED",
        ),
        (
            json!({"id": 1, "type": "subscribe_events", "filter": {"color": "red"}}),
            "INVALID_PARAMETER",
        ),
        (
            json!({"id": 1, "type": "unsubscribe_events", "subscription": "7"}),
            "NOT_FOUND",
        ),
        (
            json!({"id": 1, "type": "context_switch", "tenant": "globex"}),
            "PERMISSION_DENIED",
        ),
        (
            json!({"id": 1, "type": "context_switch", "org_id": "o"}),
            "PERMISSION_DENIED",
        ),
    ] {
        let answer = socket.ask(message.clone()).await;
        assert_eq!(answer["error"]["code"], code, "{message}: {answer}");
    }
    for broken in ["nonsense", "{}", "[1]", r#"{"id":null,"type":"x"}"#] {
        socket.0.send(Message::text(broken)).await.unwrap();
        let answer = socket.next().await;
        assert_eq!(
            answer["error"]["code"], "INVALID_MESSAGE",
            "{broken}: {answer}"
        );
        assert!(answer.get("id").is_none());
    }
    let own = socket
        .ask(json!({"id": "a", "type": "context_switch", "tenant": "acme"}))
        .await;
    assert_eq!(own["context"]["user_id"], "vic", "{own}");
    // Of a tool that nobody calls, so that nothing is told in between.
    let filter = json!({"tool": "nothing"});
    for number in 1..=9 {
        let answer = socket
            .ask(json!({"id": number, "type": "subscribe_events", "filter": filter}))
            .await;
        let is_one_too_many = number == 9;
        assert_eq!(
            answer["error"]["code"] == "QUOTA_EXCEEDED",
            is_one_too_many,
            "{answer}"
        );
    }
}
