//! Which runs this process watches and when it looks at each: soon at first, then less and less often.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use ulid::Ulid;

use super::row::{Kept, Mark};
use crate::mesh::Clock;
use crate::mesh::tenant::TenantId;

/// The most runs that one process watches. Further ones are found by their marks later.
const FOLLOWED_MAX: usize = 100_000;

/// The most tenants of whom is remembered when their marks were last read.
const TENANTS_MAX: usize = 65_536;

/// The most looks at once.
pub(super) const LOOKS_MAX: usize = 32;

/// The most looks at one tenant's runs at once.
const LOOKS_PER_TENANT_MAX: usize = 8;

/// How long after a tenant's marks were read they are read again, when it is active then.
const SWEEP_SHORTEST: Duration = Duration::from_secs(30);

/// The same of a tenant of whom nothing was found several times.
const SWEEP_LONGEST: Duration = Duration::from_secs(240);

/// How often a run is looked at, as the backend bears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchPace {
    /// How long after its start a run is first looked at.
    pub first: Duration,
    /// The longest time between two looks; each is half as long again as the one before.
    pub longest: Duration,
    /// For how long a process that watches a run says so. It says so again in time, and when it has not,
    /// another one takes over.
    pub lease: Duration,
}

impl WatchPace {
    /// For the embedded cloud, where a look costs microseconds.
    pub const EMBEDDED: Self = Self {
        first: Duration::from_millis(5),
        longest: Duration::from_millis(250),
        lease: Duration::from_secs(6),
    };

    /// For Step Functions on AWS, which allows a few requests a second for the whole account.
    pub const AWS: Self = Self {
        first: Duration::from_secs(1),
        longest: Duration::from_secs(30),
        lease: Duration::from_secs(120),
    };

    /// How long to wait after having waited `last`.
    pub(in crate::mesh) fn after(self, last: Duration) -> Duration {
        (last + last / 2).clamp(self.first, self.longest)
    }
}

/// What is to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Task {
    /// The marks of a tenant.
    Sweep(TenantId),
    /// A run.
    Look(TenantId, Ulid),
}

impl Task {
    pub(super) fn tenant(&self) -> &TenantId {
        match self {
            Self::Sweep(tenant) | Self::Look(tenant, _) => tenant,
        }
    }
}

/// What the last look at a run has found, so that the next one need not read it again.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) kept: Kept,
    pub(super) mark: Mark,
}

/// A run that is watched.
struct Followed {
    /// How long was last waited.
    wait: Duration,
    known: Option<Arc<Known>>,
}

/// The runs that are watched.
pub(super) struct Watch {
    pace: WatchPace,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    followed: HashMap<(TenantId, Ulid), Followed>,
    /// What is to be looked at, and when.
    due: BinaryHeap<Reverse<(Duration, Task)>>,
    /// What is due, by tenant, and in which order the tenants take turns.
    ready: HashMap<TenantId, VecDeque<Task>>,
    turns: VecDeque<TenantId>,
    /// How many looks are under way, by tenant.
    under_way: HashMap<TenantId, usize>,
    /// When tenants may be swept again, and how long that is after the last time.
    swept: HashMap<TenantId, (Duration, Duration)>,
    /// Sweeps that have been asked for and not come back.
    sweeping: HashSet<TenantId>,
}

