//! A client that writes and never reads does not make the server grow.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::initialize_params;
use crate::server::{Reads, Start};

/// How long such a client goes on. The load program does it for 30 s.
const FLOOD_TIME: Duration = Duration::from_secs(4);

/// What the process may take meanwhile: resident bytes of its own.
const MEMORY_BYTES_MAX: u64 = 64 << 20;

/// What the pipe to the server holds by itself, in bytes.
const PIPE_BYTES: usize = 64 << 10;

/// Floods a server with `line` and returns the most memory that it held.
fn flood(line: &str) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let start = Start::on(folder.path());
    let mut server = start.spawn_reading(Reads {
        output: false,
        log: true,
    });
    let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize",
        "params": initialize_params("2025-06-18")});
    let opening = format!("{initialize}\n");
    let line = line.to_owned();
    let mut input = server.take_input();
    let (sent, written) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let _ = input.write_all(opening.as_bytes());
        for id in 1_u64.. {
            let line = line.replace("ID", &id.to_string());
            // It ends when the server does, which this test sees to.
            if input.write_all(line.as_bytes()).is_err() || sent.send(line.len()).is_err() {
                return;
            }
        }
    });
    let end = Instant::now() + FLOOD_TIME;
    let mut most = 0;
    while Instant::now() < end {
        thread::sleep(Duration::from_millis(100));
        most = most.max(server.memory());
    }
    server.kill();
    let bytes: usize = written.try_iter().sum();
    assert!(
        bytes > PIPE_BYTES,
        "only {bytes} bytes were taken: the server has not read them"
    );
    most
}

#[test]
fn calls_whose_answers_nobody_reads() {
    let line = r#"{"jsonrpc":"2.0","id":ID,"method":"tools/list"}"#;
    let most = flood(&format!("{line}\n"));
    assert!(most < MEMORY_BYTES_MAX, "it took {} MiB", most >> 20);
}

#[test]
fn large_values_whose_answers_nobody_reads() {
    let value = "x".repeat(256 << 10);
    let line = format!(
        r#"{{"jsonrpc":"2.0","id":ID,"method":"tools/call","params":{{"name":"kv_set","arguments":{{"key":"k","value":"{value}"}}}}}}"#
    );
    let most = flood(&format!("{line}\n"));
    assert!(most < MEMORY_BYTES_MAX, "it took {} MiB", most >> 20);
}

#[test]
fn bad_lines_whose_refusals_nobody_reads() {
    let most = flood("{\"jsonrpc\":\"2.0\",\"id\":ID,\"method\":\n");
    assert!(most < MEMORY_BYTES_MAX, "it took {} MiB", most >> 20);
}
