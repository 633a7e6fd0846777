//! Appends to one chain: from where the file ends, into the next file when one is full.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use serde_json::json;
use sha2::{Digest as _, Sha256};
use ulid::Ulid;

use super::files::{Claim, Names, Noted, Tail, first_seq, note, tail};
use super::line::{Parsed, Seal, no_line, sealed};
use crate::mesh::Timestamp;
use crate::mesh::store::idempotency::hex;

/// The version of the lines that are written.
const FORMAT: u32 = 1;

/// The end of one chain.
#[derive(Debug)]
pub(super) struct Writer {
    claim: Claim,
    seal: Seal,
    bytes_max: u64,
    file: File,
    /// How many bytes of whole lines the file has.
    bytes: u64,
    /// Whether there may be more behind them, of a line that could not be written.
    is_torn: bool,
    /// The first line of the file.
    first_seq: u64,
    chain: Ulid,
    /// The last line, and its seal.
    seq: u64,
    prev: String,
    unsynced: Unsynced,
    #[cfg(test)]
    fails: bool,
}

/// What the disk need not have yet.
#[derive(Debug, Default)]
struct Unsynced {
    full: Vec<File>,
    folder: bool,
    lines: bool,
}

/// How a chain goes on.
struct Continued {
    chain: Ulid,
    seq: u64,
    prev: String,
    first_seq: u64,
    /// The file that could not be gone on with.
    set_aside: Option<String>,
}

/// What is to be written to the disk, away from the calls.
#[derive(Debug)]
pub(super) struct Sync {
    files: Vec<File>,
    folder: Option<File>,
    head: File,
    seal: Seal,
    noted: Noted,
}

impl Writer {
    /// Goes on where the file ends that this process gets, or begins a chain. What it finds amiss is a line
    /// of its own.
    pub(super) fn open(
        path: &Path,
        seal: Seal,
        bytes_max: u64,
        now: Timestamp,
    ) -> io::Result<Self> {
        let claim = Claim::take(Names::of(path))?;
        let noted = claim.noted(&seal)?;
        let mut file = claim.open_active()?;
        let Tail {
            last,
            whole_bytes,
            torn,
        } = tail(&file)?;
        let is_empty = last.is_none() && whole_bytes == 0;
        let continued = match last.as_deref().and_then(|last| place(last, &seal)) {
            Some(continued) => Some(Continued {
                first_seq: first_seq(&file)?.unwrap_or(continued.seq),
                ..continued
            }),
            None if is_empty => behind_full(&claim, &seal, noted.as_ref())?,
            None => None,
        };
        let must_set_aside = continued.is_none() && !is_empty;
        let continued = match continued {
            Some(continued) => continued,
            None => Continued {
                set_aside: match must_set_aside {
                    true => Some(claim.set_aside(Ulid::generate())?),
                    false => None,
                },
                ..Continued::nothing()
            },
        };
        if must_set_aside {
            file = claim.open_active()?;
        }
        let mut writer = Self {
            claim,
            seal,
            bytes_max,
            file,
            bytes: if must_set_aside { 0 } else { whole_bytes },
            is_torn: !must_set_aside && !torn.is_empty(),
            first_seq: continued.first_seq,
            chain: continued.chain,
            seq: continued.seq,
            prev: continued.prev,
            unsynced: Unsynced {
                folder: true,
                ..Unsynced::default()
            },
            #[cfg(test)]
            fails: false,
        };
        if writer.is_torn {
            writer.append(&repaired(&torn, now))?;
        }
        if !must_set_aside && let Some(noted) = noted {
            writer.note_gap(&noted, continued.seq, now)?;
        }
        writer.append_opening(continued.seq == 0, continued.set_aside, now)?;
        Ok(writer)
    }

    /// Notes where lines that had been written are not there.
    fn note_gap(&mut self, noted: &Noted, found: u64, now: Timestamp) -> io::Result<()> {
        if noted.chain == self.chain && noted.seq <= found {
            return Ok(());
        }
        let gap = json!({
            "kind": "gap",
            "time": now,
            "missing_chain": noted.chain,
            "missing_to_seq": noted.seq,
        });
        self.append(&gap.to_string())
    }

    fn append_opening(
        &mut self,
        is_new: bool,
        set_aside: Option<String>,
        now: Timestamp,
    ) -> io::Result<()> {
        let mut opening = json!({
            "kind": if is_new { "chain_begun" } else { "opened" },
            "time": now,
            "version": FORMAT,
            "program": concat!("use_aws_mcp ", env!("CARGO_PKG_VERSION")),
        });
        if let Some(name) = set_aside {
            opening["set_aside"] = name.into();
        }
        self.append(&opening.to_string())
    }

