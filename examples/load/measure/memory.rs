//! Resident memory: idle, and after many calls of every kind.

use std::thread;
use std::time::Duration;

use super::{Plan, body};
use crate::Result;
use crate::figure::Figure;
use crate::process::settle;
use crate::server::Setup;

/// How long a server is left alone before it counts as idle.
const IDLE: Duration = Duration::from_secs(2);

/// How long publishing may take after the calls.
const SETTLE_MAX: Duration = Duration::from_secs(60);

const IDLE_AT_MOST_MB: f64 = 25.0;
const USED_AT_MOST_MB: f64 = 60.0;

pub(super) fn measure(plan: &Plan) -> Result<Vec<Figure>> {
    let mut server = plan.start(Setup::embedded()?)?;
    thread::sleep(IDLE);
    let idle = server.memory();
    let count = plan.count(10_000);
    server.drive(count, 64, &mut mixed, &mut |_| {})?;
    settle(server.id(), SETTLE_MAX);
    let used = server.memory();
    let peak = used.map_or(0.0, |memory| memory.peak as f64 / 1e6);
    Ok(vec![
        Figure::megabytes("resident memory, idle", idle.map(|memory| memory.resident))
            .at_most(IDLE_AT_MOST_MB),
        Figure::megabytes(
            format!("resident memory, after {count} calls"),
            used.map(|memory| memory.resident),
        )
        .at_most(USED_AT_MOST_MB)
        .note(format!("64 in flight, of all kinds; peak {peak:.1} MB")),
    ])
}

/// Half of the calls read; values, events, artifacts and lists are among them.
fn mixed(number: usize, line: &mut String) {
    let key = number / 10 % 100;
    match number % 10 {
        0 | 1 => body::kv_set(number, line),
        2..=4 => body::kv_get(number, line),
        5 | 6 => body::events_send(number, line),
        7 => {
            let content = "some text of an artifact. ".repeat(40);
            let arguments =
                format!("{{\"key\":\"folder/file-{key}.txt\",\"content\":\"{content}\"}}");
            body::tool("artifacts_put", &arguments, None, line);
        }
        8 => {
            let arguments = format!("{{\"key\":\"folder/file-{key}.txt\"}}");
            body::tool("artifacts_get", &arguments, None, line);
        }
        _ => body::tool("kv_list", "{\"limit\":20}", None, line),
    }
}
