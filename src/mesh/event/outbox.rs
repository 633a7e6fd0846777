//! The outbox: events are in its file before any answer leaves, and leave it when history, bus and rules are done with them.
//!
//! ```text
//! <root>/<target>/<writer>/owner                      locked by the process that lives
//!                          00000000000000000001.log   frames, appended; when full, replaced by what is needed of them
//!                          acks                       what has left on each way
//!                          ballast                    room for what is in flight when the disk is full
//! ```
//!
//! Nothing here waits for the disk: an append is in the page cache and survives `kill -9`. A loss of power
//! may cost the last moments.

mod acks;
mod custody;
mod disk;
mod folder;
pub(super) mod frame;
pub(super) mod log;
pub(super) mod note;
pub(super) mod reader;
mod recovery;
pub(super) mod share;
pub mod survey;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use ulid::Ulid;

use self::disk::{Disk, MachineDisk, is_full};
use self::folder::{Folder, Takeover};
use self::frame::Body;
use self::log::{Damage, Log, Recovered, SEGMENT_BYTES_MAX};
use self::share::{Share, Way, disk_full};
use super::live::LiveEvents;
use super::record::{Event, Outcome};
use crate::mesh::tenant::TenantId;
use crate::mesh::{Clock, Error, ErrorKind};

#[cfg(test)]
pub(super) use self::acks::acks_of_two_ways;
pub use self::folder::Target;
pub use self::frame::{EVENT_BYTES_MAX, EVENTS_MAX};
pub use self::share::{OUTBOX_BYTES_MIN, Weight};

/// Bytes that a slot sets aside: an intent and an event of the largest operation, whose key of 800 bytes
/// takes six times that when every character is escaped.
pub const SLOT_BYTES: u64 = 16 << 10;

/// How many folders of other versions are remembered, so that each is told of once.
const OTHER_FORMATS_MAX: usize = 1024;

/// What an outbox is opened with.
#[derive(Clone)]
pub struct OutboxSettings {
    /// The folder under which every target has its own.
    pub root: PathBuf,
    /// Where the events are bound for.
    pub target: Target,
    /// The most bytes that may wait: at least [`OUTBOX_BYTES_MIN`].
    pub bytes_max: u64,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
}

/// The outbox of this process. Clones are the same one.
#[derive(Clone)]
pub struct Outbox(Arc<Inner>);

struct Inner {
    target: PathBuf,
    segment_bytes_max: u64,
    disk: Arc<dyn Disk>,
    log: Arc<Log>,
    share: Mutex<Share>,
    live: LiveEvents,
    damage: Arc<Damage>,
    is_closed: AtomicBool,
    adopted_folders: AtomicU64,
    adopted_records: AtomicU64,
    other_formats: Mutex<BTreeSet<Ulid>>,
}

/// Room for the events of one call. Dropped without [`Slot::commit`] after an intent, it records that the
/// outcome is unknown.
#[must_use = "a call without its event must not answer"]
pub struct Slot {
    outbox: Arc<Inner>,
    tenant: TenantId,
    weight: Weight,
    reserved: u64,
    /// The intent in the file; 0 for none.
    intent: u64,
}

/// Events that are in the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The process that recorded them.
    pub writer: Ulid,
    /// Whose they are.
    pub tenant: TenantId,
    /// The number of the first.
    pub first_seq: u64,
    /// How many there are; their numbers follow each other.
    pub count: u8,
}

/// How an outbox is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutboxStats {
    /// Records that have not left on every way.
    pub records: u64,
    /// Bytes in use, of records and of calls under way.
    pub bytes: u64,
    /// Bytes of the files, records included that have left and whose segments have not gone yet.
    pub disk_bytes: u64,
    /// The most bytes that may be in use, and that the files may take up.
    pub bytes_max: u64,
    /// Whether the disk has been found full and still is.
    pub is_disk_full: bool,
    /// Folders of processes that are gone, adopted since the start.
    pub adopted_folders: u64,
    /// Records adopted with them.
    pub adopted_records: u64,
    /// Records found that were never finished.
    pub torn_records: u64,
    /// Stretches found that are no sound record.
    pub damaged_stretches: u64,
    /// Folders of other versions, left alone.
    pub other_format_folders: u64,
}

