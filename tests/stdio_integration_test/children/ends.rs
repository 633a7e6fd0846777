//! However it ends, nothing of a child is left: no process, no folder, no descriptor, no memory.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use agent_mesh::mesh::ErrorKind;
use agent_mesh::mesh::upstream::MESSAGE_BYTES_MAX;
use agent_mesh::outbound::upstream::link::{Incoming, Links};
use agent_mesh::platform;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::timeout;

use super::program::{Child, Home, tree};
use crate::server::WAIT_MAX;

/// How often a child is opened and ended.
const ROUNDS: usize = 200;

/// Starts processes that try to get away: by a second fork, by a session of their own, deaf to signals.
const ESCAPE: &str = r#"
import os, signal, time
def daemon(level):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            for fd in (0, 1, 2): os.close(fd)
            if level > 0: daemon(level - 1)
            while True: time.sleep(60)
        os._exit(0)
for _ in range(3): daemon(2)
time.sleep(0.3)
result = 1
"#;

fn kill(process: u32, signal: Signal) {
    let process = Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
    kill_process(process, signal).unwrap();
}

/// Waits until none of `processes` lives.
async fn all_end(processes: &[platform::ProcessEntry]) {
    let deadline = Instant::now() + WAIT_MAX;
    let lives = |entry: &&platform::ProcessEntry| {
        platform::process(entry.id).is_some_and(|now| now.started == entry.started)
    };
    while let Some(left) = processes.iter().find(lives) {
        assert!(Instant::now() < deadline, "it lives: {left:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn entries(processes: &[u32]) -> Vec<platform::ProcessEntry> {
    processes
        .iter()
        .filter_map(|id| platform::process(*id))
        .collect()
}

#[tokio::test]
async fn closing_ends_all_that_a_child_has_started() {
    let home = Home::new();
    let mut child = home.open("ada").await;
    child.run(ESCAPE).await.unwrap();
    let processes = entries(&home.tree());
    assert!(processes.len() >= 2 + 9, "{processes:?}");
    child.close().await;
    all_end(&processes).await;
    home.nothing_is_left().await;
}

#[tokio::test]
async fn a_link_that_is_dropped_ends_its_child() {
    let home = Home::new();
    let mut child = home.open("ada").await;
    child.run(ESCAPE).await.unwrap();
    let processes = entries(&home.tree());
    drop(child);
    all_end(&processes).await;
    home.nothing_is_left().await;
}

#[tokio::test]
async fn a_child_that_ends_takes_its_daemons_with_it_and_says_how() {
    let home = Home::new();
    for (code, expected) in [
        ("import os; os._exit(3)", "ended with status 3"),
        (
            "import os; os.kill(os.getpid(), 9)",
            "was ended by signal 9",
        ),
    ] {
        let mut child = home.open("ada").await;
        child.run(ESCAPE).await.unwrap();
        let processes = entries(&home.tree());
        child.run(code).await.unwrap_err();
        let closed = child.closed().await;
        assert_eq!(closed.kind(), ErrorKind::UpstreamUnavailable);
        assert!(closed.message().contains(expected), "{closed}");
        all_end(&processes).await;
        home.nothing_is_left().await;
        drop(child);
    }
}

#[tokio::test]
async fn a_child_that_closes_its_output_is_closed() {
    let home = Home::new();
    let mut child = home.open("ada").await;
    let code = "import os, time; os.close(1); time.sleep(60)";
    child.run(code).await.unwrap_err();
    let closed = child.closed().await;
    assert!(closed.message().contains("closed its output"), "{closed}");
    child.close().await;
    home.nothing_is_left().await;
}

#[tokio::test]
async fn one_that_ignores_every_polite_signal_is_killed() {
    let home = Home::new();
    let mut child = home.open("ada").await;
    let deaf = "import signal\nfor s in range(1, 32):\n try: signal.signal(s, signal.SIG_IGN)\n except OSError: pass";
    child.run(deaf).await.unwrap();
    let busy =
        child.send(r#"{"id": 9, "code": "import time\nwhile True: time.sleep(60)"}"#.to_owned());
    busy.await.unwrap();
    let processes = entries(&home.tree());
    child.close().await;
    all_end(&processes).await;
    home.nothing_is_left().await;
}

#[tokio::test]
async fn a_child_ends_with_its_warden() {
    let home = Home::new();
    let mut child = home.open("ada").await;
    let processes = entries(&home.tree());
    let warden = processes[0].id;
    assert_ne!(warden, child.id());
    kill(warden, Signal::KILL);
    child.closed().await;
    all_end(&processes).await;
    home.nothing_is_left().await;
}

/// A server that is nothing but this: it opens children that try to get away, tells where, and waits.
#[tokio::test]
#[ignore = "it is started by the test that kills it"]
async fn a_server_that_waits_to_be_killed() {
    platform::not_dumpable().unwrap();
    let home = Home::new();
    let mut children = Vec::new();
    for user in ["ada", "eve"] {
        let mut child = home.open(user).await;
        child.run(ESCAPE).await.unwrap();
        children.push(child);
    }
    println!("\nfolder={}", home.children().display());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn nothing_outlives_a_server_that_is_killed() {
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "children::ends::a_server_that_waits_to_be_killed",
        ])
        .args(["--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let folder = lines
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("folder=").map(str::to_owned))
        .expect("the server tells its folder");
    let folder = Path::new(&folder);
    let processes = entries(&tree(folder));
    assert!(processes.len() >= 2 * (2 + 9), "{processes:?}");
    server.kill().unwrap();
    server.wait().unwrap();
    all_end(&processes).await;
    let deadline = Instant::now() + WAIT_MAX;
    while std::fs::read_dir(folder).unwrap().next().is_some() {
        assert!(Instant::now() < deadline, "a folder is left");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    std::fs::remove_dir_all(folder.parent().unwrap().parent().unwrap()).unwrap();
}

#[tokio::test]
async fn rounds_of_opening_and_ending_leave_nothing() {
    let home = Home::new();
    let links = home.links();
    let script = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)";
    let target = |script: &str| agent_mesh::mesh::upstream::ConnectionTarget::Command {
        command: "python".to_owned(),
        args: ["-S", "-c", script]
            .map(|word| word.to_owned().into())
            .into(),
        env: Default::default(),
    };
    let plan = super::program::plan("ada", target(script));
    let held = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let mut before = held();
    for round in 0..ROUNDS {
        if round == ROUNDS / 10 {
            before = held();
        }
        let mut child = Child::new(links.open(&plan).await.unwrap());
        child.send("{\"x\": 1}".to_owned()).await.unwrap();
        let answer = timeout(WAIT_MAX, child.opened.incoming.recv())
            .await
            .unwrap();
        assert!(matches!(answer, Some(Incoming::Message(_))), "{answer:?}");
        match round % 3 {
            0 => child.close().await,
            1 => kill(child.id(), Signal::KILL),
            _ => drop(child),
        }
    }
    home.nothing_is_left().await;
    let deadline = Instant::now() + WAIT_MAX;
    // Other tests run beside this one in the same process, so only what a leak would leave is looked for. What rounds
    // leave of memory is looked for in a process of their own: `integrations::supervision`.
    loop {
        let open = held();
        if open < before + ROUNDS / 2 {
            break;
        }
        assert!(Instant::now() < deadline, "{before}, then {open}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let zombies = platform::descendants(std::process::id())
        .into_iter()
        .filter(|entry| {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", entry.id));
            stat.is_ok_and(|stat| {
                stat.contains("(use_aws_mcp) Z") || stat.contains("(mesh-warden) Z")
            })
        })
        .count();
    assert!(zombies < ROUNDS / 10, "{zombies} zombies");
}

#[tokio::test]
async fn a_flood_of_errors_and_of_noise_holds_nothing_up() {
    let home = Home::new();
    let mut child = home.open("ada").await;
    let flood = "import sys\nfor _ in range(20000): sys.stderr.write('x' * 1000 + '\\n')\n\
                 sys.stderr.flush()\nprint('not json'); print(''); sys.stdout.buffer.write(b'\\xff\\n')\n\
                 sys.stdout.flush(); result = 1";
    assert_eq!(child.run(flood).await.unwrap(), 1);
    let words = child.last_words().unwrap();
    assert!(words.len() < 64 << 10, "{}", words.len());
    child.close().await;
}

#[tokio::test]
async fn an_answer_that_is_too_large_fails_alone_and_a_line_without_end_closes() {
    let home = Home::new();
    let mut child = home.open("ada").await;
    let large = format!("result = 'x' * {MESSAGE_BYTES_MAX}");
    let text = serde_json::json!({"id": 41, "code": large}).to_string();
    child.send(text).await.unwrap();
    let failed = timeout(WAIT_MAX, child.opened.incoming.recv())
        .await
        .unwrap();
    match failed {
        Some(Incoming::Failed {
            request_id: 41,
            not_sent: false,
            error,
        }) => assert_eq!(error.kind(), ErrorKind::TooLarge),
        other => panic!("{other:?}"),
    }
    // The largest that passes, to the byte.
    let fits = r#"{"jsonrpc": "2.0", "id": 2, "result": {"ok": ""}}"#.len();
    let fits = format!("result = 'x' * {}", MESSAGE_BYTES_MAX - fits);
    child.run("result = 1").await.unwrap();
    let passed = child.run(&fits).await.unwrap();
    assert!(passed.as_str().unwrap().len() > MESSAGE_BYTES_MAX - 100);
    let endless = "import sys\nwhile True: sys.stdout.write('x' * 1000000)";
    child.run(endless).await.unwrap_err();
    let closed = child.closed().await;
    assert!(closed.message().contains("does not end"), "{closed}");
    child.close().await;
    home.nothing_is_left().await;
}

#[tokio::test]
async fn a_child_that_reads_nothing_pushes_back_and_what_waits_is_not_sent() {
    let home = Home::new();
    let script = "import time\nwhile True: time.sleep(60)";
    let python = super::program::python();
    let mut child = home.open_program(&python, &["-c", script], "ada").await;
    let text = format!("\"{}\"", "x".repeat(100_000));
    let mut refused = None;
    for _ in 0..100 {
        let message = agent_mesh::outbound::upstream::link::Outgoing {
            text: text.clone(),
            request_id: Some(1),
            method: None,
            name: None,
            timeout: Duration::from_millis(50),
            trace: None,
        };
        if let Err(error) = child.opened.link.send(message).await {
            refused = Some(error);
            break;
        }
    }
    assert!(refused.expect("a queue has an end").is_known_not_done());
    kill(child.id(), Signal::KILL);
    let mut not_sent = 0;
    loop {
        match timeout(WAIT_MAX, child.opened.incoming.recv())
            .await
            .unwrap()
        {
            Some(Incoming::Failed { not_sent: true, .. }) => not_sent += 1,
            Some(Incoming::Closed(_)) => {}
            Some(other) => panic!("{other:?}"),
            None => break,
        }
    }
    assert!(not_sent >= 2, "{not_sent}");
}
