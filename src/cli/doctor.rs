//! `doctor`: what is configured and where from, whether it works, and what to do where it does not.

mod automation;
mod children;
mod data_folder;
mod identity;
mod outbox;
mod oversight;
mod report;
mod settings;
mod sign_in;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::{ExitStatus, Output, runtime};
use crate::app;
use crate::config::{Backend, Config, ConfigErrors};
use crate::mesh::{Clock, SystemClock};
use crate::outbound::aws::{AwsSettings, Connection, Timeouts, probe};
use crate::outbound::embedded;
use report::{Check, Report, State};

/// How long everything may take together; what has not answered by then is a fault of its own.
const TIME_MAX: Duration = Duration::from_secs(12);

/// How long what still blocks may hold up the end of the command.
const STRAGGLERS_TIME_MAX: Duration = Duration::from_millis(200);

/// How long one look at AWS may take: less than a call may, for a person waits.
const AWS_TIMES_MAX: Timeouts = Timeouts {
    connect: Duration::from_secs(2),
    attempt: Duration::from_secs(3),
    operation: Duration::from_secs(6),
    transfer_attempt: Duration::from_secs(3),
    transfer_operation: Duration::from_secs(6),
};

/// The arguments of `doctor`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Nothing is created or changed. Exit status: 0 where all is well or there are only \
                        warnings, 3 where something is wrong, 78 where the configuration is."
)]
pub(super) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Tells what is wrong with a configuration that cannot be used at all.
pub(super) fn run_unconfigured(
    arguments: &Arguments,
    errors: &ConfigErrors,
    output: &mut Output,
) -> ExitStatus {
    let mut report = Report::new(None);
    report.extend("settings", settings::mistakes(errors));
    report.print(arguments.json, output);
    ExitStatus::Configuration
}

/// Looks at everything, and tells what it found.
pub(super) fn run(arguments: &Arguments, config: &Config, output: &mut Output) -> ExitStatus {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            output.error(&format!("the runtime could not be started: {error}"));
            return ExitStatus::Failure;
        }
    };
    let report = runtime.block_on(look(config));
    runtime.shutdown_timeout(STRAGGLERS_TIME_MAX);
    report.print(arguments.json, output);
    if report.has_faults() {
        ExitStatus::Found
    } else {
        ExitStatus::Success
    }
}

/// Everything at once, each part within [`TIME_MAX`].
async fn look(config: &Config) -> Report {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let (identity, oversight, storage, outbox) = tokio::join!(
        identity::look(config, &clock, TIME_MAX),
        oversight::look(config, TIME_MAX),
        storage(config, &clock),
        outbox(config, &clock),
    );
    let mut report = Report::new(Some(settings::set(config)));
    report.extend("settings", settings::look(config));
    report.extend("identity", identity);
    report.extend("oversight", oversight);
    match config.backend.backend {
        Backend::Aws => report.extend("aws", storage),
        Backend::Embedded => report.extend("data folder", storage),
    }
    report.extend("outbox", outbox);
    report.extend("integrations", children::look(config));
    report
}

/// What the three resources say.
async fn storage(config: &Config, clock: &Arc<dyn Clock>) -> Vec<Check> {
    match config.backend.backend {
        Backend::Embedded => data_folder::look(config, clock, TIME_MAX).await,
        Backend::Aws => {
            let settings = AwsSettings {
                timeouts: AWS_TIMES_MAX,
                ..app::aws_settings(config)
            };
            let connection = Connection::new(settings, Arc::clone(clock));
            let mut findings = Vec::new();
            let (workflows, topics) = automation::named(config);
            let probed = async {
                probe::probe_into(&connection, &mut findings).await;
                // Without credentials there is nothing more to be learnt.
                if findings.iter().any(|finding| finding.part == "table") {
                    probe::probe_names_into(&connection, &workflows, &topics, &mut findings).await;
                }
            };
            let in_time = timeout(TIME_MAX, probed).await.is_ok();
            let mut checks: Vec<Check> = findings.into_iter().map(Check::from).collect();
            if !in_time {
                checks.push(late("the rest of AWS"));
            }
            checks
        }
    }
}

async fn outbox(config: &Config, clock: &Arc<dyn Clock>) -> Vec<Check> {
    // The region that a server under these settings would take; finding it out reaches no network.
    let region = match config.backend.backend {
        Backend::Aws => {
            Connection::new(app::aws_settings(config), Arc::clone(clock))
                .region()
                .await
        }
        Backend::Embedded => embedded::REGION.to_owned(),
    };
    let target = app::target(config, region);
    let (root, bytes_max) = (config.outbox_dir.clone(), config.events.outbox_bytes_max);
    let looked = spawn_blocking(move || outbox::look(&root, &target, bytes_max));
    match timeout(TIME_MAX, looked).await {
        Ok(Ok(checks)) => checks,
        Ok(Err(_)) | Err(_) => vec![late("the outbox")],
    }
}

fn late(what: &str) -> Check {
    Check {
        part: "time".to_owned(),
        state: State::Fault,
        message: format!("{what} has not answered within {} s", TIME_MAX.as_secs()),
        fix: Some("look at the network, the disk and the proxy, and run it again".to_owned()),
    }
}

#[cfg(test)]
mod tests;
