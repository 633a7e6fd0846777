//! What an object of a hand-over says: a line about itself, then its records as JSON, under a checksum.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use ulid::Ulid;

use crate::mesh::Error;
use crate::mesh::event::outbox::share::Way;
use crate::mesh::tenant::TenantId;

/// The most bytes of records in one object, as [`Handed::bytes`] counts them.
pub(super) const RECORDS_BYTES_MAX: usize = 4 << 20;

/// The most bytes of a whole object: its records, and the line about them.
pub(super) const OBJECT_BYTES_MAX: usize = RECORDS_BYTES_MAX + (4 << 10);

/// What every such object calls itself.
const FORMAT: &str = "agent-mesh hand-over";

/// The version of the format that is written, and the oldest that is understood. Version 1 knows no way past
/// the rules: whoever wrote it had none to ask.
const VERSION: u32 = 2;
const VERSION_OLDEST: u32 = 1;

/// What a record takes beside its event: its number, its ways and what JSON puts around them.
const RECORD_BYTES: usize = 64;

/// A record that another process is to publish.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Handed {
    /// Its number.
    pub(super) seq: u64,
    /// The ways on which it has yet to leave.
    pub(super) ways: Vec<Way>,
    /// The event, as the outbox had it.
    pub(super) event: Box<RawValue>,
}

/// Records of one tenant, of one writer.
#[derive(Clone, Debug)]
pub(super) struct HandOver {
    /// Whose they are.
    pub(super) tenant: TenantId,
    /// The process that recorded them.
    pub(super) writer: Ulid,
    /// The process that has taken them on.
    pub(super) claim: Option<Ulid>,
    /// The records, by their numbers.
    pub(super) records: Vec<Handed>,
}

/// Why an object is left alone.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// Its events are bound for somewhere else.
    Elsewhere,
    /// It is of a version that is not understood here.
    OtherVersion(u32),
    /// It is none of ours, or no longer as it was written.
    Damaged(&'static str),
}

/// What is read before anything else is believed.
#[derive(Deserialize)]
struct Format {
    format: String,
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
    target: String,
    tenant: TenantId,
    writer: Ulid,
    records: usize,
    bytes: usize,
    crc32: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    claim: Option<Ulid>,
}

impl Handed {
    /// Its share of an object, in bytes; rather too many than too few.
    pub(super) fn bytes(&self) -> usize {
        self.event.get().len() + RECORD_BYTES
    }
}

impl HandOver {
    /// The object, for events that are bound for `target`.
    ///
    /// # Errors
    /// `INTERNAL`, which cannot happen.
    pub(super) fn to_bytes(&self, target: &str) -> Result<Bytes, Error> {
        let no_json = |cause| Error::internal("a hand-over is no JSON").caused_by(cause);
        let records = serde_json::to_vec(&self.records).map_err(no_json)?;
        let header = Header {
            format: FORMAT.to_owned(),
            version: VERSION,
            target: target.to_owned(),
            tenant: self.tenant.clone(),
            writer: self.writer,
            records: self.records.len(),
            bytes: records.len(),
            crc32: crc32fast::hash(&records),
            claim: self.claim,
        };
        let mut bytes = serde_json::to_vec(&header).map_err(no_json)?;
        bytes.push(b'\n');
        bytes.extend_from_slice(&records);
        Ok(bytes.into())
    }

