//! Files of each client's shape, and what becomes of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

/// What must be shown nowhere.
const CANARY: &str = "canary-3c9d";

/// Answers in turn, and counts the questions.
struct Script(Vec<Option<bool>>);

impl Confirm for Script {
    fn confirm(&mut self) -> Option<bool> {
        assert!(!self.0.is_empty(), "one question too many");
        self.0.remove(0)
    }
}

fn environment(folder: &Path, variables: &[(&str, &str)]) -> Environment {
    let data = folder.join("data").to_str().unwrap().to_owned();
    let own = [
        ("AGENT_MESH_DATA_DIR", data.as_str()),
        ("AGENT_MESH_ALLOWED_COMMANDS", "npx,docker,uvx"),
    ];
    Environment {
        variables: own
            .iter()
            .chain(variables)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        home: Some(folder.to_owned()),
        settings_home: Some(folder.join(".config")),
        data_home: Some(folder.to_owned()),
        working_dir: folder.to_owned(),
        login_name: Some("ada".to_owned()),
        ..Environment::default()
    }
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn imported(
    folder: &Path,
    words: &[&str],
    answers: &[Option<bool>],
    variables: &[(&str, &str)],
) -> (ExitStatus, String) {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }
    let environment = environment(folder, variables);
    let config = Config::from_sources(&BTreeMap::new(), &environment, None).unwrap();
    let words = ["import"].iter().chain(words);
    let line = <Line as clap::Parser>::try_parse_from(words).unwrap();
    let (mut output, captured) = Output::captured();
    let mut script = Script(answers.to_vec());
    let confirm: &mut dyn Confirm = match line.arguments.yes {
        true => &mut Always,
        false => &mut script,
    };
    let status = import(&line.arguments, &config, &environment, confirm, &mut output);
    let told = format!("{}{}", captured.stdout(), captured.stderr());
    assert!(!told.contains(CANARY), "{told}");
    (status, told)
}

/// What a server of a client's file becomes.
fn plan(name: &str, members: Value) -> Result<Plan, String> {
    let folder = TempDir::new().unwrap();
    let found = Found {
        client: Client::Cursor,
        name: name.to_owned(),
        members: members.as_object().unwrap().clone(),
    };
    let environment = environment(folder.path(), &[("FROM_ENV", "value")]);
    let plan = convert(&found, &environment);
    let shown = format!("{plan:?}");
    assert!(!shown.contains(CANARY), "{shown}");
    plan
}

fn secrets(plan: &Plan) -> BTreeMap<&str, &str> {
    let secrets = plan.secrets.iter();
    secrets
        .map(|(name, text)| (name.as_str(), text.expose_secret()))
        .collect()
}

#[test]
fn secrets_are_taken_out_of_every_place_and_the_rest_stays() {
    let plan = plan(
        "GitHub (work)",
        json!({
            "command": "docker",
            "args": ["run", "-i", "-e", format!("GITHUB_TOKEN={CANARY}-1"), "--api-key", format!("{CANARY}-2"),
                     "--header", format!("Authorization: {CANARY}-3"), "image"],
            "env": {"LOG": "debug", "MY_SECRET": format!("{CANARY}-4"), "PORT": 8080, "FLAG": true},
            "cwd": "/srv",
        }),
    );
    let plan = plan.unwrap();
    assert_eq!(plan.service.as_str(), "github-work");
    assert_eq!(
        plan.arguments,
        json!({
            "service_id": "github-work", "name": "GitHub (work)", "server_type": "stdio",
            "command": "docker",
            "args": ["run", "-i", "-e", "GITHUB_TOKEN=${secret:github-work-GITHUB_TOKEN}", "--api-key",
                     "${secret:github-work-api-key}", "--header",
                     "Authorization: ${secret:github-work-Authorization}", "image"],
            "env": {"FLAG": "true", "LOG": "debug", "MY_SECRET": "${secret:github-work-MY_SECRET}", "PORT": "8080"},
        })
    );
    let kept = secrets(&plan);
    assert_eq!(kept["github-work-GITHUB_TOKEN"], format!("{CANARY}-1"));
    assert_eq!(kept["github-work-api-key"], format!("{CANARY}-2"));
    assert_eq!(kept["github-work-Authorization"], format!("{CANARY}-3"));
    assert_eq!(kept["github-work-MY_SECRET"], format!("{CANARY}-4"));
    assert!(plan.notes[0].contains("folder"), "{:?}", plan.notes);
}

