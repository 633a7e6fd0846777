//! One writer's log: segments of frames that are appended to, read back and deleted once acknowledged.

mod appender;
pub(in crate::mesh::event) mod compaction;
mod notes;

use std::fs::{self, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use ulid::Ulid;

pub(super) use self::appender::Segment;
use self::appender::{Appender, OpenIntent};
use super::acks::Acks;
use super::disk::{Disk, is_full};
use super::folder::Folder;
use super::frame::{Body, Kind};
use super::share::Way;
use crate::mesh::tenant::TenantId;

/// Size at which a segment is closed and the next one begun.
pub(super) const SEGMENT_BYTES_MAX: u64 = 16 << 20;

/// A place between frames; later ones are greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::mesh::event) struct Position {
    /// The segment's number.
    pub(in crate::mesh::event) segment: u64,
    /// The byte within it.
    pub(in crate::mesh::event) offset: u64,
}

/// Where frames went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// The number of the first event.
    pub(super) seq: u64,
    /// Size of the frame.
    pub(super) bytes: u64,
    /// How many events it has.
    pub(super) count: u8,
}

/// What has been found damaged, over all logs of an outbox.
#[derive(Debug, Default)]
pub(super) struct Damage {
    /// Records that were never finished.
    pub(super) torn: AtomicU64,
    /// Stretches within a segment that are no sound frame.
    pub(super) damaged: AtomicU64,
}

/// What a log takes up on the disk.
#[derive(Debug, Default)]
pub(super) struct Usage {
    /// Bytes of all segments.
    pub(super) bytes: AtomicU64,
    /// Bytes of the segments before the last one, which can be compacted.
    pub(super) closed_bytes: AtomicU64,
}

/// One writer's log.
pub(in crate::mesh::event) struct Log {
    folder: Folder,
    disk: Arc<dyn Disk>,
    segment_bytes_max: u64,
    appender: Mutex<Appender>,
    acks: Mutex<Acks>,
    appended: [Notify; Way::COUNT],
    is_full: AtomicBool,
    usage: Arc<Usage>,
    /// Told when a segment is full and the next one has begun; one stored permit for who compacts.
    rolled: Notify,
    /// Whether the folder is gone; held while files are replaced.
    is_removed: Mutex<bool>,
    damage: Arc<Damage>,
    damage_seen: Mutex<Position>,
}

/// What a recovery has found, to go on from.
pub(super) struct Recovered {
    pub(super) segments: Vec<Segment>,
    /// Where the last segment ends.
    pub(super) tail: Position,
    pub(super) next_seq: u64,
    pub(super) next_intent: u64,
    pub(super) open: Vec<(u64, Body)>,
}

impl Recovered {
    /// Of a folder in which nothing has been written yet.
    pub(super) fn empty() -> Self {
        Self {
            segments: Vec::new(),
            tail: Position::default(),
            next_seq: 1,
            next_intent: 1,
            open: Vec::new(),
        }
    }
}

impl Log {
    /// A log in `folder`, empty or as `recovered`; frames go into a new segment.
    pub(super) fn open(
        folder: Folder,
        disk: Arc<dyn Disk>,
        segment_bytes_max: u64,
        damage: Arc<Damage>,
        recovered: Recovered,
    ) -> io::Result<Self> {
        let acks = Acks::open(&folder.acks())?;
        let open = recovered.open.into_iter().map(|(id, body)| {
            let intent = OpenIntent {
                body,
                outcome: None,
                segment: 0,
                is_orphan: true,
            };
            (id, intent)
        });
        let closed = recovered
            .segments
            .split_last()
            .map_or(&[][..], |(_, closed)| closed);
        let appender = Appender {
            file: None,
            tail: recovered.tail,
            next_seq: recovered.next_seq,
            next_intent: recovered.next_intent,
            closed_bytes: closed.iter().map(|held| held.bytes).sum(),
            segments: recovered.segments.into(),
            open: open.collect(),
            lows: acks.positions(),
        };
        let usage = Arc::new(Usage::default());
        usage.measure(&appender);
        Ok(Self {
            folder,
            disk,
            segment_bytes_max,
            appender: Mutex::new(appender),
            acks: Mutex::new(acks),
            appended: Default::default(),
            is_full: AtomicBool::new(false),
            usage,
            rolled: Notify::new(),
            is_removed: Mutex::new(false),
            damage,
            damage_seen: Mutex::new(Position::default()),
        })
    }

    /// Whose records it has.
    pub(in crate::mesh::event) fn writer(&self) -> Ulid {
        self.folder.writer()
    }

    /// Where the next frame will be, and the number that its first event will have.
    pub(in crate::mesh::event) fn tail(&self) -> (Position, u64) {
        let appender = self.appender();
        (appender.tail, appender.next_seq)
    }

    /// Up to where `way` had been acknowledged when the log was opened, or since.
    pub(in crate::mesh::event) fn low(&self, way: Way) -> Position {
        self.appender().lows[way as usize]
    }

