//! Who runs executions: this process those that it started, and those that another one left behind.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::definition::Definitions;
use super::disk::{Disk, DiskFault};
use super::execution;
use super::owner::{self, Owner};
use super::store::{self, Begun, Claimed, ExecutionId, NewExecution, Whose};
use super::work::Worker;
use crate::mesh::{Clock, Timestamp};

/// The most executions that one process takes steps of at a time; the others wait for their turn.
const ACTIVE_MAX: usize = 256;

/// The most executions that run, wait or queue in one folder.
pub(super) const RUNNING_MAX: usize = 10_000;

/// How often it is looked for executions whose process is gone, or that somebody stopped.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// The shortest rest between two looks.
const REST_MIN: Duration = Duration::from_millis(5);

/// The most executions that are taken at one time: what another process may take as well.
const CLAIM_MAX: usize = 32;

/// How long the end of the process waits for the steps that are under way.
const STOP_TIME_MAX: Duration = Duration::from_secs(1);

/// How long it then waits for those that it has cut.
const CUT_TIME_MAX: Duration = Duration::from_millis(100);

/// Runs executions.
pub(super) struct Runner {
    pub(super) disk: Arc<Disk>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) definitions: Definitions,
    pub(super) worker: Arc<dyn Worker>,
    owners: PathBuf,
    owner: OnceLock<Owner>,
    /// Whose executions are run here; anyone's until that is known.
    whose: OnceLock<Whose>,
    active: Mutex<HashMap<ExecutionId, CancellationToken>>,
    /// How many ran when it was last looked, and have been started since.
    running: AtomicUsize,
    shall_look: AtomicBool,
    looks: AtomicBool,
    wake: Notify,
    /// No more steps are begun.
    stop: CancellationToken,
    /// Steps that are under way are given up.
    cut: CancellationToken,
}

/// What a look at the disk finds.
struct Found {
    owners: Vec<String>,
    next: Option<Timestamp>,
    lost: Vec<ExecutionId>,
    strays: Vec<ExecutionId>,
    running: usize,
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Runner")
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

impl Runner {
    pub(super) fn new(
        disk: Disk,
        clock: Arc<dyn Clock>,
        definitions: Definitions,
        worker: Arc<dyn Worker>,
        owners: PathBuf,
    ) -> Arc<Self> {
        Arc::new(Self {
            disk: Arc::new(disk),
            clock,
            definitions,
            worker,
            owners,
            owner: OnceLock::new(),
            whose: OnceLock::new(),
            active: Mutex::default(),
            running: AtomicUsize::new(0),
            shall_look: AtomicBool::new(false),
            looks: AtomicBool::new(false),
            wake: Notify::new(),
            stop: CancellationToken::new(),
            cut: CancellationToken::new(),
        })
    }

    /// The name under which this process owns executions. The caller holds the lock of the writers.
    fn owner(&self) -> Result<&str, DiskFault> {
        if let Some(owner) = self.owner.get() {
            return Ok(owner.id());
        }
        let owner =
            Owner::register(&self.owners).map_err(|error| DiskFault::Storage(error.into()))?;
        Ok(self.owner.get_or_init(|| owner).id())
    }

    /// Runs nothing but what is of these, from now on. It is said once, before anything is looked for.
    pub(super) fn run_only(&self, whose: Whose) {
        // The one who said it first has started what runs.
        let _ = self.whose.set(whose);
    }

    fn whose(&self) -> Whose {
        self.whose.get().cloned().unwrap_or_default()
    }

    fn active(&self) -> MutexGuard<'_, HashMap<ExecutionId, CancellationToken>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this process takes steps of no execution.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.active().is_empty()
    }

    /// Whether so many executions run that no more may be started.
    pub(super) fn is_full(&self) -> bool {
        self.running.load(Ordering::Relaxed) >= RUNNING_MAX
    }

    /// Writes a new execution down and runs it, at once where there is room and it may be run here. Within a
    /// runtime.
    pub(super) async fn begin(self: &Arc<Self>, new: NewExecution) -> Result<Begun, DiskFault> {
        self.look_from_now_on();
        let runner = Arc::clone(self);
        // What has been begun goes on when the caller goes away.
        let begun = tokio::spawn(async move { runner.begin_whole(new).await });
        begun.await.unwrap_or(Err(DiskFault::Broken))
    }

    async fn begin_whole(self: Arc<Self>, mut new: NewExecution) -> Result<Begun, DiskFault> {
        let runner = Arc::clone(&self);
        let write = move |connection: &mut rusqlite::Connection| {
            // A rule of another tenant may have started it, from what that one's process left in the outbox.
            let is_taken = runner.active().len() < ACTIVE_MAX
                && !runner.stop.is_cancelled()
                && runner.whose().includes(&new.name);
            if is_taken {
                new.owner = Some(runner.owner()?.to_owned());
            }
            let begun = store::begin(connection, &new)?;
            let taken = match begun {
                Begun::First(id) if is_taken => Some((runner.enlist(id), new.claimed(id))),
                _ => None,
            };
            Ok((begun, taken))
        };
        let (begun, taken) = self.disk.write(write).await?;
        if let Begun::First(_) = begun {
            self.running.fetch_add(1, Ordering::Relaxed);
            match taken {
                Some((token, claimed)) => self.spawn(claimed, token),
                None => self.wake.notify_one(),
            }
        }
        Ok(begun)
    }

