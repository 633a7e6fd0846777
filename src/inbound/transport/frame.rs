//! Bytes to lines: one frame a line, bounded, and copied once at most.

use super::scan::Scan;

/// How much is asked of the reader at once, in bytes.
const READ_BYTES: usize = 64 * 1024;

/// From this length on a line takes the buffer with it instead of being copied out of it, in bytes.
const LONG_LINE_BYTES: usize = 256 * 1024;

/// The mark that some programs put before UTF-8 text.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// One frame.
#[derive(Debug)]
pub(super) enum Frame {
    /// A line without its line break.
    Line(Vec<u8>),
    /// A line over the limit, of which only what [`Scan`] recognized is left.
    TooLong(Box<Scan>),
}

/// What has been read and not yet been cut into frames.
#[derive(Debug)]
pub(super) struct Frames {
    limit: usize,
    buffer: Vec<u8>,
    /// Where the next line starts in `buffer`.
    start: usize,
    /// Up to where `buffer` is known to hold no line break.
    searched: usize,
    /// Set while a line over the limit passes by.
    skipped: Option<Box<Scan>>,
    at_first_line: bool,
}

impl Frames {
    /// Frames of at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            buffer: Vec::new(),
            start: 0,
            searched: 0,
            skipped: None,
            at_first_line: true,
        }
    }

    /// Where to read into, with room for some more bytes.
    pub(super) fn space(&mut self) -> &mut Vec<u8> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
        }
        if self.buffer.is_empty() && self.buffer.capacity() > LONG_LINE_BYTES {
            self.buffer = Vec::new();
        }
        if self.buffer.capacity() - self.buffer.len() < READ_BYTES / 2 {
            self.buffer.reserve(READ_BYTES);
        }
        &mut self.buffer
    }

    /// Bytes that are read and not yet part of a frame.
    pub(super) fn gathered(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// The next whole frame; at the end of the input also a last line without a line break.
    pub(super) fn next(&mut self, input_ended: bool) -> Option<Frame> {
        let rest = self.buffer.get(self.searched..).unwrap_or_default();
        if let Some(offset) = rest.iter().position(|byte| *byte == b'\n') {
            return Some(self.cut(self.searched + offset));
        }
        if input_ended {
            let something = self.start < self.buffer.len() || self.skipped.is_some();
            return something.then(|| self.cut(self.buffer.len()));
        }
        self.searched = self.buffer.len();
        self.skip_what_is_too_long();
        None
    }

    /// Takes the line that ends before `end`, and the line break at `end`.
    fn cut(&mut self, end: usize) -> Frame {
        let line = self.buffer.get(self.start..end).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let stop = self.start + line.len();
        let next = (end + 1).min(self.buffer.len());
        let at_first_line = std::mem::replace(&mut self.at_first_line, false);
        if self.skipped.is_some() || line.len() > self.limit {
            let mut scan = self.skipped.take().unwrap_or_default();
            scan.feed(line);
            self.start = next;
            self.searched = next;
            return Frame::TooLong(scan);
        }
        let mut line = if self.start == 0 && stop >= LONG_LINE_BYTES {
            let rest = self.buffer.split_off(next);
            let mut line = std::mem::replace(&mut self.buffer, rest);
            line.truncate(stop);
            line
        } else {
            let line = line.to_vec();
            self.start = next;
            line
        };
        self.searched = self.start;
        if at_first_line && line.starts_with(BYTE_ORDER_MARK) {
            line.drain(..BYTE_ORDER_MARK.len());
        }
        Frame::Line(line)
    }

    /// Forgets a line that is already over the limit, but for what can be recognized in it.
    fn skip_what_is_too_long(&mut self) {
        let line = self.buffer.get(self.start..).unwrap_or_default();
        // One byte more may be the carriage return of the line break, which does not count.
        if self.skipped.is_none() && line.len() <= self.limit.saturating_add(1) {
            return;
        }
        self.skipped.get_or_insert_default().feed(line);
        self.buffer.clear();
        self.start = 0;
        self.searched = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(frame: Option<Frame>) -> Option<String> {
        match frame? {
            Frame::Line(line) => Some(String::from_utf8(line).unwrap()),
            Frame::TooLong(_) => Some("<too long>".to_owned()),
        }
    }

    fn all(frames: &mut Frames, input: &[u8], chunk: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for part in input.chunks(chunk) {
            frames.space().extend_from_slice(part);
            lines.extend(std::iter::from_fn(|| text(frames.next(false))));
        }
        lines.extend(std::iter::from_fn(|| text(frames.next(true))));
        lines
    }

    #[test]
    fn lines_are_the_same_however_the_bytes_arrive() {
        let input = b"\xEF\xBB\xBFone\r\n\ntwo\nthree";
        for chunk in 1..=input.len() {
            assert_eq!(
                all(&mut Frames::new(100), input, chunk),
                ["one", "", "two", "three"],
                "in chunks of {chunk}"
            );
        }
    }

    #[test]
    fn a_line_at_the_limit_passes_and_one_past_it_does_not() {
        for line_break in ["\n", "\r\n", ""] {
            for chunk in [1, 3, 1000] {
                let fits = format!("12345678{line_break}");
                assert_eq!(
                    all(&mut Frames::new(8), fits.as_bytes(), chunk),
                    ["12345678"]
                );
                let does_not = format!("123456789{line_break}");
                assert_eq!(
                    all(&mut Frames::new(8), does_not.as_bytes(), chunk),
                    ["<too long>"]
                );
            }
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_not_kept_and_the_next_one_is_read() {
        let mut frames = Frames::new(1000);
        for _ in 0..1000 {
            frames.space().extend_from_slice(&[b'x'; 10_000]);
            assert!(frames.next(false).is_none());
        }
        assert!(frames.buffer.capacity() <= 2 * READ_BYTES);
        frames.space().extend_from_slice(b"x\nnext\n");
        assert_eq!(text(frames.next(false)).unwrap(), "<too long>");
        assert_eq!(text(frames.next(false)).unwrap(), "next");
    }

    #[test]
    fn a_long_line_takes_the_buffer_with_it_and_leaves_what_follows() {
        let long = "y".repeat(LONG_LINE_BYTES);
        let input = format!("{long}\nnext\n{long}");
        for chunk in [7_777, input.len()] {
            let lines = all(
                &mut Frames::new(2 * LONG_LINE_BYTES),
                input.as_bytes(),
                chunk,
            );
            assert_eq!(lines, [long.as_str(), "next", long.as_str()]);
        }
    }
}
