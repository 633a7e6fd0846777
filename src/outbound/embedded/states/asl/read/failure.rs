//! How `Retry` and `Catch` are read.

use serde_json::Value;

use super::super::SECONDS_MAX;
use super::super::error::{self, ALL};
use super::super::flaw::{below, quoted};
use super::super::machine::{Catcher, Jitter, Retrier};
use super::Reader;
use super::members::Members;

/// The most attempts of a Retrier.
const ATTEMPTS_MAX: u64 = 99_999_999;

/// The longest of the longest pauses, in seconds: just under a year.
const DELAY_SECONDS_MAX: u64 = 31_622_399;

/// Retries where nothing else is said.
const ATTEMPTS: u64 = 3;

/// How much longer each pause is where nothing else is said.
const BACKOFF_RATE: f64 = 2.0;

/// The names of errors that begin with `States.`, all of which Step Functions documents.
const RESERVED: [&str; 16] = [
    ALL,
    error::BRANCH_FAILED,
    error::DATA_LIMIT_EXCEEDED,
    "States.ExceedToleratedFailureThreshold",
    error::HEARTBEAT_TIMEOUT,
    "States.Http.Socket",
    error::INTRINSIC_FAILURE,
    "States.ItemReaderFailed",
    error::NO_CHOICE_MATCHED,
    error::PARAMETER_PATH_FAILURE,
    error::PERMISSIONS,
    error::RESULT_PATH_MATCH_FAILURE,
    "States.ResultWriterFailed",
    error::RUNTIME,
    error::TASK_FAILED,
    error::TIMEOUT,
];

impl Reader {
    /// Reads `Retry`.
    pub(super) fn retry(&mut self, members: &mut Members<'_>) -> Vec<Retrier> {
        let Some(items) = self.items(members, "Retry") else {
            return Vec::new();
        };
        let at = members.path("Retry");
        let mut retriers = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let is_last = index + 1 == items.len();
            retriers.extend(self.retrier(item, &below(&at, index), is_last));
        }
        retriers
    }

    /// Reads `Catch`.
    pub(super) fn catch(&mut self, members: &mut Members<'_>) -> Vec<Catcher> {
        let Some(items) = self.items(members, "Catch") else {
            return Vec::new();
        };
        let at = members.path("Catch");
        let mut catchers = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let is_last = index + 1 == items.len();
            catchers.extend(self.catcher(item, &below(&at, index), is_last));
        }
        catchers
    }

    /// An array that may be left out, and empty.
    fn items<'d>(
        &mut self,
        members: &mut Members<'d>,
        name: &'static str,
    ) -> Option<&'d Vec<Value>> {
        match members.get(name)? {
            Value::Array(items) => Some(items),
            _ => {
                self.flaws.add(&members.path(name), "it must be an array");
                None
            }
        }
    }

    fn retrier(&mut self, value: &Value, at: &str, is_last: bool) -> Option<Retrier> {
        let flaws = &mut self.flaws;
        let mut members = Members::of(value, at, flaws)?;
        members.text("Comment", flaws);
        let interval = members.whole("IntervalSeconds", 1..=SECONDS_MAX, flaws);
        let attempts = members.whole("MaxAttempts", 0..=ATTEMPTS_MAX, flaws);
        let most = members.whole("MaxDelaySeconds", 1..=DELAY_SECONDS_MAX, flaws);
        let interval_seconds = interval.unwrap_or(1);
        if most.is_some_and(|most| most <= interval_seconds) {
            flaws.add(
                &members.path("MaxDelaySeconds"),
                format!("it must be more than 'IntervalSeconds', which is {interval_seconds}"),
            );
        }
        let backoff_rate = match members.get("BackoffRate") {
            None => BACKOFF_RATE,
            Some(value) => {
                let rate = value.as_f64().filter(|rate| *rate >= 1.0);
                if rate.is_none() {
                    let message = "it must be a number from 1.0";
                    flaws.add(&members.path("BackoffRate"), message);
                }
                rate.unwrap_or(BACKOFF_RATE)
            }
        };
        let jitter = match members.text("JitterStrategy", flaws) {
            None | Some("NONE") => Jitter::None,
            Some("FULL") => Jitter::Full,
            Some(_) => {
                let message = "it must be FULL or NONE";
                flaws.add(&members.path("JitterStrategy"), message);
                Jitter::None
            }
        };
        let errors = self.errors(&mut members, is_last);
        members.finish("a Retrier", &mut self.flaws);
        Some(Retrier {
            errors: errors?,
            interval_seconds,
            attempts_max: attempts.unwrap_or(ATTEMPTS),
            backoff_rate,
            delay_seconds_max: most,
            jitter,
        })
    }

    fn catcher(&mut self, value: &Value, at: &str, is_last: bool) -> Option<Catcher> {
        let mut members = Members::of(value, at, &mut self.flaws)?;
        members.text("Comment", &mut self.flaws);
        let errors = self.errors(&mut members, is_last);
        let result_path = members.result_path(&mut self.flaws);
        let next = members.required_text("Next", &mut self.flaws);
        members.finish("a Catcher", &mut self.flaws);
        Some(Catcher {
            errors: errors?,
            result_path,
            next: next?.to_owned(),
        })
    }

    /// Reads `ErrorEquals`.
    fn errors(&mut self, members: &mut Members<'_>, is_last: bool) -> Option<Vec<String>> {
        members.required("ErrorEquals", &mut self.flaws)?;
        let names = members.list("ErrorEquals", &mut self.flaws)?;
        let at = members.path("ErrorEquals");
        let mut errors = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let at = below(&at, index);
            let Some(name) = name.as_str() else {
                self.flaws
                    .add(&at, "it must be a text: the name of an error");
                continue;
            };
            if name.starts_with("States.") && !RESERVED.contains(&name) {
                let message = format!(
                    "there is no error {}; those that begin with 'States.' are {}",
                    quoted(name),
                    RESERVED.join(", ")
                );
                self.flaws.add(&at, message);
            }
            errors.push(name.to_owned());
        }
        if errors.iter().any(|name| name == ALL) && (errors.len() > 1 || !is_last) {
            let message = format!("'{ALL}' must stand alone, in the last of its list");
            self.flaws.add(&at, message);
        }
        Some(errors)
    }
}
