//! The warden of one child: ends it, and all that it has started, when the server asks for it or is gone.
//!
//! It is this program, started anew, so that it is there when the server is not. It copies nothing: the child
//! speaks over pipes of the server's.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, kill_process, kill_process_group, pidfd_open,
    set_child_subreaper, setsid, wait,
};

use super::folder;
use super::plan::{Ended, Failure, GRACE, Plan, Report, STAGE_COMMAND};
use super::wire;
use crate::mesh::{Clock, SystemClock};
use crate::platform;

/// How often those are looked for that ended after their own parents did.
const ORPHANS_INTERVAL: Duration = Duration::from_secs(5);

/// How often that is where the end of the child cannot be waited for.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How long to wait between two rounds of killing.
const ROUND_PAUSE: Duration = Duration::from_millis(4);

/// How long killing may take; only what hangs in the kernel is left then.
const KILL_TIME_MAX: Duration = Duration::from_secs(10);

/// Takes the plan from standard input, starts the child, and returns when nothing of it is left.
pub fn run() -> ExitCode {
    let Ok(socket) = wire::own_socket() else {
        return ExitCode::FAILURE;
    };
    match guard(&socket) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let failure = Failure::Other(error.to_string());
            let _ = wire::write(&socket, &Report::Failed(failure));
            ExitCode::FAILURE
        }
    }
}

fn guard(socket: &UnixStream) -> io::Result<()> {
    let _ = rustix::thread::set_name(c"mesh-warden");
    close_inherited(socket)?;
    platform::not_dumpable()?;
    setsid()?;
    // Whatever loses its parent belongs to this process from here on, whatever it does to get away.
    set_child_subreaper(Some(getpid()))?;
    let input = wire::receive_descriptor(socket)?;
    let plan: Plan = wire::read(socket)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let outcome = Ward::start(&plan, input).map(|mut ward| {
        let ended = ward.watch(socket);
        if let Some(ended) = ended {
            let _ = wire::write(socket, &Report::Ended(ended));
        }
        let last = ward.end(ended);
        if ended.is_none() {
            let _ = wire::write(socket, &Report::Ended(last));
        }
    });
    folder::remove(&plan.temporary, &plan.record);
    outcome
}

/// Closes what whoever started the server has left open for all programs: the child must not get it.
fn close_inherited(socket: &UnixStream) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|number| *number > 2 && *number != socket.as_raw_fd())
        .collect();
    for number in open {
        // The one that listed them is closed already.
        let _ = nix::unistd::close(number);
    }
    Ok(())
}

/// The child, as its warden sees it.
struct Ward {
    process: Pid,
    /// Becomes readable when the child ends; nothing where the kernel cannot say.
    handle: Option<OwnedFd>,
    /// Where its first stage reports; nothing after it has become the program.
    stage: Option<UnixStream>,
}

/// What became of those that could be waited for.
enum Reaped {
    /// The child itself is among them.
    Child(Ended),
    /// Others at most.
    Others,
    /// There is nobody left to wait for.
    Nobody,
}

