//! Figures over a window of a tenant's events, from the hourly counters alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::counters::TALLY_ATTRIBUTE;
use super::counters::tally::{OUTCOMES, PRIORITIES, Tally};
use super::record::{Outcome, Priority};
use crate::mesh::store::key::Keyspace;
use crate::mesh::store::table::{Range, Row};
use crate::mesh::store::{Metered, Table};
use crate::mesh::{Clock, Error, Timestamp};

/// What one summary reads at most, in bytes of rows: a month of a row of 2 KiB for each hour and each of
/// 20 processes.
pub const READ_BYTES_MAX: usize = 32 << 20;

/// The longest window, in days.
pub const WINDOW_DAYS_MAX: i64 = 400;

/// How many types and tools are named.
pub const TOP_MAX: usize = 20;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// A figure that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// How much happened when.
    Volume,
    /// The most frequent detail types.
    TopTypes,
    /// The most frequent tools.
    TopTools,
    /// How much did not end well, and why.
    Errors,
    /// How long calls took.
    Latency,
    /// How urgent events were.
    Priority,
}

impl Metric {
    /// Every figure.
    pub const ALL: [Self; 6] = [
        Self::Volume,
        Self::TopTypes,
        Self::TopTools,
        Self::Errors,
        Self::Latency,
        Self::Priority,
    ];
}

/// How finely volume is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Granularity {
    /// By hour.
    #[default]
    Hour,
    /// By day (UTC).
    Day,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct AnalyticsQuery {
    /// The first moment; rounded down to the hour.
    pub start: Timestamp,
    /// The last moment; rounded up to the hour.
    pub end: Timestamp,
    /// Which figures.
    pub metrics: Vec<Metric>,
    /// How finely.
    pub granularity: Granularity,
}

/// A window: from the first moment up to, but without, the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Window {
    /// The first moment.
    pub start_time: Timestamp,
    /// The moment after the last.
    pub end_time: Timestamp,
}

/// Everything in the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Totals {
    /// Events.
    pub events: u64,
    /// Calls that they stand for.
    pub calls: u64,
    /// Calls that did not end well.
    pub failed: u64,
}

/// How much happened in an hour or a day.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct VolumePoint {
    /// When it began.
    pub time: Timestamp,
    /// Events.
    pub events: u64,
    /// Calls that they stand for.
    pub calls: u64,
    /// Calls that did not end well.
    pub failed: u64,
}

/// A name and how often it occurred.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamedCount {
    /// The name; `other` for all that are too many to count one by one.
    pub name: String,
    /// Calls.
    pub calls: u64,
}

/// What did not end well.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ErrorFigures {
    /// The share of calls that did not end well, 0 to 1.
    pub rate: f64,
    /// Calls by how they ended.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Calls by error code, the most frequent first.
    pub codes: Vec<NamedCount>,
}

/// How long the calls of a tool took that were carried out; within 10 %.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ToolLatency {
    /// The tool.
    pub tool: String,
    /// How many calls.
    pub calls: u64,
    /// Half of them took at most so many milliseconds.
    pub p50_ms: f64,
    /// 95 of 100 took at most so many.
    pub p95_ms: f64,
    /// 99 of 100 took at most so many.
    pub p99_ms: f64,
}

/// The figures that were asked for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Analytics {
    /// The window as it was used.
    pub window: Window,
    /// Everything in it.
    pub totals: Totals,
    /// How much happened when; times without an event are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<Vec<VolumePoint>>,
    /// The most frequent detail types.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_types: Option<Vec<NamedCount>>,
    /// The most frequent tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_tools: Option<Vec<NamedCount>>,
    /// What did not end well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<ErrorFigures>,
    /// How long calls took, by tool, the most frequent first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Vec<ToolLatency>>,
    /// Calls by priority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<BTreeMap<&'static str, u64>>,
    /// Whether there was more than could be read: the window then begins later than was asked for. Some of
    /// the hour before it may be in the figures.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// The counters of a window, merged, and what happened in each part of it.
#[derive(Default)]
struct Sums {
    all: Tally,
    parts: BTreeMap<i64, Totals>,
    bytes: usize,
    units: f64,
}

