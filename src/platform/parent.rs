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
    if end_of(parent, || rustix::process::getppid() == Some(parent))
        .await
        .is_some()
    {
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

/// Waits for the end of `process` on a handle of it; `None` where the system has no such handles.
#[cfg(target_os = "linux")]
async fn end_of(process: rustix::process::Pid, is_it: impl FnOnce() -> bool) -> Option<()> {
    use rustix::process::{PidfdFlags, pidfd_open};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    let handle = pidfd_open(process, PidfdFlags::empty()).ok()?;
    // The number belongs to another process by now, if ours ended before the handle was there.
    if !is_it() {
        return Some(());
    }
    #[expect(
        deprecated,
        reason = "the sound replacement is unsafe to call; an owned descriptor is sound here too"
    )]
    let handle = AsyncFd::with_interest(handle, Interest::READABLE).ok()?;
    handle.readable().await.ok().map(|_| ())
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn the_end_of_a_process_is_noticed_and_its_life_is_not() {
        let mut child = tokio::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let id = i32::try_from(child.id().unwrap()).unwrap();
        let process = rustix::process::Pid::from_raw(id).unwrap();
        assert!(timeout(SHORT, end_of(process, || true)).await.is_err());
        child.start_kill().unwrap();
        let ended = timeout(Duration::from_secs(5), end_of(process, || true)).await;
        assert_eq!(ended, Ok(Some(())));
        child.wait().await.unwrap();
    }

    #[tokio::test]
    async fn a_process_that_is_another_one_by_now_has_ended() {
        let ours = rustix::process::getpid();
        assert_eq!(timeout(SHORT, end_of(ours, || false)).await, Ok(Some(())));
    }

    #[tokio::test]
    async fn a_living_parent_is_waited_for() {
        assert!(timeout(SHORT, parent_death()).await.is_err());
    }
}
