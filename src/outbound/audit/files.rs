//! The files of an audit log: what they are called, which of them this process may write, and where one ends.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use ulid::Ulid;

use super::line::{LINE_BYTES_MAX, Parsed, Seal, sealed};
use crate::mesh::Timestamp;

/// The most processes that write under one name at once.
pub const WRITERS_MAX: usize = 64;

/// What the file that says how far a log has come ends in, behind the log's own name.
pub(super) const HEAD_SUFFIX: &str = ".head";

/// How long that file is, in bytes: one sector, which is written as a whole.
const HEAD_BYTES: usize = 512;

/// Who may read and write what is made here: its owner alone.
#[cfg(unix)]
const OWNER_ONLY: u32 = 0o600;

/// The names of the files of one log.
#[derive(Clone, Debug)]
pub(super) struct Names {
    folder: PathBuf,
    stem: String,
    extension: String,
}

impl Names {
    /// Those around the file `path`.
    pub(super) fn of(path: &Path) -> Self {
        let text =
            |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
        Self {
            folder: path.parent().unwrap_or(Path::new("")).to_owned(),
            stem: text(path.file_stem()).unwrap_or_default(),
            extension: text(path.extension())
                .map_or_else(String::new, |extension| format!(".{extension}")),
        }
    }

    pub(super) fn folder(&self) -> &Path {
        match self.folder.as_os_str().is_empty() {
            true => Path::new("."),
            false => &self.folder,
        }
    }

    /// The file that the writer `number`, from 1 on, writes.
    fn active(&self, number: usize) -> PathBuf {
        match number {
            1 => self.named(""),
            number => self.named(&format!(".{number}")),
        }
    }

    /// What a full file that begins with the line `first_seq` of `chain` is called.
    fn full(&self, chain: Ulid, first_seq: u64) -> PathBuf {
        self.named(&format!(".{chain}.{first_seq:012}"))
    }

    /// The newest full file of `chain`.
    fn newest_full(&self, chain: Ulid) -> io::Result<Option<PathBuf>> {
        let prefix = format!("{}.{chain}.", self.stem);
        let mut newest = None;
        for entry in fs::read_dir(self.folder())? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with(&prefix) && name.ends_with(&self.extension) {
                newest = newest.max(Some(name));
            }
        }
        Ok(newest.map(|name| self.folder.join(name)))
    }

    fn named(&self, between: &str) -> PathBuf {
        self.folder
            .join(format!("{}{between}{}", self.stem, self.extension))
    }
}

/// The file that this process writes, for as long as it holds this.
#[derive(Debug)]
pub(super) struct Claim {
    names: Names,
    pub(super) active: PathBuf,
    /// Held for its lock as well, which goes with it.
    head: File,
}

impl Claim {
    /// The first file that nobody writes.
    pub(super) fn take(names: Names) -> io::Result<Self> {
        for number in 1..=WRITERS_MAX {
            let active = names.active(number);
            let head = options().read(true).write(true).open(head_of(&active))?;
            match head.try_lock() {
                Ok(()) => {
                    return Ok(Self {
                        names,
                        active,
                        head,
                    });
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        let message = format!("{WRITERS_MAX} processes write it already");
        Err(io::Error::new(io::ErrorKind::ResourceBusy, message))
    }

    /// What was noted of how far the log has come, if it was noted with `seal`.
    pub(super) fn noted(&self, seal: &Seal) -> io::Result<Option<Noted>> {
        let text = read_head(&self.head)?;
        Ok(Noted::of(&text)
            .filter(|noted| Parsed::of(&text).is_some_and(|line| line.fits(seal) && noted.seq > 0)))
    }

    /// The same file, for notes that are written elsewhere.
    pub(super) fn head(&self) -> io::Result<File> {
        self.head.try_clone()
    }

    /// Opens the file that is written, to its end.
    pub(super) fn open_active(&self) -> io::Result<File> {
        options().read(true).append(true).open(&self.active)
    }

    pub(super) fn newest_full(&self, chain: Ulid) -> io::Result<Option<PathBuf>> {
        self.names.newest_full(chain)
    }

    pub(super) fn folder(&self) -> &Path {
        self.names.folder()
    }

    /// Puts the file that is written away, as one that begins with the line `first_seq` of `chain`. A file
    /// that somebody else has put away already stays where it is.
    pub(super) fn put_away(&self, chain: Ulid, first_seq: u64) -> io::Result<()> {
        rename(&self.active, &self.names.full(chain, first_seq))
    }

    /// Puts a file away that cannot be gone on with; its new name.
    pub(super) fn set_aside(&self, id: Ulid) -> io::Result<String> {
        let path = self.names.named(&format!(".set-aside.{id}"));
        rename(&self.active, &path)?;
        let name = path.file_name().unwrap_or_default();
        Ok(name.to_string_lossy().into_owned())
    }
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        renamed => renamed,
    }
}

fn options() -> fs::OpenOptions {
    let mut options = File::options();
    options.create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, OWNER_ONLY);
    options
}

/// The file that says how far the log `active` has come.
pub(super) fn head_of(active: &Path) -> PathBuf {
    let mut name = active.as_os_str().to_owned();
    name.push(HEAD_SUFFIX);
    name.into()
}

/// How far a log has come at the least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Noted {
    pub(super) chain: Ulid,
    pub(super) seq: u64,
    /// The seal of that line.
    pub(super) digits: String,
}