impl Outbox {
    /// Opens the outbox of this process: a folder of its own, which no other process can own.
    ///
    /// # Errors
    /// `INVALID_PARAMETER` where `bytes_max` is too small; `INTERNAL` where the folder cannot be written.
    pub fn open(settings: OutboxSettings) -> Result<Self, Error> {
        Self::open_on(settings, Arc::new(MachineDisk))
    }

    /// [`Outbox::open`] on a disk that tests can fill.
    pub(in crate::mesh) fn open_on(
        settings: OutboxSettings,
        disk: Arc<dyn Disk>,
    ) -> Result<Self, Error> {
        if settings.bytes_max < OUTBOX_BYTES_MIN {
            let message = format!("the outbox needs at least {OUTBOX_BYTES_MIN} bytes");
            return Err(Error::invalid("outbox_bytes_max", message));
        }
        let millis = settings.clock.now().as_millis().max(0).unsigned_abs();
        let writer = Ulid::from_parts(millis, Ulid::generate().random());
        let target = settings.root.join(settings.target.folder_name());
        let segment_bytes_max = (settings.bytes_max / 16).min(SEGMENT_BYTES_MAX);
        let damage = Arc::new(Damage::default());
        let opened = fs::create_dir_all(&target)
            .and_then(|()| Folder::create(&target, writer))
            .and_then(|folder| {
                let (disk, damage) = (disk.clone(), damage.clone());
                Log::open(folder, disk, segment_bytes_max, damage, Recovered::empty())
            })
            .and_then(|log| match log.load_ballast() {
                Err(error) if !is_full(&error) => Err(error),
                _ => Ok(log),
            });
        let log = opened.map_err(|cause| cannot_open(&target, cause))?;
        describe(&target, &settings.target);
        let mut share = Share::new(settings.bytes_max);
        share.include(log.usage().clone());
        Ok(Self(Arc::new(Inner {
            target,
            segment_bytes_max,
            disk,
            log: Arc::new(log),
            share: Mutex::new(share),
            live: LiveEvents::default(),
            damage,
            is_closed: AtomicBool::new(false),
            adopted_folders: AtomicU64::new(0),
            adopted_records: AtomicU64::new(0),
            other_formats: Mutex::new(BTreeSet::new()),
        })))
    }

    /// The id of this process in its records.
    pub fn writer(&self) -> Ulid {
        self.0.log.writer()
    }

    /// Room for the events of one call: accounts only, no I/O.
    ///
    /// # Errors
    /// `OVERLOADED` above 90 % for [`Weight::Mutation`], at 100 % for [`Weight::Read`], at 110 % for
    /// [`Weight::Relief`], above the tenant's fair share once the outbox is over half full, and while the disk
    /// is full.
    pub fn reserve(&self, tenant: &TenantId, weight: Weight) -> Result<Slot, Error> {
        if self.0.is_closed.load(Ordering::Relaxed) {
            return Err(Error::new(
                ErrorKind::Overloaded,
                "the server is shutting down",
            ));
        }
        if weight != Weight::Health && self.0.log.is_full() {
            return Err(disk_full());
        }
        self.0.share().reserve(tenant, weight, SLOT_BYTES)?;
        Ok(Slot {
            outbox: self.0.clone(),
            tenant: tenant.clone(),
            weight,
            reserved: SLOT_BYTES,
            intent: 0,
        })
    }

    /// What is put into it, for those who watch.
    pub(in crate::mesh) fn live(&self) -> &LiveEvents {
        &self.0.live
    }

    /// How it is doing.
    pub fn stats(&self) -> OutboxStats {
        let inner = &self.0;
        let share = inner.share();
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        OutboxStats {
            records: share.most_records(),
            bytes: share.bytes(),
            disk_bytes: share.disk_bytes(),
            bytes_max: share.bytes_max(),
            is_disk_full: inner.log.is_full(),
            adopted_folders: of(&inner.adopted_folders),
            adopted_records: of(&inner.adopted_records),
            torn_records: of(&inner.damage.torn),
            damaged_stretches: of(&inner.damage.damaged),
            other_format_folders: inner.other_formats().len() as u64,
        }
    }

    /// Bytes that a tenant's records and calls take up.
    pub fn held(&self, tenant: &TenantId) -> u64 {
        self.0.share().held(tenant)
    }

