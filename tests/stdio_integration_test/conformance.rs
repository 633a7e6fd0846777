//! The protocol's own conformance suite against the listener, with its fixtures behind it and with the product.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::requirement::left_out;
use crate::server::{PROGRAM, run_to_end};
use crate::serving::Serving;

/// How long the scenarios of one revision may take: a few seconds where nothing else runs.
const SUITE_TIME_MAX: Duration = Duration::from_secs(300);

/// The revisions whose scenarios are run, each in its own way of speaking; the second has those of tasks too.
const REVISIONS: [&str; 2] = ["2025-11-25", "2026-07-28"];

/// Less would mean that the suite has not looked.
const SUCCESSES_MIN: usize = 270;

/// What needs no fixture, so that the product itself must pass it.
const OF_THE_PRODUCT: [(&str, &str); 15] = [
    ("2025-11-25", "server-initialize"),
    ("2025-11-25", "server-session-lifecycle"),
    ("2025-11-25", "ping"),
    ("2025-11-25", "tools-list"),
    ("2025-11-25", "prompts-list"),
    ("2025-11-25", "resources-list"),
    ("2025-11-25", "dns-rebinding-protection"),
    ("2025-11-25", "server-sse-multiple-streams"),
    ("2026-07-28", "tools-list"),
    ("2026-07-28", "prompts-list"),
    ("2026-07-28", "resources-list"),
    ("2026-07-28", "caching"),
    ("2026-07-28", "dns-rebinding-protection"),
    ("2026-07-28", "http-header-validation"),
    ("2026-07-28", "sep-2164-resource-not-found"),
];

/// The suite, and the Node that runs it.
struct Suite {
    node: PathBuf,
    program: PathBuf,
    folder: tempfile::TempDir,
}

/// One thing that the suite has looked at.
struct Check {
    scenario: String,
    id: String,
    status: String,
    message: Value,
}

/// examples/conformance/not_applicable.toml.
#[derive(Deserialize)]
struct NotApplicable {
    scenario: Vec<LeftOut>,
    check: Vec<Inconclusive>,
}

#[derive(Deserialize)]
struct LeftOut {
    name: String,
    reason: String,
}

#[derive(Deserialize)]
struct Inconclusive {
    scenario: String,
    check: String,
    status: String,
    reason: String,
}

impl Suite {
    fn installed() -> Option<Self> {
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-tools");
        let node = tools.join("node/node_modules/.bin/node");
        let program =
            tools.join("conformance/node_modules/@modelcontextprotocol/conformance/dist/index.js");
        if !node.exists() || !program.exists() {
            left_out("conformance", "run scripts/test-tools.sh");
            return None;
        }
        Some(Self {
            node,
            program,
            folder: tempfile::tempdir().unwrap(),
        })
    }

    fn run(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(&self.node);
        command
            .arg(&self.program)
            .args(arguments)
            .env_clear()
            .env("HOME", self.folder.path())
            .env("NO_COLOR", "1")
            .current_dir(self.folder.path());
        let output = run_to_end(&mut command, SUITE_TIME_MAX);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Judges the server at `url` by what `selection` selects.
    fn judge(&self, url: &str, selection: &[&str]) -> Vec<Check> {
        let results = self.folder.path().join(selection.join("-"));
        let place = results.to_str().unwrap();
        let said = self.run(&[&["server", "--url", url, "-o", place], selection].concat());
        let folders = std::fs::read_dir(&results).unwrap_or_else(|_| panic!("no results: {said}"));
        let folders = folders.map(|entry| entry.unwrap().path());
        folders.flat_map(|folder| checks(&folder)).collect()
    }
}

/// The checks of one scenario: its folder is called `server-`, its name, and when it ran.
fn checks(folder: &Path) -> Vec<Check> {
    let name = folder.file_name().unwrap().to_str().unwrap();
    let name = name.strip_prefix("server-").expect("a scenario of servers");
    let scenario = &name[..name.len() - "-2026-01-31T23-59-59-999Z".len()];
    let text = std::fs::read_to_string(folder.join("checks.json")).unwrap();
    let checks: Vec<Value> = serde_json::from_str(&text).unwrap();
    let check = |check: Value| Check {
        scenario: scenario.to_owned(),
        id: check["id"].as_str().unwrap().to_owned(),
        status: check["status"].as_str().unwrap().to_owned(),
        message: check["errorMessage"].clone(),
    };
    checks.into_iter().map(check).collect()
}

impl NotApplicable {
    fn read() -> Self {
        let path = "examples/conformance/not_applicable.toml";
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let listed: Self = toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let scenarios = listed.scenario.iter().map(|left_out| &left_out.reason);
        let reasons = scenarios.chain(listed.check.iter().map(|check| &check.reason));
        assert!(reasons.clone().count() > 0);
        assert!(reasons.into_iter().all(|reason| reason.ends_with('.')));
        listed
    }

