//! What a running execution has yet to write: collected by its branches, written by one committer, so that a
//! branch that is dropped half-way takes nothing with it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::disk::{Disk, DiskFault};
use super::event::{EVENTS_MAX, Said};
use super::frame::{Frame, below};
use super::store::{self, Changes, End, ExecutionId};
use crate::mesh::{Clock, Timestamp};

/// After so many events a branch waits until they are written, and lets others have their turn.
const EVENTS_WAITING_MAX: usize = 64;

/// The first pause before a commit that failed is tried again; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// The longest pause before a commit that failed is tried again.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The execution has as many events as one may have.
#[derive(Debug)]
pub(super) struct TooManyEvents;

/// The execution was stopped, or another process has taken it over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost;

/// The journal of one execution.
pub(super) struct Journal {
    disk: Arc<Disk>,
    clock: Arc<dyn Clock>,
    id: ExecutionId,
    owner: String,
    collected: Mutex<Collected>,
    wanted: Notify,
    written: watch::Sender<u64>,
}

/// What is collected for the next commit.
#[derive(Debug)]
struct Collected {
    changes: Changes,
    /// The number of the commit that it will go with.
    turn: u64,
}

impl Journal {
    /// A journal that goes on after the event `events`.
    pub(super) fn new(
        disk: Arc<Disk>,
        clock: Arc<dyn Clock>,
        id: ExecutionId,
        owner: String,
        events: i64,
    ) -> Self {
        let changes = Changes {
            events_count: events,
            ..Changes::default()
        };
        Self {
            disk,
            clock,
            id,
            owner,
            collected: Mutex::new(Collected { changes, turn: 1 }),
            wanted: Notify::new(),
            written: watch::Sender::new(0),
        }
    }

    fn collected(&self) -> MutexGuard<'_, Collected> {
        self.collected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event after `previous`; it tells its number.
    ///
    /// # Errors
    /// [`TooManyEvents`] where there is room for the execution's last event alone.
    pub(super) fn say(&self, said: Said, previous: i64) -> Result<i64, TooManyEvents> {
        self.say_up_to(said, previous, EVENTS_MAX - 1)
    }

    fn say_up_to(&self, said: Said, previous: i64, most: i64) -> Result<i64, TooManyEvents> {
        let mut collected = self.collected();
        let changes = &mut collected.changes;
        let id = changes.events_count + 1;
        if id > most {
            return Err(TooManyEvents);
        }
        changes.events_count = id;
        changes
            .events
            .push(said.event(id, self.clock.now(), previous));
        Ok(id)
    }

    /// Notes where a branch stands.
    pub(super) fn put(&self, path: &str, frame: &Frame) {
        self.collected()
            .changes
            .frames
            .insert(path.to_owned(), frame.clone());
    }

    /// Notes that a branch has no children any more.
    pub(super) fn empty(&self, path: &str) {
        let (from, to) = below(path);
        let mut collected = self.collected();
        let changes = &mut collected.changes;
        changes.frames.retain(|path, _| *path < from || *path >= to);
        changes.emptied.insert(path.to_owned());
    }

    /// Waits until where the branches stand is written, if that has changed; what else is collected follows
    /// by itself.
    pub(super) async fn settle(&self) {
        let is_settled = {
            let collected = self.collected();
            collected.changes.frames.is_empty() && collected.changes.emptied.is_empty()
        };
        // What is being written at this moment has left the collection and may not be on the disk yet.
        let written = *self.written.borrow();
        if is_settled && written + 1 >= self.collected().turn {
            self.wanted.notify_one();
        } else {
            self.flush().await;
        }
    }

    /// Waits until much is written, if much is collected.
    pub(super) async fn relieve(&self) {
        if self.collected().changes.events.len() >= EVENTS_WAITING_MAX {
            self.flush().await;
        }
    }

    /// Waits until all that is collected now is written.
    pub(super) async fn flush(&self) {
        let turn = self.collected().turn;
        let mut written = self.written.subscribe();
        self.wanted.notify_one();
        // The sender is ours, so it does not go.
        let _ = written.wait_for(|written| *written >= turn).await;
    }

    /// Lets go of the execution until `due`.
    pub(super) async fn release(&self, due: Timestamp) {
        self.collected().changes.release = Some(due);
        self.flush().await;
    }

    /// Ends the execution.
    pub(super) async fn end(&self, said: Said, end: End) {
        let previous = self.collected().changes.events_count;
        // One number is kept for this event.
        let _ = self.say_up_to(said, previous, EVENTS_MAX);
        self.collected().changes.end = Some((end, self.clock.now()));
        self.flush().await;
    }

    /// Writes what is collected whenever somebody asks for it; it ends only when the execution is lost.
    pub(super) async fn commit(&self) -> Lost {
        loop {
            self.wanted.notified().await;
            let (changes, turn) = {
                let mut collected = self.collected();
                let turn = collected.turn;
                collected.turn += 1;
                let next = Changes {
                    events_count: collected.changes.events_count,
                    ..Changes::default()
                };
                (std::mem::replace(&mut collected.changes, next), turn)
            };
            if !changes.is_empty() && !self.write(Arc::new(changes)).await {
                return Lost;
            }
            self.written.send_replace(turn);
        }
    }

    /// Writes `changes`, however long that takes; `false` where the execution is no longer ours.
    async fn write(&self, changes: Arc<Changes>) -> bool {
        let mut pause = PAUSE_MIN;
        loop {
            let (id, owner, changes) = (self.id, self.owner.clone(), Arc::clone(&changes));
            let written = self
                .disk
                .write(move |connection| Ok(store::commit(connection, id, &owner, &changes)?))
                .await;
            match written {
                Ok(is_ours) => return is_ours,
                Err(DiskFault::Busy) => {}
                Err(fault) => tracing::warn!(
                    %fault,
                    "a workflow cannot go on until its state can be written"
                ),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Journal")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