impl Noted {
    /// What the text of a head says; whether its seal fits is another question.
    pub(super) fn of(text: &str) -> Option<Self> {
        let place = Parsed::of(text)?.place;
        Some(Self {
            chain: place.chain,
            seq: place.seq,
            digits: place.prev,
        })
    }
}

/// Notes in `head` that the log has come as far as `noted`, and has the disk keep that.
pub(super) fn note(mut head: &File, seal: &Seal, noted: &Noted, now: Timestamp) -> io::Result<()> {
    let members = format!("{{\"kind\":\"head\",\"time\":\"{now}\"}}");
    let (line, _) = sealed(seal, noted.chain, noted.seq, &noted.digits, &members);
    let mut sector = line.into_bytes();
    sector.resize(HEAD_BYTES.max(sector.len()), b' ');
    head.seek(SeekFrom::Start(0))?;
    head.write_all(&sector)?;
    head.sync_data()
}

/// The text of a head; empty where nothing has been noted yet.
pub(super) fn read_head(mut head: &File) -> io::Result<String> {
    let mut bytes = Vec::new();
    head.seek(SeekFrom::Start(0))?;
    head.take(2 * HEAD_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// Where a file of lines ends.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tail {
    /// The last whole line, without its line break.
    pub(super) last: Option<String>,
    /// How many bytes of whole lines there are.
    pub(super) whole_bytes: u64,
    /// What stands behind them.
    pub(super) torn: Vec<u8>,
}

/// The end of `file`, of which no more is read than two of the longest lines.
pub(super) fn tail(mut file: &File) -> io::Result<Tail> {
    let length = file.metadata()?.len();
    let window = length.min(2 * LINE_BYTES_MAX as u64);
    let start = length - window;
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(window).read_to_end(&mut bytes)?;
    let is_break = |byte: &u8| *byte == b'\n';
    let Some(end) = bytes.iter().rposition(is_break) else {
        let whole_bytes = start;
        return Ok(Tail {
            last: None,
            whole_bytes,
            torn: bytes,
        });
    };
    let torn = bytes.split_off(end + 1);
    bytes.truncate(end);
    let begin = bytes.iter().rposition(is_break).map(|at| at + 1);
    let last = bytes.split_off(begin.unwrap_or_default());
    Ok(Tail {
        last: String::from_utf8(last).ok(),
        whole_bytes: length - torn.len() as u64,
        torn,
    })
}

/// The number of the first line of `file`, if it is one.
pub(super) fn first_seq(mut file: &File) -> io::Result<Option<u64>> {
    use std::io::BufRead as _;
    file.seek(SeekFrom::Start(0))?;
    let mut line = String::new();
    let mut reader = io::BufReader::new(file.take(LINE_BYTES_MAX as u64));
    match reader.read_line(&mut line) {
        Ok(_) => Ok(Parsed::of(line.trim_end()).map(|line| line.place.seq)),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
        Err(error) => Err(error),
    }
}
