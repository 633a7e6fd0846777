//! Walks the lines of an audit log, file by file, and holds each against the one before it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use ulid::Ulid;

use super::super::files::Noted;
use super::super::line::{LINE_BYTES_MAX, Parsed, Place, Seal, no_line};
use super::{Chain, Finding, Report, VerifyError, What};

/// How often, and after which pause, a line is read on that is perhaps just being written.
const READS_MAX: u32 = 3;
const READ_PAUSE: Duration = Duration::from_millis(20);

/// What has been seen so far.
pub(super) struct Walk<'seal> {
    seal: &'seal Seal,
    report: Report,
    chains: BTreeMap<Ulid, Seen>,
    /// The seals that lines are known to have had, by chain and number.
    known: BTreeMap<(Ulid, u64), String>,
}

/// What has been seen of one chain.
struct Seen {
    first_seq: u64,
    last_seq: u64,
    digits: String,
    /// Whether something is wrong with it, so that nothing is expected of its next file.
    is_broken: bool,
    has_end: bool,
}

/// What a line says beside its place that concerns whoever checks it.
#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    count: u64,
    #[serde(default)]
    torn_bytes: u64,
    missing_chain: Option<Ulid>,
    #[serde(default)]
    missing_to_seq: u64,
}

/// What is wrong with a line.
type Wrong = (What, String);

impl<'seal> Walk<'seal> {
    pub(super) fn new(seal: &'seal Seal) -> Self {
        Self {
            seal,
            report: Report::default(),
            chains: BTreeMap::new(),
            known: BTreeMap::new(),
        }
    }

