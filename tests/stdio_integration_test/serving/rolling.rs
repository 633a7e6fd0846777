//! A rolling restart under load, behind what a load balancer does: it asks for readiness, sends to who is ready, and
//! tries another one where a connection is refused.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Serving, SignedIn};
use crate::server::Start;

/// How often the balancer asks each process whether it is ready.
const HEALTH_INTERVAL: Duration = Duration::from_millis(50);

/// How often the processes are replaced, all of them each time.
const ROUNDS: usize = 3;

/// How many processes there are at once.
const PROCESSES: usize = 2;

/// How many clients call at once.
const CLIENTS: usize = 8;

/// How many calls each generation has to answer before the next one comes.
const CALLS_PER_ROUND: usize = 300;

/// A key that every process seals with.
const STATE_KEY: &str = "8B8TzTrlZ6SSjMXgqvlvWCsyaZoVcWgSRHdNqGYTqIk=";

/// How long the whole may take on a busy machine.
const TIME_MAX: Duration = Duration::from_secs(180);

/// What stands before the processes.
#[derive(Default)]
struct Balancer {
    /// The addresses that are ready.
    ready: Mutex<Vec<String>>,
    next: AtomicUsize,
}

impl Balancer {
    /// One of those that are ready.
    fn pick(&self) -> Option<String> {
        let ready = self.ready.lock().unwrap();
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        ready.get(next % ready.len().max(1)).cloned()
    }

    /// Asks all of `addresses` again and again.
    async fn watch(&self, client: &reqwest::Client, addresses: &Mutex<Vec<String>>) {
        loop {
            let all = addresses.lock().unwrap().clone();
            let mut ready = Vec::new();
            for address in all {
                let url = format!("http://{address}/health/ready");
                let told = client.get(url).send().await;
                if told.is_ok_and(|told| told.status() == StatusCode::OK) {
                    ready.push(address);
                }
            }
            *self.ready.lock().unwrap() = ready;
            tokio::time::sleep(HEALTH_INTERVAL).await;
        }
    }

    /// Sends a request on, to another process where one takes no connection.
    async fn send(
        &self,
        client: &reqwest::Client,
        token: &str,
        session: Option<&str>,
        message: &Value,
    ) -> reqwest::Response {
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < TIME_MAX, "no process is ready");
            let Some(address) = self.pick() else {
                tokio::time::sleep(HEALTH_INTERVAL).await;
                continue;
            };
            let mut request = client
                .post(format!("http://{address}/mcp"))
                .bearer_auth(token)
                .header("accept", "application/json, text/event-stream")
                .header("content-type", "application/json")
                .body(message.to_string());
            if let Some(session) = session {
                request = request.header("mcp-session-id", session);
            }
            match request.send().await {
                Ok(response) => return response,
                Err(error) if error.is_connect() => tokio::time::sleep(HEALTH_INTERVAL).await,
                Err(error) => panic!("a call is lost at {address}: {error:?}"),
            }
        }
    }
}

fn request(id: usize, method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

/// Stores one key after the other in one session, until told to stop. Returns the keys that were stored.
async fn client(
    number: usize,
    balancer: Arc<Balancer>,
    token: String,
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
) -> BTreeSet<String> {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "rolling", "version": "1"}});
    let hello = request(0, "initialize", &params);
    let response = balancer.send(&http, &token, None, &hello).await;
    let session = response.headers()["mcp-session-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let mut keys = BTreeSet::new();
    for call in 1.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("rolling/{number}/{call}");
        let params = json!({"name": "kv_set", "arguments": {"key": key, "value": call}});
        let message = request(call, "tools/call", &params);
        let response = balancer.send(&http, &token, Some(&session), &message).await;
        assert_eq!(
            response.status(),
            StatusCode::OK,
            "call {call} of client {number}"
        );
        let body = response.bytes().await.unwrap();
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(answer["id"], call, "{answer}");
        assert_eq!(answer["result"]["isError"], false, "{answer}");
        keys.insert(key);
        calls.fetch_add(1, Ordering::Relaxed);
    }
    keys
}

fn start(folder: &std::path::Path) -> Serving {
    let start = Start::on(folder)
        .generous()
        .set("AGENT_MESH_STATE_KEYS", STATE_KEY)
        .set("AGENT_MESH_DRAIN_DELAY_MS", "1000");
    Serving::of(start)
}

/// The processes, what stands before them, and those who call.
struct Scene {
    runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
    token: String,
    balancer: Arc<Balancer>,
    addresses: Arc<Mutex<Vec<String>>>,
    calls: Arc<AtomicUsize>,
    processes: Vec<Serving>,
}

