//! `events tail`: the newest events, and with `--follow` those that come.

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tokio::time::sleep;
use ulid::Ulid;

use super::super::in_process::{InProcess, tell_fault};
use super::super::json_text::compact;
use super::super::output::Paint;
use super::super::tools::tell_failure;
use super::super::{ExitStatus, Output, tell_text};
use crate::config::Config;
use crate::mesh::call::tool::Tool;
use crate::mesh::event::Outcome;
use crate::mesh::{Clock, SystemClock, Timestamp};
use crate::platform;

/// The pause between two looks of `--follow`.
const POLL: Duration = Duration::from_secs(2);

/// How far back each look begins before the newest event seen: events of several processes do not arrive
/// in the order of their times.
const OVERLAP: Duration = Duration::from_secs(30);

/// The most events that are asked for at once.
const PAGE: usize = 100;

/// How many ids are remembered, of events shown and of looks taken.
const REMEMBERED_MAX: usize = 10_000;

/// How much of an event's detail is shown on its line: characters.
const DETAIL_CHARS_MAX: usize = 100;

/// Which events to show.
#[derive(Debug, clap::Args)]
pub(super) struct Tail {
    /// Go on and show events as they come; each look is itself recorded, and not shown
    #[arg(long, short)]
    follow: bool,
    /// How many events to begin with
    #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 20,
          value_parser = clap::value_parser!(u32).range(0..=10_000))]
    limit: u32,
    /// How far back to look: hours
    #[arg(long, value_name = "HOURS", default_value_t = 24,
          value_parser = clap::value_parser!(u32).range(1..=87_600))]
    hours: u32,
    /// Only events of this type, such as `KV.Set`
    #[arg(long = "type", value_name = "DETAIL_TYPE")]
    detail_type: Option<String>,
    /// Only events of this tool
    #[arg(long, value_name = "TOOL")]
    tool: Option<String>,
    /// Only calls that ended so
    #[arg(long, value_name = "OUTCOME", value_parser = ["ok", "error", "denied", "limited", "unknown"])]
    outcome: Option<String>,
    /// Print each event as JSON, one a line
    #[arg(long)]
    json: bool,
}

/// What `events_query` answers, as far as it is needed here.
#[derive(Deserialize)]
struct Page {
    events: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
}

/// An event, as far as its line shows it.
#[derive(Deserialize)]
struct Shown {
    event_id: String,
    time: Timestamp,
    detail_type: String,
    outcome: Outcome,
    error_code: Option<String>,
    count: Option<u64>,
    user_id: String,
    request_id: Option<String>,
    detail: Option<Box<RawValue>>,
}

/// Why there are no more events to show.
enum End {
    /// The tool answered with an error: the result, and how long to wait if it may pass.
    Refused(String, Option<Duration>),
    /// No tool ran, or its answer could not be read; what to say has been said.
    Told,
}

/// A tail under way.
struct Tailing<'run> {
    server: &'run InProcess,
    options: &'run Tail,
    /// Ids of events that were shown, and of our own looks, which are events too.
    seen: Remembered,
    newest: Timestamp,
    /// What happened before this is not shown: it is too old, or beyond the number that was wanted.
    floor: Timestamp,
}

/// The ids of late; the oldest are forgotten.
#[derive(Default)]
struct Remembered {
    ids: HashSet<String>,
    order: VecDeque<String>,
}

/// Shows the newest events, and with `--follow` goes on until it is told to end.
pub(super) fn run(options: &Tail, config: &Config, output: &mut Output) -> ExitStatus {
    InProcess::run(config, output, async |server, output| {
        if !server.offers(Tool::EventsQuery) {
            let fix = Some("add `events` to AGENT_MESH_TOOLSETS");
            tell_text(
                "`events_query` is not offered under these settings",
                None,
                fix,
                output,
            );
            return ExitStatus::Failure;
        }
        let now = SystemClock::new().now();
        let since = now.minus(Duration::from_secs(u64::from(options.hours) * 3600));
        let mut tailing = Tailing {
            server,
            options,
            seen: Remembered::default(),
            newest: since,
            floor: since,
        };
        let shown = tailing.show_newest(since, output).await;
        match shown {
            Ok(()) if options.follow => tailing.follow(output).await,
            Ok(()) => ExitStatus::Success,
            Err(end) => tell_end(&end, output),
        }
    })
}

fn tell_end(end: &End, output: &mut Output) -> ExitStatus {
    if let End::Refused(result, _) = end {
        tell_failure(result, output);
    }
    ExitStatus::Failure
}