    /// Appends the line that says `members`, the text of a JSON object. When this returns, the kernel has it.
    ///
    /// # Errors
    /// Those of the file; the line is not there then, and the next try is as if this one had not been.
    pub(super) fn append(&mut self, members: &str) -> io::Result<()> {
        if self.is_torn {
            self.file.set_len(self.bytes)?;
            self.is_torn = false;
        }
        let seq = self.seq + 1;
        let (line, digits) = sealed(&self.seal, self.chain, seq, &self.prev, members);
        let length = line.len() as u64;
        if self.bytes > 0 && self.bytes + length > self.bytes_max {
            self.turn_over()?;
        }
        #[cfg(test)]
        if self.fails {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if let Err(error) = self.file.write_all(line.as_bytes()) {
            self.is_torn = true;
            return Err(error);
        }
        if self.bytes == 0 {
            self.first_seq = seq;
        }
        self.bytes += length;
        self.seq = seq;
        self.prev = digits;
        self.unsynced.lines = true;
        Ok(())
    }

    /// Has every line fail as on a full disk, or no longer.
    #[cfg(test)]
    pub(super) fn fail_for_test(&mut self, fails: bool) {
        self.fails = fails;
    }

    /// Leaves a line half written, as a disk does that becomes full.
    #[cfg(test)]
    pub(super) fn tear_for_test(&mut self) {
        self.file.write_all(b"{\"chain\":").unwrap();
        self.is_torn = true;
    }

    /// Puts the full file away and begins another.
    fn turn_over(&mut self) -> io::Result<()> {
        self.claim.put_away(self.chain, self.first_seq)?;
        let file = self.claim.open_active()?;
        if file.metadata()?.len() > 0 {
            let message = "somebody else writes into the file";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
        }
        let full = std::mem::replace(&mut self.file, file);
        self.unsynced.full.push(full);
        self.unsynced.folder = true;
        self.bytes = 0;
        Ok(())
    }

    /// What the disk need not have yet; nothing where it has everything.
    pub(super) fn sync(&mut self) -> io::Result<Option<Sync>> {
        if !self.unsynced.lines {
            return Ok(None);
        }
        let current = self.file.try_clone()?;
        let folder = match self.unsynced.folder {
            true => File::open(self.claim.folder()).ok(),
            false => None,
        };
        let head = self.claim.head()?;
        let unsynced = std::mem::take(&mut self.unsynced);
        let mut files = unsynced.full;
        files.push(current);
        Ok(Some(Sync {
            files,
            folder,
            head,
            seal: self.seal.clone(),
            noted: Noted {
                chain: self.chain,
                seq: self.seq,
                digits: self.prev.clone(),
            },
        }))
    }

    /// Has everything be written to the disk anew.
    pub(super) fn sync_failed(&mut self, sync: Sync) {
        self.unsynced.lines = true;
        self.unsynced.folder = true;
        self.unsynced.full.extend(sync.files);
    }
}

impl Sync {
    /// Has the disk keep it, and notes how far it has come.
    pub(super) fn run(&self, now: Timestamp) -> io::Result<()> {
        for file in &self.files {
            file.sync_data()?;
        }
        if let Some(folder) = &self.folder {
            folder.sync_all()?;
        }
        note(&self.head, &self.seal, &self.noted, now)
    }
}

impl Continued {
    fn nothing() -> Self {
        Self {
            chain: Ulid::generate(),
            seq: 0,
            prev: no_line(),
            first_seq: 1,
            set_aside: None,
        }
    }
}

/// How the chain goes on behind the line `last`, if that is one with `seal`.
fn place(last: &str, seal: &Seal) -> Option<Continued> {
    let line = Parsed::of(last).filter(|line| line.fits(seal))?;
    Some(Continued {
        chain: line.place.chain,
        seq: line.place.seq,
        prev: line.digits.to_owned(),
        first_seq: line.place.seq + 1,
        set_aside: None,
    })
}

/// How the chain goes on that had been turned over just when its process ended.
fn behind_full(claim: &Claim, seal: &Seal, noted: Option<&Noted>) -> io::Result<Option<Continued>> {
    let Some(noted) = noted else { return Ok(None) };
    let Some(full) = claim.newest_full(noted.chain)? else {
        return Ok(None);
    };
    let last = tail(&File::open(full)?)?.last;
    Ok(last.as_deref().and_then(|last| place(last, seal)))
}

fn repaired(torn: &[u8], now: Timestamp) -> String {
    json!({
        "kind": "repaired",
        "time": now,
        "torn_bytes": torn.len(),
        "torn_sha256": hex(&Sha256::digest(torn)),
    })
    .to_string()
}