#[test]
fn remote_servers_are_of_the_type_that_their_client_means() {
    for (members, server_type) in [
        (json!({"url": "https://x.example/mcp"}), "http"),
        (
            json!({"type": "http", "url": "https://x.example/sse"}),
            "http",
        ),
        (
            json!({"type": "streamable-http", "url": "https://x.example"}),
            "http",
        ),
        (json!({"url": "https://x.example/sse"}), "sse"),
        (json!({"type": "sse", "url": "https://x.example"}), "sse"),
        (json!({"url": "wss://x.example"}), "websocket"),
        (json!({"serverUrl": "https://x.example/mcp"}), "http"),
    ] {
        let plan = plan("x", members).unwrap();
        assert_eq!(plan.arguments["server_type"], server_type);
    }
    let headers = json!({"Authorization": format!("Bearer {CANARY}"), "Accept": "text/html"});
    let plan = plan("x", json!({"url": "https://x.example", "headers": headers})).unwrap();
    assert_eq!(
        plan.arguments["headers"],
        json!({"Accept": "text/html", "Authorization": "${secret:x-Authorization}"})
    );
    assert_eq!(
        secrets(&plan)["x-Authorization"],
        format!("Bearer {CANARY}")
    );
}

#[test]
fn placeholders_of_clients_become_values_or_secrets_that_are_to_be_set() {
    let plan = plan(
        "x",
        json!({
            "command": "npx",
            "args": ["${env:FROM_ENV}", "${FROM_ENV}/a", "${NONE:-default}", "${userHome}/x", "a $ {b} ${"],
            "env": {"API_TOKEN": "${input:token}", "REGION": "${FROM_ENV}"},
        }),
    )
    .unwrap();
    let args: Vec<&str> = plan.arguments["args"]
        .as_array()
        .unwrap()
        .iter()
        .map(|text| text.as_str().unwrap())
        .collect();
    assert_eq!(args[..3], ["value", "value/a", "default"]);
    assert!(args[3].ends_with("/x"));
    assert_eq!(args[4], "a $ {b} $${");
    assert_eq!(plan.arguments["env"]["API_TOKEN"], "${secret:x-token}");
    assert!(
        plan.notes[0].contains("use_aws_mcp secrets set x-token"),
        "{:?}",
        plan.notes
    );
    assert!(plan.secrets.is_empty());
}

#[test]
fn what_cannot_be_an_integration_says_why_and_shows_no_value() {
    for (name, members, reason) in [
        (
            "x",
            json!({"command": "npx", "disabled": true}),
            "switched off",
        ),
        (
            "x",
            json!({"command": "npx", "envFile": ".env"}),
            "in a file",
        ),
        ("x", json!({}), "neither a command nor a URL"),
        ("x", json!({"command": "npx", "args": CANARY}), "no list"),
        (
            "x",
            json!({"command": "npx", "args": [[CANARY]]}),
            "no text",
        ),
        ("x", json!({"command": "npx", "env": [CANARY]}), "no object"),
        (
            "x",
            json!({"command": "npx", "args": ["${workspaceFolder}"]}),
            "`${workspaceFolder}`",
        ),
        (
            "x",
            json!({"command": "npx", "args": ["${env:NONE}"]}),
            "`${env:NONE}`",
        ),
        (
            "x",
            json!({"url": format!("https://u:{CANARY}@x.example")}),
            "in headers only",
        ),
        (
            "x",
            json!({"url": format!("https://x.example?api_key={CANARY}")}),
            "in headers only",
        ),
        (
            "x",
            json!({"type": "carrier-pigeon", "url": "https://x.example"}),
            "carrier-pigeon",
        ),
        ("日本", json!({"command": "npx"}), "no letters or digits"),
    ] {
        let told = plan(name, members).unwrap_err();
        assert!(told.contains(reason), "{told}");
        assert!(!told.contains(CANARY), "{told}");
    }
}

