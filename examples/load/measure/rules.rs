//! From the acceptance of an event to the start of the workflow that a rule starts for it.

use std::collections::HashMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use agent_mesh::mesh::Timestamp;
use serde::Deserialize;
use ulid::Ulid;

use super::{Plan, body};
use crate::Result;
use crate::figure::{Figure, quantile};
use crate::server::{Server, Setup};

/// How often an event is sent: 200 times a second.
const EVERY: Duration = Duration::from_millis(5);

/// How long all workflows may take to be started.
const START_MAX: Duration = Duration::from_secs(60);

/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// How many runs of workflows one page tells.
const PAGE_RUNS: usize = 100;

const P99_AT_MOST_MS: f64 = 100.0;

/// A state machine that does nothing.
const MACHINE: &str = r#"{"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}"#;

#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "structuredContent")]
    content: Page,
}

#[derive(Deserialize)]
struct Page {
    runs: Vec<Run>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Run {
    run_id: Ulid,
    started_at: Timestamp,
}

pub(super) fn measure(plan: &Plan) -> Result<Vec<Figure>> {
    let setup = Setup::embedded()?;
    let folder = setup.path("data").join("workflows");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("done.asl.json"), MACHINE)?;
    let mut server = plan.start(setup)?;
    let mut rule = String::new();
    let pattern = r#"{"detail-type":["Order.Placed"]}"#;
    let arguments = format!(r#"{{"name":"placed","pattern":{pattern},"workflow":"done"}}"#);
    body::tool("events_create_rule", &arguments, None, &mut rule);
    server.call(&rule)?;

    let count = plan.count(2_000);
    let begun = Instant::now();
    for number in 0..count {
        let mut event = String::new();
        body::events_send(number, &mut event);
        server.call(&event)?;
        let next = begun + EVERY * (number as u32 + 1);
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    let sent = begun.elapsed();
    let mut runs = started(&mut server)?;
    while runs.len() < count && begun.elapsed() < sent + START_MAX {
        thread::sleep(LOOK);
        runs = started(&mut server)?;
    }
    let missing = count.saturating_sub(runs.len());
    let after = |(run_id, started_at): (&Ulid, &Timestamp)| {
        let event_ms = i64::try_from(run_id.timestamp_ms()).unwrap_or(i64::MAX);
        started_at.since(Timestamp::from_millis(event_ms))
    };
    let mut latencies: Vec<Duration> = runs.iter().map(after).collect();
    let rate = count as f64 / sent.as_secs_f64();
    Ok(vec![
        Figure::milliseconds("event to workflow: p50", quantile(&mut latencies, 0.5)),
        Figure::milliseconds("event to workflow: p99", quantile(&mut latencies, 0.99))
            .at_most(P99_AT_MOST_MS)
            .note(format!("{count} events, {rate:.0} a second")),
        Figure::new("event to workflow: missing", Some(missing as f64), "").at_most(0.0),
    ])
}

/// Every run and when it was started.
fn started(server: &mut Server) -> Result<HashMap<Ulid, Timestamp>> {
    let mut found = HashMap::new();
    let mut cursor = None;
    loop {
        let mut arguments = format!(r#"{{"limit":{PAGE_RUNS}"#);
        if let Some(cursor) = &cursor {
            arguments.push_str(&format!(r#","cursor":"{cursor}""#));
        }
        arguments.push('}');
        let mut request = String::new();
        body::tool("workflow_list", &arguments, None, &mut request);
        let page = serde_json::from_str::<Listed>(&server.call(&request)?)?.content;
        found.extend(
            page.runs
                .into_iter()
                .map(|run| (run.run_id, run.started_at)),
        );
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(found);
        }
    }
}