    /// Has the lines be held against what was noted of them.
    pub(super) fn expect<'noted>(&mut self, notes: impl Iterator<Item = &'noted Noted>) {
        self.known = notes
            .map(|noted| ((noted.chain, noted.seq), noted.digits.clone()))
            .collect();
    }

    /// Whether the seal of `line` is right.
    pub(super) fn is_sealed(&self, line: &Parsed<'_>) -> Result<bool, VerifyError> {
        match line.is_keyed && !self.seal.is_keyed() {
            true => Err(VerifyError::NeedsKey),
            false => Ok(line.fits(self.seal)),
        }
    }

    pub(super) fn find(
        &mut self,
        file: &Path,
        line: Option<u64>,
        seq: Option<u64>,
        what: What,
        message: String,
    ) {
        self.report.findings.push(Finding {
            file: file.to_owned(),
            line,
            seq,
            what,
            message,
        });
    }

    /// Walks the lines of one file up to the first that is wrong.
    pub(super) fn file(&mut self, path: &Path) -> Result<(), VerifyError> {
        let unreadable = |error| VerifyError::Read(path.to_owned(), error);
        let mut reader = BufReader::new(File::open(path).map_err(unreadable)?);
        self.report.files += 1;
        let mut bytes = Vec::new();
        let mut number = 0;
        let mut chain = None;
        while read_line(&mut reader, &mut bytes).map_err(unreadable)? {
            number += 1;
            self.report.lines += 1;
            let text = std::str::from_utf8(&bytes).unwrap_or_default();
            let whole = text.strip_suffix('\n');
            let line = whole.and_then(Parsed::of);
            let seq = line.as_ref().map(|line| line.place.seq);
            let wrong = match (whole, &line) {
                (None, _) if !bytes.ends_with(b"\n") => {
                    Some((What::Torn, "it is not whole".to_owned()))
                }
                (_, None) => Some((What::Altered, "it is no line of an audit log".to_owned())),
                (_, Some(line)) => self.wrong(path, line, chain)?,
            };
            if let Some((what, message)) = wrong {
                self.find(path, Some(number), seq, what, message);
                if let Some(seen) = chain.and_then(|chain| self.chains.get_mut(&chain)) {
                    seen.is_broken = true;
                } else if let Some(line) = &line {
                    self.broken(&line.place);
                }
                break;
            }
            if let (Some(line), Some(text)) = (line, whole) {
                chain = Some(line.place.chain);
                self.right(path, number, &line, text);
            }
        }
        Ok(())
    }

    /// What is wrong with a line, in a file that is of `chain` so far.
    fn wrong(
        &self,
        path: &Path,
        line: &Parsed<'_>,
        chain: Option<Ulid>,
    ) -> Result<Option<Wrong>, VerifyError> {
        let place = &line.place;
        if !self.is_sealed(line)? {
            return Ok(Some(match self.seal.is_keyed() && !line.is_keyed {
                true => (What::Unsealed, "it is not sealed with the key".to_owned()),
                false => (What::Altered, "it is not as it was written".to_owned()),
            }));
        }
        if chain.is_some_and(|chain| chain != place.chain) {
            let message = format!("it is of another chain, {}", place.chain);
            return Ok(Some((What::Foreign, message)));
        }
        let known = self.known.get(&(place.chain, place.seq));
        if known.is_some_and(|known| known != line.digits) {
            let message = "it is not the line that was noted when it was written".to_owned();
            return Ok(Some((What::Altered, message)));
        }
        Ok(self.misplaced(path, place))
    }

    fn misplaced(&self, path: &Path, place: &Place) -> Option<Wrong> {
        let seen = self.chains.get(&place.chain).filter(|seen| !seen.is_broken);
        let Some(seen) = seen else {
            let is_first = place.seq == 1 && !self.chains.contains_key(&place.chain);
            return (is_first && place.prev != no_line()).then(|| {
                (
                    What::Altered,
                    "it is the first line and names one before it".to_owned(),
                )
            });
        };
        let next = seen.last_seq + 1;
        match place.seq {
            seq if seq == next && place.prev == seen.digits => None,
            seq if seq == next => Some((
                What::Altered,
                "the line before it is not the one that it was written behind".to_owned(),
            )),
            seq if seq < next => Some((
                What::Reordered,
                format!("line {next} is expected here, and it is line {seq}"),
            )),
            seq if stands_later(path, place.chain, next) => Some((
                What::Reordered,
                format!("line {next} is expected here, and it is line {seq}"),
            )),
            seq => Some((
                What::Missing,
                format!("lines {next} to {} are not there", seq - 1),
            )),
        }
    }

    fn right(&mut self, path: &Path, number: u64, line: &Parsed<'_>, text: &str) {
        let place = &line.place;
        let seen = self.chains.entry(place.chain).or_insert_with(|| Seen {
            first_seq: place.seq,
            last_seq: 0,
            digits: String::new(),
            is_broken: false,
            has_end: false,
        });
        seen.last_seq = place.seq;
        line.digits.clone_into(&mut seen.digits);
        seen.is_broken = false;
        let said = match place.kind.as_str() {
            "gap" | "lost" | "repaired" => serde_json::from_str::<Said>(text).ok(),
            _ => None,
        };
        let Some(said) = said else { return };
        let at = format!("{}, line {number}", path.display());
        match (place.kind.as_str(), said.missing_chain) {
            ("gap", Some(chain)) => {
                let message = format!(
                    "lines up to {} of chain {chain} were not there when the log was opened",
                    said.missing_to_seq
                );
                self.find(path, Some(number), Some(place.seq), What::Missing, message);
            }
            ("lost", _) => self.report.notes.push(format!(
                "{at}: {} entries could not be written and are lost",
                said.count
            )),
            _ => self.report.notes.push(format!(
                "{at}: {} bytes of a line that had not been finished were removed",
                said.torn_bytes
            )),
        }
    }

    /// A chain whose first line that is there is wrong.
    fn broken(&mut self, place: &Place) {
        let seen = self.chains.entry(place.chain).or_insert_with(|| Seen {
            first_seq: place.seq,
            last_seq: place.seq,
            digits: String::new(),
            is_broken: false,
            has_end: false,
        });
        seen.is_broken = true;
    }

    /// Holds the end of a chain against what was noted of it.
    pub(super) fn check_end(&mut self, active: &Path, noted: &Noted) {
        let last = match self.chains.get_mut(&noted.chain) {
            Some(seen) => {
                seen.has_end = true;
                match seen.is_broken {
                    true => return,
                    false => seen.last_seq,
                }
            }
            None => 0,
        };
        if last < noted.seq {
            let message = match last {
                0 => format!(
                    "all lines of chain {} up to {} are gone",
                    noted.chain, noted.seq
                ),
                last => format!(
                    "it ends with line {last}, and line {} had been written",
                    noted.seq
                ),
            };
            self.find(active, None, Some(last + 1), What::Truncated, message);
        }
    }

    pub(super) fn finish(mut self) -> Report {
        for (&chain, seen) in &self.chains {
            if seen.first_seq > 1 {
                self.report.notes.push(format!(
                    "chain {chain} begins with line {}; what was before it is not here",
                    seen.first_seq
                ));
            }
            if !seen.has_end && !seen.is_broken {
                self.report.notes.push(format!(
                    "nothing here says how far chain {chain} has come, so lines that are gone at its end \
                     would not be noticed"
                ));
            }
            if seen.digits.is_empty() {
                continue;
            }
            self.report.chains.push(Chain {
                chain,
                first_seq: seen.first_seq,
                last_seq: seen.last_seq,
                seal: seen.digits.clone(),
                is_keyed: self.seal.is_keyed(),
            });
        }
        self.report
    }
}

/// Whether the line `seq` of `chain` stands anywhere in the file.
fn stands_later(path: &Path, chain: Ulid, seq: u64) -> bool {
    let Ok(file) = File::open(path) else {
        return false;
    };
    let mut reader = BufReader::new(file);
    let mut bytes = Vec::new();
    while let Ok(true) = read_line(&mut reader, &mut bytes) {
        let text = std::str::from_utf8(&bytes).unwrap_or_default();
        let place = Parsed::of(text.trim_end()).map(|line| line.place);
        if place.is_some_and(|place| place.chain == chain && place.seq == seq) {
            return true;
        }
    }
    false
}

/// Reads one line with its break into `bytes`; false at the end of the file. A line that is too long, or that
/// stays without its break, comes without one.
fn read_line(reader: &mut impl BufRead, bytes: &mut Vec<u8>) -> io::Result<bool> {
    bytes.clear();
    for read in 1..=READS_MAX {
        let room = (LINE_BYTES_MAX + 1).saturating_sub(bytes.len());
        reader.by_ref().take(room as u64).read_until(b'\n', bytes)?;
        if bytes.is_empty() {
            return Ok(false);
        }
        if bytes.ends_with(b"\n") || bytes.len() > LINE_BYTES_MAX {
            break;
        }
        if read < READS_MAX {
            std::thread::sleep(READ_PAUSE);
        }
    }
    Ok(true)
}
