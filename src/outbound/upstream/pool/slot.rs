//! What the pool knows of one key: the connection that is open or was, and how the attempts went.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::breaker::Breaker;
use super::connection::Connection;
use super::settings::PoolSettings;
use crate::mesh::upstream::{ConnectionKey, ConnectionState, Phase};
use crate::mesh::{Error, Timestamp};

/// What came of an attempt to connect.
pub(super) type Outcome = Result<Arc<Connection>, Arc<Error>>;

/// One attempt to connect, and the connection that came of it until nothing of it is left.
pub(super) struct Life {
    /// Tells it from every other.
    pub(super) serial: u64,
    /// The plan's.
    pub(super) revision: String,
    /// Cancelled, it ends.
    pub(super) stop: CancellationToken,
    /// Cancelled when its link is gone and its place is free.
    pub(super) ended: CancellationToken,
    /// What came of it.
    pub(super) outcome: watch::Sender<Option<Outcome>>,
}

/// Where a slot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Connecting,
    Open,
    Broken,
}

/// One key's state.
pub(super) struct Slot {
    /// The kind of server that it leads to.
    pub(super) kind: &'static str,
    /// The newest attempt.
    pub(super) life: Arc<Life>,
    /// Where it stands.
    pub(super) stage: Stage,
    /// The connection that is open, or that broke and still tells its tools.
    pub(super) connection: Option<Arc<Connection>>,
    /// How the attempts went.
    pub(super) breaker: Breaker,
    /// How often it was opened again after it broke.
    pub(super) restarts: u32,
    /// Whether it was open and broke.
    pub(super) has_broken: bool,
    /// When it broke.
    pub(super) broke_at: Instant,
    /// When it was opened, or is being opened since.
    pub(super) since: Timestamp,
    /// When it was last asked for.
    pub(super) used_at: Timestamp,
    /// What went wrong last.
    pub(super) fault: Option<String>,
}

impl Slot {
    /// A slot whose first attempt begins.
    pub(super) fn new(kind: &'static str, life: Arc<Life>, now: Timestamp) -> Self {
        Self {
            kind,
            life,
            stage: Stage::Connecting,
            connection: None,
            breaker: Breaker::default(),
            restarts: 0,
            has_broken: false,
            broke_at: Instant::now(),
            since: now,
            used_at: now,
            fault: None,
        }
    }

    /// The connection, if calls can be made on it.
    pub(super) fn usable(&self) -> Option<&Arc<Connection>> {
        let open = self
            .connection
            .as_ref()
            .filter(|_| self.stage == Stage::Open);
        open.filter(|connection| !connection.core().closed().is_cancelled())
    }

    /// As it is told to an operator.
    pub(super) fn state(&self, key: &ConnectionKey, settings: &PoolSettings) -> ConnectionState {
        let live = self.usable();
        let phase = match self.stage {
            Stage::Connecting => Phase::Connecting,
            Stage::Open if live.is_some() => Phase::Connected,
            _ if self.connection.is_none() && self.breaker.is_open(settings) => Phase::Down,
            _ => Phase::Degraded,
        };
        let calls = live.map_or(0, |connection| connection.core().calls());
        ConnectionState {
            key: key.clone(),
            kind: self.kind,
            phase,
            process: live.and_then(|connection| connection.process()),
            since: self.since,
            used_at: live.map_or(self.used_at, |connection| connection.used_at()),
            restarts: self.restarts,
            in_flight: u32::try_from(calls).unwrap_or(u32::MAX),
            fault: self.fault.clone(),
        }
    }
}

/// The slots, by key.
#[derive(Default)]
pub(super) struct Slots {
    /// Each key's.
    pub(super) by_key: HashMap<ConnectionKey, Slot>,
    /// The next attempt's number.
    pub(super) next_serial: u64,
    /// Nothing is opened any more.
    pub(super) is_closing: bool,
}

impl Slots {
    /// The slot of `key`, if `life` is still its newest attempt.
    pub(super) fn of_life(&mut self, key: &ConnectionKey, life: &Life) -> Option<&mut Slot> {
        let slot = self.by_key.get_mut(key)?;
        (slot.life.serial == life.serial).then_some(slot)
    }

    /// Forgets the slot of `key`, if `life` is still its newest attempt.
    pub(super) fn remove_of_life(&mut self, key: &ConnectionKey, life: &Life) -> Option<Slot> {
        self.of_life(key, life)?;
        self.by_key.remove(key)
    }

    /// Makes room for one more: forgets the key that broke longest ago where there are `max` already. Whether
    /// there is room.
    pub(super) fn make_room(&mut self, max: usize) -> bool {
        if self.by_key.len() < max {
            return true;
        }
        let broken = self.by_key.iter();
        let oldest = broken
            .filter(|(_, slot)| slot.stage == Stage::Broken)
            .min_by_key(|(_, slot)| slot.broke_at)
            .map(|(key, _)| key.clone());
        let forgotten = oldest.and_then(|key| self.by_key.remove(&key));
        forgotten.map(|slot| slot.life.stop.cancel()).is_some()
    }

    /// Ends the connection that was not used for the longest time and on which no call is in flight.
    pub(super) fn evict(&mut self, is_fitting: impl Fn(&Connection) -> bool) -> Option<Arc<Life>> {
        let idle = self.by_key.iter().filter_map(|(key, slot)| {
            let connection = slot.usable()?;
            let is_idle = connection.core().calls() == 0 && is_fitting(connection);
            is_idle.then(|| (connection.used(), key.clone()))
        });
        let (_, key) = idle.min_by_key(|(used, _)| *used)?;
        // Between these lines a call may have begun; then another place is looked for.
        let is_ended = self.by_key.get(&key)?.usable()?.core().end_if_idle();
        let slot = is_ended.then(|| self.by_key.remove(&key)).flatten()?;
        slot.life.stop.cancel();
        Some(slot.life)
    }
}
