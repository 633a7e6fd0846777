//! `workflows check`: every flaw of a definition with its place, and what would not run on AWS as it is.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cli::output::Paint;
use crate::cli::{ExitStatus, Output, tell_text};
use crate::config::Config;
use crate::mesh::store::key;
use crate::outbound::embedded::{Checked, FlawFound, ToolState, WorkflowFiles};

/// What to check.
#[derive(Debug, clap::Args)]
pub(super) struct Check {
    /// Definitions: names of the folder `workflows` in the data folder, or files; all of the folder if none
    #[arg(value_name = "NAME|FILE")]
    definitions: Vec<String>,
    /// Find it wrong, too, when a definition would not run on AWS
    #[arg(long)]
    portable: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A definition that was asked for.
struct Wanted {
    /// As it was asked for.
    name: String,
    path: PathBuf,
    checked: Checked,
}

/// Checks definitions.
pub(super) fn run(check: &Check, config: &Config, output: &mut Output) -> ExitStatus {
    let files = WorkflowFiles::of(&config.data_dir);
    let names = if check.definitions.is_empty() {
        match files.names() {
            Ok(names) => names,
            Err(error) => {
                let message = format!("{} cannot be read", files.folder().display());
                tell_text(&message, Some(&error.to_string()), None, output);
                return ExitStatus::Failure;
            }
        }
    } else {
        check.definitions.clone()
    };
    if names.is_empty() {
        let message = format!("there are no definitions in {}", files.folder().display());
        let fix = "put <name>.asl.json there, or name a file";
        tell_text(&message, None, Some(fix), output);
        return ExitStatus::Failure;
    }
    let wanted: Vec<Wanted> = names.into_iter().map(|name| look(&files, name)).collect();
    if check.json {
        output.json(&wanted.iter().map(Wanted::to_json).collect::<Vec<_>>());
    } else {
        for definition in &wanted {
            definition.tell(output);
        }
    }
    let statuses = wanted.iter().map(|wanted| wanted.status(check.portable));
    statuses
        .max_by_key(|status| severity(*status))
        .unwrap_or(ExitStatus::Success)
}

fn severity(status: ExitStatus) -> u8 {
    match status {
        ExitStatus::Success => 0,
        ExitStatus::Found => 1,
        _ => 2,
    }
}

/// A name with a dot or a separator is a file's.
fn look(files: &WorkflowFiles, name: String) -> Wanted {
    if name.contains(['.', '/', '\\']) {
        let path = Path::new(&name).to_owned();
        let checked = files.check_file(&path);
        return Wanted {
            name,
            path,
            checked,
        };
    }
    Wanted {
        path: files.path(&name),
        checked: files.check(&name),
        name,
    }
}

impl Wanted {
    fn status(&self, portable: bool) -> ExitStatus {
        match &self.checked {
            Checked::Sound { embedded_only, .. } if portable && !embedded_only.is_empty() => {
                ExitStatus::Found
            }
            Checked::Sound { .. } => ExitStatus::Success,
            Checked::Flawed(_) => ExitStatus::Found,
            Checked::Unreadable(_) | Checked::Missing => ExitStatus::Failure,
        }
    }

    fn tell(&self, output: &mut Output) {
        let name = Paint::Strong.on(&self.name);
        match &self.checked {
            Checked::Sound {
                states,
                embedded_only,
            } => {
                let states = counted(*states, "state");
                output.line(format!("{name}  {}, {states}", Paint::Good.on("good")));
                for state in embedded_only {
                    self.tell_embedded_only(state, output);
                }
            }
            Checked::Flawed(flaws) => {
                let count = counted(flaws.len(), "flaw");
                output.line(format!("{name}  {}", Paint::Bad.on(count)));
                for flaw in flaws {
                    self.tell_flaw(flaw, output);
                }
            }
            Checked::Unreadable(why) => {
                let message = format!("{} cannot be used: {why}", self.path.display());
                tell_text(&message, None, None, output);
            }
            Checked::Missing => {
                let message = format!("there is no {}", self.path.display());
                let fix = "`use_aws_mcp workflows list` tells which there are";
                tell_text(&message, None, Some(fix), output);
            }
        }
    }

    fn place(&self, line: Option<usize>) -> String {
        let path = self.path.display();
        match line {
            Some(line) => format!("{path}:{line}"),
            None => path.to_string(),
        }
    }

    fn tell_flaw(&self, flaw: &FlawFound, output: &mut Output) {
        let place = Paint::Faint.on(self.place(flaw.line));
        let pointer = if flaw.place.is_empty() {
            String::new()
        } else {
            format!("{}: ", flaw.place)
        };
        output.line(format!("  {place}\n    {pointer}{}", flaw.message));
    }

    fn tell_embedded_only(&self, state: &ToolState, output: &mut Output) {
        let place = Paint::Faint.on(self.place(state.line));
        output.line(format!(
            "  {place}\n    {} {} calls {}; {}",
            Paint::Warning.on("embedded only:"),
            state.state,
            state.tool,
            portable_form(&state.tool)
        ));
    }

    fn to_json(&self) -> Value {
        let path = self.path.display().to_string();
        match &self.checked {
            Checked::Sound {
                states,
                embedded_only,
            } => {
                let tools: Vec<Value> = embedded_only
                    .iter()
                    .map(|state| {
                        json!({
                            "state": state.state,
                            "tool": state.tool,
                            "line": state.line,
                            "portable": portable_form(&state.tool),
                        })
                    })
                    .collect();
                json!({"name": self.name, "path": path, "good": true, "states": states, "embedded_only": tools})
            }
            Checked::Flawed(flaws) => {
                let flaws: Vec<Value> = flaws
                    .iter()
                    .map(|flaw| {
                        json!({"line": flaw.line, "place": flaw.place, "message": flaw.message})
                    })
                    .collect();
                json!({"name": self.name, "path": path, "good": false, "flaws": flaws})
            }
            Checked::Unreadable(why) => {
                json!({"name": self.name, "path": path, "good": false, "unreadable": why})
            }
            Checked::Missing => {
                json!({"name": self.name, "path": path, "good": false, "missing": true})
            }
        }
    }
}

/// How a machine does on AWS what the tool does here.
fn portable_form(tool: &str) -> String {
    let item = |operation: &str| {
        format!(
            "arn:aws:states:::dynamodb:{operation} on the table works on both, with a partition under {}<tenant>#{}",
            key::PARTITION_ROOT,
            key::WORKFLOW_FAMILY,
        )
    };
    match tool {
        "kv_get" => item("getItem"),
        "kv_set" => item("putItem"),
        "kv_delete" => item("deleteItem"),
        "events_send" => "arn:aws:states:::events:putEvents to the bus works on both, with the source \
                          agent-mesh.<tenant>"
            .to_owned(),
        "artifacts_get" | "artifacts_put" | "artifacts_delete" | "artifacts_list" => {
            "on AWS a state of arn:aws:states:::aws-sdk:s3 does it, which the embedded cloud does not have"
                .to_owned()
        }
        "workflow_start" => "on AWS arn:aws:states:::states:startExecution does it, which the embedded \
                             cloud does not have"
            .to_owned(),
        _ => "on AWS a Lambda function would have to do it".to_owned(),
    }
}

fn counted(count: usize, thing: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{plural}")
}
