//! Two tenants, and two users of one, with the same service: nothing of one ever shows to another.

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};

use super::{python, repository};
use crate::client::Client;
use crate::server::Start;
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

struct House {
    client: Client,
    provider: Provider,
}

impl House {
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

#[test]
fn the_same_service_is_another_one_for_each_user() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::new();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("keys.json", &provider.key_set().to_string());
    write("tenants.toml", TENANTS);
    let root = env!("CARGO_MANIFEST_DIR");
    let script = repository(super::SCRIPTED).display().to_string();
    write(
        "templates.toml",
        &format!(
            "[templates.scripted]\nprogram = \"{python}\"\nargs = [\"-S\", \"-E\", \"{script}\"]\n\
             env = [\"SECRET\"]\npaths = [\"{root}\"]\n"
        ),
    );
    let start = Start::on(folder.path())
        .set("AGENT_MESH_IDENTITY", "jwt")
        .set("AGENT_MESH_JWKS", "keys.json")
        .set("AGENT_MESH_JWT_ISSUER", ISSUER)
        .set("AGENT_MESH_JWT_AUDIENCE", AUDIENCE)
        .set("AGENT_MESH_TENANTS_FILE", "tenants.toml")
        .set("AGENT_MESH_TEMPLATES_FILE", "templates.toml")
        .set("LOG_LEVEL", "trace");
    let mut client = Client::of(start.spawn());
    client.initialize("2025-06-18");
    let mut house = House { client, provider };

    let register = json!({"service_id": "notes", "name": "Notes", "server_type": "stdio",
        "template": "scripted", "env": {"SECRET": "${credential:token}"}, "auth_method": "bearer"});
    for caller in [0, 2] {
        let registered = house.call(caller, "integration_register", register.clone());
        assert_eq!(registered["isError"], false, "{registered}");
    }
    let mut processes = Vec::new();
    for (caller, (_, _, secret)) in CALLERS.iter().enumerate() {
        let connect = json!({"service_id": "notes", "credentials": {"token": secret}});
        let connected = house.call(caller, "integration_connect", connect);
        assert_eq!(connected["isError"], false, "{connected}");
        // A process of its own, with a secret of its own and a file of its own.
        processes.push(house.said(caller, "notes.process", json!({})));
        let variable = house.said(caller, "notes.variable", json!({"name": "SECRET"}));
        assert_eq!(variable, *secret);
        house.said(
            caller,
            "notes.append",
            json!({"line": format!("line-of-{caller}")}),
        );
    }
    processes.sort_unstable();
    processes.dedup();
    assert_eq!(processes.len(), CALLERS.len(), "{processes:?}");

    let shown: Vec<String> = (0..CALLERS.len())
        .map(|caller| {
            let lines = house.said(caller, "notes.lines", json!({}));
            assert_eq!(lines, format!("line-of-{caller}\n"));
            let queries = [
                ("integration_list", json!({})),
                ("mcp_list_tools", json!({"detail": "schema"})),
                ("events_query", json!({"limit": 100})),
                ("events_health_check", json!({"verbose": true})),
                ("integration_test", json!({"service_id": "notes"})),
            ];
            let answers =
                queries.map(|(tool, arguments)| house.call(caller, tool, arguments).to_string());
            answers.join("\n")
        })
        .collect();
    for (caller, shown) in shown.iter().enumerate() {
        for (other, (tenant, user, secret)) in CALLERS.iter().enumerate() {
            // Not even one's own secret is shown again.
            assert!(
                !shown.contains(secret),
                "{caller} is shown the secret of {other}"
            );
            if *tenant != CALLERS[caller].0 {
                assert!(
                    !shown.contains(tenant),
                    "{caller} is shown {tenant}: {shown}"
                );
            }
            let _ = user;
        }
    }
    // Nor does the log have any, at its most talkative, nor a file of the data folder.
    house.client.end_input();
    house.client.end();
    let log = house.client.log();
    let data = start.data();
    for (_, _, secret) in CALLERS {
        assert!(!log.contains(secret), "the log has a secret");
        let found = start
            .command_by("grep")
            .args(["-r", "-l", secret])
            .arg(&data)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let found = String::from_utf8_lossy(&found.stdout).into_owned();
        assert_eq!(found, "", "a secret lies in the data folder");
    }
}

#[test]
fn a_command_of_ones_own_is_not_for_those_who_sign_in_by_token() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::new();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("keys.json", &provider.key_set().to_string());
    write("tenants.toml", TENANTS);
    let start = Start::on(folder.path())
        .set("AGENT_MESH_IDENTITY", "jwt")
        .set("AGENT_MESH_JWKS", "keys.json")
        .set("AGENT_MESH_JWT_ISSUER", ISSUER)
        .set("AGENT_MESH_JWT_AUDIENCE", AUDIENCE)
        .set("AGENT_MESH_TENANTS_FILE", "tenants.toml")
        .set("AGENT_MESH_ALLOWED_COMMANDS", "/bin/cat");
    let mut client = Client::of(start.spawn());
    client.initialize("2025-06-18");
    let mut house = House { client, provider };
    let register =
        json!({"service_id": "cat", "name": "Cat", "server_type": "stdio", "command": "/bin/cat"});
    let refused = house.call(0, "integration_register", register);
    let code = &refused["structuredContent"]["error"]["code"];
    assert_eq!(code, "NOT_SUPPORTED", "{refused}");
}