/// Figures over a window of the tenant whose keys `keyspace` forms, and what they cost in read units.
///
/// # Errors
/// `INVALID_PARAMETER` where the window ends before it begins or is longer than [`WINDOW_DAYS_MAX`]; what
/// the table answers.
pub(in crate::mesh) async fn summarize(
    table: &dyn Table,
    keyspace: &Keyspace,
    query: &AnalyticsQuery,
    clock: &dyn Clock,
) -> Result<Metered<Analytics>, Error> {
    let mut window = rounded(query)?;
    let part_ms = match query.granularity {
        Granularity::Hour => HOUR_MS,
        Granularity::Day => DAY_MS,
    };
    let mut sums = Sums::default();
    let first_day = window.start_time.as_millis().div_euclid(DAY_MS);
    let last_day = (window.end_time.as_millis() - 1).div_euclid(DAY_MS);
    let mut is_truncated = false;
    // The newest hour first: what is left out is the oldest.
    for day in (first_day..=last_day).rev() {
        let read = sums.read_day(table, keyspace, day, window, part_ms, clock);
        if let Some(begin) = read.await? {
            window.start_time = begin;
            is_truncated = true;
            break;
        }
    }
    let units = sums.units;
    let mut figures = sums.figures(window, &query.metrics);
    figures.truncated = is_truncated;
    Ok(Metered {
        value: figures,
        units,
    })
}

fn rounded(query: &AnalyticsQuery) -> Result<Window, Error> {
    let (start, end) = (query.start.as_millis(), query.end.as_millis());
    if end < start {
        return Err(Error::invalid(
            "end_time",
            "the window ends before it begins",
        ));
    }
    if end.saturating_sub(start) > WINDOW_DAYS_MAX * DAY_MS {
        let message = format!("the window is longer than {WINDOW_DAYS_MAX} days");
        return Err(Error::invalid("start_time", message));
    }
    let first = start.div_euclid(HOUR_MS) * HOUR_MS;
    // A moment on the hour is the end of what was before it, unless nothing was.
    let last = end.saturating_add(HOUR_MS - 1).div_euclid(HOUR_MS) * HOUR_MS;
    Ok(Window {
        start_time: Timestamp::from_millis(first),
        end_time: Timestamp::from_millis(last.max(first + HOUR_MS)),
    })
}

impl Sums {
    /// Adds the part of the window that lies in `day`; answers from where on that is complete, if not all
    /// of it could be read.
    async fn read_day(
        &mut self,
        table: &dyn Table,
        keyspace: &Keyspace,
        day: i64,
        window: Window,
        part_ms: i64,
        clock: &dyn Clock,
    ) -> Result<Option<Timestamp>, Error> {
        let begin = day * DAY_MS;
        let hour_of = |time: Timestamp| (time.as_millis() - begin).div_euclid(HOUR_MS).clamp(0, 23);
        let first = hour_of(window.start_time);
        let last = hour_of(Timestamp::from_millis(window.end_time.as_millis() - 1));
        let partition = keyspace.counters(Timestamp::from_millis(begin));
        let mut range = Range {
            from: Some(format!("{first:02}#")),
            // Behind every writer of that hour.
            to: Some(format!("{last:02}#~")),
            descending: true,
            limit: 1000,
            ..Range::default()
        };
        let mut complete_from = begin + (last + 1) * HOUR_MS;
        loop {
            if self.bytes >= READ_BYTES_MAX {
                return Ok(Some(Timestamp::from_millis(complete_from)));
            }
            let page = table.query(&partition, &range).await?;
            self.units += page.units;
            for (sort, row) in &page.value.rows {
                self.bytes += sort.len() + row.text(TALLY_ATTRIBUTE).map_or(0, str::len);
                let hour = sort
                    .split('#')
                    .next()
                    .and_then(|hour| hour.parse::<i64>().ok());
                let Some(hour) = hour else { continue };
                let time = begin + hour * HOUR_MS;
                complete_from = time + HOUR_MS;
                if !row.is_expired(clock.now()) {
                    self.add(time.div_euclid(part_ms) * part_ms, row);
                }
            }
            match page.value.next {
                Some(after) => range.after = Some(after),
                None => return Ok(None),
            }
        }
    }

