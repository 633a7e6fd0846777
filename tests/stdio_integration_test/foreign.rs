//! Clients that other people wrote, in the versions that `scripts/test-tools.sh` installs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::requirement::left_out;
use crate::server::{PROGRAM, Start, run_to_end};

/// How long a whole round of a client may take; starting an interpreter is most of it.
const ROUND_MAX: Duration = Duration::from_secs(60);

pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// An installed tool; `None`, and said, where it is not there.
pub(crate) fn tool(name: &str, path: &str) -> Option<PathBuf> {
    let path = repository("target/test-tools").join(path);
    if path.exists() {
        return Some(path);
    }
    left_out(name, "run scripts/test-tools.sh");
    None
}

/// Runs a client's program against the server and looks at its report.
fn round(mut command: Command, version: &str) {
    let output = run_to_end(command.args(["--", PROGRAM]), ROUND_MAX);
    let log = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("no report; it said:\n{log}"));
    assert_eq!(report["failures"], json!([]), "{report}\n{log}");
    assert!(output.status.success(), "{}", output.status);
    assert_eq!(report["protocol_version"], version, "{report}");
    assert_eq!(
        report["steps"].as_array().map(Vec::len),
        Some(9),
        "{report}"
    );
}

fn python(environment: &str, mode: &str, version: &str) {
    let Some(python) = tool("python", &format!("{environment}/bin/python")) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut command = Start::on(folder.path()).command_by(python);
    command
        .arg(repository("tests/clients/python_client.py"))
        .args(["--mode", mode]);
    // It needs a folder to write its compiled modules to, and this one goes away.
    command.env("PYTHONPYCACHEPREFIX", folder.path().join("cache"));
    round(command, version);
}

fn typescript(sdk: &str, version: &str) {
    let Some(node) = tool("typescript", "node/node_modules/.bin/node") else {
        return;
    };
    let Some(sdk) = tool("typescript", &format!("node/node_modules/{sdk}")) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut command = Start::on(folder.path()).command_by(node);
    command
        .arg(repository("tests/clients/typescript_client.mjs"))
        .arg(sdk);
    round(command, version);
}

#[test]
fn the_python_package_of_today() {
    python("python", "auto", "2026-07-28");
}

#[test]
fn the_python_package_of_today_with_a_session() {
    python("python", "legacy", "2025-11-25");
}

#[test]
fn the_python_package_of_the_first_line() {
    python("python-1", "auto", "2025-11-25");
}

#[test]
fn the_typescript_sdk_of_today() {
    typescript("sdk-new", "2025-11-25");
}

#[test]
fn the_typescript_sdk_that_the_dashboard_uses() {
    typescript("@modelcontextprotocol/sdk", "2025-06-18");
}

/// The Inspector's command line: its exit status and what it prints as JSON.
pub(crate) struct Inspector {
    folder: tempfile::TempDir,
    bin: PathBuf,
}

impl Inspector {
    pub(crate) fn installed() -> Option<Self> {
        let bin = tool("inspector", "node/node_modules/.bin/inspector")?
            .parent()?
            .to_owned();
        Some(Self {
            folder: tempfile::tempdir().unwrap(),
            bin,
        })
    }

    /// Where it works.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Has it start a server, and ask that.
    pub(crate) fn inspect(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let data = Start::on(self.folder.path()).data();
        let data = format!("AGENT_MESH_DATA_DIR={}", data.display());
        let server = ["--", PROGRAM];
        self.inspect_by(&[&["-e", &data], arguments, &server].concat())
    }

    /// Has it ask the server that the arguments lead to.
    pub(crate) fn inspect_by(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let start = Start::on(self.folder.path());
        let mut command = start.command_by(self.bin.join("inspector"));
        // It needs the Node that is installed beside it, and what it finds it by.
        let path =
            std::env::join_paths([self.bin.as_path(), Path::new("/usr/bin"), Path::new("/bin")]);
        command.env("PATH", path.unwrap());
        command.args(["--cli", "--quiet", "--format", "json"]);
        command.args(arguments);
        let output = run_to_end(&mut command, ROUND_MAX);
        let printed = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            json!({"printed": String::from_utf8_lossy(&output.stdout), "said": said})
        });
        (output.status.code(), printed)
    }
}

#[test]
fn the_inspector_finds_no_fault_with_the_tools() {
    let Some(inspector) = Inspector::installed() else {
        return;
    };
    for era in ["legacy", "modern"] {
        let strict = ["--method", "tools/list", "--strict", "--protocol-era", era];
        let (status, printed) = inspector.inspect(&strict);
        assert_eq!(status, Some(0), "{era}: {printed}");
    }
}

#[test]
fn the_inspector_calls_tools() {
    let Some(inspector) = Inspector::installed() else {
        return;
    };
    let call = |tool: &str, arguments: &str| {
        inspector.inspect(&[
            "--method",
            "tools/call",
            "--tool-name",
            tool,
            "--tool-args-json",
            arguments,
        ])
    };
    let (status, printed) = call("kv_set", r#"{"key": "a", "value": {"b": [1, null]}}"#);
    assert_eq!(status, Some(0), "{printed}");
    let (status, printed) = call("kv_get", r#"{"key": "a"}"#);
    assert_eq!(status, Some(0), "{printed}");
    assert!(
        printed.to_string().contains(r#""value":{"b":[1,null]}"#),
        "{printed}"
    );
    // 5 is a tool's own error.
    let (status, printed) = call("kv_get", "{}");
    assert_eq!(status, Some(5), "{printed}");
    assert!(
        printed.to_string().contains("INVALID_PARAMETER"),
        "{printed}"
    );
}

#[test]
fn the_inspector_lists_templates_and_prompts() {
    let Some(inspector) = Inspector::installed() else {
        return;
    };
    let (status, printed) = inspector.inspect(&["--method", "resources/templates/list"]);
    assert_eq!(status, Some(0), "{printed}");
    assert!(
        printed
            .to_string()
            .contains("mesh://artifacts/{scope}/{+key}"),
        "{printed}"
    );
    let (status, printed) = inspector.inspect(&["--method", "prompts/list"]);
    assert_eq!(status, Some(0), "{printed}");
}