#[test]
fn ids_fit_whatever_the_client_calls_a_server() {
    for (name, id) in [
        ("GitHub", "github"),
        ("my_server.v2", "my-server-v2"),
        ("--a--b--", "a-b"),
        ("kv", "my-kv"),
        (&"x".repeat(40), &"x".repeat(32)),
        (&format!("{}-y", "x".repeat(31)), &"x".repeat(31)),
    ] {
        let plan = plan(name, json!({"command": "npx"})).unwrap();
        assert_eq!(plan.service.as_str(), id);
    }
}

#[test]
fn a_dry_run_shows_what_every_client_has_and_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let desktop = format!(
        "{{\"mcpServers\": {{\"files\": {{\"command\": \"npx\", \"args\": [\"-y\", \"server filesystem\\u202e\"], \
         \"env\": {{\"A_TOKEN\": \"{CANARY}\"}}}}, \
         \"agent-mesh\": {{\"command\": \"/opt/use_aws_mcp\"}}, \
         \"renamed\": {{\"command\": \"/opt/use_aws_mcp\"}}}}}}"
    );
    write(path, ".config/Claude/claude_desktop_config.json", &desktop);
    let folder_name = path.to_str().unwrap();
    let code = json!({
        "numStartups": 3,
        "mcpServers": {"everywhere": {"type": "http", "url": "https://e.example/mcp"}},
        "projects": {
            folder_name: {"mcpServers": {"here": {"type": "stdio", "command": "uvx", "args": ["here"]}}},
            "/elsewhere": {"mcpServers": {"not-here": {"command": "uvx"}}},
        },
    });
    write(path, ".claude.json", &code.to_string());
    let cursor =
        "{\n  // a comment\n  \"mcpServers\": {\"cur\": {\"url\": \"https://c.example/sse\",}},\n}";
    write(path, ".cursor/mcp.json", cursor);
    let vscode = r#"{"inputs": [{"id": "key", "password": true}], "servers": {"vs": {"type": "stdio", "command": "npx", "env": {"KEY": "${input:key}"}}}}"#;
    write(path, ".config/Code/User/mcp.json", vscode);
    let (status, told) = imported(path, &["--dry-run"], &[], &[]);
    assert_eq!(status, ExitStatus::Success, "{told}");
    for expected in [
        "files (Claude Desktop)",
        "runs     npx -y 'server filesystem\\u{202e}'",
        "A_TOKEN=${secret:files-A_TOKEN}",
        "secret   files-A_TOKEN, moved into the store",
        "everywhere (Claude Code)",
        "http     https://e.example/mcp",
        "here (Claude Code)",
        "cur (Cursor)",
        "sse      https://c.example/sse",
        "vs (Visual Studio Code)",
        "use_aws_mcp secrets set vs-key",
    ] {
        assert!(told.contains(expected), "{expected} in\n{told}");
    }
    for foreign in ["agent-mesh", "renamed", "not-here"] {
        assert!(!told.contains(foreign), "{told}");
    }
    assert!(!path.join("data").exists());
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let (status, told) = imported(path, &["--client", "cursor"], &[], &[]);
    assert_eq!(status, ExitStatus::Failure);
    assert!(told.contains("mcp.json"), "{told}");
    write(path, "mine.json", &format!("{{\n\"{CANARY}\" 1}}"));
    let words = ["--client", "cursor", "--path", "mine.json", "--dry-run"];
    let (status, told) = imported(path, &words, &[], &[]);
    assert_eq!(status, ExitStatus::Failure);
    assert!(told.contains("mine.json: line 2"), "{told}");
    let (status, told) = imported(path, &["--dry-run"], &[], &[]);
    assert_eq!(status, ExitStatus::Success);
    assert!(told.contains("Nothing to import"), "{told}");
}

