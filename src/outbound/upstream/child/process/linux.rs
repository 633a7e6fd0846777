//! Children on Linux, each with a warden that outlives the server.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::super::folder;
use super::super::plan::{Ended, Failure, Plan, Report, WARDEN_COMMAND, frame, frame_length};
use super::super::wire;
use super::{Fate, Process, StartError};
use crate::platform::Sandbox;

/// The pipe into the child.
pub(in super::super) type Input = pipe::Sender;

/// How long a child may take to become its program.
const START_TIME_MAX: Duration = Duration::from_secs(10);

/// How long a warden may take after it was let go, before it is given up.
const WARDEN_TIME_MAX: Duration = Duration::from_secs(20);

pub(super) async fn start(
    executable: &Path,
    plan: &Plan,
    leash: CancellationToken,
) -> Result<Process, StartError> {
    let (ours, theirs) = BlockingStream::pair()?;
    let (input_end, input) = io::pipe()?;
    let mut warden = Command::new(executable)
        .arg(WARDEN_COMMAND)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let warden_id = warden.id();
    let pipes = warden.stdout.take().zip(warden.stderr.take());
    let (output, errors) = pipes.ok_or_else(|| io::Error::other("the warden has no pipes"))?;
    wire::send_descriptor(&ours, input_end.as_fd())?;
    drop(input_end);
    ours.set_nonblocking(true)?;
    let (mut reports, mut orders) = UnixStream::from_std(ours)?.into_split();
    let plan_frame = frame(plan)?;
    let started = timeout(START_TIME_MAX, async {
        orders.write_all(&plan_frame).await?;
        started(&mut reports).await
    });
    let (id, sandbox) = started.await.map_err(|_| StartError::TooSlow)??;
    let (tell, fate) = watch::channel(Fate::Running);
    let (folder, record) = (plan.folder.clone(), plan.record.clone());
    let let_go = leash.clone();
    tokio::spawn(async move {
        let ended = {
            let ended = follow(&mut reports, &tell);
            tokio::pin!(ended);
            tokio::select! {
                ended = &mut ended => ended,
                () = let_go.cancelled() => {
                    drop(orders);
                    ended.await
                }
            }
        };
        bury(warden).await;
        if record.exists() {
            // The warden was killed before it could.
            let _ = tokio::task::spawn_blocking(move || folder::remove(&folder, &record)).await;
        }
        tell.send_replace(Fate::Gone(ended));
    });
    Ok(Process {
        id,
        warden: warden_id,
        sandbox,
        input: pipe::Sender::from_owned_fd(OwnedFd::from(input))?,
        output,
        errors,
        fate,
        leash: leash.drop_guard(),
    })
}

/// Waits until the child has become its program.
async fn started(reports: &mut OwnedReadHalf) -> Result<(u32, Sandbox), StartError> {
    let mut stage = None;
    loop {
        match next(reports).await? {
            Some(Report::Started { process, sandbox }) => stage = Some((process, sandbox)),
            Some(Report::Failed(failure)) => return Err(StartError::Refused(failure)),
            Some(Report::Running) => {
                let failure = || Failure::Other("its first stage said nothing".to_owned());
                return stage.ok_or_else(|| StartError::Refused(failure()));
            }
            Some(Report::Ended(ended)) => {
                let failure = Failure::Other(format!("its first stage {ended}"));
                return Err(StartError::Refused(failure));
            }
            None => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        }
    }
}

/// Passes on what the warden reports, until it is gone.
async fn follow(reports: &mut OwnedReadHalf, tell: &watch::Sender<Fate>) -> Option<Ended> {
    let mut last = None;
    while let Ok(Some(report)) = next(reports).await {
        if let Report::Ended(ended) = report {
            last = Some(ended);
            tell.send_replace(Fate::Ended(ended));
        }
    }
    last
}

async fn next(reports: &mut OwnedReadHalf) -> io::Result<Option<Report>> {
    let mut head = [0; 4];
    match reports.read_exact(&mut head).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read.map(drop)?,
    }
    let mut body = vec![0; frame_length(head)?];
    reports.read_exact(&mut body).await?;
    Ok(serde_json::from_slice(&body)?)
}

/// Waits for the end of a warden that has said its last word.
async fn bury(mut warden: Child) {
    if timeout(WARDEN_TIME_MAX, warden.wait()).await.is_err() {
        let _ = warden.start_kill();
        let _ = warden.wait().await;
    }
}