    /// Notes that this process takes steps of the execution.
    fn enlist(&self, id: ExecutionId) -> CancellationToken {
        let token = self.cut.child_token();
        self.active().insert(id, token.clone());
        token
    }

    fn spawn(self: &Arc<Self>, claimed: Claimed, token: CancellationToken) {
        let Some(owner) = self.owner.get().map(|owner| owner.id().to_owned()) else {
            return;
        };
        let id = claimed.id;
        let runner = Arc::clone(self);
        tokio::spawn(async move {
            let enlisted = Enlisted { runner, id };
            execution::run(&enlisted.runner, claimed, owner, token).await;
        });
    }

    /// The execution was stopped: if it is ours, no more of its steps are taken.
    pub(super) fn cancel(&self, id: ExecutionId) {
        if let Some(token) = self.active().get(&id) {
            token.cancel();
        }
    }

    /// Cancelled when no more steps are to be begun.
    pub(super) fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// Begins to look for executions that nobody runs, unless that is under way. Within a runtime.
    pub(super) fn look_from_now_on(self: &Arc<Self>) {
        self.shall_look.store(true, Ordering::Relaxed);
        if self.looks.swap(true, Ordering::Relaxed) {
            return;
        }
        let looking = Looking(Arc::downgrade(self));
        let stop = self.stop.clone();
        tokio::spawn(async move {
            let look = look_forever(&looking.0);
            stop.run_until_cancelled(look).await;
        });
    }

    /// Goes on looking where the runtime that did so has gone and another one is there. Within a runtime.
    pub(super) fn keep_looking(self: &Arc<Self>) {
        if self.shall_look.load(Ordering::Relaxed) && !self.stop.is_cancelled() {
            self.look_from_now_on();
        }
    }

    /// Looks once; how long to rest until the next time.
    async fn look(self: &Arc<Self>) -> Duration {
        if !self.disk.exists() {
            return LOOK_PERIOD;
        }
        match self.look_at_disk().await {
            Ok(rest) => rest.clamp(REST_MIN, LOOK_PERIOD),
            Err(DiskFault::Busy) => LOOK_PERIOD,
            Err(fault) => {
                tracing::warn!(%fault, "workflows that wait cannot be looked for");
                LOOK_PERIOD
            }
        }
    }

    async fn look_at_disk(self: &Arc<Self>) -> Result<Duration, DiskFault> {
        let own = self.owner.get().map(|owner| owner.id().to_owned());
        let ids: Vec<ExecutionId> = self.active().keys().copied().collect();
        let whose = self.whose();
        let found = self
            .disk
            .read(move |connection| {
                let owned = match &own {
                    Some(own) => store::owned(connection, own)?,
                    None => Vec::new(),
                };
                let (lost, strays) = (without(&ids, &owned), without(&owned, &ids));
                Ok(Found {
                    owners: store::owners(connection)?,
                    next: store::next_due(connection, &whose)?,
                    lost,
                    strays,
                    running: store::running(connection, RUNNING_MAX)?,
                })
            })
            .await?;
        let Some(found) = found else {
            return Ok(LOOK_PERIOD);
        };
        self.running.store(found.running, Ordering::Relaxed);
        found.lost.into_iter().for_each(|id| self.cancel(id));
        let mut next = found.next;
        if self.disown_left(found.owners, found.strays).await? {
            next = Some(self.clock.now());
        }
        let Some(due) = next else {
            return Ok(LOOK_PERIOD);
        };
        let left = due.since(self.clock.now());
        if left.is_zero() {
            return self.claim().await;
        }
        Ok(left)
    }

    /// Lets go of the executions of those that are gone, and of our own that nobody works on.
    async fn disown_left(
        self: &Arc<Self>,
        owners: Vec<String>,
        strays: Vec<ExecutionId>,
    ) -> Result<bool, DiskFault> {
        let own = self.owner.get().map(Owner::id);
        let is_gone = |owner: &String| {
            Some(owner.as_str()) != own && owner::is_gone(&self.owners, owner).unwrap_or(false)
        };
        let gone: Vec<String> = owners.into_iter().filter(is_gone).collect();
        if gone.is_empty() && strays.is_empty() {
            return Ok(false);
        }
        let (runner, now) = (Arc::clone(self), self.clock.now());
        let disown = move |connection: &mut rusqlite::Connection| {
            for owner in &gone {
                store::disown(connection, owner, None, now)?;
            }
            let Some(own) = runner.owner.get().map(Owner::id) else {
                return Ok(());
            };
            for stray in strays {
                // What has been begun since is enlisted under this same lock.
                if !runner.active().contains_key(&stray) {
                    store::disown(connection, own, Some(stray), now)?;
                }
            }
            Ok(())
        };
        self.disk.write(disown).await?;
        Ok(true)
    }

