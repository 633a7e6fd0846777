//! The product as `serve`, and clients that other people wrote, which must be answered there as over stdio.

mod crowd;
mod masks;
mod readme;
mod rolling;
mod wire;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::foreign::{Inspector, repository, tool};
use crate::server::{PROGRAM, Server, Start, WAIT_MAX, run_to_end, within};
use masks::masked;

/// How long a whole round of a client may take; starting an interpreter is most of it.
const ROUND_MAX: Duration = Duration::from_secs(60);

/// How many requests tests/clients/corpus.json has at least.
const CORPUS_MIN: usize = 31;

/// A server that listens. It is killed when it is dropped.
pub(crate) struct Serving {
    server: Server,
    address: String,
}

impl Serving {
    /// Starts one that lets in whoever comes, as a user of the tenant `local`.
    pub(crate) fn anonymous(folder: &Path) -> Self {
        let start = Start::on(folder)
            .set("AGENT_MESH_ANONYMOUS", "true")
            .set("AGENT_MESH_ANONYMOUS_ROLE", "user");
        Self::of(start)
    }

    /// Starts one with these settings, on a port that is free.
    fn of(start: Start) -> Self {
        let start = start.set("AGENT_MESH_BIND", "127.0.0.1:0");
        let server = start.arguments(&["serve"]).spawn();
        let mut address = None;
        within(WAIT_MAX, || {
            let log = server.log();
            let said = log.split_once(" address=");
            address = said.and_then(|(_, rest)| Some(rest.split_once(' ')?.0.to_owned()));
            address.is_some()
        });
        let Some(address) = address else {
            panic!("it does not listen:\n{}", server.log());
        };
        Self { server, address }
    }

    /// Where MCP is.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// The host and the port.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// What it takes of memory, in bytes.
    fn memory_bytes(&self) -> u64 {
        self.server.memory()
    }

    /// Tells it to end, and waits until it has.
    fn end(&mut self) {
        self.server.signal(Signal::TERM);
        let status = self.server.end();
        assert!(status.success(), "{status}:\n{}", self.server.log());
    }
}

/// A server with the token of an administrator, who is the same as whoever calls over stdio.
struct SignedIn {
    serving: Serving,
    token: String,
}

impl SignedIn {
    fn start(folder: &Path) -> Self {
        Self {
            token: Self::token(folder),
            serving: Serving::of(Start::on(folder)),
        }
    }

    /// A token for whatever serves this folder.
    fn token(folder: &Path) -> String {
        let words = "tokens create --tenant local --user tester --role admin";
        let words: Vec<&str> = words.split(' ').collect();
        let output = Start::on(folder).arguments(&words).run();
        assert!(output.status.success(), "{output:?}");
        let token = String::from_utf8(output.stdout).unwrap();
        token.trim().to_owned()
    }
}

/// A client's program in one of its versions.
struct Client {
    /// What is to be installed.
    requirement: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
    /// The revision that it settles on.
    version: &'static str,
}

const CLIENTS: [Client; 5] = [
    Client {
        requirement: "python",
        program: "python/bin/python",
        arguments: &["tests/clients/python_client.py", "--mode", "auto"],
        version: "2026-07-28",
    },
    Client {
        requirement: "python",
        program: "python/bin/python",
        arguments: &["tests/clients/python_client.py", "--mode", "legacy"],
        version: "2025-11-25",
    },
    Client {
        requirement: "python",
        program: "python-1/bin/python",
        arguments: &["tests/clients/python_client.py"],
        version: "2025-11-25",
    },
    Client {
        requirement: "typescript",
        program: "node/node_modules/.bin/node",
        arguments: &[
            "tests/clients/typescript_client.mjs",
            "target/test-tools/node/node_modules/sdk-new",
        ],
        version: "2025-11-25",
    },
    Client {
        requirement: "typescript",
        program: "node/node_modules/.bin/node",
        arguments: &[
            "tests/clients/typescript_client.mjs",
            "target/test-tools/node/node_modules/@modelcontextprotocol/sdk",
        ],
        version: "2025-06-18",
    },
];

impl Client {
    fn command(&self, folder: &Path) -> Option<Command> {
        let program = tool(self.requirement, self.program)?;
        let mut command = Start::on(folder).command_by(program);
        for argument in self.arguments {
            match argument.contains('/') {
                true => command.arg(repository(argument)),
                false => command.arg(argument),
            };
        }
        command.env("PYTHONPYCACHEPREFIX", folder.join("cache"));
        Some(command)
    }