    /// The records in an object that was found where those of `tenant` and `writer` are.
    ///
    /// # Errors
    /// Why they cannot be taken on.
    pub(super) fn parse(
        bytes: &[u8],
        target: &str,
        tenant: &TenantId,
        writer: Ulid,
    ) -> Result<Self, Unreadable> {
        let damaged = Unreadable::Damaged;
        let line = bytes.iter().position(|&byte| byte == b'\n');
        let line = line.ok_or(damaged("it does not say what it is"))?;
        let (line, records) = (&bytes[..line], &bytes[line + 1..]);
        match serde_json::from_slice::<Format>(line) {
            Ok(found) if found.format != FORMAT => return Err(damaged("it is something else")),
            Ok(found) if !(VERSION_OLDEST..=VERSION).contains(&found.version) => {
                return Err(Unreadable::OtherVersion(found.version));
            }
            Ok(_) => {}
            Err(_) => return Err(damaged("it does not say what it is")),
        }
        let header: Header =
            serde_json::from_slice(line).map_err(|_| damaged("what it says of itself is wrong"))?;
        if header.target != target {
            return Err(Unreadable::Elsewhere);
        }
        if header.tenant != *tenant || header.writer != writer {
            return Err(damaged("it lies under another name than its own"));
        }
        if header.bytes != records.len() || header.crc32 != crc32fast::hash(records) {
            return Err(damaged("its checksum is wrong"));
        }
        let records: Vec<Handed> =
            serde_json::from_slice(records).map_err(|_| damaged("its records cannot be read"))?;
        if records.len() != header.records || !records.is_sorted_by(|a, b| a.seq < b.seq) {
            return Err(damaged("its records are not those it speaks of"));
        }
        Ok(Self {
            tenant: header.tenant,
            writer: header.writer,
            claim: header.claim,
            records,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hand_over() -> HandOver {
        let handed = |seq, ways: &[Way]| Handed {
            seq,
            ways: ways.to_vec(),
            event: RawValue::from_string("{\"data\":\n{}}".to_owned()).unwrap(),
        };
        HandOver {
            tenant: "acme".parse().unwrap(),
            writer: Ulid(7),
            claim: None,
            records: vec![handed(3, &[Way::Bus]), handed(9, &Way::ALL)],
        }
    }

    fn parse(bytes: &[u8]) -> Result<HandOver, Unreadable> {
        HandOver::parse(bytes, "here", &"acme".parse().unwrap(), Ulid(7))
    }

    #[test]
    fn what_was_written_reads_back_and_says_what_it_is() {
        let bytes = hand_over().to_bytes("here").unwrap();
        let text = std::str::from_utf8(&bytes).unwrap();
        assert!(
            text.starts_with(r#"{"format":"agent-mesh hand-over","version":2,"target":"here""#)
        );
        let read = parse(&bytes).unwrap();
        assert_eq!(read.records.len(), 2);
        assert_eq!(
            (read.records[0].seq, read.records[0].ways.as_slice()),
            (3, [Way::Bus].as_slice())
        );
        assert_eq!(read.records[1].ways, Way::ALL);
        assert_eq!(read.records[1].event.get(), "{\"data\":\n{}}");
        let bytes: usize = read.records.iter().map(Handed::bytes).sum();
        let written = serde_json::to_vec(&read.records).unwrap().len();
        assert!(bytes >= written, "{bytes} are counted for {written}");
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed_and_so_is_a_missing_end() {
        let whole = hand_over().to_bytes("here").unwrap();
        let begin = whole.iter().position(|&byte| byte == b'\n').unwrap();
        for at in begin + 1..whole.len() {
            let mut bytes = whole.to_vec();
            bytes[at] ^= 1;
            assert!(matches!(parse(&bytes), Err(Unreadable::Damaged(_))), "{at}");
        }
        for length in 0..whole.len() {
            assert!(parse(&whole[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn what_is_bound_for_elsewhere_newer_or_misplaced_is_told_apart() {
        let bytes = hand_over().to_bytes("there").unwrap();
        assert_eq!(parse(&bytes).unwrap_err(), Unreadable::Elsewhere);
        let text = String::from_utf8(hand_over().to_bytes("here").unwrap().to_vec()).unwrap();
        let newer = text.replace("\"version\":2", "\"version\":3");
        assert_eq!(
            parse(newer.as_bytes()).unwrap_err(),
            Unreadable::OtherVersion(3)
        );
        for wrong in [
            text.replace("\"acme\"", "\"beta\""),
            text.replace(&Ulid(7).to_string(), &Ulid(8).to_string()),
            text.replace("\"records\":2", "\"records\":3"),
        ] {
            let error = parse(wrong.as_bytes()).unwrap_err();
            assert!(matches!(error, Unreadable::Damaged(_)), "{wrong}");
        }
    }
}