impl Scene {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build();
        let mut scene = Self {
            runtime: runtime.unwrap(),
            token: SignedIn::token(folder.path()),
            balancer: Arc::default(),
            addresses: Arc::default(),
            calls: Arc::default(),
            processes: Vec::new(),
            folder,
        };
        for _ in 0..PROCESSES {
            scene.add();
        }
        let (balancer, addresses) = (Arc::clone(&scene.balancer), Arc::clone(&scene.addresses));
        scene.runtime.spawn(async move {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            balancer.watch(&client, &addresses).await;
        });
        scene
    }

    fn add(&mut self) {
        self.processes.push(start(self.folder.path()));
        self.tell();
    }

    /// Ends the oldest process, of which the balancer hears by its readiness first.
    fn remove(&mut self) {
        let mut oldest = self.processes.remove(0);
        oldest.end();
        self.tell();
    }

    fn tell(&self) {
        let addresses = self.processes.iter().map(|one| one.address().to_owned());
        *self.addresses.lock().unwrap() = addresses.collect();
    }

    /// Waits until so many more calls have been answered.
    fn answered(&self, count: usize) {
        let (begun, before) = (Instant::now(), self.calls.load(Ordering::Relaxed));
        let more = || self.calls.load(Ordering::Relaxed) - before;
        while more() < count {
            assert!(begun.elapsed() < TIME_MAX, "{} of {count} calls", more());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What all pages say.
    async fn told(
        &self,
        tool: &str,
        arguments: Value,
        list: &str,
        member: &str,
    ) -> BTreeSet<String> {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        pages(
            &http,
            &self.balancer,
            &self.token,
            tool,
            arguments,
            list,
            member,
        )
        .await
    }
}

#[test]
fn a_rolling_restart_loses_no_call_and_no_event() {
    let mut scene = Scene::open();
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (balancer, token) = (Arc::clone(&scene.balancer), scene.token.clone());
            let (stop, calls) = (Arc::clone(&stop), Arc::clone(&scene.calls));
            let client = client(number, balancer, token, stop, calls);
            scene.runtime.spawn(client)
        })
        .collect();
    for _ in 0..ROUNDS * PROCESSES {
        scene.answered(CALLS_PER_ROUND);
        scene.add();
        scene.remove();
    }
    scene.answered(CALLS_PER_ROUND);
    stop.store(true, Ordering::Relaxed);
    let mut keys = BTreeSet::new();
    for client in clients {
        keys.extend(scene.runtime.block_on(client).expect("a client"));
    }
    assert!(keys.len() >= (ROUNDS * PROCESSES + 1) * CALLS_PER_ROUND);
    scene.runtime.block_on(async {
        let all = json!({"prefix": "rolling/", "limit": 1000});
        let stored = scene.told("kv_list", all, "items", "key").await;
        assert!(stored.is_superset(&keys), "a value is missing");
        let begun = Instant::now();
        loop {
            let all = json!({"detail_type": "KV.Set", "limit": 100});
            let told = scene.told("events_query", all, "events", "detail").await;
            if told.is_superset(&keys) {
                return;
            }
            let (told, calls) = (told.len(), keys.len());
            assert!(begun.elapsed() < TIME_MAX, "{told} events of {calls} calls");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
}

/// What all pages of a list say in `member`.
async fn pages(
    http: &reqwest::Client,
    balancer: &Balancer,
    token: &str,
    tool: &str,
    mut arguments: Value,
    list: &str,
    member: &str,
) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    loop {
        let hello = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": {"name": "rolling", "version": "1"}});
        let params = json!({"name": tool, "arguments": arguments, "_meta": hello});
        let address = balancer.pick().expect("a process");
        let response = http
            .post(format!("http://{address}/mcp"))
            .bearer_auth(token)
            .header("content-type", "application/json")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", tool)
            .body(request(1, "tools/call", &params).to_string())
            .send()
            .await
            .unwrap();
        let answer: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        let page = &answer["result"]["structuredContent"];
        let items = page[list].as_array().unwrap_or_else(|| panic!("{answer}"));
        for item in items {
            let named = match &item[member] {
                Value::String(text) => text.clone(),
                detail => detail["key"].as_str().unwrap_or_default().to_owned(),
            };
            found.insert(named);
        }
        match page["next_cursor"].as_str() {
            Some(cursor) => arguments["cursor"] = cursor.into(),
            None => return found,
        }
    }
}
