//! What the process says of itself: its log, its metrics, its traces.

pub mod access;
mod line_writer;
mod log_folder;
pub mod metrics;
pub mod observer;
pub mod trace;

use tracing_appender::rolling::InitError;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry};

use self::trace::Traces;
use crate::config::{LogFormat, LogLevel, LogSettings, TraceSettings};

pub use line_writer::LineWriter;
pub use observer::Watch;

/// Keeps the log going; what is still unwritten is written when it is dropped.
#[must_use = "the log ends when this is dropped"]
#[derive(Debug)]
pub struct Telemetry {
    lines: Vec<LineWriter>,
    traces: Option<Traces>,
}

/// Why the process cannot say anything of itself.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// It does already.
    #[error("the process logs already")]
    Started(#[from] TryInitError),
    /// The folder of the log cannot be written.
    #[error("the folder of the log cannot be written")]
    Folder(#[from] InitError),
    /// What sends traces cannot be made.
    #[error("traces cannot be sent: {0}")]
    Traces(String),
}

/// Libraries by the beginning of their targets, with the most they may log unless `RUST_LOG` names them.
/// Beyond it they would write the tenants' own data: rmcp whole arguments and results, and as warnings the
/// words of every refusal, which repeat what was asked; the SDK whole responses, the embedded parts whole
/// requests, tungstenite the headers that a connection signs in with and all that goes over it.
const CAPPED: [(&str, LevelFilter); 5] = [
    ("rmcp", LevelFilter::ERROR),
    ("aws", LevelFilter::DEBUG),
    ("s3s", LevelFilter::INFO),
    ("dynoxide", LevelFilter::INFO),
    ("tungstenite", LevelFilter::INFO),
];

/// Libraries that say more at `info` than an operator wants to read; quiet unless somebody debugs.
const QUIET: [&str; 7] = ["aws", "dynoxide", "h2", "hyper", "reqwest", "rustls", "s3s"];

impl Telemetry {
    /// Starts logging to stderr, and to the folder that the settings name, and sending traces where `traces`
    /// says.
    ///
    /// # Errors
    /// The process logs already, or cannot write or send what it is to.
    pub fn start(
        settings: &LogSettings,
        traces: Option<&TraceSettings>,
        colour: bool,
    ) -> Result<Self, TelemetryError> {
        let stderr = LineWriter::start(std::io::stderr());
        let mut layers = vec![layer(settings, colour, stderr.clone())];
        let mut lines = vec![stderr];
        if let Some(folder) = &settings.folder {
            let file = LineWriter::start(log_folder::open(folder)?);
            layers.push(layer(settings, false, file.clone()));
            lines.push(file);
        }
        let traces = traces.map(Traces::start).transpose();
        let traces = traces.map_err(TelemetryError::Traces)?;
        layers.extend(traces.as_ref().map(Traces::layer));
        Registry::default().with(layers).try_init()?;
        Ok(Self { lines, traces })
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(traces) = &self.traces {
            traces.finish();
        }
        self.lines.iter().for_each(LineWriter::finish);
    }
}

/// Log lines of `settings`, written by `writer`.
fn layer<W>(
    settings: &LogSettings,
    colour: bool,
    writer: W,
) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let filter = EnvFilter::builder().parse_lossy(directives(settings));
    match settings.format {
        LogFormat::Text => lines.with_ansi(colour).with_filter(filter).boxed(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_ansi(false)
            .with_filter(filter)
            .boxed(),
    }
}

/// The filter of `settings` in the words of `RUST_LOG`. Later directives do not undo earlier ones of
/// another target, so what is added here never loosens what somebody wrote.
fn directives(settings: &LogSettings) -> String {
    let mut all = Vec::new();
    let (level, named) = match &settings.directives {
        Some(text) => {
            all.push(text.clone());
            (general_level(text), targets(text))
        }
        None => {
            let level = level_filter(settings.level);
            all.push(level.to_string());
            (level, Vec::new())
        }
    };
    let is_named = |target: &str| named.iter().any(|name| name.starts_with(target));
    if settings.directives.is_none() && level < LevelFilter::DEBUG {
        let quiet = level.min(LevelFilter::WARN);
        all.extend(QUIET.iter().map(|target| format!("{target}={quiet}")));
    }
    for (target, most) in CAPPED {
        let is_quiet =
            settings.directives.is_none() && level < LevelFilter::DEBUG && QUIET.contains(&target);
        if level > most && !is_named(target) && !is_quiet {
            all.push(format!("{target}={most}"));
        }
    }
    // What is meant for a collector is no line of a log; where nothing is sent, no span then costs anything.
    all.push(format!("{}=off", trace::SPANS));
    all.join(",")
}

const fn level_filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// The level that `text` sets for targets that it does not name.
fn general_level(text: &str) -> LevelFilter {
    split(text)
        .filter_map(|directive| directive.parse().ok())
        .next_back()
        .unwrap_or(LevelFilter::OFF)
}

/// The targets that `text` names.
fn targets(text: &str) -> Vec<&str> {
    split(text)
        .filter(|directive| directive.parse::<LevelFilter>().is_err())
        .filter_map(|directive| directive.split(['=', '[']).next())
        .filter(|target| !target.is_empty())
        .collect()
}

/// The directives of `text`; commas within brackets separate fields of spans.
fn split(text: &str) -> impl DoubleEndedIterator<Item = &str> {
    let mut depth = 0_usize;
    let separates = move |character: char| {
        match character {
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        character == ',' && depth == 0
    };
    let parts: Vec<&str> = text.split(separates).map(str::trim).collect();
    parts.into_iter()
}

#[cfg(test)]
mod tests;
