//! Log format and levels.

mod line_writer;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry};

use crate::config::{LogFormat, LogLevel, LogSettings};

pub use line_writer::LineWriter;

/// Keeps the log going; what is still unwritten is written when it is dropped.
#[must_use = "the log ends when this is dropped"]
#[derive(Debug)]
pub struct Telemetry {
    lines: LineWriter,
}

/// Libraries by the beginning of their targets, with the most they may log unless `RUST_LOG` names them.
/// Beyond it they would write the tenants' own data: rmcp whole arguments and results, the SDK whole
/// responses, the embedded parts whole requests.
const CAPPED: [(&str, LevelFilter); 4] = [
    ("rmcp", LevelFilter::WARN),
    ("aws", LevelFilter::DEBUG),
    ("s3s", LevelFilter::INFO),
    ("dynoxide", LevelFilter::INFO),
];

/// Libraries that say more at `info` than an operator wants to read; quiet unless somebody debugs.
const QUIET: [&str; 7] = ["aws", "dynoxide", "h2", "hyper", "reqwest", "rustls", "s3s"];

impl Telemetry {
    /// Starts logging to stderr, and to nowhere else.
    ///
    /// # Errors
    /// The process logs already.
    pub fn start(settings: &LogSettings, colour: bool) -> Result<Self, TryInitError> {
        let lines = LineWriter::start(std::io::stderr());
        Registry::default()
            .with(layer(settings, colour, lines.clone()))
            .try_init()?;
        Ok(Self { lines })
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        self.lines.finish();
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
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn settings(level: LogLevel, rust_log: Option<&str>, format: LogFormat) -> LogSettings {
        LogSettings {
            level,
            directives: rust_log.map(str::to_owned),
            format,
        }
    }

    /// What is logged when each of four targets says something at each level.
    fn logged(settings: &LogSettings) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let log = Registry::default().with(layer(settings, false, move || writer.clone()));
        macro_rules! at_every_level {
            ($($target:literal)*) => {$(
                tracing::error!(target: $target, "error");
                tracing::warn!(target: $target, "warn");
                tracing::info!(target: $target, "info");
                tracing::debug!(target: $target, "debug");
                tracing::trace!(target: $target, "trace");
            )*};
        }
        tracing::subscriber::with_default(log, || {
            at_every_level!("agent_mesh::mesh" "rmcp::service" "aws_smithy_runtime::client" "hyper_util::client");
        });
        let bytes = captured.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    /// How many levels `target` logged at.
    fn count(text: &str, target: &str) -> usize {
        text.lines().filter(|line| line.contains(target)).count()
    }

    fn counts(level: LogLevel, rust_log: Option<&str>) -> [usize; 4] {
        let text = logged(&settings(level, rust_log, LogFormat::Text));
        ["agent_mesh::", "rmcp::", "aws_smithy", "hyper_util"].map(|target| count(&text, target))
    }

    #[test]
    fn libraries_are_quiet_and_rmcp_never_logs_what_is_called() {
        assert_eq!(counts(LogLevel::Error, None), [1, 1, 1, 1]);
        assert_eq!(counts(LogLevel::Warn, None), [2, 2, 2, 2]);
        assert_eq!(counts(LogLevel::Info, None), [3, 2, 2, 2]);
        assert_eq!(counts(LogLevel::Debug, None), [4, 2, 4, 4]);
        assert_eq!(counts(LogLevel::Trace, None), [5, 2, 4, 5]);
    }

    #[test]
    fn rust_log_wins_and_must_name_rmcp_to_hear_it() {
        assert_eq!(counts(LogLevel::Error, Some("trace")), [5, 2, 4, 5]);
        assert_eq!(
            counts(LogLevel::Error, Some("trace,rmcp=debug")),
            [5, 4, 4, 5]
        );
        assert_eq!(
            counts(LogLevel::Error, Some("info,aws_smithy_runtime=trace")),
            [3, 2, 5, 3]
        );
        assert_eq!(
            counts(LogLevel::Trace, Some("agent_mesh=debug")),
            [4, 0, 0, 0]
        );
        assert_eq!(counts(LogLevel::Trace, Some("off")), [0, 0, 0, 0]);
        assert_eq!(counts(LogLevel::Info, Some("rmcp::service")), [0, 5, 0, 0]);
    }

    #[test]
    fn brackets_hold_commas_together() {
        let text = "info,[call{tool=\"a\",user=b}]=debug,rmcp[x]=trace";
        assert_eq!(split(text).count(), 3);
        assert_eq!(targets(text), ["rmcp"]);
        assert_eq!(general_level(text), LevelFilter::INFO);
        assert_eq!(general_level("a=debug"), LevelFilter::OFF);
    }

    #[test]
    fn a_line_of_json_is_json_and_no_line_has_colour() {
        let text = logged(&settings(LogLevel::Trace, None, LogFormat::Json));
        assert!(text.lines().count() > 10);
        for line in text.lines() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(
                value["timestamp"].as_str().unwrap().ends_with('Z'),
                "{line}"
            );
            assert!(
                value["level"].is_string() && value["message"].is_string(),
                "{line}"
            );
        }
        assert!(!text.contains('\u{1b}'));
        let text = logged(&settings(LogLevel::Trace, None, LogFormat::Text));
        assert!(!text.contains('\u{1b}'));
    }
}
