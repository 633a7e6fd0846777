//! The positions up to which a log has been acknowledged, kept beside it so that a restart repeats little.
//!
//! Two slots are written in turn, so one of them is whole whenever the process is killed. They are not
//! synced: after a loss of power an older position costs repetitions, never records.
//!
//! A file of the version before has slots of two ways. The third one then begins at the lower of both:
//! everything that is sure to be in the log still, which that version has asked no rules about.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use super::log::Position;
use super::note::{NOTES_NAME, Note, Notebook};
use super::share::Way;

/// Where each way is.
type Positions = [Position; Way::COUNT];

/// A slot: marker, generation, the positions, checksum.
const SLOT_BYTES: usize = slot_bytes_of(Way::COUNT);
const MARKER: u32 = 0x0A_C5_0B_02;

/// A slot of the version before, of two ways.
const OLDER_SLOT_BYTES: usize = slot_bytes_of(2);
const OLDER_MARKER: u32 = 0x0A_C5_0B_01;

const fn slot_bytes_of(ways: usize) -> usize {
    4 + 8 + 16 * ways + 4
}

/// The file of acknowledged positions.
#[derive(Debug)]
pub(super) struct Acks {
    file: File,
    generation: u64,
    positions: Positions,
    notes: Notebook,
}

impl Acks {
    /// Opens the file under `path`, or makes it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other?,
        };
        let (generation, positions) = match (newest(&bytes), newest_of_older(&bytes)) {
            (None, Some((generation, positions))) => {
                // Slots of two sizes would overlap, so the file is replaced whole.
                let path_new = path.with_extension("new");
                let mut slots = [0; 2 * SLOT_BYTES];
                place(&mut slots, generation, positions);
                fs::write(&path_new, slots)?;
                fs::rename(&path_new, path)?;
                (generation, positions)
            }
            (found, _) => found.unwrap_or_default(),
        };
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        Ok(Self {
            file,
            generation,
            positions,
            notes: Notebook::begin(path.with_file_name(NOTES_NAME))?,
        })
    }

    /// The positions in the bytes of such a file, for who only looks.
    pub(super) fn positions_in(bytes: &[u8]) -> Positions {
        let found = newest(bytes).or_else(|| newest_of_older(bytes));
        found.unwrap_or_default().1
    }

    /// Up to where each way has been acknowledged.
    pub(super) fn positions(&self) -> Positions {
        self.positions
    }

    /// What way still holds of what it has read, to be kept with the positions.
    pub(super) fn note(&mut self, way: Way, note: Option<Note>) {
        self.notes.put(way, note);
    }

    /// Keeps new positions and notes, unless they are the ones that are kept.
    pub(super) fn keep(&mut self, positions: Positions) -> io::Result<()> {
        self.notes.keep()?;
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
fn newest(bytes: &[u8]) -> Option<(u64, Positions)> {
    let slots = bytes.chunks_exact(SLOT_BYTES).take(2);
    slots
        .filter_map(|slot| parse::<{ Way::COUNT }>(slot, MARKER))
        .max_by_key(|&(generation, _)| generation)
}

/// The same of a file of the version before.
fn newest_of_older(bytes: &[u8]) -> Option<(u64, Positions)> {
    let slots = bytes.chunks_exact(OLDER_SLOT_BYTES).take(2);
    let found = slots.filter_map(|slot| parse::<2>(slot, OLDER_MARKER));
    let (generation, [history, bus]) = found.max_by_key(|&(generation, _)| generation)?;
    Some((generation, [history, bus, history.min(bus)]))
}

/// Puts a slot where its generation belongs.
fn place(slots: &mut [u8; 2 * SLOT_BYTES], generation: u64, positions: Positions) {
    let at = (generation % 2) as usize * SLOT_BYTES;
    slots[at..at + SLOT_BYTES].copy_from_slice(&slot_bytes(generation, positions));
}

fn slot_bytes(generation: u64, positions: Positions) -> [u8; SLOT_BYTES] {
    let mut bytes = [0; SLOT_BYTES];
    bytes[..4].copy_from_slice(&MARKER.to_le_bytes());
    let places = positions
        .iter()
        .flat_map(|held| [held.segment, held.offset]);
    let words = std::iter::once(generation).chain(places);
    for (word, at) in words.zip((4..).step_by(8)) {
        bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }
    let end = SLOT_BYTES - 4;
    let crc = crc32fast::hash(&bytes[..end]);
    bytes[end..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn parse<const WAYS: usize>(bytes: &[u8], marker: u32) -> Option<(u64, [Position; WAYS])> {
    let word = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let end = slot_bytes_of(WAYS) - 4;
    let is_marked = bytes.get(..4)? == marker.to_le_bytes();
    let is_sound = bytes.get(end..)? == crc32fast::hash(bytes.get(..end)?).to_le_bytes();
    (is_marked && is_sound).then_some(())?;
    let mut positions = [Position::default(); WAYS];
    for (position, at) in positions.iter_mut().zip((12..).step_by(16)) {
        position.segment = word(at)?;
        position.offset = word(at + 8)?;
    }
    Some((word(4)?, positions))
}

/// A file as the version before wrote it: where history and bus are.
#[cfg(test)]
pub(in crate::mesh::event) fn acks_of_two_ways(history: Position, bus: Position) -> Vec<u8> {
    tests::older_slot(2, [history, bus])
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
        assert_eq!(acks.positions(), [at(0, 0); 3]);
        acks.keep([at(1, 10), at(1, 5), at(1, 7)]).unwrap();
        acks.keep([at(2, 20), at(1, 6), at(1, 8)]).unwrap();
        assert_eq!(
            Acks::open(&path).unwrap().positions(),
            [at(2, 20), at(1, 6), at(1, 8)]
        );
        let whole = fs::read(&path).unwrap();
        for torn in 0..SLOT_BYTES {
            // The second generation lies in the first slot.
            let mut bytes = whole.clone();
            bytes[torn] ^= 0x40;
            fs::write(&path, &bytes).unwrap();
            assert_eq!(
                Acks::open(&path).unwrap().positions(),
                [at(1, 10), at(1, 5), at(1, 7)]
            );
        }
        fs::write(&path, b"short").unwrap();
        assert_eq!(Acks::open(&path).unwrap().positions(), [at(0, 0); 3]);
    }
    /// A slot as the version before wrote it.
    pub(super) fn older_slot(generation: u64, positions: [Position; 2]) -> Vec<u8> {
        let mut bytes = 0x0A_C5_0B_01_u32.to_le_bytes().to_vec();
        bytes.extend(generation.to_le_bytes());
        for position in positions {
            bytes.extend(position.segment.to_le_bytes());
            bytes.extend(position.offset.to_le_bytes());
        }
        let crc = crc32fast::hash(&bytes);
        bytes.extend(crc.to_le_bytes());
        assert_eq!(bytes.len(), 48);
        bytes
    }

    #[test]
    fn a_file_of_two_ways_is_read_and_the_third_begins_at_the_lower() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("acks");
        let older = [
            older_slot(8, [at(2, 20), at(1, 6)]),
            older_slot(7, [at(1, 10), at(1, 5)]),
        ]
        .concat();
        fs::write(&path, &older).unwrap();
        let expected = [at(2, 20), at(1, 6), at(1, 6)];
        assert_eq!(Acks::positions_in(&older), expected);
        let mut acks = Acks::open(&path).unwrap();
        assert_eq!(acks.positions(), expected);
        let replaced = fs::read(&path).unwrap();
        assert_eq!(Acks::positions_in(&replaced), expected);
        let later = [at(2, 30), at(2, 30), at(1, 9)];
        acks.keep(later).unwrap();
        assert_eq!(Acks::open(&path).unwrap().positions(), later);
        // The generations went on, so a torn newest slot leaves the one before.
        let mut torn = fs::read(&path).unwrap();
        torn[SLOT_BYTES + 20] ^= 1;
        fs::write(&path, &torn).unwrap();
        assert_eq!(Acks::open(&path).unwrap().positions(), expected);
        // A torn slot of the version before leaves its other one, too.
        let mut torn = older;
        torn[20] ^= 1;
        fs::write(&path, &torn).unwrap();
        let expected = [at(1, 10), at(1, 5), at(1, 5)];
        assert_eq!(Acks::open(&path).unwrap().positions(), expected);
    }
}
