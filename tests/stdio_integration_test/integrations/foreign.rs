//! Servers that other people wrote, in the versions that `scripts/test-tools.sh` installs: each tool answers
//! through the proxy what it answers by itself.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::{proxied, python, repository, start, unmarked};
use crate::client::Client;
use crate::requirement::left_out;
use crate::server::{Reads, Server};

/// Node and the script of a server; `None`, and said, where they are not there.
pub(super) fn node_server(name: &str) -> Option<(String, String)> {
    let node = repository("target/test-tools/node/node_modules/.bin/node");
    let package =
        format!("target/test-tools/servers/node_modules/@modelcontextprotocol/server-{name}");
    let script = repository(&package).join("dist/index.js");
    if node.exists() && script.exists() {
        // The link's own place says nothing of where the program lies.
        let node = node.canonicalize().ok()?;
        return Some((node.display().to_string(), script.display().to_string()));
    }
    left_out("servers", "run scripts/test-tools.sh");
    None
}

/// The server by itself, started the way the proxy starts it.
pub(super) fn direct(
    program: &str,
    args: &[&str],
    file: Option<&str>,
    folder: &std::path::Path,
) -> Client {
    let mut command = Command::new(program);
    command.args(args).current_dir(folder).env_clear();
    command.env("PATH", "/usr/bin:/bin").env("HOME", folder);
    if let Some(file) = file {
        command.env(file, folder.join("file"));
    }
    let reads = Reads {
        output: true,
        log: true,
    };
    let mut client = Client::of(Server::of(&mut command, reads));
    // It is told that its client can do what ours says that it can: some have more tools then.
    let params = json!({"protocolVersion": "2025-11-25",
        "capabilities": {"elicitation": {}, "sampling": {}, "roots": {}},
        "clientInfo": {"name": "stdio_integration_test", "version": "1"}});
    client.request("initialize", params);
    client.notify("notifications/initialized", json!({}));
    client
}

/// Calls each tool by itself and through the proxy, and compares the results. A variable `file` names the
/// server's file in the folder that is its own.
fn compare(name: &str, options: &[&str], file: Option<&str>, calls: &[(&str, Value)]) {
    let Some((node, script)) = node_server(name) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let alone = tempfile::tempdir().unwrap();
    let mut args = vec![script.as_str()];
    args.extend(options);
    let mut client = Client::open(&start(folder.path(), &node));
    client.ask(
        "integration_register",
        json!({"service_id": name, "name": name, "server_type": "stdio", "command": node, "args": args,
               "env": file.map_or(json!({}), |file| json!({file: "${folder}/file"}))}),
    );
    let connected = super::connect(&mut client, name);
    assert!(connected["tool_count"].as_u64() > Some(0), "{connected}");
    let mut direct = direct(&node, &args, file, alone.path());
    for (tool, arguments) in calls {
        let through = proxied(&mut client, &format!("{name}.{tool}"), arguments.clone());
        let params = json!({"name": tool, "arguments": arguments});
        let own = direct.request("tools/call", params)["result"].clone();
        assert!(own.is_object(), "{tool}");
        assert_eq!(unmarked(through), own, "{tool}");
    }
    // What is listed is what the server says, under its service's name.
    let own = direct.request("tools/list", json!({}));
    let own = own["result"]["tools"].as_array().expect("tools").len();
    assert_eq!(connected["tool_count"], own, "{connected}");
}

#[test]
fn the_filesystem_server() {
    compare(
        "filesystem",
        &["."],
        None,
        &[
            (
                "write_file",
                json!({"path": "a.txt", "content": "first\nsecond\n"}),
            ),
            ("read_text_file", json!({"path": "a.txt"})),
            ("list_directory", json!({"path": "."})),
        ],
    );
}

#[test]
fn the_memory_server() {
    let entity =
        json!({"name": "Ada", "entityType": "person", "observations": ["wrote the first program"]});
    compare(
        "memory",
        &[],
        Some("MEMORY_FILE_PATH"),
        &[
            ("create_entities", json!({"entities": [entity]})),
            ("search_nodes", json!({"query": "program"})),
            ("read_graph", json!({})),
        ],
    );
}

#[test]
fn the_sequential_thinking_server() {
    let thought = json!({"thought": "begin", "nextThoughtNeeded": true, "thoughtNumber": 1, "totalThoughts": 2});
    compare(
        "sequential-thinking",
        &[],
        None,
        &[("sequentialthinking", thought)],
    );
}

#[test]
fn the_everything_server() {
    compare(
        "everything",
        &["stdio"],
        None,
        &[
            ("echo", json!({"message": "hello"})),
            ("get-sum", json!({"a": 2, "b": 3})),
            ("get-tiny-image", json!({})),
            ("get-structured-content", json!({"location": "Chicago"})),
            (
                "get-annotated-message",
                json!({"messageType": "success", "includeImage": true}),
            ),
        ],
    );
}

/// A Python server at an address, ended with the test.
struct PythonServer {
    child: Child,
    url: String,
}

impl PythonServer {
    fn start(python: &str) -> Self {
        let mut child = Command::new(python)
            .arg(repository("tests/servers/http_server.py"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        let output = child.stdout.take().expect("a pipe");
        BufReader::new(output)
            .read_line(&mut line)
            .expect("its address");
        let url = line.trim().to_owned();
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        Self { child, url }
    }
}

impl Drop for PythonServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_python_server_over_http() {
    let Some(python) = python() else { return };
    let server = PythonServer::start(&python);
    let folder = tempfile::tempdir().unwrap();
    let start = start(folder.path(), &python)
        .set("AGENT_MESH_ALLOW_LOOPBACK_HTTP", "true")
        .set("AGENT_MESH_EGRESS_ALLOW", "127.0.0.1");
    let mut client = Client::open(&start);
    client.ask(
        "integration_register",
        json!({"service_id": "python", "name": "Python", "server_type": "http", "url": server.url}),
    );
    super::connect(&mut client, "python");
    assert_eq!(
        super::said(&mut client, "python.add", json!({"a": 2, "b": 40})),
        "42"
    );
    let result = proxied(&mut client, "python.add", json!({"a": 1, "b": 1}));
    assert_eq!(result["structuredContent"]["result"], 2, "{result}");
    let found = client.ask("mcp_list_tools", json!({"query": "sum of two numbers"}));
    assert_eq!(found["tools"][0]["name"], "python.add", "{found}");
    // It goes away and comes back: the next call finds it again.
    drop(server);
    let gone = super::code(
        &mut client,
        json!({"tool_name": "python.add", "arguments": {"a": 1, "b": 1}}),
    );
    assert_eq!(gone, "UPSTREAM_UNAVAILABLE");
}
