//! What lies in the outboxes of a folder, found by looking: nothing is adopted, changed or published.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use ulid::Ulid;

use super::acks::Acks;
use super::folder::{self, Target};
use super::frame::{FrameReader, Header, Kind, Step, parse_tenant};
use super::log::Position;
use super::note::{Note, notes_in};

/// How much of the logs is read: 256 MiB, about a second's work.
pub const SURVEY_BYTES_MAX: u64 = 256 << 20;

/// What lies under one root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// The outboxes that this process could adopt, or shares its target with.
    pub ours: Vec<SurveyedWriter>,
    /// Those of other targets, by the names of their folders; nobody publishes them but a server whose
    /// settings lead there.
    pub others: Vec<(String, Vec<SurveyedWriter>)>,
    /// Whether there was more than [`SURVEY_BYTES_MAX`], so that the counts are too low.
    pub is_partial: bool,
}

/// The outbox of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SurveyedWriter {
    /// The process.
    pub writer: Ulid,
    /// Whether it runs.
    pub is_alive: bool,
    /// Events that have not left on every way; of a process that is gone also its calls under way.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Looks at every outbox under `root`; one that is not there is empty. It blocks while it reads.
///
/// # Errors
/// What the disk says.
pub fn survey(root: &Path, target: &Target) -> io::Result<Survey> {
    let ours = target.folder_name();
    let mut survey = Survey::default();
    let mut budget = SURVEY_BYTES_MAX;
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(survey),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        let mut writers = Vec::new();
        for writer in folder::writers(&entry.path())? {
            let looked = look(&entry.path().join(writer.to_string()), writer, &mut budget);
            match looked {
                Ok(found) => writers.extend(found),
                // Its owner has removed it, or a part of it, in the meantime.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if name == ours {
            survey.ours = writers;
        } else if !writers.is_empty() {
            survey.others.push((name, writers));
        }
    }
    survey
        .others
        .sort_unstable_by(|left, right| left.0.cmp(&right.0));
    survey.is_partial = budget == 0;
    Ok(survey)
}

/// What lies in the folder of `writer`; nothing where it is none yet.
fn look(path: &Path, writer: Ulid, budget: &mut u64) -> io::Result<Option<SurveyedWriter>> {
    let owner = match File::open(path.join("owner")) {
        Ok(owner) => owner,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // Shared, and for this moment only, so that nobody takes it for a living owner's.
    let is_alive = match owner.try_lock_shared() {
        Ok(()) => false,
        Err(TryLockError::WouldBlock) => true,
        Err(TryLockError::Error(error)) => return Err(error),
    };
    drop(owner);
    let acked = match fs::read(path.join("acks")) {
        Ok(bytes) => Acks::positions_in(&bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Default::default(),
        Err(error) => return Err(error),
    };
    let notes = match is_alive {
        true => notes_in(path),
        // Whoever takes it over sends all of it again.
        false => Default::default(),
    };
    let ways = acked.into_iter().zip(notes);
    let mut waiting = Waiting(ways.map(Waits::new).collect());
    let mut open = BTreeSet::new();
    let mut last = None;
    for (number, length) in folder::segments(path)? {
        if last.is_some_and(|last| number <= last) {
            // What is needed of it is in the one before, and its owner is about to remove it.
            continue;
        }
        let segment = folder::segment(path, number);
        let mut reader = FrameReader::open(&segment, number, waiting.first())?;
        let length = length.min(reader.offset() + *budget);
        *budget -= length.saturating_sub(reader.offset());
        loop {
            match reader.step(length)? {
                Step::Frame(header) if header.kind == Kind::Intent => {
                    open.insert(header.intent);
                }
                Step::Frame(header) => {
                    open.remove(&header.intent);
                    waiting.count(&header, reader.found_at(), reader.payload());
                }
                Step::Damaged(_) => {}
                Step::End(_) => break,
            }
        }
        last = Some(reader.place().segment);
    }
    let (mut records, bytes) = waiting.most();
    if !is_alive {
        records += open.len() as u64;
    }
    Ok(Some(SurveyedWriter {
        writer,
        is_alive,
        records,
        bytes,
    }))
}

/// What waits, by the ways.
struct Waiting(Vec<Waits>);

/// What waits for one way.
struct Waits {
    acked: Position,
    note: Option<Note>,
    records: u64,
    bytes: u64,
}

impl Waits {
    fn new((acked, note): (Position, Option<Note>)) -> Self {
        let note = note.filter(|note| note.is_ahead_of(acked));
        Self {
            acked,
            records: note.as_ref().map_or(0, |note| note.records),
            bytes: note.as_ref().map_or(0, |note| note.bytes),
            note,
        }
    }

    /// Before this nothing is to be counted.
    fn first(&self) -> Position {
        let note = self.note.as_ref();
        note.map_or(self.acked, |note| note.first_unread().max(self.acked))
    }
}

impl Waiting {
    fn first(&self) -> Position {
        let first = self.0.iter().map(Waits::first).min();
        first.unwrap_or_default()
    }

    fn count(&mut self, header: &Header, place: Position, payload: &[u8]) {
        let tenant = parse_tenant(payload).map_or("", |(tenant, _)| tenant);
        for way in &mut self.0 {
            let counts = match &way.note {
                Some(note) => note.is_unread(place, tenant),
                None => place >= way.acked,
            };
            if counts {
                way.records += u64::from(header.count);
                way.bytes += header.frame_bytes();
            }
        }
    }

    /// Records and bytes of the way for which most waits.
    fn most(&self) -> (u64, u64) {
        let records = self.0.iter().map(|way| way.records).max();
        let bytes = self.0.iter().map(|way| way.bytes).max();
        (records.unwrap_or_default(), bytes.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
