//! The first stage of a child: gives up what it must not have, and becomes the program.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use super::plan::{Failure, Plan, Report};
use super::wire;
use crate::platform;

/// The status of a child that never became its program.
const NOT_STARTED: u8 = 126;

/// Takes the plan from standard input and becomes its program; returns where that fails.
pub fn run() -> ExitCode {
    if let Ok(socket) = wire::own_socket()
        && let Err(failure) = become_program(&socket)
    {
        let _ = wire::write(&socket, &Report::Failed(failure));
    }
    ExitCode::from(NOT_STARTED)
}

/// Never returns without a failure.
fn become_program(socket: &UnixStream) -> Result<(), Failure> {
    let other = |error: io::Error| Failure::Other(error.to_string());
    let input = wire::receive_descriptor(socket).map_err(other)?;
    let plan: Plan = wire::read(socket)
        .map_err(other)?
        .ok_or_else(|| Failure::Other("there is no plan".to_owned()))?;
    rustix::stdio::dup2_stdin(input.as_fd()).map_err(|error| other(error.into()))?;
    rustix::process::setsid().map_err(|error| other(error.into()))?;
    platform::give_up_privileges().map_err(other)?;
    let sandbox = platform::sandbox(&plan.rules).map_err(other)?;
    if plan.sandbox_needed && !sandbox.is_whole() {
        return Err(Failure::Sandbox(sandbox));
    }
    let process = std::process::id();
    // Fails where the warden is gone already, which then could no longer have this process killed.
    wire::write(socket, &Report::Started { process, sandbox }).map_err(other)?;
    let error = Command::new(&plan.program)
        .args(&plan.args)
        .env_clear()
        .envs(&plan.env)
        .current_dir(&plan.folder)
        .exec();
    Err(Failure::Program(error.raw_os_error()))
}
