//! `tools`: lists, describes and calls the tools in this process.

mod explain;
mod members;

use serde_json::Value;

use super::in_process::{InProcess, tell_fault};
use super::json_text::indented;
use super::output::Paint;
use super::{ExitStatus, Output, tell_text};
use crate::app;
use crate::config::{Config, Identity, did_you_mean};
use crate::inbound::tool::Reply;
use crate::inbound::tool::catalog::Catalog;
use crate::inbound::tool::describe;
use crate::inbound::tool::description::Description;
use crate::mesh::call::tool::{Effect, Tool};
use crate::mesh::tenant::PermissionSet;

/// The arguments of `tools`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What to do with the tools.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the tools that you may call
    List(List),
    /// Tell what a tool does, what it takes and what it answers
    Describe(Describe),
    /// Call a tool: exit status 0, or 1 when it answers with an error
    Call(Call),
}

/// How to list.
#[derive(Debug, clap::Args)]
struct List {
    /// Print JSON, as a client gets it from tools/list
    #[arg(long)]
    json: bool,
}

/// Which tool to describe.
#[derive(Debug, clap::Args)]
struct Describe {
    /// The tool's name, such as `kv_get`
    tool: String,
    /// Print JSON, as a client gets it from tools/list
    #[arg(long)]
    json: bool,
}

/// Which tool to call, and with what.
#[derive(Debug, clap::Args)]
struct Call {
    /// The tool's name, such as `kv_get`
    tool: String,
    /// Arguments one by one, a value that should not be a text as JSON: `key=plan`, `value={"a":1}`; or all as
    /// one JSON object: `{"key":"plan"}`
    #[arg(value_name = "KEY=VALUE|JSON")]
    members: Vec<String>,
    /// All arguments as one JSON object, or `-` to read it from standard input
    #[arg(long, value_name = "JSON")]
    arguments: Option<String>,
    /// Print the result as the tool gave it, errors too
    #[arg(long)]
    json: bool,
}

/// Lists, describes or calls.
pub(super) fn run(arguments: &Arguments, config: &Config, output: &mut Output) -> ExitStatus {
    let catalog = app::catalog(config);
    match &arguments.command {
        Command::List(list) => run_list(list, &catalog, config, output),
        Command::Describe(wanted) => match offered(&wanted.tool, &catalog) {
            Ok(tool) => run_describe(tool, wanted, output),
            Err(message) => refuse(&message, output),
        },
        Command::Call(call) => match offered(&call.tool, &catalog) {
            Ok(tool) => run_call(tool, call, config, output),
            Err(message) => refuse(&message, output),
        },
    }
}

/// What the user may call whom the settings name; under `jwt` each token says that for itself.
fn permissions(config: &Config) -> PermissionSet {
    match config.identity {
        Identity::Env => config.caller.role.permissions(),
        Identity::Jwt(_) => PermissionSet::ALL,
    }
}

/// The tool that `name` means, if it is offered.
fn offered(name: &str, catalog: &Catalog) -> Result<Tool, String> {
    match Tool::named(name) {
        Some(tool) if catalog.offers(tool) => Ok(tool),
        Some(tool) => Err(format!(
            "`{}` is not offered under AGENT_MESH_TOOLSETS and AGENT_MESH_READ_ONLY as they are set",
            tool.name()
        )),
        None => {
            let near = did_you_mean(name, catalog.tools().map(|(tool, _)| tool.name()));
            Err(format!("there is no tool `{name}`{near}"))
        }
    }
}

fn refuse(message: &str, output: &mut Output) -> ExitStatus {
    let fix = Some("`use_aws_mcp tools list` tells which there are");
    tell_text(message, None, fix, output);
    ExitStatus::Usage
}

