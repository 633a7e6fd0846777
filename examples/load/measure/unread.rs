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
const LARGE_BYTES: usize = 300_000;

pub(super) fn measure(plan: &Plan) -> Result<Vec<Figure>> {
    let seconds = if plan.quick { 10 } else { 30 };
    Ok(vec![
        flood(
            plan,
            seconds,
            "a client that never reads, small requests",
            small,
        )?,
        flood(
            plan,
            seconds,
            "a client that never reads, large requests",
            large,
        )?,
    ])
}

/// Requests whose answers are larger than they.
fn small(number: usize, line: &mut String) {
    match number % 4 {
        0 => line.push_str("\"method\":\"tools/list\""),
        1 => body::ping(number, line),
        2 => body::kv_get(number, line),
        _ => body::tool("kv_get", "{\"key\":\"large\"}", None, line),
    }
}

/// Requests that are large themselves, as are the answers to some.
fn large(number: usize, line: &mut String) {
    match number % 2 {
        0 => set_large(line),
        _ => body::tool("kv_get", "{\"key\":\"large\"}", None, line),
    }
}

fn set_large(line: &mut String) {
    let arguments = format!(
        "{{\"key\":\"large\",\"value\":\"{}\"}}",
        "x".repeat(LARGE_BYTES)
    );
    body::tool("kv_set", &arguments, None, line);
}

fn flood(plan: &Plan, seconds: u64, name: &str, request: fn(usize, &mut String)) -> Result<Figure> {
    let mut server = plan.start(Setup::embedded()?)?;
    let mut store = String::new();
    set_large(&mut store);
    server.call(&store)?;
    let mut input = server.take_input().ok_or("the server's input is gone")?;
    let (sender, told) = mpsc::channel();
    // It ends with the server, when a write fails. Until then it mostly waits for room in the pipe.
    let writer = thread::spawn(move || {
        let mut line = String::new();
        for number in 0.. {
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
