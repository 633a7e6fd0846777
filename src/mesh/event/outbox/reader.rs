//! A cursor over a log: reads frames back in order, past damage and from segment to segment.

use std::io;
use std::sync::Arc;

use super::frame::{FrameReader, Header, Step};
use super::log::{Log, Position};

/// A frame that a reader has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mesh::event) struct Found {
    /// Where it begins.
    pub(in crate::mesh::event) position: Position,
    /// Its header.
    pub(in crate::mesh::event) header: Header,
}

/// A cursor over a log.
pub(in crate::mesh::event) struct LogReader {
    log: Arc<Log>,
    position: Position,
    tail: Position,
    segment: Option<FrameReader>,
    /// The last segment of which the file has something that is being read.
    last: u64,
}

impl LogReader {
    /// A cursor that begins at `position`.
    pub(in crate::mesh::event) fn new(log: Arc<Log>, position: Position) -> Self {
        Self {
            log,
            position,
            tail: Position::default(),
            segment: None,
            last: 0,
        }
    }

    /// Where the next frame will be looked for.
    pub(in crate::mesh::event) fn position(&self) -> Position {
        self.position
    }

    /// The payload of the last frame that was found.
    pub(in crate::mesh::event) fn payload(&self) -> &[u8] {
        self.segment.as_ref().map_or(&[], FrameReader::payload)
    }

    /// The next sound frame, or nothing where the log ends for now.
    pub(in crate::mesh::event) fn next(&mut self) -> io::Result<Option<Found>> {
        loop {
            if self.position >= self.tail {
                self.tail = self.log.tail().0;
                if self.position >= self.tail {
                    return Ok(None);
                }
            }
            let Some(reader) = &mut self.segment else {
                self.open_segment(self.position)?;
                continue;
            };
            let limit = if self.position.segment == self.tail.segment {
                self.tail.offset
            } else {
                reader.length()?
            };
            let step = reader.step(limit)?;
            let position = reader.found_at();
            self.position = reader.place();
            match step {
                Step::Frame(header) => return Ok(Some(Found { position, header })),
                Step::Damaged(bytes) => self.log.note_damage(position, bytes, false),
                Step::End(torn) => {
                    if torn > 0 {
                        self.log.note_damage(position, torn, true);
                    }
                    // The file's last gap, which says how far it reaches, may be damaged.
                    let segment = self.position.segment.max(self.last);
                    if segment == self.tail.segment {
                        self.position = self.tail;
                        return Ok(None);
                    }
                    self.open_segment(Position {
                        segment: segment + 1,
                        offset: 0,
                    })?;
                }
            }
        }
    }

    /// Opens the file that has `position`, or the next one that is there.
    fn open_segment(&mut self, position: Position) -> io::Result<()> {
        self.segment = None;
        self.position = position;
        let mut missed = None;
        loop {
            let Some((found, path)) = self.log.segment_from(position.segment) else {
                self.position = self.tail;
                return Ok(());
            };
            let number = found.number;
            match FrameReader::open(&path, number, position) {
                Ok(reader) => {
                    self.last = found.last;
                    self.position = reader.place();
                    self.segment = Some(reader);
                    return Ok(());
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                // It may have been compacted away after it was looked up; then another one is found now.
                Err(_) if missed != Some(number) => missed = Some(number),
                Err(_) => {
                    self.position = position.max(Position {
                        segment: number,
                        offset: 0,
                    });
                    self.log.note_damage(self.position, 0, false);
                    self.position = Position {
                        segment: number + 1,
                        offset: 0,
                    };
                    return Ok(());
                }
            }
        }
    }
}
