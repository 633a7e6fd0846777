//! Children where there are no wardens: each in a group of its own, killed when it is let go.
//!
//! What it has started in other groups, and what is left when the server is killed, is nobody's here.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::super::folder;
use super::super::plan::{Ended, Failure, GRACE, Plan};
use super::{Fate, Process, StartError};
use crate::platform::Sandbox;

/// The pipe into the child.
pub(in super::super) type Input = ChildStdin;

pub(super) async fn start(
    _executable: &Path,
    plan: &Plan,
    leash: CancellationToken,
) -> Result<Process, StartError> {
    if plan.sandbox_needed {
        return Err(StartError::Refused(Failure::Sandbox(Sandbox::default())));
    }
    let mut command = Command::new(&plan.program);
    command
        .args(&plan.args)
        .env_clear()
        .envs(&plan.env)
        .current_dir(&plan.folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    #[cfg(unix)]
    command.process_group(0);
    let mut child = command
        .spawn()
        .map_err(|error| StartError::Refused(Failure::Program(error.raw_os_error())))?;
    let id = child.id().unwrap_or_default();
    let gone = || io::Error::other("the child has no pipes");
    let input = child.stdin.take().ok_or_else(gone)?;
    let output = child.stdout.take().ok_or_else(gone)?;
    let errors = child.stderr.take().ok_or_else(gone)?;
    let (tell, fate) = watch::channel(Fate::Running);
    let (folder, record) = (plan.folder.clone(), plan.record.clone());
    let let_go = leash.clone();
    tokio::spawn(async move {
        let ended = tokio::select! {
            status = child.wait() => ended(status),
            () = let_go.cancelled() => end(&mut child, id, GRACE).await,
        };
        tell.send_replace(Fate::Ended(ended));
        let _ = tokio::task::spawn_blocking(move || folder::remove(&folder, &record)).await;
        tell.send_replace(Fate::Gone(Some(ended)));
    });
    Ok(Process {
        id,
        warden: None,
        sandbox: Sandbox::default(),
        input,
        output,
        errors,
        fate,
        leash: leash.drop_guard(),
    })
}

/// Asks the child's group to end, and kills it after `grace`.
async fn end(child: &mut Child, id: u32, grace: Duration) -> Ended {
    signal(id, false);
    if let Ok(status) = timeout(grace, child.wait()).await {
        signal(id, true);
        return ended(status);
    }
    signal(id, true);
    let _ = child.start_kill();
    ended(child.wait().await)
}

#[cfg(unix)]
fn signal(group: u32, kill: bool) {
    use rustix::process::{Pid, Signal, kill_process_group};

    let signal = if kill { Signal::KILL } else { Signal::TERM };
    if let Some(group) = i32::try_from(group).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, signal);
    }
}

#[cfg(not(unix))]
fn signal(_group: u32, _kill: bool) {}

fn ended(status: io::Result<std::process::ExitStatus>) -> Ended {
    #[cfg(unix)]
    let signal =
        |status: &std::process::ExitStatus| std::os::unix::process::ExitStatusExt::signal(status);
    #[cfg(not(unix))]
    let signal = |_: &std::process::ExitStatus| None;
    status.map_or_else(
        |_| Ended::default(),
        |status| Ended {
            code: status.code(),
            signal: signal(&status),
        },
    )
}
