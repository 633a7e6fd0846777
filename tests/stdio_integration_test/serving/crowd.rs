//! Thousands who connect and say nothing, and thousands who begin a session and never come back.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;
use tokio::net::TcpSocket;

use super::SignedIn;

/// How many connections say nothing, where this process may have so many.
const IDLE_CONNECTIONS: usize = 10_000;

/// How many sessions are begun and left.
const ABANDONED_SESSIONS: u64 = 5_000;

/// What a session may leave behind, in bytes.
const SESSION_BYTES_MAX: u64 = 8 * 1024;

/// What a connection that says nothing may take, in bytes: 15 KB were seen with a debug build.
const CONNECTION_BYTES_MAX: u64 = 24 * 1024;

/// What the process may take besides, in bytes: buffers that grow once.
const SLACK_BYTES: u64 = 16 * 1024 * 1024;

/// A client, and who it asks.
struct Asking {
    client: reqwest::Client,
    signed_in: SignedIn,
}

impl Asking {
    async fn initialize(&self) -> String {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "crowd", "version": "1"},
        }});
        let response = self
            .client
            .post(self.signed_in.serving.url())
            .bearer_auth(&self.signed_in.token)
            .header("content-type", "application/json")
            .body(message.to_string())
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let session = response.headers()["mcp-session-id"]
            .to_str()
            .unwrap()
            .to_owned();
        response.bytes().await.unwrap();
        session
    }
}

fn with(test: impl AsyncFnOnce(Asking)) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let asking = Asking {
        client: reqwest::Client::builder().no_proxy().build().unwrap(),
        signed_in: SignedIn::start(folder.path()),
    };
    runtime.block_on(test(asking));
}

#[test]
fn sessions_that_are_left_leave_nothing_behind() {
    with(async |asking| {
        for _ in 0..500 {
            asking.initialize().await;
        }
        let before = asking.signed_in.serving.memory_bytes();
        let mut last = String::new();
        for _ in 0..ABANDONED_SESSIONS {
            last = asking.initialize().await;
        }
        let grown = asking
            .signed_in
            .serving
            .memory_bytes()
            .saturating_sub(before);
        assert!(
            grown < ABANDONED_SESSIONS * SESSION_BYTES_MAX,
            "{grown} bytes for {ABANDONED_SESSIONS} sessions"
        );
        assert!(!last.is_empty());
    });
}

#[test]
fn connections_that_say_nothing_take_little_and_hold_up_nobody() {
    with(async |asking| {
        // Other tests run in this process as well, and need some of what it may have open.
        let files = agent_mesh::platform::raise_descriptors().unwrap_or(1024);
        let most = usize::try_from(files / 2).unwrap_or(IDLE_CONNECTIONS);
        for _ in 0..200 {
            asking.initialize().await;
        }
        let before = asking.signed_in.serving.memory_bytes();
        let mut idle = Vec::new();
        for _ in 0..IDLE_CONNECTIONS.min(most) {
            // From an address of its own: ports of 127.0.0.1 that other tests look for stay free.
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.7:0".parse().unwrap()).unwrap();
            let address = asking.signed_in.serving.address().parse().unwrap();
            idle.push(socket.connect(address).await.unwrap());
        }
        tokio::time::timeout(Duration::from_secs(60), asking.initialize())
            .await
            .expect("an answer");
        let grown = asking
            .signed_in
            .serving
            .memory_bytes()
            .saturating_sub(before);
        let most = idle.len() as u64 * CONNECTION_BYTES_MAX + SLACK_BYTES;
        assert!(grown < most, "{grown} bytes for {} connections", idle.len());
    });
}
