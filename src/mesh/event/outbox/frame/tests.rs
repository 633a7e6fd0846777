//! Frames survive what disks do to them.

use proptest::prelude::*;

use super::*;
use crate::mesh::event::fakes::event;

fn frame(seq: u64, key: &str) -> Vec<u8> {
    let mut event = event("acme", 1_700_000_000_000 + seq);
    let data = serde_json::json!({ "key": key }).to_string();
    event.data = serde_json::value::RawValue::from_string(data).unwrap();
    let mut body = Body::of(&event.tenant_id.clone(), [&event]).unwrap();
    body.frame(Kind::Commit, seq, 0).to_vec()
}

struct Read {
    seqs: Vec<u64>,
    damaged: u64,
    torn: u64,
}

fn read(bytes: &[u8]) -> Read {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let mut reader = FrameReader::open(file.path(), 1, Position::default()).unwrap();
    let mut read = Read {
        seqs: Vec::new(),
        damaged: 0,
        torn: 0,
    };
    loop {
        match reader.step(bytes.len() as u64).unwrap() {
            Step::Frame(header) => {
                let (tenant, events) = parse_payload(reader.payload()).unwrap();
                assert_eq!(tenant.as_str(), "acme");
                assert_eq!(events.len(), usize::from(header.count));
                for event in events {
                    serde_json::from_slice::<Event>(event).unwrap();
                }
                read.seqs.push(header.seq);
            }
            Step::Damaged(bytes) => read.damaged += bytes,
            Step::End(torn) => {
                read.torn = torn;
                return read;
            }
        }
    }
}

#[test]
fn a_frame_cut_at_any_byte_costs_that_frame_alone() {
    let whole: Vec<u8> = (1..=2).flat_map(|seq| frame(seq, "a")).collect();
    let last = frame(3, "b");
    for cut in 0..=last.len() {
        let mut bytes = whole.clone();
        bytes.extend_from_slice(&last[..cut]);
        let read = read(&bytes);
        let expected: &[u64] = if cut == last.len() {
            &[1, 2, 3]
        } else {
            &[1, 2]
        };
        assert_eq!(read.seqs, expected, "cut at {cut}");
        let lost = if cut == last.len() { 0 } else { cut as u64 };
        assert_eq!(read.torn + read.damaged, lost, "cut at {cut}");
    }
}

#[test]
fn zeros_where_a_loss_of_power_took_the_bytes_are_passed_over() {
    for zeros in [1, 35, 36, 37, 70_000] {
        let mut bytes = frame(1, "a");
        bytes.extend(std::iter::repeat_n(0, zeros));
        bytes.extend(frame(2, "b"));
        let read = read(&bytes);
        assert_eq!(read.seqs, [1, 2]);
        assert_eq!(read.damaged, zeros as u64);
    }
}

#[test]
fn a_detail_that_imitates_a_frame_is_no_frame() {
    // The marker is no UTF-8, so the nearest a caller can come is its escaped or replaced form.
    let imitation = String::from_utf8_lossy(&frame(9, "x")).into_owned();
    let mut first = frame(1, &imitation);
    let middle = HEADER_BYTES + 10;
    first[middle] ^= 1;
    let mut bytes = first;
    bytes.extend(frame(2, "b"));
    assert_eq!(read(&bytes).seqs, [2]);
    // With its header gone as well, the whole of it is searched for frames.
    bytes[0] ^= 1;
    assert_eq!(read(&bytes).seqs, [2]);
}

#[test]
fn the_largest_frame_is_read_back_and_a_larger_event_is_refused() {
    let mut large = event("acme", 1);
    let envelope = serde_json::to_vec(&large).unwrap().len() - large.data.get().len();
    let fill = EVENT_BYTES_MAX - envelope - 2;
    let text = |length: usize| {
        let data = format!("\"{}\"", "x".repeat(length));
        serde_json::value::RawValue::from_string(data).unwrap()
    };
    large.data = text(fill);
    let tenant = large.tenant_id.clone();
    let mut body = Body::of(&tenant, std::iter::repeat_n(&large, EVENTS_MAX)).unwrap();
    let mut bytes = body.frame(Kind::Commit, 1, 0).to_vec();
    bytes.extend(frame(11, "after"));
    assert_eq!(read(&bytes).seqs, [1, 11]);

    assert!(Body::of(&tenant, std::iter::repeat_n(&large, EVENTS_MAX + 1)).is_err());
    large.data = text(fill + 1);
    let error = Body::of(&tenant, [&large]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    large.duration_ms = f64::NAN;
    assert!(Body::of(&tenant, [&large]).is_err());
    assert!(Body::of(&tenant, []).is_err());
    assert!(Body::of(&"other".parse().unwrap(), [&event("acme", 1)]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_flipped_bit_costs_one_frame(frames in 1_u64..6, at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let parts: Vec<Vec<u8>> = (1..=frames).map(|seq| frame(seq, &"k".repeat(seq as usize * 7))).collect();
        let mut bytes = parts.concat();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let mut end = 0;
        let hit = parts.iter().position(|part| { end += part.len(); at < end }).unwrap() as u64 + 1;
        let expected: Vec<u64> = (1..=frames).filter(|&seq| seq != hit).collect();
        prop_assert_eq!(read(&bytes).seqs, expected);
    }

    #[test]
    fn whatever_lies_between_frames_is_passed_over(noise in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = frame(1, "a");
        bytes.extend(&noise);
        bytes.extend(frame(2, "b"));
        bytes.extend(&noise);
        let read = read(&bytes);
        prop_assert_eq!(read.seqs, [1, 2]);
        prop_assert_eq!(read.damaged + read.torn, 2 * noise.len() as u64);
    }
}
