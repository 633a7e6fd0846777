//! Definitions of state machines: files of the data folder that a person writes, read anew at each start.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::asl::{DEFINITION_BYTES_MAX, Flaw, Machine, Resource};
use super::store::DefinitionHash;
use crate::mesh::Timestamp;
use crate::mesh::call::tool::Tool;

/// What the file of a definition is called after its name.
pub(crate) const SUFFIX: &str = ".asl.json";

/// The longest name of a definition, in characters of `[A-Za-z0-9_-]`.
pub(crate) const NAME_CHARS_MAX: usize = 80;

/// The most definitions that are listed.
pub(crate) const LISTED_MAX: usize = 1_000;

/// How many flaws are told in one message.
const FLAWS_TOLD_MAX: usize = 3;

/// The most tools that there are not of which is told.
const UNKNOWN_TOLD_MAX: usize = 50;

/// The most definitions that are kept as they were read.
const KEPT_MAX: usize = 64;

/// The definitions in one folder.
#[derive(Debug)]
pub(crate) struct Definitions {
    folder: PathBuf,
    kept: Mutex<HashMap<DefinitionHash, Definition>>,
}

/// A definition that is right.
#[derive(Clone, Debug)]
pub(crate) struct Definition {
    /// What tells it from every other.
    pub(super) hash: DefinitionHash,
    /// Its text.
    pub(crate) text: Arc<str>,
    /// What it says.
    pub(crate) machine: Arc<Machine>,
}

/// Why there is no definition.
#[derive(Debug)]
pub(crate) enum Missing {
    /// There is no file of that name.
    File,
    /// It is larger than a definition may be.
    TooLarge,
    /// It is no UTF-8.
    Text,
    /// It is wrong.
    Flaws(Vec<Flaw>),
    /// It cannot be read.
    Io(io::Error),
}

impl fmt::Display for Missing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => formatter.write_str("there is no such file"),
            Self::TooLarge => write!(
                formatter,
                "it is larger than the {DEFINITION_BYTES_MAX} bytes that a definition may have"
            ),
            Self::Text => formatter.write_str("it is not UTF-8"),
            Self::Flaws(flaws) => {
                let told = flaws.iter().take(FLAWS_TOLD_MAX).map(Flaw::to_string);
                formatter.write_str(&told.collect::<Vec<_>>().join("; "))?;
                match flaws.len().saturating_sub(FLAWS_TOLD_MAX) {
                    0 => Ok(()),
                    more => write!(formatter, "; and {more} more"),
                }
            }
            Self::Io(error) => error.fmt(formatter),
        }
    }
}

impl Definitions {
    /// The definitions in `folder`, which need not be there.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            kept: Mutex::default(),
        }
    }

    /// Where they lie.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The definition `name`, as its file has it now. It blocks for as long as a small file takes.
    pub(crate) fn read(&self, name: &str) -> Result<Definition, Missing> {
        let (text, _) = read_file(&self.folder, name)?;
        self.parse(text)
    }

    /// The definition in `text`.
    pub(crate) fn parse(&self, text: String) -> Result<Definition, Missing> {
        let hash = Sha256::digest(&text).into();
        self.parse_hashed(hash, text)
    }

    /// As [`Definitions::parse`], where the hash of the text is known.
    pub(super) fn parse_hashed(
        &self,
        hash: DefinitionHash,
        text: String,
    ) -> Result<Definition, Missing> {
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(definition) = kept().get(&hash) {
            return Ok(definition.clone());
        }
        let unknown = unknown_tools(&text);
        let machine = match Machine::parse(&text) {
            Ok(machine) if unknown.is_empty() => machine,
            Ok(_) => return Err(Missing::Flaws(unknown)),
            Err(flaws) => return Err(Missing::Flaws([flaws, unknown].concat())),
        };
        let definition = Definition {
            hash,
            text: text.into(),
            machine: Arc::new(machine),
        };
        let mut kept = kept();
        if kept.len() >= KEPT_MAX {
            // Those in use are held by their executions; the rest is read again in a millisecond.
            kept.clear();
        }
        kept.insert(hash, definition.clone());
        Ok(definition)
    }

    /// The names of what there is, in order, each with the time of its file; at most [`LISTED_MAX`].
    pub(crate) fn list(&self) -> io::Result<Vec<(String, Timestamp)>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let file = entry?.file_name();
            let name = file.to_str().and_then(|file| file.strip_suffix(SUFFIX));
            if let Some(name) = name.filter(|name| is_name(name))
                && let Ok(path) = locate(&self.folder, name)
                && let Ok(metadata) = fs::metadata(path)
                && names.len() < LISTED_MAX
            {
                names.push((name.to_owned(), modified(&metadata)));
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The text of the definition `name` and the time of its file.
    pub(crate) fn text(&self, name: &str) -> Result<(String, Timestamp), Missing> {
        read_file(&self.folder, name)
    }
}

/// The tools that there are not, each as a flaw of the state that calls it; also where the definition has other
/// flaws.
fn unknown_tools(text: &str) -> Vec<Flaw> {
    let mut unknown = Vec::new();
    let whole = serde_json::from_str(text).unwrap_or_default();
    find_state(&whole, |path, _, state| {
        let arn = state["Resource"].as_str().unwrap_or_default();
        if let Ok(Resource::Tool(tool)) = Resource::parse(arn)
            && state["Type"] == "Task"
            && Tool::named(&tool).is_none()
        {
            let message = format!(
                "there is no tool '{tool}'; `use_aws_mcp tools list` tells which there are"
            );
            let path = format!("{path}/Resource");
            unknown.push(Flaw { path, message });
        }
        unknown.len() >= UNKNOWN_TOLD_MAX
    });
    unknown
}