    /// The log of this process.
    pub(super) fn log(&self) -> &Arc<Log> {
        &self.0.log
    }

    /// Whether so much of the outbox is used that what could linger must not.
    pub(super) fn is_pressed(&self) -> bool {
        self.0.share().is_pressed()
    }

    /// Whether records that have left take up so much of the disk that logs are to be compacted.
    pub(super) fn wants_compaction(&self) -> bool {
        self.0.share().wants_compaction()
    }

    /// Records that have yet to leave on `way`, those of adopted folders included.
    pub(super) fn records(&self, way: Way) -> u64 {
        self.0.share().records(way)
    }

    /// Records have left on `way`: each one's tenant and bytes.
    pub(super) fn settle<'a>(&self, way: Way, left: impl IntoIterator<Item = (&'a TenantId, u64)>) {
        let mut share = self.0.share();
        for (tenant, bytes) in left {
            share.settle(way, tenant, bytes, 1);
        }
    }

    /// Writes what is still missing and can be written again: outcomes that met a full disk, and then the
    /// ballast.
    pub(super) fn mend(&self) {
        let log = &self.0.log;
        for (intent, tenant) in log.orphans() {
            if self.0.abandon(&tenant, intent).is_err() {
                return;
            }
        }
        if log.is_full() && log.load_ballast().is_ok() {
            tracing::info!("the disk of the outbox has room again");
        }
    }

    /// No call gets a slot any more.
    pub(super) fn close(&self) {
        self.0.is_closed.store(true, Ordering::Relaxed);
    }

    /// The writers of this target that have a folder, except this process.
    pub(super) fn other_writers(&self) -> io::Result<Vec<Ulid>> {
        let mut writers = folder::writers(&self.0.target)?;
        writers.retain(|&writer| writer != self.writer());
        Ok(writers)
    }

    /// Takes over the folder of `writer` if its owner is gone: open intents become events of unknown
    /// outcome, and everything that has not left counts as this outbox's own. Blocks while it reads.
    pub(super) fn adopt(&self, writer: Ulid) -> io::Result<Option<Arc<Log>>> {
        let inner = &self.0;
        let folder = match Folder::take_over(&inner.target, writer)? {
            Takeover::Ours(folder) => folder,
            Takeover::NotOurs => return Ok(None),
            Takeover::OtherFormat(found) => {
                let mut told = inner.other_formats();
                if told.len() < OTHER_FORMATS_MAX && told.insert(writer) {
                    tracing::warn!(%writer, found, "an outbox folder of another version is left alone; start that version again to have its events published");
                }
                return Ok(None);
            }
        };
        let (log, mut backlog) = recovery::recover(
            folder,
            inner.disk.clone(),
            inner.segment_bytes_max,
            inner.damage.clone(),
        )?;
        log.drop_ballast();
        let orphans = log.orphans();
        let unknown = orphans.len();
        for (intent, tenant) in orphans {
            if let Some(written) = log.abandon(intent)? {
                for held in backlog.entry(tenant).or_default() {
                    held.0 += written.bytes;
                    held.1 += u64::from(written.count);
                }
            }
        }
        let mut share = inner.share();
        share.include(log.usage().clone());
        let mut records = [0; Way::COUNT];
        for (tenant, held) in &backlog {
            for way in Way::ALL {
                let (bytes, count) = held[way as usize];
                share.add(way, tenant, bytes, count);
                records[way as usize] += count;
            }
        }
        drop(share);
        let records = records.into_iter().max().unwrap_or(0);
        inner.adopted_folders.fetch_add(1, Ordering::Relaxed);
        inner.adopted_records.fetch_add(records, Ordering::Relaxed);
        tracing::info!(%writer, records, unknown, "adopted the outbox of a process that is gone");
        Ok(Some(Arc::new(log)))
    }

    /// Removes the folder of a log of which everything has left.
    pub(super) fn remove(&self, log: &Log) -> io::Result<()> {
        self.0.share().exclude(log.usage());
        log.remove()
    }
}

impl Slot {
    /// Whose events it has room for.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// More room, for events that may be larger than [`SLOT_BYTES`]; before anything is done.
    ///
    /// # Errors
    /// As [`Outbox::reserve`].
    pub fn enlarge(&mut self, bytes: u64) -> Result<(), Error> {
        self.outbox
            .share()
            .reserve(&self.tenant, self.weight, bytes)?;
        self.reserved += bytes;
        Ok(())
    }