impl Ward {
    fn start(plan: &Plan, input: OwnedFd) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let child = Command::new(platform::own_program())
            .arg(STAGE_COMMAND)
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()?;
        let process = i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| io::Error::other("the process has no id"))?;
        // The pipes are the child's alone from now on: their ends tell the server that it is gone.
        let null = std::fs::File::options().write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdout(&null)?;
        rustix::stdio::dup2_stderr(&null)?;
        let ward = Self {
            process,
            handle: pidfd_open(process, PidfdFlags::empty()).ok(),
            stage: None,
        };
        let sent =
            wire::send_descriptor(&ours, input.as_fd()).and_then(|()| wire::write(&ours, plan));
        drop(input);
        // One that is gone before it has its plan is seen when it is waited for.
        Ok(Self {
            stage: sent.is_ok().then_some(ours),
            ..ward
        })
    }

    /// Waits until the child has ended, or the server asks for its end or is gone.
    fn watch(&mut self, socket: &UnixStream) -> Option<Ended> {
        loop {
            if self.wait(socket).is_err() {
                return None;
            }
            if let Some(stage) = &self.stage
                && is_ready(stage)
            {
                match wire::read::<Report>(stage) {
                    Ok(Some(report)) => {
                        let _ = wire::write(socket, &report);
                    }
                    Ok(None) | Err(_) => {
                        self.stage = None;
                        let _ = wire::write(socket, &Report::Running);
                    }
                }
                continue;
            }
            match reap(self.process) {
                Reaped::Child(ended) => return Some(ended),
                Reaped::Nobody => return Some(Ended::default()),
                Reaped::Others => {}
            }
            // Whatever is said, and the end of all saying, means that the child is to end.
            if is_ready(socket) {
                return None;
            }
        }
    }

    /// Waits until something has happened, or it is time to look for orphans.
    fn wait(&self, socket: &UnixStream) -> rustix::io::Result<()> {
        let mut events = vec![PollFd::new(socket, PollFlags::IN)];
        events.extend(
            self.stage
                .as_ref()
                .map(|stage| PollFd::new(stage, PollFlags::IN)),
        );
        events.extend(
            self.handle
                .as_ref()
                .map(|handle| PollFd::new(handle, PollFlags::IN)),
        );
        let most = match self.handle {
            Some(_) => ORPHANS_INTERVAL,
            None => POLL_INTERVAL,
        };
        let most = Timespec::try_from(most).map_err(|_| Errno::INVAL)?;
        match poll(&mut events, Some(&most)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Ends the child and everything that it has started: asked first, then killed.
    fn end(&self, mut ended: Option<Ended>) -> Ended {
        let clock = SystemClock::new();
        let begun = clock.monotonic();
        self.signal(Signal::TERM);
        self.signal(Signal::CONT);
        loop {
            match reap(self.process) {
                Reaped::Child(status) => ended = Some(status),
                Reaped::Others => {}
                Reaped::Nobody => return ended.unwrap_or_default(),
            }
            let elapsed = clock.monotonic().saturating_sub(begun);
            if elapsed > GRACE + KILL_TIME_MAX {
                return ended.unwrap_or_default();
            }
            if elapsed > GRACE {
                self.signal(Signal::KILL);
            }
            sleep(ROUND_PAUSE);
        }
    }

    /// Sends `signal` to every group that something of the child's is in: within a group nothing can start
    /// another process while it is signalled.
    fn signal(&self, signal: Signal) {
        let own = rustix::process::getpgrp();
        let mut groups = std::collections::BTreeSet::new();
        for entry in platform::descendants(std::process::id()) {
            let pid = |id: u32| i32::try_from(id).ok().and_then(Pid::from_raw);
            match (pid(entry.group), pid(entry.id)) {
                // It has not left this group yet.
                (Some(group), Some(process)) if group == own => {
                    let _ = kill_process(process, signal);
                }
                (Some(group), _) if groups.insert(entry.group) => {
                    let _ = kill_process_group(group, signal);
                }
                _ => {}
            }
        }
        if platform::process(std::process::id()).is_none() {
            // The system lists no processes: its own group is all that is known of the child.
            let _ = kill_process_group(self.process, signal);
        }
    }
}

/// Whether there is something to be read, or nothing ever again.
fn is_ready(socket: impl AsFd) -> bool {
    let now = Timespec::default();
    let mut events = [PollFd::new(&socket, PollFlags::IN)];
    poll(&mut events, Some(&now)).is_ok_and(|ready| ready > 0)
}

/// Takes the statuses of all that have ended.
fn reap(child: Pid) -> Reaped {
    let mut found = None;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((process, status))) if process == child => {
                found = Some(Ended {
                    code: status.exit_status(),
                    signal: status.terminating_signal(),
                });
            }
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return found.map_or(Reaped::Others, Reaped::Child),
            Err(_) => return found.map_or(Reaped::Nobody, Reaped::Child),
        }
    }
}
