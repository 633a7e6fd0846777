//! The end of a log, under the lock of whoever appends: where it is, and what is still needed of the rest.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;

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
    /// Number of each segment, and how many bytes of frames are in all segments before it.
    pub(super) segments: VecDeque<(u64, u64)>,
    pub(super) open: BTreeMap<u64, OpenIntent>,
    pub(super) lows: [Position; Way::COUNT],
    /// Bytes of frames from the beginning of time up to the lowest of `lows`.
    pub(super) released: u64,
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

    /// Bytes of frames from the beginning of time up to `position`.
    pub(super) fn bytes_before(&self, position: Position) -> u64 {
        let found = self
            .segments
            .partition_point(|&(number, _)| number < position.segment);
        match self.segments.get(found) {
            Some(&(number, base)) if number == position.segment => base + position.offset,
            Some(&(_, base)) => base,
            None => self
                .segments
                .back()
                .map_or(0, |&(_, base)| base + self.tail.offset),
        }
    }

    /// Forgets the segments that nobody needs any more; answers their numbers.
    pub(super) fn take_done(&mut self) -> Vec<u64> {
        let low = self.low();
        self.released = self.bytes_before(low).max(self.released);
        let oldest_intent = self.open.values().map(|open| open.segment).min();
        let needed = oldest_intent.map_or(low.segment, |segment| segment.min(low.segment));
        let mut done = Vec::new();
        while let Some(&(number, _)) = self.segments.front()
            && number < needed
            && number < self.tail.segment
        {
            self.segments.pop_front();
            done.push(number);
        }
        done
    }
}
