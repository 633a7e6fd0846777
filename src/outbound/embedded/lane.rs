//! One thread that owns what must be written in turn, so that no worker of the runtime ever waits.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::lock::{ProcessLock, WAIT_MAX};

/// The most writes that wait in one process; what comes on top is throttled.
pub(super) const QUEUE_MAX: usize = 1024;

/// The most writes under one hold of the lock, so that other processes get their turn.
const BURST_MAX: usize = 64;

/// The longest that the lock is held for one burst, give or take its last write.
const BURST_TIME: Duration = Duration::from_millis(5);

/// Why a write was not begun. It had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// More than [`QUEUE_MAX`] wait already.
    Full,
    /// Another process held the lock for longer than [`WAIT_MAX`], or this one could not take it.
    Locked,
    /// The work broke down; whether it had an effect is not known.
    Broken,
}

type Job<W> = Box<dyn FnOnce(Option<&mut W>) + Send>;

/// The way to the thread that owns a `W`.
pub(super) struct Lane<W> {
    sender: SyncSender<Job<W>>,
}

impl<W: Send + 'static> Lane<W> {
    /// A lane for `owned`, which is made again by `reopen` after a job that panicked.
    pub(super) fn start(
        name: &str,
        owned: W,
        lock: ProcessLock,
        reopen: impl Fn() -> Option<W> + Send + 'static,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(QUEUE_MAX);
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || serve(&receiver, owned, &lock, &reopen))?;
        Ok(Self { sender })
    }

    /// Runs `work` in turn. Work whose caller has gone before its turn is not begun.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut W) -> T + Send + 'static,
    ) -> Result<T, Refused> {
        let (answer, answered) = oneshot::channel();
        let job: Job<W> = Box::new(move |owned| {
            if answer.is_closed() {
                return;
            }
            let result = match owned {
                Some(owned) => Ok(work(owned)),
                None => Err(Refused::Locked),
            };
            // The caller may have gone meanwhile; the work is done all the same.
            let _ = answer.send(result);
        });
        self.sender.try_send(job).map_err(|_| Refused::Full)?;
        answered.await.unwrap_or(Err(Refused::Broken))
    }
}

impl<W> std::fmt::Debug for Lane<W> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Lane").finish_non_exhaustive()
    }
}

fn serve<W>(
    receiver: &Receiver<Job<W>>,
    owned: W,
    lock: &ProcessLock,
    reopen: &impl Fn() -> Option<W>,
) {
    let mut owned = Some(owned);
    while let Ok(first) = receiver.recv() {
        let held = lock.hold(WAIT_MAX);
        if held.is_err() {
            // Whoever queued up meanwhile has waited too; asking each in turn to wait as long again
            // would only add up.
            first(None);
            receiver.try_iter().for_each(|job| job(None));
            continue;
        }
        let start = Instant::now();
        let burst = std::iter::once(first).chain(receiver.try_iter());
        for (done, job) in burst.enumerate() {
            if owned.is_none() {
                owned = reopen();
            }
            // What a panic left behind, an open transaction above all, is given up with its owner.
            if catch_unwind(AssertUnwindSafe(|| job(owned.as_mut()))).is_err() {
                owned = None;
            }
            if done + 1 >= BURST_MAX || start.elapsed() >= BURST_TIME {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn lane(folder: &tempfile::TempDir) -> Lane<usize> {
        let lock = ProcessLock::at(&folder.path().join("lock")).unwrap();
        Lane::start("test", 0, lock, || Some(100)).unwrap()
    }

    #[tokio::test]
    async fn work_is_done_in_turn_and_goes_on_after_a_panic() {
        let folder = tempfile::tempdir().unwrap();
        let lane = lane(&folder);
        for expected in 1..=3 {
            let counted = lane.run(|count| {
                *count += 1;
                *count
            });
            assert_eq!(counted.await, Ok(expected));
        }
        let broken = lane.run(|_| panic!("on purpose")).await;
        assert_eq!(broken.map(|(): ()| 0), Err(Refused::Broken));
        assert_eq!(lane.run(|count| *count).await, Ok(100));
    }

    #[tokio::test]
    async fn the_queue_takes_its_most_and_refuses_one_more() {
        let folder = tempfile::tempdir().unwrap();
        let lane = Arc::new(lane(&folder));
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let (begun, beginning) = oneshot::channel();
        let busy = {
            let lane = Arc::clone(&lane);
            tokio::spawn(async move {
                lane.run(move |_| {
                    begun.send(()).unwrap();
                    let _ = wait.recv();
                })
                .await
            })
        };
        beginning.await.unwrap();
        let ran = Arc::new(AtomicUsize::new(0));
        let mut waiting: Vec<_> = (0..QUEUE_MAX)
            .map(|_| {
                let ran = Arc::clone(&ran);
                Box::pin(lane.run(move |_| ran.fetch_add(1, Ordering::SeqCst)))
            })
            .collect();
        for work in &mut waiting {
            assert!(futures::poll!(work).is_pending());
        }
        assert_eq!(lane.run(|_| ()).await, Err(Refused::Full));
        // Those whose callers go away before their turn are not begun.
        waiting.truncate(3);
        go.send(()).unwrap();
        busy.await.unwrap().unwrap();
        for work in waiting {
            work.await.unwrap();
        }
        lane.run(|_| ()).await.unwrap();
        assert_eq!(ran.load(Ordering::SeqCst), 3);
    }
}
