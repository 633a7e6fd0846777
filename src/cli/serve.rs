//! `serve`: clients reach the mesh by address.

use std::time::Duration;

use clap::Args;

use super::{ExitStatus, Output, runtime, tell};
use crate::app::{End, Serving};
use crate::config::Config;
use crate::mesh::Error;
use crate::platform;

/// How long work that does not heed its cancellation may hold up the end of the process.
const STRAGGLERS_TIME_MAX: Duration = Duration::from_millis(100);

/// `serve` has no arguments but the settings.
#[derive(Debug, Args)]
pub(super) struct Arguments {}

/// Serves clients until the process is told to end.
pub(super) fn run(_: &Arguments, config: &Config, output: &mut Output) -> ExitStatus {
    if let Err(mistakes) = config.sign_in.check(config.http.bind) {
        output.error(&mistakes.to_string());
        return ExitStatus::Configuration;
    }
    if let Err(error) = platform::not_dumpable() {
        tracing::warn!(%error, "other processes of this user can read this one's memory");
    }
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            output.error(&format!("the runtime could not be started: {error}"));
            return ExitStatus::Failure;
        }
    };
    let status = match runtime.block_on(serve(config)) {
        Ok(()) => ExitStatus::Success,
        Err(error) => {
            tracing::error!(?error, "the server could not be opened");
            tell(&error, output);
            ExitStatus::Failure
        }
    };
    runtime.shutdown_timeout(STRAGGLERS_TIME_MAX);
    status
}

async fn serve(config: &Config) -> Result<(), Error> {
    if let Some(warning) = config.http.unreachable() {
        tracing::warn!("{warning}");
    }
    let serving = Serving::open(config, end()?).await?;
    let address = serving.address();
    tracing::info!(%address, url = serving.url(), "listening; clients are served at /mcp");
    serving.run().await;
    Ok(())
}

/// In its own time at the first signal, at once at the second one.
fn end() -> Result<End, Error> {
    let first = platform::shutdown_signal()
        .map_err(|error| Error::internal("signals cannot be received").caused_by(error))?;
    let end = End::default();
    let told = end.clone();
    tokio::spawn(async move {
        let name = first.await;
        tracing::info!(
            signal = name,
            "told to end; requests under way are finished first"
        );
        told.begin.cancel();
        if let Ok(again) = platform::shutdown_signal() {
            let name = again.await;
            tracing::warn!(
                signal = name,
                "told to end again; requests under way are cut off"
            );
            told.cut.cancel();
        }
    });
    Ok(end)
}