#[test]
fn each_server_is_asked_for_and_without_a_terminal_nothing_is_done() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let servers = json!({"mcpServers": {"a": {"command": "npx"}, "b": {"command": "npx"}}});
    write(path, ".cursor/mcp.json", &servers.to_string());
    let (status, told) = imported(path, &[], &[Some(false), Some(false)], &[]);
    assert_eq!(status, ExitStatus::Success, "{told}");
    assert_eq!(told.matches("not registered").count(), 2, "{told}");
    let (status, told) = imported(path, &[], &[Some(true), None], &[]);
    assert_eq!(status, ExitStatus::Usage);
    assert!(told.contains("--yes"), "{told}");
    assert!(!path.join("data").exists());
}

/// The text that is kept for the caller; none where nothing is.
fn kept(folder: &Path, name: &str) -> Option<String> {
    let environment = environment(folder, &[]);
    let config = Config::from_sources(&BTreeMap::new(), &environment, None).unwrap();
    let (mut output, _) = Output::captured();
    let mut found = None;
    InProcess::run(&config, &mut output, async |server, _| {
        let caller = server.caller().await.unwrap();
        #[expect(
            clippy::disallowed_methods,
            reason = "this test stands behind the seam"
        )]
        let key = crate::mesh::store::key::trial::secret(
            caller.tenant_id(),
            Keeper::User,
            caller.user_id(),
            name,
        );
        found = server.secret_store().get(&key).await.unwrap();
        ExitStatus::Success
    });
    found.map(|text| text.expose_secret().to_owned())
}

/// Puts a server with a secret header into Cursor's file.
fn configure(folder: &Path, url: &str, token: &str) {
    let servers =
        json!({"mcpServers": {"remote": {"url": url, "headers": {"Authorization": token}}}});
    write(folder, ".cursor/mcp.json", &servers.to_string());
}

#[test]
fn a_server_is_registered_once_and_its_secrets_are_kept() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    configure(path, "https://x.example/mcp", &format!("Bearer {CANARY}"));
    let (status, told) = imported(path, &["--yes"], &[], &[]);
    assert_eq!(status, ExitStatus::Success, "{told}");
    assert!(told.contains("remote: registered"), "{told}");
    assert_eq!(
        kept(path, "remote-Authorization").unwrap(),
        format!("Bearer {CANARY}")
    );
    // The same again changes nothing, and something else under its name leaves what is there.
    configure(path, "https://x.example/mcp", "Bearer other");
    let (status, told) = imported(path, &[], &[Some(true)], &[]);
    assert_eq!(status, ExitStatus::Success, "{told}");
    assert!(told.contains("remote: registered already"), "{told}");
    configure(path, "https://y.example/mcp", "Bearer other");
    let (status, told) = imported(path, &["--yes"], &[], &[]);
    assert_eq!(status, ExitStatus::Success, "{told}");
    assert!(
        told.contains("of that name is registered already"),
        "{told}"
    );
    assert_eq!(
        kept(path, "remote-Authorization").unwrap(),
        format!("Bearer {CANARY}")
    );
}

#[test]
fn what_the_operator_does_not_allow_is_told_and_keeps_no_secret() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let servers = json!({"mcpServers": {
        "local": {"command": "/no/such/program", "env": {"A_TOKEN": CANARY}},
        "inside": {"url": "https://169.254.169.254/mcp", "headers": {"Authorization": CANARY}},
        "fine": {"url": "https://x.example/mcp"},
    }});
    write(path, ".cursor/mcp.json", &servers.to_string());
    let (status, told) = imported(path, &["--yes"], &[], &[]);
    assert_eq!(status, ExitStatus::Failure, "{told}");
    assert!(told.contains("fine: registered"), "{told}");
    for (refused, secret) in [
        ("local", "local-A_TOKEN"),
        ("inside", "inside-Authorization"),
    ] {
        assert!(
            told.contains(&format!("{refused}: not registered")),
            "{told}"
        );
        assert_eq!(kept(path, secret), None);
    }
}

#[test]
fn who_may_not_register_registers_nothing() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    configure(path, "https://x.example/mcp", CANARY);
    let (status, told) = imported(path, &["--yes"], &[], &[("AGENT_MESH_ROLE", "user")]);
    assert_eq!(status, ExitStatus::Failure, "{told}");
    assert!(told.contains("PERMISSION_DENIED"), "{told}");
    assert_eq!(kept(path, "remote-Authorization"), None);
}
