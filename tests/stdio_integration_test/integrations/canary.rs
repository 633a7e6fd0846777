//! A secret given through every way in to servers at an address, each of which says back all that it is sent.

mod echo;

use std::fs;
use std::io::{Seek as _, Write as _};
use std::path::Path;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::client::Client;
use crate::server::{Start, WAIT_MAX, files, run_to_end};
use echo::{Echo, FAILING, SPEAKING, TOKEN};

/// What stands in every secret.
const MARK: &str = "canary";

const SECRET: &str = "Zq7\"/+canary-31c9";
const STORED: &str = "stored-canary-5d2e";

/// What must show nowhere.
fn forbidden() -> Vec<String> {
    // Of three characters fewer than the whole, so that what follows does not matter.
    let encoded = |text: String| {
        let encoded = STANDARD.encode(text);
        encoded[4..encoded.len() - 4].to_owned()
    };
    let mut all = vec![MARK.to_owned(), MARK.to_uppercase()];
    for secret in [SECRET, STORED, TOKEN] {
        let texts = [
            secret.to_owned(),
            format!("x{secret}"),
            format!("ada:{secret}"),
        ];
        all.extend(texts.map(encoded));
    }
    all
}

fn assert_hides(what: &str, bytes: &[u8]) {
    for text in forbidden() {
        let found = bytes
            .windows(text.len())
            .position(|found| found == text.as_bytes());
        if let Some(at) = found {
            let around = &bytes[at.saturating_sub(400)..(at + 100).min(bytes.len())];
            panic!("{what} shows {text}: {}", String::from_utf8_lossy(around));
        }
    }
}

/// One way in: how the server is reached, and how it is signed in to.
struct Way {
    service: &'static str,
    server_type: &'static str,
    url: String,
    headers: Value,
    auth: &'static str,
    credentials: Value,
}

fn ways(http: &Echo, websocket: &Echo) -> Vec<Way> {
    let header = || json!({"X-Own": "Key ${credential:api_key}", "X-Stored": "${secret:upstream}"});
    let key = || json!({"api_key": SECRET});
    let basic = || json!({"username": "ada", "password": SECRET});
    let bearer = || json!({"token": SECRET});
    let client = |path: &str| {
        json!({"client_id": "id-canary", "client_secret": SECRET, "scope": "read",
            "token_url": http.url("http", path)})
    };
    let (mcp, sse) = (http.url("http", "/mcp"), http.url("http", "/sse"));
    let ws = websocket.url("ws", "/mcp");
    let oauth = "oauth2_client_credentials";
    let none = || json!({});
    let way = |service, server_type, url: &str, headers, auth, credentials| Way {
        service,
        server_type,
        url: url.to_owned(),
        headers,
        auth,
        credentials,
    };
    vec![
        way("http-key", "http", &mcp, header(), "api_key", key()),
        way("http-basic", "http", &mcp, none(), "basic", basic()),
        way("http-bearer", "http", &mcp, none(), "bearer", bearer()),
        way("http-oauth", "http", &mcp, none(), oauth, client("/token")),
        way("sse-key", "sse", &sse, header(), "api_key", key()),
        way("sse-basic", "sse", &sse, none(), "basic", basic()),
        way("sse-oauth", "sse", &sse, none(), oauth, client("/token")),
        way("ws-key", "websocket", &ws, header(), "api_key", key()),
        way("ws-basic", "websocket", &ws, none(), "basic", basic()),
        way(
            "ws-oauth",
            "websocket",
            &ws,
            none(),
            oauth,
            client("/token"),
        ),
    ]
}

/// Those that cannot be connected to.
fn ways_that_fail(http: &Echo, websocket: &Echo) -> Vec<Way> {
    let mut ways = ways(http, websocket);
    for way in &mut ways {
        way.url = match way.server_type {
            "websocket" => websocket.url("ws", "/refuse"),
            _ => http.url("http", "/refuse"),
        };
        if way.auth.starts_with("oauth") {
            way.credentials["token_url"] = http.url("http", "/no-token").into();
        }
    }
    ways
}

