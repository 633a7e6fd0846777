//! Without a command: serves one client over standard input and output.

use std::cell::OnceCell;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::{ExitStatus, Output};
use crate::app::App;
use crate::config::{Config, Identity};
use crate::inbound::session::{self, DrainTimes, EndCause};
use crate::inbound::transport::{Limits, stdio};
use crate::platform;

/// How long the process may take to end when the outbox must be published first.
const END_TIME_MAX: Duration = Duration::from_millis(4700);

/// How long workflows go on while the last calls of a session end, which may be waiting for one of them. With the
/// second that steps of workflows have to end, it is within the 2 s of the process.
const WORKFLOWS_GO_ON_MAX: Duration = Duration::from_millis(800);

/// How long work that does not heed its cancellation may hold up the end of the process.
const STRAGGLERS_TIME_MAX: Duration = Duration::from_millis(100);

/// Serves the client at the other end of stdin and stdout until it leaves, or the process is told to end.
pub fn run(config: &Config, output: &mut Output) -> ExitStatus {
    if std::io::stdin().is_terminal() {
        output.error(terminal_hint());
    }
    // Integrations' processes are of the same user, and where no sandbox holds them this still does.
    if let Err(error) = platform::not_dumpable() {
        tracing::warn!(%error, "other processes of this user can read this one's memory");
    }
    let runtime = match runtime_for(&config.identity) {
        Ok(runtime) => runtime,
        Err(error) => {
            output.error(&format!("the runtime could not be started: {error}"));
            return ExitStatus::Failure;
        }
    };
    let status = serve(&runtime, config, output);
    runtime.shutdown_timeout(STRAGGLERS_TIME_MAX);
    status
}

/// A runtime for who calls. One person's calls run on one worker: what a call leads to would otherwise go to
/// and fro between two threads, each of which has to be woken for it, and that takes longer than the work. A
/// process that serves many tenants has a worker for each core, so that a large call of one holds up no other.
fn runtime_for(identity: &Identity) -> std::io::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if matches!(identity, Identity::Env) {
        builder.worker_threads(1);
    }
    builder.enable_all().build()
}

fn serve(runtime: &Runtime, config: &Config, output: &mut Output) -> ExitStatus {
    runtime.block_on(async {
        let app = match App::open(config).await {
            Ok(app) => app,
            Err(error) => {
                tracing::error!(?error, "the server could not be opened");
                let fix = error.fix_text().unwrap_or_default();
                output.error(&format!("{}. {fix}", error.message()));
                return ExitStatus::Failure;
            }
        };
        let shutdown = match watch_for_the_end() {
            Ok(shutdown) => shutdown,
            Err(error) => {
                output.error(&format!("signals cannot be received: {error}"));
                return ExitStatus::Failure;
            }
        };
        let transport = match stdio(Limits::default()) {
            Ok(transport) => transport,
            Err(error) => {
                output.error(&format!("standard input or output cannot be used: {error}"));
                return ExitStatus::Failure;
            }
        };
        let clock = Arc::clone(&app.shared().backplane.clock);
        let link = transport.link();
        // The time to end counts from the moment at which it is known that there is an end.
        let end = OnceCell::new();
        let is_overdue = async {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = link.input_ended() => {}
            }
            end.get_or_init(|| clock.monotonic());
            tokio::time::sleep(WORKFLOWS_GO_ON_MAX).await;
        };
        let session = session::serve(app.server(), transport, shutdown.clone(), DrainTimes::default());
        let mut session = std::pin::pin!(session);
        let ended = tokio::select! {
            ended = &mut session => ended,
            () = is_overdue => tokio::join!(session, app.stop_workflows()).0,
        };
        tracing::info!(cause = ?ended.cause, unfinished = ended.unfinished, "the session has ended");
        let now = clock.monotonic();
        let elapsed = now.saturating_sub(*end.get_or_init(|| now));
        app.close(END_TIME_MAX.saturating_sub(elapsed)).await;
        match ended.cause {
            EndCause::ClientLeft | EndCause::Shutdown => ExitStatus::Success,
            EndCause::Fault => ExitStatus::Failure,
        }
    })
}

/// Is cancelled when the process is told to end, or when whoever started it is gone.
fn watch_for_the_end() -> std::io::Result<CancellationToken> {
    let shutdown = CancellationToken::new();
    let told = shutdown.clone();
    let signal = platform::shutdown_signal()?;
    tokio::spawn(async move {
        tokio::select! {
            name = signal => tracing::info!(signal = name, "told to end"),
            () = platform::parent_death() => tracing::info!("the parent process is gone"),
        }
        told.cancel();
    });
    Ok(shutdown)
}

/// What a person is told who starts the server in a terminal, where no client speaks to it. It goes to
/// stderr; the server goes on, since a terminal may also be a client under test.
pub const fn terminal_hint() -> &'static str {
    "This is an MCP server, and it waits for a client to speak JSON-RPC on standard input.\n\
     To add it to a desktop client, run `use_aws_mcp init --help`; to see it work, run \
     `use_aws_mcp demo`; for all commands, `use_aws_mcp --help`. Ctrl-D ends it."
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_hint_says_what_it_waits_for_and_how_to_leave() {
        let hint = super::terminal_hint();
        for word in ["JSON-RPC", "use_aws_mcp init", "Ctrl-D"] {
            assert!(hint.contains(word), "{word}");
        }
    }
}
