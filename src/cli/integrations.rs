//! `integrations`: imports what desktop clients have configured, and shows the processes of integrations.

mod import;
mod ps;

use super::{ExitStatus, Output};
use crate::config::{Config, Environment};

/// The arguments of `integrations`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What to do with integrations.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Register the servers that desktop clients have configured, with their secrets moved into the secret
    /// store; each is shown and asked for
    Import(import::Arguments),
    /// List the processes that run for integrations, of every server on this data folder
    Ps(ps::Arguments),
}

/// Imports or lists.
pub(super) fn run(
    arguments: &Arguments,
    config: &Config,
    environment: &Environment,
    output: &mut Output,
) -> ExitStatus {
    match &arguments.command {
        Command::Import(arguments) => import::run(arguments, config, environment, output),
        Command::Ps(arguments) => ps::run(arguments, config, output),
    }
}
