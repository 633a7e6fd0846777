//! `completions`: prints what a shell needs to complete this program's command line.

use clap_complete::Shell;

use super::{ExitStatus, Output};

/// The arguments of `completions`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The shell
    shell: Shell,
}

/// Prints the completions of `command` for a shell.
pub(super) fn run(
    arguments: &Arguments,
    command: &mut clap::Command,
    output: &mut Output,
) -> ExitStatus {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, command, name, &mut script);
    output.text(&String::from_utf8_lossy(&script));
    ExitStatus::Success
}
