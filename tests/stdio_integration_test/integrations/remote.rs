//! A server that other people wrote, at an address: each way to reach it answers what its pipes answer.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use super::foreign::{direct, node_server};
use super::{code, connect, proxied, start, unmarked};
use crate::client::Client;

/// The server at an address, ended with the test.
struct AtAddress {
    child: Child,
    port: u16,
}

impl AtAddress {
    fn start(node: &str, script: &str, transport: &str, port: u16) -> Self {
        let mut child = Command::new(node)
            .args([script, transport])
            .env("PORT", port.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let errors = child.stderr.take().expect("a pipe");
        let mut lines = BufReader::new(errors).lines().map_while(Result::ok);
        let ready = lines.any(|line| line.contains(&port.to_string()));
        assert!(ready, "it does not listen");
        // What it says later is read on, so that it does not wait for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, port }
    }
}

impl Drop for AtAddress {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// Calls tools by the server's pipes and by `transport`, and restarts the server in between.
fn compare(transport: &str, server_type: &str, path: &str) {
    let Some((node, script)) = node_server("everything") else {
        return;
    };
    let server = AtAddress::start(&node, &script, transport, free_port());
    let port = server.port;
    let folder = tempfile::tempdir().unwrap();
    let start = start(folder.path(), &node).set("AGENT_MESH_ALLOW_LOOPBACK_HTTP", "true");
    let mut client = Client::open(&start);
    client.ask(
        "integration_register",
        json!({"service_id": "everything", "name": "Everything", "server_type": server_type,
            "url": format!("http://127.0.0.1:{port}{path}")}),
    );
    let connected = connect(&mut client, "everything");
    let mut direct = direct(&node, &[&script, "stdio"], None, folder.path());
    let calls = [
        ("echo", json!({"message": "hello"})),
        ("get-sum", json!({"a": 2, "b": 3})),
        ("get-tiny-image", json!({})),
        ("get-structured-content", json!({"location": "Chicago"})),
        (
            "trigger-long-running-operation",
            json!({"duration": 1, "steps": 2}),
        ),
    ];
    for (tool, arguments) in calls {
        let through = proxied(
            &mut client,
            &format!("everything.{tool}"),
            arguments.clone(),
        );
        let own = direct.request("tools/call", json!({"name": tool, "arguments": arguments}));
        assert!(own["result"].is_object(), "{tool}");
        assert_eq!(unmarked(through), own["result"], "{tool}");
    }
    let own = direct.request("tools/list", json!({}));
    assert!(
        own["result"]["tools"].as_array().expect("tools").len() as u64
            <= connected["tool_count"].as_u64().unwrap()
    );

    // It goes away, which is said, and when it is back the next calls find it: a session of old is no reason
    // to fail for good.
    drop(server);
    let call = json!({"tool_name": "everything.echo", "arguments": {"message": "x"}});
    assert_eq!(code(&mut client, call.clone()), "UPSTREAM_UNAVAILABLE");
    let _server = AtAddress::start(&node, &script, transport, port);
    let again = || {
        let result = super::proxied_with(&mut client, call.clone());
        (result["isError"] != true).then_some(result)
    };
    // Its backoff ends within seconds.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let mut tries =
        std::iter::repeat_with(again).take_while(|_| std::time::Instant::now() < deadline);
    let found = tries.find_map(|found| {
        std::thread::sleep(std::time::Duration::from_millis(200));
        found
    });
    assert!(found.is_some(), "it is found again");
}

#[test]
fn by_streamable_http() {
    compare("streamableHttp", "http", "/mcp");
}

#[test]
fn by_the_older_http_with_events() {
    compare("sse", "sse", "/sse");
}