    /// Told after each append; one stored permit for the one reader of each way.
    pub(in crate::mesh::event) fn appended(&self, way: Way) -> &Notify {
        &self.appended[way as usize]
    }

    /// Told when a segment is full; one stored permit for who compacts the log.
    pub(in crate::mesh::event) fn rolled(&self) -> &Notify {
        &self.rolled
    }

    /// What it takes up on the disk, kept up to date.
    pub(super) fn usage(&self) -> &Arc<Usage> {
        &self.usage
    }

    /// Whether an append has met a full disk since the ballast was last loaded.
    pub(super) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// Writes an intent; answers its number.
    pub(super) fn intend(&self, mut body: Body) -> io::Result<u64> {
        let mut appender = self.appender();
        let intent = appender.next_intent;
        self.write(&mut appender, &mut body, Kind::Intent, intent)?;
        appender.next_intent += 1;
        let segment = appender.tail.segment;
        let open = OpenIntent {
            body,
            outcome: None,
            segment,
            is_orphan: false,
        };
        appender.open.insert(intent, open);
        Ok(intent)
    }

    /// Writes events, which resolve `intent` where it is not 0. Gives up the ballast if it must. Where
    /// even that is not enough, the events of an intent are kept for [`Log::orphans`].
    pub(super) fn commit(&self, mut body: Body, intent: u64) -> io::Result<Written> {
        let written = {
            let mut appender = self.appender();
            let result = self.write_urgently(&mut appender, &mut body, intent);
            match (&result, appender.open.get_mut(&intent)) {
                (Ok(_), _) => {
                    appender.open.remove(&intent);
                }
                (Err(_), Some(open)) => {
                    open.outcome = Some(body);
                    open.is_orphan = true;
                }
                (Err(_), None) => {}
            }
            result?
        };
        self.wake();
        Ok(written)
    }

    /// Writes what became of an intent whose call is over: the outcome where it is known, else its own
    /// event, whose outcome is unknown. Where that fails the intent is kept for [`Log::orphans`].
    pub(super) fn abandon(&self, intent: u64) -> io::Result<Option<Written>> {
        let written = {
            let mut appender = self.appender();
            let Some(mut open) = appender.open.remove(&intent) else {
                return Ok(None);
            };
            let body = open.outcome.as_mut().unwrap_or(&mut open.body);
            let result = self.write_urgently(&mut appender, body, intent);
            if result.is_err() {
                open.is_orphan = true;
                appender.open.insert(intent, open);
            }
            result?
        };
        self.wake();
        Ok(Some(written))
    }

    /// Intents whose calls are over and whose outcome is still to be written, and their tenants.
    pub(super) fn orphans(&self) -> Vec<(u64, TenantId)> {
        let appender = self.appender();
        let orphans = appender.open.iter().filter(|(_, open)| open.is_orphan);
        orphans
            .filter_map(|(&intent, open)| Some((intent, open.body.tenant()?)))
            .collect()
    }

    /// From now on every intent without an outcome is one of [`Log::orphans`].
    pub(super) fn orphan_all(&self) {
        for open in self.appender().open.values_mut() {
            open.is_orphan = true;
        }
    }

    /// Loads the ballast, also again after it was given up; until then the log counts as full.
    pub(super) fn load_ballast(&self) -> io::Result<()> {
        self.disk.load_ballast(&self.folder.ballast())?;
        self.is_full.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Gives the ballast up: nothing new is accepted, what is there may need the room.
    pub(super) fn drop_ballast(&self) {
        // A ballast that is already gone is none that could help.
        let _ = self.disk.drop_ballast(&self.folder.ballast());
    }

    /// Everything before `low` has left on `way`: deletes the segments that nobody needs any more.
    pub(in crate::mesh::event) fn acknowledge(&self, way: Way, low: Position) {
        let done = {
            let mut appender = self.appender();
            let held = &mut appender.lows[way as usize];
            *held = low.max(*held);
            let done = appender.take_done();
            self.usage.measure(&appender);
            done
        };
        for number in done {
            if let Err(error) = fs::remove_file(self.folder.segment(number)) {
                tracing::warn!(%error, number, "a finished outbox segment cannot be removed");
            }
        }
    }

    /// Keeps the acknowledged positions on the disk.
    pub(in crate::mesh::event) fn keep_acks(&self) {
        let lows = self.appender().lows;
        let mut acks = self.acks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = acks.keep(lows) {
            tracing::warn!(%error, "the outbox cannot note what it has published; a restart will repeat it");
        }
    }

    /// Whether everything has left on every way and no call is under way.
    pub(in crate::mesh::event) fn is_done(&self) -> bool {
        let appender = self.appender();
        appender.open.is_empty() && appender.low() >= appender.tail
    }

    /// Removes the log and its folder.
    pub(super) fn remove(&self) -> io::Result<()> {
        let mut is_removed = self.is_removed();
        *is_removed = true;
        self.folder.remove()
    }

    /// The first file that has the segment of `number` or a later one, and where it is.
    pub(super) fn segment_from(&self, number: u64) -> Option<(Segment, PathBuf)> {
        let appender = self.appender();
        let held = *appender.segments.get(appender.find(number))?;
        Some((held, self.folder.segment(held.number)))
    }

    /// Notes damage at `position`, once however many readers meet it.
    pub(super) fn note_damage(&self, position: Position, bytes: u64, is_torn: bool) {
        let mut seen = self
            .damage_seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if position <= *seen {
            return;
        }
        *seen = position;
        let (count, what) = if is_torn {
            (&self.damage.torn, "a record that was never finished")
        } else {
            (&self.damage.damaged, "bytes that are no sound record")
        };
        count.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            writer = %self.writer(),
            segment = position.segment,
            offset = position.offset,
            bytes,
            "the outbox has {what}; it goes on behind them",
        );
    }