    /// Puts into the file that something is about to be done: `event` is what is published if nobody
    /// learns how it ended, and its outcome is taken to be unknown.
    ///
    /// # Errors
    /// `OVERLOADED` where the disk is full; nothing must be done then.
    pub fn intend(&mut self, event: &Event) -> Result<(), Error> {
        if self.intent != 0 {
            return Err(Error::internal("a call has stated its intent twice"));
        }
        let body = match event.outcome {
            Outcome::Unknown => Body::of(&self.tenant, [event])?,
            _ => {
                let mut event = event.clone();
                event.outcome = Outcome::Unknown;
                Body::of(&self.tenant, [&event])?
            }
        };
        self.intent = self.outbox.log.intend(body).map_err(cannot_write)?;
        Ok(())
    }

    /// Puts the call's events, 1 to [`EVENTS_MAX`], into the file, all or none, as the outcome of the
    /// intent where there was one.
    ///
    /// # Errors
    /// `TOO_LARGE` where an event is larger than [`EVENT_BYTES_MAX`]; `OVERLOADED` where the disk is full
    /// and the ballast was not enough: events of an intent are then written as soon as there is room.
    pub fn commit(mut self, events: &[Event]) -> Result<Committed, Error> {
        let body = Body::of(&self.tenant, events)?;
        let (bytes, count) = (body.frame_bytes(), u64::from(body.count()));
        {
            // Before the write: the publisher may be done with the records before we hear of it.
            let mut share = self.outbox.share();
            for way in Way::ALL {
                share.add(way, &self.tenant, bytes, count);
            }
            share.release(&self.tenant, std::mem::take(&mut self.reserved));
        }
        let result = self.outbox.log.commit(body, self.intent);
        // What could not be written now is an orphan of the log's, no longer this slot's.
        self.intent = 0;
        match result {
            Ok(written) => {
                self.outbox.live.tell(&self.tenant, events);
                Ok(Committed {
                    writer: self.outbox.log.writer(),
                    tenant: self.tenant.clone(),
                    first_seq: written.seq,
                    count: written.count,
                })
            }
            Err(error) => {
                let mut share = self.outbox.share();
                for way in Way::ALL {
                    share.settle(way, &self.tenant, bytes, count);
                }
                Err(cannot_write(error))
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.intent != 0
            && let Err(error) = self.outbox.abandon(&self.tenant, self.intent)
        {
            tracing::error!(%error, "an unknown outcome cannot be recorded yet");
        }
        if self.reserved > 0 {
            self.outbox.share().release(&self.tenant, self.reserved);
        }
    }
}

impl Inner {
    fn share(&self) -> MutexGuard<'_, Share> {
        self.share.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn other_formats(&self) -> MutexGuard<'_, BTreeSet<Ulid>> {
        self.other_formats
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn abandon(&self, tenant: &TenantId, intent: u64) -> io::Result<()> {
        // Held meanwhile: the publisher may be done with the record before we hear of it.
        let mut share = self.share();
        if let Some(written) = self.log.abandon(intent)? {
            for way in Way::ALL {
                share.add(way, tenant, written.bytes, u64::from(written.count));
            }
        }
        Ok(())
    }
}

/// Leaves a note for people beside the writers' folders; nothing reads it, so it may fail.
fn describe(folder: &std::path::Path, target: &Target) {
    let path = folder.join("target.json");
    if !path.exists()
        && let Ok(text) = serde_json::to_vec_pretty(target)
    {
        let _ = fs::write(path, text);
    }
}

fn cannot_open(target: &std::path::Path, cause: io::Error) -> Error {
    let path = target.display();
    Error::internal(format!("the outbox folder {path} cannot be used"))
        .fix("Make the folder writable, or name another one with AGENT_MESH_OUTBOX_DIR.")
        .caused_by(cause)
}

fn cannot_write(cause: io::Error) -> Error {
    if is_full(&cause) {
        disk_full().caused_by(cause)
    } else {
        Error::internal("the outbox cannot be written").caused_by(cause)
    }
}

#[cfg(test)]
mod tests;
