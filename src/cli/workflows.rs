//! `workflows`: checks, lists and runs workflows.

mod check;
mod list;
mod run;

use super::{ExitStatus, Output};
use crate::config::Config;

/// The arguments of `workflows`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What to do with workflows.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Say what is wrong with definitions, and what of them runs in the embedded cloud only: exit status 3
    /// when something is wrong
    Check(check::Check),
    /// List the workflows that you may start
    List(list::List),
    /// Start a workflow; with --wait print each step until it ends: exit status 1 when it fails
    Run(run::Run),
}

/// Checks, lists or runs.
pub(super) fn run(arguments: &Arguments, config: &Config, output: &mut Output) -> ExitStatus {
    match &arguments.command {
        Command::Check(check) => check::run(check, config, output),
        Command::List(list) => list::run(list, config, output),
        Command::Run(run) => run::run(run, config, output),
    }
}

#[cfg(test)]
mod tests;
