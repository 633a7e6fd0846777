//! What operators see of a listener: what is open there, and what it has turned away.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::{Method, Response, StatusCode};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::support::client::patiently;
use crate::support::served::{Person, ServePlan, Served, told};
use crate::watching::value;

/// A server whose operators see its metrics.
fn watched() -> ServePlan {
    ServePlan::default().set("AGENT_MESH_METRICS_BIND", "127.0.0.1:0")
}

/// A WebSocket of `person` at `path`, or the status that refuses it.
async fn socket(person: &Person, path: &str) -> Result<WebSocketStream<TcpStream>, StatusCode> {
    let address: SocketAddr = person.address();
    let tcp = TcpStream::connect(address).await.unwrap();
    let mut request = format!("ws://{address}{path}")
        .into_client_request()
        .unwrap();
    let bearer = format!("Bearer {}", person.token());
    request
        .headers_mut()
        .insert("authorization", bearer.parse().unwrap());
    match patiently(client_async(request, tcp)).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(response)) => Err(response.status()),
        Err(error) => panic!("{error}"),
    }
}

/// An event stream of `person` at `path`, in a session where there is one.
async fn stream(person: &Person, path: &str, session: Option<&str>) -> Response {
    let mut request = person.request(Method::GET, path);
    request = request.header("accept", "text/event-stream");
    if let Some(session) = session {
        request = request.header("mcp-session-id", session);
    }
    let response = patiently(request.send()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    response
}

/// The session that a handshake of `person` begins.
async fn session(person: &Person) -> String {
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"}}});
    let request = person.request(Method::POST, "/mcp");
    let request = request.header("content-type", "application/json");
    let hello = told(request.body(hello.to_string())).await;
    hello
        .header("mcp-session-id")
        .expect("a session")
        .to_owned()
}

/// How many streams of each kind are open.
fn streams(text: &str) -> [f64; 4] {
    ["events", "sse", "websocket", "dashboard"]
        .map(|kind| value(text, "agent_mesh_http_streams", &[("kind", kind)]))
}

fn connections(text: &str) -> f64 {
    value(text, "agent_mesh_http_connections", &[])
}

fn refused(text: &str, reason: &str) -> f64 {
    value(text, "agent_mesh_http_refused_total", &[("reason", reason)])
}

/// Reads the metrics until they are as they should be.
async fn becomes(served: &Served, is_so: impl Fn(&str) -> bool) {
    patiently(async {
        while !is_so(&served.metrics().await) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn connections_and_streams_are_seen_while_they_are_open_and_by_no_other_route_than_their_own()
{
    let served = watched().open().await;
    let ada = served.person("ada");
    let before = served.metrics().await;
    assert_eq!(
        (connections(&before), streams(&before)),
        (0.0, [0.0; 4]),
        "{before}"
    );
    let websocket = socket(&ada, "/ws").await.unwrap();
    let text = served.metrics().await;
    assert_eq!(
        (connections(&text), streams(&text)),
        (1.0, [0.0, 0.0, 1.0, 0.0])
    );
    drop(websocket);
    becomes(&served, |text| {
        connections(text) == 0.0 && streams(text) == [0.0; 4]
    })
    .await;

    let dashboard = socket(&ada, "/dashboard").await.unwrap();
    let sse = stream(&ada, "/sse", None).await;
    let events = stream(&ada, "/mcp", Some(&session(&ada).await)).await;
    let text = served.metrics().await;
    assert_eq!(streams(&text), [1.0, 1.0, 0.0, 1.0]);
    assert!(connections(&text) >= 3.0, "{text}");
    drop(sse);
    becomes(&served, |text| streams(text) == [1.0, 0.0, 0.0, 1.0]).await;
    drop((dashboard, events));
    becomes(&served, |text| streams(text) == [0.0; 4]).await;

    let text = served.metrics().await;
    let requests = |route| value(&text, "agent_mesh_http_requests_total", &[("route", route)]);
    assert_eq!(
        ["/ws", "/dashboard", "/sse", "/mcp"].map(requests),
        [1.0, 1.0, 1.0, 2.0]
    );
    assert_eq!(requests("other"), 0.0, "{text}");
}

#[tokio::test]
async fn what_is_turned_away_is_counted_by_its_reason_and_what_a_call_is_answered_is_not() {
    // A fourth of it for one tenant: one.
    let served = watched().set("AGENT_MESH_STREAMS_MAX", "4").open().await;
    let (ada, amy) = (served.person("ada"), served.person("amy"));
    for (header, foreign) in [
        ("host", "evil.example"),
        ("host", "evil.example"),
        ("origin", "https://evil.example"),
    ] {
        let asked = ada.request(Method::GET, "/tools").header(header, foreign);
        assert_eq!(told(asked).await.status, StatusCode::FORBIDDEN);
    }
    let nobody = served.nobody().get("/tools").await;
    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
    let _first = socket(&ada, "/ws").await.unwrap();
    let second = socket(&amy, "/ws").await;
    assert_eq!(second.err(), Some(StatusCode::SERVICE_UNAVAILABLE));
    // Too large for a value, which is known once somebody has looked at it, and no permission.
    let large = json!({"key": "a", "value": "x".repeat(400 << 10)});
    assert_eq!(ada.fail("kv_set", large).await.0, 413);
    let vic = served.person("vic");
    let denied = vic.fail("kv_set", json!({"key": "a", "value": 1})).await;
    assert_eq!(denied.0, 403);

    let text = served.metrics().await;
    for (reason, times) in [
        ("host", 2.0),
        ("origin", 1.0),
        ("sign_in", 1.0),
        ("streams", 1.0),
        ("too_large", 0.0),
        ("too_slow", 0.0),
        ("connections", 0.0),
        ("in_flight", 0.0),
        ("draining", 0.0),
    ] {
        assert_eq!(refused(&text, reason), times, "{reason}: {text}");
    }
}
