//! Other servers behind the proxy: what a call of theirs gives, whatever happens to them or to us meanwhile.

mod apart;
mod calls;
mod canary;
mod direct;
mod foreign;
mod input;
mod remote;
mod supervision;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::client::Client;
use crate::requirement::left_out;
use crate::server::Start;

/// A server of tests' own, which does what it is asked to.
const SCRIPTED: &str = "tests/servers/scripted.py";

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The Python that tests run servers with; `None`, and said, where there is none.
fn python() -> Option<String> {
    let installed = repository("target/test-tools/python/bin/python");
    if installed.exists() {
        return Some(installed.display().to_string());
    }
    left_out("python", "run scripts/test-tools.sh");
    None
}

/// A server of ours that may start `program`, on a folder of its own.
fn start(folder: &Path, program: &str) -> Start {
    Start::on(folder)
        .generous()
        .set("AGENT_MESH_ALLOWED_COMMANDS", program)
        .set("AGENT_MESH_CHILD_PATHS", env!("CARGO_MANIFEST_DIR"))
}

/// Registers the scripted server as `service`, started with `options`, and connects to it. Its file is one
/// that outlives it: the first word of its own folder.
fn integrate(client: &mut Client, service: &str, python: &str, options: &[&str]) {
    let script = repository(SCRIPTED).display().to_string();
    let mut args = vec!["-S", "-E", &script];
    args.extend(options);
    client.ask(
        "integration_register",
        json!({"service_id": service, "name": "Scripted", "server_type": "stdio",
               "command": python, "args": args}),
    );
    connect(client, service);
}

fn connect(client: &mut Client, service: &str) -> Value {
    client.ask("integration_connect", json!({"service_id": service}))
}

/// The whole result of a proxied call, which has the form of the other server.
fn proxied(client: &mut Client, tool: &str, arguments: Value) -> Value {
    let call = json!({"tool_name": tool, "arguments": arguments});
    proxied_with(client, call)
}

fn proxied_with(client: &mut Client, arguments: Value) -> Value {
    let id = client.post_call("mcp_proxy", arguments);
    let answer = client.answer(id);
    assert!(answer["result"].is_object(), "no result: {answer}");
    answer["result"].clone()
}

/// The text of a proxied call that must work.
fn said(client: &mut Client, tool: &str, arguments: Value) -> String {
    let result = proxied(client, tool, arguments);
    assert_ne!(result["isError"], true, "{tool}: {result}");
    let text = result["content"][0]["text"].as_str();
    text.unwrap_or_else(|| panic!("{tool}: {result}"))
        .to_owned()
}

/// The code of the error that a proxied call must end with.
fn code(client: &mut Client, arguments: Value) -> String {
    let result = proxied_with(client, arguments);
    let code = &result["structuredContent"]["error"]["code"];
    let code = code.as_str();
    code.unwrap_or_else(|| panic!("no error: {result}"))
        .to_owned()
}

/// A result without the mark of where it came from, which must be there.
fn unmarked(mut result: Value) -> Value {
    let members = result.as_object_mut().expect("a result");
    let meta = members.get_mut("_meta").and_then(Value::as_object_mut);
    let meta = meta.expect("a mark");
    let origin = meta.remove("com.agent-mesh/origin").expect("a mark");
    assert!(origin["service_id"].is_string(), "{origin}");
    if meta.is_empty() {
        members.remove("_meta");
    }
    result
}
