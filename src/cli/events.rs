//! `events`: what has happened in the tenant.

mod tail;

use super::{ExitStatus, Output};
use crate::config::Config;

/// The arguments of `events`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What to do with the events.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show the newest events of the tenant, oldest first
    Tail(tail::Tail),
}

/// Shows events.
pub(super) fn run(arguments: &Arguments, config: &Config, output: &mut Output) -> ExitStatus {
    match &arguments.command {
        Command::Tail(tail) => tail::run(tail, config, output),
    }
}
