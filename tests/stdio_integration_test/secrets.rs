//! Secrets as a person gives them to the program, and that they come out nowhere.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Command, Output, Stdio};

use crate::server::{PROGRAM, Start, WAIT_MAX, files, run_to_end};

/// What must not be found anywhere in plain.
const CANARY: &str = "Zq7-canary-4e1b";

/// With everything logged that anything can log, the parts of the SDK by their own names.
fn at_trace(start: Start) -> Start {
    start.set("LOG_LEVEL", "trace").set(
        "RUST_LOG",
        "trace,aws_smithy_runtime=trace,aws_smithy_runtime_api=trace,aws_sdk_secretsmanager=trace,aws_runtime=trace,aws_config=trace",
    )
}

/// The canary as it is, as numbers, in base64 and in hexadecimal digits.
fn spellings() -> Vec<String> {
    let numbers: Vec<String> = CANARY.bytes().map(|byte| byte.to_string()).collect();
    let digits: String = CANARY.bytes().map(|byte| format!("{byte:02x}")).collect();
    // Of three characters fewer than the whole, so that what follows does not matter.
    let encoded = "WnE3LWNhbmFyeS00ZT";
    vec![
        CANARY.to_owned(),
        numbers.join(", "),
        digits,
        encoded.to_owned(),
    ]
}

fn shows_nothing(what: &str, bytes: &[u8]) {
    for spelling in spellings() {
        let found = bytes
            .windows(spelling.len())
            .any(|found| found == spelling.as_bytes());
        assert!(!found, "{what} holds {spelling}");
    }
}

/// Runs a command whose output, log and folder must hold no secret.
fn run(start: &Start, words: &[&str], input: &str) -> Output {
    let mut command = start.clone().arguments(words).command();
    let file = tempfile::tempfile().unwrap();
    (&file).write_all(input.as_bytes()).unwrap();
    let mut file = file;
    std::io::Seek::rewind(&mut file).unwrap();
    let output = run_to_end(command.stdin(Stdio::from(file)), WAIT_MAX);
    shows_nothing("the output", &output.stdout);
    shows_nothing("the log", &output.stderr);
    for path in files(&start.data()) {
        let mut bytes = Vec::new();
        File::open(&path).unwrap().read_to_end(&mut bytes).unwrap();
        shows_nothing(&path.display().to_string(), &bytes);
    }
    output
}

#[test]
fn a_secret_from_each_way_in_shows_in_no_output_log_or_file() {
    let folder = tempfile::tempdir().unwrap();
    let start = at_trace(Start::on(folder.path()));
    std::fs::write(folder.path().join("token"), format!("{CANARY}\n")).unwrap();
    let path = folder.path().join("token");
    let path = path.to_str().unwrap();
    let by_variable = start.clone().set("THE_TOKEN", CANARY);
    for (start, words, input) in [
        (&start, &["secrets", "set", "piped"][..], CANARY),
        (
            &by_variable,
            &["secrets", "set", "given", "--from-env", "THE_TOKEN"],
            "",
        ),
        (
            &start,
            &["secrets", "set", "filed", "--from-file", path],
            "",
        ),
        (&start, &["secrets", "set", "piped"], CANARY),
        (
            &start,
            &["secrets", "set", "shared", "--scope", "tenant"],
            CANARY,
        ),
    ] {
        let output = run(start, words, input);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(
            log.contains("transmitting request"),
            "the SDK logged nothing"
        );
    }
    let listed = run(&start, &["secrets", "list"], "");
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(
        listed,
        "filed\ngiven\npiped\nshared (shared by the tenant)\n"
    );
    // What goes wrong tells no more.
    let nothing = run(&start, &["secrets", "set", "large"], &CANARY.repeat(2000));
    assert_eq!(nothing.status.code(), Some(2));
    let removed = run(&start, &["secrets", "remove", "piped"], "");
    assert_eq!(removed.status.code(), Some(0));
}

#[test]
fn what_is_typed_at_the_prompt_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let start = Start::on(folder.path());
    let inner = start.clone().arguments(&[]).command();
    let mut command = Command::new("script");
    command
        .args(["-qec", &format!("{PROGRAM} secrets set typed"), "/dev/null"])
        .env_clear()
        .current_dir(folder.path())
        .env("PATH", "/usr/bin:/bin");
    for (name, value) in inner.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    let spawned = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = spawned else {
        println!("left out: what_is_typed_at_the_prompt_is_not_shown (needs `script`)");
        return;
    };
    let mut output = child.stdout.take().unwrap();
    let mut shown = Vec::new();
    // The prompt comes when the terminal no longer shows what is typed.
    while !String::from_utf8_lossy(&shown).contains("typed: ") {
        let mut byte = [0];
        assert_eq!(output.read(&mut byte).unwrap(), 1, "{shown:?}");
        shown.extend(byte);
    }
    let mut input = child.stdin.take().unwrap();
    input.write_all(format!("{CANARY}\n").as_bytes()).unwrap();
    output.read_to_end(&mut shown).unwrap();
    assert!(
        child.wait().unwrap().success(),
        "{}",
        String::from_utf8_lossy(&shown)
    );
    shows_nothing("the terminal", &shown);
    let told = String::from_utf8_lossy(&shown);
    assert!(told.contains("typed is set."), "{told}");
    let listed = run(&start, &["secrets", "list"], "");
    assert_eq!(String::from_utf8_lossy(&listed.stdout), "typed\n");
}
