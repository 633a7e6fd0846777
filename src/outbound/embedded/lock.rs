//! Locks between the processes that share one folder.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};
use std::{io, thread};

/// How long a write waits for another process before it is refused.
pub(in crate::outbound) const WAIT_MAX: Duration = Duration::from_secs(5);

/// The first pause between two attempts; it doubles up to [`PAUSE_MAX`]. SQLite's own waiting sleeps
/// up to 100 ms at a time, which shows in the slowest writes.
const PAUSE_MIN: Duration = Duration::from_micros(50);

/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_millis(1);

/// A file that one process at a time may hold. The system lets go of it when its holder dies.
#[derive(Debug)]
pub(in crate::outbound) struct ProcessLock(File);

/// Held until dropped.
#[derive(Debug)]
pub(in crate::outbound) struct Held<'a>(&'a File);

impl ProcessLock {
    /// The lock at `path`, which is created where it is missing and never deleted.
    pub(in crate::outbound) fn at(path: &Path) -> io::Result<Self> {
        File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map(Self)
    }

    /// Waits for the lock up to `wait`; `TimedOut` after that. It blocks the thread.
    pub(in crate::outbound) fn hold(&self, wait: Duration) -> io::Result<Held<'_>> {
        if let Some(held) = self.try_hold()? {
            return Ok(held);
        }
        let start = Instant::now();
        let mut pause = PAUSE_MIN;
        while start.elapsed() < wait {
            thread::sleep(pause);
            if let Some(held) = self.try_hold()? {
                return Ok(held);
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "another process holds the lock",
        ))
    }

    /// The lock, unless another holds it.
    pub(in crate::outbound) fn try_hold(&self) -> io::Result<Option<Held<'_>>> {
        match self.0.try_lock() {
            Ok(()) => Ok(Some(Held(&self.0))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // Where unlocking fails the lock goes with the file, when the process closes it.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_waits_and_gives_up_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = ProcessLock::at(&folder.path().join("lock")).unwrap();
        let second = ProcessLock::at(&folder.path().join("lock")).unwrap();
        let held = first.hold(WAIT_MAX).unwrap();
        assert!(second.try_hold().unwrap().is_none());
        let refused = second.hold(Duration::from_millis(20)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
        drop(held);
        assert!(second.try_hold().unwrap().is_some());
    }

    #[test]
    fn a_waiting_holder_gets_the_lock_when_it_is_let_go() {
        let folder = tempfile::tempdir().unwrap();
        let first = ProcessLock::at(&folder.path().join("lock")).unwrap();
        let second = ProcessLock::at(&folder.path().join("lock")).unwrap();
        let held = first.hold(WAIT_MAX).unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| second.hold(WAIT_MAX).is_ok());
            thread::sleep(Duration::from_millis(20));
            drop(held);
            assert!(waiting.join().unwrap());
        });
    }
}
