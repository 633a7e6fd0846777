//! `workflows list`: what the caller may start, and where it is defined.

use std::sync::Arc;

use serde_json::json;

use crate::cli::output::Paint;
use crate::cli::{ExitStatus, Output, tell_text};
use crate::config::{Backend, Config, Identity};
use crate::mesh::tenant::TenantDirectory;
use crate::outbound::embedded::{Checked, WorkflowFiles};

/// How to list.
#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A workflow that may be started.
struct Workflow {
    name: String,
    /// Its ARN, or its file.
    place: String,
    /// What is wrong with its definition, where that is at hand.
    wrong: Option<String>,
}

/// Lists workflows: those that the operator has given the tenant, and in the embedded cloud those of the
/// folder; a tenant's own names come first, as when they are started.
pub(super) fn run(list: &List, config: &Config, output: &mut Output) -> ExitStatus {
    let mut workflows = given(config);
    if config.backend.backend == Backend::Embedded {
        let files = WorkflowFiles::of(&config.data_dir);
        match files.names() {
            Ok(names) => {
                let others = names
                    .into_iter()
                    .filter(|name| workflows.iter().all(|known| known.name != *name));
                let others: Vec<Workflow> = others.map(|name| in_folder(&files, name)).collect();
                workflows.extend(others);
            }
            Err(error) => {
                let message = format!("{} cannot be read", files.folder().display());
                tell_text(&message, Some(&error.to_string()), None, output);
                return ExitStatus::Failure;
            }
        }
    }
    workflows.sort_by(|one, other| one.name.cmp(&other.name));
    if list.json {
        let listed = workflows.iter().map(|workflow| {
            json!({
                "name": workflow.name,
                "place": workflow.place,
                "good": workflow.wrong.is_none(),
            })
        });
        output.json(&listed.collect::<Vec<_>>());
        return ExitStatus::Success;
    }
    if workflows.is_empty() {
        output.line(nothing(config));
        return ExitStatus::Success;
    }
    let width = workflows.iter().map(|workflow| workflow.name.len()).max();
    for workflow in &workflows {
        let name = Paint::Strong.on(format!("{:1$}", workflow.name, width.unwrap_or(0)));
        let wrong = workflow.wrong.as_ref();
        let wrong = wrong.map_or_else(String::new, |wrong| format!("  {}", Paint::Bad.on(wrong)));
        output.line(format!(
            "{name}  {}{wrong}",
            Paint::Faint.on(&workflow.place)
        ));
    }
    ExitStatus::Success
}

/// The names that the operator has given: to the tenant that calls, or to every one where a token says who.
fn given(config: &Config) -> Vec<Workflow> {
    let names = match config.identity {
        Identity::Env => config
            .tenants
            .find(&config.caller.tenant)
            .map(|record| Arc::clone(&record.workflows)),
        Identity::Jwt(_) => None,
    };
    let names = names.unwrap_or_else(|| Arc::clone(&config.automation.shared.workflows));
    let workflow = |(name, arn): (&String, &String)| Workflow {
        name: name.clone(),
        place: arn.clone(),
        wrong: None,
    };
    names.iter().map(workflow).collect()
}

fn in_folder(files: &WorkflowFiles, name: String) -> Workflow {
    let wrong = match files.check(&name) {
        Checked::Sound { .. } => None,
        Checked::Flawed(_) => Some(format!("wrong: see `use_aws_mcp workflows check {name}`")),
        Checked::Unreadable(why) => Some(why),
        Checked::Missing => Some("gone".to_owned()),
    };
    Workflow {
        place: files.path(&name).display().to_string(),
        name,
        wrong,
    }
}

fn nothing(config: &Config) -> String {
    match config.backend.backend {
        Backend::Embedded => format!(
            "There are no workflows yet: put <name>.asl.json into {}.",
            WorkflowFiles::of(&config.data_dir).folder().display()
        ),
        Backend::Aws => {
            "There are no workflows: AGENT_MESH_WORKFLOWS maps names to state machines, and so \
                         does tenants.toml."
                .to_owned()
        }
    }
}
