//! What a running server sends to a collector and writes into a folder, and that neither can hold it up.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use crate::client::Client;
use crate::requirement::left_out;
use crate::server::{Start, WAIT_MAX};

/// What stands in everything that must not be sent.
const SECRET: &str = "Zq7-secret-Zq7";

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A request to a server of these tests.
struct Asked {
    path: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// A server on this machine that answers what `answer` says with JSON, or with nothing; its address.
fn serve(answer: impl Fn(&Asked) -> Option<Value> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let Some(asked) = read(&stream) else { continue };
            let body = answer(&asked).map(|body| body.to_string());
            let (status, body) = match &body {
                Some(body) => ("200 OK", body.as_str()),
                None => ("202 Accepted", ""),
            };
            let length = body.len();
            let text = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            let _ = (&stream).write_all(text.as_bytes());
        }
    });
    format!("http://{address}")
}

fn read(stream: &TcpStream) -> Option<Asked> {
    stream.set_read_timeout(Some(WAIT_MAX)).ok()?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked {
        path,
        headers,
        body,
    })
}

/// A span as a collector receives it.
#[derive(Debug, Default)]
struct Span {
    trace: String,
    id: String,
    parent: String,
    name: String,
    attributes: BTreeMap<String, String>,
}

/// A collector: its address, and what comes to it.
fn collector() -> (String, Receiver<Asked>) {
    let (sender, received): (Sender<Asked>, _) = channel();
    let address = serve(move |asked| {
        let _ = sender.send(Asked {
            path: asked.path.clone(),
            headers: asked.headers.clone(),
            body: asked.body.clone(),
        });
        Some(json!({}))
    });
    (address, received)
}

/// The fields of a message of Protocol Buffers: numbers with their bytes, where they have any.
fn fields(mut bytes: &[u8]) -> Vec<(u64, &[u8])> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        while let Some((first, rest)) = bytes.split_first() {
            *bytes = rest;
            value |= u64::from(first & 0x7f) << shift;
            shift += 7;
            if first & 0x80 == 0 {
                break;
            }
        }
        value
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let length = match key & 7 {
            0 => {
                let before = bytes;
                varint(&mut bytes);
                found.push((key >> 3, &before[..before.len() - bytes.len()]));
                continue;
            }
            1 => 8,
            2 => usize::try_from(varint(&mut bytes)).unwrap(),
            5 => 4,
            other => panic!("wire type {other}"),
        };
        let (field, rest) = bytes.split_at(length);
        found.push((key >> 3, field));
        bytes = rest;
    }
    found
}

/// The fields with one number.
fn all(bytes: &[u8], number: u64) -> impl Iterator<Item = &[u8]> {
    let found = fields(bytes).into_iter();
    found
        .filter(move |field| field.0 == number)
        .map(|field| field.1)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attributes(bytes: &[u8], number: u64) -> BTreeMap<String, String> {
    let pairs = all(bytes, number).map(|pair| {
        let key = all(pair, 1).next().map(text).unwrap();
        let value = all(pair, 2).next().and_then(|value| all(value, 1).next());
        (key, value.map(text).unwrap_or_default())
    });
    pairs.collect()
}

/// The spans of a request to a collector, and what it says of the process.
fn spans(request: &[u8]) -> (Vec<Span>, BTreeMap<String, String>) {
    let mut found = Vec::new();
    let mut resource = BTreeMap::new();
    for group in all(request, 1) {
        resource.extend(all(group, 1).flat_map(|held| attributes(held, 1)));
        for span in all(group, 2).flat_map(|scope| all(scope, 2).collect::<Vec<_>>()) {
            let one = |number| all(span, number).next().unwrap_or_default();
            found.push(Span {
                trace: hex(one(1)),
                id: hex(one(2)),
                parent: hex(one(4)),
                name: text(one(5)),
                attributes: attributes(span, 9),
            });
        }
    }
    (found, resource)
}

fn traced_call(client: &mut Client, tool: &str, arguments: Value) -> Value {
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let params = json!({"name": tool, "arguments": arguments, "_meta": {"traceparent": parent}});
    let answer = client.request("tools/call", params);
    assert_eq!(answer["result"]["isError"], false, "{answer}");
    answer["result"].clone()
}

/// An integrated server that tells what it was asked.
fn upstream() -> (String, Receiver<(Value, Option<String>)>) {
    let (sender, received) = channel();
    let address = serve(move |asked| {
        let message: Value = serde_json::from_slice(&asked.body).ok()?;
        let id = message.get("id").filter(|id| !id.is_null())?.clone();
        let result = match message["method"].as_str()? {
            "initialize" => json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                "serverInfo": {"name": "told", "version": "1"}}),
            "tools/list" => json!({"tools": [{"name": "say", "inputSchema": {"type": "object"}}]}),
            "tools/call" => {
                let header = asked.headers.get("traceparent").cloned();
                let _ = sender.send((message.clone(), header));
                json!({"content": [], "isError": false})
            }
            _ => {
                let error = json!({"code": -32601, "message": "no such method"});
                return Some(json!({"jsonrpc": "2.0", "id": id, "error": error}));
            }
        };
        Some(json!({"jsonrpc": "2.0", "id": id, "result": result}))
    });
    (address, received)
}

