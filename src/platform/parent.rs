//! The end of the process that started this one.

use std::time::Duration;

/// How often a system that cannot say when a process ends is asked for the parent.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Completes when the process that started this one is gone, and never where there is none that could go:
/// in a container the first process has no parent, and a service's is the system itself.
///
/// Linux could send a signal instead, but it does so when the parent's *thread* ends, and clients start
/// servers from threads that end.
#[cfg(unix)]
pub async fn parent_death() {
    let Some(parent) = rustix::process::getppid().filter(|parent| !parent.is_init()) else {
        return std::future::pending().await;
    };
    #[cfg(target_os = "linux")]
    if handle_readable(parent).await.is_some() {
        return;
    }
    while rustix::process::getppid() == Some(parent) {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Never completes: here the end of the input alone tells that the parent is gone.
#[cfg(not(unix))]
pub async fn parent_death() {
    let _ = POLL_INTERVAL;
    std::future::pending().await
}

/// Waits for the end of `parent` on a handle of it; `None` where the system has no such handles.
#[cfg(target_os = "linux")]
async fn handle_readable(parent: rustix::process::Pid) -> Option<()> {
    use rustix::process::{PidfdFlags, getppid, pidfd_open};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    let handle = pidfd_open(parent, PidfdFlags::NONBLOCK)
        .or_else(|_| pidfd_open(parent, PidfdFlags::empty()))
        .ok()?;
    // Its number may belong to another process by now, if it ended before the handle was there.
    if getppid() != Some(parent) {
        return Some(());
    }
    let handle = AsyncFd::with_interest(handle, Interest::READABLE).ok()?;
    handle.readable().await.ok().map(|_| ())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_a_process_is_noticed_and_its_life_is_not() {
        let mut child = tokio::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id().unwrap()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        // The handle works for any process; that this one is no parent is what the check would notice.
        let handle = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        let handle = tokio::io::unix::AsyncFd::with_interest(handle, tokio::io::Interest::READABLE)
            .unwrap();
        let wait = Duration::from_millis(50);
        assert!(tokio::time::timeout(wait, handle.readable()).await.is_err());
        child.kill().await.unwrap();
        let wait = Duration::from_secs(5);
        assert!(tokio::time::timeout(wait, handle.readable()).await.is_ok());
    }

    #[tokio::test]
    async fn a_living_parent_is_waited_for() {
        let wait = Duration::from_millis(50);
        assert!(tokio::time::timeout(wait, parent_death()).await.is_err());
    }
}
