//! The watcher: looks at runs until they have ended and their end is recorded, also those of processes
//! that are gone.
//!
//! What it reads and asks is charged to nobody.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

use super::book::RunBook;
use super::ending::End;
use super::meter::Meter;
use super::row::{Kept, Mark};
use super::run::RunState;
use super::watch::{Known, LOOKS_MAX, Task};
use crate::mesh::store::states::ExecutionStatus;
use crate::mesh::tenant::TenantId;
use crate::mesh::{Error, Timestamp};

/// How long after its last attempt a start that a client asked for may still succeed: longer than any call.
pub const START_GRACE: Duration = Duration::from_secs(150);

/// The same of a start that a rule asked for: whoever publishes the event tries again until it succeeds.
pub const RULE_START_GRACE: Duration = Duration::from_hours(24);

/// Marks on one page of a sweep.
const PAGE_MARKS: u32 = 500;

/// The most pages of one sweep; what is beyond is found by a later one.
const PAGES_MAX: usize = 20;

/// How long the end of the process waits for the looks that are under way.
const STOP_TIME_MAX: Duration = Duration::from_secs(1);

/// The watcher of this process. It stops when this is dropped, whatever it is at.
#[derive(Debug)]
pub struct Watcher {
    task: JoinHandle<()>,
    stop: CancellationToken,
    /// Cancelled when it has stopped.
    stopped: CancellationToken,
}

