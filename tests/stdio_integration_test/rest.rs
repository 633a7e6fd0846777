//! The REST façade of `serve`, asked by schemathesis all that its description allows, and much that it does not.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use agent_mesh::mesh::Timestamp;
use agent_mesh::mesh::tenant::Role;
use agent_mesh::outbound::tokens::{self, NewToken};
use secrecy::ExposeSecret as _;

use crate::foreign::{repository, tool};
use crate::server::{Server, Start, WAIT_MAX, run_to_end};

/// How long the whole run may take: about 2,300 requests, and the interpreter's own work on each.
const RUN_MAX: Duration = Duration::from_secs(480);

/// A token of an administrator, in the file where the server looks for such.
fn token(data: &Path) -> String {
    let new = NewToken {
        tenant: "acme".parse().unwrap(),
        user: "ada".parse().unwrap(),
        role: Role::Admin,
        scope: None,
        expires: None,
    };
    let now = Timestamp::from_millis(1_790_000_000_000);
    let made = tokens::create(&data.join("tokens.toml"), new, now);
    made.unwrap().0.expose_secret().to_owned()
}

/// Where the server says that it listens.
fn address(server: &Server) -> String {
    let start = Instant::now();
    while start.elapsed() < WAIT_MAX {
        let log = server.log();
        let line = log.lines().find(|line| line.contains("listening;"));
        if let Some((_, rest)) = line.and_then(|line| line.split_once("address=")) {
            return rest.split(' ').next().unwrap_or_default().to_owned();
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("it does not listen:\n{}", server.log());
}

#[test]
fn schemathesis_finds_no_fault_with_the_facade() {
    let Some(schemathesis) = tool("schemathesis", "schemathesis/bin/schemathesis") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let start = Start::on(folder.path())
        .generous()
        .set("AGENT_MESH_BIND", "127.0.0.1:0");
    let limits = folder.path().join("generous.toml");
    let mut tenants = std::fs::read_to_string(&limits).unwrap();
    tenants.push_str("[tenants.acme]\n");
    std::fs::write(&limits, tenants).unwrap();
    let token = token(&start.data());
    let server = start.clone().arguments(&["serve"]).spawn();
    let url = format!("http://{}/openapi.json", address(&server));

    let mut command = start.command_by(schemathesis);
    command
        .arg("--config-file")
        .arg(repository("tests/clients/schemathesis.toml"))
        .args(["run", &url, "--workers", "2", "--no-color"])
        .args(["--continue-on-failure", "--output-sanitize", "false"])
        .env(
            "SCHEMATHESIS_HOOKS",
            repository("tests/clients/schemathesis_hooks.py"),
        )
        .env("PYTHONPYCACHEPREFIX", folder.path().join("cache"))
        .env("TOKEN", token);
    let output = run_to_end(&mut command, RUN_MAX);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{said}", output.status);
    assert!(said.contains("API Operations:"), "{said}");
    let log = server.log();
    assert!(!log.contains(" ERROR "), "{log}");
}