    fn add(&mut self, part: i64, row: &Row) {
        let Some(text) = row.text(TALLY_ATTRIBUTE) else {
            return;
        };
        match serde_json::from_str::<Tally>(text) {
            Ok(tally) => {
                let totals = self.parts.entry(part).or_default();
                totals.events += tally.events;
                totals.calls += tally.calls;
                totals.failed += failed(&tally);
                self.all.merge(&tally);
            }
            Err(error) => tracing::warn!(%error, "a row of counters cannot be read"),
        }
    }

    fn figures(&self, window: Window, metrics: &[Metric]) -> Analytics {
        let wants = |metric: Metric| metrics.contains(&metric);
        let all = &self.all;
        Analytics {
            window,
            totals: Totals {
                events: all.events,
                calls: all.calls,
                failed: failed(all),
            },
            volume: wants(Metric::Volume).then(|| self.volume()),
            top_types: wants(Metric::TopTypes).then(|| named(all.types.ranked())),
            top_tools: wants(Metric::TopTools).then(|| named(tools_by_calls(all))),
            errors: wants(Metric::Errors).then(|| errors(all)),
            latency: wants(Metric::Latency).then(|| latency(all)),
            priority: wants(Metric::Priority).then(|| {
                let names = PRIORITIES.map(priority_name);
                names.into_iter().zip(all.priorities).collect()
            }),
            truncated: false,
        }
    }

    fn volume(&self) -> Vec<VolumePoint> {
        let point = |(&part, totals): (&i64, &Totals)| VolumePoint {
            time: Timestamp::from_millis(part),
            events: totals.events,
            calls: totals.calls,
            failed: totals.failed,
        };
        self.parts.iter().map(point).collect()
    }
}

fn failed(tally: &Tally) -> u64 {
    tally.calls - tally.outcomes[0].min(tally.calls)
}

fn named(ranked: Vec<(&str, u64)>) -> Vec<NamedCount> {
    let count = |(name, calls): (&str, u64)| NamedCount {
        name: name.to_owned(),
        calls,
    };
    ranked.into_iter().take(TOP_MAX).map(count).collect()
}

fn tools_by_calls(tally: &Tally) -> Vec<(&str, u64)> {
    let mut tools: Vec<(&str, u64)> = tally
        .tools
        .iter()
        .map(|tool| (&*tool.name, tool.calls))
        .collect();
    tools.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    tools
}

fn errors(tally: &Tally) -> ErrorFigures {
    let rate = match tally.calls {
        0 => 0.0,
        calls => failed(tally) as f64 / calls as f64,
    };
    ErrorFigures {
        rate: (rate * 1e6).round() / 1e6,
        outcomes: OUTCOMES
            .map(outcome_name)
            .into_iter()
            .zip(tally.outcomes)
            .collect(),
        codes: named(tally.errors.ranked()),
    }
}

fn latency(tally: &Tally) -> Vec<ToolLatency> {
    let mut tools: Vec<ToolLatency> = tally
        .tools
        .iter()
        .filter_map(|tool| {
            Some(ToolLatency {
                tool: tool.name.clone().into(),
                calls: tool.latency.calls(),
                p50_ms: tool.latency.percentile(0.5)?,
                p95_ms: tool.latency.percentile(0.95)?,
                p99_ms: tool.latency.percentile(0.99)?,
            })
        })
        .collect();
    tools.sort_by(|a, b| b.calls.cmp(&a.calls).then(a.tool.cmp(&b.tool)));
    tools.truncate(TOP_MAX);
    tools
}

const fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "ok",
        Outcome::Error => "error",
        Outcome::Denied => "denied",
        Outcome::Limited => "limited",
        Outcome::Unknown => "unknown",
    }
}

const fn priority_name(priority: Priority) -> &'static str {
    match priority {
        Priority::Low => "low",
        Priority::Medium => "medium",
        Priority::High => "high",
        Priority::Critical => "critical",
    }
}

#[cfg(test)]
mod tests;
