//! The README's section on serving, as somebody types it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::Serving;
use crate::foreign::repository;
use crate::requirement::left_out;
use crate::server::{PROGRAM, Start, WAIT_MAX, run_to_end, within};

/// The heading of the section.
const SECTION: &str = "\n## Serve it to many\n";

/// The address in the README, which stands for the one that is free here.
const ADDRESS: &str = "127.0.0.1:8080";

/// How long a command may take on a machine that is busy with other tests.
const COMMAND_TIME_MAX: Duration = WAIT_MAX.saturating_mul(3);

/// The commands of the section's blocks of `sh`, a line each; lines that go on are joined.
fn commands() -> Vec<String> {
    let readme = std::fs::read_to_string(repository("README.md")).unwrap();
    let (_, section) = readme.split_once(SECTION).expect("the section");
    let section = section.split("\n## ").next().unwrap();
    let blocks = section.split("```").skip(1).step_by(2);
    let shell = blocks.filter_map(|block| block.strip_prefix("sh\n"));
    let text = shell.collect::<String>().replace("\\\n", "");
    text.lines().map(str::to_owned).collect()
}

/// A shell in a folder of its own, with what has been set so far.
struct Shell<'a> {
    folder: &'a Path,
    set: BTreeMap<String, String>,
}

impl Shell<'_> {
    fn run(&self, command: &str) -> String {
        let mut shell = Start::on(self.folder).command_by("/bin/sh");
        let programs = Path::new(PROGRAM).parent().unwrap().to_str().unwrap();
        shell
            .args(["-c", command])
            .env("PATH", format!("{programs}:/usr/local/bin:/usr/bin:/bin"))
            .envs(&self.set)
            .stdin(Stdio::null());
        let output = run_to_end(&mut shell, COMMAND_TIME_MAX);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// `NAME=$(...)`.
    fn assign(&mut self, name: &str, value: &str) {
        let value = self.run(&format!("printf %s \"{value}\""));
        self.set.insert(name.to_owned(), value);
    }
}

#[test]
fn the_readme_serves_to_many() {
    if Command::new("curl").arg("--version").output().is_err() {
        left_out("curl", "the README's section on serving uses it");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut shell = Shell {
        folder: folder.path(),
        set: BTreeMap::new(),
    };
    let mut serving = None;
    let mut answers = Vec::new();
    for command in commands() {
        if command.starts_with("use_aws_mcp serve") {
            serving = Some(Serving::of(Start::on(folder.path())));
        } else if let Some((name, value)) = command.split_once("=$(") {
            shell.assign(name, &format!("$({value}"));
        } else if command.starts_with("curl ") {
            let serving: &Serving = serving.as_ref().expect("it is served first");
            let command = command.replace(ADDRESS, serving.address());
            answers.push(answer(&shell, &command));
        } else {
            // A client that is not installed here; that it is told the right address is what counts.
            assert!(command.starts_with("claude mcp add"), "{command}");
            assert!(command.contains(ADDRESS), "{command}");
        }
    }
    assert!(answers.len() >= 3, "the README has lost its requests");
    for answer in &answers {
        let is_fault = answer["error"].is_object() || answer["result"]["isError"] == true;
        assert!(!is_fault, "{answer}");
    }
    let last = answers.last().unwrap().to_string();
    assert!(last.contains("frozen until Friday"), "{last}");
}

fn answer(shell: &Shell<'_>, command: &str) -> Value {
    let mut came = String::new();
    // A token that was made before the server began is known at once; asking again costs nothing.
    within(WAIT_MAX, || {
        came = shell.run(command);
        !came.is_empty()
    });
    serde_json::from_str(&came).unwrap_or_else(|_| panic!("{command}: {came}"))
}
