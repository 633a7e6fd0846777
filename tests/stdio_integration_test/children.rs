//! Processes of integrations: what they get, what they cannot reach, and that nothing of them outlives us.

mod ends;
mod hostile;
mod program;

use std::collections::{BTreeMap, BTreeSet};

use agent_mesh::mesh::ErrorKind;
use agent_mesh::mesh::upstream::ConnectionTarget;
use agent_mesh::outbound::upstream::link::Links;
use agent_mesh::platform;
use secrecy::SecretString;
use serde_json::json;

use crate::requirement::left_out;
use program::{Child, Home, SCRIPT, python, template};

/// A secret that must show nowhere but in the child.
const CANARY: &str = "canary-4f1d9b7c2e";

#[tokio::test]
async fn the_environment_is_what_was_declared_and_nothing_else() {
    let home = Home::new();
    let mut child = home
        .open_with("ada", &[("GITHUB_TOKEN", CANARY), ("MODE", "a b=c")])
        .await;
    let environ = child
        .run("result = open('/proc/self/environ').read().split('\\0')")
        .await
        .unwrap();
    let found: BTreeSet<&str> = environ
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|pair| pair.as_str().unwrap().split_once('='))
        .map(|(name, _)| name)
        .collect();
    let expected = ["GITHUB_TOKEN", "HOME", "LANG", "MODE", "PATH", "TMPDIR"];
    assert_eq!(found, BTreeSet::from(expected));
    let values = child
        .run("import os; e = os.environ; result = [e['GITHUB_TOKEN'], e['MODE'], e['HOME'], os.getcwd()]")
        .await
        .unwrap();
    assert_eq!(values[0], CANARY);
    assert_eq!(values[1], "a b=c");
    assert_eq!(values[2], values[3]);
    child.close().await;
}

#[tokio::test]
async fn a_secret_is_in_no_command_line_no_record_and_no_last_words() {
    let home = Home::new();
    let mut child = home.open_with("ada", &[("TOKEN", CANARY)]).await;
    for process in home.tree() {
        let line = std::fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap();
        assert!(!line.contains(CANARY), "{line}");
    }
    for record in std::fs::read_dir(home.children()).unwrap().flatten() {
        if record.path().is_file() {
            assert!(
                !std::fs::read_to_string(record.path())
                    .unwrap()
                    .contains(CANARY)
            );
        }
    }
    child
        .run("import os, sys; print('token', os.environ['TOKEN'], file=sys.stderr, flush=True); os._exit(7)")
        .await
        .unwrap_err();
    let closed = child.closed().await;
    assert!(closed.message().contains("ended with status 7"), "{closed}");
    assert!(closed.message().contains("token [secret]"), "{closed}");
    assert!(!format!("{closed:?}").contains(CANARY));
    assert!(!child.last_words().unwrap().contains(CANARY));
}

#[tokio::test]
async fn programs_of_the_usual_kinds_run_within_their_rules() {
    let home = Home::new();
    let mut child = home.open("ada").await;
    // Threads, processes, pipes, certificates, names, temporary files, many descriptors.
    child
        .run(
            "import subprocess, ssl, socket, tempfile, threading, asyncio, urllib.request, sqlite3\n\
             assert subprocess.run(['/bin/sh', '-c', 'echo x'], capture_output=True).stdout == b'x\\n'\n\
             ssl.create_default_context()\n\
             socket.getaddrinfo('localhost', 443)\n\
             tempfile.NamedTemporaryFile().write(b'x')\n\
             t = threading.Thread(target=lambda: None); t.start(); t.join()\n\
             asyncio.run(asyncio.sleep(0))\n\
             open('file', 'w').write('x')\n\
             open('/dev/null', 'w').write('x')\n\
             sqlite3.connect('db').execute('create table t (x)')\n\
             result = 1",
        )
        .await
        .unwrap();
    child.close().await;
    if let Some(node) = program::find("node") {
        let script = "process.stdin.on('data', () => { \
                      const {execSync} = require('child_process'); \
                      const out = execSync('echo x').toString().trim(); \
                      require('fs').writeFileSync('file', 'x'); \
                      require('os').cpus(); process.memoryUsage(); \
                      console.log(JSON.stringify({jsonrpc: '2.0', id: 1, result: {ok: out}})) })";
        let mut child = home.open_program(&node, &["-e", script], "ada").await;
        assert_eq!(child.run("any").await.unwrap(), json!("x"));
        child.close().await;
    }
}

