//! Calls a second, latency and processor time on the embedded cloud, every event published.

use super::{KEYS, Plan, body};
use crate::Result;
use crate::figure::{Figure, quantile};
use crate::server::{Run, Server, Setup};

/// One kind of call.
struct Kind {
    name: &'static str,
    request: fn(usize, &mut String),
    /// How many are made with one and with many in flight.
    counts: [usize; 2],
    /// What p99 may be with one in flight: milliseconds.
    p99_ms: Option<f64>,
    /// What a call may take of a processor with many in flight: microseconds.
    cpu_us: Option<f64>,
}

/// How many are in flight when it is not one.
const MANY: usize = 64;

const KINDS: [Kind; 4] = [
    Kind {
        name: "ping",
        request: body::ping,
        counts: [20_000, 200_000],
        p99_ms: None,
        cpu_us: Some(10.0),
    },
    Kind {
        name: "kv_get",
        request: body::kv_get,
        counts: [5_000, 20_000],
        p99_ms: Some(5.0),
        cpu_us: Some(250.0),
    },
    Kind {
        name: "kv_set",
        request: body::kv_set,
        counts: [5_000, 20_000],
        p99_ms: Some(5.0),
        cpu_us: None,
    },
    Kind {
        name: "events_send",
        request: body::events_send,
        counts: [5_000, 20_000],
        p99_ms: None,
        cpu_us: None,
    },
];

pub(super) fn measure(plan: &Plan) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for kind in KINDS {
        let mut server = plan.start(Setup::embedded()?)?;
        warm(&mut server, &kind)?;
        for (count, in_flight) in kind.counts.into_iter().zip([1, MANY]) {
            let count = plan.count(count);
            let run = server.run(count, in_flight, &mut |number, line| {
                (kind.request)(number, line)
            })?;
            figures.extend(report(&kind, count, in_flight, run));
        }
    }
    Ok(figures)
}

/// Stores what is read, and lets the server have done everything once.
fn warm(server: &mut Server, kind: &Kind) -> Result<()> {
    server.drive(KEYS, 8, &mut body::kv_set, &mut |_| {})?;
    server.run(2 * KEYS, 8, &mut |number, line| {
        (kind.request)(number, line)
    })?;
    Ok(())
}

fn report(kind: &Kind, count: usize, in_flight: usize, mut run: Run) -> Vec<Figure> {
    let name = |what: &str| format!("{}, {in_flight} in flight: {what}", kind.name);
    let seconds = run.elapsed.as_secs_f64();
    let each = run.cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / count as f64);
    let settled = match run.settled.as_millis() {
        0..100 => String::new(),
        ms => format!("; published {ms} ms after the last answer"),
    };
    let mut p99 = Figure::milliseconds(name("p99"), quantile(&mut run.latencies, 0.99));
    let mut cpu = Figure::microseconds(name("CPU of a call"), each);
    match in_flight {
        1 => p99.at_most = kind.p99_ms,
        _ => cpu.at_most = kind.cpu_us,
    }
    vec![
        Figure::new(name("calls"), Some(count as f64 / seconds), "1/s")
            .note(format!("{count} calls{settled}")),
        Figure::milliseconds(name("p50"), quantile(&mut run.latencies, 0.5)),
        p99,
        cpu,
    ]
}