    /// Runs it, and returns its report.
    fn report(&self, mut command: Command) -> Value {
        let output = run_to_end(&mut command, ROUND_MAX);
        let log = String::from_utf8_lossy(&output.stderr);
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("no report; it said:\n{log}"));
        assert_eq!(report["failures"], json!([]), "{report}\n{log}");
        assert!(output.status.success(), "{}", output.status);
        assert_eq!(report["protocol_version"], self.version, "{report}");
        report
    }
}

/// A client does a newcomer's round by URL, as it does over stdio.
fn round(client: &Client) {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut command) = client.command(folder.path()) else {
        return;
    };
    let signed_in = SignedIn::start(folder.path());
    command
        .args(["--url", &signed_in.serving.url()])
        .env("MESH_TOKEN", &signed_in.token);
    let report = client.report(command);
    assert_eq!(report["steps"].as_array().map(Vec::len), Some(9));
}

/// A client makes the same requests both ways, and is told the same.
fn both_ways(client: &Client) {
    let corpus = repository("tests/clients/corpus.json");
    let (piped, served) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Some(mut over_pipes) = client.command(piped.path()) else {
        return;
    };
    over_pipes
        .arg("--corpus")
        .arg(&corpus)
        .args(["--", PROGRAM]);
    let over_pipes = client.report(over_pipes);
    let signed_in = SignedIn::start(served.path());
    let mut by_url = client.command(served.path()).unwrap();
    by_url
        .arg("--corpus")
        .arg(&corpus)
        .args(["--url", &signed_in.serving.url()])
        .env("MESH_TOKEN", &signed_in.token);
    let by_url = client.report(by_url);
    compare(&over_pipes["answers"], &by_url["answers"]);
}

macro_rules! clients {
    ($($name:ident: $number:literal),* $(,)?) => {
        $(mod $name {
            use super::{CLIENTS, both_ways, round};

            #[test]
            fn does_its_round_by_url() {
                round(&CLIENTS[$number]);
            }

            #[test]
            fn is_answered_by_url_as_over_stdio() {
                both_ways(&CLIENTS[$number]);
            }
        })*
    };
}

clients! {
    python_of_today: 0,
    python_of_today_with_a_session: 1,
    python_of_the_first_line: 2,
    typescript_of_today: 3,
    typescript_that_the_dashboard_uses: 4,
}

/// Text for text, so that the order of members counts.
fn compare(over_pipes: &Value, by_url: &Value) {
    let (over_pipes, by_url) = (over_pipes.as_array().unwrap(), by_url.as_array().unwrap());
    assert!(over_pipes.len() >= CORPUS_MIN, "{}", over_pipes.len());
    assert_eq!(over_pipes.len(), by_url.len());
    for (number, (one, other)) in over_pipes.iter().zip(by_url).enumerate() {
        let (one, other) = (masked(&one.to_string()), masked(&other.to_string()));
        assert_eq!(one, other, "request {number} of the corpus");
    }
}

/// The Inspector's command line.
#[test]
fn the_inspector_is_answered_by_url_as_over_stdio() {
    let (Some(piped), Some(served)) = (Inspector::installed(), Inspector::installed()) else {
        return;
    };
    let signed_in = SignedIn::start(served.folder());
    let header = format!("Authorization: Bearer {}", signed_in.token);
    let url = signed_in.serving.url();
    let by_url = [
        "--transport",
        "http",
        "--server-url",
        &url,
        "--header",
        &header,
    ];
    let value = r#"{"key": "a", "value": {"b": [1, null]}}"#;
    let call = ["--method", "tools/call", "--tool-name"];
    let arguments = "--tool-args-json";
    for asked in [
        vec!["--method", "tools/list"],
        vec![
            "--method",
            "tools/list",
            "--strict",
            "--protocol-era",
            "modern",
        ],
        [&call[..], &["kv_set", arguments, value]].concat(),
        [&call[..], &["kv_get", arguments, r#"{"key": "a"}"#]].concat(),
        [&call[..], &["kv_get", arguments, "{}"]].concat(),
        vec!["--method", "resources/templates/list"],
        vec!["--method", "prompts/list"],
    ] {
        let (status, printed) = piped.inspect(&asked);
        let (status_by_url, printed_by_url) = served.inspect_by(&[&by_url[..], &asked].concat());
        assert_eq!(status_by_url, status, "{asked:?}: {printed_by_url}");
        let masks = [printed, printed_by_url].map(|printed| masked(&printed.to_string()));
        assert_eq!(masks[0], masks[1], "{asked:?}");
    }
}
