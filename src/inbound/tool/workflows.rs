//! The workflow tools: what a client sees of them, and their arguments.

use std::time::Duration;

use serde_json::json;
use serde_json::value::RawValue;
use ulid::Ulid;

use super::argument::{Argument, Arguments};
use super::description::{
    Description, count, cursor, flag, number, optional, required, result, text,
};
use super::{CallFault, opened};
use crate::mesh::Error;
use crate::mesh::call::tool::Tool;
use crate::mesh::service::workflows::list::LIMIT_MAX;
use crate::mesh::service::workflows::status::{STEPS_MAX, WAIT_MS_MAX};
use crate::mesh::service::workflows::stop::REASON_CHARS_MAX;
use crate::mesh::service::workflows::{WorkflowList, WorkflowStart, WorkflowStatus, WorkflowStop};
use crate::mesh::store::idempotency::KEY_BYTES_MAX;
use crate::mesh::workflow::RunState;

/// How many runs a page has where the caller does not say.
const LIST_LIMIT: u32 = 50;

/// The words for how a run may be.
const STATUSES: [&str; 6] = [
    "starting",
    "running",
    "succeeded",
    "failed",
    "timed_out",
    "aborted",
];

/// `workflow_start`.
pub fn describe_start() -> Description {
    Description {
        tool: Tool::WorkflowStart,
        title: "Start a workflow",
        text: "Start a workflow by its name. It runs in the background as you, and goes on when you are gone: \
               follow it with workflow_status, end it with workflow_stop. The machine gets \
               `{tenant: {tenant_id, user_id}, input}`. Give an `idempotency_key` where the call may be \
               repeated: the same key starts one run and answers with it each time. An unknown name answers \
               with the names there are. Its end is an event (Workflow.Succeeded, Workflow.Failed, \
               Workflow.TimedOut, Workflow.Aborted).",
        arguments: vec![
            required("name", text(), "The workflow's name."),
            optional(
                "input",
                json!({}),
                "Any JSON value; {} if left out. 256 KiB as the machine gets it.",
            ),
            optional(
                "idempotency_key",
                text(),
                "1 to 256 bytes; remembered for 24 hours.",
            ),
        ],
        one_of: Vec::new(),
        results: vec![
            result("run_id", text()),
            result("name", text()),
            result("status", text()),
            result("started_at", text()),
            // As a task, its result is how the run ended.
            result("stopped_at", text()),
            result("output", json!({})),
            result("error", text()),
            result("cause", text()),
        ],
        destructive: true,
        idempotent: false,
    }
}

/// `workflow_status`.
pub fn describe_status() -> Description {
    Description {
        tool: Tool::WorkflowStatus,
        title: "See how a workflow run is",
        text: "See whether a run still runs, and what it put out or which error ended it. With `wait_ms` it \
               answers when the run has ended, or when that time is over; with a progress token each change \
               is told meanwhile. `history` adds its newest steps, the newest first. To find runs use \
               workflow_list. Everyone of the tenant sees its runs.",
        arguments: vec![
            required(
                "run_id",
                text(),
                "The run, from workflow_start or workflow_list.",
            ),
            optional(
                "wait_ms",
                number(0, WAIT_MS_MAX, 0),
                "How long to wait for its end, in milliseconds.",
            ),
            optional("history", flag(), HISTORY_TEXT),
        ],
        one_of: Vec::new(),
        results: vec![
            result("run_id", text()),
            result("name", text()),
            result("status", json!({"type": "string", "enum": STATUSES})),
            result("started_at", text()),
            result("stopped_at", text()),
            result("rule", text()),
            result("output", json!({})),
            result("output_bytes", count()),
            result("truncated", flag()),
            result("fix", text()),
            result("error", text()),
            result("cause", text()),
            result(
                "history",
                json!({"type": "array", "items": {"type": "object"}}),
            ),
        ],
        destructive: false,
        idempotent: true,
    }
}

/// What `history` is for.
const HISTORY_TEXT: &str = "Tell its newest steps too, at most 50.";
const _: () = assert!(STEPS_MAX == 50, "HISTORY_TEXT says so");

/// `workflow_stop`.
pub fn describe_stop() -> Description {
    Description {
        tool: Tool::WorkflowStop,
        title: "Stop a workflow run",
        text: "Stop a run. What it has done stays done. A run that has ended already stays as it is, which is \
               no error. Returns how it is then.",
        arguments: vec![
            required(
                "run_id",
                text(),
                "The run, from workflow_start or workflow_list.",
            ),
            optional("reason", text(), "Why, for whoever looks at it later."),
        ],
        one_of: Vec::new(),
        results: vec![
            result("run_id", text()),
            result("name", text()),
            result("status", text()),
            result("started_at", text()),
            result("stopped_at", text()),
        ],
        destructive: true,
        idempotent: true,
    }
}

/// `workflow_list`.
pub fn describe_list() -> Description {
    Description {
        tool: Tool::WorkflowList,
        title: "List workflow runs",
        text: "List the tenant's runs of the last 90 days, the newest first, also those that rules started. \
               Use it to find a `run_id` or to see what runs. Returns a page, and `next_cursor` if there are \
               more; a page may be short.",
        arguments: vec![
            optional("name", text(), "Only runs of this workflow."),
            optional(
                "status",
                json!({"type": "string", "enum": STATUSES}),
                "Only runs that are so.",
            ),
            optional(
                "limit",
                number(1, LIMIT_MAX, LIST_LIMIT),
                "How many at most.",
            ),
            cursor(),
        ],
        one_of: Vec::new(),
        results: vec![
            result(
                "runs",
                json!({"type": "array", "items": {"type": "object"}}),
            ),
            result("next_cursor", text()),
        ],
        destructive: false,
        idempotent: true,
    }
}

