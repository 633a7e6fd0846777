//! Compaction: of full segments only what is needed stays, however long the oldest record of them waits.
//!
//! What is needed of neighbouring segments is written into one new file, which takes the name of the first of
//! them in one step; the others are removed after it. Frames keep their order, their numbers and their places,
//! so that nobody who reads the log or has noted a place in it is concerned. A process that dies in between
//! leaves either an unfinished file, which counts for nothing, or segments that the new file is known to cover.
//!
//! A call that was begun in one segment and has ended in a later one must never look as if it had not ended.
//! So its outcome stays for as long as an older file speaks of its beginning.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use super::super::frame::{FrameReader, HEADER_BYTES, Header, Kind, Step, gap, parse_tenant};
use super::{Log, Position, Segment};
use crate::mesh::tenant::TenantId;

/// Segments are rewritten where at least this part of them is no longer needed.
const DEAD_PART: u64 = 16;

/// So many small files in a row become one even where nothing can be left out, so that there are never many.
const FILES_IN_A_ROW_MAX: usize = 8;

/// How much is copied at once.
const COPY_BYTES: u64 = 256 << 10;

/// Who knows what is needed, and when to stop.
pub(in crate::mesh::event) trait Needs {
    /// Whether the record at a place, of a tenant and with a number, has yet to leave on some way. What has left
    /// once has left for good.
    fn is_needed(&self, place: Position, tenant: &TenantId, seq: u64) -> bool;

    /// Whether nobody waits for the compaction any more.
    fn is_over(&self) -> bool;
}

/// A segment that was looked at.
struct Looked {
    segment: Segment,
    kept: Vec<Kept>,
    /// Bytes that are kept, with the gaps between them.
    kept_bytes: u64,
    /// Where it ends.
    end: Position,
}

/// Neighbouring frames that are kept.
struct Kept {
    /// Where they are in the file.
    bytes: Range<u64>,
    /// Their place in the log.
    place: Position,
    /// The place after them.
    next: Position,
}

impl Log {
    /// Leaves out of the full segments what is not needed; answers how many bytes that has freed. Blocks for about
    /// as long as reading them takes.
    ///
    /// # Errors
    /// What the disk says; nothing is lost then.
    pub(in crate::mesh::event) fn compact(&self, needs: &impl Needs) -> io::Result<u64> {
        let mut freed = 0;
        match self.compact_closed(needs, &mut freed) {
            // Segments have been acknowledged meanwhile, or the whole log: another time.
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(freed),
        }
    }

    fn compact_closed(&self, needs: &impl Needs, freed: &mut u64) -> io::Result<()> {
        let mut closed: Vec<Segment> = self.appender().segments.iter().copied().collect();
        closed.pop();
        let mut begun = BTreeSet::new();
        let mut group: Vec<Looked> = Vec::new();
        let mut group_bytes = 0;
        for segment in closed {
            if needs.is_over() {
                return Ok(());
            }
            let looked = self.look(segment, &mut begun, needs)?;
            if !group.is_empty() && group_bytes + looked.kept_bytes > self.segment_bytes_max {
                *freed += self.rewrite(&std::mem::take(&mut group))?;
                group_bytes = 0;
            }
            group_bytes += looked.kept_bytes;
            group.push(looked);
        }
        *freed += self.rewrite(&group)?;
        Ok(())
    }

    /// Looks for what is needed of a segment. Calls that were `begun` before it and have not ended in it are
    /// those from then on.
    fn look(
        &self,
        segment: Segment,
        begun: &mut BTreeSet<u64>,
        needs: &impl Needs,
    ) -> io::Result<Looked> {
        let path = self.folder.segment(segment.number);
        let mut reader = FrameReader::open(&path, segment.number, Position::default())?;
        let mut looked = Looked::new(segment);
        let (mut begun_here, mut ended) = (BTreeSet::new(), Vec::new());
        loop {
            let step = reader.step(segment.bytes)?;
            let place = reader.found_at();
            let header = match step {
                Step::Frame(header) => header,
                Step::Damaged(bytes) => {
                    self.note_damage(place, bytes, false);
                    continue;
                }
                Step::End(torn) => {
                    if torn > 0 {
                        self.note_damage(place, torn, true);
                    }
                    break;
                }
            };
            let is_needed = if header.kind == Kind::Intent {
                begun_here.insert(header.intent);
                self.is_open_in(header.intent, segment)
            } else {
                begun_here.remove(&header.intent);
                let ends_older = begun.contains(&header.intent);
                if ends_older {
                    ended.push(header.intent);
                }
                ends_older || is_frame_needed(&header, place, reader.payload(), needs)
            };
            if is_needed {
                let bytes = reader.offset() - header.frame_bytes()..reader.offset();
                looked.keep(bytes, place, reader.place());
            }
        }
        looked.end = looked.end.max(reader.place());
        for intent in ended {
            begun.remove(&intent);
        }
        begun.append(&mut begun_here);
        Ok(looked)
    }

    /// Whether a call has not ended that is stated in no later segment.
    fn is_open_in(&self, intent: u64, segment: Segment) -> bool {
        let appender = self.appender();
        let open = appender.open.get(&intent);
        open.is_some_and(|open| open.segment <= segment.last)
    }

