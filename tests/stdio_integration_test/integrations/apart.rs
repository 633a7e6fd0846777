//! Two tenants, and two users of one, with the same service: nothing of one ever shows to another.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{python, repository};
use crate::client::Client;
use crate::server::{Start, files};
use crate::token::{AUDIENCE, ISSUER, Provider};

const TENANTS: &str = r#"
[tenants.acme]
issuers = ["https://id.example"]
[tenants.umbra]
issuers = ["https://id.example"]
"#;

/// Who calls, and the secret that is theirs alone.
const CALLERS: [(&str, &str, &str); 3] = [
    ("acme", "ada", "canary-of-ada-7f3a"),
    ("acme", "bob", "canary-of-bob-91cd"),
    ("umbra", "ada", "canary-of-umbra-44e0"),
];

/// A server for tenants that sign in by token.
struct House {
    client: Client,
    provider: Provider,
    folder: TempDir,
}

impl House {
    fn start(further: impl FnOnce(Start, &Path) -> Start) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let provider = Provider::new();
        let keys = provider.key_set().to_string();
        fs::write(folder.path().join("keys.json"), keys).unwrap();
        fs::write(folder.path().join("tenants.toml"), TENANTS).unwrap();
        let start = Start::on(folder.path())
            .set("AGENT_MESH_IDENTITY", "jwt")
            .set("AGENT_MESH_JWKS", "keys.json")
            .set("AGENT_MESH_JWT_ISSUER", ISSUER)
            .set("AGENT_MESH_JWT_AUDIENCE", AUDIENCE)
            .set("AGENT_MESH_TENANTS_FILE", "tenants.toml");
        let mut client = Client::of(further(start, folder.path()).spawn());
        client.initialize("2025-06-18");
        Self {
            client,
            provider,
            folder,
        }
    }

    fn call(&mut self, caller: usize, tool: &str, arguments: Value) -> Value {
        let (tenant, user, _) = CALLERS[caller];
        let token = self.provider.token(tenant, user, "admin", 0);
        let params = json!({"name": tool, "arguments": arguments,
            "_meta": {"com.agent-mesh/identity": token}});
        self.client.request("tools/call", params)["result"].clone()
    }

    fn said(&mut self, caller: usize, tool: &str, arguments: Value) -> String {
        let call = json!({"tool_name": tool, "arguments": arguments});
        let result = self.call(caller, "mcp_proxy", call);
        assert_ne!(result["isError"], true, "{result}");
        result["content"][0]["text"]
            .as_str()
            .expect("a text")
            .to_owned()
    }
}

/// A server with a template for the scripted server, each connection of which gets a secret of its own.
fn with_template(python: &str) -> House {
    House::start(|start, folder| {
        let root = env!("CARGO_MANIFEST_DIR");
        let script = repository(super::SCRIPTED).display().to_string();
        let template = format!(
            "[templates.scripted]\nprogram = \"{python}\"\nargs = [\"-S\", \"-E\", \"{script}\"]\n\
             env = [\"SECRET\"]\npaths = [\"{root}\"]\n"
        );
        fs::write(folder.join("templates.toml"), template).unwrap();
        start
            .set("AGENT_MESH_TEMPLATES_FILE", "templates.toml")
            .set("LOG_LEVEL", "trace")
    })
}

/// Registers the service in both tenants and connects every caller, each with their own secret.
fn connect_all(house: &mut House) {
    let register = json!({"service_id": "notes", "name": "Notes", "server_type": "stdio",
        "template": "scripted", "env": {"SECRET": "${credential:token}"}, "auth_method": "bearer"});
    for caller in [0, 2] {
        let registered = house.call(caller, "integration_register", register.clone());
        assert_eq!(registered["isError"], false, "{registered}");
    }
    for (caller, (_, _, secret)) in CALLERS.iter().enumerate() {
        let connect = json!({"service_id": "notes", "credentials": {"token": secret}});
        let connected = house.call(caller, "integration_connect", connect);
        assert_eq!(connected["isError"], false, "{connected}");
    }
}

/// Everything that a caller is shown.
fn all_shown(house: &mut House, caller: usize) -> String {
    let queries = [
        ("integration_list", json!({})),
        ("mcp_list_tools", json!({"detail": "schema"})),
        ("events_query", json!({"limit": 100})),
        ("events_health_check", json!({"verbose": true})),
        ("integration_test", json!({"service_id": "notes"})),
    ];
    let answers = queries.map(|(tool, arguments)| house.call(caller, tool, arguments).to_string());
    answers.join("\n")
}

#[test]
fn the_same_service_is_another_one_for_each_user() {
    let Some(python) = python() else { return };
    let mut house = with_template(&python);
    connect_all(&mut house);
    let mut processes = BTreeSet::new();
    for (caller, (_, _, secret)) in CALLERS.iter().enumerate() {
        // A process of its own, with a secret of its own and a file of its own.
        processes.insert(house.said(caller, "notes.process", json!({})));
        let variable = house.said(caller, "notes.variable", json!({"name": "SECRET"}));
        assert_eq!(variable, *secret);
        let line = format!("line-of-{caller}");
        house.said(caller, "notes.append", json!({"line": line}));
    }
    assert_eq!(processes.len(), CALLERS.len(), "{processes:?}");
    for caller in 0..CALLERS.len() {
        let lines = house.said(caller, "notes.lines", json!({}));
        assert_eq!(lines, format!("line-of-{caller}\n"));
    }
}

#[test]
fn nothing_of_one_shows_to_another_nor_a_secret_to_anybody() {
    let Some(python) = python() else { return };
    let mut house = with_template(&python);
    connect_all(&mut house);
    for (caller, (own, _, _)) in CALLERS.iter().enumerate() {
        house.said(caller, "notes.echo", json!({"text": "hello"}));
        let shown = all_shown(&mut house, caller);
        for (other, (tenant, _, secret)) in CALLERS.iter().enumerate() {
            // Not even one's own secret is shown again.
            assert!(
                !shown.contains(secret),
                "{caller} is shown the secret of {other}"
            );
            if tenant != own {
                assert!(
                    !shown.contains(tenant),
                    "{caller} is shown {tenant}: {shown}"
                );
            }
        }
    }
    // Nor does the log have any, at its most talkative, nor a file of the data folder.
    house.client.end_input();
    house.client.end();
    let log = house.client.log();
    for (_, _, secret) in CALLERS {
        assert!(!log.contains(secret), "the log has a secret");
        for path in files(&house.folder.path().join("data")) {
            let bytes = fs::read(&path).unwrap_or_default();
            let found = bytes
                .windows(secret.len())
                .any(|part| part == secret.as_bytes());
            assert!(!found, "{} has a secret", path.display());
        }
    }
}

#[test]
fn a_command_of_ones_own_is_not_for_those_who_sign_in_by_token() {
    let mut house = House::start(|start, _| start.set("AGENT_MESH_ALLOWED_COMMANDS", "/bin/cat"));
    let register =
        json!({"service_id": "cat", "name": "Cat", "server_type": "stdio", "command": "/bin/cat"});
    let refused = house.call(0, "integration_register", register);
    let code = &refused["structuredContent"]["error"]["code"];
    assert_eq!(code, "NOT_SUPPORTED", "{refused}");
}
