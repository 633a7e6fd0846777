//! The end of a log, under the lock of whoever appends: where it is, and what is still needed of the rest.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::ops::Range;

use super::super::frame::Body;
use super::super::share::Way;
use super::Position;

/// The end of a log.
pub(super) struct Appender {
    /// The last segment; none where the next frame begins a new one.
    pub(super) file: Option<File>,
    pub(super) tail: Position,
    pub(super) next_seq: u64,
    pub(super) next_intent: u64,
    /// The files, in order; the last one has the tail.
    pub(super) segments: VecDeque<Segment>,
    /// Bytes of all files but the last one.
    pub(super) closed_bytes: u64,
    pub(super) open: BTreeMap<u64, OpenIntent>,
    pub(super) lows: [Position; Way::COUNT],
}

/// A file of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Segment {
    /// Its number, which is its name.
    pub(in super::super) number: u64,
    /// The last segment of which it has what was kept; more than `number` where several were compacted into one.
    pub(in super::super) last: u64,
    /// Its size, if it is not the last file of the log.
    pub(in super::super) bytes: u64,
}

/// An intent that has no outcome yet.
pub(super) struct OpenIntent {
    pub(super) body: Body,
    /// What became of it, where that is known and could not be written.
    pub(super) outcome: Option<Body>,
    pub(super) segment: u64,
    /// Its call is over, and its outcome could not be written.
    pub(super) is_orphan: bool,
}

impl Appender {
    pub(super) fn low(&self) -> Position {
        self.lows.into_iter().min().unwrap_or_default()
    }

    /// Where the files are that have the segments from `number` on.
    pub(super) fn find(&self, number: u64) -> usize {
        self.segments.partition_point(|held| held.last < number)
    }

    /// The next file has begun; the one that was the last has `bytes`.
    pub(super) fn push(&mut self, number: u64, bytes: u64) {
        if let Some(closed) = self.segments.back_mut() {
            closed.bytes = bytes;
            self.closed_bytes += bytes;
        }
        self.segments.push_back(Segment {
            number,
            last: number,
            bytes: 0,
        });
    }

    /// The files at some places, of which none is the last, have become one or none.
    pub(super) fn replace(&mut self, files: Range<usize>, by: Option<Segment>) {
        let at = files.start;
        let before: u64 = self.segments.drain(files).map(|held| held.bytes).sum();
        self.closed_bytes -= before;
        if let Some(segment) = by {
            self.closed_bytes += segment.bytes;
            self.segments.insert(at, segment);
        }
    }

    /// Forgets the segments that nobody needs any more; answers their numbers.
    pub(super) fn take_done(&mut self) -> Vec<u64> {
        let low = self.low();
        let oldest_intent = self.open.values().map(|open| open.segment).min();
        let needed = oldest_intent.map_or(low.segment, |segment| segment.min(low.segment));
        let mut done = Vec::new();
        while let Some(&first) = self.segments.front()
            && first.last < needed
            && first.last < self.tail.segment
        {
            self.segments.pop_front();
            self.closed_bytes -= first.bytes;
            done.push(first.number);
        }
        done
    }
}