/// The arguments of `workflow_start`.
pub fn start(text: Option<&str>) -> Result<WorkflowStart, Error> {
    let mut arguments = Arguments::of(text)?;
    let call = WorkflowStart {
        name: arguments.required("name")?,
        input: match arguments.given_json("input")? {
            Some(input) => input.to_owned(),
            None => RawValue::from_string("{}".to_owned())
                .map_err(|error| Error::internal("an empty object").caused_by(error))?,
        },
        idempotency_key: idempotency_key(&mut arguments)?,
    };
    arguments.finish()?;
    Ok(call)
}

fn idempotency_key(arguments: &mut Arguments<'_>) -> Result<Option<String>, Error> {
    let key: Option<String> = arguments.optional("idempotency_key")?;
    match &key {
        Some(key) if key.is_empty() || key.len() > KEY_BYTES_MAX => {
            let what = format!("must have 1 to {KEY_BYTES_MAX} bytes");
            Err(arguments.wrong("idempotency_key", what))
        }
        _ => Ok(key),
    }
}

/// The arguments of `workflow_status`.
pub fn status(text: Option<&str>) -> Result<WorkflowStatus, Error> {
    let mut arguments = Arguments::of(text)?;
    let wait_ms = arguments.number("wait_ms", 0, 0, WAIT_MS_MAX)?;
    let call = WorkflowStatus {
        run_id: arguments.required("run_id")?,
        wait: Duration::from_millis(wait_ms.into()),
        history: arguments.or("history", false)?,
    };
    arguments.finish()?;
    Ok(call)
}

/// The arguments of `workflow_stop`.
pub fn stop(text: Option<&str>) -> Result<WorkflowStop, Error> {
    let mut arguments = Arguments::of(text)?;
    let call = WorkflowStop {
        run_id: arguments.required("run_id")?,
        reason: arguments.optional("reason")?,
    };
    if let Some(reason) = &call.reason
        && reason.chars().count() > REASON_CHARS_MAX
    {
        let what = format!("may have {REASON_CHARS_MAX} characters");
        return Err(arguments.wrong("reason", what));
    }
    arguments.finish()?;
    Ok(call)
}

/// The arguments of `workflow_list`.
pub fn list(text: Option<&str>) -> Result<Result<WorkflowList, Error>, CallFault> {
    opened(parse_list(text), |call| {
        let filters = call.filters();
        (&mut call.after, filters)
    })
}

fn parse_list(text: Option<&str>) -> Result<WorkflowList, Error> {
    let mut arguments = Arguments::of(text)?;
    let call = WorkflowList {
        name: arguments.optional("name")?,
        status: arguments.optional("status")?,
        limit: arguments.number("limit", LIST_LIMIT, 1, LIMIT_MAX)?,
        after: arguments.optional("cursor")?,
    };
    arguments.finish()?;
    Ok(call)
}

impl Argument for Ulid {
    const EXPECTED: &'static str = "a run's id, such as \"01ARZ3NDEKTSV4RRFFQ69G5FAV\"";

    fn read(text: &RawValue) -> Option<Self> {
        let text: String = serde_json::from_str(text.get()).ok()?;
        // What is longer than a ULID or in lower case is none of ours.
        Self::from_string(&text)
            .ok()
            .filter(|id| id.to_string() == text)
    }
}

impl Argument for RunState {
    const EXPECTED: &'static str =
        "\"starting\", \"running\", \"succeeded\", \"failed\", \"timed_out\" or \"aborted\"";

    fn read(text: &RawValue) -> Option<Self> {
        let text: String = serde_json::from_str(text.get()).ok()?;
        Self::named(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_of_a_run_can_be_asked_for() {
        for status in STATUSES {
            let call = parse_list(Some(&format!(r#"{{"status":"{status}"}}"#))).unwrap();
            assert_eq!(call.status.map(RunState::name), Some(status));
        }
        assert!(parse_list(Some(r#"{"status":"done"}"#)).is_err());
    }

    #[test]
    fn an_input_may_be_any_json_also_null_and_is_kept_to_the_digit() {
        for (given, kept) in [
            (r#"{"name":"a"}"#, "{}"),
            (r#"{"name":"a","input":null}"#, "null"),
            (r#"{"name":"a","input":1.50}"#, "1.50"),
            (r#"{"name":"a","input":[ 1 ]}"#, "[ 1 ]"),
        ] {
            assert_eq!(start(Some(given)).unwrap().input.get(), kept, "{given}");
        }
    }

    #[test]
    fn a_run_is_named_by_its_id_and_nothing_else() {
        let id = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
        let of = |id: &str| status(Some(&json!({"run_id": id}).to_string()));
        assert_eq!(of(id).unwrap().run_id.to_string(), id);
        for wrong in ["", &id.to_lowercase(), &id[1..], &format!("{id}A"), "~"] {
            let error = of(wrong).unwrap_err();
            assert_eq!(error.details()["parameter"], "run_id", "{wrong}");
        }
    }

    #[test]
    fn a_wait_may_be_as_long_as_its_limit_and_no_longer() {
        let of = |wait: u32| {
            status(Some(
                &json!({"run_id": Ulid(1).to_string(), "wait_ms": wait}).to_string(),
            ))
        };
        assert_eq!(of(WAIT_MS_MAX).unwrap().wait.as_millis(), 55_000);
        assert_eq!(
            of(WAIT_MS_MAX + 1).unwrap_err().details()["parameter"],
            "wait_ms"
        );
    }
}