impl Tailing<'_> {
    /// The newest events, the oldest of them first.
    async fn show_newest(&mut self, since: Timestamp, output: &mut Output) -> Result<(), End> {
        let wanted = self.options.limit as usize;
        let mut events = Vec::new();
        let mut cursor = None;
        while events.len() < wanted {
            let limit = (wanted - events.len()).min(PAGE);
            let page = self
                .page(since, "desc", limit, cursor.as_deref(), output)
                .await?;
            events.extend(page.events);
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        if events.is_empty() && wanted > 0 {
            let hours = self.options.hours;
            output.error(&Paint::Faint.on(format!("no such event in the last {hours} hours")));
        }
        if wanted == 0 {
            self.newest = SystemClock::new().now();
            self.floor = self.newest;
        } else if let Some(oldest) = events.get(wanted - 1) {
            self.floor = read(oldest, output).map_or(self.floor, |oldest| oldest.time);
        }
        for event in events.iter().rev() {
            self.show(event, output);
        }
        Ok(())
    }

    /// Events as they come, until the process is told to end or nobody reads any more.
    async fn follow(&mut self, output: &mut Output) -> ExitStatus {
        let end = match platform::shutdown_signal() {
            Ok(end) => end,
            Err(error) => {
                output.error(&format!("signals cannot be received: {error}"));
                return ExitStatus::Failure;
            }
        };
        let mut end = std::pin::pin!(end);
        let mut pause = POLL;
        loop {
            if wait(pause, end.as_mut()).await || output.has_failed() {
                return ExitStatus::Success;
            }
            pause = POLL;
            match self.show_new(output).await {
                Ok(()) => {}
                Err(End::Refused(result, Some(wait))) => {
                    tell_failure(&result, output);
                    pause = pause.max(wait);
                }
                Err(end) => return tell_end(&end, output),
            }
        }
    }

    /// What has come since the last look.
    async fn show_new(&mut self, output: &mut Output) -> Result<(), End> {
        let since = self.newest.minus(OVERLAP);
        let mut cursor = None;
        loop {
            let page = self
                .page(since, "asc", PAGE, cursor.as_deref(), output)
                .await?;
            for event in &page.events {
                self.show(event, output);
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    async fn page(
        &mut self,
        since: Timestamp,
        order: &str,
        limit: usize,
        cursor: Option<&str>,
        output: &mut Output,
    ) -> Result<Page, End> {
        let arguments = self.arguments(since, order, limit, cursor);
        let (request_id, reply) = self.server.call(Tool::EventsQuery, &arguments).await;
        self.seen.is_new(&own(request_id));
        let reply = reply.map_err(|fault| {
            tell_fault(&fault, output);
            End::Told
        })?;
        if reply.is_error {
            let wait = wait_of(&reply.result);
            return Err(End::Refused(reply.result, wait));
        }
        serde_json::from_str(&reply.result).map_err(|error| {
            output.error(&format!(
                "the answer of events_query cannot be read: {error}"
            ));
            End::Told
        })
    }

    fn arguments(
        &self,
        since: Timestamp,
        order: &str,
        limit: usize,
        cursor: Option<&str>,
    ) -> String {
        let options = self.options;
        let mut arguments = Map::new();
        arguments.insert("start_time".to_owned(), json!(since));
        arguments.insert("order".to_owned(), json!(order));
        arguments.insert("limit".to_owned(), json!(limit));
        for (name, value) in [
            ("cursor", cursor),
            ("detail_type", options.detail_type.as_deref()),
            ("tool", options.tool.as_deref()),
            ("outcome", options.outcome.as_deref()),
        ] {
            if let Some(value) = value {
                arguments.insert(name.to_owned(), json!(value));
            }
        }
        Value::Object(arguments).to_string()
    }

    /// Shows an event, unless it has been shown or records one of our own looks.
    fn show(&mut self, event: &RawValue, output: &mut Output) {
        let Some(shown) = read(event, output) else {
            return;
        };
        self.newest = self.newest.max(shown.time);
        let is_own = shown
            .request_id
            .as_ref()
            .is_some_and(|request| self.seen.ids.contains(&format!("{OWN}{request}")));
        if is_own || shown.time < self.floor || !self.seen.is_new(&shown.event_id) {
            return;
        }
        if self.options.json {
            output.line(compact(event.get()));
        } else {
            output.line(shown.line());
        }
    }
}

/// What tells our own requests' ids from those of events.
const OWN: &str = "own ";

fn own(request: Ulid) -> String {
    format!("{OWN}{request}")
}

impl Shown {
    fn line(&self) -> String {
        let (outcome, paint) = match self.outcome {
            Outcome::Ok => ("ok", Paint::Good),
            Outcome::Error => ("error", Paint::Bad),
            Outcome::Denied => ("denied", Paint::Warning),
            Outcome::Limited => ("limited", Paint::Warning),
            Outcome::Unknown => ("unknown", Paint::Warning),
        };
        let outcome = paint.on(format!("{outcome:7}"));
        let mut line = format!(
            "{}  {outcome}  {:20}  {}",
            self.time, self.detail_type, self.user_id
        );
        if let Some(code) = &self.error_code {
            line.push_str(&format!("  {code}"));
        }
        if let Some(count) = self.count {
            line.push_str(&format!("  x{count}"));
        }
        if let Some(detail) = &self.detail {
            let detail = shortened(&compact(detail.get()));
            line.push_str(&format!("  {}", Paint::Faint.on(detail)));
        }
        line
    }
}

impl Remembered {
    /// Whether `id` had not been met before; from now on it has.
    fn is_new(&mut self, id: &str) -> bool {
        if !self.ids.insert(id.to_owned()) {
            return false;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

/// What is shown of an event; one that cannot be read is told of.
fn read(event: &RawValue, output: &mut Output) -> Option<Shown> {
    match serde_json::from_str(event.get()) {
        Ok(shown) => Some(shown),
        Err(error) => {
            output.error(&format!("an event cannot be read: {error}"));
            None
        }
    }
}

/// Waits; whether the process has been told to end in the meantime.
async fn wait(
    pause: Duration,
    end: std::pin::Pin<&mut impl Future<Output = &'static str>>,
) -> bool {
    tokio::select! {
        _ = end => true,
        () = sleep(pause) => false,
    }
}

/// How long to wait before a failed call can succeed; nothing where it never will.
fn wait_of(result: &str) -> Option<Duration> {
    let result: Value = serde_json::from_str(result).ok()?;
    let error = &result["error"];
    error["retryable"]
        .as_bool()?
        .then(|| Duration::from_millis(error["retry_after_ms"].as_u64().unwrap_or_default()))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(DETAIL_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
