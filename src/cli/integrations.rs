//! `integrations`: the processes of integrations.

mod ps;

use super::{ExitStatus, Output};
use crate::config::Config;

/// The arguments of `integrations`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What to do with integrations.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the processes that run for integrations, of every server on this data folder
    Ps(ps::Arguments),
}

/// Lists.
pub(super) fn run(arguments: &Arguments, config: &Config, output: &mut Output) -> ExitStatus {
    match &arguments.command {
        Command::Ps(arguments) => ps::run(arguments, config, output),
    }
}