impl Watcher {
    /// Looks at no more runs, and gives the looks under way a second to end: an end that is claimed and not
    /// recorded would wait for a whole lease.
    pub async fn stop(&self) {
        self.stop.cancel();
        let stopped = self.stopped.cancelled();
        if tokio::time::timeout(STOP_TIME_MAX, stopped).await.is_err() {
            tracing::warn!("workflows that end are left to whoever looks at them next");
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a look at a run came to.
enum Look {
    /// Its end is recorded, or it is none of ours.
    Over,
    /// It goes on, as far as is known.
    GoesOn(Arc<Known>),
    /// It is to be looked at again: after so long, or at the backend's pace.
    Again(Option<Duration>),
}

impl RunBook {
    /// Watches runs, those that are started from here on and those that are found by their marks, until
    /// the watcher is dropped. Within a runtime.
    pub fn watch(&self) -> Watcher {
        let (book, stop) = (self.clone(), CancellationToken::new());
        let stopped = CancellationToken::new();
        let (told, ended) = (stop.clone(), stopped.clone().drop_guard());
        let task = tokio::spawn(async move {
            let _ended = ended;
            book.watch_on(&told).await;
        });
        Watcher {
            task,
            stop,
            stopped,
        }
    }

    /// Notes that a tenant does something, so that its runs are watched whose process is gone.
    pub fn note_active(&self, tenant: &TenantId) {
        self.followed().note_active(tenant);
    }

    /// Watches a run of which this process has written the mark, or will take it over.
    pub(super) fn follow(&self, tenant: &TenantId, run_id: Ulid) {
        self.followed()
            .follow(tenant, run_id, self.parts().pace.first);
    }

    async fn watch_on(self, stop: &CancellationToken) {
        let watch = self.followed();
        let mut under_way = FuturesUnordered::new();
        loop {
            if stop.is_cancelled() && under_way.is_empty() {
                return;
            }
            let mut next = None;
            while under_way.len() < LOOKS_MAX && !stop.is_cancelled() {
                match watch.next() {
                    Ok(task) => under_way.push(self.perform(task)),
                    Err(pause) => {
                        next = pause;
                        break;
                    }
                }
            }
            let pause = async {
                match next {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(tenant) = under_way.next() => watch.returned(&tenant),
                () = stop.cancelled(), if !stop.is_cancelled() => {}
                () = watch.changed() => {}
                () = pause => {}
            }
        }
    }

    /// Does a task and says when it is to be done again; answers whose it was.
    async fn perform(&self, task: Task) -> TenantId {
        let watch = self.followed();
        match task {
            Task::Sweep(tenant) => {
                let found = self.sweep(&tenant).await.unwrap_or_else(|error| {
                    tracing::debug!(%tenant, ?error, "the marks of running workflows cannot be read");
                    true
                });
                watch.swept(&tenant, found);
                tenant
            }
            Task::Look(tenant, run_id) => {
                match self.look(&tenant, run_id).await {
                    Ok(Look::Over) => watch.leave(&tenant, run_id),
                    Ok(Look::GoesOn(known)) => watch.again(&tenant, run_id, None, Some(known)),
                    Ok(Look::Again(wait)) => watch.again(&tenant, run_id, wait, None),
                    Err(error) => {
                        tracing::debug!(%tenant, %run_id, ?error, "a running workflow cannot be looked at");
                        watch.again(&tenant, run_id, None, None);
                    }
                }
                tenant
            }
        }
    }

    /// Follows the runs whose marks nobody else keeps up; answers whether there were marks.
    async fn sweep(&self, tenant: &TenantId) -> Result<bool, Error> {
        let rows = self.rows(tenant);
        let now = self.parts().clock.now();
        let (mut after, mut found) = (None, false);
        for _ in 0..PAGES_MAX {
            let (marks, next) = rows.marks(after, PAGE_MARKS).await?;
            found |= !marks.is_empty();
            for (run_id, mark) in marks {
                if !self.followed().is_followed(tenant, run_id) {
                    let wait = self.until_free(&mark, now);
                    self.followed().follow(tenant, run_id, wait);
                }
            }
            after = next;
            if after.is_none() {
                break;
            }
        }
        Ok(found)
    }

    /// How long somebody else says that it watches the run. A time that is further away than a lease was
    /// written by a clock that is wrong.
    fn until_free(&self, mark: &Mark, now: Timestamp) -> Duration {
        if self.is_ours(mark) {
            return Duration::ZERO;
        }
        mark.until.since(now).min(self.parts().pace.lease)
    }

    /// Looks at a run that this process watches, or is to watch once nobody else does.
    async fn look(&self, tenant: &TenantId, run_id: Ulid) -> Result<Look, Error> {
        let known = self.followed().known(tenant, run_id);
        if let Some(known) = known.filter(|known| self.is_held(&known.mark)) {
            return self.look_at_execution(tenant, known).await;
        }
        let mut uncharged = Meter::default();
        let rows = self.rows(tenant);
        let lease = self.parts().pace.lease;
        let Some(mark) = rows.marked(run_id, &mut uncharged).await? else {
            return Ok(Look::Over);
        };
        let Some(mark) = self.hold(tenant, run_id, mark).await? else {
            return Ok(Look::Again(Some(lease)));
        };
        let Some(kept) = rows.find(run_id, &mut uncharged).await? else {
            return self.without_row(tenant, run_id, &mark).await;
        };
        if kept.run.state.has_ended() {
            let done = self.complete(tenant, &kept, &mut uncharged).await?;
            return Ok(match done {
                true => Look::Over,
                false => Look::Again(Some(lease)),
            });
        }
        self.look_at_execution(tenant, Arc::new(Known { kept, mark }))
            .await
    }

    /// Whether the mark says, and for a while yet, that this process watches the run.
    fn is_held(&self, mark: &Mark) -> bool {
        let lease = self.parts().pace.lease;
        let left = mark.until.since(self.parts().clock.now());
        self.is_ours(mark) && left > lease / 2 && left <= lease
    }

    fn is_ours(&self, mark: &Mark) -> bool {
        mark.watcher == self.parts().outbox.writer().to_string()
    }

    /// Keeps up the mark of a run, or takes it over from a process that no longer does. Nothing where
    /// another one watches it.
    async fn hold(
        &self,
        tenant: &TenantId,
        run_id: Ulid,
        mark: Mark,
    ) -> Result<Option<Mark>, Error> {
        if self.is_held(&mark) {
            return Ok(Some(mark));
        }
        let now = self.parts().clock.now();
        if !self.until_free(&mark, now).is_zero() {
            return Ok(None);
        }
        let mut next = self.mark();
        next.marked_at = mark.marked_at;
        let mut uncharged = Meter::default();
        let rows = self.rows(tenant);
        let renewed = rows.renew(run_id, &mark, &next, &mut uncharged).await?;
        Ok(renewed.is_ok().then_some(next))
    }

    /// A mark without a row: somebody is about to write it, or died before.
    async fn without_row(
        &self,
        tenant: &TenantId,
        run_id: Ulid,
        mark: &Mark,
    ) -> Result<Look, Error> {
        let now = self.parts().clock.now();
        if mark.marked_at <= now && now.since(mark.marked_at) < START_GRACE {
            return Ok(Look::Again(None));
        }
        let mut uncharged = Meter::default();
        let rows = self.rows(tenant);
        rows.unmark(run_id, Some(mark), &mut uncharged).await?;
        Ok(Look::Over)
    }

    async fn look_at_execution(&self, tenant: &TenantId, known: Arc<Known>) -> Result<Look, Error> {
        let (parts, kept) = (self.parts(), &known.kept);
        let mut uncharged = Meter::default();
        let execution = parts.states.describe(tenant, &kept.run.execution).await?;
        let now = parts.clock.now();
        let end = match execution {
            Some(execution) => match End::of(&execution, now) {
                Some(end) => end,
                None if kept.run.state == RunState::Starting => {
                    self.note_running(tenant, kept, &mut uncharged).await?;
                    return Ok(Look::Again(None));
                }
                None => return Ok(Look::GoesOn(known)),
            },
            None if self.may_still_begin(kept, now) => return Ok(Look::Again(None)),
            None => End::without_execution(kept, now),
        };
        let ended = self.end(tenant, kept, end, &mut uncharged).await?;
        Ok(match ended.recorded {
            true => Look::Over,
            // Somebody else was faster; or the row has changed, and is read again.
            false => Look::Again(None),
        })
    }

    /// Whether a run of which Step Functions does not know may yet be one.
    pub(in crate::mesh) fn may_still_begin(&self, kept: &Kept, now: Timestamp) -> bool {
        let grace = match (kept.run.state, &kept.run.rule) {
            (RunState::Starting, Some(_)) => RULE_START_GRACE,
            _ => START_GRACE,
        };
        let started_at = kept.run.started_at;
        started_at > now || now.since(started_at) < grace
    }

    /// Notes in the row of a run that was about to begin that it runs; answers the run as it then is.
    pub(in crate::mesh) async fn note_running(
        &self,
        tenant: &TenantId,
        kept: &Kept,
        meter: &mut Meter,
    ) -> Result<Kept, Error> {
        if kept.run.state != RunState::Starting {
            return Ok(kept.clone());
        }
        let mut running = kept.next();
        running.run.state = RunState::Known(ExecutionStatus::Running);
        match self.rows(tenant).replace(kept, &running, meter).await? {
            Ok(()) => Ok(running),
            Err(current) => Ok(current.unwrap_or(running)),
        }
    }
}

#[cfg(test)]
mod tests;
