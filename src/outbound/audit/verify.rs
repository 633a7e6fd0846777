//! Checks the chains of an audit log: the first line of each file that is wrong, and how.

mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use serde::Serialize;
use ulid::Ulid;

use super::files::{HEAD_SUFFIX, Noted, head_of, read_head};
use super::line::{LINE_BYTES_MAX, Parsed, Seal};
use walk::Walk;

/// What the files of a log end in.
const EXTENSION: &str = "jsonl";

/// How often a folder is looked at anew whose files are turned over meanwhile.
const LOOKS_MAX: u32 = 3;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// How many files were read.
    pub files: usize,
    /// How many lines were read.
    pub lines: u64,
    /// The chains, with what an operator may keep elsewhere: where each ends.
    pub chains: Vec<Chain>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What is worth knowing and not wrong.
    pub notes: Vec<String>,
}

/// One chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Chain {
    /// Its id.
    pub chain: Ulid,
    /// Its first line that is there.
    pub first_seq: u64,
    /// The last line that is right.
    pub last_seq: u64,
    /// The seal of that line.
    pub seal: String,
    /// Whether its lines are sealed with a key.
    pub is_keyed: bool,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Where.
    pub file: PathBuf,
    /// The line of the file, from 1 on; nothing where a line is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The number that it has in its chain, where it says one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// How, in one word.
    pub what: What,
    /// How, in a sentence.
    pub message: String,
}

/// How a line is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// It, or the one before it, is not what was written.
    Altered,
    /// Lines before it are not there.
    Missing,
    /// It stands in the wrong place.
    Reordered,
    /// It is not whole.
    Torn,
    /// Lines at the end are not there.
    Truncated,
    /// It is of another chain.
    Foreign,
    /// It is not sealed with the key.
    Unsealed,
}

/// Why nothing could be checked.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file cannot be read.
    #[error("{0} cannot be read")]
    Read(PathBuf, #[source] io::Error),
    /// There is no file.
    #[error("{0} holds no audit log")]
    Nothing(PathBuf),
    /// The lines are sealed with a key that was not given.
    #[error("the lines are sealed with a key; name its file")]
    NeedsKey,
}

/// Checks the file `path`, or every file of the folder `path`, whose lines are sealed with `seal`. It changes
/// nothing, and may run while the log is written.
///
/// # Errors
/// [`VerifyError`].
pub fn verify(path: &Path, seal: &Seal) -> Result<Report, VerifyError> {
    verify_named(path, "", seal)
}

/// Checks all files of the log whose first writer writes the file `log`.
///
/// # Errors
/// [`VerifyError`].
pub fn verify_log(log: &Path, seal: &Seal) -> Result<Report, VerifyError> {
    let stem = log.file_stem().unwrap_or_default().to_string_lossy();
    let folder = log.parent().filter(|folder| !folder.as_os_str().is_empty());
    verify_named(folder.unwrap_or(Path::new(".")), &format!("{stem}."), seal)
}

/// Checks the file `path`, or those files of the folder `path` whose names begin with `prefix`.
fn verify_named(path: &Path, prefix: &str, seal: &Seal) -> Result<Report, VerifyError> {
    let mut looks = 1;
    loop {
        match look(path, prefix, seal) {
            // A file was turned over between being listed and being opened.
            Err(VerifyError::Read(missing, error))
                if error.kind() == io::ErrorKind::NotFound
                    && missing != path
                    && looks < LOOKS_MAX =>
            {
                looks += 1;
            }
            looked => return looked,
        }
    }
}

fn look(path: &Path, prefix: &str, seal: &Seal) -> Result<Report, VerifyError> {
    let read = |error| VerifyError::Read(path.to_owned(), error);
    let (files, heads) = match fs::metadata(path).map_err(read)?.is_dir() {
        true => listed(path, prefix).map_err(read)?,
        false => (vec![path.to_owned()], vec![head_of(path)]),
    };
    if files.is_empty() && heads.is_empty() {
        return Err(VerifyError::Nothing(path.to_owned()));
    }
    // Before the lines, of which there may be more by then.
    let mut walk = Walk::new(seal);
    let mut notes = BTreeMap::new();
    for head in heads {
        if let Some(noted) = noted(&head, &mut walk)? {
            notes.insert(head, noted);
        }
    }
    walk.expect(notes.values());
    for file in in_order(files)? {
        walk.file(&file)?;
    }
    for (head, noted) in &notes {
        walk.check_end(&active_of(head), noted);
    }
    Ok(walk.finish())
}

/// The files of a folder that may be of an audit log, and those that say how far one has come.
fn listed(folder: &Path, prefix: &str) -> io::Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let mut files = BTreeSet::new();
    let mut heads = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(prefix) {
            continue;
        }
        let path = entry.path();
        let name = path.to_string_lossy();
        if name.ends_with(HEAD_SUFFIX) {
            let active = active_of(&path);
            if active.is_file() {
                files.insert(active);
            }
            heads.push(path);
        } else if path.extension().is_some_and(|found| found == EXTENSION) && path.is_file() {
            files.insert(path);
        }
    }
    Ok((files.into_iter().collect(), heads))
}

/// The file whose end the file `head` tells.
fn active_of(head: &Path) -> PathBuf {
    let name = head.to_string_lossy();
    name.strip_suffix(HEAD_SUFFIX).unwrap_or(&name).into()
}

/// What was noted of the end of a log; a note that is not right is a finding.
fn noted(head: &Path, walk: &mut Walk<'_>) -> Result<Option<Noted>, VerifyError> {
    let text = match File::open(head).and_then(|file| read_head(&file)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(VerifyError::Read(head.to_owned(), error)),
    };
    if text.is_empty() {
        return Ok(None);
    }
    match (Parsed::of(&text), Noted::of(&text)) {
        (Some(line), Some(noted)) if walk.is_sealed(&line)? => Ok(Some(noted)),
        _ => {
            let message = "it does not say in a way that can be believed how far the log has come";
            walk.find(head, None, None, What::Altered, message.to_owned());
            Ok(None)
        }
    }
}

/// The files in the order of their chains, and of the lines in each. What has no line comes last.
fn in_order(files: Vec<PathBuf>) -> Result<Vec<PathBuf>, VerifyError> {
    let mut ordered = Vec::with_capacity(files.len());
    for path in files {
        let first = first_line(&path).map_err(|error| VerifyError::Read(path.clone(), error))?;
        let place = Parsed::of(&first).map(|line| (line.place.chain, line.place.seq));
        ordered.push((place.is_none(), place, path));
    }
    ordered.sort();
    Ok(ordered.into_iter().map(|(.., path)| path).collect())
}

fn first_line(path: &Path) -> io::Result<String> {
    use std::io::Read as _;
    let mut line = Vec::new();
    let file = File::open(path)?.take(LINE_BYTES_MAX as u64);
    BufReader::new(file).read_until(b'\n', &mut line)?;
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}
