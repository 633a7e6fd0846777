//! `integrations ps`: the live tree of servers and of the processes that run for their integrations.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::cli::output::Paint;
use crate::cli::{ExitStatus, Output};
use crate::config::Config;
use crate::mesh::{Clock, SystemClock};
use crate::outbound::upstream::child::children_folder;
use crate::outbound::upstream::child::folder::{self, ChildRecord};
use crate::platform;

/// The arguments of `integrations ps`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A process of an integration, with all that it has started.
#[derive(Debug, Serialize)]
struct Row {
    server: u32,
    warden: Option<u32>,
    process: Option<u32>,
    tenant: String,
    user: String,
    service: String,
    connection: String,
    program: String,
    /// How many processes there are, the warden's not counted.
    processes: usize,
    /// The memory of all of them, the warden's included.
    memory_bytes: u64,
    uptime_seconds: u64,
}

/// Lists what runs.
pub(super) fn run(arguments: &Arguments, config: &Config, output: &mut Output) -> ExitStatus {
    let now = SystemClock::new().now();
    let mut rows: Vec<Row> = folder::list(&children_folder(&config.data_dir))
        .into_iter()
        .map(|record| {
            let uptime = now.since(record.started_at);
            Row::of(record, uptime)
        })
        .collect();
    rows.sort_by(|left, right| left.order().cmp(&right.order()));
    if arguments.json {
        output.json(&rows);
    } else {
        print(&rows, output);
    }
    ExitStatus::Success
}

impl Row {
    fn of(record: ChildRecord, uptime: Duration) -> Self {
        let warden = record.warden.map(|warden| warden.id);
        let tree = warden.map_or_else(Vec::new, platform::descendants);
        let ids = tree.iter().map(|entry| entry.id);
        Self {
            server: record.server.id,
            process: record
                .child
                .filter(|child| ids.clone().any(|id| id == *child)),
            processes: tree.len(),
            memory_bytes: ids
                .chain(warden)
                .filter_map(platform::process_memory_bytes)
                .sum(),
            warden,
            tenant: record.tenant,
            user: record.user,
            service: record.service,
            connection: record.connection,
            program: record.program.display().to_string(),
            uptime_seconds: uptime.as_secs(),
        }
    }

    fn order(&self) -> (u32, &str, &str, &str, &str) {
        (
            self.server,
            &self.tenant,
            &self.user,
            &self.service,
            &self.connection,
        )
    }
}

fn print(rows: &[Row], output: &mut Output) {
    if rows.is_empty() {
        output.line("No process runs for an integration.");
        return;
    }
    let mut servers: BTreeMap<u32, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        servers.entry(row.server).or_default().push(row);
    }
    for (server, rows) in servers {
        output.line(Paint::Strong.on(format!("server {server}")));
        for row in rows {
            let process = row
                .process
                .map_or_else(|| "-".to_owned(), |id| id.to_string());
            let whose = format!(
                "{}/{} {}.{}",
                row.tenant, row.user, row.service, row.connection
            );
            let more = match row.processes {
                0 | 1 => String::new(),
                count => format!(" in {count} processes"),
            };
            output.line(format!(
                "  {process:>8}  {whose}  {}  {}{more}  up {}",
                row.program,
                memory(row.memory_bytes),
                uptime(row.uptime_seconds),
            ));
        }
    }
}

fn memory(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

fn uptime(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_what_fits_them() {
        let cases = [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3599, "59 min"),
            (7260, "2 h 1 min"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(uptime(seconds), expected);
        }
        assert_eq!(memory(1), "1 MiB");
    }
}