#[test]
fn a_callers_trace_goes_on_to_aws_and_to_other_servers_and_carries_nothing_of_the_call() {
    let folder = tempfile::tempdir().unwrap();
    let (address, received) = collector();
    let (server, asked) = upstream();
    let start = Start::on(folder.path())
        .set("OTEL_EXPORTER_OTLP_ENDPOINT", &address)
        .set("AGENT_MESH_ALLOW_LOOPBACK_HTTP", "true");
    let mut client = Client::open(&start);
    traced_call(
        &mut client,
        "kv_set",
        json!({"key": SECRET, "value": SECRET}),
    );
    client.ask(
        "integration_register",
        json!({"service_id": "told", "name": "Told", "server_type": "http", "url": server}),
    );
    client.ask("integration_connect", json!({"service_id": "told"}));
    let said = json!({"tool_name": "told.say", "arguments": {"text": SECRET}});
    traced_call(&mut client, "mcp_proxy", said);
    let (message, header) = asked.recv_timeout(WAIT_MAX).unwrap();
    client.finish();

    let mut found = Vec::new();
    // What was recorded is sent before the process ends.
    for request in received.try_iter() {
        assert_eq!(request.path, "/v1/traces");
        assert!(
            !text(&request.body).contains(SECRET),
            "a span carries what was said"
        );
        let (spans, resource) = spans(&request.body);
        assert_eq!(resource["service.name"], "agent-mesh");
        assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
        found.extend(spans);
    }
    let of = |name: &str| {
        let ours = |span: &&Span| span.name == name && span.trace == TRACE;
        found
            .iter()
            .find(ours)
            .unwrap_or_else(|| panic!("{name}: {found:#?}"))
    };
    let call = of("kv_set");
    assert_eq!(call.parent, PARENT);
    assert_eq!(call.attributes["tenant.id"], "local");
    assert_eq!(call.attributes["outcome"], "ok");
    assert_eq!(call.attributes["request_id"].len(), 26);
    let put = found.iter().find(|span| {
        let service = span.attributes.get("rpc.service");
        span.parent == call.id && service.is_some_and(|service| service == "DynamoDB")
    });
    assert_eq!(put.expect("a span of AWS").attributes["outcome"], "ok");

    let (proxied, sent) = (of("mcp_proxy"), of("upstream tools/call"));
    assert_eq!(proxied.parent, PARENT);
    assert_eq!(sent.parent, proxied.id);
    let expected = format!("00-{TRACE}-{}-01", sent.id);
    assert_eq!(message["params"]["_meta"]["traceparent"], expected);
    assert_eq!(header, Some(expected));
}

#[test]
fn without_a_collector_the_callers_trace_is_passed_on_as_it_came() {
    let folder = tempfile::tempdir().unwrap();
    let (server, asked) = upstream();
    let start = Start::on(folder.path()).set("AGENT_MESH_ALLOW_LOOPBACK_HTTP", "true");
    let mut client = Client::open(&start);
    client.ask(
        "integration_register",
        json!({"service_id": "told", "name": "Told", "server_type": "http", "url": server}),
    );
    client.ask("integration_connect", json!({"service_id": "told"}));
    traced_call(&mut client, "mcp_proxy", json!({"tool_name": "told.say"}));
    let (message, header) = asked.recv_timeout(WAIT_MAX).unwrap();
    let expected = format!("00-{TRACE}-{PARENT}-01");
    assert_eq!(message["params"]["_meta"]["traceparent"], expected);
    assert_eq!(header, Some(expected));
}

