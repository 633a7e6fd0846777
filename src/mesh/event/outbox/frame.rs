//! Frames: what the outbox writes, each recognized by a marker and two checksums.
//!
//! A frame is a header of [`HEADER_BYTES`] and a payload. The header's checksum lets a reader trust the
//! length, so a damaged payload costs one frame; the marker lets it find the next frame after a damaged
//! header. The marker begins with a byte that UTF-8 never has, so no caller's text can imitate a frame.
//!
//! A segment that was compacted begins with a gap: a header without a payload that says at which place of the
//! log the next frame was written first. Places therefore stay what they were, whatever is left out before them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::log::Position;
use crate::mesh::event::Event;
use crate::mesh::tenant::TenantId;
use crate::mesh::{Error, ErrorKind};

/// What every frame begins with.
const MARKER: [u8; 4] = [0xFF, 0xFE, 0xFD, 0xA7];

/// Size of a frame's header.
pub(in crate::mesh::event) const HEADER_BYTES: usize = 36;

/// The most events in a frame: what one call of `events_send` may send.
pub const EVENTS_MAX: usize = 10;

/// The most bytes of one event as JSON: a detail of 200,000 bytes and what goes with it.
pub const EVENT_BYTES_MAX: usize = 256 << 10;

/// The most bytes of a payload.
const PAYLOAD_BYTES_MAX: usize = EVENTS_MAX * (EVENT_BYTES_MAX + 4) + 64;

/// How much is read at once.
const CHUNK_BYTES: usize = 64 << 10;

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mesh::event) enum Kind {
    /// Something is about to be done.
    Intent,
    /// Events of what has been done; resolves its intent.
    Commit,
    /// Frames were left out; readers pass over it.
    Gap,
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mesh::event) struct Header {
    /// What the frame says.
    pub(in crate::mesh::event) kind: Kind,
    /// How many events it has.
    pub(in crate::mesh::event) count: u8,
    /// Size of the payload.
    length: u32,
    /// Checksum of the payload.
    payload_crc: u32,
    /// The number of its first event. In an intent, the one that the next event had yet to get, so that it is known
    /// where all events before have left; 0 in older ones. In a gap, the byte of the next frame's place.
    pub(in crate::mesh::event) seq: u64,
    /// The intent that it is or resolves; 0 for none. In a gap, the segment of the next frame's place.
    pub(in crate::mesh::event) intent: u64,
}

impl Header {
    /// Size of the whole frame.
    pub(in crate::mesh::event) fn frame_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.length)
    }

    fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&MARKER);
        bytes[4] = match self.kind {
            Kind::Intent => 1,
            Kind::Commit => 2,
            Kind::Gap => 3,
        };
        bytes[5] = self.count;
        bytes[8..12].copy_from_slice(&self.length.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.payload_crc.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.seq.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.intent.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..32]);
        bytes[32..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header in `bytes`, of which there are [`HEADER_BYTES`]; nothing where it is none of ours.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let long = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        if !bytes.starts_with(&MARKER) || word(32)? != crc32fast::hash(bytes.get(..32)?) {
            return None;
        }
        let kind = match bytes.get(4)? {
            1 => Kind::Intent,
            2 => Kind::Commit,
            3 => Kind::Gap,
            _ => return None,
        };
        let length = word(8)?;
        (length as usize <= PAYLOAD_BYTES_MAX).then_some(Self {
            kind,
            count: *bytes.get(5)?,
            length,
            payload_crc: word(12)?,
            seq: long(16)?,
            intent: long(24)?,
        })
    }
}

/// The frame that says that what follows it was first written at `place`.
pub(super) fn gap(place: Position) -> [u8; HEADER_BYTES] {
    let header = Header {
        kind: Kind::Gap,
        count: 0,
        length: 0,
        payload_crc: crc32fast::hash(&[]),
        seq: place.offset,
        intent: place.segment,
    };
    header.to_bytes()
}

/// A frame to be written: everything but its header, which is filled in under the writer's lock.
#[derive(Clone, Debug)]
pub(super) struct Body {
    bytes: Vec<u8>,
    payload_crc: u32,
    count: u8,
}

