//! Two hidden commands, through which the processes of integrations are started; people have no use for them.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::outbound::upstream::child;

/// Runs the hidden command that `arguments` name; nothing where they name none.
#[cfg(target_os = "linux")]
pub(super) fn run(arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.skip(1);
    let (command, None) = (arguments.next()?, arguments.next()) else {
        return None;
    };
    match command.to_str()? {
        child::WARDEN_COMMAND => Some(child::warden::run()),
        child::STAGE_COMMAND => Some(child::stage::run()),
        _ => None,
    }
}

/// Nothing: children are started directly here.
#[cfg(not(target_os = "linux"))]
pub(super) fn run(_arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let _ = (child::WARDEN_COMMAND, child::STAGE_COMMAND);
    None
}
