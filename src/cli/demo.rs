//! `demo`: a client and a server of its own, over a real pipe, that show what this program does.

mod acts;
mod client;
mod narrator;
mod people;
mod server;
mod token;

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::{ExitStatus, Output, runtime, tell_text};
use crate::config::Environment;
use crate::platform;
use narrator::{Narrator, Wrong};
use server::ServerSettings;
use token::Signer;

/// How long what still runs may hold up the end of the command.
const STRAGGLERS_TIME_MAX: Duration = Duration::from_millis(500);

/// The tenants of the demonstration. One of them may list its files once a second, so that a limit is met.
const TENANTS: &str = r#"[tenants.acme]
issuers = ["https://demo.example"]

[tenants.globex]
issuers = ["https://demo.example"]
[tenants.globex.limits]
s3_list = 1
"#;

/// Why a demonstration was not shown to its end.
enum End {
    /// A step came out otherwise than it should have; it has been told.
    Wrong,
    /// The person had seen enough.
    Interrupted,
    /// It could not begin.
    Unprepared(String),
}

/// Shows everything, step by step; 0 where every step came out as it should.
pub(super) fn run(environment: &Environment, output: &mut Output) -> ExitStatus {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            output.error(&format!("the runtime could not be started: {error}"));
            return ExitStatus::Failure;
        }
    };
    let shown = runtime.block_on(show(environment, output));
    runtime.shutdown_timeout(STRAGGLERS_TIME_MAX);
    match shown {
        Ok(()) => ExitStatus::Success,
        Err(End::Wrong) => ExitStatus::Failure,
        Err(End::Interrupted) => {
            output.error("The demonstration was interrupted; nothing of it is left.");
            ExitStatus::Failure
        }
        Err(End::Unprepared(message)) => {
            tell_text(&message, None, None, output);
            ExitStatus::Failure
        }
    }
}

async fn show(environment: &Environment, output: &mut Output) -> Result<(), End> {
    let interrupted = platform::shutdown_signal()
        .map_err(|error| End::Unprepared(format!("signals cannot be received: {error}")))?;
    let folder = TempDir::with_prefix("use_aws_mcp-demo-")
        .map_err(|error| End::Unprepared(format!("no temporary folder can be made: {error}")))?;
    let (settings, signer) = prepare(environment, folder.path()).map_err(End::Unprepared)?;
    let mut narrator = Narrator::new(output);
    let ended = {
        // Dropped where it is interrupted, the play ends its server.
        let play = acts::play(&settings, &signer, &mut narrator);
        tokio::select! {
            played = play => played.map_err(|Wrong| End::Wrong),
            _ = interrupted => Err(End::Interrupted),
        }
    };
    let shown = folder.path().display().to_string();
    if let Err(error) = folder.close() {
        narrator.complain(&format!(
            "the temporary folder {shown} could not be removed: {error}"
        ));
        return Err(End::Wrong);
    }
    ended?;
    acts::say_goodbye(&mut narrator);
    Ok(())
}

/// Writes the tenants and the key that verifies their tokens; the key that signs them stays in memory.
fn prepare(environment: &Environment, folder: &Path) -> Result<(ServerSettings, Signer), String> {
    let program = environment
        .executable
        .clone()
        .ok_or("the path of this program is not known, so it cannot start a server")?;
    let signer = Signer::new()?;
    let write = |name: &str, text: &str| {
        std::fs::write(folder.join(name), text)
            .map_err(|error| format!("the temporary folder cannot be written: {error}"))
    };
    write("tenants.toml", TENANTS)?;
    write("keys.json", &signer.key_set())?;
    Ok((ServerSettings::new(program, folder, environment), signer))
}

#[cfg(test)]
mod tests;
