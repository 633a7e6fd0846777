//! What the pool knows of one key: the connection that is open or was, and how the attempts went.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::breaker::Breaker;
use super::connection::Connection;
use super::settings::PoolSettings;
use crate::mesh::tenant::TenantId;
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
    /// Cancelled, it ends as soon as no call is in flight on it.
    pub(super) retired: CancellationToken,
    /// Cancelled when its link is gone and its place is free.
    pub(super) ended: CancellationToken,
    /// What came of it.
    pub(super) outcome: watch::Sender<Option<Outcome>>,
}

impl Life {
    /// Waits until nobody is to come to it any more.
    pub(super) async fn over(&self) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.retired.cancelled() => {}
        }
    }

    /// Whether nobody is to come to it any more.
    pub(super) fn is_over(&self) -> bool {
        self.stop.is_cancelled() || self.retired.is_cancelled()
    }

    /// Whether no call is in flight on it.
    pub(super) fn is_idle(&self) -> bool {
        let open = self.connection();
        open.is_none_or(|connection| connection.core().calls() == 0)
    }

    /// A number from 0 to 1 that is another for each.
    pub(super) fn share(&self) -> f64 {
        let scattered = self.serial.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        f64::from(scattered.to_be_bytes()[0]) / 255.0
    }

    /// The connection that came of it.
    fn connection(&self) -> Option<Arc<Connection>> {
        let outcome = self.outcome.borrow();
        outcome.as_ref()?.as_ref().ok().cloned()
    }
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

    /// It was open and is found closed. What nobody had an answer from, and what did not last, is no better than
    /// what could not be opened: it is not opened again at once.
    pub(super) fn break_off(&mut self, settings: &PoolSettings) {
        if self.stage != Stage::Open {
            return;
        }
        self.stage = Stage::Broken;
        self.has_broken = true;
        self.broke_at = Instant::now();
        let open = self.connection.as_ref();
        match open.is_some_and(|open| open.has_settled(settings.settled_after)) {
            true => self.breaker.succeed(),
            false => self.breaker.fail(settings, None, self.life.share()),
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
            revision: self.life.revision.clone(),
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
    /// By their numbers, those that are tried out and those that another has taken the place of.
    pub(super) beside: HashMap<u64, (ConnectionKey, Arc<Life>)>,
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

    /// Leaves `life` of `key` to end in peace.
    pub(super) fn set_aside(&mut self, key: &ConnectionKey, life: Arc<Life>) {
        life.retired.cancel();
        if !life.ended.is_cancelled() {
            self.beside.insert(life.serial, (key.clone(), life));
        }
    }

    /// Gives the place under `key` to what was tried out as `revision`; whether there was such.
    pub(super) fn take_over(
        &mut self,
        key: &ConnectionKey,
        revision: &str,
        now: Timestamp,
    ) -> bool {
        let found = self.beside.values().find_map(|(of, life)| {
            let is_it = of == key && life.revision == revision && !life.is_over();
            is_it.then_some(life).zip(life.connection())
        });
        let Some((life, connection)) = found.map(|(life, open)| (Arc::clone(life), open)) else {
            return false;
        };
        self.beside.remove(&life.serial);
        let kind = connection.kind();
        let slot = Slot {
            stage: Stage::Open,
            connection: Some(connection),
            ..Slot::new(kind, life, now)
        };
        if let Some(replaced) = self.by_key.insert(key.clone(), slot) {
            self.set_aside(key, replaced.life);
        }
        true
    }

    /// Retires what there is of `key` as `revision`.
    pub(super) fn retire(&mut self, key: &ConnectionKey, revision: &str) -> Vec<Arc<Life>> {
        // Nobody has been given what is only being tried out.
        for (_, life) in self.beside.values().filter(|(of, _)| of == key) {
            if life.revision == revision && !life.is_over() {
                life.stop.cancel();
            }
        }
        let own = self.by_key.get(key);
        if own.is_some_and(|slot| slot.life.revision == revision)
            && let Some(slot) = self.by_key.remove(key)
        {
            self.set_aside(key, slot.life);
        }
        let beside = self.beside.values();
        let of_it = beside.filter(|(of, life)| of == key && life.revision == revision);
        of_it.map(|(_, life)| Arc::clone(life)).collect()
    }

    /// Forgets all that there is of the keys that are meant.
    pub(super) fn remove(&mut self, is_one: impl Fn(&ConnectionKey) -> bool) -> Vec<Arc<Life>> {
        let own = self.by_key.extract_if(|key, _| is_one(key));
        let own = own.map(|(_, slot)| slot.life);
        let beside = self.beside.extract_if(|_, (key, _)| is_one(key));
        own.chain(beside.map(|(_, (_, life))| life)).collect()
    }

    /// Makes room for one more: forgets, of the tenant that has the most, the key that broke longest ago where
    /// there are `max` already. Whether there is room.
    pub(super) fn make_room(&mut self, max: usize) -> bool {
        if self.by_key.len() + self.beside.len() < max {
            return true;
        }
        let mut of_tenants: HashMap<&TenantId, usize> = HashMap::new();
        for key in self.by_key.keys() {
            *of_tenants.entry(&key.tenant).or_default() += 1;
        }
        let broken = self.by_key.iter();
        let oldest = broken
            .filter(|(_, slot)| slot.stage == Stage::Broken)
            .min_by_key(|(key, slot)| (Reverse(of_tenants[&key.tenant]), slot.broke_at))
            .map(|(key, _)| key.clone());
        let forgotten = oldest.and_then(|key| self.by_key.remove(&key));
        forgotten.map(|slot| slot.life.stop.cancel()).is_some()
    }

    /// Ends a connection on which no call is in flight: of those of the highest rank the one that was not used
    /// for the longest time. What has no rank stays.
    pub(super) fn evict<R: Ord>(
        &mut self,
        rank: impl Fn(&ConnectionKey, &Connection) -> Option<R>,
    ) -> Option<Arc<Life>> {
        let idle = self.by_key.iter().filter_map(|(key, slot)| {
            let connection = slot.usable()?;
            let rank = rank(key, connection)?;
            let is_idle = connection.core().calls() == 0;
            is_idle.then(|| ((Reverse(rank), connection.used()), key))
        });
        let (_, key) = idle.min_by(|(one, _), (other, _)| one.cmp(other))?;
        let key = key.clone();
        // Between these lines a call may have begun; then another place is looked for.
        let is_ended = self.by_key.get(&key)?.usable()?.core().end_if_idle();
        let slot = is_ended.then(|| self.by_key.remove(&key)).flatten()?;
        slot.life.stop.cancel();
        Some(slot.life)
    }
}
