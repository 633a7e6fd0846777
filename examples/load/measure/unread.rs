//! A client that writes and never reads: what it can make the server hold.

use std::io::Write as _;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::{Plan, body};
use crate::Result;
use crate::figure::Figure;
use crate::server::Setup;

const AT_MOST_MB: f64 = 64.0;

/// The bytes of a large value: kv_set takes 350 KiB.
const VALUE_BYTES: usize = 300_000;

/// The bytes of a large artifact: one read hands out 4 MiB.
const ARTIFACT_BYTES: usize = 4_000_000;

pub(super) fn measure(plan: &Plan) -> Result<Vec<Figure>> {
    let seconds = if plan.quick { 10 } else { 30 };
    [
        (
            "a client that never reads, small requests",
            small as Request,
        ),
        ("a client that never reads, values of 300 kB", values),
        ("a client that never reads, artifacts of 4 MB", artifacts),
    ]
    .into_iter()
    .map(|(name, request)| flood(plan, seconds, name, request))
    .collect()
}

type Request = fn(usize, &mut String);

/// Requests whose answers are larger than they.
fn small(number: usize, line: &mut String) {
    match number % 3 {
        0 => line.push_str("\"method\":\"tools/list\""),
        1 => body::ping(number, line),
        _ => body::kv_get(number, line),
    }
}

/// The first one stores what the others read.
fn values(number: usize, line: &mut String) {
    match number % 64 {
        0 => {
            let value = "x".repeat(VALUE_BYTES);
            let arguments = format!("{{\"key\":\"large\",\"value\":\"{value}\"}}");
            body::tool("kv_set", &arguments, None, line);
        }
        _ => body::tool("kv_get", "{\"key\":\"large\"}", None, line),
    }
}

/// The first one stores what the others read.
fn artifacts(number: usize, line: &mut String) {
    match number % 64 {
        0 => {
            let content = "x".repeat(ARTIFACT_BYTES);
            let arguments = format!("{{\"key\":\"large\",\"content\":\"{content}\"}}");
            body::tool("artifacts_put", &arguments, None, line);
        }
        _ => line.push_str(
            "\"method\":\"resources/read\",\"params\":{\"uri\":\"mesh://artifacts/user/large\"}",
        ),
    }
}

fn flood(plan: &Plan, seconds: u64, name: &str, request: Request) -> Result<Figure> {
    let mut server = plan.start(Setup::embedded()?)?;
    let mut store = String::new();
    request(0, &mut store);
    server.call(&store)?;
    let mut input = server.take_input().ok_or("the server's input is gone")?;
    let (sender, told) = mpsc::channel();
    // It ends with the server, when a write fails. Until then it mostly waits for room in the pipe.
    let writer = thread::spawn(move || {
        let mut line = String::new();
        for number in 1.. {
            line.clear();
            line.push_str("{\"jsonrpc\":\"2.0\",\"id\":");
            line.push_str(&(1_000 + number).to_string());
            line.push(',');
            request(number, &mut line);
            line.push_str("}\n");
            if input.write_all(line.as_bytes()).is_err() || sender.send(line.len()).is_err() {
                return;
            }
        }
    });
    thread::sleep(Duration::from_secs(seconds));
    let memory = server.memory();
    let alive = server.is_running();
    drop(server);
    let _ = writer.join();
    let (requests, bytes) = told
        .try_iter()
        .fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes));
    if !alive {
        return Err("the server has ended".into());
    }
    Ok(Figure::megabytes(name, memory.map(|memory| memory.peak))
        .at_most(AT_MOST_MB)
        .note(format!(
            "peak in {seconds} s; it took {requests} requests of {:.1} MB",
            bytes as f64 / 1e6
        )))
}