#[tokio::test]
async fn what_is_not_allowed_is_refused_with_what_to_do() {
    let home = Home::new();
    let links = home.links();
    let command = |command: &str, env: &[(&str, &str)]| ConnectionTarget::Command {
        command: command.to_owned(),
        args: Vec::new(),
        env: program::secrets(env),
    };
    let python = python().display().to_string();
    links.check(&command("python", &[("A", "x")])).unwrap();
    links.check(&command(&python, &[])).unwrap();
    for bad in ["sh", "/bin/sh", "./python", "", "python "] {
        let refused = links.check(&command(bad, &[])).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotSupported, "{bad}");
        assert!(
            refused
                .fix_text()
                .unwrap()
                .contains("AGENT_MESH_ALLOWED_COMMANDS")
        );
        assert!(!refused.message().contains('/'), "{refused}");
    }
    let missing = links.check(&command("missing", &[])).unwrap_err();
    assert!(missing.message().contains("no such program"), "{missing}");
    let loader = links
        .check(&command("python", &[("LD_PRELOAD", "x")]))
        .unwrap_err();
    assert_eq!(loader.details()["parameter"], "env.LD_PRELOAD");
    let template = ConnectionTarget::Template {
        template: "none".to_owned(),
        slots: BTreeMap::new(),
        env: BTreeMap::new(),
    };
    assert_eq!(
        links.check(&template).unwrap_err().details()["parameter"],
        "template"
    );
}

#[tokio::test]
async fn under_tokens_templates_run_and_commands_do_not() {
    let mut home = Home::new();
    home.settings.commands = None;
    let template = template(&["-c", SCRIPT, "--root={root}"], "[a-z ]*");
    home.settings.templates = BTreeMap::from([("script".to_owned(), template)]).into();
    let links = home.links();
    let command = ConnectionTarget::Command {
        command: "python".to_owned(),
        args: Vec::new(),
        env: BTreeMap::new(),
    };
    let refused = links.check(&command).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotSupported);
    assert!(refused.fix_text().unwrap().contains("template"));

    let target = |root: Option<&str>, env: &str| ConnectionTarget::Template {
        template: "script".to_owned(),
        slots: root
            .map(|root| ("root".to_owned(), root.to_owned()))
            .into_iter()
            .collect(),
        env: BTreeMap::from([(env.to_owned(), SecretString::from(CANARY.to_owned()))]),
    };
    if !platform::sandbox_support().is_whole() {
        left_out(
            "landlock",
            "the kernel does not hold processes to all rules",
        );
        let refused = links.check(&target(Some("a"), "TOKEN")).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotSupported);
        return;
    }
    links.check(&target(None, "TOKEN")).unwrap();
    for bad in [
        target(Some("-x"), "TOKEN"),
        target(Some("A"), "TOKEN"),
        target(Some("a"), "OTHER"),
    ] {
        let refused = links.check(&bad).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidParameter);
    }
    let refused = links
        .open(&program::plan("ada", target(None, "TOKEN")))
        .await
        .err()
        .unwrap();
    assert_eq!(refused.details()["parameter"], "settings.root");

    let plan = program::plan("ada", target(Some("a b"), "TOKEN"));
    let mut child = Child::new(links.open(&plan).await.unwrap());
    let args = child
        .run("import sys; result = sys.argv[1:]")
        .await
        .unwrap();
    assert_eq!(args, json!(["--root=a b"]));
    child.close().await;
}

#[tokio::test]
async fn a_program_that_cannot_be_run_leaves_nothing_behind() {
    let mut home = Home::new();
    let broken = home.path().join("broken");
    std::fs::write(&broken, "#!/no/such/interpreter\n").unwrap();
    std::fs::set_permissions(&broken, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    home.settings
        .commands
        .as_mut()
        .unwrap()
        .insert("broken".to_owned(), Some(broken));
    let links = home.links();
    let target = ConnectionTarget::Command {
        command: "broken".to_owned(),
        args: Vec::new(),
        env: BTreeMap::new(),
    };
    let plan = program::plan("ada", target);
    let refused = links.open(&plan).await.err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::UpstreamUnavailable);
    assert!(
        refused.message().contains("broken could not be run"),
        "{refused}"
    );
    assert!(refused.is_known_not_done());
    home.nothing_is_left().await;
}

#[tokio::test]
async fn the_live_tree_is_listed_with_memory_and_without_secrets() {
    let home = Home::new();
    let list = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_use_aws_mcp"))
            .args(["integrations", "ps"])
            .args(arguments)
            .env_clear()
            .env("AGENT_MESH_DATA_DIR", home.path().join("data"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(list(&[]).starts_with("No process runs"));
    let mut child = home.open_with("ada", &[("TOKEN", CANARY)]).await;
    child
        .run("import subprocess; p = subprocess.Popen(['/bin/sleep', '60'])")
        .await
        .unwrap();
    let rows: serde_json::Value = serde_json::from_str(&list(&["--json"])).unwrap();
    let row = &rows[0];
    assert_eq!(rows.as_array().unwrap().len(), 1);
    assert_eq!(row["server"], std::process::id());
    assert_eq!(row["process"], child.id());
    assert_eq!(row["processes"], 2);
    for (member, value) in [("tenant", "acme"), ("user", "ada"), ("service", "script")] {
        assert_eq!(row[member], value);
    }
    assert!(row["memory_bytes"].as_u64().unwrap() > 1 << 20);
    let text = list(&[]);
    assert!(text.contains("acme/ada script.default"), "{text}");
    assert!(!text.contains(CANARY) && !rows.to_string().contains(CANARY));
    child.close().await;
    assert!(list(&[]).starts_with("No process runs"));
}