impl Watch {
    pub(super) fn new(pace: WatchPace, clock: Arc<dyn Clock>) -> Self {
        Self {
            pace,
            clock,
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Watches a run from now on. One that is watched already is looked at soon.
    pub(super) fn follow(&self, tenant: &TenantId, run_id: Ulid, after: Duration) {
        let mut state = self.state();
        let key = (tenant.clone(), run_id);
        if !state.followed.contains_key(&key) {
            if state.followed.len() >= FOLLOWED_MAX {
                return;
            }
            let known = None;
            state.followed.insert(key, Followed { wait: after, known });
            let task = Task::Look(tenant.clone(), run_id);
            state
                .due
                .push(Reverse((self.clock.monotonic() + after, task)));
            drop(state);
            self.changed.notify_one();
        }
    }

    pub(super) fn is_followed(&self, tenant: &TenantId, run_id: Ulid) -> bool {
        self.state()
            .followed
            .contains_key(&(tenant.clone(), run_id))
    }

    /// A tenant does something: its marks are read, unless they were lately.
    pub(super) fn note_active(&self, tenant: &TenantId) {
        let now = self.clock.monotonic();
        let mut state = self.state();
        if state.swept.get(tenant).is_some_and(|(next, _)| now < *next) {
            return;
        }
        if !state.sweeping.insert(tenant.clone()) {
            return;
        }
        if state.swept.len() >= TENANTS_MAX {
            state.swept.retain(|_, (next, _)| now < *next);
        }
        if state.swept.len() >= TENANTS_MAX {
            state.swept.clear();
        }
        state.due.push(Reverse((now, Task::Sweep(tenant.clone()))));
        drop(state);
        self.changed.notify_one();
    }

    /// A tenant was swept; `found` says whether there were marks.
    pub(super) fn swept(&self, tenant: &TenantId, found: bool) {
        let mut state = self.state();
        state.sweeping.remove(tenant);
        let last = state.swept.get(tenant).map(|(_, interval)| *interval);
        let interval = match (found, last) {
            (true, _) | (false, None) => SWEEP_SHORTEST,
            (false, Some(last)) => (last * 2).min(SWEEP_LONGEST),
        };
        let next = self.clock.monotonic() + interval;
        state.swept.insert(tenant.clone(), (next, interval));
    }

    /// What is known of a run that is watched.
    pub(super) fn known(&self, tenant: &TenantId, run_id: Ulid) -> Option<Arc<Known>> {
        let state = self.state();
        let followed = state.followed.get(&(tenant.clone(), run_id))?;
        followed.known.clone()
    }

    /// A run is to be looked at again: after `wait`, or at the pace of the backend.
    pub(super) fn again(
        &self,
        tenant: &TenantId,
        run_id: Ulid,
        wait: Option<Duration>,
        known: Option<Arc<Known>>,
    ) {
        let mut state = self.state();
        let pace = self.pace;
        let Some(followed) = state.followed.get_mut(&(tenant.clone(), run_id)) else {
            return;
        };
        let wait = wait.unwrap_or_else(|| pace.after(followed.wait));
        *followed = Followed { wait, known };
        let task = Task::Look(tenant.clone(), run_id);
        state
            .due
            .push(Reverse((self.clock.monotonic() + wait, task)));
    }

    /// A run need not be watched any more.
    pub(super) fn leave(&self, tenant: &TenantId, run_id: Ulid) {
        self.state().followed.remove(&(tenant.clone(), run_id));
    }

    /// A look has come back.
    pub(super) fn returned(&self, tenant: &TenantId) {
        let mut state = self.state();
        if let Some(count) = state.under_way.get_mut(tenant) {
            *count -= 1;
            if *count == 0 {
                state.under_way.remove(tenant);
            }
        }
    }

    /// The next task whose time has come, tenant by tenant in turns; else how long there is none.
    pub(super) fn next(&self) -> Result<Task, Option<Duration>> {
        let now = self.clock.monotonic();
        let mut state = self.state();
        while let Some(Reverse((at, _))) = state.due.peek()
            && *at <= now
            && let Some(Reverse((_, task))) = state.due.pop()
        {
            state.make_ready(task);
        }
        state.take_ready().ok_or_else(|| {
            state
                .due
                .peek()
                .map(|Reverse((at, _))| at.saturating_sub(now))
        })
    }

    /// Ends when something new is to be watched.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn make_ready(&mut self, task: Task) {
        let tenant = task.tenant().clone();
        let queue = self.ready.entry(tenant.clone()).or_default();
        if queue.is_empty() {
            self.turns.push_back(tenant);
        }
        queue.push_back(task);
    }

    /// A task of the tenant whose turn it is and of whom not too many are under way.
    fn take_ready(&mut self) -> Option<Task> {
        for _ in 0..self.turns.len() {
            let tenant = self.turns.pop_front()?;
            let under_way = self.under_way.get(&tenant).copied().unwrap_or(0);
            if under_way >= LOOKS_PER_TENANT_MAX {
                self.turns.push_back(tenant);
                continue;
            }
            let queue = self.ready.get_mut(&tenant)?;
            let task = queue.pop_front();
            if queue.is_empty() {
                self.ready.remove(&tenant);
            } else {
                self.turns.push_back(tenant.clone());
            }
            *self.under_way.entry(tenant).or_default() += 1;
            return task;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::workflow::fakes;

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    #[test]
    fn looks_come_at_a_growing_pace_and_end_when_the_run_is_left() {
        let clock = fakes::clock();
        let watch = Watch::new(WatchPace::AWS, clock.clone());
        let (acme, run_id) = (tenant("acme"), Ulid(1));
        watch.follow(&acme, run_id, WatchPace::AWS.first);
        watch.follow(&acme, run_id, WatchPace::AWS.first);
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let Err(Some(pause)) = watch.next() else {
                panic!("it is too early");
            };
            pauses.push(pause);
            clock.advance(pause);
            assert_eq!(watch.next(), Ok(Task::Look(acme.clone(), run_id)));
            watch.returned(&acme);
            watch.again(&acme, run_id, None, None);
        }
        assert_eq!(pauses[..2], [1_000, 1_500].map(Duration::from_millis));
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(pauses[11], WatchPace::AWS.longest);
        watch.leave(&acme, run_id);
        watch.again(&acme, run_id, None, None);
        assert!(!watch.is_followed(&acme, run_id));
    }

    #[test]
    fn tenants_take_turns_and_none_has_all_places() {
        let clock = fakes::clock();
        let watch = Watch::new(WatchPace::EMBEDDED, clock.clone());
        let (busy, quiet) = (tenant("busy"), tenant("quiet"));
        for run in 0..100 {
            watch.follow(&busy, Ulid(run), Duration::ZERO);
        }
        watch.follow(&quiet, Ulid(1000), Duration::from_millis(1));
        clock.advance(Duration::from_millis(2));
        let mut taken = Vec::new();
        while let Ok(task) = watch.next() {
            taken.push(task.tenant().clone());
        }
        assert_eq!(taken.len(), LOOKS_PER_TENANT_MAX + 1);
        assert!(taken[..2].contains(&quiet), "{taken:?}");
        watch.returned(&busy);
        assert!(watch.next().is_ok());
        assert!(watch.next().is_err());
    }

    #[test]
    fn an_active_tenant_is_swept_seldom_and_more_seldom_when_nothing_is_found() {
        let clock = fakes::clock();
        let watch = Watch::new(WatchPace::AWS, clock.clone());
        let acme = tenant("acme");
        let mut sweeps = Vec::new();
        for second in 0..1000 {
            watch.note_active(&acme);
            watch.note_active(&acme);
            while let Ok(task) = watch.next() {
                assert_eq!(task, Task::Sweep(acme.clone()));
                watch.returned(&acme);
                sweeps.push(second);
                watch.swept(&acme, false);
            }
            clock.advance(Duration::from_secs(1));
        }
        assert_eq!(sweeps, [0, 30, 90, 210, 450, 690, 930]);
        watch.swept(&acme, true);
        clock.advance(Duration::from_secs(30));
        watch.note_active(&acme);
        assert!(watch.next().is_ok());
    }
}