#[test]
fn a_collector_that_is_down_costs_one_line_of_the_log_and_no_call() {
    let folder = tempfile::tempdir().unwrap();
    // Nobody listens there any more.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let start = Start::on(folder.path()).set("OTEL_EXPORTER_OTLP_ENDPOINT", &address);
    let mut client = Client::open(&start);
    let told = "spans cannot be sent";
    let start = Instant::now();
    while !client.log().contains(told) {
        assert!(
            start.elapsed() < WAIT_MAX,
            "nobody is told: {}",
            client.log()
        );
        client.ask("kv_get", json!({"key": "a"}));
    }
    // A second batch fails, too.
    for _ in 0..700 {
        client.ask("kv_get", json!({"key": "a"}));
    }
    client.finish();
    let log = client.log();
    assert_eq!(log.matches(told).count(), 1, "{log}");
}

#[test]
fn the_log_is_written_into_a_folder_too_and_a_wrong_folder_is_a_wrong_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let logs = folder.path().join("logs");
    let start = Start::on(folder.path()).set("AGENT_MESH_LOG_DIR", "logs");
    let mut client = Client::open(&start);
    client.ask("kv_get", json!({"key": "a"}));
    client.finish();
    let files: Vec<_> = std::fs::read_dir(&logs)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    let [file] = files.as_slice() else {
        panic!("{files:?}");
    };
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(
        name.starts_with("agent-mesh.20") && name.ends_with(".log"),
        "{name}"
    );
    let written = std::fs::read_to_string(file).unwrap();
    assert!(written.contains("the session has ended"), "{written}");
    assert!(!written.contains('\u{1b}'), "colours in a file");
    assert_eq!(written.lines().count(), client.log().lines().count());

    std::fs::write(folder.path().join("file"), "").unwrap();
    let start = Start::on(folder.path()).set("AGENT_MESH_LOG_DIR", "file/below");
    let output = start.run();
    assert_eq!(output.status.code(), Some(78));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("AGENT_MESH_LOG_DIR"), "{told}");
}

/// Every text under a member `expr`, however deep.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, member)| {
            match member.as_str().filter(|_| name == "expr") {
                Some(text) => found.push(text.to_owned()),
                None => expressions(member, found),
            }
        }),
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        _ => {}
    }
}

#[test]
fn prometheus_takes_the_rules_and_the_expressions_of_the_dashboard() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = root.join("target/test-tools/promtool/promtool");
    if !program.exists() {
        left_out("promtool", "run scripts/test-tools.sh promtool");
        return;
    }
    let folder = root.join("infra/observability");
    let dashboard = std::fs::read_to_string(folder.join("grafana-dashboard.json")).unwrap();
    let mut found = Vec::new();
    expressions(&serde_json::from_str(&dashboard).unwrap(), &mut found);
    let rules = found.iter().enumerate().map(|(number, expression)| {
        let mut expression = expression.clone();
        for (variable, value) in [
            ("$__rate_interval", "5m"),
            ("$__range", "6h"),
            ("$job", ".*"),
            ("$instance", ".*"),
        ] {
            expression = expression.replace(variable, value);
        }
        assert!(!expression.contains('$'), "{expression}");
        json!({"record": format!("panel:{number}"), "expr": expression})
    });
    let rules: Vec<Value> = rules.collect();
    let rules = json!({"groups": [{"name": "dashboard", "rules": rules}]});
    let scratch = tempfile::tempdir().unwrap();
    let of_dashboard = scratch.path().join("dashboard.yaml");
    // JSON is YAML.
    std::fs::write(&of_dashboard, rules.to_string()).unwrap();
    for (what, file) in [
        ("check", folder.join("prometheus-rules.yaml")),
        ("test", folder.join("prometheus-rules-test.yaml")),
        ("check", of_dashboard),
    ] {
        let mut command = Command::new(&program);
        let output = command
            .args([what, "rules"])
            .arg(&file)
            .output()
            .expect("promtool runs");
        let told =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {told}", file.display());
    }
}
