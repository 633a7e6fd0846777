//! Takes over the log of a writer that is gone: what it held, and what became of its open intents.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

use super::acks::Acks;
use super::disk::Disk;
use super::folder::Folder;
use super::frame::{Body, FrameReader, Kind, Step, parse_tenant};
use super::log::{Damage, Log, Position, Recovered, Segment};
use super::share::Way;
use crate::mesh::tenant::TenantId;

/// How far the numbers go on after a torn end. What was torn away may have been published before the
/// power went, under the numbers that would come next.
const TORN_SEQ_GAP: u64 = 1 << 16;

/// Per tenant and way: bytes and records that have yet to leave.
pub(super) type Backlog = HashMap<TenantId, [(u64, u64); Way::COUNT]>;

/// What a scan has found so far.
struct Scan {
    acked: [Position; Way::COUNT],
    backlog: Backlog,
    open: BTreeMap<u64, Body>,
    seq: u64,
    intent: u64,
    is_torn: bool,
    damage: Vec<(Position, u64, bool)>,
}

/// Reads all of the log in `folder` and opens it for reading and for more frames. Blocks for about as long
/// as reading its bytes takes.
pub(super) fn recover(
    folder: Folder,
    disk: Arc<dyn Disk>,
    segment_bytes_max: u64,
    damage: Arc<Damage>,
) -> io::Result<(Log, Backlog)> {
    let mut scan = Scan {
        acked: Acks::open(&folder.acks())?.positions(),
        backlog: Backlog::new(),
        open: BTreeMap::new(),
        seq: 0,
        intent: 0,
        is_torn: false,
        damage: Vec::new(),
    };
    folder.clear_unfinished_segments()?;
    let mut segments: Vec<Segment> = Vec::new();
    let mut tail = Position::default();
    for (number, bytes) in folder.segments()? {
        if segments.last().is_some_and(|before| number <= before.last) {
            // The writer died after it had put all that was needed of this one into the one before.
            folder.remove_segment(number)?;
            continue;
        }
        let path = folder.segment(number);
        let mut reader = FrameReader::open(&path, number, Position::default())?;
        scan.segment(&mut reader, bytes)?;
        tail = reader.place();
        if tail.segment == number {
            // What a torn end left is passed over by those who read on.
            tail.offset = tail.offset.max(bytes);
        }
        segments.push(Segment {
            number,
            last: tail.segment,
            bytes,
        });
    }
    // After a loss of power the acknowledgements may have survived what they acknowledge.
    scan.is_torn |= scan.acked.iter().any(|&acked| acked > tail);
    let gap = if scan.is_torn { TORN_SEQ_GAP } else { 0 };
    let recovered = Recovered {
        segments,
        tail,
        next_seq: scan.seq + 1 + gap,
        next_intent: scan.intent + 1,
        open: scan.open.into_iter().collect(),
    };
    let log = Log::open(folder, disk, segment_bytes_max, damage, recovered)?;
    for (position, bytes, is_torn) in scan.damage {
        log.note_damage(position, bytes, is_torn);
    }
    Ok((log, scan.backlog))
}

impl Scan {
    fn segment(&mut self, reader: &mut FrameReader, bytes: u64) -> io::Result<()> {
        loop {
            let step = reader.step(bytes)?;
            let position = reader.found_at();
            match step {
                Step::Frame(header) => {
                    self.intent = self.intent.max(header.intent);
                    match header.kind {
                        Kind::Intent => {
                            self.seq = self.seq.max(header.seq.saturating_sub(1));
                            let body = Body::of_payload(reader.payload(), header.count);
                            self.open.insert(header.intent, body);
                        }
                        Kind::Commit => {
                            let last = header.seq + u64::from(header.count.max(1)) - 1;
                            self.seq = self.seq.max(last);
                            self.open.remove(&header.intent);
                            let frame_bytes = header.frame_bytes();
                            self.count(position, reader.payload(), frame_bytes, header.count);
                        }
                        Kind::Gap => {}
                    }
                }
                Step::Damaged(bytes) => {
                    self.is_torn = true;
                    self.damage.push((position, bytes, false));
                }
                Step::End(torn) => {
                    if torn > 0 {
                        self.is_torn = true;
                        self.damage.push((position, torn, true));
                    }
                    return Ok(());
                }
            }
        }
    }

    fn count(&mut self, position: Position, payload: &[u8], bytes: u64, records: u8) {
        let tenant = parse_tenant(payload).and_then(|(tenant, _)| tenant.parse::<TenantId>().ok());
        let Some(tenant) = tenant else { return };
        for way in Way::ALL {
            if position >= self.acked[way as usize] {
                let held = self.backlog.entry(tenant.clone()).or_default();
                held[way as usize].0 += bytes;
                held[way as usize].1 += u64::from(records);
            }
        }
    }
}