fn store_secret(start: &Start) {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(STORED.as_bytes()).unwrap();
    file.rewind().unwrap();
    let mut command = start
        .clone()
        .arguments(&["secrets", "set", "upstream"])
        .command();
    let output = run_to_end(command.stdin(Stdio::from(file)), WAIT_MAX);
    assert!(output.status.success(), "{output:?}");
}

/// Calls a tool and looks at the whole answer; whether it is no error.
fn call(client: &mut Client, tool: &str, arguments: Value) -> bool {
    answer(client, tool, arguments)["result"]["isError"] == false
}

fn answer(client: &mut Client, tool: &str, arguments: Value) -> Value {
    let id = client.post_call(tool, arguments.clone());
    let answer = client.answer(id);
    assert_hides(
        &format!("{tool} {arguments}"),
        answer.to_string().as_bytes(),
    );
    answer
}

fn register(client: &mut Client, way: &Way) {
    let registered = call(
        client,
        "integration_register",
        json!({"service_id": way.service, "name": way.service, "server_type": way.server_type,
            "url": way.url, "headers": way.headers, "auth_method": way.auth}),
    );
    assert!(registered, "{} is registered", way.service);
}

fn connect(client: &mut Client, way: &Way) -> bool {
    let connect = json!({"service_id": way.service, "credentials": way.credentials});
    call(client, "integration_connect", connect)
}

/// All that is shown of what there is and was.
fn look_around(client: &mut Client, service: &str) {
    for (tool, arguments) in [
        ("integration_list", json!({})),
        ("integration_test", json!({"service_id": service})),
        (
            "mcp_list_tools",
            json!({"service_id": service, "detail": "schema"}),
        ),
        ("mcp_list_tools", json!({"query": MARK.to_uppercase()})),
        ("events_health_check", json!({"verbose": true})),
        ("events_query", json!({"limit": 100})),
    ] {
        call(client, tool, arguments);
    }
}

fn assert_folder_hides(data: &Path) {
    for path in files(data) {
        let bytes = fs::read(&path).unwrap_or_default();
        assert_hides(&path.display().to_string(), &bytes);
    }
}

#[test]
fn what_a_server_at_an_address_says_back_shows_no_secret() {
    let (http, websocket) = (Echo::over_http(), Echo::over_websocket());
    let folder = tempfile::tempdir().unwrap();
    let start = Start::on(folder.path())
        .generous()
        .set("AGENT_MESH_ALLOW_LOOPBACK_HTTP", "true")
        .set("LOG_LEVEL", "trace");
    store_secret(&start);
    let mut client = Client::open(&start);
    for way in ways(&http, &websocket) {
        register(&mut client, &way);
        assert!(
            connect(&mut client, &way),
            "{} is connected to",
            way.service
        );
        let tool = |name: &str| format!("{}.{name}", way.service);
        look_around(&mut client, way.service);
        for failing in FAILING {
            let arguments = json!({"tool_name": tool(failing), "arguments": {}});
            let answer = answer(&mut client, "mcp_proxy", arguments);
            assert_eq!(answer["result"]["isError"], true, "{failing}: {answer}");
            let repeats = answer.to_string().contains("[secret]");
            assert!(repeats || failing != "refuse", "{answer}");
            // It is there again, since nothing that follows must fail for want of it.
            connect(&mut client, &way);
        }
        // What a server answers with is its own, and passes as it is.
        let said = json!({"tool_name": tool(SPEAKING), "arguments": {}});
        let said = super::proxied_with(&mut client, said).to_string();
        assert!(said.contains(MARK), "{}: {said}", way.service);
        look_around(&mut client, way.service);
        assert!(call(
            &mut client,
            "integration_unregister",
            json!({"service_id": way.service})
        ));
    }
    for way in ways_that_fail(&http, &websocket) {
        register(&mut client, &way);
        assert!(!connect(&mut client, &way), "{}", way.service);
        look_around(&mut client, way.service);
    }
    client.end_input();
    client.end();
    assert_hides("the log", client.log().as_bytes());
    assert_folder_hides(&start.data());
}
