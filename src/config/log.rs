//! What is logged, and how.

use std::path::{Path, PathBuf};

use tracing_subscriber::EnvFilter;

use super::check;
use super::setting::{LOG_DIR, LOG_FORMAT, LOG_LEVEL, RUST_LOG};
use super::source::{Reader, Shown};

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// How much.
    pub level: LogLevel,
    /// How much, module by module, in the words of `RUST_LOG`; it parses.
    pub directives: Option<String>,
    /// How lines are written.
    pub format: LogFormat,
    /// The folder that it is written to as well, absolute; it can be written.
    pub folder: Option<PathBuf>,
}

/// How much is logged; each level includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the words are the meaning")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogSettings {
    pub(crate) fn read(reader: &mut Reader) -> Self {
        let levels = LogLevel::ALL.map(|level| (level.name(), level));
        let level = reader.read(&LOG_LEVEL, LogLevel::Info, |text| {
            check::word(text, &levels)
        });
        let directives = reader.read(&RUST_LOG, None, |text| {
            EnvFilter::builder()
                .parse(text)
                .map(|_| Some(text.to_owned()))
                .map_err(|error| error.to_string())
        });
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        let format = reader.read(&LOG_FORMAT, LogFormat::Text, |text| {
            check::word(text, &formats)
        });
        let folder = reader.read_path(&LOG_DIR, None, writable_folder);
        Self {
            level,
            directives,
            format,
            folder,
        }
    }
}

/// Nothing, if files can be made in the folder `path`, which is made where it is missing.
fn writable_folder(path: &Path) -> Result<(), String> {
    std::fs::create_dir_all(path)
        .and_then(|()| tempfile::Builder::new().prefix(".probe").tempfile_in(path))
        .map(drop)
        .map_err(|error| format!("no file can be written there: {error}"))
}

impl LogLevel {
    const ALL: [Self; 5] = [
        Self::Error,
        Self::Warn,
        Self::Info,
        Self::Debug,
        Self::Trace,
    ];

    /// Its name in settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl Shown for LogLevel {
    fn shown(&self) -> Option<String> {
        Some(self.name().to_owned())
    }
}

impl Shown for LogFormat {
    fn shown(&self) -> Option<String> {
        let name = match self {
            Self::Text => "text",
            Self::Json => "json",
        };
        Some(name.to_owned())
    }
}
