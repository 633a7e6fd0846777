//! `workflows run`: starts a workflow through the real tools, and tells its steps until it ends.

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::cli::in_process::{InProcess, tell_fault};
use crate::cli::json_text::indented;
use crate::cli::output::Paint;
use crate::cli::tools::tell_failure;
use crate::cli::{ExitStatus, Output, tell_text};
use crate::config::Config;
use crate::mesh::Timestamp;
use crate::mesh::call::tool::Tool;

/// How long one look waits for the end: as often new steps are told.
const LOOK_MS: u32 = 500;

/// The largest file of an input that is read, in bytes; a machine takes less.
const INPUT_BYTES_MAX: u64 = 1 << 20;

/// What to run.
#[derive(Debug, clap::Args)]
pub(super) struct Run {
    /// The workflow's name; `use_aws_mcp workflows list` tells which there are
    name: String,
    /// Its input: JSON, `@` and a file, or `-` for standard input; {} if left out
    #[arg(long, value_name = "JSON|@FILE")]
    input: Option<String>,
    /// Print each step until the end. Without it the run goes on in whichever process serves the folder, or
    /// on AWS
    #[arg(long)]
    wait: bool,
    /// Print the last answer as the tool gave it
    #[arg(long)]
    json: bool,
}

/// What `workflow_start` answers, as far as it is needed here.
#[derive(Deserialize)]
struct Started {
    run_id: String,
    status: String,
}

/// What `workflow_status` answers, as far as it is shown.
#[derive(Deserialize)]
struct Shown {
    status: String,
    output: Option<Box<RawValue>>,
    output_bytes: Option<u64>,
    error: Option<String>,
    cause: Option<String>,
    #[serde(default)]
    history: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    id: i64,
    time: Timestamp,
    kind: String,
    state: Option<String>,
    error: Option<String>,
}

/// Starts the workflow, and follows it if asked to.
pub(super) fn run(run: &Run, config: &Config, output: &mut Output) -> ExitStatus {
    let input = match input(run.input.as_deref()) {
        Ok(input) => input,
        Err(message) => {
            tell_text(&message, None, None, output);
            return ExitStatus::Usage;
        }
    };
    InProcess::run(config, output, async |server, output| {
        match start(server, run, &input, output).await {
            Ok(started) if run.wait => follow(server, &started, run.json, output).await,
            Ok(_) => ExitStatus::Success,
            Err(status) => status,
        }
    })
}

/// The input as JSON text, exact to the digit.
fn input(given: Option<&str>) -> Result<Box<RawValue>, String> {
    let text = match given {
        None => "{}".to_owned(),
        Some("-") => std::io::read_to_string(std::io::stdin())
            .map_err(|error| format!("the input cannot be read from standard input: {error}"))?,
        Some(text) => match text.strip_prefix('@') {
            Some(path) => read(path)?,
            None => text.to_owned(),
        },
    };
    serde_json::from_str(text.trim()).map_err(|error| format!("the input is not JSON: {error}"))
}

fn read(path: &str) -> Result<String, String> {
    let told = |error: std::io::Error| format!("{path} cannot be read: {error}");
    let bytes = std::fs::metadata(path).map_err(told)?.len();
    if bytes > INPUT_BYTES_MAX {
        return Err(format!("{path} is larger than any workflow takes"));
    }
    std::fs::read_to_string(path).map_err(told)
}

/// Calls a tool; its result, or the status of the command where it did not do its work.
async fn call(
    server: &InProcess,
    tool: Tool,
    arguments: &str,
    output: &mut Output,
) -> Result<String, ExitStatus> {
    match server.call(tool, arguments).await.1 {
        Ok(reply) if reply.is_error => {
            tell_failure(&reply.result, output);
            Err(ExitStatus::Failure)
        }
        Ok(reply) => Ok(reply.result.to_string()),
        Err(fault) => {
            tell_fault(&fault, output);
            Err(ExitStatus::Failure)
        }
    }
}

fn parse<'a, T: Deserialize<'a>>(result: &'a str, output: &mut Output) -> Result<T, ExitStatus> {
    serde_json::from_str(result).map_err(|error| {
        tell_text(
            "the tool's answer cannot be read",
            Some(&error.to_string()),
            None,
            output,
        );
        ExitStatus::Failure
    })
}