fn run_list(list: &List, catalog: &Catalog, config: &Config, output: &mut Output) -> ExitStatus {
    let permissions = permissions(config);
    if list.json {
        output.line(indented(&catalog.list(permissions)));
        return ExitStatus::Success;
    }
    let tools: Vec<Description> = catalog
        .tools()
        .filter(|(tool, _)| permissions.contains(tool.permission()))
        .filter_map(|(tool, _)| describe(tool))
        .collect();
    let width = |text: fn(&Description) -> &'static str| {
        let widths = tools.iter().map(|tool| text(tool).len());
        widths.max().unwrap_or(0)
    };
    let name_width = width(|tool| tool.tool.name());
    let title_width = width(|tool| tool.title);
    for tool in &tools {
        let name = Paint::Strong.on(format!("{:name_width$}", tool.tool.name()));
        let effect = match tool.tool.effect() {
            Effect::Read | Effect::Health => Paint::Faint.on("reads"),
            Effect::Mutation if tool.destructive => Paint::Warning.on("changes"),
            Effect::Mutation | Effect::Events => "adds".to_owned(),
        };
        output.line(format!("{name}  {:title_width$}  {effect}", tool.title));
    }
    let who = match config.identity {
        Identity::Env => {
            let caller = &config.caller;
            format!(
                "{} of tenant {} ({})",
                caller.user,
                caller.tenant,
                caller.role.name()
            )
        }
        Identity::Jwt(_) => "a caller whose token allows all of them".to_owned(),
    };
    output.line(format!(
        "\n{} tools for {who}. `use_aws_mcp tools describe <TOOL>` tells what one takes.",
        tools.len()
    ));
    ExitStatus::Success
}

fn run_describe(tool: Tool, wanted: &Describe, output: &mut Output) -> ExitStatus {
    let Some(description) = describe(tool) else {
        return refuse(&format!("`{}` is no tool", tool.name()), output);
    };
    if wanted.json {
        output.json(&description.to_json());
    } else {
        explain::explain(&description, output);
    }
    ExitStatus::Success
}

fn run_call(tool: Tool, call: &Call, config: &Config, output: &mut Output) -> ExitStatus {
    let arguments = match arguments(tool, call) {
        Ok(arguments) => arguments,
        Err(message) => {
            let fix = format!(
                "`use_aws_mcp tools describe {}` tells what it takes",
                tool.name()
            );
            tell_text(&message, None, Some(&fix), output);
            return ExitStatus::Usage;
        }
    };
    InProcess::run(config, output, async |server, output| {
        match server.call(tool, &arguments).await.1 {
            Ok(reply) => show(&reply, call.json, output),
            Err(fault) => {
                tell_fault(&fault, output);
                ExitStatus::Failure
            }
        }
    })
}

/// The arguments as the text of one JSON object: those of `--arguments`, and over them the single ones.
fn arguments(tool: Tool, call: &Call) -> Result<String, String> {
    let whole = match call.arguments.as_deref() {
        Some("-") => Some(std::io::read_to_string(std::io::stdin()).map_err(|error| {
            format!("the arguments cannot be read from standard input: {error}")
        })?),
        whole => whole.map(str::to_owned),
    };
    let known = describe(tool).map_or_else(Vec::new, |description| description.arguments);
    members::object(whole.as_deref(), &call.members, &known)
}

/// Prints what a tool answered.
fn show(reply: &Reply, json: bool, output: &mut Output) -> ExitStatus {
    let result = reply.shown();
    // What another server says of a failure has a form of its own.
    let is_ours = reply.upstream_error().is_none();
    match (reply.is_error && is_ours, json) {
        (_, true) => output.line(&result),
        (false, false) => output.line(indented(&result)),
        (true, false) => tell_failure(&result, output),
    }
    if reply.is_error {
        ExitStatus::Failure
    } else {
        ExitStatus::Success
    }
}

/// Prints a tool's error for a person; `result` is `{"error": {...}}`.
pub(super) fn tell_failure(result: &str, output: &mut Output) {
    let result: Value = serde_json::from_str(result).unwrap_or_default();
    let error = &result["error"];
    let text = |name: &str| error[name].as_str().unwrap_or_default();
    let message = format!("{}: {}", text("code"), text("message"));
    tell_text(&message, None, error["fix"].as_str(), output);
    if let Some(wait) = error["retry_after_ms"].as_u64() {
        output.error(&format!("  retry after: {wait} ms"));
    }
    output.error(&Paint::Faint.on(format!("  request: {}", text("request_id"))));
}

#[cfg(test)]
mod tests;