    /// Gives the lock up while everything else stays as it is.
    #[cfg(test)]
    pub(super) fn unlock_for_test(&self) {
        self.folder.unlock_for_test();
    }

    /// The segments that are there.
    #[cfg(test)]
    pub(super) fn segments_for_test(&self) -> Vec<(u64, u64)> {
        self.folder.segments().unwrap()
    }

    /// Where the ballast is.
    #[cfg(test)]
    pub(super) fn ballast_for_test(&self) -> PathBuf {
        self.folder.ballast()
    }

    fn appender(&self) -> MutexGuard<'_, Appender> {
        self.appender.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_removed(&self) -> MutexGuard<'_, bool> {
        self.is_removed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        for appended in &self.appended {
            appended.notify_one();
        }
    }

    /// Writes a commit, at the price of the ballast where the disk is full.
    fn write_urgently(
        &self,
        appender: &mut Appender,
        body: &mut Body,
        intent: u64,
    ) -> io::Result<Written> {
        match self.write(appender, body, Kind::Commit, intent) {
            Err(error) if is_full(&error) => {
                self.drop_ballast();
                self.write(appender, body, Kind::Commit, intent)
            }
            other => other,
        }
    }

    fn write(
        &self,
        appender: &mut Appender,
        body: &mut Body,
        kind: Kind,
        intent: u64,
    ) -> io::Result<Written> {
        let result = self.try_write(appender, body, kind, intent);
        if let Err(error) = &result
            && is_full(error)
        {
            self.is_full.store(true, Ordering::Relaxed);
        }
        self.usage.measure(appender);
        result
    }

    fn try_write(
        &self,
        appender: &mut Appender,
        body: &mut Body,
        kind: Kind,
        intent: u64,
    ) -> io::Result<Written> {
        let bytes = body.frame_bytes();
        let offset = appender.tail.offset;
        if appender.file.is_none() || (offset > 0 && offset + bytes > self.segment_bytes_max) {
            self.begin_segment(appender)?;
        }
        self.append(appender, body, kind, intent)
    }

    /// Appends a frame to the last segment. What a failed append left is cut off; where that fails too,
    /// the next frame begins a new segment, and readers pass over the rest of this one.
    fn append(
        &self,
        appender: &mut Appender,
        body: &mut Body,
        kind: Kind,
        intent: u64,
    ) -> io::Result<Written> {
        let Some(file) = appender.file.as_mut() else {
            return Err(io::Error::other("no segment is open"));
        };
        let seq = appender.next_seq;
        let count = match kind {
            Kind::Commit => u64::from(body.count()),
            Kind::Intent | Kind::Gap => 0,
        };
        let bytes = body.frame_bytes();
        if let Err(error) = self.disk.append(file, body.frame(kind, seq, intent)) {
            if file.set_len(appender.tail.offset).is_err() {
                appender.file = None;
            }
            return Err(error);
        }
        appender.tail.offset += bytes;
        appender.next_seq += count;
        Ok(Written {
            seq,
            bytes,
            count: body.count(),
        })
    }

    /// Begins the next segment, and repeats in it the intents that would otherwise hold older ones back.
    fn begin_segment(&self, appender: &mut Appender) -> io::Result<()> {
        let number = appender.tail.segment + 1;
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(self.folder.segment(number))?;
        appender.push(number, appender.tail.offset);
        appender.file = Some(file);
        appender.tail = Position {
            segment: number,
            offset: 0,
        };
        let mut open = std::mem::take(&mut appender.open);
        let repeated = open.iter_mut().try_for_each(|(&intent, held)| {
            self.append(appender, &mut held.body, Kind::Intent, intent)?;
            held.segment = number;
            Ok(())
        });
        appender.open = open;
        self.rolled.notify_one();
        repeated
    }
}

impl Usage {
    fn measure(&self, appender: &Appender) {
        let closed = appender.closed_bytes;
        self.closed_bytes.store(closed, Ordering::Relaxed);
        self.bytes
            .store(closed + appender.tail.offset, Ordering::Relaxed);
    }
}