    /// Takes executions that nobody owns, as far as there is room; how long to rest until the next time.
    async fn claim(self: &Arc<Self>) -> Result<Duration, DiskFault> {
        if self.active().len() >= ACTIVE_MAX {
            return Ok(LOOK_PERIOD);
        }
        let runner = Arc::clone(self);
        let claim = move |connection: &mut rusqlite::Connection| {
            if runner.stop.is_cancelled() {
                return Ok(Vec::new());
            }
            let room = ACTIVE_MAX.saturating_sub(runner.active().len());
            let owner = runner.owner()?.to_owned();
            let now = runner.clock.now();
            let (whose, most) = (runner.whose(), room.min(CLAIM_MAX));
            let claimed = store::claim(connection, &owner, &whose, now, most)?;
            let enlist = |claimed: Claimed| (runner.enlist(claimed.id), claimed);
            Ok(claimed.into_iter().map(enlist).collect::<Vec<_>>())
        };
        // What is claimed is run, even where the one who looks is stopped meanwhile.
        let runner = Arc::clone(self);
        let taken = tokio::spawn(async move {
            let claimed = runner.disk.write(claim).await?;
            let count = claimed.len();
            for (token, claimed) in claimed {
                runner.spawn(claimed, token);
            }
            Ok::<usize, DiskFault>(count)
        });
        let count = taken.await.unwrap_or(Err(DiskFault::Broken))?;
        Ok(if count == 0 {
            LOOK_PERIOD
        } else {
            Duration::ZERO
        })
    }

    /// Begins no more steps, gives those under way [`STOP_TIME_MAX`] to end, and leaves what runs to whoever
    /// comes next. Again it does nothing more.
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        if !self.is_left_within(STOP_TIME_MAX).await {
            let steps = self.active().len();
            tracing::warn!(steps, "workflows are cut in the middle of a step");
            self.cut.cancel();
            self.is_left_within(CUT_TIME_MAX).await;
        }
        let Some(owner) = self.owner.get().map(|owner| owner.id().to_owned()) else {
            return;
        };
        let now = self.clock.now();
        let disown = move |connection: &mut rusqlite::Connection| {
            Ok(store::disown(connection, &owner, None, now)?)
        };
        if let Err(fault) = self.disk.write(disown).await {
            tracing::warn!(%fault, "workflows are left to whoever finds them");
        }
    }

    /// Whether this process lets go of all executions within `time`.
    async fn is_left_within(&self, time: Duration) -> bool {
        let is_left = async {
            while !self.active().is_empty() {
                tokio::time::sleep(REST_MIN).await;
            }
        };
        tokio::time::timeout(time, is_left).await.is_ok()
    }

    /// Takes no more steps, and gives up those that are under way.
    pub(super) fn cut(&self) {
        self.stop.cancel();
        self.cut.cancel();
    }
}

/// An execution of which this process takes steps, until this is dropped.
struct Enlisted {
    runner: Arc<Runner>,
    id: ExecutionId,
}

impl Drop for Enlisted {
    fn drop(&mut self) {
        let was_full = {
            let mut active = self.runner.active();
            let was_full = active.len() >= ACTIVE_MAX;
            active.remove(&self.id);
            was_full
        };
        if was_full {
            self.runner.wake.notify_one();
        }
    }
}

/// Those of `ids` that are not among `others`.
fn without(ids: &[ExecutionId], others: &[ExecutionId]) -> Vec<ExecutionId> {
    let others: HashSet<&ExecutionId> = others.iter().collect();
    let is_alone = |id: &&ExecutionId| !others.contains(id);
    ids.iter().filter(is_alone).copied().collect()
}

/// Somebody looks, until this is dropped.
struct Looking(Weak<Runner>);

impl Drop for Looking {
    fn drop(&mut self) {
        if let Some(runner) = self.0.upgrade() {
            runner.looks.store(false, Ordering::Relaxed);
        }
    }
}

async fn look_forever(runner: &Weak<Runner>) {
    while let Some(strong) = runner.upgrade() {
        let rest = strong.look().await;
        let _ = tokio::time::timeout(rest, strong.wake.notified()).await;
    }
}

impl NewExecution {
    /// The execution as if it had been taken from the disk.
    fn claimed(&self, id: ExecutionId) -> Claimed {
        Claimed {
            id,
            machine: self.machine.clone(),
            name: self.name.clone(),
            definition: self.definition,
            definition_text: self.definition_text.clone(),
            input: self.input.clone(),
            seed: self.seed,
            started_at: self.started_at,
            deadline: self.deadline,
            events: self.events.last().map_or(0, |event| event.id),
            frames: [(super::frame::ROOT.to_owned(), self.frame.clone())].into(),
        }
    }
}
