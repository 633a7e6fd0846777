//! Figures, what they may be at the most, and how they are printed.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::Result;

/// One thing that was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    /// What it is.
    pub(crate) name: String,
    /// How much, in `unit`; nothing where this system does not tell.
    pub(crate) value: Option<f64>,
    /// The unit.
    pub(crate) unit: &'static str,
    /// What it may be at the most, where something is asked of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) at_most: Option<f64>,
    /// How it came about.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) note: String,
}

impl Figure {
    /// A duration in milliseconds.
    pub(crate) fn milliseconds(name: impl Into<String>, value: Duration) -> Self {
        Self::new(name, Some(value.as_secs_f64() * 1e3), "ms")
    }

    /// A duration in microseconds, which may be nothing.
    pub(crate) fn microseconds(name: impl Into<String>, value: Option<f64>) -> Self {
        Self::new(name, value, "µs")
    }

    /// Bytes as megabytes of a million.
    pub(crate) fn megabytes(name: impl Into<String>, bytes: Option<u64>) -> Self {
        Self::new(name, bytes.map(|bytes| bytes as f64 / 1e6), "MB")
    }

    pub(crate) fn new(name: impl Into<String>, value: Option<f64>, unit: &'static str) -> Self {
        Self {
            name: name.into(),
            value,
            unit,
            at_most: None,
            note: String::new(),
        }
    }

    pub(crate) fn at_most(mut self, most: f64) -> Self {
        self.at_most = Some(most);
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// Whether it is what it may be. What this system does not tell is not held against it.
    pub(crate) fn is_within(&self) -> bool {
        match (self.value, self.at_most) {
            (Some(value), Some(most)) => value <= most,
            _ => true,
        }
    }

    fn verdict(&self) -> &'static str {
        match (self.value, self.at_most) {
            (_, None) => "",
            (None, Some(_)) => "not told here",
            (Some(_), Some(_)) if self.is_within() => "ok",
            (Some(_), Some(_)) => "OVER",
        }
    }
}

/// The machine at one moment.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cores: usize,
    processor: String,
    kernel: String,
    load_average: String,
}

impl Machine {
    pub(crate) fn now() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let processor = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map_or_else(
                || std::env::consts::ARCH.to_owned(),
                |(_, name)| name.to_owned(),
            );
        let load: Vec<_> = read("/proc/loadavg")
            .split(' ')
            .take(3)
            .map(str::to_owned)
            .collect();
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            processor,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_average: load.join(" "),
        }
    }
}

/// The value at `part` (0 to 1) of `values`, which are put in order.
pub(crate) fn quantile(values: &mut [Duration], part: f64) -> Duration {
    values.sort_unstable();
    let last = values.len().saturating_sub(1);
    let at = (last as f64 * part).round() as usize;
    values.get(at).copied().unwrap_or_default()
}

/// The figures for a person.
pub(crate) fn table(
    figures: &[Figure],
    failures: &[String],
    before: &Machine,
    after: &Machine,
    quick: bool,
) -> String {
    let width = figures
        .iter()
        .map(|figure| figure.name.chars().count())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{} cores, {}, Linux {}; load average {} before, {} after{}",
        before.cores,
        before.processor,
        before.kernel,
        before.load_average,
        after.load_average,
        if quick {
            "; quick: too few calls to publish"
        } else {
            ""
        },
    );
    let _ = writeln!(
        text,
        "\n{:width$}  {:>12}       {:>9}",
        "figure", "measured", "at most"
    );
    for figure in figures {
        let value = figure.value.map_or_else(|| "-".to_owned(), digits);
        let most = figure
            .at_most
            .map(|most| format!("{most}"))
            .unwrap_or_default();
        let line = format!(
            "{:width$}  {value:>12} {:5} {most:>9}  {:4} {}",
            figure.name,
            figure.unit,
            figure.verdict(),
            figure.note
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    for failure in failures {
        let _ = writeln!(text, "FAILED {failure}");
    }
    text
}

/// The figures for a program.
pub(crate) fn json(
    figures: &[Figure],
    failures: &[String],
    before: &Machine,
    after: &Machine,
    quick: bool,
) -> Result<String> {
    let report = serde_json::json!({
        "machine": before,
        "load_average_after": after.load_average,
        "quick": quick,
        "figures": figures,
        "failures": failures,
    });
    Ok(serde_json::to_string_pretty(&report)? + "\n")
}

/// A number with three or four digits that mean something.
fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
