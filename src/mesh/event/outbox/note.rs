//! What a way still holds of the records that it has passed, noted for whoever looks at the log from outside.
//!
//! A position says up to where everything has left. Behind it one record may wait while thousands after it have
//! left long ago, which nothing in the log tells: their number is what is noted. It counts while its writer
//! lives; whoever takes the log over sends all of it again.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::log::Position;
use super::share::Way;
use crate::mesh::tenant::TenantId;

/// The name of the file, beside the segments.
pub(super) const NOTES_NAME: &str = "notes";

/// A place as it is written: segment and byte.
type Place = (u64, u64);

/// What one way holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::mesh::event) struct Note {
    read: Place,
    /// Records before that which have yet to leave, and their bytes.
    pub(super) records: u64,
    pub(super) bytes: u64,
    lagging: BTreeMap<String, Place>,
}

/// By the ways' indices; nothing of a way that holds nothing behind its position.
pub(super) type Notes = [Option<Note>; Way::COUNT];

/// The notes of one log.
#[derive(Debug)]
pub(super) struct Notebook {
    path: PathBuf,
    notes: Notes,
    kept: Notes,
}

impl Note {
    /// Of a way that has read up to `read` and holds `records` of `bytes` before that, besides those of
    /// `lagging` tenants, which it has not read from a place on.
    pub(in crate::mesh::event) fn new(
        read: Position,
        (records, bytes): (u64, u64),
        lagging: impl Iterator<Item = (TenantId, Position)>,
    ) -> Self {
        Self {
            read: place(read),
            records,
            bytes,
            lagging: lagging
                .map(|(tenant, from)| (tenant.to_string(), place(from)))
                .collect(),
        }
    }

    /// Whether it is of a way that is not past it.
    pub(super) fn is_ahead_of(&self, acked: Position) -> bool {
        self.read > place(acked)
    }

    /// Whether a record at `position` has yet to be read.
    pub(super) fn is_unread(&self, position: Position, tenant: &str) -> bool {
        let lag = self.lagging.get(tenant);
        place(position) >= self.read || lag.is_some_and(|lag| place(position) >= *lag)
    }

    /// Before this there is no record that has yet to be read.
    pub(super) fn first_unread(&self) -> Position {
        let lags = self.lagging.values().copied();
        let (segment, offset) = lags.fold(self.read, Place::min);
        Position { segment, offset }
    }
}

const fn place(position: Position) -> Place {
    (position.segment, position.offset)
}

impl Notebook {
    /// Without notes; those of a writer before are gone.
    pub(super) fn begin(path: PathBuf) -> io::Result<Self> {
        remove(&path)?;
        Ok(Self {
            path,
            notes: Notes::default(),
            kept: Notes::default(),
        })
    }

    pub(super) fn put(&mut self, way: Way, note: Option<Note>) {
        self.notes[way as usize] = note;
    }

    /// Keeps what was noted, unless it is kept.
    pub(super) fn keep(&mut self) -> io::Result<()> {
        if self.notes == self.kept {
            return Ok(());
        }
        let written = match self.notes.iter().all(Option::is_none) {
            true => remove(&self.path),
            false => {
                let unfinished = self.path.with_extension("new");
                let written = fs::write(&unfinished, serde_json::to_vec(&self.notes)?);
                written.and_then(|()| fs::rename(&unfinished, &self.path))
            }
        };
        match written {
            // The folder is gone with all that was in it.
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => {
                self.kept.clone_from(&self.notes);
                Ok(())
            }
        }
    }
}

/// The notes in the folder at `path`, for who only looks; none where there are none that can be read.
pub(super) fn notes_in(path: &Path) -> Notes {
    let bytes = fs::read(path.join(NOTES_NAME)).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