    fn has(&self, check: &Check) -> bool {
        self.check.iter().any(|listed| {
            listed.scenario == check.scenario
                && listed.check == check.id
                && listed.status == check.status
        })
    }
}

/// The example that has the fixtures; it ends when its input does.
struct Fixtures {
    child: Child,
    input: Option<ChildStdin>,
    url: String,
}

impl Fixtures {
    /// Cargo builds examples with all tests, beside the program.
    fn start() -> Option<Self> {
        let program = Path::new(PROGRAM).with_file_name("examples");
        let program = program.join("conformance");
        if !program.exists() {
            left_out("conformance", "run cargo build --example conformance");
            return None;
        }
        let mut child = Command::new(program)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        let output = child.stdout.take().unwrap();
        BufReader::new(output.take(1024))
            .read_line(&mut url)
            .unwrap();
        Some(Self {
            input: child.stdin.take(),
            child,
            url: url.trim().to_owned(),
        })
    }
}

impl Drop for Fixtures {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What has not succeeded and is not `listed`, with the suite's own words.
fn faults(checks: &[Check], listed: &NotApplicable) -> Vec<String> {
    let bad = ["FAILURE", "WARNING", "SKIPPED"];
    let bad = checks.iter().filter(|check| {
        let is_bad = bad.contains(&check.status.as_str());
        is_bad && !listed.has(check)
    });
    let told = bad.map(|check| {
        let Check {
            scenario,
            id,
            status,
            message,
        } = check;
        format!("{scenario}, {id}: {status}: {message}")
    });
    told.collect()
}

#[test]
fn the_fixtures_pass_everything_that_applies() {
    let Some(suite) = Suite::installed() else {
        return;
    };
    let Some(fixtures) = Fixtures::start() else {
        return;
    };
    let listed = NotApplicable::read();
    let mut checks = Vec::new();
    for revision in REVISIONS {
        checks.extend(suite.judge(&fixtures.url, &["--requirements", revision]));
    }

    assert_eq!(faults(&checks, &listed), [""; 0]);
    for Inconclusive { check, status, .. } in &listed.check {
        let is_seen = |seen: &Check| seen.id == *check && seen.status == *status;
        assert!(checks.iter().any(is_seen), "{check} is not {status}");
    }
    let successes = checks.iter().filter(|check| check.status == "SUCCESS");
    let successes = successes.count();
    assert!(successes >= SUCCESSES_MIN, "only {successes} successes");

    let run: BTreeSet<&str> = checks.iter().map(|check| check.scenario.as_str()).collect();
    let list = suite.run(&["list", "--server"]);
    let there = list.lines().filter_map(|line| line.strip_prefix("  - "));
    let there = there.filter_map(|line| line.split(' ').next());
    let not_run: BTreeSet<&str> = there.filter(|name| !run.contains(name)).collect();
    let left_out = listed
        .scenario
        .iter()
        .map(|scenario| scenario.name.as_str());
    assert_eq!(not_run, left_out.collect());
}

#[test]
fn the_product_passes_what_needs_no_fixture() {
    let Some(suite) = Suite::installed() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let serving = Serving::anonymous(folder.path());
    let mut checks = Vec::new();
    for (revision, scenario) in OF_THE_PRODUCT {
        let selection = ["--spec-version", revision, "--scenario", scenario];
        checks.extend(suite.judge(&serving.url(), &selection));
    }
    assert_eq!(faults(&checks, &NotApplicable::read()), [""; 0]);
    let scenarios: BTreeSet<&str> = checks.iter().map(|check| check.scenario.as_str()).collect();
    let wanted = OF_THE_PRODUCT.iter().map(|(_, scenario)| *scenario);
    assert_eq!(scenarios, wanted.collect());
}
