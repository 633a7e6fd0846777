//! The pages of docs/ as a reader follows them: their files written, their commands run, what comes out compared.

mod compare;
mod page;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use agent_mesh::mesh::event::pattern::Pattern;
use serde_json::Value;
use tempfile::TempDir;

use self::compare::Known;
use self::page::{Page, Step};
use crate::requirement::left_out;
use crate::server::{PROGRAM, WAIT_MAX, run_to_end};

/// How long a command may take on a machine that is busy with other tests.
const COMMAND_TIME_MAX: Duration = WAIT_MAX.saturating_mul(3);

/// How often a command that only looks is repeated where it does not show yet what it is to show.
const PAUSE: Duration = Duration::from_millis(300);

/// What only looks: what it looks at may still be on its way when the machine is busy.
const LOOKS: [&str; 7] = [
    "tools call events_query",
    "tools call events_analytics",
    "tools call workflow_list",
    "tools call workflow_status",
    "events tail",
    "cat ",
    "< read-alerts.jsonl",
];

/// The operators of patterns; the page has an example of each.
const OPERATORS: [&str; 9] = [
    "prefix",
    "suffix",
    "equals-ignore-case",
    "wildcard",
    "anything-but",
    "numeric",
    "cidr",
    "exists",
    "$or",
];

/// Where readers' shells look for programs besides ours.
const SEARCH_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A reader in a folder of their own.
struct Reader {
    folder: TempDir,
    /// The `cd` and `export` so far: each command has a shell of its own.
    settings: String,
    known: Known,
}

impl Reader {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("home")).unwrap();
        Self {
            folder,
            settings: String::new(),
            known: Known::default(),
        }
    }

    fn follow(&mut self, page: &Page) {
        for (line, step) in &page.steps {
            let place = format!("{}:{line}", page.name);
            match step {
                Step::File { path, text } => self.write(path, text),
                Step::Command { text, shown } => self.try_out(&place, text, shown),
            }
        }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Runs a command until what comes out is what is shown.
    fn try_out(&mut self, place: &str, command: &str, shown: &[String]) {
        let command = self.known.replaced(command);
        if command.starts_with("export ") || command.starts_with("cd ") {
            self.settings.push_str(&command);
            self.settings.push('\n');
        }
        let started = Instant::now();
        // What is shown of a command that is refused is the refusal.
        let is_refused = shown
            .first()
            .is_some_and(|line| line.starts_with("error: "));
        let only_looks = LOOKS.iter().any(|look| command.contains(look));
        loop {
            let (is_success, came) = self.run(&command);
            let fits = is_success != is_refused && self.known.learn(shown, &came);
            if fits {
                return;
            }
            assert!(
                only_looks && started.elapsed() < WAIT_MAX,
                "{place}: {command}\nsucceeds: {is_success}\n--- shown\n{}\n--- came\n{came}",
                shown.join("\n")
            );
            thread::sleep(PAUSE);
        }
    }

    /// Whether it succeeded, and all that came out, the errors too.
    fn run(&self, command: &str) -> (bool, String) {
        let programs = Path::new(PROGRAM).parent().unwrap().to_str().unwrap();
        let mut shell = Command::new("/bin/sh");
        shell
            .arg("-c")
            .arg(format!("exec 2>&1\n{}{command}\n", self.settings))
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", format!("{programs}:{SEARCH_PATH}"))
            .env("HOME", self.folder.path().join("home"))
            .env("USER", "tester")
            .stdin(Stdio::null());
        let output = run_to_end(&mut shell, COMMAND_TIME_MAX);
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.success(), text)
    }
}

fn follow(name: &str, commands_min: usize) {
    let page = Page::read(name);
    let commands = page.steps.iter();
    let commands = commands.filter(|(_, step)| matches!(step, Step::Command { .. }));
    assert!(
        commands.count() >= commands_min,
        "{name} has lost its commands"
    );
    Reader::new().follow(&page);
}

#[test]
fn the_page_on_events_holds_as_written() {
    follow("events.md", 15);
}

#[test]
fn the_page_on_workflows_holds_as_written() {
    follow("workflows.md", 10);
}

#[test]
fn the_page_on_integrations_holds_as_written() {
    if which("python3") {
        follow("integrations.md", 12);
    } else {
        left_out(
            "python",
            "the story of docs/integrations.md is one of Python",
        );
    }
}

/// Whether the readers' search path has the program.
fn which(program: &str) -> bool {
    SEARCH_PATH
        .split(':')
        .any(|folder| Path::new(folder).join(program).exists())
}

#[test]
fn every_example_of_a_pattern_matches_what_stands_beside_it() {
    let page = Page::read("events.md");
    for operator in OPERATORS {
        let quoted = format!("\"{operator}\"");
        assert!(
            page.patterns.iter().any(|row| row[0].contains(&quoted)),
            "no example of {operator}"
        );
    }
    for [pattern, fits, other] in &page.patterns {
        let parsed = Pattern::parse_callers(pattern)
            .unwrap_or_else(|fault| panic!("{pattern} is none: {fault}"));
        let event = |text: &str| -> Value {
            serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
        };
        assert!(parsed.matches(&event(fits)), "{pattern} and {fits}");
        assert!(!parsed.matches(&event(other)), "{pattern} and {other}");
    }
}

#[test]
fn every_state_machine_of_the_pages_is_good() {
    let reader = Reader::new();
    let mut machines = 0;
    for name in ["events.md", "workflows.md"] {
        let page = Page::read(name);
        for (line, text) in page
            .machines
            .iter()
            .filter(|(_, text)| text.contains("\"StartAt\""))
        {
            let file = format!("{name}-{line}.asl.json");
            reader.write(&file, text);
            let (is_success, said) = reader.run(&format!("use_aws_mcp workflows check ./{file}"));
            assert!(is_success, "{name}:{line}: {said}");
            machines += 1;
        }
    }
    assert!(machines >= 4, "only {machines} state machines were found");
}
