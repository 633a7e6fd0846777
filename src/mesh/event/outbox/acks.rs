//! The positions up to which a log has been acknowledged, kept beside it so that a restart repeats little.
//!
//! Two slots are written in turn, so one of them is whole whenever the process is killed. They are not
//! synced: after a loss of power an older position costs repetitions, never records.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::log::Position;

const SLOT_BYTES: usize = 48;
const MARKER: u32 = 0x0A_C5_0B_01;

/// The file of acknowledged positions.
#[derive(Debug)]
pub(super) struct Acks {
    file: File,
    generation: u64,
    positions: [Position; 2],
}

impl Acks {
    /// Opens the file under `path`, or makes it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let mut bytes = Vec::new();
        (&mut file)
            .take(2 * SLOT_BYTES as u64)
            .read_to_end(&mut bytes)?;
        let (generation, positions) = newest(&bytes);
        Ok(Self {
            file,
            generation,
            positions,
        })
    }

    /// The positions in the bytes of such a file, for who only looks.
    pub(super) fn positions_in(bytes: &[u8]) -> [Position; 2] {
        newest(bytes).1
    }

    /// Up to where each way has been acknowledged.
    pub(super) fn positions(&self) -> [Position; 2] {
        self.positions
    }

    /// Keeps new positions, unless they are the ones that are kept.
    pub(super) fn keep(&mut self, positions: [Position; 2]) -> io::Result<()> {
        if positions == self.positions {
            return Ok(());
        }
        let generation = self.generation + 1;
        let slot = (generation % 2) * SLOT_BYTES as u64;
        self.file.seek(SeekFrom::Start(slot))?;
        self.file.write_all(&slot_bytes(generation, positions))?;
        self.generation = generation;
        self.positions = positions;
        Ok(())
    }
}

/// The generation and the positions of the newest slot that is whole.
fn newest(bytes: &[u8]) -> (u64, [Position; 2]) {
    bytes
        .chunks_exact(SLOT_BYTES)
        .filter_map(parse)
        .max_by_key(|&(generation, _)| generation)
        .unwrap_or_default()
}

fn slot_bytes(generation: u64, positions: [Position; 2]) -> [u8; SLOT_BYTES] {
    let mut bytes = [0; SLOT_BYTES];
    bytes[..4].copy_from_slice(&MARKER.to_le_bytes());
    let words = [
        generation,
        positions[0].segment,
        positions[0].offset,
        positions[1].segment,
        positions[1].offset,
    ];
    for (word, at) in words.iter().zip((4..).step_by(8)) {
        bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }
    let crc = crc32fast::hash(&bytes[..44]);
    bytes[44..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn parse(bytes: &[u8]) -> Option<(u64, [Position; 2])> {
    let word = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let marker = bytes.get(..4)? == MARKER.to_le_bytes();
    let sound = bytes.get(44..)? == crc32fast::hash(bytes.get(..44)?).to_le_bytes();
    let position = |at: usize| {
        Some(Position {
            segment: word(at)?,
            offset: word(at + 8)?,
        })
    };
    (marker && sound).then_some(())?;
    Some((word(4)?, [position(12)?, position(28)?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(segment: u64, offset: u64) -> Position {
        Position { segment, offset }
    }

    #[test]
    fn positions_survive_and_a_torn_slot_falls_back_to_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("acks");
        let mut acks = Acks::open(&path).unwrap();
        assert_eq!(acks.positions(), [at(0, 0); 2]);
        acks.keep([at(1, 10), at(1, 5)]).unwrap();
        acks.keep([at(2, 20), at(1, 6)]).unwrap();
        assert_eq!(
            Acks::open(&path).unwrap().positions(),
            [at(2, 20), at(1, 6)]
        );
        let whole = std::fs::read(&path).unwrap();
        for torn in 0..SLOT_BYTES {
            // The second generation lies in the first slot.
            let mut bytes = whole.clone();
            bytes[torn] ^= 0x40;
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(
                Acks::open(&path).unwrap().positions(),
                [at(1, 10), at(1, 5)]
            );
        }
        std::fs::write(&path, b"short").unwrap();
        assert_eq!(Acks::open(&path).unwrap().positions(), [at(0, 0); 2]);
    }
}