async fn start(
    server: &InProcess,
    run: &Run,
    input: &RawValue,
    output: &mut Output,
) -> Result<Started, ExitStatus> {
    // The input goes as it is: numbers are not read and written again.
    let arguments = format!("{{\"name\":{},\"input\":{input}}}", json!(run.name));
    let result = call(server, Tool::WorkflowStart, &arguments, output).await?;
    let started: Started = parse(&result, output)?;
    if !run.wait && run.json {
        output.line(indented(&result));
    } else if !run.json {
        let id = Paint::Strong.on(&started.run_id);
        output.line(format!("{id}  {}", started.status));
    }
    Ok(started)
}

/// Tells each step as it comes, and how the run ends.
async fn follow(
    server: &InProcess,
    started: &Started,
    json: bool,
    output: &mut Output,
) -> ExitStatus {
    let arguments = json!({"run_id": started.run_id, "wait_ms": LOOK_MS, "history": true});
    let arguments = arguments.to_string();
    let mut told = 0;
    loop {
        let seen = match call(server, Tool::WorkflowStatus, &arguments, output).await {
            Ok(result) => parse::<Shown>(&result, output).map(|shown| (shown, result)),
            Err(status) => Err(status),
        };
        let (shown, result) = match seen {
            Ok(seen) => seen,
            Err(status) => return status,
        };
        if !json {
            told = tell_steps(&shown.history, told, output);
        }
        if !matches!(shown.status.as_str(), "starting" | "running") {
            if json {
                output.line(indented(&result));
            } else {
                tell_end(&shown, output);
            }
            return if shown.status == "succeeded" {
                ExitStatus::Success
            } else {
                ExitStatus::Failure
            };
        }
    }
}

/// Tells the steps after the step `told`, the oldest first; the newest there is.
fn tell_steps(history: &[Step], told: i64, output: &mut Output) -> i64 {
    let mut new: Vec<&Step> = history.iter().filter(|step| step.id > told).collect();
    new.sort_by_key(|step| step.id);
    if let Some(first) = new.first()
        && first.id > told + 1
    {
        let missed = first.id - told - 1;
        output.line(Paint::Faint.on(format!("... {missed} steps more ...")));
    }
    for step in &new {
        let state = step.state.as_deref().unwrap_or_default();
        let error = step.error.as_deref();
        let error = error.map_or_else(String::new, |error| format!("  {}", Paint::Bad.on(error)));
        let time = Paint::Faint.on(step.time);
        output.line(format!("{time}  {:28} {state}{error}", step.kind));
    }
    new.last().map_or(told, |step| step.id)
}

fn tell_end(shown: &Shown, output: &mut Output) {
    let paint = if shown.status == "succeeded" {
        Paint::Good
    } else {
        Paint::Bad
    };
    let status = paint.on(&shown.status);
    let error = shown.error.as_deref().unwrap_or_default();
    let cause = shown.cause.as_deref().unwrap_or_default();
    output.line(format!("{status}  {error}").trim_end());
    if !cause.is_empty() {
        output.line(format!("  {cause}"));
    }
    match (&shown.output, shown.output_bytes) {
        (Some(result), _) => output.line(indented(result.get())),
        (None, Some(bytes)) => {
            output.line(format!("its output has {bytes} bytes, too many to show"))
        }
        (None, None) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_json_or_a_file_of_it_exact_to_the_digit() {
        let of = |given: &str| input(Some(given)).map(|input| input.get().to_owned());
        assert_eq!(input(None).unwrap().get(), "{}");
        assert_eq!(of(" {\"a\": 1.50} ").unwrap(), "{\"a\": 1.50}");
        assert!(of("{").unwrap_err().contains("not JSON"));
        assert!(of("@/no/such/file").unwrap_err().contains("cannot be read"));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[1]\n").unwrap();
        assert_eq!(of(&format!("@{}", file.path().display())).unwrap(), "[1]");
    }

    #[test]
    fn steps_are_told_once_and_what_was_missed_is_counted() {
        let step = |id: i64| Step {
            id,
            time: Timestamp::from_millis(0),
            kind: "PassStateEntered".to_owned(),
            state: Some(format!("S{id}")),
            error: None,
        };
        let (mut output, captured) = Output::captured();
        assert_eq!(tell_steps(&[step(2), step(1)], 0, &mut output), 2);
        assert_eq!(tell_steps(&[step(2), step(1)], 2, &mut output), 2);
        assert_eq!(tell_steps(&[step(9), step(8)], 2, &mut output), 9);
        let lines: Vec<String> = captured.stdout().lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), 5, "{lines:?}");
        assert!(lines[0].contains("S1") && lines[1].contains("S2"));
        assert_eq!(lines[2], "... 5 steps more ...");
        assert!(lines[4].contains("S9"));
    }
}