    /// Puts what is kept of neighbouring files into one, where that is worth it; answers how many bytes are free.
    fn rewrite(&self, group: &[Looked]) -> io::Result<u64> {
        let bytes: u64 = group.iter().map(|looked| looked.segment.bytes).sum();
        let kept: u64 = group.iter().map(|looked| looked.kept_bytes).sum();
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            return Ok(0);
        };
        let has_dead = kept + bytes / DEAD_PART <= bytes;
        if !has_dead && group.len() < FILES_IN_A_ROW_MAX {
            return Ok(0);
        }
        if group.iter().all(|looked| looked.kept.is_empty()) {
            return self.replace(group, None).map(|()| bytes);
        }
        if self.is_full() {
            // What room is left is for outcomes.
            return Ok(0);
        }
        let path = self.folder.unfinished_segment(first.segment.number);
        let written = self.write_kept(&path, group, last.end);
        let replaced = written.and_then(|written| {
            self.replace(group, Some((&path, written)))?;
            Ok(bytes.saturating_sub(written))
        });
        if replaced.is_err() {
            // What is left of it is cleared away by whoever takes the folder over.
            let _ = fs::remove_file(&path);
        }
        replaced
    }

    /// Writes what is kept into the file at `path`, whose last gap leads to `end`; answers its size.
    fn write_kept(&self, path: &Path, group: &[Looked], end: Position) -> io::Result<u64> {
        let mut file = File::create(path)?;
        let mut place = None;
        let mut written = 0;
        for looked in group {
            let mut source = File::open(self.folder.segment(looked.segment.number))?;
            for kept in &looked.kept {
                if place != Some(kept.place) {
                    self.disk.append(&mut file, &gap(kept.place))?;
                    written += HEADER_BYTES as u64;
                }
                source.seek(SeekFrom::Start(kept.bytes.start))?;
                let mut left = kept.bytes.end - kept.bytes.start;
                written += left;
                let mut chunk = vec![0; left.min(COPY_BYTES) as usize];
                while left > 0 {
                    let count = left.min(COPY_BYTES) as usize;
                    source.read_exact(&mut chunk[..count])?;
                    self.disk.append(&mut file, &chunk[..count])?;
                    left -= count as u64;
                }
                place = Some(kept.next);
            }
        }
        self.disk.append(&mut file, &gap(end))?;
        // A loss of power must not take what had been on the disk for long.
        file.sync_all()?;
        Ok(written + HEADER_BYTES as u64)
    }

    /// Puts the file at `path`, of so many bytes, in the place of the group's files, or nothing.
    fn replace(&self, group: &[Looked], by: Option<(&Path, u64)>) -> io::Result<()> {
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            return Ok(());
        };
        let is_removed = self.is_removed();
        if *is_removed {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut obsolete = group.iter().map(|looked| looked.segment.number);
        {
            let mut appender = self.appender();
            let at = appender.find(first.segment.number);
            let until = at + group.len();
            let is_there = |(held, looked): (&Segment, &Looked)| *held == looked.segment;
            if until >= appender.segments.len()
                || !appender.segments.range(at..until).zip(group).all(is_there)
            {
                // Some of it has been acknowledged meanwhile.
                return Err(io::ErrorKind::NotFound.into());
            }
            if let Some((path, _)) = by {
                self.folder.raise_version()?;
                fs::rename(path, self.folder.segment(first.segment.number))?;
                obsolete.next();
            }
            let new = by.map(|(_, bytes)| Segment {
                number: first.segment.number,
                last: last.segment.last,
                bytes,
            });
            appender.replace(at..until, new);
            self.usage.measure(&appender);
        }
        // In order, so that no outcome goes before its call's beginning.
        obsolete.try_for_each(|number| self.folder.remove_segment(number))
    }
}

impl Looked {
    fn new(segment: Segment) -> Self {
        let end = Position {
            segment: segment.last,
            offset: match segment.last == segment.number {
                true => segment.bytes,
                false => 0,
            },
        };
        Self {
            segment,
            kept: Vec::new(),
            kept_bytes: 2 * HEADER_BYTES as u64,
            end,
        }
    }

    fn keep(&mut self, bytes: Range<u64>, place: Position, next: Position) {
        self.kept_bytes += bytes.end - bytes.start;
        if let Some(before) = self.kept.last_mut()
            && (before.next, before.bytes.end) == (place, bytes.start)
        {
            before.bytes.end = bytes.end;
            before.next = next;
            return;
        }
        self.kept_bytes += HEADER_BYTES as u64;
        self.kept.push(Kept { bytes, place, next });
    }
}

/// Whether one of a frame's records is needed. One of no tenant is none that could ever leave.
fn is_frame_needed(header: &Header, place: Position, payload: &[u8], needs: &impl Needs) -> bool {
    let tenant = parse_tenant(payload).and_then(|(name, _)| name.parse::<TenantId>().ok());
    let Some(tenant) = tenant else { return false };
    let mut seqs = header.seq..header.seq + u64::from(header.count);
    seqs.any(|seq| needs.is_needed(place, &tenant, seq))
}

#[cfg(test)]
mod tests;
