//! Parses the command line, starts logging to stderr, runs the command.

use std::process::ExitCode;

fn main() -> ExitCode {
    agent_mesh::cli::main()
}
