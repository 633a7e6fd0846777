//! Sending events while the bus is down, and whether all of them arrive when it is back.

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::{Plan, body};
use crate::Result;
use crate::figure::{Figure, quantile};
use crate::server::Setup;
use crate::stub::{Bus, Stub};

/// After how long the stand-in answers.
const ANSWER_AFTER: Duration = Duration::from_millis(4);

/// How long all events may take to arrive once the bus is back.
const ARRIVAL_MAX: Duration = Duration::from_secs(120);

/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(20);

const P99_AT_MOST_MS: f64 = 10.0;

/// What of the answer of events_send matters here.
#[derive(Deserialize)]
struct Sent {
    #[serde(rename = "structuredContent")]
    content: Accepted,
}

#[derive(Deserialize)]
struct Accepted {
    event_id: String,
}

pub(super) fn measure(plan: &Plan) -> Result<Vec<Figure>> {
    let stub = Stub::start(ANSWER_AFTER)?;
    let mut server = plan.start(Setup::aws(&stub)?)?;
    server.run(100, 1, &mut body::events_send)?;
    let mut accepted = HashSet::new();
    let mut latencies = Vec::new();
    let count = plan.count(10_000);
    for bus in [Bus::Unavailable, Bus::Gone] {
        stub.set_bus(bus);
        let mut ids: Vec<String> = Vec::new();
        let mut answered = |result: &str| {
            ids.extend(serde_json::from_str::<Sent>(result).map(|sent| sent.content.event_id));
        };
        latencies.extend(server.drive(count / 2, 1, &mut body::events_send, &mut answered)?);
        accepted.extend(ids);
    }
    let unsent = stub.missing(&accepted);
    stub.set_bus(Bus::Up);
    let back = Instant::now();
    let mut missing = stub.missing(&accepted);
    while missing > 0 && back.elapsed() < ARRIVAL_MAX {
        thread::sleep(LOOK);
        missing = stub.missing(&accepted);
    }
    let arrival = back.elapsed();
    let lost = missing + count - accepted.len();
    Ok(vec![
        Figure::milliseconds("events_send, bus down: p99", quantile(&mut latencies, 0.99))
            .at_most(P99_AT_MOST_MS)
            .note(format!(
                "accepted, one in flight; {count} calls, half answered 503, half refused"
            )),
        Figure::new("events_send, bus down: lost", Some(lost as f64), "")
            .at_most(0.0)
            .note(format!(
                "{unsent} waited; {missing} of them had not arrived {:.1} s after it was back",
                arrival.as_secs_f64()
            )),
    ])
}