impl Body {
    /// The payload of `events`, all of `tenant`.
    pub(super) fn of<'a>(
        tenant: &TenantId,
        events: impl IntoIterator<Item = &'a Event>,
    ) -> Result<Self, Error> {
        let mut bytes = Vec::with_capacity(1024);
        bytes.resize(HEADER_BYTES, 0);
        let name = tenant.as_str().as_bytes();
        // A tenant id has at most 32 bytes.
        bytes.push(name.len() as u8);
        bytes.extend_from_slice(name);
        let mut count = 0_usize;
        for event in events {
            if event.tenant_id != *tenant {
                return Err(Error::internal(
                    "an event of another tenant than its slot's",
                ));
            }
            push_event(&mut bytes, event)?;
            count += 1;
        }
        if !(1..=EVENTS_MAX).contains(&count) {
            return Err(Error::internal(format!("a frame of {count} events")));
        }
        Ok(Self::sealed(bytes, count as u8))
    }

    /// A frame whose payload is given, as it was read.
    pub(super) fn of_payload(payload: &[u8], count: u8) -> Self {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len());
        bytes.resize(HEADER_BYTES, 0);
        bytes.extend_from_slice(payload);
        Self::sealed(bytes, count)
    }

    fn sealed(bytes: Vec<u8>, count: u8) -> Self {
        let payload_crc = crc32fast::hash(&bytes[HEADER_BYTES..]);
        Self {
            bytes,
            payload_crc,
            count,
        }
    }

    /// The whole frame.
    pub(super) fn frame(&mut self, kind: Kind, seq: u64, intent: u64) -> &[u8] {
        let header = Header {
            kind,
            count: self.count,
            length: (self.bytes.len() - HEADER_BYTES) as u32,
            payload_crc: self.payload_crc,
            seq,
            intent,
        };
        self.bytes[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
        &self.bytes
    }

    /// How many events it has.
    pub(super) fn count(&self) -> u8 {
        self.count
    }

    /// Size of the whole frame.
    pub(super) fn frame_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Whose events they are.
    pub(super) fn tenant(&self) -> Option<TenantId> {
        let (tenant, _) = parse_tenant(&self.bytes[HEADER_BYTES..])?;
        tenant.parse().ok()
    }
}

fn push_event(bytes: &mut Vec<u8>, event: &Event) -> Result<(), Error> {
    if !event.duration_ms.is_finite() {
        // JSON has no such number, and what is written must read back.
        return Err(Error::internal("an event whose duration is no number"));
    }
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    serde_json::to_writer(&mut *bytes, event)
        .map_err(|cause| Error::internal("an event is no JSON").caused_by(cause))?;
    let length = bytes.len() - start - 4;
    if length > EVENT_BYTES_MAX {
        return Err(Error::new(
            ErrorKind::TooLarge,
            format!("an event has {length} bytes with its detail"),
        )
        .fix("Put the content into an artifact and send its key.")
        .detail("limit", EVENT_BYTES_MAX as u64));
    }
    bytes[start..start + 4].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(())
}

/// The tenant of a payload and the JSON of its events.
pub(in crate::mesh::event) fn parse_payload(payload: &[u8]) -> Option<(TenantId, Vec<&[u8]>)> {
    let (tenant, mut rest) = parse_tenant(payload)?;
    let mut events = Vec::new();
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        events.push(after.get(..length)?);
        rest = &after[length..];
    }
    Some((tenant.parse().ok()?, events))
}

/// The tenant of a payload, and what follows it.
pub(in crate::mesh::event) fn parse_tenant(payload: &[u8]) -> Option<(&str, &[u8])> {
    let (&length, rest) = payload.split_first()?;
    let name = rest.get(..usize::from(length))?;
    Some((
        std::str::from_utf8(name).ok()?,
        &rest[usize::from(length)..],
    ))
}

/// One step through a segment.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::mesh::event) enum Step {
    /// A sound frame, whose payload is [`FrameReader::payload`].
    Frame(Header),
    /// So many bytes that are no frame, or one whose checksum is wrong.
    Damaged(u64),
    /// The end; so many bytes before it are the beginning of a frame that was never finished.
    End(u64),
}

/// Reads a segment from front to back.
#[derive(Debug)]
pub(in crate::mesh::event) struct FrameReader {
    file: File,
    buffer: Vec<u8>,
    start: usize,
    /// The byte of the file at which the next step begins.
    offset: u64,
    /// The place in the log at which the next step begins.
    place: Position,
    /// The place at which the last step's frame or damage begins.
    found_at: Position,
    payload: std::ops::Range<usize>,
}

