//! What the system tells of another process: memory and processor time; Linux only.

use std::fs;
use std::time::{Duration, Instant};

/// What one tick of `/proc/<pid>/stat` is: `USER_HZ`, which is 100 wherever Rust runs on Linux.
const TICK: Duration = Duration::from_millis(10);

/// How long a process must use less than a tick to count as done.
const QUIET: Duration = Duration::from_millis(600);

/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Resident memory of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Now: bytes.
    pub(crate) resident: u64,
    /// The most so far: bytes.
    pub(crate) peak: u64,
}

/// The resident memory of `process`.
pub(crate) fn memory(process: u32) -> Option<Memory> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line
            .trim_start_matches(':')
            .split_whitespace()
            .next()?
            .parse()
            .ok()?;
        Some(kib * 1024)
    };
    Some(Memory {
        resident: bytes("VmRSS")?,
        peak: bytes("VmHWM")?,
    })
}

/// The processor time that `process` has used in all its threads, those that have ended included.
pub(crate) fn cpu(process: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is the program's name in brackets, which may hold spaces.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(TICK * (user + system))
}

/// Waits until `process` has nothing left to do in the background, at most `limit`, so that what a call
/// leaves to be done later counts as its cost too. The time that it took.
pub(crate) fn settle(process: u32, limit: Duration) -> Duration {
    let started = Instant::now();
    let mut quiet_since = started;
    let mut seen = cpu(process);
    while started.elapsed() < limit {
        std::thread::sleep(LOOK);
        let now = cpu(process);
        let used = now
            .zip(seen)
            .map_or(Duration::ZERO, |(now, seen)| now.saturating_sub(seen));
        if used >= TICK {
            quiet_since = Instant::now();
        }
        seen = now;
        if quiet_since.elapsed() >= QUIET {
            break;
        }
    }
    started.elapsed().saturating_sub(QUIET)
}