/// The JSON pointer to a state of the definition in `text`, however deep it lies; names are unique in it.
pub(super) fn pointer_to_state(text: &str, name: &str) -> Option<String> {
    let whole: Value = serde_json::from_str(text).ok()?;
    find_state(&whole, |_, other, _| other == name)
}

/// The JSON pointer to the first state of a definition, however deep it lies, of which `is_it` says so by its
/// pointer, its name and what stands there.
fn find_state(
    definition: &Value,
    mut is_it: impl FnMut(&str, &str, &Value) -> bool,
) -> Option<String> {
    let mut flows = vec![(String::new(), definition)];
    while let Some((path, flow)) = flows.pop() {
        for (name, state) in flow["States"].as_object().into_iter().flatten() {
            let part = name.replace('~', "~0").replace('/', "~1");
            let path = format!("{path}/States/{part}");
            if is_it(&path, name, state) {
                return Some(path);
            }
            for member in ["ItemProcessor", "Iterator"] {
                flows.push((format!("{path}/{member}"), &state[member]));
            }
            for (index, branch) in state["Branches"]
                .as_array()
                .into_iter()
                .flatten()
                .enumerate()
            {
                flows.push((format!("{path}/Branches/{index}"), branch));
            }
        }
    }
    None
}

/// Whether a definition may have that name.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// The file of the definition `name`: an ordinary one, in the folder itself even where a link leads to it.
fn locate(folder: &Path, name: &str) -> Result<PathBuf, Missing> {
    if !is_name(name) {
        return Err(Missing::File);
    }
    let found = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Missing::File,
        _ => Missing::Io(error),
    };
    let folder = folder.canonicalize().map_err(found)?;
    let path = folder
        .join(format!("{name}{SUFFIX}"))
        .canonicalize()
        .map_err(found)?;
    if path.starts_with(&folder) && path.is_file() {
        Ok(path)
    } else {
        Err(Missing::File)
    }
}

fn read_file(folder: &Path, name: &str) -> Result<(String, Timestamp), Missing> {
    let path = locate(folder, name)?;
    read_text(&path)
}

/// The text of a definition's file, wherever it lies, and the file's time.
pub(crate) fn read_text(path: &Path) -> Result<(String, Timestamp), Missing> {
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Missing::File,
        _ => Missing::Io(error),
    })?;
    let metadata = file.metadata().map_err(Missing::Io)?;
    let mut bytes = Vec::new();
    file.take(DEFINITION_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(Missing::Io)?;
    if bytes.len() > DEFINITION_BYTES_MAX {
        return Err(Missing::TooLarge);
    }
    let text = String::from_utf8(bytes).map_err(|_| Missing::Text)?;
    Ok((text, modified(&metadata)))
}

fn modified(metadata: &fs::Metadata) -> Timestamp {
    let since = metadata
        .modified()
        .ok()
        .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
        .unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASS: &str = r#"{"StartAt": "A", "States": {"A": {"Type": "Pass", "End": true}}}"#;

    fn definitions(folder: &tempfile::TempDir) -> Definitions {
        let workflows = folder.path().join("workflows");
        fs::create_dir(&workflows).unwrap();
        Definitions::new(workflows)
    }

    #[test]
    fn a_file_is_read_anew_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let definitions = definitions(&folder);
        let path = definitions.folder().join("a.asl.json");
        fs::write(&path, PASS).unwrap();
        let first = definitions.read("a").unwrap();
        assert_eq!(first.machine.flow.start_at, "A");
        fs::write(&path, PASS.replace("\"A\"", "\"B\"")).unwrap();
        let second = definitions.read("a").unwrap();
        assert_eq!(second.machine.flow.start_at, "B");
        assert_ne!(first.hash, second.hash);
        fs::write(&path, "{").unwrap();
        assert!(matches!(definitions.read("a"), Err(Missing::Flaws(_))));
    }

    #[test]
    fn nothing_outside_the_folder_is_a_definition() {
        let folder = tempfile::tempdir().unwrap();
        let definitions = definitions(&folder);
        fs::write(folder.path().join("outside.asl.json"), PASS).unwrap();
        fs::create_dir(definitions.folder().join("folder.asl.json")).unwrap();
        for name in ["../outside", "", "a/b", "folder", "a.b", &"x".repeat(81)] {
            let read = definitions.read(name);
            assert!(matches!(read, Err(Missing::File)), "{name}: {read:?}");
        }
        #[cfg(unix)]
        {
            let link = |from: &Path, name: &str| {
                let to = definitions.folder().join(format!("{name}{SUFFIX}"));
                std::os::unix::fs::symlink(from, to).unwrap();
            };
            link(&folder.path().join("outside.asl.json"), "out");
            assert!(matches!(definitions.read("out"), Err(Missing::File)));
            fs::write(definitions.folder().join("in.asl.json"), PASS).unwrap();
            link(&definitions.folder().join("in.asl.json"), "alias");
            definitions.read("alias").unwrap();
        }
        let names: Vec<String> = definitions
            .list()
            .unwrap()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert!(!names.contains(&"out".to_owned()) && !names.contains(&"folder".to_owned()));
    }

    #[test]
    fn the_largest_definition_is_read_and_one_byte_more_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let definitions = definitions(&folder);
        let padded = |bytes: usize| format!("{PASS}{}", " ".repeat(bytes - PASS.len()));
        let path = definitions
            .folder()
            .join(format!("{}{SUFFIX}", "n".repeat(80)));
        fs::write(&path, padded(DEFINITION_BYTES_MAX)).unwrap();
        definitions.read(&"n".repeat(80)).unwrap();
        fs::write(&path, padded(DEFINITION_BYTES_MAX + 1)).unwrap();
        let read = definitions.read(&"n".repeat(80));
        assert!(matches!(read, Err(Missing::TooLarge)));
    }
}