impl FrameReader {
    /// A reader of the file of `segment` under `path` that begins with the first frame at or after `from`.
    pub(super) fn open(path: &Path, segment: u64, from: Position) -> io::Result<Self> {
        let mut reader = Self {
            file: File::open(path)?,
            buffer: Vec::new(),
            start: 0,
            offset: 0,
            place: Position { segment, offset: 0 },
            found_at: Position::default(),
            payload: 0..0,
        };
        if from <= reader.place {
            return Ok(reader);
        }
        let length = reader.length()?;
        if reader.pass_gaps(length)? {
            while reader.place < from {
                if let Step::End(_) = reader.step(length)? {
                    break;
                }
                reader.pass_gaps(length)?;
            }
        } else {
            reader.offset = match from.segment == segment {
                true => from.offset,
                false => length,
            };
            reader.place.offset = reader.offset;
            reader.buffer.clear();
            reader.file.seek(SeekFrom::Start(reader.offset))?;
        }
        Ok(reader)
    }

    /// The place in the log where the next step begins.
    pub(super) fn place(&self) -> Position {
        self.place
    }

    /// The place in the log where what the last step found begins.
    pub(super) fn found_at(&self) -> Position {
        self.found_at
    }

    /// The bytes of the file that have been read.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Size of the file at this moment.
    pub(super) fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// The payload of the frame that the last step found.
    pub(super) fn payload(&self) -> &[u8] {
        self.buffer.get(self.payload.clone()).unwrap_or_default()
    }

    /// The next step; nothing of the file at or beyond `limit` is looked at.
    pub(super) fn step(&mut self, limit: u64) -> io::Result<Step> {
        self.pass_gaps(limit)?;
        self.found_at = self.place;
        let left = limit.saturating_sub(self.offset);
        if !self.fill(HEADER_BYTES, limit)? {
            return Ok(Step::End(left));
        }
        let Some(header) = Header::parse(&self.buffer[self.start..self.start + HEADER_BYTES])
        else {
            return self.find_header(limit).map(Step::Damaged);
        };
        let frame_bytes = header.frame_bytes() as usize;
        if !self.fill(frame_bytes, limit)? {
            return Ok(Step::End(left));
        }
        self.payload = self.start + HEADER_BYTES..self.start + frame_bytes;
        let sound = crc32fast::hash(self.payload()) == header.payload_crc;
        self.consume(frame_bytes);
        Ok(if sound {
            Step::Frame(header)
        } else {
            Step::Damaged(frame_bytes as u64)
        })
    }

    /// Passes over gaps, of which each says where the next frame belongs; whether there were any.
    fn pass_gaps(&mut self, limit: u64) -> io::Result<bool> {
        let mut has_passed = false;
        while self.fill(HEADER_BYTES, limit)?
            && let Some(gap) = Header::parse(&self.buffer[self.start..])
            && gap.kind == Kind::Gap
        {
            let place = Position {
                segment: gap.intent,
                offset: gap.seq,
            };
            let place = place.max(self.place);
            self.consume(gap.frame_bytes() as usize);
            self.place = place;
            has_passed = true;
        }
        Ok(has_passed)
    }

    /// Passes over what is no frame, up to the next header or the end; answers how much that was.
    fn find_header(&mut self, limit: u64) -> io::Result<u64> {
        let from = self.offset;
        self.consume(1);
        while self.fill(HEADER_BYTES, limit)? {
            let found = self.buffer[self.start..]
                .windows(MARKER.len())
                .position(|window| window == MARKER);
            match found {
                Some(0) if Header::parse(&self.buffer[self.start..]).is_some() => break,
                Some(0) => self.consume(1),
                Some(distance) => self.consume(distance),
                None => self.consume(self.buffer.len() - self.start - (MARKER.len() - 1)),
            }
        }
        let left = limit.saturating_sub(self.offset);
        if left < HEADER_BYTES as u64 {
            self.start = self.buffer.len();
            self.offset += left;
            self.place.offset += left;
        }
        Ok(self.offset - from)
    }

    fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        self.offset += bytes as u64;
        self.place.offset += bytes as u64;
    }

    /// Whether at least `wanted` bytes are at hand, after reading more of them where need be.
    fn fill(&mut self, wanted: usize, limit: u64) -> io::Result<bool> {
        if self.buffer.len() - self.start >= wanted {
            return Ok(true);
        }
        if limit.saturating_sub(self.offset) < wanted as u64 {
            return Ok(false);
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.buffer.capacity() > 8 * CHUNK_BYTES && wanted <= CHUNK_BYTES {
            self.buffer.shrink_to(2 * CHUNK_BYTES);
        }
        let held = self.buffer.len();
        let reach = limit - self.offset;
        let target = reach.min(wanted.max(CHUNK_BYTES) as u64) as usize;
        (&mut self.file)
            .take((target - held) as u64)
            .read_to_end(&mut self.buffer)?;
        Ok(self.buffer.len() >= wanted)
    }
}

#[cfg(test)]
mod tests;
